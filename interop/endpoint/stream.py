"""The stream that is judged: a program that sends it to a group, and one that takes it to a file.

Plain sockets and the standard library only, run by path: nothing of any participant is loaded. Each
datagram has `DATAGRAM_BYTES`: its number (64 bits), when it was sent (64 bits, nanoseconds of
CLOCK_MONOTONIC), and what follows from its number alone, so that a wrong byte anywhere is seen.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct("!QQ")
DATAGRAM_BYTES: Final = 1200
"""With every header around it, sealed and over IPv6, more than a link of 1280 bytes carries."""

INTERVAL: Final = 0.01
HOPS: Final = 16
BUFFER_BYTES: Final = 4 << 20
PATIENCE: Final = 30.0
POLL: Final = 0.02
MCAST_JOIN_GROUP: Final = 42
SOCKADDR_STORAGE_BYTES: Final = 128


def datagram(number: int, sent_ns: int) -> bytes:
    """Make a datagram of the stream."""
    return HEADER.pack(number, sent_ns) + filling(number)


def filling(number: int) -> bytes:
    """Give the bytes behind a datagram's header."""
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(DATAGRAM_BYTES - HEADER.size)


def parse_flow(text: str) -> tuple[str, int]:
    """Read `239.1.2.3:5004` or `[ff1e::1234]:5004`."""
    group, _, port = text.rpartition(":")
    return group.strip("[]"), int(port)


def send(flow: tuple[str, int], seconds: float) -> None:
    """Send from number 0 until SIGTERM; then write how many datagrams there were.

    Unconnected, so that the routes are asked anew for each: they may come while it runs.
    """
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    is_ipv6 = ip_address(flow[0]).version == 6
    sender = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    if is_ipv6:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    else:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
    number, begun = 0, time.monotonic()
    while not ended and time.monotonic() - begun < seconds:
        try:
            sender.sendto(datagram(number, time.monotonic_ns()), flow)
        except OSError:
            # No route yet; nobody has been promised this datagram.
            pass
        number += 1
        time.sleep(max(0.0, begun + number * INTERVAL - time.monotonic()))
    sys.stdout.write(f"{number}\n")


def deliver(flow: tuple[str, int], interface: str, output: Path) -> None:
    """Join the group on an interface, as soon as that is there; append each payload to a file."""
    begun = time.monotonic()
    while not (index := _index(interface)):
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"no interface {interface}")
        time.sleep(POLL)
    group = ip_address(flow[0])
    receiver = socket.socket(
        socket.AF_INET6 if group.version == 6 else socket.AF_INET, socket.SOCK_DGRAM
    )
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    receiver.bind(flow)
    if group.version == 6:
        level, family = socket.IPPROTO_IPV6, struct.pack("@HHI", socket.AF_INET6, 0, 0)
    else:
        level, family = socket.IPPROTO_IP, struct.pack("@HH", socket.AF_INET, 0)
    storage = (family + group.packed).ljust(SOCKADDR_STORAGE_BYTES, b"\0")
    request = struct.pack("@I4x", index) + storage
    receiver.setsockopt(level, MCAST_JOIN_GROUP, request)
    with open(output, "ab", buffering=0) as file:
        while True:
            file.write(receiver.recv(65536))


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def main(arguments: Sequence[str]) -> None:
    """Run one of the two programs."""
    parser = argparse.ArgumentParser(prog="stream", description=__doc__)
    parser.add_argument("program", choices=("send", "deliver"))
    parser.add_argument("flow", type=parse_flow, metavar="GROUP:PORT")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--interface", default="dmmp0")
    parser.add_argument("--output", type=Path, default=Path(os.devnull))
    options = parser.parse_args(arguments)
    if options.program == "send":
        send(options.flow, options.seconds)
    else:
        deliver(options.flow, options.interface, options.output)


if __name__ == "__main__":
    main(sys.argv[1:])
