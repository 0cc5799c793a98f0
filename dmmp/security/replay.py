"""Which counters of an association were seen: a window of 2,048 behind the highest (RFC 6479).

Nothing is recorded before the datagram's tag held, so a forger cannot move the window.
"""

from __future__ import annotations

WINDOW = 2048
"""Counters behind the highest that may still arrive: datagrams overtake each other by so many at
most, at a control rate far above any there is (section 2.6 of the design: 50 a second a peer)."""

_MASK = (1 << WINDOW) - 1


class Window:
    """The highest counter seen, and a bit for each of the 2,048 up to it."""

    __slots__ = ("_bits", "_highest")

    def __init__(self) -> None:
        self._highest = -1
        self._bits = 0

    def is_new(self, counter: int) -> bool:
        """Tell whether this counter was not seen, and is not so old that nobody could tell."""
        behind = self._highest - counter
        if behind < 0:
            return True
        return behind < WINDOW and not self._bits >> behind & 1

    def record(self, counter: int) -> None:
        """Note a counter that `is_new` and whose datagram was genuine."""
        ahead = counter - self._highest
        if ahead <= 0:
            self._bits |= 1 << -ahead
            return
        # A leap may be as long as 64 bits say; nothing is ever shifted by more than the window.
        self._bits = (self._bits << ahead | 1) & _MASK if ahead < WINDOW else 1
        self._highest = counter
