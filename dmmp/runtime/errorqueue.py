"""What the network says of our datagrams: "nobody listens there", and what is too large (Linux).

With IP_RECVERR the kernel keeps the ICMP errors about a socket's datagrams, with the destination
they were sent to. Nothing here believes them: the roles answer with a probe, so a forged one costs
a probe, and a flood of them is bounded here. Don't-Fragment is switched here too (Decision 27).
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dmmp.types import Endpoint

ENDPOINTS_A_DRAIN = 16
"""Endpoints told of at once; who streams to more dead ones hears of the others soon after."""

ERRORS_A_DRAIN = 64
"""Errors taken at once; then the datagrams have their turn."""

QUIET = 0.1
"""Seconds in which an endpoint is told of once: a stream to a dead host makes an error a packet."""

WHOLE_BYTES = 1200
"""Control messages up to this size fit every path (the least MTU of IPv6 is 1280)."""

TOLD_LIMIT = 256
SEND_TRIES = 3
"""An error about one peer fails the next send to any; that one is tried again."""

PENDING = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPROTO,
        errno.EACCES,
        errno.EMSGSIZE,
    }
)
"""What a send may fail with because of an ICMP error about an earlier one (ip(7), udp(7))."""

_IP_MTU_DISCOVER, _IP_RECVERR = 10, 11
_IPV6_MTU_DISCOVER, _IPV6_RECVERR, _IPV6_DONTFRAG = 23, 25, 62
_PMTUDISC_DONT, _PMTUDISC_WANT, _PMTUDISC_DO = 0, 1, 2
_ERROR = struct.Struct("=IBBB")
_ANCILLARY_BYTES = 256
_NOBODY_THERE = {(2, 3, 1), (2, 3, 3), (3, 1, 3), (3, 1, 4)}
"""Origin, type and code: host and port unreachable (RFC 792), address and port (RFC 4443)."""

Report = Callable[[Endpoint], None]


def forbid_fragments(opened: socket.socket, forbidden: bool = True) -> None:
    """Set or clear Don't-Fragment; with it the kernel refuses what its known path MTU is below.

    The cached path MTU is used on purpose: a too large datagram then fails here, counted, instead
    of vanishing on the way. Where a system has no such option, nothing changes.
    """
    version4 = _PMTUDISC_DO if forbidden else _PMTUDISC_DONT
    version6 = _PMTUDISC_DO if forbidden else _PMTUDISC_WANT
    _try(opened, socket.IPPROTO_IP, _IP_MTU_DISCOVER, version4)
    if opened.family == socket.AF_INET6:
        _try(opened, socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, version6)
        _try(opened, socket.IPPROTO_IPV6, _IPV6_DONTFRAG, int(forbidden))


@contextmanager
def deliverable(opened: socket.socket, size_bytes: int) -> Iterator[None]:
    """Let what is too large for some path travel in fragments: a control message must arrive."""
    if size_bytes <= WHOLE_BYTES:
        yield
        return
    forbid_fragments(opened, False)
    try:
        yield
    finally:
        forbid_fragments(opened)


def _try(opened: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        opened.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def watch(opened: socket.socket, events: int) -> select.epoll:
    """Make a file that is readable while the socket has one of the events, or an error.

    uvloop stops watching a socket that shows an error for good; this it does not see.
    """
    made = select.epoll()
    made.register(opened.fileno(), events)
    return made


class ErrorQueue:
    """Takes the ICMP errors of one socket and reports who is said to be unreachable."""

    def __init__(
        self,
        opened: socket.socket,
        endpoint: Callable[[tuple[Any, ...]], Endpoint],
        counters: dict[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a bound socket within the running event loop; elsewhere than on Linux, do nothing.

        `endpoint` makes one of a kernel address; the errors are counted as `network_errors`.
        """
        self.report: Report = lambda endpoint: None
        self._counters = counters
        self._socket = opened
        self._endpoint = endpoint
        self._clock = clock
        self._told: dict[Endpoint, float] = {}
        self._watch: select.epoll | None = None
        if not hasattr(select, "epoll"):
            return
        self._watch = watch(opened, 0)
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self.drain)
        _try(opened, socket.IPPROTO_IP, _IP_RECVERR, 1)
        if opened.family == socket.AF_INET6:
            _try(opened, socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)

    def drain(self) -> None:
        """Take errors, a bounded number, and report each endpoint that none was reported of."""
        found: dict[Endpoint, None] = {}
        for _ in range(ERRORS_A_DRAIN):
            try:
                _, ancillary, _, address = self._socket.recvmsg(
                    0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE
                )
            except OSError:
                break
            self._counters["network_errors"] += 1
            if address and len(found) < ENDPOINTS_A_DRAIN and _says_nobody(ancillary):
                found[self._endpoint(address)] = None
        now = self._clock()
        for endpoint in found:
            if now - self._told.get(endpoint, float("-inf")) >= QUIET:
                if len(self._told) >= TOLD_LIMIT:
                    self._told.clear()
                self._told[endpoint] = now
                self.report(endpoint)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None


def _says_nobody(ancillary: list[tuple[int, int, bytes]]) -> bool:
    for level, kind, value in ancillary:
        is_error = (level, kind) in (
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_IPV6, _IPV6_RECVERR),
        )
        if is_error and len(value) >= _ERROR.size:
            return _ERROR.unpack_from(value)[1:] in _NOBODY_THERE
    return False
