"""Don't-Fragment, decided for each destination: whole where the path is known to carry it (Linux).

A datagram within what probes have shown (RFC 8899) goes with Don't-Fragment and without regard to
what the kernel was told by ICMP: that may be forged, and the roles look after it. A larger one may
be cut, by this kernel or, over IPv4, by a router; so may one to where nothing is known. Over IPv6
Linux cuts only what its own interface or an ICMP message says is too large, so that a path that is
narrow without a word is known of and remains a hole. The socket options are switched only where one
datagram differs from the one before. Elsewhere than on Linux nothing is switched.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from dmmp.policies.path_mtu import OVERHEAD_BYTES

WHOLE_BYTES = 1200
"""Datagrams up to this size fit every path (the least MTU of IPv6 is 1280)."""

LIMITS_LIMIT = 4096
"""Destinations whose limit is kept; the roles name the children only."""

PROBE_TRIES = 3
"""A pending ICMP error about one peer fails the next send to any."""

_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_MTU = 10, 23, 24
_DONT, _WANT, _PROBE = 0, 1, 3
_LEAST_IPV6_MTU = 1280
_WHOLE = -1

Address = tuple[Any, ...]


class Fragments:
    """See the module's docstring; `before` is called ahead of every send."""

    def __init__(self, opened: socket.socket) -> None:
        """Take a bound socket; until a limit is known, what is large may be cut."""
        self._socket = opened
        self._is_ipv6 = opened.family == socket.AF_INET6
        self._limits: dict[Address, int] = {}
        self._mode: int | None = None
        self._switch(0)

    def limit(self, address: Address | None, datagram_bytes: int) -> None:
        """Know that datagrams of so many bytes reach an address whole; 0 forgets it."""
        if address is None:
            return
        self._limits.pop(address, None)
        if datagram_bytes and len(self._limits) < LIMITS_LIMIT:
            self._limits[address] = datagram_bytes

    def before(self, address: Address, size_bytes: int) -> None:
        """Forbid or allow fragments for a datagram, or a burst of such, that is sent next."""
        if size_bytes <= WHOLE_BYTES:
            return
        limit = self._limits.get(address, 0)
        mode = _WHOLE if size_bytes <= limit else limit
        if mode != self._mode:
            self._switch(mode)

    def give_way(self) -> None:
        """Allow fragments after all, of the datagram that the kernel has just refused."""
        if self._mode == _WHOLE:
            self._switch(0)

    def probe(self, datagram: bytes, address: Address) -> bool:
        """Send a datagram whole or not at all; False if this host's own interface cannot."""
        if self._mode != _WHOLE:
            self._switch(_WHOLE)
        for left in reversed(range(PROBE_TRIES)):
            try:
                self._socket.sendto(datagram, address)
                return True
            except OSError as error:
                if not left or isinstance(error, BlockingIOError):
                    return error.errno != errno.EMSGSIZE
        return True

    def _switch(self, mode: int) -> None:
        """Switch to `_WHOLE`, or to fragments: of at most `mode` bytes over IPv6, if not 0."""
        self._mode = mode
        whole = mode == _WHOLE
        self._set(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE if whole else _DONT)
        if self._is_ipv6:
            # No router cuts a fragment further.
            mtu = 0 if mode <= 0 else max(_LEAST_IPV6_MTU, mode + OVERHEAD_BYTES[6])
            self._set(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE if whole else _WANT)
            self._set(socket.IPPROTO_IPV6, _IPV6_MTU, mtu)

    def _set(self, level: int, option: int, value: int) -> None:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError:
            # Another system, or a kernel without it.
            pass
