"""What the TUN costs per datagram: `python -m tests.bench.tun`, as root, in a namespace of its own.

Processor time of this process, microseconds a datagram, medians of many short turns, both kinds of
device in turn; the ratios are what may be compared between machines, and nothing is asserted. The
programs are sockets here that are emptied between two turns, so nobody waits and nothing is lost.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from dmmp.forwarding.burst import Delivery
from dmmp.messages.header import HEADER_BYTES
from dmmp.runtime.gateway import Gateway
from dmmp.tun.addresses import default_addresses
from dmmp.tun.device import Tun
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint

GROUP, PORT, SIZE = "239.1.2.3", 5004, 1316
BURSTS = (1, 4, 8, 16, 47)
TURNS = 60
ROUNDS = 5
PER_TURN = 94
KINDS = (False, True)
"""Of devices: portable and batched."""

_UDP_SEGMENT, _UDP_GRO, _SO_RCVBUFFORCE = 103, 104, 33

Found = dict[tuple[str, bool], list[float]]
Result = TypeVar("Result")


def spent(work: Callable[[], Result]) -> tuple[float, Result]:
    """Run something; give the processor time it took, in microseconds, and what came of it."""
    begun = time.process_time_ns()
    result = work()
    return (time.process_time_ns() - begun) / 1000, result


def repeated(times: int, work: Callable[[], object]) -> None:
    """Run something several times."""
    for _ in range(times):
        work()


def listener(gro: bool) -> socket.socket:
    """Open a program's socket that has joined the group."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    made.setsockopt(socket.SOL_UDP, _UDP_GRO, int(gro))
    made.bind((GROUP, PORT))
    request = socket.inet_aton(GROUP) + bytes(4)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    made.setblocking(False)
    return made


def emptied(program: socket.socket) -> int:
    """Receive all that is there; give how many bytes that was."""
    total = 0
    with suppress(BlockingIOError):
        while True:
            total += len(program.recv(65536))
    return total


def writing(tun: Tun, gro: bool, found: Found, batched: bool) -> None:
    """Deliver bursts of several lengths, and receive them."""
    sender = Endpoint(ip_address("198.51.100.9"), 77)
    packet = wrap_udp(sender, Endpoint(ip_address(GROUP), PORT), os.urandom(SIZE))
    stride = HEADER_BYTES + len(packet)
    gateway = Gateway(tun, None, False, False, time.monotonic)
    with listener(gro) as program:
        for count in BURSTS:
            burst = Delivery((bytes(HEADER_BYTES) + packet) * count, stride, ip_address(GROUP))
            times = max(1, PER_TURN // count)
            for _ in range(TURNS):
                took, _ = spent(partial(repeated, times, partial(gateway.deliver, [burst])))
                received, heard = spent(partial(emptied, program))
                assert heard == SIZE * count * times
                kind = f"bursts of {count:2}, {'UDP_GRO' if gro else 'ordinary'} program"
                found.setdefault((f"write   {kind}", batched), []).append(took / count / times)
                per_datagram = received / count / times
                found.setdefault((f"receive {kind}", batched), []).append(per_datagram)


def reading(tun: Tun, segmented: bool, found: Found, batched: bool) -> None:
    """Send from a program, one by one or with UDP_SEGMENT, and read it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        program.connect((GROUP, PORT))
        payload = os.urandom(SIZE * 32)
        if segmented:
            program.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, SIZE)
        for _ in range(TURNS):
            for at in range(0, len(payload), SIZE):
                program.send(payload if segmented else payload[at : at + SIZE])
                if segmented:
                    break
            took, packets = spent(tun.read)
            if len(packets) == 32:
                kind = "UDP_SEGMENT" if segmented else "ordinary"
                found.setdefault((f"read    {kind} program", batched), []).append(took / 32)


def measure() -> None:
    """Measure in the present namespace, and print."""
    found: Found = {}
    for _ in range(ROUNDS):
        for batched in KINDS:
            for option in (False, True):
                with Tun.open("bench0", batched=batched) as tun:
                    tun.configure(*default_addresses(1, 5))
                    writing(tun, option, found, batched)
                    reading(tun, option, found, batched)
    print(f"{'microseconds a datagram':45} portable batched  ratio")
    for what in sorted({what for what, _ in found}):
        one, other = (statistics.median(found[what, batched]) for batched in KINDS)
        print(f"{what:45} {one:8.2f} {other:7.2f} {one / other:6.2f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        measure()
    else:
        command = ["unshare", "-n", sys.executable, "-m", "tests.bench.tun", "inside"]
        sys.exit(subprocess.run(command).returncode)
