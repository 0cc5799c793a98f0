"""Every message of the protocol, and the two functions between them and bytes.

`decode` is total: for any bytes it gives a message or raises `DecodeError`, in time and memory
bounded by the datagram's length. Behaviour is elsewhere (`roles`).
"""

from __future__ import annotations

import struct

from dmmp.errors import DecodeError, DecodeReason, UsageError
from dmmp.messages import (
    bootstrap,
    data,
    introducing,
    joining,
    keys,
    leaving,
    liveness,
    mesh,
    promotion,
    renewing,
    security,
)
from dmmp.messages.bootstrap import (
    PingRpRequest,
    PingRpResponse,
    SourceRequest,
    SourceResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.data import Credential, Data, DataRequest, Error, Heartbeat
from dmmp.messages.header import HEADER, HEADER_BYTES, MAXIMUM_PAYLOAD_BYTES, VERSION, read_header
from dmmp.messages.introducing import IntroductionRequest, IntroductionResponse
from dmmp.messages.joining import ClusterRequest, ClusterResponse, JoinRequest, JoinResponse
from dmmp.messages.keys import KeyLeave, KeyRequest, KeyResponse, Rekey
from dmmp.messages.leaving import LeaveReport, LeaveResponse
from dmmp.messages.liveness import (
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.mesh import SetupRequest, SetupResponse
from dmmp.messages.options import Option, TlvType
from dmmp.messages.promotion import (
    BreakConfirm,
    BreakRequest,
    BreakResponse,
    JoinNotification,
    PromotionAck,
    PromotionConfirm,
    PromotionRequest,
)
from dmmp.messages.renewing import RenewalRequest, RenewalResponse
from dmmp.messages.schema import FieldValue, Message, Tlv
from dmmp.messages.security import (
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    HopSealed,
    Sealed,
)
from dmmp.messages.tlv import build_tlvs, parse_tlvs
from dmmp.messages.wiretypes import InvalidValue
from dmmp.types import HostId, SessionId

_FAMILIES = (
    data,
    bootstrap,
    joining,
    mesh,
    liveness,
    leaving,
    promotion,
    security,
    keys,
    introducing,
    renewing,
)

REGISTRY: dict[int, type[Message]] = {
    found.OPTION: found
    for family in _FAMILIES
    for found in vars(family).values()
    if isinstance(found, type) and issubclass(found, Message) and found is not Message
}
"""Option code to message class, for every message there is."""


def encode(message: Message) -> bytes:
    """Build the datagram of a message; raise `UsageError` if a field's value does not fit."""
    try:
        body = message.PACKED.build(message)
        if message.tlvs:
            if not message.HAS_TLVS:
                raise UsageError(f"{type(message).__name__} can have no optional elements")
            body += build_tlvs(message.tlvs)
        if len(body) > MAXIMUM_PAYLOAD_BYTES:
            raise UsageError(f"{type(message).__name__}: {len(body)} bytes fit no datagram")
        return (
            HEADER.pack(
                VERSION,
                message.tree_version,
                message.OPTION,
                message.session,
                message.source,
                message.sequence,
                message.reserved,
                len(body),
            )
            + body
        )
    except (InvalidValue, struct.error) as error:
        raise UsageError(f"{type(message).__name__} cannot be sent: {error}") from error


def decode(datagram: bytes | memoryview) -> Message:
    """Read one datagram; raise `DecodeError`, and nothing else, for whatever is not a message."""
    header = read_header(datagram)
    cls = REGISTRY.get(header.option)
    if cls is None:
        raise DecodeError(DecodeReason.OPTION, 2, f"unknown option {header.option:#06x}")
    data = bytes(datagram)
    values, end = cls.PACKED.parse(data, HEADER_BYTES)
    tlvs: tuple[Tlv, ...] = ()
    if end < len(data):
        if not cls.HAS_TLVS:
            raise DecodeError(DecodeReason.TRAILING, end, cls.__name__)
        tlvs = parse_tlvs(data[end:], end)
    fields: dict[str, FieldValue] = dict(zip(cls.PACKED.names, values, strict=True))
    return cls(
        session=SessionId(header.session),
        source=HostId(header.source),
        sequence=header.sequence,
        tree_version=header.tree_version,
        reserved=header.reserved,
        tlvs=tlvs,
        **fields,
    )


__all__ = [
    "REGISTRY",
    "BreakConfirm",
    "BreakRequest",
    "BreakResponse",
    "ClusterRequest",
    "ClusterResponse",
    "CookieReply",
    "Credential",
    "Data",
    "DataRequest",
    "Error",
    "HandshakeInitiation",
    "HandshakeResponse",
    "Heartbeat",
    "HopSealed",
    "IntroductionRequest",
    "IntroductionResponse",
    "JoinNotification",
    "JoinRequest",
    "JoinResponse",
    "KeyLeave",
    "KeyRequest",
    "KeyResponse",
    "LeaveReport",
    "LeaveResponse",
    "Message",
    "Option",
    "PingRpRequest",
    "PingRpResponse",
    "ProbeRequest",
    "ProbeResponse",
    "PromotionAck",
    "PromotionConfirm",
    "PromotionRequest",
    "RefreshRequest",
    "RefreshResponse",
    "Rekey",
    "RenewalRequest",
    "RenewalResponse",
    "Sealed",
    "SetupRequest",
    "SetupResponse",
    "SourceRequest",
    "SourceResponse",
    "StatusReport",
    "StatusResponse",
    "SubscriptionRequest",
    "SubscriptionResponse",
    "Tlv",
    "TlvType",
    "decode",
    "encode",
]
