"""What one channel lacks: stretches of numbers, when they are due, whom to ask (Decision 18).

A stretch is a range in which numbers went missing together; which of them are missing still is the
window's to say, so nothing here is kept per packet. Requests are made and sent by `asking`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dmmp.forwarding.window import SEQUENCE_MASK, Window
from dmmp.messages.data import MAXIMUM_BITMAP_BYTES
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, Instant

MAXIMUM_NUMBERS = 8 * MAXIMUM_BITMAP_BYTES
"""Numbers that one bitmap covers."""

REPAIRED_KEPT = 64
"""Stretches of repaired packets that are remembered, for whoever asks for what is on its way."""

LATENESS = 1.5
"""So many times as long as a packet was late is waited for the next."""

LATENESS_KEPT = 5.0
"""Seconds that a packet's lateness is remembered."""

LONGEST_WAIT = 5
"""So many times the least wait for reordering is the longest."""

_UP, _DOWN, _MARGIN = 1.3, 1.1, 1.5
_MISSES, _MISSES_MOST = 2, 12
_TARGETS_MEASURED = 64


class Stretch:
    """`count` numbers from `first` on, noticed at `born`; `tries` requests went out so far.

    `revealed_by` is who sent the packet behind the gap, if that was not upstream: it has more, and
    is asked first (Decision 19). `spared` says that once it was not asked for, because all of it
    was here and waited for its proof.
    """

    __slots__ = (
        "asked_at",
        "born",
        "count",
        "due",
        "first",
        "measured",
        "revealed_by",
        "spared",
        "target",
        "tries",
    )

    def __init__(self, first: int, count: int, born: Instant, due: Instant) -> None:
        self.first = first
        self.count = count
        self.born = born
        self.due = due
        self.tries = 0
        self.asked_at: Instant = born
        self.target: Endpoint | None = None
        self.measured = False
        self.revealed_by: Endpoint | None = None
        self.spared = False

    def holds(self, number: int) -> bool:
        """Tell whether a number lies in the stretch."""
        return (number - self.first) & SEQUENCE_MASK < self.count


class Wanted(NamedTuple):
    """What a request asks for: bit n of the bitmap, most significant first, is `base` + n."""

    base: int
    bitmap: bytes


