"""IGMP versions 1 to 3: between bytes and the values of `reports`; the IP packets around them too.

A codec, no protocol: what the values mean is `membership`'s.
RFC 9776 (IGMPv3), RFC 2236 (IGMPv2), RFC 1112 Appendix I (IGMPv1).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from construct import Bytes, Const, Int8ub, Int16ub, Padding, PrefixedArray, Struct

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun.packets import PROTOCOL_IGMP, Buffer, checksum, ip_packet
from dmmp.tun.records import QUERIER_FLAGS, fields_of, group_record, parsed, read_records
from dmmp.tun.reports import Leave, MembershipMessage, OldReport, Query, Report

ALL_HOSTS = IPv4Address("224.0.0.1")
ALL_ROUTERS = IPv4Address("224.0.0.2")
ALL_REPORT_LISTENERS = IPv4Address("224.0.0.22")
NO_GROUP = IPv4Address("0.0.0.0")

INTERNETWORK_CONTROL = 0xC0
ROUTER_ALERT = bytes.fromhex("94040000")

QUERY, REPORT_V1, REPORT_V2, LEAVE_V2, REPORT_V3 = 0x11, 0x12, 0x16, 0x17, 0x22

_OLD_BYTES = 8
_V3_QUERY_BYTES = 12

OLD_MESSAGE = Struct(
    "kind" / Int8ub,
    "response_code" / Int8ub,
    "checksum" / Int16ub,
    "group" / Bytes(4),
)

# RFC 9776 §4.1; a query may be longer than its fields say, and the rest is ignored (§4.1.10).
V3_QUERY = Struct(
    "kind" / Const(QUERY, Int8ub),
    "response_code" / Int8ub,
    "checksum" / Int16ub,
    "group" / Bytes(4),
    "flags" / QUERIER_FLAGS,
    "interval_code" / Int8ub,
    "sources" / PrefixedArray(Int16ub, Bytes(4)),
)

V3_REPORT = Struct(
    "kind" / Const(REPORT_V3, Int8ub),
    Padding(1),
    "checksum" / Int16ub,
    Padding(2),
    "records" / PrefixedArray(Int16ub, group_record(4)),
)


def decode(message: Buffer) -> MembershipMessage:
    """Read an IGMP message (the IP payload), or raise `DecodeError` with offsets within it."""
    data = bytes(message)
    if len(data) < _OLD_BYTES:
        raise DecodeError(DecodeReason.TRUNCATED, len(data))
    if checksum(data):
        raise DecodeError(DecodeReason.CHECKSUM, 2)
    kind = data[0]
    if kind == REPORT_V3:
        return Report(read_records(data, IPv4Address))
    if kind == QUERY and len(data) >= _V3_QUERY_BYTES:
        return _v3_query(data)
    if kind not in (QUERY, REPORT_V1, REPORT_V2, LEAVE_V2):
        raise DecodeError(DecodeReason.OPTION, 0, f"IGMP type {kind}")
    fields = parsed(OLD_MESSAGE, data)
    group = IPv4Address(fields.group)
    if kind == QUERY:
        if len(data) != _OLD_BYTES or (group != NO_GROUP and not group.is_multicast):
            raise DecodeError(DecodeReason.LENGTH, len(data), "neither an old query nor a v3 one")
        return Query(2 if fields.response_code else 1, group, fields.response_code)
    if not group.is_multicast:
        raise DecodeError(DecodeReason.VALUE, 4, "not a group")
    if kind == LEAVE_V2:
        return Leave(group)
    return OldReport(1 if kind == REPORT_V1 else 2, group)


def encode(message: MembershipMessage) -> bytes:
    """Write an IGMP message, checksum included."""
    match message:
        case Report(records):
            fields = [fields_of(record) for record in records]
            data: bytes = V3_REPORT.build({"checksum": 0, "records": fields})
        case Query(version=3):
            data = V3_QUERY.build(
                {
                    "response_code": message.response_code,
                    "checksum": 0,
                    "group": message.group.packed,
                    "flags": {"suppress": message.suppress, "robustness": message.robustness},
                    "interval_code": message.interval_code,
                    "sources": [source.packed for source in message.sources],
                }
            )
        case Query():
            data = _old(QUERY, message.group.packed, message.response_code)
        case OldReport(version, group):
            data = _old(REPORT_V1 if version == 1 else REPORT_V2, group.packed)
        case Leave(group):
            data = _old(LEAVE_V2, group.packed)
    return data[:2] + struct.pack("!H", checksum(data)) + data[4:]


def destination_of(message: MembershipMessage) -> IPv4Address:
    """Give the address a message is sent to (RFC 9776 §4.1.12, §4.2.14; RFC 2236 §9)."""
    match message:
        case Report():
            return ALL_REPORT_LISTENERS
        case Leave():
            return ALL_ROUTERS
        case Query(group=group) | OldReport(group=group):
            return ALL_HOSTS if group == NO_GROUP else IPv4Address(int(group))


def packet(message: MembershipMessage, source: IPv4Address, identification: int = 0) -> bytes:
    """Build the whole IP packet: TTL 1, internetwork control, router alert (RFC 9776 §4)."""
    return ip_packet(
        source,
        destination_of(message),
        PROTOCOL_IGMP,
        encode(message),
        ttl=1,
        traffic_class=INTERNETWORK_CONTROL,
        options=ROUTER_ALERT,
        identification=identification,
    )


def _old(kind: int, group: bytes, response_code: int = 0) -> bytes:
    built: bytes = OLD_MESSAGE.build(
        {"kind": kind, "response_code": response_code, "checksum": 0, "group": group}
    )
    return built


def _v3_query(data: bytes) -> Query:
    fields = parsed(V3_QUERY, data)
    group = IPv4Address(fields.group)
    if group != NO_GROUP and not group.is_multicast:
        raise DecodeError(DecodeReason.VALUE, 4, "not a group")
    return Query(
        version=3,
        group=group,
        response_code=fields.response_code,
        sources=tuple(IPv4Address(source) for source in fields.sources),
        suppress=fields.flags.suppress,
        robustness=fields.flags.robustness,
        interval_code=fields.interval_code,
    )
