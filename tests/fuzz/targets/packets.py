"""IP packets: `parse`, `classify`, `too_big`, `wrap_udp` of what a TUN or the overlay gives."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun.packets import (
    LINK_LOCAL,
    MALFORMED,
    MEMBERSHIP,
    NOT_MULTICAST,
    PROTOCOL_UDP,
    TTL,
    FlowCache,
    IpPacket,
    checksum,
    classify,
    too_big,
    wrap_udp,
)
from dmmp.tun.packets import parse as parse_packet
from dmmp.types import Endpoint
from tests.fuzz.seeds import recorded_packets
from tests.fuzz.target import Target
from tests.tun.unwrapping import unwrap_udp

ROUTERS = ip_address("198.18.0.1"), ip_address("fd64:6d6d:7000::1")
REASONS = {"", LINK_LOCAL, TTL, NOT_MULTICAST, MALFORMED, MEMBERSHIP}
ANSWER_BYTES = {4: 576, 6: 1280}


def parse(data: bytes) -> tuple[IpPacket | None, DecodeReason | None]:
    """Parse a packet, or tell why it was refused."""
    try:
        return parse_packet(data), None
    except DecodeError as error:
        assert 0 <= error.offset <= len(data), error.offset
        return None, error.reason


def test_one(data: bytes) -> None:
    """Check as it came, and with lengths and checksum mended if that was all."""
    check(data)
    if len(data) >= 20 and data[0] >> 4 == 4:
        check(mended_v4(data))
    elif len(data) >= 40 and data[0] >> 4 == 6:
        check(data[:4] + (len(data) - 40).to_bytes(2, "big") + data[6:])


def mended_v4(data: bytes) -> bytes:
    """Put right the total length and the header's checksum."""
    made = bytearray(data)
    header = (made[0] & 0x0F) * 4
    made[2:4] = len(made).to_bytes(2, "big")
    made[10:12] = bytes(2)
    made[10:12] = checksum(bytes(made[:header])).to_bytes(2, "big")
    return bytes(made)


def check(data: bytes) -> None:
    """Hold `parse`, `classify` and `too_big` against each other."""
    header, refused = parse(data)
    flows: FlowCache = {}
    found = classify(data, flows)
    assert found.reason in REASONS
    assert classify(memoryview(data), flows) == found, "a known flow is judged otherwise"
    if found.reason in ("", NOT_MULTICAST):
        assert found.source is not None and found.group is not None
        assert found.group.is_multicast == (found.reason == "")
    if header is None:
        assert refused is not None
        assert all(too_big(data, 1380, router) is None for router in ROUTERS)
        return
    assert header.total_length == len(data)
    assert 0 < header.payload_offset <= len(data)
    if found.source is not None:
        assert (found.source, found.group) == (header.source, header.destination)
    if found.reason == "":
        assert header.ttl > 1
    for router in ROUTERS:
        answer = too_big(data, 1380, router)
        if answer is not None:
            checked = parse_packet(answer)
            assert (checked.source, checked.destination) == (router, header.source)
            assert len(answer) <= ANSWER_BYTES[header.version]
            assert too_big(answer, 1380, router) is None, "an error about an error"
    payload = data[header.payload_offset :]
    ends = Endpoint(header.source, 5000), Endpoint(header.destination, 5001)
    wrapped = unwrap_udp(wrap_udp(*ends, payload, header.ttl))
    assert wrapped == (*ends, payload)


def seeds() -> Iterable[bytes]:
    yield from recorded_packets()
    for source, group in (("198.51.100.9", "239.1.2.3"), ("2001:db8::9", "ff1e::1234")):
        ends = Endpoint(ip_address(source), 77), Endpoint(ip_address(group), 5004)
        packet = wrap_udp(*ends, b"hello", 16)
        yield packet
        if len(packet) > 40:
            options = bytes.fromhex("3c00010400000000") + bytes.fromhex("1100010400000000")
            yield packet[:6] + b"\0" + packet[7:40] + options + packet[40:]
            fragment = bytes((PROTOCOL_UDP, 0, 0, 0x59)) + bytes(4)
            yield packet[:6] + b"\x2c" + packet[7:40] + fragment + packet[40:]


TARGET = Target(
    "packets",
    "parse raises only DecodeError, classify and too_big nothing, and the three agree",
    test_one,
    seeds,
    parse,
)
