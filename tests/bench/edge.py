"""The TUN: what a datagram costs to be read from a program there, and to be written to one.

One process in a namespace plays the programs and the node by turns, through `Gateway.deliver` and
`Tun.read`, so nobody waits and nothing is lost. Where the device can carry bursts, both ways of it
are measured in turn.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import sys
import time
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from dmmp.errors import UsageError
from dmmp.forwarding.burst import Delivery
from dmmp.messages.header import HEADER_BYTES
from dmmp.runtime.gateway import Gateway
from dmmp.tun.addresses import default_addresses
from dmmp.tun.device import Tun
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint, HostId, SessionId
from tests.bench.figures import Result
from tests.bench.options import Options
from tests.bench.places import places
from tests.bench.running import Running, python

GROUP: Final = ip_address("239.1.2.3")
PORT: Final = 5004
PAYLOAD_BYTES: Final = 1316
BURSTS: Final = (1, 16, 47)
PER_TURN: Final = 47
READ_AT_ONCE: Final = 32
UDP_SEGMENT, SO_RCVBUFFORCE = 103, 33
SINGLE, BATCHED = "single packets", "batched"
FIGURE: Final = "CPU a datagram"
RATE: Final = "datagrams per CPU second"

Found = dict[str, list[int]]
"""By case: datagrams, and nanoseconds of processor time."""


def kinds() -> list[str]:
    """List the kinds of device that there are."""
    can = "batched" in inspect.signature(Tun.open).parameters
    return [SINGLE, BATCHED] if can else [SINGLE]


def opened(kind: str) -> Tun:
    """Open a device of that kind."""
    words: dict[str, Any] = {"batched": True} if kind == BATCHED else {}
    return Tun.open("bench0", **words)


def emptied(program: socket.socket) -> int:
    """Receive all that is there; give how many datagrams that was."""
    count = 0
    with suppress(BlockingIOError):
        while program.recv(65536):
            count += 1
    return count


def writing(gateway: Gateway, deadline: float, found: Found) -> None:
    """Deliver bursts of several lengths to an ordinary program."""
    packet = wrap_udp(
        Endpoint(ip_address("198.51.100.9"), 77), Endpoint(GROUP, PORT), os.urandom(PAYLOAD_BYTES)
    )
    stride = HEADER_BYTES + len(packet)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        program.bind((str(GROUP), PORT))
        joined = socket.inet_aton(str(GROUP)) + bytes(4)
        program.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        program.setblocking(False)
        while time.monotonic() < deadline:
            for length in BURSTS:
                burst = Delivery((bytes(HEADER_BYTES) + packet) * length, stride, GROUP)
                begun = time.process_time_ns()
                for _ in range(PER_TURN // length):
                    gateway.deliver([burst])
                took = time.process_time_ns() - begun
                _add(found, f"out, bursts of {length}", emptied(program), took)


def reading(tun: Tun, deadline: float, found: Found) -> None:
    """Read what an ordinary program sent, and what one sent with UDP_SEGMENT."""
    payload = os.urandom(PAYLOAD_BYTES * READ_AT_ONCE)
    for segmented in (False, True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            program.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            if segmented:
                program.setsockopt(socket.SOL_UDP, UDP_SEGMENT, PAYLOAD_BYTES)
            program.connect((str(GROUP), PORT))
            until = time.monotonic() + max(0.05, deadline - time.monotonic()) / 2
            while time.monotonic() < until:
                if segmented:
                    program.send(payload)
                else:
                    for at in range(0, len(payload), PAYLOAD_BYTES):
                        program.send(payload[at : at + PAYLOAD_BYTES])
                begun = time.process_time_ns()
                packets = tun.read()
                took = time.process_time_ns() - begun
                if len(packets) == READ_AT_ONCE:
                    program_kind = "program with UDP_SEGMENT" if segmented else "ordinary program"
                    _add(found, f"in, {program_kind}", len(packets), took)


def _add(found: Found, case: str, datagrams: int, took: int) -> None:
    sums = found.setdefault(case, [0, 0])
    sums[0] += datagrams
    sums[1] += took


def inside(kind: str, seconds: float) -> Found:
    """Measure one kind of device in the present namespace."""
    found: Found = {}
    with opened(kind) as tun:
        tun.configure(*default_addresses(SessionId(1), HostId(5)))
        gateway = Gateway(tun, None, False, False, time.monotonic)
        writing(gateway, time.monotonic() + seconds / 2, found)
        reading(tun, time.monotonic() + seconds / 2, found)
    return found


def measure(options: Options) -> Result:
    """Measure every kind in turn."""
    result = Result("tun", "TUN: processor time for each datagram", (SINGLE,))
    with places() as at:
        host = at["loopback"].relay
        for number in range(options.rounds):
            options.say(f"tun, round {number + 1} of {options.rounds}")
            for kind in kinds():
                command = python("tests.bench.edge", kind, str(options.seconds))
                found = Running(host, command, ready=False).wait()
                for case, (datagrams, took) in found.items():
                    each = took / datagrams / 1e3
                    result.add(case, kind, "us", FIGURE, each)
                    result.add(case, kind, "k/s", RATE, 1e3 / each)
    return result


if __name__ == "__main__":
    try:
        print(json.dumps(inside(sys.argv[1], float(sys.argv[2]))))
    except UsageError as problem:
        sys.exit(str(problem))
