"""The heap of things to come, ordered by (time, sequence): ties never compare what is scheduled.

Time is integer microseconds, so that traces do not depend on how a machine adds fractions (§4.6).
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Generic, TypeVar

from dmmp.types import Instant

MICROSECONDS = 1_000_000
"""In one second."""

What = TypeVar("What")


def seconds(microseconds: int) -> Instant:
    """Convert the simulator's time to what roles and forwarders are told."""
    return microseconds / MICROSECONDS


def microseconds(instant: Instant) -> int:
    """Convert an instant to the first whole microsecond at which it has come."""
    rounded = ceil(instant * MICROSECONDS)
    # A product that was rounded down must not wake a host just before its alarm, forever.
    return rounded if seconds(rounded) >= instant else rounded + 1


class Schedule(Generic[What]):
    """What will happen, and when."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, What]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, at_us: int, what: What) -> None:
        """Schedule something; what is pushed first comes first among equal times."""
        self._count += 1
        heappush(self._heap, (at_us, self._count, what))

    def pop(self, until_us: int) -> tuple[int, What] | None:
        """Take the earliest if it comes not after `until_us`, else None."""
        if not self._heap or self._heap[0][0] > until_us:
            return None
        at_us, _, what = heappop(self._heap)
        return at_us, what

    def next_us(self) -> int | None:
        """Return when the earliest comes, None if nothing will."""
        return self._heap[0][0] if self._heap else None
