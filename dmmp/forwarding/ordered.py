"""Delivery in order, for programs that want it (Decision 18): packets behind a gap wait a while.

Only what goes to this host's programs waits, never what goes to others. Off unless asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from dmmp.forwarding.burst import Octets, compact, part
from dmmp.forwarding.cache import RECORD_BYTES
from dmmp.forwarding.repair import signed
from dmmp.forwarding.window import OUTAGE, SEQUENCE_MASK, WINDOW, Window
from dmmp.types import Instant


class Held(NamedTuple):
    """Consecutive packets that wait, and since when."""

    first: int
    packets: int
    data: Octets
    stride: int
    at: Instant


class Room:
    """The memory that all channels' waiting packets share."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0


class Order:
    """One channel's packets in the order of their numbers, each at most `delay` seconds late.

    `late` counts those that came when their turn was over.
    """

    __slots__ = ("_delay", "_held", "_next", "_oldest", "_room", "_window", "late")

    def __init__(self, window: Window, delay: float, room: Room) -> None:
        self.late = 0
        self._window = window
        self._delay = delay
        self._room = room
        self._held: list[Held] = []
        self._next: int | None = None
        # Worked out anew only when that packet has gone: many may wait.
        self._oldest: Instant | None = None

    def due(self) -> Instant | None:
        """Say when the packet that has waited longest has waited long enough; None if none does."""
        return self._since() + self._delay if self._held else None

    def take(
        self, first: int, count: int, data: Octets, stride: int, now: Instant
    ) -> list[tuple[Octets, int]]:
        """Take consecutive packets; give back what is to be delivered now, as (data, stride)."""
        ready: list[tuple[Octets, int]] = []
        if self._next is not None and not -WINDOW <= signed(first - self._next) <= OUTAGE:
            # The origin has begun anew.
            ready += self.flush()
        if self._next is None:
            self._next = first
        behind = -signed(first - self._next)
        if behind > 0:
            passed = min(behind, count)
            self.late += passed
            first, count = (first + passed) & SEQUENCE_MASK, count - passed
            data = part(data, stride, passed, passed + count) if count else b""
        if not count:
            return ready
        if first == self._next and not self._held:
            self._next = (first + count) & SEQUENCE_MASK
            ready.append((data, stride))
            return ready
        self._insert(Held(first, count, compact(data), stride, now))
        return ready + self.release(now)

    def release(self, now: Instant) -> list[tuple[Octets, int]]:
        """Give back what need not wait any more."""
        ready: list[tuple[Octets, int]] = []
        held, room = self._held, self._room
        while held:
            ahead = held[0]
            must_wait = ahead.first != self._next and room.used_bytes <= room.limit_bytes
            if must_wait and now < self._since() + self._delay and self._may_come(ahead.first):
                break
            del held[0]
            if ahead.at == self._oldest:
                self._oldest = None
            room.used_bytes -= len(ahead.data) + RECORD_BYTES
            self._next = (ahead.first + ahead.packets) & SEQUENCE_MASK
            ready.append((ahead.data, ahead.stride))
        return ready

    def flush(self) -> list[tuple[Octets, int]]:
        """Give back everything, and begin anew with the next packet."""
        ready = [(held.data, held.stride) for held in self._held]
        self._room.used_bytes -= sum(len(held.data) + RECORD_BYTES for held in self._held)
        self._held.clear()
        self._next = self._oldest = None
        return ready

    def _since(self) -> Instant:
        """Return when the packet that has waited longest came."""
        if self._oldest is None:
            self._oldest = min(held.at for held in self._held)
        return self._oldest

    def _may_come(self, number: int) -> bool:
        """Tell whether any number from the next one up to this is still missing."""
        assert self._next is not None
        count = (number - self._next) & SEQUENCE_MASK
        return count <= WINDOW and bool(self._window.missing_in(self._next, count))

    def _insert(self, one: Held) -> None:
        """Put packets in their place; the window has seen to it that none is there twice."""
        held = self._held
        at = len(held)
        while at and signed(held[at - 1].first - one.first) > 0:
            at -= 1
        held.insert(at, one)
        self._room.used_bytes += len(one.data) + RECORD_BYTES
