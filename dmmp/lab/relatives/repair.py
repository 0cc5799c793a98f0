"""Repair by negative acknowledgements: which packets came, which to ask for, which to send again.

As Birrer and Bustamante, NWU-CS-04-36, gave it to every protocol they compared: a window of 32
packets, gaps asked for from hosts that may have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from dmmp.lab.frame import Action, Data, Send

WINDOW: Final = 32
"""Packets that are kept, and asked for."""

MEMORY: Final = 128
"""Packets that are known for duplicates."""

_SEEN = (1 << MEMORY) - 1
_KEPT = (1 << WINDOW) - 1

FIRST: Final = 0.02
"""Seconds from the first sight of a gap until it is asked for, where packets come by one way and
hardly overtake each other."""

PATIENCE: Final = 0.2
"""Seconds from asking to asking the next where the round trip is not known."""

ROUND_TRIPS: Final = 1.5
"""From asking to asking the next where it is known."""

LEAST_PATIENCE: Final = 0.04
"""Seconds from asking to asking the next, however close the host is."""

TRIES: Final = 8
"""How often one packet is asked for."""


class Nack(NamedTuple):
    """These I have not got: the highest number seen, and one bit for each number below it."""

    highest: int
    missing: int
    octets: int = 16


class Repair:
    """The window of one host. Without `asks`, it only tells what has come already; `first` seconds
    after a gap is seen it is asked for."""

    __slots__ = ("_askers", "_asks", "_first", "_highest", "_mask", "_octets", "_tries", "due")

    def __init__(self, asks: bool, first: float = FIRST) -> None:
        self._asks, self._first = asks, first
        self._highest = -1
        # Bit k: the packet `highest - k` has come, or came before this host did.
        self._mask = 0
        self._octets = 0
        self._tries: dict[int, int] = {}
        self._askers: dict[int, list[int]] = {}
        self.due = float("inf")

    def take(self, data: Data, now: float) -> bool:
        """Note a packet; say whether it is new."""
        number = data.number
        back = self._highest - number
        if back < 0:
            if self._highest < 0:
                self._mask = _SEEN
            else:
                self._mask = ((self._mask << -back) | 1) & _SEEN
            self._highest = number
            self._octets = data.octets
            if self._asks and self._mask & _KEPT != _KEPT and self.due == float("inf"):
                self.due = now + self._first
            return True
        if back >= MEMORY:
            return False
        bit = 1 << back
        if self._mask & bit:
            return False
        self._mask |= bit
        return True

    def heard_of(self, highest: int, now: float) -> None:
        """Learn that packets up to this number have been sent."""
        if self._asks and 0 <= self._highest < highest:
            self._mask = (self._mask << (highest - self._highest)) & _SEEN
            self._highest = highest
            if self.due == float("inf"):
                self.due = now + self._first

    @property
    def missing(self) -> int:
        """A bit for each packet of the window that is missing."""
        return ~self._mask & _KEPT

    @property
    def kept(self) -> tuple[int, int]:
        """The highest number and a bit for each packet of the window that is here."""
        return self._highest, self._mask & _KEPT

    def ask(self, now: float, whom: Sequence[int], far: Mapping[int, float]) -> list[Action]:
        """Ask the next of those who may have them for what is missing; `far` are round trips."""
        missing, wanted = self.missing, 0
        tries = {}
        for back in range(WINDOW):
            if missing >> back & 1:
                number = self._highest - back
                tried = self._tries.get(number, 0)
                if tried < TRIES:
                    wanted |= 1 << back
                    tries[number] = tried + 1
                else:
                    tries[number] = tried
        self._tries = tries
        self.due = now + PATIENCE if wanted else float("inf")
        if not wanted or not whom:
            return []
        asked = whom[(max(tries.values()) - 1) % len(whom)]
        if asked in far:
            self.due = now + max(LEAST_PATIENCE, ROUND_TRIPS * far[asked])
        return [Send(asked, Nack(self._highest, wanted))]

    def answer(self, nack: Nack, sender: int) -> list[Action]:
        """Send again what another host misses and this one has; remember who asked for the rest."""
        found: list[Action] = []
        for back in reversed(range(WINDOW)):
            if nack.missing >> back & 1:
                number = nack.highest - back
                own = self._highest - number
                if number < 0 or own >= WINDOW:
                    continue
                if own >= 0 and self._mask >> own & 1:
                    found.append(Send(sender, Data(number, self._octets, 0, True)))
                elif sender not in (askers := self._askers.setdefault(number, [])):
                    askers.append(sender)
        return found

    def pass_on(self, data: Data) -> list[Action]:
        """Send a packet that came late to those who asked for it here."""
        askers = self._askers.pop(data.number, ())
        if len(self._askers) > WINDOW:
            self._askers = {n: who for n, who in self._askers.items() if self._highest - n < WINDOW}
        return [Send(host, data._replace(hops=data.hops + 1, again=True)) for host in askers]