class Gaps:
    """The stretches of a channel in the order of their numbers: disjoint, bounded, mostly none.

    `unproven` tells which numbers of a stretch are here and wait for their proof, as bits.
    """

    __slots__ = (
        "_late_at",
        "_lateness",
        "_most",
        "_parameters",
        "_window",
        "given_up",
        "repaired",
        "starved",
        "starved_at",
        "stretches",
        "unproven",
    )

    def __init__(self, window: Window, parameters: Parameters) -> None:
        self.unproven: Callable[[int, int], int] = lambda first, count: 0
        self.stretches: list[Stretch] = []
        self.given_up = 0
        self.starved = 0
        """How many times in a row, up to `starved_at`, all was given up and nothing came."""
        self.starved_at: Instant = float("-inf")
        self._lateness = 0.0
        self._late_at: Instant = float("-inf")
        # (first, count, when), of packets that filled a gap.
        self.repaired: deque[tuple[int, int, Instant]] = deque(maxlen=REPAIRED_KEPT)
        self._window = window
        self._parameters = parameters
        self._most = parameters.repair_stretches

    def wait(self, now: Instant) -> float:
        """Say how long a gap may close by itself: as packets overtook each other of late."""
        least = self._parameters.reorder_wait
        late = self._lateness if now - self._late_at < LATENESS_KEPT else 0.0
        return min(max(least, LATENESS * late), LONGEST_WAIT * least)

    def note_late(self, seconds: float, now: Instant) -> None:
        """Note that a gap closed by itself, after so long: packets overtook each other."""
        if seconds >= self._lateness or now - self._late_at >= LATENESS_KEPT:
            self._lateness, self._late_at = seconds, now

    def note(
        self,
        first: int,
        count: int,
        now: Instant,
        wait: float,
        revealed_by: Endpoint | None = None,
    ) -> None:
        """Take in numbers that were passed over; they are due after `wait`."""
        while count > 0:
            part = min(count, MAXIMUM_NUMBERS)
            stretch = Stretch(first, part, now, now + wait)
            stretch.revealed_by = revealed_by
            self._note_stretch(stretch)
            first, count = (first + part) & SEQUENCE_MASK, count - part

    def _note_stretch(self, stretch: Stretch) -> None:
        stretches = self.stretches
        if stretches:
            last = stretches[-1]
            if signed(stretch.first - last.first) < last.count:
                # The origin, and the window with it, began anew: what was missing then is past.
                stretches.clear()
                stretches.append(stretch)
                return
            span = ((stretch.first - last.first) & SEQUENCE_MASK) + stretch.count
            # Together if noticed nearly together, or if there are too many already.
            soon = stretch.born - last.born <= self._parameters.reorder_wait / 4
            together = soon and not last.tries and last.revealed_by == stretch.revealed_by
            if span <= MAXIMUM_NUMBERS and (together or len(stretches) >= self._most):
                last.count = span
                return
        if len(stretches) >= self._most:
            self._give_up(stretches.pop(0))
        stretches.append(stretch)

    def next_due(self) -> Instant | None:
        """Say when something is to be asked for; None if nothing is missing."""
        return min((stretch.due for stretch in self.stretches), default=None)

    def due(self, now: Instant) -> list[Stretch]:
        """List what is to be asked for now; what was filled is gone, what is too old given up."""
        oldest = now - self._parameters.cache_seconds
        kept: list[Stretch] = []
        found: list[Stretch] = []
        for stretch in self.stretches:
            if stretch.due > now:
                kept.append(stretch)
            elif not self.missing(stretch):
                continue
            elif stretch.born < oldest:
                self._give_up(stretch)
                if stretch.tries and self._window.accepted_at < stretch.born:
                    self._note_starved(now)
            else:
                kept.append(stretch)
                found.append(stretch)
        self.stretches = kept
        return found

    def _note_starved(self, now: Instant) -> None:
        if self.starved_at != now:
            goes_on = self._window.accepted_at < self.starved_at
            self.starved = self.starved + 1 if goes_on else 1
            self.starved_at = now

    def missing(self, stretch: Stretch) -> int:
        """Return the stretch as bits, its first number the highest bit: 1 is missing."""
        return self._window.missing_in(stretch.first, stretch.count)

    def lacking(self, stretch: Stretch) -> int:
        """Return what of a stretch is to be asked for, as bits; the first time not what is here.

        Only the first time: what waits may be forged, and the true packet has to be asked for.
        """
        missing = self.missing(stretch)
        if stretch.tries or stretch.spared:
            return missing
        return missing & ~self.unproven(stretch.first, stretch.count)

    def asked(self, number: int) -> bool:
        """Tell whether somebody was asked for this number, and it has not come."""
        if not self._window.is_missing(number):
            return False
        stretch = self.stretch_of(number)
        return stretch is not None and stretch.tries > 0

    def stretch_of(self, number: int) -> Stretch | None:
        """Find the stretch that a number lies in."""
        for stretch in self.stretches:
            if stretch.holds(number):
                return stretch
        return None

    def fill(self, first: int, count: int, sender: Endpoint, now: Instant) -> tuple[int, float]:
        """Note numbers that came; say how many were asked for, and the round trip, 0 if unknown.

        A round trip is known by the first answer to a first request alone: any other may answer
        either (Karn's rule).
        """
        asked = 0
        round_trip = 0.0
        for stretch in self.stretches:
            begin = max(0, signed(stretch.first - first))
            end = min(count, signed(stretch.first + stretch.count - first))
            if begin >= end:
                continue
            if not stretch.tries:
                self.note_late(now - stretch.born, now)
                continue
            asked += end - begin
            if stretch.tries == 1 and stretch.target == sender and not stretch.measured:
                stretch.measured = True
                round_trip = now - stretch.asked_at
        if asked:
            self.repaired.append((first, count, now))
        return asked, round_trip

    def again(self, now: Instant) -> None:
        """Begin anew with everything: there is another to ask."""
        self.starved_at = float("-inf")
        for stretch in self.stretches:
            stretch.tries = 0
            stretch.due = now

    def clear(self) -> None:
        """Want nothing any more."""
        self.stretches.clear()

    def wanted(self, stretches: Sequence[tuple[Stretch, int]]) -> list[Wanted]:
        """Lay what is to be asked for of these stretches, in order, into as few bitmaps as can be.

        With each stretch its bits, of which one at least is set.
        """
        found: list[Wanted] = []
        base = bits = length = 0
        for stretch, missing in stretches:
            # Without what has come at either end.
            skipped = stretch.count - missing.bit_length()
            trailing = (missing & -missing).bit_length() - 1
            first = (stretch.first + skipped) & SEQUENCE_MASK
            count = stretch.count - skipped - trailing
            missing >>= trailing
            span = ((first - base) & SEQUENCE_MASK) + count
            if length and span <= MAXIMUM_NUMBERS:
                bits = bits << (span - length) | missing
                length = span
                continue
            if length:
                found.append(Wanted(base, bitmap_of(bits, length)))
            base, bits, length = first, missing, count
        if length:
            found.append(Wanted(base, bitmap_of(bits, length)))
        return found

    def _give_up(self, stretch: Stretch) -> None:
        self.given_up += self.missing(stretch).bit_count()


