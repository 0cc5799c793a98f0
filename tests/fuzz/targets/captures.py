"""`packets_of_capture`: datagrams, then the end or `DecodeError`, whatever the file holds."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address

from dmmp.captures import packets_of_capture
from dmmp.errors import DecodeError
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint
from tests.fuzz.seeds import message_vectors
from tests.fuzz.target import Target


def parse(data: bytes) -> list[bytes]:
    """Read to the end."""
    found: list[bytes] = []
    try:
        for captured in packets_of_capture(data):
            found.append(captured.payload)
    except DecodeError as error:
        assert 0 <= error.offset <= len(data) + 8, error.offset
    return found


def test_one(data: bytes) -> None:
    """Read all, then one port."""
    for payload in parse(data):
        assert payload in data
    before, number = -1, 0
    try:
        for captured in packets_of_capture(data, 47700):
            assert 47700 in (captured.source.port, captured.destination.port)
            assert captured.number >= number
            number, before = captured.number, before + 1
    except DecodeError:
        pass
    assert before < len(data)


def frames() -> list[bytes]:
    """Make raw IP packets with DMMP in them."""
    datagrams = message_vectors()
    ends = {
        4: (Endpoint(ip_address("10.0.0.1"), 47700), Endpoint(ip_address("10.0.0.2"), 47700)),
        6: (Endpoint(ip_address("fd00::1"), 47700), Endpoint(ip_address("fd00::2"), 9)),
    }
    made = [wrap_udp(*ends[4 + 2 * (n % 2)], one) for n, one in enumerate(datagrams[:4])]
    return [*made, wrap_udp(*ends[4], datagrams[0] + datagrams[1])]


HEADS = {
    0: b"\2\0\0\0",
    1: bytes(12) + b"\x81\0\0\7\x08\0",
    101: b"",
    113: bytes(14) + b"\x08\0",
    276: b"\x08\0" + bytes(18),
}


def pcap(order: str, link: int) -> bytes:
    """Make a file of the old format."""
    made = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for number, frame in enumerate(frames()):
        data = HEADS[link] + frame
        made += struct.pack(order + "IIII", number, 5, len(data), len(data)) + data
    return made


def block(order: str, kind: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    size = len(padded) + 12
    return struct.pack(order + "II", kind, size) + padded + struct.pack(order + "I", size)


def pcapng(order: str) -> bytes:
    """Make a file of the new format."""
    made = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    resolution = struct.pack(order + "HHBxxxHH", 9, 1, 0x8A, 0, 0)
    made += block(order, 1, struct.pack(order + "HHI", 101, 0, 0) + resolution)
    for number, frame in enumerate(frames()):
        head = struct.pack(order + "IIIII", 0, 0, number, len(frame), len(frame))
        made += block(order, 6, head + frame)
        made += block(order, 3, struct.pack(order + "I", len(frame)) + frame)
    return made


def seeds() -> Iterable[bytes]:
    for order in "<>":
        yield from (pcap(order, link) for link in HEADS)
        yield pcapng(order)


TARGET = Target(
    "captures",
    "packets_of_capture gives parts of the file, then ends or raises DecodeError",
    test_one,
    seeds,
    parse,
    most_bytes=4096,
)
