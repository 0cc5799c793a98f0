"""The way out that both sockets share: straight to the kernel, or through the queues of receivers.

What waits, for how long and in which order is decided in `forwarding.outgoing`; here are the clock
and the event loop's timer that it needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from dmmp.forwarding.burst import Octets, Transmit
from dmmp.forwarding.outgoing import Outgoing, Queued
from dmmp.runtime.fragments import Fragments
from dmmp.types import Endpoint, Instant

Write = Callable[[Octets, int, tuple[Any, ...]], int]
"""Sends datagrams `stride` bytes apart to a kernel address; returns how many bytes found no room.

What the kernel refuses for good is counted and not among them.
"""

Find = Callable[[Endpoint], tuple[Any, ...] | None]


class Sending:
    """Sends for one socket; must be made within the running event loop."""

    def __init__(
        self,
        write: Write,
        find: Find,
        fragments: Fragments,
        counters: dict[str, int],
        outgoing: Outgoing,
        clock: Callable[[], Instant] = time.monotonic,
    ) -> None:
        """`find` gives the kernel address of an endpoint; dropped packets count as `queue_full`."""
        self._write = write
        self._fragments = fragments
        self._find = find
        self._counters = counters
        self._outgoing = outgoing
        self._held = outgoing.held
        self._is_limited = outgoing.is_limited
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: Instant = float("inf")
        self._closed = False

    def send(self, transmits: Iterable[Transmit]) -> None:
        """Send in order without waiting; what finds no room waits for a while."""
        held, is_limited, find, write = self._held, self._is_limited, self._find, self._write
        waits = False
        for data, stride, to in transmits:
            if is_limited or (held and to in held):
                self._outgoing.put(data, stride, to, self._clock())
                waits = True
                continue
            address = find(to)
            if address is None:
                self._counters["unreachable"] += 1
            elif left := write(data, stride, address):
                rest = data if left == len(data) else memoryview(data)[len(data) - left :]
                self._outgoing.put(rest, stride, to, self._clock(), blocked=True)
                waits = True
        if waits:
            self.flush()

    def send_control(self, datagram: bytes, to: Endpoint) -> None:
        """Send a control message past all queues; it waits only if the kernel has no room."""
        address = self._find(to)
        if address is None:
            self._counters["unreachable"] += 1
            return
        now = self._clock()
        self._outgoing.spend(len(datagram), to, now)
        if self._write(datagram, len(datagram), address):
            self._outgoing.put(datagram, len(datagram), to, now, blocked=True)
            self.flush()

    def send_probe(self, datagram: bytes, to: Endpoint) -> bool:
        """Send a probe whole or not at all; False if this host's own interface cannot."""
        address = self._find(to)
        return address is None or self._fragments.probe(datagram, address)

    def set_path_mtu(self, to: Endpoint, datagram_bytes: int) -> None:
        """Send larger datagrams there in fragments, others whole; 0: nothing is known."""
        self._fragments.limit(self._find(to), datagram_bytes)

    def lost(self, to: Endpoint) -> None:
        """Note that a receiver lacks packets that were sent to it."""
        self._outgoing.lost(to, self._clock())

    def queues(self) -> dict[Endpoint, Queued]:
        """Tell of the receivers that something waits for, is paced for or was dropped for."""
        return self._outgoing.queues(self._clock())

    def flush(self) -> None:
        """Send what may go by now, and see when to come back."""
        if self._closed:
            return
        outgoing, now = self._outgoing, self._clock()
        while (transmit := outgoing.next(now)) is not None:
            address = self._find(transmit.to)
            if address is None:
                self._counters["unreachable"] += 1
                outgoing.done(0, now)
            else:
                outgoing.done(self._write(transmit.data, transmit.stride, address), now)
        self._counters["queue_full"] = outgoing.dropped
        due = outgoing.due()
        if due is not None and due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self.flush()

    def close(self) -> None:
        """Send nothing any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
