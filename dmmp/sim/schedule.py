"""The things to come, ordered by (time, sequence): ties never compare what is scheduled.

Time is integer microseconds, so that traces do not depend on how a machine adds fractions (§4.6).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import ceil
from typing import Generic, TypeVar

from dmmp.types import Instant

MICROSECONDS = 1_000_000
"""In one second."""

SLOT_BITS = 14
"""A slot is 16 ms: less than most messages are on their way."""

What = TypeVar("What")


def seconds(microseconds: int) -> Instant:
    """Convert the simulator's time to what roles and forwarders are told."""
    return microseconds / MICROSECONDS


def microseconds(instant: Instant) -> int:
    """Convert an instant to the first whole microsecond at which it has come."""
    rounded = ceil(instant * MICROSECONDS)
    # A product that was rounded down must not wake a host just before its alarm, forever.
    return rounded if seconds(rounded) >= instant else rounded + 1


Scheduled = tuple[int, int, What]


class Schedule(Generic[What]):
    """What will happen, and when: what comes soon in a heap, what comes later by the slot it is in.

    In a session of a hundred thousand hosts that have an alarm each, one heap of everything would
    be larger than what a processor keeps at hand, and each look at it would wait for memory.
    """

    def __init__(self) -> None:
        self._soon: list[Scheduled[What]] = []
        """A heap of everything up to the end of the present slot."""
        self._later: dict[int, list[Scheduled[What]]] = {}
        self._slots: list[int] = []
        """A heap of those in `_later`."""
        self._slot = -1
        self._count = 0

    def __len__(self) -> int:
        return len(self._soon) + sum(map(len, self._later.values()))

    def push(self, at_us: int, what: What) -> None:
        """Schedule something; what is pushed first comes first among equal times."""
        self._count += 1
        slot = at_us >> SLOT_BITS
        if slot <= self._slot:
            heappush(self._soon, (at_us, self._count, what))
        elif slot in self._later:
            self._later[slot].append((at_us, self._count, what))
        else:
            self._later[slot] = [(at_us, self._count, what)]
            heappush(self._slots, slot)

    def pop(self, until_us: int) -> tuple[int, What] | None:
        """Take the earliest if it comes not after `until_us`, else None."""
        soon = self._soon
        if not soon:
            if not self._slots or self._slots[0] << SLOT_BITS > until_us:
                return None
            self._slot = heappop(self._slots)
            soon = self._soon = self._later.pop(self._slot)
            heapify(soon)
        if soon[0][0] > until_us:
            return None
        at_us, _, what = heappop(soon)
        return at_us, what

    def next_us(self) -> int | None:
        """Return when the earliest comes, None if nothing will."""
        if self._soon:
            return self._soon[0][0]
        return min(self._later[self._slots[0]])[0] if self._slots else None
