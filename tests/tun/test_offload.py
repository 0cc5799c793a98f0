"""Joined writes: what goes out in one is cut into the same packets again, and never one more.

`tests.tun.cutting` plays the kernel. The real one is asked in `test_device`.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.burst import Delivery, group
from dmmp.messages.header import HEADER_BYTES
from dmmp.runtime.gateway import Gateway
from dmmp.tun.device import Tun
from dmmp.tun.offload import MAXIMUM_SEGMENTS, MINIMUM_JOINED, Run, pieces
from dmmp.tun.packets import PROTOCOL_ICMP, checksum, classify, ip_packet, wrap_udp
from dmmp.types import Endpoint
from tests.tun.cutting import HEADER_BYTES as VNET_BYTES
from tests.tun.cutting import cut, is_sound

SOURCES = {4: ip_address("198.51.100.9"), 6: ip_address("2001:db8::9")}
GROUPS = {4: ip_address("239.1.2.3"), 6: ip_address("ff1e::1234")}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def udp(version: int = 4, size: int = 100, port: int = 5004, ttl: int = 16, fill: int = 0) -> bytes:
    sender, receiver = Endpoint(SOURCES[version], 77), Endpoint(GROUPS[version], port)
    payload = (fill.to_bytes(4) * (size // 4 + 1))[:size]
    return wrap_udp(sender, receiver, payload, ttl)


def changed(packet: bytes, at: int, value: bytes) -> bytes:
    """Write into a header, and put an IPv4 header's checksum right."""
    new = bytearray(packet)
    new[at : at + len(value)] = value
    if packet[0] >> 4 == 4:
        header = (new[0] & 0x0F) * 4
        new[10:12] = bytes(2)
        struct.pack_into("!H", new, 10, checksum(bytes(new[:header])))
    return bytes(new)


def odd_ones(version: int) -> dict[str, bytes]:
    """Give packets that must never be joined with anything, by what is the matter with them."""
    one = udp(version)
    at = 20 if version == 4 else 40
    source, group_ = SOURCES[version], GROUPS[version]
    odd = {
        "no checksum": changed(one, at + 6, bytes(2)),
        "UDP length too long": changed(one, at + 4, struct.pack("!H", 109)),
        "UDP length too short": changed(one, at + 4, struct.pack("!H", 107)),
        "not UDP": ip_packet(source, group_, PROTOCOL_ICMP, one[at:]),
        "no payload": udp(version, 0),
        "not even a header": one[:10],
    }
    if version == 4:
        words = struct.pack("!BBH", 1, 1, 1 << 8)
        odd["options"] = ip_packet(source, group_, 17, one[at:-4], options=words)
        odd["first fragment"] = changed(one, 6, b"\x20\x00")
        odd["later fragment"] = changed(one, 6, b"\x00\x09")
        odd["IP length"] = changed(one, 2, struct.pack("!H", 127))
    else:
        odd["extension"] = ip_packet(source, group_, 17, one[at:], options=bytes(7))
        odd["IP length"] = changed(one, 4, struct.pack("!H", 107))
    return odd


ODD = [(version, name) for version in (4, 6) for name in odd_ones(version)]


def bursts(packets: Sequence[bytes]) -> list[Delivery]:
    """Lay packets into bursts behind headers of ours, as the overlay brings them."""
    laid = group([bytes(HEADER_BYTES) + packet for packet in packets])
    return [Delivery(data, stride, GROUPS[4]) for data, stride in laid]


def sorted_out(packets: Sequence[bytes]) -> list[Run | memoryview]:
    return [
        piece
        for burst in bursts(packets)
        for piece in pieces(burst.data, burst.stride, HEADER_BYTES)
    ]


@contextmanager
def joining_tun(refusing: bool = False) -> Iterator[tuple[Tun, list[bytes]]]:
    """Give a batched TUN without a kernel behind it, and the frames that it writes."""
    frames: list[bytes] = []

    def writev(descriptor: int, parts: Sequence[bytes]) -> int:
        frame = b"".join(parts)
        if refusing and frame[:VNET_BYTES].strip(b"\0"):
            raise OSError(errno.EINVAL, "as before Linux 6.2")
        frames.append(frame)
        return len(frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "writev", writev)
        yield Tun(-1, "lo", 1380, batched=True), frames


