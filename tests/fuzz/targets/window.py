"""The duplicate window against a set of all that came: the same packets new, old and lost.

An input is a row of runs, each a step from where the last one ended and a length. No step is so
large or so far back that the window would take it for a new beginning: for those only that nothing
is raised and every bound holds (first bit of the input).
"""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.forwarding.window import OUTAGE, SEQUENCE_MASK, WINDOW, Window
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target

STARTS = (10 * WINDOW, 2**31 - 100, 2**32 - 100, 2**32 - 3000)
FAR = (OUTAGE, OUTAGE + 1, WINDOW, WINDOW + 1, -WINDOW, 1 << 31, (1 << 31) - 1, -OUTAGE)
MOST_STEPS = 24


class Naive:
    """A set of everything that came; numbers do not wrap."""

    def __init__(self, start: int) -> None:
        self.seen: set[int] = set()
        self.start = start
        self.highest = start - 1

    def take(self, number: int) -> bool:
        """Tell whether a number is new."""
        if number in self.seen or self.highest - number >= WINDOW:
            return False
        self.seen.add(number)
        self.highest = max(self.highest, number)
        return True

    @property
    def lost(self) -> int:
        """Count what is missing between the first number and the highest."""
        early = sum(number < self.start for number in self.seen)
        return self.highest - self.start + 1 - (len(self.seen) - early)


def take(window: Window, first: int, count: int, now: float = 0.0) -> list[int]:
    """Put a run into the window as the forwarder does; return the new numbers."""
    if window.admit(first & SEQUENCE_MASK, count, now):
        return list(range(first, first + count))
    numbers = [number & SEQUENCE_MASK for number in range(first, first + count)]
    fresh = window.sift(numbers, now).fresh
    return [first + at for begin, end in fresh for at in range(begin, end)]


def tame(feed: Feed) -> None:
    """Compare with a set."""
    window, naive = Window(), None
    here = feed.choice(STARTS)
    for _ in range(MOST_STEPS):
        if not feed:
            return
        step, count = feed.byte() - 64, 1 + feed.byte() % 32
        if step > 128:
            step = (step - 128) * 40
        first = here + step
        if naive is None:
            naive = Naive(first)
        expected = [number for number in range(first, first + count) if naive.take(number)]
        assert take(window, first, count) == expected
        assert window.lost == naive.lost
        assert window.highest == naive.highest & SEQUENCE_MASK
        here = max(here, first + count)
        check(window)


def wild(feed: Feed) -> None:
    """Do everything that a channel does to its window."""
    window, now = Window(), 0.0
    here = feed.word()
    for _ in range(MOST_STEPS):
        if not feed:
            return
        kind = feed.byte()
        now += (0.0, 0.01, 0.3, 10.0)[kind & 3]
        number = (here + (feed.choice(FAR) if kind & 4 else feed.byte() - 128)) & SEQUENCE_MASK
        choice = kind >> 3 & 7
        if choice < 3:
            take(window, number, 1 + feed.byte() % 32, now)
            here = number
        elif choice == 3:
            window.expect(number)
        elif choice == 4:
            window.begin_after(number)
        elif choice == 5:
            window.go_on_after(number)
        elif choice == 6:
            window.pause()
        else:
            window.lay_aside()
        assert 0 <= window.tail(number) <= OUTAGE
        assert window.missing_in(number, 1) in (0, 1)
        window.is_missing(number)
        window.passed.clear()
        check(window)


def check(window: Window) -> None:
    """Compare with the bounds."""
    assert 0 <= window.highest <= SEQUENCE_MASK
    assert window.missing.bit_length() <= WINDOW and window.unseen.bit_length() <= WINDOW
    assert not window.missing & window.unseen, "both missing and never expected"
    assert window.lost >= 0
    assert all(0 < count <= OUTAGE for _, count in window.passed)


def test_one(data: bytes) -> None:
    """Run a story, tame or wild."""
    feed = Feed(data)
    if feed.byte() & 1:
        wild(feed)
    else:
        tame(feed)


def seeds() -> Iterable[bytes]:
    yield bytes((0, 0, *(64, 5) * 6))
    yield bytes((0, 2, 64, 9, 70, 1, 50, 63, 64, 3, 255, 2, 10, 40))
    yield bytes((1, 0, 0, 0, 9, *(0, 129, 4, 4, 0, 9, 24, 140, 32, 1, 40, 160, 48, 0, 56, 0) * 2))


TARGET = Target(
    "window",
    "the window takes each number once, counts what is lost as a set does, and keeps its size",
    test_one,
    seeds,
    most_bytes=512,
)