class RoundTrips:
    """How long an answer to a request takes, for each host that was asked.

    No mean: some answers take long because the host asked must ask for the packet itself, and what
    looks like an answer may be a packet that was merely late, or on its way. So it is a value that
    about a quarter of the answers exceed, and neither kind moves it far.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._measured: dict[Endpoint, float] = {}
        # Requests in a row after which nothing was measured.
        self._misses: dict[Endpoint, int] = {}

    def __len__(self) -> int:
        return len(self._measured) + len(self._misses)

    def measure(self, target: Endpoint, seconds: float) -> None:
        """Take in how long the first answer to a first request took."""
        known = self._measured.pop(target, seconds)
        known = min(seconds, known * _UP) if seconds > known else max(seconds, known / _DOWN)
        self._measured[target] = known
        if len(self._measured) > _TARGETS_MEASURED:
            del self._measured[next(iter(self._measured))]
        self._misses.pop(target, None)

    def usual(self, target: Endpoint) -> float | None:
        """Return what most answers do not exceed, None if there was none."""
        return self._measured.get(target)

    def wait(self, target: Endpoint) -> float:
        """Say how long to wait for the answer to a first request."""
        parameters = self._parameters
        known = self._measured.get(target)
        wait = parameters.repair_first
        if known is not None:
            wait = max(parameters.repair_least, _MARGIN * known + parameters.reorder_wait)
        doubled = wait * (1 << self._misses.get(target, 0) // _MISSES)
        return max(wait, min(doubled, parameters.repair_most / 2))

    def missed(self, target: Endpoint) -> None:
        """Note that no answer came in time: if that goes on, the way is longer than thought.

        Without this, whoever is further than the first guess would never be measured.
        """
        self._misses[target] = min(self._misses.pop(target, 0) + 1, _MISSES_MOST)
        if len(self._misses) > _TARGETS_MEASURED:
            del self._misses[next(iter(self._misses))]


def target_of(
    tries: int,
    is_old: bool,
    upstream: tuple[Endpoint, ...],
    repairers: tuple[Endpoint, ...],
) -> Endpoint | None:
    """Say who is asked after so many tries: upstream, and from some age on others every other time.

    What upstream lacks it asks for itself and passes on: others are asked when that takes long. And
    what was lost on the way out of the source nobody else has, so it is never upstream's last turn.
    """
    others = tuple(one for one in repairers if one not in upstream[:1])
    if upstream and (not others or not is_old or tries % 2):
        return upstream[0]
    # The first try is upstream's, as a rule; the best of the others is not to be passed over.
    turn = max(tries - 1, 0) // 2 if upstream else tries
    return others[turn % len(others)] if others else None


def bitmap_of(bits: int, length: int) -> bytes:
    """Lay bits out as a request's bitmap: the highest of `length` bits comes first."""
    return (bits << (-length % 8)).to_bytes(-(-length // 8), "big")


def signed(number: int) -> int:
    """Read a difference of serial numbers as one that may be negative."""
    number &= SEQUENCE_MASK
    return number - (SEQUENCE_MASK + 1) if number > SEQUENCE_MASK >> 1 else number
