"""How a host of the NICE family finds its cluster: from the top down, to the closest each time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from dmmp.lab.frame import Message
from dmmp.lab.relatives.words import Ask, Join, Members, Ping, Query, Stop, Top

PATIENCE: Final = 1.0
"""Seconds to wait for an answer, or for the last of several."""

RETRY: Final = 2.0
"""Seconds after which a join that led nowhere starts again, at most twice that."""


class Say(NamedTuple):
    """What to say to whom."""

    to: int
    message: Message


class Descent:
    """One search for a cluster of layer `target`.

    `known` are hosts that were in such a cluster lately. Two of them are asked at each beginning,
    in turn, for the top that the rendezvous host names may be dead.
    """

    def __init__(
        self, host: int, rendezvous: int, target: int, rng: Random, known: Sequence[int] = ()
    ) -> None:
        self.target = target
        self.fed_by: int | None = None
        self.due = 0.0
        self._host, self._rendezvous, self._rng = host, rendezvous, rng
        self._known, self._asked = list(known), set[int]()
        self._layer = -1
        self._waiting: set[int] = set()
        self._best: tuple[float, int] | None = None

    def start(self, now: float) -> list[Say]:
        """Begin at the rendezvous host."""
        self._layer = -1
        self._waiting, self._best = set(), None
        self.due = now + self._rng.uniform(RETRY, 2 * RETRY)
        first, later = self._known[:2], self._known[2:]
        self._known, self._asked = later + first, set(first)
        join = Join(self.target, self._host)
        return [Say(self._rendezvous, Ask()), *(Say(host, join) for host in first)]

    def lost(self, host: int, now: float) -> list[Say]:
        """Begin again at once if a host that was asked is dead."""
        self._known = [other for other in self._known if other != host]
        return self.start(now) if host in self._asked else []

    def on_top(self, top: Top, now: float) -> list[Say]:
        """Go on from the host at the top."""
        if top.host == self._host:
            return []
        if top.layer <= self.target:
            return self._join(top.host, now)
        return self._query(top.host, top.layer, now)

    def on_members(self, answer: Members, sender: int, now: float) -> list[Say]:
        """Measure how far those are that a queried host named."""
        if answer.layer != self._layer:
            return []
        if answer.layer <= self.target:
            return self._join(sender, now)
        self._waiting = set(answer.hosts) - {self._host}
        self._best = None
        self.due = now + PATIENCE
        return [Say(host, Ping(now)) for host in sorted(self._waiting)]

    def on_pong(self, far: float, sender: int, now: float) -> list[Say]:
        """Take a distance; with the last one, go on."""
        if sender not in self._waiting:
            return []
        self._waiting.discard(sender)
        if self._best is None or (far, sender) < self._best:
            self._best = (far, sender)
        return self._down(now) if not self._waiting else []

    def wake(self, now: float) -> list[Say]:
        """Go on with what there is, or start again."""
        return self._down(now) if self._best is not None else self.start(now)

    def end(self) -> list[Say]:
        """The host is where it wanted to be."""
        return [Say(self.fed_by, Stop())] if self.fed_by is not None else []

    def _down(self, now: float) -> list[Say]:
        assert self._best is not None
        _, closest = self._best
        self._best = None
        self._waiting = set()
        if self._layer - 1 <= self.target:
            return self._join(closest, now)
        return self._query(closest, self._layer - 1, now)

    def _query(self, host: int, layer: int, now: float) -> list[Say]:
        self._layer = layer
        self._asked.add(host)
        self.due = now + PATIENCE
        words: list[Say] = []
        feed = self.target == 0
        if feed:
            words = self.end() if self.fed_by != host else []
            self.fed_by = host
        return [*words, Say(host, Query(layer, feed))]

    def _join(self, host: int, now: float) -> list[Say]:
        self._layer = -1
        self._asked.add(host)
        self.due = now + self._rng.uniform(RETRY, 2 * RETRY)
        return [Say(host, Join(self.target, self._host))]
