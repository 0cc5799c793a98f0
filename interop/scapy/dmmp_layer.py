# SPDX-License-Identifier: GPL-2.0-only
"""DMMP for scapy: craft, send, sniff and take apart every message, byte by byte.

Written from `spec-notes/messages.md`, and on its own: it needs scapy, whose licence (GPL-2, in
`LICENSE` beside this file) it therefore has, and nothing of the package `dmmp`, which in turn never
imports this. Counts, lengths and the header's length are filled in unless they are given, wrong
ones included: nothing is checked, so that bad datagrams can be made. README.md has examples.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, ClassVar

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    Field,
    FieldLenField,
    FieldListField,
    FlagsField,
    IntField,
    LongField,
    PacketField,
    PacketListField,
    PadField,
    ShortEnumField,
    ShortField,
    StrField,
    StrFixedLenField,
    StrLenField,
    XIntField,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw, bind_bottom_up, bind_layers, bind_top_down

PORT = 47700
LAST_DATA_OPTION = 2
SEALED, MANIFEST, SIGNED = 2, 4, 8
DATA_FLAGS = ["HEARTBEAT", "SEALED", "MANIFEST", "SIGNED", "b4", "b5", "b6", "b7"]
HOST_FLAGS = [
    "SOURCE",
    "SUPER_NODE",
    "RELAY_ONLY",
    "OFFERS",
    "FED",
    "ORDINARY",
    "EXCHANGES",
    "b7",
]
STATUS = {
    0: "SUCCESS",
    1: "REFUSED",
    2: "FULL",
    3: "LOOP",
    4: "UNKNOWN_SESSION",
    5: "UNKNOWN_HOST",
    6: "NOT_JOINED",
    7: "NOT_SUPER_NODE",
    8: "DUPLICATE_SOURCE",
    9: "NO_SOURCE",
    10: "INCAPABLE",
}
HOST_STATE = {0: "ACTIVE", 1: "LEAVING", 2: "INACTIVE"}
LEAVE_REASON = {0: "SHUTDOWN", 1: "MOVED", 2: "DECLINED", 3: "DISMISSED", 4: "HANDOVER"}
REFRESH_KIND = {0: "CHILD", 1: "PARENT", 2: "MESH", 3: "SOURCE", 4: "HOST", 5: "RELATIVE"}
PHASE = {0: "BUILDING", 1: "RUNNING"}
FILTER_MODE = {0: "INCLUDE", 1: "EXCLUDE"}
ERROR_CODE = {0: "UNKNOWN_OPTION", 1: "UNKNOWN_TLV", 2: "UNKNOWN_SESSION", 3: "NOT_ALLOWED"}
ELEMENT = {0x8001: "PADDING", 0x8002: "NAME", 0x8003: "SIGNATURE"}
_MAPPED = bytes(10) + b"\xff\xff"


class AddressField(Field[str, bytes]):
    """An IP address in 16 bytes; IPv4 as `::ffff:a.b.c.d`. Text in Python."""

    def __init__(self, name: str, default: str = "0.0.0.0") -> None:
        super().__init__(name, default, "16s")

    def i2m(self, pkt: Packet | None, x: str | None) -> bytes:
        """Make the 16 bytes."""
        text = x or "0.0.0.0"
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return _MAPPED + socket.inet_pton(socket.AF_INET, text)

    def m2i(self, pkt: Packet | None, x: bytes) -> str:
        """Read the 16 bytes."""
        if x.startswith(_MAPPED):
            return socket.inet_ntop(socket.AF_INET, x[12:])
        return socket.inet_ntop(socket.AF_INET6, x)


class AllButField(StrField):
    """Bytes up to so many before the end, which the fields behind it take."""

    __slots__ = ("behind",)

    def __init__(self, name: str, behind: int) -> None:
        super().__init__(name, b"")
        self.behind = behind

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, bytes]:
        """Take them."""
        size = max(0, len(s) - self.behind)
        return s[size:], s[:size]


def _text(name: str) -> list[Any]:
    return _prefixed(name, "B")


def _octets(name: str) -> list[Any]:
    return _prefixed(name, "H")


def _prefixed(name: str, form: str) -> list[Any]:
    length = f"{name}_length"
    return [
        FieldLenField(length, None, length_of=name, fmt=form),
        StrLenField(name, b"", length_from=lambda pkt: pkt.getfieldval(length)),
    ]


def _numbers(name: str) -> list[Any]:
    return _counted(name, lambda count: FieldListField(name, [], IntField("", 0), count_from=count))


def _addresses(name: str) -> list[Any]:
    return _counted(
        name, lambda count: FieldListField(name, [], AddressField(""), count_from=count)
    )


def _records(name: str, record: type[Packet]) -> list[Any]:
    return _counted(name, lambda count: PacketListField(name, [], record, count_from=count))


def _counted(name: str, make: Any) -> list[Any]:
    count = f"{name}_count"
    return [
        FieldLenField(count, None, count_of=name, fmt="B"),
        make(lambda pkt: pkt.getfieldval(count)),
    ]


class Record(Packet):
    """Fields inside of a message; nothing follows them."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leave what follows to the message."""
        return b"", s


