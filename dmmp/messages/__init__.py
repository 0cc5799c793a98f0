"""Every message of the protocol, and the two functions between them and bytes.

`decode` is total: for any bytes it gives a message or raises `DecodeError`, in time and memory
bounded by the datagram's length. Behaviour is elsewhere (`roles`).
"""

from __future__ import annotations

from io import BytesIO

import construct

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages import bootstrap, data, joining, leaving, liveness, mesh, promotion
from dmmp.messages.bootstrap import (
    PingRpRequest,
    PingRpResponse,
    SourceRequest,
    SourceResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.data import Data, DataRequest, Error, Heartbeat
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION, Header, read_header
from dmmp.messages.joining import ClusterRequest, ClusterResponse, JoinRequest, JoinResponse
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
from dmmp.messages.schema import InvalidValue, Message, Tlv
from dmmp.messages.tlv import build_tlvs, parse_tlvs
from dmmp.types import HostId, SessionId

_FAMILIES = (data, bootstrap, joining, mesh, liveness, leaving, promotion)

REGISTRY: dict[int, type[Message]] = {
    found.OPTION: found
    for family in _FAMILIES
    for found in vars(family).values()
    if isinstance(found, type) and issubclass(found, Message) and found is not Message
}
"""Option code to message class, for every message there is."""


def encode(message: Message) -> bytes:
    """Build the datagram of a message: header, body, optional elements."""
    body: bytes = message.BODY.build(message)
    if message.tlvs:
        body += build_tlvs(message.tlvs)
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


def decode(datagram: bytes | memoryview) -> Message:
    """Read one datagram; raise `DecodeError`, and nothing else, for whatever is not a message."""
    header = read_header(datagram)
    cls = REGISTRY.get(header.option)
    if cls is None:
        raise DecodeError(DecodeReason.OPTION, 2, f"unknown option {header.option:#06x}")
    stream = BytesIO(datagram[HEADER_BYTES:])
    try:
        parsed = cls.BODY.parse_stream(stream)
    except InvalidValue as error:
        raise DecodeError(DecodeReason.VALUE, HEADER_BYTES + stream.tell(), str(error)) from None
    except construct.StreamError:
        raise DecodeError(
            DecodeReason.TRUNCATED, HEADER_BYTES + stream.tell(), cls.__name__
        ) from None
    except (construct.ConstructError, UnicodeError):
        raise DecodeError(DecodeReason.VALUE, HEADER_BYTES + stream.tell(), cls.__name__) from None
    return _finish(cls, parsed, header, datagram, HEADER_BYTES + stream.tell())


def _finish(
    cls: type[Message],
    parsed: Message,
    header: Header,
    datagram: bytes | memoryview,
    offset: int,
) -> Message:
    tlvs: tuple[Tlv, ...] = ()
    if offset < len(datagram):
        if not cls.HAS_TLVS:
            raise DecodeError(DecodeReason.TRAILING, offset, cls.__name__)
        tlvs = parse_tlvs(bytes(datagram[offset:]), offset)
    values = {name: getattr(parsed, name) for name in cls.BODY.names}
    return cls(
        session=SessionId(header.session),
        source=HostId(header.source),
        sequence=header.sequence,
        tree_version=header.tree_version,
        reserved=header.reserved,
        tlvs=tlvs,
        **values,
    )


__all__ = [
    "REGISTRY",
    "BreakConfirm",
    "BreakRequest",
    "BreakResponse",
    "ClusterRequest",
    "ClusterResponse",
    "Data",
    "DataRequest",
    "Error",
    "Heartbeat",
    "JoinNotification",
    "JoinRequest",
    "JoinResponse",
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
