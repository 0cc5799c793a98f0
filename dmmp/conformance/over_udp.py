"""The carrier over real UDP: plain sockets of the tester, and a process or an address under test.

A wait is real time. The implementation is one that runs already, at an address, or a command that
is started for each case; `{rp}`, `{listen}` and `{session}` in it are filled in, and what is in
brackets around `{rp2}` is left out where there is one RP alone.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv6Address, ip_address
from itertools import count

from dmmp.conformance.carrier import GROUP, Arrival
from dmmp.conformance.case import Case, Feature
from dmmp.conformance.requirement import Role
from dmmp.errors import UsageError
from dmmp.types import Endpoint, Instant, IpAddress

ANYWHERE_HERE = Endpoint(ip_address("127.0.0.1"), 0)
LARGEST_DATAGRAM = 65535
PROGRAM_TTL = 16
SECOND_RP = re.compile(r"\[([^\[\]]*\{rp2\}[^\[\]]*)\]")
"""What of a command is for cases with a second RP only."""

RECEIVE_BUFFER_BYTES = 1 << 20
LAST_WORDS_BYTES = 2000
"""Of what an implementation printed, so much is kept."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is tested over UDP, and from where.

    `subject`: where an implementation that runs already is. `command`: what starts one; without
    both, a person starts one for each case, when `announce` says so.
    `listen`: the tester's address, with the port at which it plays the RP; 0 is any port.
    `interface`: where programs on the implementation's host are heard and spoken to.
    """

    role: Role
    session_name: str
    subject: Endpoint | None = None
    command: str | None = None
    listen: Endpoint = ANYWHERE_HERE
    interface: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[str], None] | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """Return what can be done to the implementation."""
        found = set()
        if self.command is not None:
            found |= {Feature.FRESH, Feature.STOP}
            if SECOND_RP.search(self.command):
                found.add(Feature.SECOND_RP)
        elif self.role is not Role.RP:
            found.add(Feature.FRESH)
        if self.interface is not None:
            found.add(Feature.PROGRAM)
        return frozenset(found)


class OverUdp:
    """See the module's docstring; the interface is `carrier.Carrier`."""

    def __init__(self, target: Target, *, second_rp: bool = False) -> None:
        """Open the sockets; without `second_rp` the implementation is told of one RP alone."""
        self.target = target
        self.features = target.features
        self._sockets: dict[Endpoint, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._pending: list[tuple[Instant, int, Endpoint, Endpoint, bytes]] = []
        self._order = count()
        self.process: subprocess.Popen[bytes] | None = None
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._programs: socket.socket | None = None
        self._heard: list[bytes] = []
        self.subject = target.subject
        try:
            self._prepare(second_rp)
        except BaseException:
            self.close()
            raise

    def _prepare(self, second_rp: bool) -> None:
        target = self.target
        if target.interface is not None:
            self._programs = _program_socket(target.interface)
        if target.role is Role.RP:
            if target.command is not None:
                self.subject = Endpoint(target.listen.address, _free_port(target.listen.address))
            self._points: tuple[Endpoint, ...] = ()
        else:
            self._points = (self._bind(target.listen), *((self.open(),) if second_rp else ()))

    @property
    def now(self) -> Instant:
        """Return the machine's monotonic clock."""
        return time.monotonic()

    def points(self) -> tuple[Endpoint, ...]:
        """Return where the tester plays RPs."""
        return self._points

    def open(self) -> Endpoint:
        """Bind one more socket, at a port that the kernel chooses."""
        return self._bind(Endpoint(self.target.listen.address, 0))

    def _bind(self, at: Endpoint) -> Endpoint:
        family = socket.AF_INET6 if isinstance(at.address, IPv6Address) else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        try:
            opened.bind((str(at.address), at.port))
        except OSError as error:
            opened.close()
            raise UsageError(f"--listen {at}: {error.strerror}") from None
        endpoint = Endpoint(at.address, opened.getsockname()[1])
        self._sockets[endpoint] = opened
        self._selector.register(opened, selectors.EVENT_READ, endpoint)
        return endpoint

    def close_address(self, endpoint: Endpoint) -> None:
        """Close a socket: from now on the network says that nobody listens there."""
        opened = self._sockets.pop(endpoint)
        self._selector.unregister(opened)
        opened.close()

    def start(self) -> None:
        """Start the command, if there is one."""
        if self.target.command is None:
            if self._points and self.target.announce is not None:
                self.target.announce(f"start it anew now, with its RP at {self._points[0]}")
            return
        words = self.words()
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.target.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"--command {words[0]!r}: {error.strerror}") from None

    def words(self) -> list[str]:
        """Return the command with everything filled in, as words."""
        command = self.target.command or ""
        chosen = r"\1" if len(self._points) > 1 else ""
        try:
            words = shlex.split(SECOND_RP.sub(chosen, command))
            return [word.format_map(self._values()) for word in words]
        except (LookupError, ValueError) as error:
            raise UsageError(
                f"--command: {error} is not to be read; it knows {{rp}}, [… {{rp2}} …], {{listen}} "
                "and {session}, and a brace of its own is written twice"
            ) from None

    def _values(self) -> dict[str, str]:
        values = {"session": self.target.session_name}
        for name, endpoint in zip(("rp", "rp2"), self._points, strict=False):
            values[name] = str(endpoint)
        free = self.subject or self.target.listen._replace(port=0)
        values["listen"] = str(free)
        return values

    def stop(self) -> None:
        """Ask the process to leave."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def send(self, origin: Endpoint, to: Endpoint, datagram: bytes, delay: float = 0.0) -> None:
        """Send at once, or when `receive` finds that the delay is over."""
        if delay > 0:
            entry = (self.now + delay, next(self._order), origin, to, datagram)
            heappush(self._pending, entry)
            return
        opened = self._sockets.get(origin)
        if opened is None:
            return
        try:
            opened.sendto(datagram, (str(to.address), to.port))
        except OSError:
            # As if the network had lost it: what an RP under test refuses may be unreachable.
            pass

    def receive(self, until: Instant) -> Arrival | None:
        """Wait until something arrives, in real time."""
        while True:
            self._send_due()
            first = min([until, *(entry[0] for entry in self._pending[:1])])
            events = self._selector.select(max(0.0, first - self.now))
            for key, _ in events:
                arrival = self._read(key.data)
                if arrival is not None:
                    return arrival
            if not events and self.now >= until:
                return None

    def _send_due(self) -> None:
        while self._pending and self._pending[0][0] <= self.now:
            _, _, origin, to, datagram = heappop(self._pending)
            self.send(origin, to, datagram)

    def _read(self, endpoint: Endpoint) -> Arrival | None:
        opened = self._sockets[endpoint]
        try:
            datagram, origin = opened.recvfrom(LARGEST_DATAGRAM)
        except OSError:
            # An error that the network reported for what was sent before.
            return None
        sender = Endpoint(ip_address(origin[0].partition("%")[0]), origin[1])
        return Arrival(self.now, sender, endpoint, datagram)

    def program_sends(self, payload: bytes) -> None:
        """Send a multicast datagram on the interface, as a program there would."""
        if self._programs is not None:
            self._programs.sendto(payload, (str(GROUP.address), GROUP.port))

    def program_heard(self) -> list[bytes]:
        """Return what came to the group on the interface."""
        while self._programs is not None:
            try:
                self._heard.append(self._programs.recv(LARGEST_DATAGRAM))
            except BlockingIOError:
                break
        return list(self._heard)

    def said(self) -> str:
        """Return the last that the process printed."""
        size = self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, size - LAST_WORDS_BYTES))
        return self._printed.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the process, close the sockets."""
        process = self.process
        if process is not None:
            # Not asked to leave: it would wait for answers that nobody gives it any more.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for opened in self._sockets.values():
            opened.close()
        self._selector.close()
        if self._programs is not None:
            self._programs.close()
        self._printed.close()


def opens(target: Target) -> Callable[[Case, int], OverUdp]:
    """Return what makes the carrier that a case needs."""

    def open_carrier(case: Case, seed: int) -> OverUdp:
        return OverUdp(target, second_rp=Feature.SECOND_RP in case.needs)

    return open_carrier


def _free_port(address: IpAddress) -> int:
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.bind((str(address), 0))
        return int(opened.getsockname()[1])


def _program_socket(interface: str) -> socket.socket:
    """Open a socket that sends to `GROUP` on an interface and hears it there."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        raise UsageError(f"--interface {interface!r}: there is no such interface") from None
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((str(GROUP.address), GROUP.port))
    request = GROUP.address.packed + bytes(4) + index.to_bytes(4, sys.byteorder)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    # A source may count itself as a router, and 1 as used up.
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, PROGRAM_TTL)
    return opened
