"""A relative whose authors gave it no repair of losses, with that of all others around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives import REPAIR
from dmmp.lab.relatives.repair import Nack, Repair


class Tree(Relative, Protocol):
    """A relative that also knows whom to ask for a packet, and takes word of failures."""

    @property
    def sources(self) -> Sequence[int]:
        """Hosts that likely have what is missing here, the best first."""

    @property
    def round_trips(self) -> Mapping[int, float]:
        """Seconds to some of them and back."""

    def lost(self, host: int, now: float) -> Sequence[Action]:
        """Take it that a host has failed."""


class Repaired:
    """A host that asks again for what it missed, and sends again what others did."""

    def __init__(self, inner: Tree) -> None:
        self.inner = inner
        self._repair = Repair(asks=True)

    @property
    def parent(self) -> int | None:
        """Who it last took data from."""
        return self.inner.parent

    @property
    def children(self) -> Sequence[int]:
        """Whom it would send the next packet to."""
        return self.inner.children

    @property
    def state_entries(self) -> int:
        """Those of the relative; packets are no hosts."""
        return self.inner.state_entries

    def next_alarm(self) -> float | None:
        """Say when to wake it."""
        due = self.inner.next_alarm()
        return self._repair.due if due is None else min(due, self._repair.due)

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        """Send a packet of the stream, and keep it for a while."""
        self._repair.take(data, now)
        return self.inner.originate(data, now)

    def wake(self, now: float) -> Sequence[Action]:
        """Do what is due."""
        actions = list(self.inner.wake(now))
        if now >= self._repair.due:
            inner = self.inner
            actions += self._repair.ask(now, inner.sources, inner.round_trips)
        return actions

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        """Take what another host said."""
        if isinstance(message, Nack):
            return self._repair.answer(message, sender)
        if not isinstance(message, Data):
            return self.inner.receive(message, sender, now)
        if message.again:
            # Not sent down the tree: who misses it there asks for it.
            new = self._repair.take(message, now)
            return [Deliver(message.number), *(self._repair.pass_on(message) if new else ())]
        actions = self.inner.receive(message, sender, now)
        if not any(isinstance(action, Deliver) for action in actions):
            return actions
        if self._repair.take(message, now):
            return [*actions, *self._repair.pass_on(message)]
        return [a for a in actions if not (isinstance(a, Send) and isinstance(a.message, Data))]

    def lost(self, host: int, now: float) -> Sequence[Action]:
        """Take it that a host has failed, where a simulation tells failures at once."""
        return self.inner.lost(host, now)


def as_named(tree: Tree, case: Case) -> Relative:
    """Give repair to a relative if the name in the case asks for it."""
    return Repaired(tree) if case.protocol.endswith(REPAIR) else tree
