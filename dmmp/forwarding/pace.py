"""The pace of the flow from one upstream, and when its silence is remarkable (Decision 11).

Counts packets of all channels together: one of several flows that stops is not silence. What
follows from silence is the role's business.
"""

from __future__ import annotations

from dmmp.parameters import Parameters
from dmmp.types import Instant

STEADY_PACKETS = 8
"""So many packets within one to two seconds make a flow whose silence means something."""

STEADY_SECONDS = 0.5
"""And they span so much: a single burst is no flow."""

_SPAN = 1.0
_NEVER = float("-inf")


class Pace:
    """Counts over the present second and the one before; a pause begins anew.

    `watched` tells whether an alarm stands for this flow: it belongs to the forwarder.
    """

    __slots__ = (
        "_begun",
        "_count",
        "_earlier_begun",
        "_earlier_count",
        "_gaps",
        "_least",
        "_life",
        "last",
        "watched",
    )

    def __init__(self, parameters: Parameters) -> None:
        self.watched = False
        self._gaps = parameters.silence_gaps
        self._least = parameters.silence_least
        self.reset()

    def reset(self) -> None:
        """Forget the flow: another one is to be expected now."""
        self.last = self._life = self._begun = self._earlier_begun = _NEVER
        self._count = self._earlier_count = 0

    def heard(self, packets: int, now: Instant) -> None:
        """Note data from upstream."""
        if now - self.last > self._least:
            self._begun, self._count, self._earlier_count = now, 0, 0
        elif now - self._begun >= _SPAN:
            self._earlier_begun, self._earlier_count = self._begun, self._count
            self._begun, self._count = now, 0
        self._count += packets
        self.last = now

    def alive(self, now: Instant) -> None:
        """Note any other sign of life, or that upstream deserves patience."""
        self._life = now

    def silent_at(self) -> Instant | None:
        """Say when silence will be remarkable if nothing comes; None if the flow is not steady."""
        if self._earlier_count:
            count, begun = self._earlier_count + self._count, self._earlier_begun
        else:
            count, begun = self._count, self._begun
        span = self.last - begun
        if count < STEADY_PACKETS or not span >= STEADY_SECONDS:
            return None
        mean_gap = span / (count - 1)
        return max(self.last, self._life) + max(self._least, self._gaps * mean_gap)
