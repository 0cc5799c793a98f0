"""Ordinary multicast programs: a receiver and a sender that have never heard of dmmp.

Plain sockets and the standard library only; run by path (`program_command`), so that nothing else
of the package is loaded and they start at once. A "flow" is one group and port. All instants are
nanoseconds of CLOCK_MONOTONIC, which every network namespace shares. A unicast address in the place
of a group is received and sent to without joining anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import FrameType
from typing import IO, Final, NamedTuple

PROGRAMS: Final = Path(__file__).resolve()
HEADER: Final = struct.Struct("!QQ")
"""How a generated datagram begins: its number in the flow from 0, and when it was sent."""

DIGEST_BYTES: Final = 16
RECEIVE_BUFFER_BYTES: Final = 8 << 20
LARGEST_DATAGRAM_BYTES: Final = 65536
MOST_LATENCIES: Final = 1 << 20
MOST_GAPS: Final = 10_000
MOST_RANGES: Final = 100
BURST_COUNT: Final = 64
"""How many datagrams of one flow are read before the others get their turn."""

# Linux numbers that the socket module does not name.
SO_RCVBUFFORCE: Final = 33
MCAST_JOIN_GROUP: Final = 42
MCAST_JOIN_SOURCE_GROUP: Final = 46
SOCKADDR_STORAGE_BYTES: Final = 128

Address = IPv4Address | IPv6Address


def program_command(*arguments: str | os.PathLike[str]) -> list[str]:
    """Give the command line of one of these programs, e.g. `program_command("receive", …)`."""
    return [sys.executable, "-I", "-S", str(PROGRAMS), *(os.fspath(word) for word in arguments)]


class Flow(NamedTuple):
    """Where the datagrams go: a group, or any address, and a UDP port."""

    address: Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Flow:
        """Read `239.1.2.3:5004` or `[ff1e::1234]:5004`."""
        address, _, port = text.rpartition(":")
        return cls(ip_address(address.strip("[]")), int(port))

    def __str__(self) -> str:
        return (
            f"[{self.address}]:{self.port}"
            if self.address.version == 6
            else f"{self.address}:{self.port}"
        )

    @property
    def family(self) -> socket.AddressFamily:
        """The socket family of the address."""
        return socket.AF_INET6 if self.address.version == 6 else socket.AF_INET

    @property
    def destination(self) -> tuple[str, int]:
        """The address as sockets want it."""
        return str(self.address), self.port


class Receiver:
    """One joined socket and everything that is remembered of what it received."""

    def __init__(self, flow: Flow, options: argparse.Namespace, digests: Path | None) -> None:
        self.flow = flow
        self.sequence = bool(options.sequence)
        self.least_gap_ns = options.gaps * 1e9 if options.gaps else None
        self.late_ns = options.late * 1e9
        self.digests = open_digests(digests)
        self.count = self.size_bytes = 0
        self.first_ns = self.last_ns = 0
        self.gap_ns = self.gap_at_ns = 0
        self.gaps: list[tuple[int, int]] = []
        self.hash = hashlib.sha256()
        self.numbers: set[int] = set()
        self.duplicates = self.reordered = self.late = 0
        self.highest = -1
        self.latencies_ns = array("q")
        self.socket = open_receiver(flow, options.interface, options.source)
        self.joined_ns = time.monotonic_ns()

    def take(self, payload: memoryview, now_ns: int) -> None:
        """Note one datagram."""
        if not self.count:
            self.first_ns = now_ns
        else:
            self._take_gap(now_ns - self.last_ns)
        self.last_ns = now_ns
        self.count += 1
        self.size_bytes += len(payload)
        self.hash.update(payload)
        if self.digests:
            self.digests.write(hashlib.sha256(payload).digest()[:DIGEST_BYTES])
        if self.sequence and len(payload) >= HEADER.size:
            number, sent_ns = HEADER.unpack_from(payload)
            self._take_number(number, sent_ns, now_ns)

    def _take_gap(self, gap_ns: int) -> None:
        if gap_ns > self.gap_ns:
            self.gap_ns, self.gap_at_ns = gap_ns, self.last_ns
        if self.least_gap_ns is None or len(self.gaps) == MOST_GAPS:
            return
        if gap_ns >= self.least_gap_ns:
            self.gaps.append((self.last_ns, gap_ns))

    def _take_number(self, number: int, sent_ns: int, now_ns: int) -> None:
        if number in self.numbers:
            self.duplicates += 1
            return
        self.numbers.add(number)
        if number < self.highest:
            self.reordered += 1
        self.highest = max(self.highest, number)
        self.late += now_ns - sent_ns > self.late_ns
        if len(self.latencies_ns) < MOST_LATENCIES:
            self.latencies_ns.append(now_ns - sent_ns)

    def report(self) -> dict[str, object]:
        """Tell what was received, ready for JSON."""
        told: dict[str, object] = {
            "flow": str(self.flow),
            "count": self.count,
            "bytes": self.size_bytes,
            "joined_ns": self.joined_ns,
            "first_ns": self.first_ns or None,
            "last_ns": self.last_ns or None,
            "largest_gap_ns": self.gap_ns,
            "largest_gap_at_ns": self.gap_at_ns or None,
            "sha256": self.hash.hexdigest(),
        }
        if self.least_gap_ns is not None:
            told["gaps_ns"] = self.gaps
        if self.sequence:
            told["sequence"] = self._report_sequence()
        return told

    def _report_sequence(self) -> dict[str, object]:
        lowest = min(self.numbers, default=None)
        span = 0 if lowest is None else self.highest - lowest + 1
        ordered = sorted(self.latencies_ns)
        last = len(ordered) - 1
        return {
            "first": lowest,
            "last": self.highest if self.numbers else None,
            "distinct": len(self.numbers),
            "lost": span - len(self.numbers),
            "absent": absent(self.numbers, self.highest),
            "late": self.late,
            "duplicates": self.duplicates,
            "reordered": self.reordered,
            "latency_ns": {
                name: ordered[round(share * last)]
                for name, share in (("least", 0), ("median", 0.5), ("p99", 0.99), ("most", 1))
                if ordered
            },
        }

    def close(self) -> None:
        """Leave the group and finish the digests."""
        self.socket.close()
        if self.digests:
            self.digests.close()


def absent(numbers: set[int], highest: int) -> list[tuple[int, int]]:
    """List the first ranges of numbers from 0 that are not there, first and last of each."""
    ranges: list[tuple[int, int]] = []
    for number in range(highest + 1):
        if number in numbers:
            continue
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        elif len(ranges) < MOST_RANGES:
            ranges.append((number, number))
        else:
            break
    return ranges


def open_receiver(flow: Flow, interface: str | None, source: str | None) -> socket.socket:
    """Open, bind and join; without an interface the kernel's routes choose one, as usual."""
    receiver = socket.socket(flow.family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    receiver.bind(flow.destination)
    receiver.setblocking(False)
    if flow.address.is_multicast:
        join(receiver, flow.address, interface, source)
    return receiver


def join(
    member: socket.socket, group: Address, interface: str | None = None, source: str | None = None
) -> None:
    """Join a group, from one source or from any, by the options of RFC 3678 §5.1."""
    level = socket.IPPROTO_IPV6 if group.version == 6 else socket.IPPROTO_IP
    # Interface index 0 (and the padding after it) means: whichever the routes say.
    index = socket.if_nametoindex(interface) if interface else 0
    request = struct.pack("@I4x", index) + _storage(group)
    if source:
        option = MCAST_JOIN_SOURCE_GROUP
        request += _storage(ip_address(source))
    else:
        option = MCAST_JOIN_GROUP
    member.setsockopt(level, option, request)


def _storage(address: Address) -> bytes:
    """Pack a `struct sockaddr_storage` with port 0."""
    if address.version == 6:
        packed = struct.pack("@HHI16sI", socket.AF_INET6, 0, 0, address.packed, 0)
    else:
        packed = struct.pack("@HH4s", socket.AF_INET, 0, address.packed)
    return packed.ljust(SOCKADDR_STORAGE_BYTES, b"\0")


class Stop:
    """Whether it is time to end: a signal, the clock, enough received, or silence after some."""

    def __init__(self) -> None:
        self.signalled = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True

    def is_due(
        self, receivers: Sequence[Receiver], options: argparse.Namespace, begun_ns: int
    ) -> bool:
        """Decide for the receiver."""
        now_ns = time.monotonic_ns()
        if self.signalled or now_ns - begun_ns >= options.seconds * 1e9:
            return True
        if options.count and all(receiver.count >= options.count for receiver in receivers):
            return True
        last_ns = max(receiver.last_ns for receiver in receivers)
        return bool(options.idle and last_ns and now_ns - last_ns >= options.idle * 1e9)


def receive(options: argparse.Namespace) -> dict[str, object]:
    """Join, say `ready`, receive until told to end; return the report."""
    stop = Stop()
    receivers = [
        Receiver(flow, options, path)
        for flow, path in zip(options.flows, digest_paths(options), strict=True)
    ]
    selector = selectors.DefaultSelector()
    for receiver in receivers:
        selector.register(receiver.socket, selectors.EVENT_READ, receiver)
    say("ready")
    begun_ns = told_ns = time.monotonic_ns()
    buffer = memoryview(bytearray(LARGEST_DATAGRAM_BYTES))
    while not stop.is_due(receivers, options, begun_ns):
        for key, _ in selector.select(0.05):
            drain(key.data, buffer)
        if options.progress and time.monotonic_ns() - told_ns >= options.progress * 1e9:
            told_ns = time.monotonic_ns()
            say(json.dumps({"at_ns": told_ns, "counts": [each.count for each in receivers]}))
    # What is in the buffers has arrived, even if the end came before it was read.
    for receiver in receivers:
        while drain(receiver, buffer) == BURST_COUNT:
            pass
        receiver.close()
    return {"flows": [receiver.report() for receiver in receivers]}


def drain(receiver: Receiver, buffer: memoryview) -> int:
    """Read what has arrived, up to a burst; return how many datagrams."""
    read = receiver.socket.recv_into
    for number in range(BURST_COUNT):
        try:
            size = read(buffer)
        except BlockingIOError:
            return number
        receiver.take(buffer[:size], time.monotonic_ns())
    return BURST_COUNT


def open_digests(path: Path | None) -> IO[bytes] | None:
    """Open a flow's file of digests, which stays open as long as its socket."""
    return path.open("wb") if path else None


def digest_paths(options: argparse.Namespace) -> list[Path | None]:
    """Give each flow its file of digests: the named one, or the name and a number for several."""
    if not options.digests:
        return [None] * len(options.flows)
    if len(options.flows) == 1:
        return [Path(options.digests)]
    return [Path(f"{options.digests}.{number}") for number in range(len(options.flows))]


class Sender:
    """One paced flow of generated datagrams."""

    def __init__(self, flow: Flow, options: argparse.Namespace, digests: Path | None) -> None:
        self.flow = flow
        self.digests = open_digests(digests)
        self.payload = bytearray(options.size)
        self.payload[HEADER.size :] = (b"dmmp" * (options.size // 4 + 1))[
            HEADER.size : options.size
        ]
        self.count = self.errors = 0
        self.first_ns = self.last_ns = self.gap_ns = 0
        self.hash = hashlib.sha256()
        self.socket = open_sender(flow, options)

    def send(self, now_ns: int) -> None:
        """Send the next datagram."""
        HEADER.pack_into(self.payload, 0, self.count, now_ns)
        try:
            self.socket.send(self.payload)
        except OSError:
            self.errors += 1
        self.first_ns = self.first_ns or now_ns
        if self.count:
            self.gap_ns = max(self.gap_ns, now_ns - self.last_ns)
        self.last_ns = now_ns
        self.count += 1
        self.hash.update(self.payload)
        if self.digests:
            self.digests.write(hashlib.sha256(self.payload).digest()[:DIGEST_BYTES])

    def report(self) -> dict[str, object]:
        """Tell what was sent, ready for JSON."""
        return {
            "flow": str(self.flow),
            "count": self.count,
            "bytes": self.count * len(self.payload),
            "errors": self.errors,
            "first_ns": self.first_ns or None,
            "last_ns": self.last_ns or None,
            "largest_gap_ns": self.gap_ns,
            "sha256": self.hash.hexdigest(),
        }


def open_sender(flow: Flow, options: argparse.Namespace) -> socket.socket:
    """Open a socket that sends to the flow with the given TTL, on an interface if one is named."""
    sender = socket.socket(flow.family, socket.SOCK_DGRAM)
    index = socket.if_nametoindex(options.interface) if options.interface else 0
    if flow.address.version == 6:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, options.ttl)
        if index:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, options.ttl)
        if index:
            membership = struct.pack("@4s4si", bytes(4), bytes(4), index)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
    sender.connect(flow.destination)
    return sender


