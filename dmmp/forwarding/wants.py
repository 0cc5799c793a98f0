"""What others asked this host for and it does not have: who is waiting for which numbers.

Two kinds: packets that this host lacks itself, and passes on when they come; and packets that it
had to ask for only because somebody asked here, which then go to nobody else (Decision 18).
"""

from __future__ import annotations

from collections.abc import Sequence

from dmmp.forwarding.repair import Wanted, bitmap_of, signed
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.types import Endpoint, Instant


class Want:
    """`bits` of the numbers up to `last` that one host waits for; the lowest bit is `last`.

    `fetched` ones this host asks for on the host's behalf alone; `asked_at` is when.
    """

    __slots__ = ("asked_at", "bits", "fetched", "last", "to", "until")

    def __init__(
        self, last: int, bits: int, to: Endpoint, fetched: bool, now: Instant, until: Instant
    ) -> None:
        self.last = last
        self.bits = bits
        self.to = to
        self.fetched = fetched
        self.asked_at = now
        self.until = until

    def holds(self, number: int) -> bool:
        """Tell whether the host waits for this number."""
        return bool(self.bits >> ((self.last - number) & SEQUENCE_MASK) & 1)

    def seen_from(self, last: int) -> int:
        """Return the bits as seen from another last number, as far as they lie before it."""
        shift = signed(last - self.last)
        if abs(shift) > 2 * self.bits.bit_length() + 2048:
            return 0
        return self.bits << shift if shift >= 0 else self.bits >> -shift


class Wants:
    """All that others wait for in one channel: bounded in number and time, mostly nothing."""

    __slots__ = ("_most", "_seconds", "waiting")

    def __init__(self, most: int, seconds: float) -> None:
        self.waiting: list[Want] = []
        self._most = most
        self._seconds = seconds

    def add(self, last: int, bits: int, to: Endpoint, fetched: bool, now: Instant) -> None:
        """Let a host wait for these numbers; the oldest gives way if there are too many."""
        self.waiting = [
            want
            for want in self.waiting
            if want.until > now
            and want.bits
            and (want.last, want.to, want.fetched) != (last, to, fetched)
        ]
        if len(self.waiting) >= self._most:
            del self.waiting[0]
        self.waiting.append(Want(last, bits, to, fetched, now, now + self._seconds))

    def unasked(self, last: int, bits: int, now: Instant, again_after: float) -> int:
        """Return those of the bits that nothing was sent upward for within `again_after`."""
        for want in self.waiting:
            if want.fetched and now - want.asked_at < again_after:
                bits &= ~want.seen_from(last)
        return bits

    def is_fetched(self, number: int) -> bool:
        """Tell whether this number was asked for on behalf of others."""
        return any(want.fetched and want.holds(number) for want in self.waiting)

    def take(
        self, numbers: Sequence[int], fetched: bool, now: Instant
    ) -> list[tuple[Endpoint, list[bool]]]:
        """Say who waits for which of these numbers, which have come; they wait no longer."""
        found: list[tuple[Endpoint, list[bool]]] = []
        kept: list[Want] = []
        for want in self.waiting:
            if want.until <= now:
                continue
            if want.fetched == fetched:
                marks = [want.holds(number) for number in numbers]
                if any(marks):
                    found.append((want.to, marks))
                    for number, mark in zip(numbers, marks, strict=True):
                        want.bits &= ~(mark << ((want.last - number) & SEQUENCE_MASK))
            if want.bits:
                kept.append(want)
        self.waiting = kept
        return found


def wanted_of(last: int, bits: int) -> Wanted:
    """Make what a request for these bits asks for."""
    length = bits.bit_length()
    trailing = (bits & -bits).bit_length() - 1
    base = (last - length + 1) & SEQUENCE_MASK
    return Wanted(base, bitmap_of(bits >> trailing, length - trailing))
