"""What the network says of our datagrams: "nobody listens there", and what is too large (Linux).

With IP_RECVERR the kernel keeps the ICMP errors about a socket's datagrams, with the destination
they were sent to. Nothing here believes them: the roles answer with a probe, so a forged one costs
a probe, and a flood of them is bounded here.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from dmmp.policies.path_mtu import overhead_bytes
from dmmp.types import Endpoint

ENDPOINTS_A_DRAIN = 16
"""Endpoints told of at once; who streams to more dead ones hears of the others soon after."""

ERRORS_A_DRAIN = 64
"""Errors taken at once; then the datagrams have their turn."""

QUIET = 0.1
"""Seconds in which an endpoint is told of once: a stream to a dead host makes an error a packet."""

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

_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ERROR = struct.Struct("=IBBBxI")
"""Error number, origin, type, code, information: the beginning of `sock_extended_err`."""

_ANCILLARY_BYTES = 256
_NOBODY_THERE = {(2, 3, 1), (2, 3, 3), (3, 1, 3), (3, 1, 4)}
"""Origin, type and code: host and port unreachable (RFC 792), address and port (RFC 4443)."""

_FROM_NETWORK = (2, 3)
"""Origins that are ICMP, of either version."""

Report = Callable[[Endpoint], None]
ReportSize = Callable[[Endpoint, int], None]


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
    """Takes the ICMP errors of one socket; reports who is unreachable, and what is too large."""

    def __init__(
        self,
        opened: socket.socket,
        endpoint: Callable[[tuple[Any, ...]], Endpoint],
        counters: dict[str, int],
        clock: Callable[[], float] = time.monotonic,
        watched: bool = True,
    ) -> None:
        """Take a bound socket within the running event loop; elsewhere than on Linux, do nothing.

        `endpoint` makes one of a kernel address; the errors are counted as `network_errors`. If not
        `watched` here, somebody else calls `drain` when the socket shows an error.
        """
        self.report: Report = lambda endpoint: None
        self.report_size: ReportSize = lambda endpoint, fits: None
        self._counters = counters
        self._socket = opened
        self._endpoint = endpoint
        self._clock = clock
        self._told: dict[tuple[Endpoint, bool], float] = {}
        self._watch: select.epoll | None = None
        if not hasattr(select, "epoll"):
            return
        if watched:
            self._watch = watch(opened, 0)
            asyncio.get_running_loop().add_reader(self._watch.fileno(), self.drain)
        _try(opened, socket.IPPROTO_IP, _IP_RECVERR, 1)
        if opened.family == socket.AF_INET6:
            _try(opened, socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)

    def drain(self) -> None:
        """Take errors, a bounded number, and report each endpoint that none was reported of."""
        found: dict[tuple[Endpoint, bool], int] = {}
        for _ in range(ERRORS_A_DRAIN):
            try:
                _, ancillary, _, address = self._socket.recvmsg(
                    0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE
                )
            except OSError:
                break
            self._counters["network_errors"] += 1
            if not address or len(found) >= ENDPOINTS_A_DRAIN:
                continue
            if _says_nobody(ancillary):
                found[self._endpoint(address), False] = 0
            elif mtu := _says_too_large(ancillary):
                found[self._endpoint(address), True] = mtu
        now = self._clock()
        for key, mtu in found.items():
            if now - self._told.get(key, float("-inf")) < QUIET:
                continue
            if len(self._told) >= TOLD_LIMIT:
                self._told.clear()
            self._told[key] = now
            endpoint, is_size = key
            if is_size:
                self.report_size(endpoint, max(0, mtu - overhead_bytes(endpoint)))
            else:
                self.report(endpoint)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None


def _errors(ancillary: list[tuple[int, int, bytes]]) -> Iterator[tuple[int, int, int, int, int]]:
    for level, kind, value in ancillary:
        is_error = (level, kind) in (
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_IPV6, _IPV6_RECVERR),
        )
        if is_error and len(value) >= _ERROR.size:
            yield _ERROR.unpack_from(value)


def _says_nobody(ancillary: list[tuple[int, int, bytes]]) -> bool:
    return any(error[1:4] in _NOBODY_THERE for error in _errors(ancillary))


def _says_too_large(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the MTU that an ICMP error names (RFC 1191, RFC 8201); 0 if it is another error."""
    for number, origin, _, _, information in _errors(ancillary):
        if number == errno.EMSGSIZE and origin in _FROM_NETWORK:
            return information
    return 0