def written(packets: Sequence[bytes]) -> list[bytes]:
    with joining_tun() as (tun, frames):
        assert tun.write(sorted_out(packets)) == len(packets)
    return frames


def seen(frames: Sequence[bytes]) -> list[bytes]:
    """Give the packets that come of frames; those that were joined must be right."""
    packets = []
    for frame in frames:
        cuttings = cut(frame)
        assert len(cuttings) == 1 or all(map(is_sound, cuttings))
        packets += cuttings
    return packets


def blank(packets: Sequence[bytes]) -> list[bytes]:
    """Leave out what no program sees and the kernel writes: IPv4's identification and checksum."""
    return [
        packet[:4] + packet[6:10] + packet[12:] if packet[:1] and packet[0] >> 4 == 4 else packet
        for packet in packets
    ]


@VERSIONS
@pytest.mark.parametrize("last", [1316, 1315, 1])
@pytest.mark.parametrize("count", [MINIMUM_JOINED, 47])
def test_a_burst_of_one_flow_is_one_write(version: int, last: int, count: int) -> None:
    packets = [udp(version, 1316, fill=number) for number in range(count - 1)]
    packets.append(udp(version, last, fill=99))
    (frame,) = written(packets)
    assert blank(cut(frame)) == blank(packets) and all(map(is_sound, cut(frame)))


@VERSIONS
def test_a_few_packets_go_one_by_one(version: int) -> None:
    packets = [udp(version, fill=number) for number in range(MINIMUM_JOINED - 1)]
    assert written(packets) == [bytes(VNET_BYTES) + packet for packet in packets]


@VERSIONS
def test_bursts_of_one_flow_that_follow_each_other_are_one_write(version: int) -> None:
    with joining_tun() as (tun, frames):
        assert tun.write(sorted_out([udp(version)] * 20) * 2) == 40
    assert len(frames) == 1 and seen(frames) == seen(written([udp(version)] * 40))


@VERSIONS
def test_no_write_is_larger_than_the_kernel_takes(version: int) -> None:
    for size, count, most in ((10, 100, MAXIMUM_SEGMENTS), (8000, 20, 8)):
        packets = [udp(version, size, fill=number) for number in range(count)]
        frames = written(packets)
        assert max(len(cut(frame)) for frame in frames) == most
        assert blank(seen(frames)) == blank(packets)


@VERSIONS
def test_a_shorter_packet_ends_a_write(version: int) -> None:
    sizes = [*[100] * 9, 50, *[100] * 9]
    packets = [udp(version, size) for size in sizes]
    frames = written(packets)
    assert [len(cut(frame)) for frame in frames] == [10, 9] and blank(seen(frames)) == blank(
        packets
    )


@VERSIONS
def test_programs_that_take_turns_have_writes_of_their_own(version: int) -> None:
    packets = [udp(version, port=port) for port in (1, 2, 1) for _ in range(10)]
    packets += [udp(version, ttl=9)] * 10
    frames = written(packets)
    assert [len(cut(frame)) for frame in frames] == [10, 10, 10, 10]
    assert blank(seen(frames)) == blank(packets)


@pytest.mark.parametrize(("version", "name"), ODD)
def test_an_odd_packet_is_written_as_it_is_and_alone(version: int, name: str) -> None:
    odd, plain = odd_ones(version)[name], udp(version)
    alone = bytes(VNET_BYTES) + odd
    assert written([odd] * 10) == [alone] * 10
    for at in (0, 5, 10):
        packets = [*[plain] * at, odd, *[plain] * (10 - at)]
        frames = written(packets)
        assert alone in frames and blank(seen(frames)) == blank(packets)


def test_a_header_that_differs_is_not_joined_whatever_differs() -> None:
    for version in (4, 6):
        plain = udp(version)
        may_differ = {4, 5, 10, 11, 26, 27} if version == 4 else {46, 47}
        for at in range(28 if version == 4 else 48):
            other = changed(plain, at, bytes((plain[at] ^ 1,)))
            frames = written([*[plain] * 5, other, *[plain] * 5])
            assert (len(frames) == 1) == (at in may_differ), (version, at)


def test_a_bad_header_sum_is_never_made_good_for_all() -> None:
    bad = udp()[:10] + bytes(2) + udp()[12:]
    packets = [bad, *[udp()] * 10]
    assert written(packets) == [bytes(VNET_BYTES) + packet for packet in packets]


