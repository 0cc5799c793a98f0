"""What the network does to a datagram: delay, loss, duplication, reordering, partition, its MTU.

Troubles that overlap are layers: a datagram endures each that lies on its way.

It decides when copies arrive and keeps the counts; `world` schedules them. It knows places, never
hosts, roles or messages. Every draw comes from its own seeded generator (§4.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from random import Random

from dmmp.errors import UsageError
from dmmp.sim.topology import Topology


@dataclass(frozen=True, slots=True)
class Conditions:
    """How bad the way is; the probabilities are of each datagram."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    late_us: int = 30_000
    """By how much at most a duplicate or a reordered datagram comes later."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} must be between 0 and 1")


@dataclass(slots=True)
class Counts:
    """Datagrams by fate; `sent_bytes` counts data and control, headers included."""

    sent: int = 0
    sent_bytes: int = 0
    lost: int = 0
    blocked: int = 0
    duplicated: int = 0
    reordered: int = 0
    too_large: int = 0
    """Larger than the path's MTU, and not to be sent in fragments."""
    unheard: int = 0
    """Arrived where nobody listens, or never did."""

    def rows(self) -> list[tuple[str, int]]:
        """List the counts with their names."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


PERFECT = Conditions()


class Layer:
    """Conditions of one place, or of all, for a while; each is an object of its own."""

    __slots__ = ("conditions", "place")

    def __init__(self, conditions: Conditions, place: int | None) -> None:
        self.conditions = conditions
        self.place = place


class Network:
    """The way between any two places."""

    def __init__(self, topology: Topology, rng: Random, conditions: Conditions = PERFECT) -> None:
        self.topology = topology
        self.counts = Counts()
        conditions = PERFECT if conditions == PERFECT else conditions
        self.is_plain = conditions is PERFECT
        """Whether a datagram meets nothing but delay, so that nobody has to ask."""
        self._layers: list[Layer] = []
        self._rng = rng
        self._conditions = conditions
        self._own: dict[int, Conditions] = {}
        self._islands: dict[int, int] = {}
        self._blocked: set[tuple[int, int]] = set()
        self._mtus: dict[int, int] = {}

    def set_mtu(self, place: int, mtu: int) -> None:
        """Let the link of a place carry packets of so many bytes whole; others carry any."""
        self._mtus[place] = mtu
        self._note_change()

    def set_conditions(self, conditions: Conditions, place: int | None = None) -> None:
        """Set the conditions everywhere, or of one place: both what it sends and what it gets."""
        if place is None:
            self._conditions = conditions
        else:
            self._own[place] = conditions
        self._note_change()

    def worsen(self, conditions: Conditions, place: int | None = None) -> Layer:
        """Add a layer of trouble, everywhere or to what one place sends and gets."""
        layer = Layer(conditions, place)
        self._layers.append(layer)
        self._note_change()
        return layer

    def ease(self, layer: Layer) -> None:
        """Take a layer away again, if it is still there."""
        if layer in self._layers:
            self._layers.remove(layer)
        self._note_change()

    def calm(self) -> None:
        """End every trouble: loss, layers, partition and blocks."""
        self._conditions = PERFECT
        self._own = {}
        self._layers = []
        self.heal()

    def _note_change(self) -> None:
        troubles = self._own or self._islands or self._blocked or self._layers or self._mtus
        self.is_plain = not troubles and self._conditions is PERFECT

    def partition(self, *islands: Iterable[int]) -> None:
        """Cut the network into these islands; places in none of them form one more."""
        self._islands = {place: number for number, who in enumerate(islands, 1) for place in who}
        self._note_change()

    def heal(self) -> None:
        """End the partition, and every one-way block."""
        self._islands = {}
        self._blocked = set()
        self._note_change()

    def block(self, sender: int, receiver: int) -> None:
        """Let nothing through from one place to another; the way back is untouched."""
        self._blocked.add((sender, receiver))
        self._note_change()

    def unblock(self, sender: int, receiver: int) -> None:
        """End a one-way block."""
        self._blocked.discard((sender, receiver))
        self._note_change()

    def is_open(self, sender: int, receiver: int) -> bool:
        """Tell whether datagrams get through that way at all."""
        if (sender, receiver) in self._blocked:
            return False
        return self._islands.get(sender, 0) == self._islands.get(receiver, 0)

    def carry(self, sender: int, receiver: int, whole_bytes: int = 0) -> tuple[int, ...]:
        """Decide the fate of one datagram: the delay of each copy that arrives, in microseconds.

        `whole_bytes` is the size of a packet that must not be sent in fragments.
        """
        counts = self.counts
        counts.sent += 1
        if (self._blocked or self._islands) and not self.is_open(sender, receiver):
            counts.blocked += 1
            return ()
        if whole_bytes and any(
            whole_bytes > self._mtus.get(place, whole_bytes) for place in (sender, receiver)
        ):
            counts.too_large += 1
            return ()
        delay = self.topology.delay_us(sender, receiver)
        if self._conditions is PERFECT and not self._own and not self._layers:
            return (delay,)
        arrivals: tuple[int, ...] = (delay,)
        for conditions in self._on_the_way(sender, receiver):
            arrivals = tuple(copy for at in arrivals for copy in self._endure(conditions, at))
        return arrivals

    def _on_the_way(self, sender: int, receiver: int) -> list[Conditions]:
        found = [
            self._own.get(sender, self._conditions),
            self._own.get(receiver, PERFECT),
        ]
        for layer in self._layers:
            if layer.place is None or layer.place in (sender, receiver):
                found.append(layer.conditions)
        return [conditions for conditions in found if conditions is not PERFECT]

    def _endure(self, conditions: Conditions, delay: int) -> tuple[int, ...]:
        draw = self._rng.random
        if conditions.loss and draw() < conditions.loss:
            self.counts.lost += 1
            return ()
        if conditions.reordering and draw() < conditions.reordering:
            self.counts.reordered += 1
            delay += self._rng.randrange(1, conditions.late_us)
        if conditions.duplication and draw() < conditions.duplication:
            self.counts.duplicated += 1
            return (delay, delay + self._rng.randrange(conditions.late_us))
        return (delay,)
