"""NICE: the stream goes to all of every cluster but the one that it came from.

Banerjee, Bhattacharjee and Kommareddy, SIGCOMM 2002. With `+nack` packets that are missing are
asked for, as in the comparisons of Birrer and Bustamante.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.repair import Nack, Repair
from dmmp.lab.relatives.upkeep import Upkeep


class Nice(Upkeep):
    """A host of NICE, the source among them."""

    def __init__(self, host: int, rendezvous: int, rng: Random, repair: bool) -> None:
        super().__init__(host, rendezvous, rng)
        self.parent: int | None = None
        self.repair = Repair(repair)
        self._ways: dict[int, list[int]] = {}

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        if type(message) is Data:
            return self._stream(message, sender, now)
        if type(message) is Nack:
            return self.repair.answer(message, sender)
        self.hear(message, sender, now)
        return self.actions()

    def wake(self, now: float) -> Sequence[Action]:
        if now >= self.due:
            self.tick(now)
        actions = self.actions()
        if now >= self.repair.due:
            actions = [*actions, *self.repair.ask(now, self.ask_whom(), self.distances)]
        return actions

    def next_alarm(self) -> float | None:
        due, repair = self.due, self.repair.due
        return due if due < repair else repair

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        self.repair.take(data, now)
        return self._spread(data, self.host)

    def changed(self) -> None:
        self._ways.clear()

    def ask_whom(self) -> list[int]:
        """Name those who may have what is missing here, the likeliest first."""
        hosts = [] if self.parent is None else [self.parent]
        for cluster in reversed(self.layers):
            hosts += [host for host in sorted(cluster.members) if host not in hosts]
        return [host for host in hosts if host != self.host]

    def _stream(self, data: Data, sender: int, now: float) -> Sequence[Action]:
        if not self.repair.take(data, now):
            return ()
        if data.again:
            # Who misses it as well has asked, or will when it sees the gap.
            return [Deliver(data.number), *self.repair.pass_on(data)]
        self.parent = sender
        return self._spread(data, sender)

    def _spread(self, data: Data, sender: int) -> list[Action]:
        ways = self._ways.get(sender)
        if ways is None:
            ways = self._ways[sender] = self.ways(sender)
        number, octets, hops, _ = data
        hop = Data(number, octets, hops + 1)
        actions: list[Action] = [Deliver(number)]
        actions += [Send(host, hop) for host in ways]
        return actions

    def ways(self, sender: int) -> list[int]:
        """Say to whom the packets go that come from a host."""
        hosts: dict[int, None] = {}
        for cluster in self.layers:
            if sender == self.host or sender not in cluster.members:
                hosts |= dict.fromkeys(sorted(cluster.members))
        hosts |= dict.fromkeys(self.guests)
        return [host for host in hosts if host not in (self.host, sender)]

    @property
    def children(self) -> Sequence[int]:
        return self.ways(self.host if self.parent is None else self.parent)

    @property
    def state_entries(self) -> int:
        return sum(
            len(cluster.members) + len(cluster.above) + sum(map(len, cluster.table.values()))
            for cluster in self.layers
        )


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of NICE; it knows no bound on its degree."""
    made: Any = Nice(host, rendezvous[0], rng, case.protocol.endswith("+nack"))
    relative: Relative = made
    return relative
