"""What pacing saves behind a slow link: `python -m tests.bench.pacing`, as root.

A batched socket sends bursts to one receiver behind a token bucket filter with a queue of some ten
packets; alternately it is told that the receiver loses packets, so that its bursts are spread, or
not. Reported are loss and latency, without any repair. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

from dmmp.demo.internet import Host, Internet
from dmmp.demo.programs import program_command
from dmmp.forwarding.burst import MAXIMUM_BURST_BYTES, Transmit
from dmmp.runtime.sockets import open_socket
from dmmp.types import Endpoint

STAMP: Final = struct.Struct("!QQ")
DATAGRAM_BYTES: Final = 1340
BUCKET_BYTES: Final = 3000
QUEUE_BYTES: Final = 15_000
PORT: Final = 5004
DRAIN: Final = 0.4
TOLD_EVERY: Final = 20
"""Bursts after which the socket is told of losses again."""


class Case(NamedTuple):
    """A link, in bit/s, and how a stream fills it."""

    link: float
    load: float
    interval: float


CASES: Final = (
    Case(1e6, 0.7, 0.04),
    Case(5e6, 0.7, 0.04),
    Case(20e6, 0.7, 0.01),
    Case(20e6, 0.7, 0.04),
    Case(20e6, 0.9, 0.04),
)


def bursts(rate: float, interval: float, seconds: float) -> Iterator[int]:
    """Give the datagrams of each burst of a stream."""
    owed = 0.0
    for _ in range(round(seconds / interval)):
        owed += rate * interval / 8 / DATAGRAM_BYTES
        yield int(owed)
        owed -= int(owed)


async def send(address: str, rate: float, interval: float, seconds: float, paced: bool) -> int:
    """Send a stream of bursts to a receiver; return how many datagrams."""
    opened = await open_socket(Endpoint(ip_address("0.0.0.0"), 0), "batched")
    to = Endpoint(ip_address(address), PORT)
    most = MAXIMUM_BURST_BYTES // DATAGRAM_BYTES
    begun, sent = time.monotonic(), 0
    for number, count in enumerate(bursts(rate, interval, seconds)):
        await asyncio.sleep(max(0.0, begun + number * interval - time.monotonic()))
        if paced and number % TOLD_EVERY == 1:
            opened.lost(to)
        padding = bytes(DATAGRAM_BYTES - STAMP.size)
        for at in range(0, count, most):
            now = time.monotonic_ns()
            numbers = range(sent + at, sent + min(count, at + most))
            data = b"".join(STAMP.pack(each, now) + padding for each in numbers)
            opened.send([Transmit(data, DATAGRAM_BYTES, to)])
        sent += count
    await asyncio.sleep(DRAIN)
    opened.close()
    return sent


def play(internet: Internet, case: Case, seconds: float, paced: bool) -> tuple[float, float]:
    """Send over the link of a case; return the share that was lost and the median latency, ms."""
    sender, receiver = internet["sender"], internet["receiver"]
    narrow(internet.router, receiver.router_interface, case.link)
    flow = f"{receiver.address}:{PORT}"
    listening = receiver.popen(*program_command("receive", flow, "--sequence"))
    assert listening.stdout is not None and listening.stdout.readline() == "ready\n"
    words = (case.link * case.load, case.interval, seconds, int(paced))
    done = sender.run(
        *(sys.executable, "-m", "tests.bench.pacing", "--to", str(receiver.address)),
        *(str(word) for word in words),
        timeout=seconds + 30,
    )
    time.sleep(DRAIN)
    listening.terminate()
    found = json.loads(listening.stdout.read())["flows"][0]["sequence"]
    return 1 - found["distinct"] / int(done.stdout), found["latency_ns"]["median"] / 1e6


def narrow(node: Host, interface: str, rate: float) -> None:
    """Put a small queue before a link."""
    node.run(
        *("tc", "qdisc", "replace", "dev", interface, "root", "tbf", "rate", f"{rate:.0f}bit"),
        *("burst", str(BUCKET_BYTES), "limit", str(QUEUE_BYTES)),
    )


def main() -> None:
    """Play every case both ways and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--to", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.to:
        address, rate, interval, seconds, paced = options.to
        sent = send(address, float(rate), float(interval), float(seconds), paced == "1")
        print(asyncio.run(sent))
        return
    print("Mbit/s  load  burst every   lost at once  lost paced   ms at once  ms paced")
    with Internet.build(["sender", "receiver"]) as internet:
        for case in CASES:
            found = [
                [play(internet, case, options.seconds, paced) for paced in (False, True)]
                for _ in range(options.rounds)
            ]
            plain, spread = (
                [statistics.median(each[way][what] for each in found) for what in (0, 1)]
                for way in (0, 1)
            )
            print(
                f"{case.link / 1e6:6.0f}{case.load:6.1f}{case.interval * 1e3:10.0f} ms"
                f"{plain[0]:14.1%}{spread[0]:12.1%}{plain[1]:13.1f}{spread[1]:10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
