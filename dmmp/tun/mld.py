"""MLD versions 1 and 2: between bytes and the values of `reports`; the IP packets around them too.

A codec, no protocol: what the values mean is `membership`'s. MLD is part of ICMPv6, so its checksum
covers the addresses of the IPv6 header and both directions need them.
RFC 9777 (MLDv2), RFC 2710 (MLDv1).
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from construct import Bytes, Const, Int8ub, Int16ub, Padding, PrefixedArray, Struct

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun.packets import PROTOCOL_ICMPV6, Buffer, checksum, ip_packet, pseudo_header
from dmmp.tun.records import QUERIER_FLAGS, fields_of, group_record, parsed, read_records
from dmmp.tun.reports import Leave, MembershipMessage, OldReport, Query, Report
from dmmp.types import IpAddress

ALL_NODES = IPv6Address("ff02::1")
ALL_ROUTERS = IPv6Address("ff02::2")
ALL_REPORT_LISTENERS = IPv6Address("ff02::16")
NO_GROUP = IPv6Address("::")
QUERIER = IPv6Address("fe80::1")
"""A query must come from a link-local address (RFC 9777 §5.1.14); the kernel's own is random."""

HOP_BY_HOP = bytes.fromhex("00050200000100")
"""Length, router alert for MLD, PadN; the byte before, the next header, comes with the packet."""

QUERY, REPORT_V1, DONE_V1, REPORT_V2 = 130, 131, 132, 143

_V1_BYTES = 24
_V2_QUERY_BYTES = 28

V1_MESSAGE = Struct(
    "kind" / Int8ub,
    Padding(1),
    "checksum" / Int16ub,
    "response_code" / Int16ub,
    Padding(2),
    "group" / Bytes(16),
)

# RFC 9777 §5.1; bytes beyond what the fields say are ignored (§5.1.12).
V2_QUERY = Struct(
    "kind" / Const(QUERY, Int8ub),
    Padding(1),
    "checksum" / Int16ub,
    "response_code" / Int16ub,
    Padding(2),
    "group" / Bytes(16),
    "flags" / QUERIER_FLAGS,
    "interval_code" / Int8ub,
    "sources" / PrefixedArray(Int16ub, Bytes(16)),
)

V2_REPORT = Struct(
    "kind" / Const(REPORT_V2, Int8ub),
    Padding(1),
    "checksum" / Int16ub,
    Padding(2),
    "records" / PrefixedArray(Int16ub, group_record(16)),
)


def decode(message: Buffer, source: IpAddress, destination: IpAddress) -> MembershipMessage:
    """Read an MLD message, from the ICMPv6 type on, or raise `DecodeError`."""
    data = bytes(message)
    if len(data) < 8:
        raise DecodeError(DecodeReason.TRUNCATED, len(data))
    if checksum(pseudo_header(source, destination, PROTOCOL_ICMPV6, len(data)), data):
        raise DecodeError(DecodeReason.CHECKSUM, 2)
    kind = data[0]
    if data[1]:
        raise DecodeError(DecodeReason.VALUE, 1, "ICMPv6 code")
    if kind == REPORT_V2:
        return Report(read_records(data, IPv6Address))
    if kind == QUERY and len(data) >= _V2_QUERY_BYTES:
        return _v2_query(data)
    if kind not in (QUERY, REPORT_V1, DONE_V1):
        raise DecodeError(DecodeReason.OPTION, 0, f"ICMPv6 type {kind}")
    fields = parsed(V1_MESSAGE, data)
    group = IPv6Address(fields.group)
    if kind == QUERY:
        if len(data) != _V1_BYTES or (group != NO_GROUP and not group.is_multicast):
            raise DecodeError(DecodeReason.LENGTH, len(data), "neither a v1 query nor a v2 one")
        return Query(1, group, fields.response_code)
    if not group.is_multicast:
        raise DecodeError(DecodeReason.VALUE, 8, "not a group")
    return Leave(group) if kind == DONE_V1 else OldReport(1, group)


def encode(message: MembershipMessage, source: IPv6Address, destination: IPv6Address) -> bytes:
    """Write an MLD message, checksum included."""
    match message:
        case Report(records):
            fields = [fields_of(record) for record in records]
            data: bytes = V2_REPORT.build({"checksum": 0, "records": fields})
        case Query(version=2):
            data = V2_QUERY.build(
                {
                    "response_code": message.response_code,
                    "checksum": 0,
                    "group": message.group.packed,
                    "flags": {"suppress": message.suppress, "robustness": message.robustness},
                    "interval_code": message.interval_code,
                    "sources": [listed.packed for listed in message.sources],
                }
            )
        case Query(group=group):
            data = _v1(QUERY, group, message.response_code)
        case OldReport(group=group):
            data = _v1(REPORT_V1, group)
        case Leave(group):
            data = _v1(DONE_V1, group)
    pseudo = pseudo_header(source, destination, PROTOCOL_ICMPV6, len(data))
    return data[:2] + struct.pack("!H", checksum(pseudo, data)) + data[4:]


def destination_of(message: MembershipMessage) -> IPv6Address:
    """Give the address a message is sent to (RFC 9777 §5.1.15, §5.2.14; RFC 2710 §8)."""
    match message:
        case Report():
            return ALL_REPORT_LISTENERS
        case Leave():
            return ALL_ROUTERS
        case Query(group=group) | OldReport(group=group):
            return ALL_NODES if group == NO_GROUP else IPv6Address(int(group))


def packet(message: MembershipMessage, source: IPv6Address = QUERIER) -> bytes:
    """Build the whole IP packet: hop limit 1 and router alert, or Linux is silent (RFC 9777 §5)."""
    destination = destination_of(message)
    body = encode(message, source, destination)
    return ip_packet(source, destination, PROTOCOL_ICMPV6, body, ttl=1, options=HOP_BY_HOP)


def _v1(kind: int, group: IpAddress, response_code: int = 0) -> bytes:
    fields = {"kind": kind, "checksum": 0, "response_code": response_code, "group": group.packed}
    built: bytes = V1_MESSAGE.build(fields)
    return built


def _v2_query(data: bytes) -> Query:
    fields = parsed(V2_QUERY, data)
    group = IPv6Address(fields.group)
    if group != NO_GROUP and not group.is_multicast:
        raise DecodeError(DecodeReason.VALUE, 8, "not a group")
    return Query(
        version=2,
        group=group,
        response_code=fields.response_code,
        sources=tuple(IPv6Address(listed) for listed in fields.sources),
        suppress=fields.flags.suppress,
        robustness=fields.flags.robustness,
        interval_code=fields.interval_code,
    )
