"""Bursts through a real TUN: `python -m tests.tun.inside_bursts SCENARIO [batched]`.

Programs send with and without UDP_SEGMENT and receive with and without UDP_GRO; whatever way the
kernel moves their datagrams, they are the same, in the same order. Run by `test_device`.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from dmmp.forwarding.burst import Delivery, group
from dmmp.messages.header import HEADER_BYTES
from dmmp.runtime.gateway import Gateway
from dmmp.tun.device import Tun
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint
from tests.tun.cutting import is_sound, naive_sum
from tests.tun.inside import (
    BATCHED,
    GROUP4,
    GROUP6,
    PATIENCE,
    PORT,
    change_membership,
    opened,
    program,
)

UDP_SEGMENT, UDP_GRO, SO_RCVBUFFORCE = 103, 104, 33
SENDERS = {GROUP4: "203.0.113.9", GROUP6: "2001:db8:99::9"}
LARGEST = 1316


def payloads(sizes: Sequence[int]) -> list[bytes]:
    """Make payloads that are all different."""
    return [
        (number.to_bytes(2) * size)[:size] if size > 1 else bytes((number & 0xFF,))
        for number, size in enumerate(sizes)
    ]


def set_hops(made: socket.socket, hops: int) -> None:
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)


def read_from(tun: Tun, target: str, count: int) -> list[bytes]:
    """Read until `count` datagrams to a group have come out; give them as whole packets."""
    found: list[bytes] = []
    packed = ip_address(target).packed
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end, f"{len(found)} of {count} came out"
        select.select([tun], [], [], 0.1)
        for packet in tun.read():
            at = 16 if packet[0] >> 4 == 4 else 24
            if packet[at : at + len(packed)] == packed and packet[9 if at == 16 else 6] == 17:
                found.append(packet)
    assert len(found) == count
    return found


def programs_bursts_come_out() -> None:
    """Whether a program sends one by one or with UDP_SEGMENT, whole packets come out, in order."""
    for target in (GROUP4, GROUP6):
        header = 28 if target == GROUP4 else 48
        with opened() as tun, program(target) as made:
            set_hops(made, 9)
            made.connect((target, PORT))
            for size, last in ((LARGEST, LARGEST), (LARGEST, 1), (500, 499)):
                sent = payloads([*[size] * 30, last])
                for segmented in (False, True):
                    if segmented:
                        made.setsockopt(socket.SOL_UDP, UDP_SEGMENT, size)
                        made.send(b"".join(sent))
                        made.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 0)
                    else:
                        for payload in sent:
                            made.send(payload)
                    packets = read_from(tun, target, len(sent))
                    assert all(map(is_sound, packets))
                    assert [packet[header:] for packet in packets] == sent


class Listener:
    """A program that joined a group; with `gro` it takes what the kernel did not cut."""

    def __init__(self, target: str, gro: bool) -> None:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.socket.setsockopt(socket.SOL_UDP, UDP_GRO, int(gro))
        self.socket.bind(("", PORT))
        change_membership(self.socket, target)
        self.calls = 0

    def hear(self, count: int) -> list[bytes]:
        """Receive `count` datagrams, in as many calls as that takes."""
        heard: list[bytes] = []
        while len(heard) < count:
            data, ancillary, _, address = self.socket.recvmsg(65536, socket.CMSG_SPACE(4))
            assert address[0] in SENDERS.values() and address[1] == 77
            stride = struct.unpack("i", ancillary[0][2])[0] if ancillary else len(data)
            heard += [data[at : at + stride] for at in range(0, len(data), stride)]
            self.calls += 1
        return heard


@contextmanager
def listeners(target: str) -> Iterator[tuple[Listener, Listener]]:
    ordinary, taking_more = Listener(target, False), Listener(target, True)
    with ordinary.socket, taking_more.socket:
        yield ordinary, taking_more


def deliver(tun: Tun, target: str, sent: Sequence[bytes]) -> None:
    """Bring datagrams in bursts, as the overlay does, to the edge."""
    sender = Endpoint(ip_address(SENDERS[target]), 77)
    receiver = Endpoint(ip_address(target), PORT)
    bring(tun, target, [wrap_udp(sender, receiver, payload) for payload in sent])


def bring(tun: Tun, target: str, packets: Sequence[bytes]) -> None:
    """Bring packets in bursts to the edge, all of which pass it."""
    laid = group([bytes(HEADER_BYTES) + packet for packet in packets])
    gateway = Gateway(tun, None, False, False, time.monotonic)
    gateway.deliver([Delivery(data, stride, ip_address(target)) for data, stride in laid])
    assert gateway.counters["written"] == len(packets) and gateway.drops == {} == tun.drops


def fragments(packet: bytes, identification: int, size: int) -> list[bytes]:
    """Cut an IPv4 packet into fragments of `size` bytes of payload, a multiple of 8."""
    made = []
    for at in range(20, len(packet), size):
        payload = packet[at : at + size]
        header = bytearray(packet[:20])
        more = 0x2000 if at + size < len(packet) else 0
        struct.pack_into("!HHH", header, 2, 20 + len(payload), identification, more | at - 20 >> 3)
        header[10:12] = bytes(2)
        struct.pack_into("!H", header, 10, 0xFFFF - naive_sum(bytes(header)))
        made.append(bytes(header) + payload)
    return made


def fragments_are_put_together() -> None:
    """Datagrams larger than the sender's MTU, among whole ones as large as their fragments."""
    sender, receiver = Endpoint(ip_address(SENDERS[GROUP4]), 77), Endpoint(ip_address(GROUP4), PORT)
    sent = payloads([8000, 1272, *[1272] * 5, 1400, 1400, 20000, *[1272] * 5])
    packets: list[bytes] = []
    for number, payload in enumerate(sent):
        packet = wrap_udp(sender, receiver, payload)
        packets += [packet] if len(packet) <= 1300 else fragments(packet, 1 + number, 1280)
    with opened() as tun, listeners(GROUP4) as programs:
        bring(tun, GROUP4, packets)
        for listener in programs:
            assert listener.hear(len(sent)) == sent


