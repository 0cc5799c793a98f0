"""IP, UDP and ICMP headers, what stays at home, and default addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import DecodeError, UsageError
from dmmp.tun.addresses import (
    TUN_NETWORK_V4,
    TUN_NETWORK_V6,
    default_addresses,
    is_source_specific,
    querier_address,
)
from dmmp.tun.packets import (
    FLOW_CACHE_LIMIT,
    PROTOCOL_ICMPV6,
    Classified,
    FlowCache,
    checksum,
    classify,
    ip_packet,
    parse,
    pseudo_header,
    too_big,
    wrap_udp,
)
from dmmp.types import Endpoint
from tests.tun.unwrapping import unwrap_udp
from tests.tun.vectors import recorded

V4 = Endpoint(IPv4Address("198.18.0.7"), 5000)
V6 = Endpoint(IPv6Address("fd64:6d6d:7000:1::7"), 5000)
GROUP4 = Endpoint(IPv4Address("239.1.2.3"), 6000)
GROUP6 = Endpoint(IPv6Address("ff1e::1234"), 6000)


def _packet(source: str, group: str, ttl: int = 32) -> bytes:
    return wrap_udp(
        Endpoint(ip_address(source), 5000), Endpoint(ip_address(group), 6000), b"x", ttl
    )


def test_checksum_of_the_rfc_example() -> None:
    # RFC 1071 §3: the sum of these words is ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2
    assert checksum(b"\x01", b"") == 0xFEFF


def test_built_ipv4_header_reads_back() -> None:
    header = parse(wrap_udp(V4, GROUP4, b"hello", ttl=32))
    assert (header.version, header.ttl, header.protocol) == (4, 32, 17)
    assert header.dont_fragment and not header.is_fragment and not header.router_alert
    assert (header.payload_offset, header.total_length) == (20, 33)


@given(st.binary(max_size=200), st.integers(0, 255), st.booleans())
def test_udp_survives_wrapping(payload: bytes, ttl: int, six: bool) -> None:
    source, group = (V6, GROUP6) if six else (V4, GROUP4)
    packet = wrap_udp(source, group, payload, ttl)
    datagram = unwrap_udp(memoryview(packet))
    assert datagram.source == source
    assert datagram.destination == group
    assert datagram.payload == payload
    assert parse(packet).ttl == ttl


def test_payload_larger_than_a_datagram_is_our_own_mistake() -> None:
    with pytest.raises(UsageError):
        wrap_udp(V4, GROUP4, bytes(65508))
    assert len(unwrap_udp(wrap_udp(V4, GROUP4, bytes(65507))).payload) == 65507


@given(st.binary(max_size=100) | st.binary(min_size=39, max_size=100).map(lambda b: b"\x60" + b))
def test_arbitrary_bytes_raise_decode_error_only(data: bytes) -> None:
    try:
        parse(data)
    except DecodeError:
        pass
    assert isinstance(classify(data, {}), Classified)
    too_big(data, 1280, V4.address)


@given(st.data())
def test_every_prefix_and_extension_is_refused(data: st.DataObject) -> None:
    packet = data.draw(st.sampled_from([vector.packet for vector in recorded()]))
    cut = packet[: data.draw(st.integers(0, len(packet) - 1))]
    for other in (cut, packet + b"\0"):
        with pytest.raises(DecodeError):
            parse(other)
        assert classify(other, {}).reason == "malformed"


def test_fragments_and_extension_headers_are_read() -> None:
    fragment = bytearray(wrap_udp(V4, GROUP4, bytes(32)))
    fragment[6:8] = (0x2000 | 3).to_bytes(2, "big")
    fragment[10:12] = b"\0\0"
    fragment[10:12] = checksum(fragment[:20]).to_bytes(2, "big")
    header = parse(fragment)
    assert header.is_fragment and header.more_fragments and header.fragment_offset == 24
    # Destination options, then a fragment header with offset 8 and more to come.
    extended = bytes.fromhex("2c00010400000000 1100000900000001") + bytes(8)
    header = parse(ip_packet(V6.address, GROUP6.address, 60, extended))
    assert (header.protocol, header.fragment_offset, header.more_fragments) == (17, 8, True)
    assert header.payload_offset == 56


def test_endless_extension_headers_are_refused() -> None:
    chain = bytes.fromhex("3c00010400000000") * 100
    with pytest.raises(DecodeError):
        parse(ip_packet(V6.address, GROUP6.address, 60, chain))


STAYING = [
    ("198.18.0.7", "239.1.2.3", 32, ""),
    ("192.0.2.1", "224.0.1.1", 2, ""),
    ("198.18.0.7", "239.1.2.3", 1, "ttl"),
    ("198.18.0.7", "239.1.2.3", 0, "ttl"),
    ("198.18.0.7", "224.0.0.251", 255, "link_local"),
    ("169.254.3.4", "239.1.2.3", 32, "link_local"),
    ("198.18.0.7", "192.0.2.9", 1, "not_multicast"),
    ("198.18.0.7", "255.255.255.255", 64, "not_multicast"),
    ("127.0.0.1", "239.1.2.3", 32, "malformed"),
    ("0.0.0.0", "239.1.2.3", 32, "malformed"),
    ("239.1.1.1", "239.1.2.3", 32, "malformed"),
    ("255.255.255.255", "239.1.2.3", 32, "malformed"),
    ("fd64::7", "ff1e::1234", 32, ""),
    ("fd64::7", "ff05::2", 32, ""),
    ("fd64::7", "ff1e::1234", 1, "ttl"),
    ("fd64::7", "ff00::1", 64, "link_local"),
    ("fd64::7", "ff01::1", 64, "link_local"),
    ("fd64::7", "ff02::fb", 255, "link_local"),
    ("fd64::7", "ff32::1", 255, "link_local"),
    ("fe80::7", "ff1e::1234", 32, "link_local"),
    ("fd64::7", "fd64::8", 32, "not_multicast"),
    ("::1", "ff1e::1234", 32, "malformed"),
]


@pytest.mark.parametrize(("source", "group", "ttl", "reason"), STAYING)
def test_what_stays_home(source: str, group: str, ttl: int, reason: str) -> None:
    packet = _packet(source, group, ttl)
    flows: FlowCache = {}
    for _ in range(2):
        assert classify(memoryview(packet), flows).reason == reason


def test_classified_flow_names_its_addresses_and_is_made_once() -> None:
    flows: FlowCache = {}
    first = classify(_packet("198.18.0.7", "239.1.2.3", 32), flows)
    assert first == Classified("", V4.address, GROUP4.address)
    assert classify(_packet("198.18.0.7", "239.1.2.3", 9), flows) is first
    assert classify(_packet("198.18.0.7", "239.1.2.3", 1), flows).reason == "ttl"
    assert len(flows) == 1


def test_flow_cache_is_bounded() -> None:
    flows: FlowCache = {}
    packet = bytearray(_packet("198.18.0.7", "239.1.2.3"))
    for number in range(FLOW_CACHE_LIMIT + 10):
        packet[18:20] = number.to_bytes(2, "big")
        assert classify(packet, flows).reason == ""
    assert 0 < len(flows) <= FLOW_CACHE_LIMIT


def test_membership_messages_are_told_from_data() -> None:
    seen = {vector.kind: classify(vector.packet, {}).reason for vector in recorded()}
    for kind, reason in seen.items():
        expected = "link_local" if kind in ("RS", "NS") else "membership"
        assert reason == expected, kind


def test_ordinary_icmpv6_to_a_group_is_carried() -> None:
    echo = ip_packet(V6.address, GROUP6.address, PROTOCOL_ICMPV6, bytes((128, 0, 0, 0)) + bytes(4))
    assert classify(echo, {}).reason == ""


def test_too_big_ipv4() -> None:
    packet = wrap_udp(V4, GROUP4, bytes(1400))
    router = IPv4Address("198.18.0.1")
    answer = too_big(packet, 1300, router)
    assert answer is not None
    header = parse(answer)
    assert (header.source, header.destination, header.protocol) == (router, V4.address, 1)
    body = answer[20:]
    assert body[:2] == b"\x03\x04" and int.from_bytes(body[6:8], "big") == 1300
    assert checksum(body) == 0
    assert len(answer) <= 576 and packet.startswith(body[8:])


def test_too_big_ipv6() -> None:
    packet = wrap_udp(V6, GROUP6, bytes(1400))
    router = IPv6Address("fe80::1")
    answer = too_big(packet, 1300, router)
    assert answer is not None
    header = parse(answer)
    assert (header.source, header.destination, header.protocol) == (router, V6.address, 58)
    body = answer[40:]
    assert body[:2] == b"\x02\x00" and int.from_bytes(body[4:8], "big") == 1300
    assert checksum(pseudo_header(router, V6.address, 58, len(body)), body) == 0
    assert len(answer) == 1280 and packet.startswith(body[8:])


def test_too_big_never_answers_errors_fragments_or_nobody() -> None:
    four, six = IPv4Address("198.18.0.1"), IPv6Address("fe80::1")
    first = too_big(wrap_udp(V4, GROUP4, bytes(1400)), 1300, four)
    assert first is not None and too_big(first, 100, four) is None
    first = too_big(wrap_udp(V6, GROUP6, bytes(1400)), 1300, six)
    assert first is not None and too_big(first, 100, six) is None
    assert too_big(_packet("0.0.0.0", "239.1.2.3"), 20, four) is None
    assert too_big(_packet("239.9.9.9", "239.1.2.3"), 20, four) is None
    assert too_big(_packet("198.18.0.7", "239.1.2.3"), 20, six) is None
    later = bytearray(_packet("198.18.0.7", "239.1.2.3"))
    later[6:8] = b"\x00\x03"
    later[10:12] = b"\0\0"
    later[10:12] = checksum(later[:20]).to_bytes(2, "big")
    assert too_big(later, 20, four) is None
    # An echo request is a question, not an error: it may be answered.
    echo = ip_packet(V4.address, GROUP4.address, 1, bytes((8, 0, 0, 0)) + bytes(4))
    assert too_big(echo, 20, four) is not None


@given(st.integers(0, (1 << 32) - 1), st.integers(1, (1 << 32) - 1))
def test_default_addresses_are_usable(session_id: int, host_id: int) -> None:
    ipv4, ipv6 = default_addresses(session_id, host_id)
    assert ipv4.network == TUN_NETWORK_V4 and ipv6.network.prefixlen == 64
    assert ipv6.network.subnet_of(TUN_NETWORK_V6)
    assert ipv4.ip.packed[3] not in (0, 255)
    assert ipv4.ip != querier_address(ipv4)
    assert ipv6.ip != ipv6.network.network_address


@pytest.mark.slow
def test_default_addresses_of_one_session_differ_and_share_their_networks() -> None:
    made = [default_addresses(0xABCDEF01, host) for host in range(1, 60000)]
    assert len({ipv4 for ipv4, _ in made}) == len(made)
    assert len({ipv6 for _, ipv6 in made}) == len(made)
    assert {str(ipv6.network) for _, ipv6 in made} == {"fd64:6d6d:70cd:ef01::/64"}
    assert str(made[4][0]) == "198.18.0.5/15"


@pytest.mark.parametrize(("session_id", "host_id"), [(1, 0), (1, 1 << 32), (1 << 32, 1), (-1, 1)])
def test_ids_out_of_range_are_refused(session_id: int, host_id: int) -> None:
    with pytest.raises(UsageError):
        default_addresses(session_id, host_id)


@pytest.mark.parametrize(
    ("interface", "querier"),
    [
        ("198.18.0.5/15", "198.18.0.1"),
        ("10.0.0.1/24", "10.0.0.2"),
        ("10.0.0.4/31", "10.0.0.5"),
        ("10.0.0.5/32", "10.0.0.4"),
    ],
)
def test_querier_speaks_from_the_lowest_address_that_is_not_ours(
    interface: str, querier: str
) -> None:
    assert querier_address(IPv4Interface(interface)) == IPv4Address(querier)


@pytest.mark.parametrize(
    ("group", "specific"),
    [
        ("232.1.1.1", True),
        ("239.1.1.1", False),
        ("ff3e::4321", True),
        ("ff35::1", True),
        ("ff3e:20::1", False),
        ("ff1e::1", False),
    ],
)
def test_source_specific_ranges(group: str, specific: bool) -> None:
    assert is_source_specific(ip_address(group)) is specific
