"""IGMP messages: decode, encode, decode again gives the same message; else `DecodeError`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun import igmp
from dmmp.tun.packets import checksum
from dmmp.tun.packets import parse as parse_packet
from dmmp.tun.reports import Query, Record, RecordType, Report
from tests.fuzz.target import Target
from tests.tun.vectors import igmp_vectors

SENDER = IPv4Address("198.18.0.1")
MOST_BYTES = 1480
"""What fits a packet of 1,500 bytes."""


def parse(data: bytes) -> DecodeReason | None:
    """Decode; tell why it was refused."""
    try:
        igmp.decode(data)
    except DecodeError as error:
        return error.reason
    return None


def test_one(data: bytes) -> None:
    """Decode as it came and, if that was all that was wrong, with the right checksum."""
    if check(data) is DecodeReason.CHECKSUM:
        zeroed = data[:2] + bytes(2) + data[4:]
        check(data[:2] + checksum(zeroed).to_bytes(2, "big") + data[4:])


def check(data: bytes) -> DecodeReason | None:
    """Decode, encode and decode; tell why it was refused."""
    try:
        message = igmp.decode(data)
    except DecodeError as error:
        assert 0 <= error.offset <= len(data), error.offset
        return error.reason
    again = igmp.encode(message)
    assert igmp.decode(again) == message
    packet = igmp.packet(message, SENDER)
    header = parse_packet(packet)
    assert packet[header.payload_offset :] == again
    assert header.ttl == 1 and header.router_alert and header.destination.is_multicast
    return None


def seeds() -> Iterable[bytes]:
    for vector in igmp_vectors():
        yield vector.packet[parse_packet(vector.packet).payload_offset :]
    # As much as fits a packet: of records, of sources.
    groups = [IPv4Address(0xEF010000 + n) for n in range(183)]
    sources = tuple(IPv4Address(0x0A000000 + n) for n in range(366))
    yield igmp.encode(Report(tuple(Record(RecordType.CHANGE_TO_EXCLUDE, g) for g in groups)))
    yield igmp.encode(Report((Record(RecordType.ALLOW_NEW_SOURCES, groups[0], sources),)))
    yield igmp.encode(Query(3, groups[0], 10, sources))


TARGET = Target(
    "igmp",
    "igmp.decode gives a message that survives encoding, or DecodeError",
    test_one,
    seeds,
    parse,
    MOST_BYTES,
)