def bursts_reach_all_programs() -> None:
    """Every program hears every datagram of every burst, byte for byte, in order."""
    sizes = [LARGEST] * 100 + [7] + [188] * 200 + [1] * 3 + [5000] * 30 + [LARGEST, 40] * 10
    for target in (GROUP4, GROUP6):
        with opened() as tun, listeners(target) as programs:
            sent = payloads(sizes)
            deliver(tun, target, sent)
            for listener in programs:
                assert listener.hear(len(sent)) == sent
            # Or else nothing was joined, and the test of it tests nothing.
            ordinary, taking_more = programs
            assert ordinary.calls == len(sent)
            assert (taking_more.calls < len(sent) / 2) == BATCHED


def a_modest_stream_loses_nothing() -> None:
    """Small bursts at a steady pace, into a receive buffer of the usual size."""
    with opened() as tun, program(GROUP4) as made:
        change_membership(made, GROUP4)
        for number in range(50):
            sent = payloads([LARGEST] * (1 + number % 20))
            deliver(tun, GROUP4, sent)
            assert [made.recv(2000) for _ in sent] == sent


def a_kernel_that_refuses_is_asked_no_more() -> None:
    """Where the kernel does not know how to cut, everything arrives all the same."""
    real = os.writev

    def older(descriptor: int, parts: Sequence[bytes]) -> int:
        if parts[0][:1] == b"\1":
            # What a kernel before 6.2 finds: a kind of segmentation that it does not know.
            parts = [parts[0][:1] + b"\x7f" + parts[0][2:], *parts[1:]]
            asked.append(len(parts))
        return real(descriptor, parts)

    asked: list[int] = []
    patched = unittest.mock.patch("os.writev", older)
    with opened() as tun, listeners(GROUP4) as programs, patched:
        sent = payloads([LARGEST] * 150)
        deliver(tun, GROUP4, sent)
        for listener in programs:
            assert listener.hear(len(sent)) == sent and listener.calls == len(sent)
    assert len(asked) == int(BATCHED)


SCENARIOS: dict[str, Callable[[], None]] = {
    scenario.__name__: scenario
    for scenario in (
        programs_bursts_come_out,
        bursts_reach_all_programs,
        fragments_are_put_together,
        a_modest_stream_loses_nothing,
        a_kernel_that_refuses_is_asked_no_more,
    )
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
