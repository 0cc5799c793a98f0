"""The doorman: answers a flood of handshake openings where they come in, one by one and cheaply.

Whoever calls while there are too many gets a cookie and nothing else, which takes neither a queue
nor an `Endpoint`, nor the driver. What bears a cookie, and all else, he lets in. Of what is more
than he can answer the kernel drops a part by lot (`sieve`). Off duty he costs nothing.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dmmp.messages.options import Option
from dmmp.runtime.sieve import Shares, Sieve
from dmmp.security.associations import Associations
from dmmp.security.cookies import NO_MAC
from dmmp.security.handshakes import PREFIX_BYTES, prefix
from dmmp.types import Instant

Address = tuple[Any, ...]

STEP_SECONDS = 0.02
"""Time after which he looks again whether there is a flood, and how much of it he can take."""

ANSWERS = 4
"""Answers between two reads of the socket where data is forwarded, which goes first."""

ANSWERS_OF_A_POINT = 1024
"""And where none is: to all that a read brings."""

CROWD = 256
"""Strangers that wait at once: more than `Limits.initiations`, so it is load."""

_MAPPED = "::ffff:"
_INITIATION = prefix(Option.HANDSHAKE_INITIATION)


class Doorman:
    """One for each driver whose control is sealed; his socket asks him while he is `on_duty`."""

    def __init__(
        self,
        associations: Associations,
        forwards: bool,
        counters: dict[str, int],
        clock: Callable[[], Instant] = time.monotonic,
    ) -> None:
        """His answers are counted as `control_sent`; few where this host `forwards` data.

        What the kernel drops by lot is counted as `sieved`.
        """
        self.on_duty = False
        self.shares = Shares()
        self._associations = associations
        self._answers = self._left = ANSWERS if forwards else ANSWERS_OF_A_POINT
        self._counters = counters
        self._clock = clock
        self._now = 0.0
        self._plain = self._bearing = self._refused = 0
        self._socket: socket.socket | None = None
        self._sieve: Sieve | None = None

    @property
    def sieved(self) -> int:
        """Datagrams dropped by lot, which the kernel counts with those that found no room."""
        return self._counters["sieved"]

    def serve(self, opened: socket.socket) -> None:
        """Answer through this socket, and sieve what comes to it."""
        self._socket, self._sieve = opened, Sieve(opened)

    def call(self, waiting: int, now: Instant) -> None:
        """Go on duty if there is a flood: a stranger has come in, and so many wait already.

        Only in a running event loop.
        """
        if self.on_duty or self._sieve is None:
            return
        if waiting < CROWD and not self._associations.is_flooded(now):
            return
        self.on_duty = True
        self.shares.begin(*self._sieve.look())
        self._now, self._left = now, self._answers
        self._plain = self._bearing = self._refused = 0
        asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def turn(self) -> None:
        """Begin a turn of reading the socket."""
        self._now, self._left = self._clock(), self._answers

    def admits(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Let a datagram in, or answer it, or neither, if too many were answered in this turn."""
        if datagram[:PREFIX_BYTES] != _INITIATION:
            return True
        if datagram[-len(NO_MAC) :] == NO_MAC:
            self._plain += 1
            if not self._left:
                self._refused += 1
                return False
        may_answer = self._left > 0
        answer = self._associations.answer_flood(datagram, place(address), may_answer, self._now)
        if answer is None:
            return True
        if datagram[-len(NO_MAC) :] != NO_MAC:
            self._bearing += 1
            self._refused += not may_answer
        if answer and self._socket is not None:
            self._left -= 1
            self._counters["control_sent"] += 1
            # Who gets none asks again.
            with suppress(OSError):
                self._socket.sendto(answer, address)
        return False

    def _step(self) -> None:
        if self._sieve is None:
            return
        shares = self.shares
        before = shares.plain, shares.bearing
        backlog, dropped = self._sieve.look()
        if not shares.are_whole:
            self._counters["sieved"] += dropped - shares.dropped
        shares.adjust(backlog, dropped, self._plain, self._bearing, self._refused)
        self._plain = self._bearing = self._refused = 0
        if before != (shares.plain, shares.bearing):
            self._sieve.set(shares.plain, shares.bearing)
        self.on_duty = not shares.are_whole or self._associations.is_flooded(self._clock())
        if self.on_duty:
            asyncio.get_running_loop().call_later(STEP_SECONDS, self._step)

    def leave(self) -> None:
        """Go: the socket is closed."""
        self.on_duty = False
        self._socket = self._sieve = None


def place(address: Address) -> bytes:
    """Give what `cookies.where` makes of the endpoint of a kernel address, without making that."""
    text, port = str(address[0]), int(address[1]).to_bytes(2, "big")
    if "." in text:
        return socket.inet_aton(text.removeprefix(_MAPPED)) + port
    return socket.inet_pton(socket.AF_INET6, text.partition("%")[0]) + port