class DmmpEndpoint(Record):
    """An endpoint: 18 bytes."""

    name = "Endpoint"
    fields_desc: ClassVar[list[Any]] = [AddressField("address"), ShortField("port", 0)]


class DmmpHost(Record):
    """A HostRecord: 36 bytes."""

    name = "HostRecord"
    fields_desc: ClassVar[list[Any]] = [
        IntField("host", 0),
        AddressField("address"),
        ShortField("port", 0),
        FlagsField("flags", 0, 8, HOST_FLAGS),
        ByteField("depth", 255),
        ShortField("out_degree", 0),
        ShortField("free_slots", 0),
        IntField("uptime", 0),
        IntField("delay_us", 0),
    ]


class DmmpLink(Record):
    """A LinkRecord: 8 bytes."""

    name = "LinkRecord"
    fields_desc: ClassVar[list[Any]] = [IntField("neighbour", 0), IntField("delay_us", 0)]


class DmmpInterest(Record):
    """An Interest: a group and its sources."""

    name = "Interest"
    fields_desc: ClassVar[list[Any]] = [
        AddressField("group"),
        ByteEnumField("mode", 1, FILTER_MODE),
        *_addresses("sources"),
    ]


class DmmpPathKey(Record):
    """A PathKey: 40 bytes."""

    name = "PathKey"
    fields_desc: ClassVar[list[Any]] = [
        XIntField("node", 0),
        IntField("version", 0),
        StrFixedLenField("key", bytes(32), 32),
    ]


class DmmpKeyWrap(Record):
    """A KeyWrap: 56 bytes."""

    name = "KeyWrap"
    fields_desc: ClassVar[list[Any]] = [
        XIntField("under", 0),
        IntField("version", 0),
        StrFixedLenField("sealed", bytes(48), 48),
    ]


class DmmpKeyRenewal(Record):
    """A KeyRenewal: a node and the seals of its fresh key."""

    name = "KeyRenewal"
    fields_desc: ClassVar[list[Any]] = [XIntField("node", 0), *_records("wraps", DmmpKeyWrap)]


class DmmpElement(Record):
    """An optional element: type, length, value, zeros up to a multiple of four bytes."""

    name = "Element"
    fields_desc: ClassVar[list[Any]] = [
        ShortEnumField("type", 0x8001, ELEMENT),
        FieldLenField("length", None, length_of="value", fmt="H"),
        PadField(StrLenField("value", b"", length_from=lambda pkt: pkt.length), 4),
    ]


def _host(name: str) -> PacketField:
    return PacketField(name, DmmpHost(), DmmpHost)


def _endpoint(name: str) -> PacketField:
    return PacketField(name, DmmpEndpoint(), DmmpEndpoint)


def _status() -> ByteEnumField:
    return ByteEnumField("status", 0, STATUS)


ELEMENTS = PacketListField("tlvs", [], DmmpElement)
SUPER_NODE = IntField("super_node", 0)
MACS = [StrFixedLenField("mac1", bytes(16), 16), StrFixedLenField("mac2", bytes(16), 16)]
EPHEMERAL = StrFixedLenField("ephemeral", bytes(32), 32)
TAG = [AllButField("ciphertext", 16), StrFixedLenField("tag", bytes(16), 16)]


