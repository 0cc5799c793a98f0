"""NICE-PRM: NICE whose hosts send some packets to random others, and ask for what they miss.

Banerjee, Lee, Bhattacharjee and Srinivasan, SIGMETRICS 2003, with the parameters of Birrer and
Bustamante, NWU-CS-04-36: PRM(3, 0.01) to PRM(3, 0.03).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple

from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.nice import Nice
from dmmp.lab.relatives.words import HEADER, HOST

RANDOM_HOSTS: Final = 3
"""To whom packets are sent at random."""

DISCOVER: Final = 5.0
"""Seconds between two looks for a random host."""

STEPS: Final = 5
"""Of a walk from host to host that finds one."""

LIKELY: Final = 0.02
"""With which probability a packet goes to each, unless the case has the option `p`."""

MASK_OCTETS: Final = 8
"""The highest number and a bit for each packet of the window."""


class Discover(NamedTuple):
    """A walk that `who` began, with so many steps to go."""

    who: int
    left: int
    octets: int = HEADER + HOST


class Found(NamedTuple):
    """Here a walk ended."""

    octets: int = HEADER


class Extra(NamedTuple):
    """A packet that goes to a random host, and which others its sender has."""

    stream: Data
    highest: int
    mask: int

    @property
    def octets(self) -> int:
        return self.stream.octets + MASK_OCTETS


class Prm(Nice):
    """A host of NICE-PRM."""

    def __init__(self, host: int, rendezvous: int, rng: Random, likely: float) -> None:
        super().__init__(host, rendezvous, rng, True)
        self._likely = likely
        self._others: list[int] = []
        self._sources: list[int] = []
        self._shown = False
        self._discover_at = float("inf")

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        if type(message) is Extra:
            self.repair.heard_of(message.highest, now)
            self._sources = [sender, *[h for h in self._sources if h != sender]][:RANDOM_HOSTS]
            return self._stream(message.stream, sender, now)
        if type(message) is Discover:
            return self._walk(message, sender)
        if type(message) is Found:
            if sender != self.host:
                self._others = [*[h for h in self._others if h != sender], sender][-RANDOM_HOSTS:]
            return ()
        return super().receive(message, sender, now)

    def wake(self, now: float) -> Sequence[Action]:
        actions = list(super().wake(now))
        if self._discover_at == float("inf"):
            self._discover_at = now + self.rng.uniform(0.0, DISCOVER)
        elif now >= self._discover_at:
            self._discover_at = now + DISCOVER
            actions += self._walk(Discover(self.host, STEPS), self.host)
        return actions

    def next_alarm(self) -> float | None:
        return min(self.due, self.repair.due, self._discover_at)

    def lost(self, host: int, now: float) -> Sequence[Action]:
        self._others = [other for other in self._others if other != host]
        self._sources = [other for other in self._sources if other != host]
        return super().lost(host, now)

    def ask_whom(self) -> list[int]:
        """Ask the parent and those who sent at random, in turn; first who showed the gap."""
        hosts = list(self._sources)
        if self.parent is not None and self.parent not in hosts:
            hosts.insert(1 if self._shown else 0, self.parent)
        return hosts or super().ask_whom()

    def _walk(self, walk: Discover, sender: int) -> list[Action]:
        """Pass a walk on along the tree, never back; where it cannot go on, it ends."""
        near = set(self.ways(self.host if self.parent is None else self.parent))
        if self.parent is not None:
            near.add(self.parent)
        near -= {self.host, sender, walk.who}
        if near and walk.left:
            return [Send(self.rng.choice(sorted(near)), Discover(walk.who, walk.left - 1))]
        return [Send(walk.who, Found())] if walk.who != self.host else []

    def _stream(self, data: Data, sender: int, now: float) -> Sequence[Action]:
        if not self.repair.take(data, now):
            return ()
        if data.again:
            return [Deliver(data.number), *self.repair.pass_on(data)]
        inside = any(sender in cluster.members for cluster in self.layers)
        self._shown = not inside
        if inside or self.parent is None or sender not in self._sources:
            self.parent = sender
        # What came from elsewhere goes the way of what comes from the parent: down, not up.
        return self._spread(data, self.parent)

    def _spread(self, data: Data, sender: int) -> list[Action]:
        actions = super()._spread(data, sender)
        for other in self._others:
            if self.rng.random() < self._likely and other != sender:
                hop = Data(data.number, data.octets, data.hops + 1)
                actions.append(Send(other, Extra(hop, *self.repair.kept)))
        return actions


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of NICE-PRM."""
    made: Any = Prm(host, rendezvous[0], rng, float(case.option("p", str(LIKELY))))
    relative: Relative = made
    return relative
