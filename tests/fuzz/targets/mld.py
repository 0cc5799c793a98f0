"""MLD messages: decode, encode, decode again gives the same message; else `DecodeError`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun import mld
from dmmp.tun.packets import PROTOCOL_ICMPV6, checksum, pseudo_header
from dmmp.tun.packets import parse as parse_packet
from dmmp.tun.reports import Record, RecordType, Report
from tests.fuzz.target import Target
from tests.tun.vectors import mld_vectors

SENDER, RECEIVER = IPv6Address("fe80::2"), IPv6Address("ff02::16")
MOST_BYTES = 1452
"""What fits a packet of 1,500 bytes behind its headers."""


def parse(data: bytes) -> DecodeReason | None:
    """Decode; tell why it was refused."""
    try:
        mld.decode(data, SENDER, RECEIVER)
    except DecodeError as error:
        return error.reason
    return None


def with_checksum(data: bytes) -> bytes:
    """Put the checksum right."""
    zeroed = data[:2] + bytes(2) + data[4:]
    pseudo = pseudo_header(SENDER, RECEIVER, PROTOCOL_ICMPV6, len(data))
    return data[:2] + checksum(pseudo, zeroed).to_bytes(2, "big") + data[4:]


def test_one(data: bytes) -> None:
    """Decode as it came and, if that was all that was wrong, with the right checksum."""
    if check(data) is DecodeReason.CHECKSUM:
        check(with_checksum(data))


def check(data: bytes) -> DecodeReason | None:
    """Decode, encode and decode; tell why it was refused."""
    try:
        message = mld.decode(data, SENDER, RECEIVER)
    except DecodeError as error:
        assert 0 <= error.offset <= len(data), error.offset
        return error.reason
    again = mld.encode(message, SENDER, RECEIVER)
    assert mld.decode(again, SENDER, RECEIVER) == message
    packet = mld.packet(message)
    header = parse_packet(packet)
    body = packet[header.payload_offset :]
    assert mld.decode(body, header.source, header.destination) == message
    assert header.ttl == 1 and header.router_alert and header.destination.is_multicast
    return None


def seeds() -> Iterable[bytes]:
    for vector in mld_vectors():
        yield with_checksum(vector.packet[parse_packet(vector.packet).payload_offset :])
    # As much as fits a packet: of records, of sources.
    groups = [IPv6Address(0xFF15 << 112 | n) for n in range(72)]
    sources = tuple(IPv6Address(0x2001 << 112 | n) for n in range(88))
    many = Report(tuple(Record(RecordType.CHANGE_TO_EXCLUDE, group) for group in groups))
    long = Report((Record(RecordType.ALLOW_NEW_SOURCES, groups[0], sources),))
    yield mld.encode(many, SENDER, RECEIVER)
    yield mld.encode(long, SENDER, RECEIVER)


TARGET = Target(
    "mld",
    "mld.decode gives a message that survives encoding, or DecodeError",
    test_one,
    seeds,
    parse,
    MOST_BYTES,
)
