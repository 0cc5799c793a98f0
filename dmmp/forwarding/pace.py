"""The pace of the flow from one upstream, and when its silence is remarkable (Decision 11).

Counts packets of all channels together: one of several flows that stops is not silence. What
follows from silence is the role's business.
"""

from __future__ import annotations

from dmmp.parameters import Parameters
from dmmp.types import Instant

STEADY_PACKETS = 8
"""So many packets within one to two seconds make a flow whose silence means something."""

STEADY_SECONDS = 0.3
"""And they span so much: a single burst is no flow."""

PAUSE = 0.5
"""Seconds without data after which the flow begins anew."""

LONGEST_GAPS = 2
"""So many times the longest gap of late is silence: a bursty flow, or a busy machine, has such."""

BEAT_LATE = 1.5
"""So many times the time to the next heartbeat is silence, where no data is to be expected."""

IDLE_MOST = 30.0
"""Seconds after the last packet until the channel may be given up: nothing is expected any more."""

TOLD_MOST = 1.0
"""Longest time between two words of one silence."""

TOLD_SECONDS = 15.0
"""So long is silence told of: until then the hold times tell whether upstream is there."""

_SPAN = 1.0
_FADING = 0.75
_NEVER = float("-inf")


class Pace:
    """Counts over the present second and the one before; a pause begins anew.

    `watched` tells whether an alarm stands for this flow, `alarm_at` when, and `is_alarm_of_idling`
    whether no steady flow was there when it was set: they belong to the forwarder. `patience` is
    the entry's: the least silence that counts.
    """

    __slots__ = (
        "_begun",
        "_count",
        "_earlier_begun",
        "_earlier_count",
        "_earlier_longest",
        "_first_beat",
        "_gaps",
        "_granted_since",
        "_idle_beat",
        "_least",
        "_life",
        "_longest",
        "_rested_at",
        "_told",
        "_told_since",
        "alarm_at",
        "is_alarm_of_idling",
        "last",
        "patience",
        "watched",
    )

    def __init__(self, parameters: Parameters) -> None:
        self.watched = False
        self.alarm_at: Instant = _NEVER
        self.is_alarm_of_idling = False
        self.patience = 0.0
        self._gaps = parameters.silence_gaps
        self._least = parameters.silence_least
        self._first_beat = parameters.heartbeat_first
        self._idle_beat = parameters.heartbeat_idle
        self.reset()

    def reset(self) -> None:
        """Forget the flow: another one is to be expected now."""
        self.last = self._life = self._begun = self._earlier_begun = _NEVER
        self._told_since = self._granted_since = self._rested_at = _NEVER
        self._count = self._earlier_count = self._told = 0
        self._longest = self._earlier_longest = 0.0

    def heard(self, packets: int, now: Instant) -> None:
        """Note data from upstream."""
        gap = now - self.last
        if gap > self._longest:
            self._note_gap(gap, now)
        if now - self._begun >= _SPAN:
            self._earlier_begun, self._earlier_count = self._begun, self._count
            self._earlier_longest = max(self._longest, _FADING * self._earlier_longest)
            self._begun, self._count, self._longest = now, 0, 0.0
        self._count += packets
        self.last = now

    def alive(self, now: Instant) -> None:
        """Note any other sign of life, or that upstream deserves patience."""
        self._life = now

    def rest(self, now: Instant) -> None:
        """Note that nothing more was sent: the source idles if that has been so for a while."""
        if now - self.last > self._unusual():
            self._rested_at = self.last

    def grant(self, late: float, now: Instant) -> None:
        """Give one more threshold if this host was itself late: what it missed is on its way.

        Once for each silence: a host that is always late shall notice something, too.
        """
        if late > self.threshold() / 2 and self._granted_since != self.last:
            self._granted_since = self.last
            self._life = now

    def threshold(self) -> float:
        """Return the silence that is remarkable, in seconds.

        In a steady flow data is expected. Elsewhere heartbeats are: the pauses between them double
        from the last packet on, so the next is due when the silence is twice as long as it was.
        """
        least = max(self.patience, self._least)
        if self.is_steady:
            longest = LONGEST_GAPS * max(self._longest, self._earlier_longest)
            return max(least, self._gaps * self._mean_gap(), min(PAUSE, longest))
        idle = max(self.last, self._life) - self.last
        return least + BEAT_LATE * min(idle + self._first_beat, self._idle_beat)

    def silent_at(self) -> Instant | None:
        """Say when silence will be remarkable if nothing comes; None if nothing is expected.

        After it was told of, that is when to tell of it again: the pause doubles each time.
        """
        since = max(self.last, self._life)
        if self.last == _NEVER or since - self.last > IDLE_MOST:
            return None
        threshold = self.threshold()
        if self._told_since != since:
            return since + threshold
        at = since
        for n in range(self._told + 1):
            at += threshold if n == 0 else max(threshold, min(TOLD_MOST, threshold * 2 ** (n - 1)))
        return None if at > since + TOLD_SECONDS else at

    def tell(self) -> None:
        """Note that the silence was told of once more."""
        since = max(self.last, self._life)
        self._told = self._told + 1 if self._told_since == since else 1
        self._told_since = since

    def _note_gap(self, gap: float, now: Instant) -> None:
        if gap > PAUSE:
            self._begun, self._count, self._earlier_count = now, 0, 0
            self._longest = self._earlier_longest = 0.0
        else:
            self._longest = gap

    @property
    def is_steady(self) -> bool:
        """Tell whether data flowed so evenly that its silence means something."""
        count, begun = self._counted()
        return (
            count >= STEADY_PACKETS
            and self.last - begun >= STEADY_SECONDS
            and self._rested_at != self.last
        )

    def _counted(self) -> tuple[int, Instant]:
        if self._earlier_count:
            return self._earlier_count + self._count, self._earlier_begun
        return self._count, self._begun

    def _mean_gap(self) -> float:
        count, begun = self._counted()
        return (self.last - begun) / (count - 1) if count > 1 else 0.0

    def _unusual(self) -> float:
        """Return a gap that is longer than the flow's own of late."""
        longest = max(self._longest, self._earlier_longest)
        return max(self._least, 2 * self._mean_gap(), longest)
