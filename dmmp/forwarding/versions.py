"""Tree versions of one entry: the present one, and which earlier ones are still taken.

The source raises the version with every super node, three times within moments if it chooses three,
so an earlier version counts by when it was replaced, not by how far back it is (Decision 16). Who
raises it, and when, is the roles' business.
"""

from __future__ import annotations

from collections import deque

from dmmp.types import Instant

_MASK = 0xFF
_HALF = 1 << 7


class Versions:
    """The present tree version, and how far behind it packets may be, and until when.

    A new entry takes any version for one hold time: what was in force before, it cannot know. So
    does one whose version falls, because then the tree's history is another.
    """

    __slots__ = ("_hold", "_reaches", "present")

    def __init__(self, version: int, hold: float, now: Instant) -> None:
        self.present = version
        self._hold = hold
        # (steps behind the present version, until when): the steps fall, the instants rise, so
        # there are 128 at most and the first that holds reaches furthest.
        self._reaches: deque[tuple[int, Instant]] = deque([(_HALF, now + hold)])

    def __len__(self) -> int:
        return len(self._reaches)

    def change(self, version: int, now: Instant) -> None:
        """Make this the present version; the one before is taken for one hold time more."""
        step = (version - self.present) & _MASK
        if not step:
            return
        self.present = version
        until = now + self._hold
        moved: deque[tuple[int, Instant]] = deque()
        for steps, end in [*self._reaches, (0, until)]:
            # A fall is a step of more than half the ring: then any version will do.
            reach = min(steps + step, _HALF)
            if moved and moved[-1][0] == reach:
                moved.pop()
            moved.append((reach, end))
        self._reaches = moved
        self._expire(now)

    def is_newer(self, version: int) -> bool:
        """Tell whether a version comes after the present one."""
        return (self.present - version) & _MASK > _HALF

    def accepts(self, version: int, now: Instant) -> bool:
        """Tell whether packets of this version are taken: newer ones always are.

        Versions between two that this entry had were in force somewhere: those are taken alike.
        """
        behind = (self.present - version) & _MASK
        if behind == 0 or behind > _HALF:
            return True
        self._expire(now)
        return bool(self._reaches) and behind <= self._reaches[0][0]

    def _expire(self, now: Instant) -> None:
        reaches = self._reaches
        while reaches and reaches[0][1] < now:
            reaches.popleft()
