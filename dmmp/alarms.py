"""Alarms: when a role wants to be woken, and why. The role owns them, the driver keeps one timer.

Spurious wakes are harmless; there is no cancellation across a boundary. `jittered` is the one
place where jitter is made.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from heapq import heapify, heappop, heappush
from random import Random

from dmmp.types import Instant

_COMPACT_ABOVE = 64


class Alarms:
    """(Alarm, key) pairs with their instants; ties fire in the order of setting."""

    def __init__(self) -> None:
        self._at: dict[tuple[Enum, Hashable], tuple[Instant, int]] = {}
        self._heap: list[tuple[Instant, int, tuple[Enum, Hashable]]] = []
        self._live: set[int] = set()
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def set(self, alarm: Enum, at: Instant, key: Hashable = None) -> None:
        """Set or move the alarm."""
        self.stop(alarm, key)
        self._count += 1
        self._at[alarm, key] = (at, self._count)
        # Whether a heap entry counts is asked for every input: by number, which hashes fastest.
        self._live.add(self._count)
        heappush(self._heap, (at, self._count, (alarm, key)))
        if len(self._heap) > _COMPACT_ABOVE and len(self._heap) > 2 * len(self._at):
            self._heap = [(at, count, which) for which, (at, count) in self._at.items()]
            heapify(self._heap)

    def hasten(self, alarm: Enum, at: Instant, key: Hashable = None) -> bool:
        """Move an alarm that is set to an earlier instant; tell whether it was later."""
        held = self._at.get((alarm, key))
        if held is None or held[0] <= at:
            return False
        self.set(alarm, at, key)
        return True

    def stop(self, alarm: Enum, key: Hashable = None) -> None:
        """Stop the alarm if it is set."""
        held = self._at.pop((alarm, key), None)
        if held is not None:
            self._live.discard(held[1])

    def stop_all(self) -> None:
        """Stop every alarm."""
        self._at.clear()
        self._heap.clear()
        self._live.clear()

    def is_set(self, alarm: Enum, key: Hashable = None) -> bool:
        """Tell whether the alarm is set."""
        return (alarm, key) in self._at

    def due(self, now: Instant) -> tuple[Enum, Hashable] | None:
        """Take the earliest alarm that is due, or None."""
        self._drop_stale()
        if not self._heap or self._heap[0][0] > now:
            return None
        _, count, which = heappop(self._heap)
        self._live.discard(count)
        del self._at[which]
        return which

    def next(self) -> tuple[Instant, str] | None:
        """Return when the earliest alarm is, and its name; None if none is set."""
        self._drop_stale()
        if not self._heap:
            return None
        at, _, (alarm, _) = self._heap[0]
        return at, alarm._name_

    def _drop_stale(self) -> None:
        while self._heap and self._heap[0][1] not in self._live:
            heappop(self._heap)


def jittered(rng: Random, seconds: float, share: float = 0.2) -> float:
    """Vary a period by up to +-`share` of it, so that timers do not march in step (Decision 10)."""
    return seconds * (1 - share + 2 * share * rng.random())
