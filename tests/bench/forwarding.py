"""What the forwarder costs per call: `python -m tests.bench.forwarding`.

Microseconds of this machine, and the ratio to a loop that does nothing but unpack the header of
every datagram of the same burst: the ratio is what may be compared between machines. The best of
several rounds is told, and nothing is asserted. No sockets: those cost more than all of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from dmmp.forwarding.burst import Burst
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import Interest
from dmmp.messages.header import HEADER, HEADER_BYTES
from dmmp.parameters import Parameters
from tests.forwarding.build import (
    GROUP,
    ORIGIN,
    PARENT,
    SESSION,
    SOURCE,
    TREE,
    WANT,
    datagram,
    endpoint,
    install,
    relay,
)

ROUNDS = 9
CALLS = 500
PAYLOAD_BYTES = 1_300
SPACING = 0.001

Call = Callable[[float], object]
"""One call of what is measured; the argument is the present instant."""


def bursts(packets: int) -> list[bytes]:
    """Lay as many consecutive datagrams into each burst, for all calls."""
    payload = bytes(PAYLOAD_BYTES)
    return [
        b"".join(datagram(1 + packets * n + at, payload) for at in range(packets))
        for n in range(CALLS)
    ]


def unpacking(packets: int) -> list[Call]:
    """Read every header and do nothing with it: what the ratios stand on."""
    size = HEADER_BYTES + PAYLOAD_BYTES

    def one(data: bytes) -> Call:
        def call(_: float) -> object:
            for at in range(0, len(data), size):
                HEADER.unpack_from(data, at)
            return None

        return call

    return [one(data) for data in bursts(packets)]


def forwarding(packets: int, branches: int, deliver: tuple[Interest, ...] = ()) -> list[Call]:
    """Pass on bursts that are all new."""
    forwarder = relay(*(endpoint(100 + n) for n in range(branches)), deliver=deliver)
    size = HEADER_BYTES + PAYLOAD_BYTES

    def one(data: bytes) -> Call:
        burst = Burst(data, size, PARENT)
        return lambda now: forwarder.forward(burst, now)

    return [one(data) for data in bursts(packets)]


def repeating(packets: int) -> list[Call]:
    """Drop bursts that came before."""
    calls = forwarding(packets, 2)
    calls[0](0.0)
    return calls[:1] * CALLS


def originating(packets: int, branches: int) -> list[Call]:
    """Send own packets."""
    forwarder = Forwarder(Parameters())
    forwarder.apply(install(*(endpoint(100 + n) for n in range(branches)), upstream=()), 0.0)
    payloads = [bytes(PAYLOAD_BYTES)] * packets

    def call(now: float) -> object:
        return forwarder.originate(SESSION, ORIGIN, TREE, GROUP, SOURCE, payloads, now)

    return [call] * CALLS


CASES: tuple[tuple[str, Callable[[int], list[Call]]], ...] = (
    ("headers unpacked, nothing else", unpacking),
    ("forward, 1 branch", partial(forwarding, branches=1)),
    ("forward, 2 branches", partial(forwarding, branches=2)),
    ("forward, 8 branches", partial(forwarding, branches=8)),
    ("forward, 2 branches and programs", partial(forwarding, branches=2, deliver=WANT)),
    ("forward, duplicates", repeating),
    ("originate, 2 branches", partial(originating, branches=2)),
)
"""What is measured: each makes its calls for so many packets a burst; the first is the measure."""


def microseconds(make: Callable[[int], list[Call]], packets: int) -> float:
    """Give the best round's time per call."""
    best = float("inf")
    for _ in range(ROUNDS):
        calls = make(packets)
        begin = time.perf_counter()
        for n, call in enumerate(calls):
            call(1.0 + SPACING * n)
        best = min(best, time.perf_counter() - begin)
    return best / CALLS * 1e6


def main() -> None:
    """Measure every case and print a line for each."""
    print(f"{'':34}{'packets':>8}{'µs/call':>10}{'µs/packet':>11}{'ratio':>8}")
    for packets in (1, 48):
        bare = 0.0
        for name, make in CASES:
            took = microseconds(make, packets)
            bare = bare or took
            each = took / packets
            print(f"{name:34}{packets:8}{took:10.2f}{each:11.3f}{took / bare:8.1f}")


if __name__ == "__main__":
    main()