def send(options: argparse.Namespace) -> dict[str, object]:
    """Send every flow at its rate; a late datagram is sent at once, so that the rate holds."""
    stop = Stop()
    senders = [
        Sender(flow, options, path)
        for flow, path in zip(options.flows, digest_paths(options), strict=True)
    ]
    say("ready")
    interval_ns = options.size * 8 * 1e9 / options.rate
    most = options.count or max(1, round(options.seconds * 1e9 / interval_ns))
    begun_ns = time.monotonic_ns()
    for number in range(most):
        due_ns = begun_ns + round(number * interval_ns)
        while (ahead_ns := due_ns - time.monotonic_ns()) > 0 and not stop.signalled:
            time.sleep(ahead_ns / 1e9)
        if stop.signalled:
            break
        for sender in senders:
            sender.send(time.monotonic_ns())
    for sender in senders:
        if sender.digests:
            sender.digests.close()
    return {"flows": [sender.report() for sender in senders]}


def say(line: str) -> None:
    """Write a line for whoever waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse_rate(text: str) -> float:
    """Read bit/s with an optional k, M or G."""
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 0)
    return float(text[:-1]) * factor if factor else float(text)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line of either program."""
    parser = argparse.ArgumentParser(prog="programs", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="receive|send")
    for name, program in (("receive", receive), ("send", send)):
        command = commands.add_parser(name)
        command.set_defaults(program=program)
        command.add_argument("flows", nargs="+", type=Flow.parse, metavar="GROUP:PORT")
        command.add_argument("--interface", help="by name; else the routes decide")
        command.add_argument("--count", type=int, default=0, help="end after so many per flow")
        command.add_argument("--output", type=Path, help="the report's file; else stdout")
        command.add_argument("--digests", help="file for 16 bytes of SHA-256 per datagram")
        if program is receive:
            command.add_argument("--source", help="join for this source only")
            command.add_argument("--seconds", type=float, default=3600.0)
            command.add_argument("--idle", type=float, help="end after such a silence")
            command.add_argument("--progress", type=float, help="print counts so often")
            command.add_argument("--sequence", action="store_true", help="check sent numbers")
            command.add_argument("--gaps", type=float, help="list the gaps of so many seconds")
            command.add_argument("--late", type=float, default=2.0, help="after so many seconds")
        else:
            command.add_argument("--seconds", type=float, default=10.0)
            command.add_argument("--rate", type=parse_rate, default=8e6, help="bit/s, e.g. 8M")
            command.add_argument("--size", type=int, default=1316, help="bytes per datagram")
            command.add_argument("--ttl", type=int, default=16)
    options = parser.parse_args(arguments)
    if getattr(options, "size", HEADER.size) < HEADER.size:
        parser.error(f"--size: at least {HEADER.size}")
    return options


def main(arguments: Sequence[str]) -> int:
    """Run a program and write its report, one line of JSON."""
    options = parse_arguments(arguments)
    program: Callable[[argparse.Namespace], dict[str, object]] = options.program
    try:
        report = json.dumps(program(options))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.output:
        options.output.write_text(report + "\n")
    else:
        say(report)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