class DmmpMessage(Packet):
    """What stands behind a header."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes | None]:
        """What a message does not take is no part of it."""
        return b"", s


class DmmpData(Packet):
    """Nothing but the packet that is carried: IP, or bytes if it is sealed or a manifest."""

    name = "Data"
    fields_desc: ClassVar[list[Any]] = []

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """An IP packet in the clear, bytes otherwise."""
        head = self.underlayer
        hidden = isinstance(head, DMMP) and int(head.flags) & (SEALED | MANIFEST | SIGNED)
        versions: dict[int, type[Packet]] = {4: IP, 6: IPv6}
        return Raw if hidden or not payload else versions.get(payload[0] >> 4, Raw)


def _message(name: str, *fields: Any, elements: bool = True) -> type[DmmpMessage]:
    listed = [part for each in fields for part in (each if isinstance(each, list) else [each])]
    described = {
        "name": name,
        "fields_desc": [*listed, *([ELEMENTS] if elements else [])],
        "__doc__": f"The message {name}.",
        "__module__": __name__,
    }
    make: Any = type(DmmpMessage)
    made: type[DmmpMessage] = make(f"Dmmp{name}", (DmmpMessage,), described)
    return made


_STATUS_ONLY = [_status()]
_OFFER = [
    _status(),
    _host("parent"),
    SUPER_NODE,
    *_numbers("root_path"),
    *_records("children", DmmpHost),
]
_CERTIFICATE = _octets("certificate")
MESSAGES: dict[int, type[Packet]] = {
    0x00: DmmpData,
    0x01: _message(
        "Heartbeat",
        AddressField("group"),
        AddressField("origin_address"),
        IntField("highest", 0),
        ByteField("started", 1),
    ),
    0x02: _message("Credential", _CERTIFICATE),
    0x10: _message("SubscriptionRequest", _text("group_name"), _text("domain")),
    0x11: _message(
        "SubscriptionResponse",
        _status(),
        IntField("lifetime", 0),
        _records("rendezvous_points", DmmpEndpoint),
    ),
    0x20: _message("PingRpRequest", LongField("instance", 0), _host("host"), _numbers("refused")),
    0x21: _message(
        "PingRpResponse",
        _status(),
        ByteEnumField("phase", 1, PHASE),
        IntField("host", 0),
        _endpoint("observed"),
        IntField("hosts", 0),
        _records("super_nodes", DmmpHost),
    ),
    0x30: _message("SourceRequest", _host("host")),
    0x31: _message("SourceResponse", _status(), _host("origin")),
    0x40: _message("ClusterRequest", _host("applicant")),
    0x41: _message("ClusterResponse", _OFFER),
    0x50: _message("JoinRequest", _host("applicant"), ByteField("passes", 0)),
    0x51: _message("JoinResponse", _OFFER),
    0x60: _message("SetupRequest", _host("sender"), _records("members", DmmpHost)),
    0x61: _message("SetupResponse", _status(), _host("sender")),
    0x70: _message("StatusReport", ByteEnumField("state", 0, HOST_STATE), _host("subject")),
    0x71: _message("StatusResponse", _STATUS_ONLY),
    0x80: _message("ProbeRequest", LongField("timestamp", 0)),
    0x81: _message("ProbeResponse", LongField("timestamp", 0), _host("sender")),
    0x90: _message("LeaveReport", ByteEnumField("reason", 0, LEAVE_REASON), _host("replacement")),
    0x91: _message("LeaveResponse", _STATUS_ONLY),
    0xA0: _message(
        "RefreshRequest",
        ByteEnumField("kind", 0, REFRESH_KIND),
        _host("sender"),
        SUPER_NODE,
        _numbers("root_path"),
        _records("interest", DmmpInterest),
        _records("links", DmmpLink),
        _records("successors", DmmpHost),
    ),
    0xA1: _message(
        "RefreshResponse",
        _status(),
        _host("sender"),
        SUPER_NODE,
        _numbers("root_path"),
        _records("backups", DmmpHost),
        _records("siblings", DmmpHost),
        _host("successor"),
    ),
    0xB0: _message("PromotionRequest", _host("applicant")),
    0xB1: _message("PromotionAck", _status(), _host("grandparent")),
    0xB2: _message("PromotionConfirm", _STATUS_ONLY),
    0xB3: _message("BreakRequest", _host("applicant")),
    0xB4: _message("BreakResponse", _STATUS_ONLY),
    0xB5: _message("BreakConfirm", _STATUS_ONLY),
    0xB6: _message("JoinNotification", _host("parent")),
    0xC0: _message(
        "DataRequest",
        IntField("origin", 0),
        ShortField("channel", 0),
        IntField("base", 0),
        _octets("bitmap"),
    ),
    0xD0: _message(
        "HandshakeInitiation",
        EPHEMERAL,
        StrFixedLenField("sealed_static", bytes(48), 48),
        AllButField("sealed_payload", 32),
        MACS,
        elements=False,
    ),
    0xD1: _message(
        "HandshakeResponse", EPHEMERAL, AllButField("sealed_payload", 32), MACS, elements=False
    ),
    0xD2: _message(
        "CookieReply",
        StrFixedLenField("nonce", bytes(12), 12),
        StrFixedLenField("sealed_cookie", bytes(32), 32),
        elements=False,
    ),
    0xD3: _message("Sealed", TAG, elements=False),
    0xD4: _message("KeyRequest", IntField("epoch", 0)),
    0xD5: _message(
        "KeyResponse",
        _status(),
        IntField("epoch", 0),
        IntField("leaf", 0),
        _records("path", DmmpPathKey),
    ),
    0xD6: _message("KeyLeave", ByteEnumField("reason", 0, LEAVE_REASON)),
    0xD7: _message(
        "Rekey",
        IntField("epoch", 0),
        ShortField("part", 0),
        ShortField("parts", 1),
        _records("renewals", DmmpKeyRenewal),
    ),
    0xD8: _message("IntroductionRequest", _endpoint("wanted")),
    0xD9: _message("IntroductionResponse", _endpoint("wanted")),
    0xDA: _message("RenewalRequest", _CERTIFICATE),
    0xDB: _message("RenewalResponse", _status(), _CERTIFICATE),
    0xDC: _message("HopSealed", TAG, elements=False),
    0xF0: _message(
        "Error",
        ByteEnumField("code", 0, ERROR_CODE),
        ShortField("option", 0),
        ShortField("offset", 0),
        _text("text"),
    ),
}
"""Option code to the layer behind the header, for every message there is."""


NAMES = {code: cls.__name__.removeprefix("Dmmp") for code, cls in MESSAGES.items()}


class DMMP(Packet):
    """The header of 24 bytes; in data (options 0 to 2) the reserved word has three parts."""

    name = "DMMP"
    fields_desc: ClassVar[list[Any]] = [
        ByteField("version", 1),
        ByteField("tree_version", 0),
        ShortEnumField("option", 0, NAMES),
        XIntField("session", 0),
        IntField("source", 0),
        IntField("sequence", 0),
        ConditionalField(FlagsField("flags", 0, -8, DATA_FLAGS), lambda pkt: _is_data(pkt)),
        ConditionalField(BitField("epoch", 0, 8), lambda pkt: _is_data(pkt)),
        ConditionalField(ShortField("channel", 0), lambda pkt: _is_data(pkt)),
        ConditionalField(XIntField("reserved", 0), lambda pkt: not _is_data(pkt)),
        IntField("length", None),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Fill in the length unless it was given."""
        if self.length is None:
            pkt = pkt[:20] + struct.pack("!I", len(pay))
        return pkt + pay

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes | None]:
        """What is beyond the length is no part of the message."""
        return s[: self.length], s[self.length :]

    def hashret(self) -> bytes:
        """Requests and responses have the same number (Decision 6)."""
        return struct.pack("!I", self.sequence)

    def answers(self, other: Packet) -> int:
        """A response is its request's option plus one; a promotion's answers are irregular."""
        if not isinstance(other, DMMP) or self.sequence != other.sequence:
            return 0
        return int((other.option, self.option) in ANSWERS or self.option == other.option + 1)

    def mysummary(self) -> str:
        """Say it in a line."""
        return self.sprintf("DMMP %option% session %session% source %source% #%sequence%")


def _is_data(pkt: Packet) -> bool:
    return bool(pkt.option <= LAST_DATA_OPTION)


ANSWERS = {(0xB0, 0xB1), (0xB3, 0xB4), (0xB6, 0xB2), (0xD6, 0xD5)}
"""Promotion and Break, Join Notification and Promotion Confirm, Key Leave and Key Response."""


BY_NAME: dict[str, type[Packet]] = {NAMES[code]: cls for code, cls in MESSAGES.items()}
"""Every message's layer by the message's name, as the notes have it."""

for _code, _layer in MESSAGES.items():
    bind_layers(DMMP, _layer, option=_code)
    globals()[_layer.__name__] = _layer
bind_bottom_up(UDP, DMMP, dport=PORT)
bind_bottom_up(UDP, DMMP, sport=PORT)
bind_top_down(UDP, DMMP, dport=PORT, sport=PORT)