def test_identification_counts_from_that_of_the_first() -> None:
    packets = [changed(udp(), 4, struct.pack("!H", 0xFFFE + n & 0xFFFF)) for n in range(8)]
    assert seen(written(packets)) == packets


def test_a_kernel_that_joins_nothing_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    packets = [udp(fill=number) for number in range(20)]
    with caplog.at_level(logging.INFO), joining_tun(refusing=True) as (tun, frames):
        for _ in range(3):
            assert tun.write(sorted_out(packets)) == 20
    assert frames == [bytes(VNET_BYTES) + packet for packet in packets] * 3
    assert len(caplog.records) == 1 and tun.drops == {}


_ANY = st.builds(
    udp,
    version=st.sampled_from((4, 6)),
    size=st.sampled_from((1, 20, 21)),
    port=st.sampled_from((5004, 5005)),
    ttl=st.sampled_from((16, 17)),
    fill=st.integers(0, 1 << 32 - 1),
) | st.sampled_from([odd_ones(version)[name] for version, name in ODD])


@given(st.lists(st.tuples(_ANY, st.integers(1, 70)), max_size=6))
def test_what_was_joined_is_cut_into_the_same(drawn: list[tuple[bytes, int]]) -> None:
    packets = [packet for packet, times in drawn for _ in range(times)]
    assert blank(seen(written(packets))) == blank(packets)


@given(
    data=st.binary(max_size=400) | st.builds(bytes.__mul__, _ANY, st.integers(1, 100)),
    stride=st.integers(1, 200),
    skip=st.integers(0, 60),
)
def test_whatever_the_bytes_every_packet_is_in_one_run(data: bytes, stride: int, skip: int) -> None:
    found: list[memoryview] = []
    for piece in pieces(data, stride, skip):
        found += piece.split() if isinstance(piece, Run) else (piece,)
    assert found == [data[at + skip : at + stride] for at in range(0, len(data), stride)]


@given(
    version=st.sampled_from((4, 6)),
    count=st.integers(1, 20),
    last=st.integers(1, 100),
    harm=st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 47), st.integers(1, 255)), max_size=4
    ),
)
def test_a_peer_hides_nothing_in_a_burst(
    version: int, count: int, last: int, harm: list[tuple[int, int, int]]
) -> None:
    """Exactly what `classify` passes packet by packet goes to the programs."""
    packets = [udp(version)] * (count - 1) + [udp(version, last)]
    for number, at, bits in harm:
        packet = packets[number % count]
        at %= min(len(packet), 48)
        packets[number % count] = packet[:at] + bytes((packet[at] ^ bits,)) + packet[at + 1 :]
    passed = [packet for packet in packets if not classify(packet, {}).reason]
    with joining_tun() as (tun, frames):
        gateway = Gateway(tun, None, True, False, lambda: 0.0)
        gateway.deliver(bursts(packets))
    # Harm to checksums of joined packets and to payloads is not looked for.
    sums = [*range(10, 12), *range(4, 6), *range(26, 28)] if version == 4 else [46, 47]
    assert [_without(packet, sums) for packet in seen_any(frames)] == [
        _without(packet, sums) for packet in passed
    ]
    assert gateway.counters["written"] == len(passed)
    assert sum(gateway.drops.values()) == count - len(passed)


def seen_any(frames: Sequence[bytes]) -> list[bytes]:
    return [packet for frame in frames for packet in cut(frame)]


def _without(packet: bytes, places: list[int]) -> bytes:
    return bytes(value for at, value in enumerate(packet) if at not in places)


@VERSIONS
@pytest.mark.parametrize("at", [0, 20, 47])
def test_no_unicast_packet_hides_among_others(version: int, at: int) -> None:
    places = {4: (16, ip_address("192.0.2.1")), 6: (24, ip_address("2001:db8::1"))}
    offset, victim = places[version]
    packets = [udp(version, 1316)] * 48
    packets[at] = changed(packets[at], offset, victim.packed)
    with joining_tun() as (tun, frames):
        gateway = Gateway(tun, None, True, False, lambda: 0.0)
        gateway.deliver(bursts(packets))
    assert blank(seen(frames)) == blank(packets[:at] + packets[at + 1 :])
    assert gateway.drops == {"overlay_not_multicast": 1} and gateway.counters["written"] == 47
