"""The duplicate window of one channel: which sequence numbers came, and how many are missing.

Numbers are serial ones of 32 bits (RFC 1982). A burst that follows in order costs one comparison.
The window delivers nothing and asks for nothing; repair reads `missing` when it comes, and is told
by `passed` where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dmmp.types import Instant

WINDOW = 4096
"""Numbers behind the highest that are told apart: 40 ms at 100,000 packets a second."""

OUTAGE = 1 << 16
"""Numbers in a row that may be lost and are still believed: a minute at 1,000 a second."""

FIRST_LOST = 32
"""Packets at the very beginning that may be lost and are asked for, if the beginning is known."""

RESTART = 32
"""Old packets in a row that mean a new beginning, not stragglers."""

RESTART_QUIET = 0.25
"""Seconds without an accepted packet before that: a replay beside a live flow is no restart."""

SEQUENCE_MASK = 0xFFFFFFFF
_HALF = 1 << 31
_FULL = (1 << WINDOW) - 1


class Sifted(NamedTuple):
    """What of a run is new, as index ranges (begin, end), and how much of it is not."""

    fresh: list[tuple[int, int]]
    duplicates: int
    old: int


class Window:
    """Sequence numbers of one channel.

    Ahead of the highest number: up to `WINDOW` further, the numbers passed over are missing. Up to
    `OUTAGE` further likewise, and the window starts again there. Further still, the origin must
    have begun anew: the window starts again and nothing is counted. Behind it: within the window a
    missing number is welcome once, any other is a duplicate. Older ones are old and dropped, unless
    `RESTART` of them came in a row and nothing was accepted for `RESTART_QUIET`: then the origin
    has begun anew.

    `lost` is the count of numbers between the first one accepted and `highest` that did not come,
    by now: a straggler takes one back. `missing` and `unseen` are bitmaps in which bit n stands for
    `highest` - n; missing numbers are counted as lost, unseen ones come from before the beginning
    (or from a pause) and are only not duplicates. `passed` lists the stretches of numbers that
    became missing, as (first, count), until whoever repairs takes them away.

    Where numbers never repeat, because they are part of a nonce, nobody begins anew behind them:
    without `restarts` old packets stay old, whoever sends them again.
    """

    __slots__ = (
        "_goes_on",
        "_old_row",
        "_restarts",
        "_settled",
        "accepted_at",
        "highest",
        "lost",
        "missing",
        "passed",
        "unseen",
    )

    def __init__(self, restarts: bool = True) -> None:
        self.highest = 0
        self.missing = 0
        self.unseen = _FULL
        self.lost = 0
        self.passed: list[tuple[int, int]] = []
        self.accepted_at: Instant = float("-inf")
        self._old_row = 0
        self._restarts = restarts
        self._settled = False
        # Not settled, but the number before the next one sent is known to be `highest`.
        self._goes_on = False

    @property
    def begun(self) -> bool:
        """Tell whether anything was ever accepted."""
        return self.accepted_at != float("-inf")

    @property
    def settled(self) -> bool:
        """Tell whether numbers that are passed over now would be missing."""
        return self._settled

    def admit(self, first: int, count: int, now: Instant) -> bool:
        """Take `count` numbers from `first` on if all lie ahead; else do nothing: use `sift`."""
        ahead = (first - self.highest) & SEQUENCE_MASK
        if (ahead != 1 or not self._settled) and not self._take_gap(first, ahead):
            return False
        if self.missing or self.unseen:
            self.missing = self.missing << count & _FULL
            self.unseen = self.unseen << count & _FULL
        self.highest = (first + count - 1) & SEQUENCE_MASK
        self.accepted_at = now
        self._old_row = 0
        return True

    def sift(self, numbers: Sequence[int], now: Instant) -> Sifted:
        """Take the numbers one by one: the way of everything that is not simply next."""
        fresh: list[tuple[int, int]] = []
        duplicates = old = 0
        begin = -1
        for at, number in enumerate(numbers):
            if self.admit(number, 1, now) or self._take_behind(number, now):
                if begin < 0:
                    begin = at
                continue
            if begin >= 0:
                fresh.append((begin, at))
                begin = -1
            if self._old_row:
                old += 1
            else:
                duplicates += 1
        if begin >= 0:
            fresh.append((begin, len(numbers)))
        return Sifted(fresh, duplicates, old)

    def lay_aside(self) -> None:
        """Count nothing as missing any more, but go on knowing what came."""
        self.unseen |= self.missing
        self.missing = self.lost = 0
        self.passed.clear()
        self.pause()

    def pause(self) -> None:
        """Expect no packets for a while: what passes until the next one is not lost."""
        self._settled = self._goes_on = False

    def tail(self, announced: int) -> int:
        """Count the numbers after `highest` up to `announced`: sent, and not here yet."""
        ahead = (announced - self.highest) & SEQUENCE_MASK
        most = OUTAGE if self.begun and self._settled else FIRST_LOST
        return ahead if (self._settled or self._goes_on) and ahead <= most else 0

    def begin_after(self, highest: int) -> None:
        """Know, before anything came, that the next number sent is the one after this."""
        if not self.begun:
            self.highest = highest
            self._settled = True

    def begin_late(self, before: int, announced: int) -> bool:
        """Know, if nothing has come, that the numbers after `before` were sent up to `announced`.

        The last `FIRST_LOST` of them at most are believed to be lost. Tell whether it is so.
        """
        ahead = (announced - before) & SEQUENCE_MASK
        if self.begun or not 0 < ahead < _HALF:
            return False
        first = (announced - min(ahead, FIRST_LOST) + 1) & SEQUENCE_MASK
        # What waits for its proof may have shown more already: the window never goes back.
        if not self._settled or 0 < (first - 1 - self.highest) & SEQUENCE_MASK < _HALF:
            self._begin_at(first)
        return True

    def go_on_after(self, highest: int) -> None:
        """Know after a pause that the next number sent is the one after this, or a little later.

        Whoever says so may not have heard the last of it: `FIRST_LOST` numbers at most are believed
        to be lost before the first that comes, more were sent while nobody wanted them.
        """
        ahead = (highest - self.highest) & SEQUENCE_MASK
        if self._settled or self._goes_on or not self.begun or ahead >= _HALF:
            return
        self.missing = self.missing << min(ahead, WINDOW) & _FULL
        self.unseen = (self.unseen << ahead | (1 << ahead) - 1) & _FULL if ahead < WINDOW else _FULL
        self.highest = highest
        self._goes_on = True

    def expect(self, announced: int) -> None:
        """Take all numbers up to `announced` as sent: those that did not come are missing now.

        `highest` moves on, so that each of them is welcome once, like any other missing one.
        """
        ahead = self.tail(announced)
        if ahead:
            self._take_gap((announced + 1) & SEQUENCE_MASK, ahead + 1)
            self.highest = announced

    def is_missing(self, number: int) -> bool:
        """Tell whether a number was passed over and has not come."""
        age = (self.highest - number) & SEQUENCE_MASK
        return age < WINDOW and bool(self.missing >> age & 1)

    def is_known(self, number: int) -> bool:
        """Tell whether a number certainly came: it would be dropped as a duplicate."""
        age = (self.highest - number) & SEQUENCE_MASK
        return self.begun and age < WINDOW and not (self.missing | self.unseen) >> age & 1

    def missing_in(self, first: int, count: int) -> int:
        """Return `count` numbers from `first` on as bits, `first` the highest: 1 is missing.

        None of them may lie ahead of `highest`.
        """
        youngest = (self.highest - first - count + 1) & SEQUENCE_MASK
        return 0 if youngest >= WINDOW else self.missing >> youngest & (1 << count) - 1

    def _take_gap(self, first: int, ahead: int) -> bool:
        """Make `highest` the number before `first`, if that lies ahead."""
        if not self.begun:
            # The first to come may be one that was announced, missed and asked for.
            expected = 0 < ahead <= FIRST_LOST + 1 or self.is_missing(first)
            if not (self._settled and expected):
                self._begin_at(first)
                return True
        if not 0 < ahead < _HALF:
            return False
        gap = ahead - 1
        self._settled = self._settled or (self._goes_on and gap <= FIRST_LOST)
        self._goes_on = False
        if ahead > WINDOW:
            if ahead > OUTAGE or not self._settled:
                self._begin_at(first)
            else:
                self.lost += gap
                self.missing, self.unseen = _FULL, 0
                # The window stands before `first` again, as `admit` expects it to.
                self.highest = (first - 1) & SEQUENCE_MASK
                self.passed.append(((first - WINDOW) & SEQUENCE_MASK, WINDOW))
            return True
        self.missing = self.missing << gap & _FULL
        self.unseen = self.unseen << gap & _FULL
        passed = (1 << gap) - 1
        if self._settled:
            if gap:
                self.missing |= passed
                self.lost += gap
                self.passed.append(((first - gap) & SEQUENCE_MASK, gap))
        else:
            self.unseen |= passed
        self._settled = True
        return True

    def _take_behind(self, number: int, now: Instant) -> bool:
        age = (self.highest - number) & SEQUENCE_MASK
        if age >= WINDOW:
            return self._take_old(number, now)
        self._old_row = 0
        bit = 1 << age
        if self.missing & bit:
            self.missing ^= bit
            self.lost -= 1
        elif self.unseen & bit:
            self.unseen ^= bit
        else:
            return False
        self.accepted_at = now
        return True

    def _take_old(self, number: int, now: Instant) -> bool:
        self._old_row += 1
        if not self._restarts or self._old_row < RESTART or now - self.accepted_at < RESTART_QUIET:
            return False
        self._begin_at(number)
        return self.admit(number, 1, now)

    def _begin_at(self, first: int) -> None:
        self.highest = (first - 1) & SEQUENCE_MASK
        self.missing, self.unseen = 0, _FULL
        self._settled, self._goes_on = True, False
