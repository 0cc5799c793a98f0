"""What happens in one run: sizes, capacities, network, comings and goings, all from a seed.

A `Scenario` is a value. Its `str` is an expression that makes it again, to be pasted into a test;
`play` runs it. Nothing here checks or measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random

from dmmp.errors import UsageError
from dmmp.forwarding.forwarder import Forwarder
from dmmp.roles.end_host import EndHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.sim.network import Conditions
from dmmp.sim.node import Node
from dmmp.sim.topology import topology
from dmmp.sim.trace import Trace
from dmmp.sim.world import World
from dmmp.types import Endpoint, Instant

SESSION = "sim"

MIXED = ((0, 30), (1, 10), (2, 20), (4, 25), (8, 10), (16, 5))
"""Out-degrees and their weights: many who only receive, few who can feed many (-03 §2)."""

BEGIN = 0.2
"""When the first member may come; RP and source are there from 0."""

LAST_PACKETS = 5
"""Packets sent at the end, a second apart, that must be heard."""

TAIL = 3.0
"""Seconds after the last packet, for its way and its repair."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run; times in seconds, probabilities of each datagram."""

    seed: int
    members: int = 20
    relays: int = 0
    source_out_degree: int = 4
    out_degrees: tuple[tuple[int, int], ...] = MIXED
    window: float = 10.0
    settle: float = 20.0
    topology: str = "plane"
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    uninterested: float = 0.0
    crashes: int = 0
    leaves: int = 0
    rendezvous_point_crash: bool = False
    unreachable: bool = False
    packets_per_second: float = 0.0

    def __post_init__(self) -> None:
        if self.members < 1 or self.source_out_degree < 1:
            raise UsageError("a scenario needs a member, and a source that can feed one")
        if self.crashes + self.leaves > self.members:
            raise UsageError("more members cannot go than there are")

    @classmethod
    def from_seed(cls, seed: int) -> Scenario:
        """Draw every knob from a seed."""
        rng = Random(f"{seed}/scenario")
        members = rng.randrange(3, 40)
        lossy = rng.random() < 0.5
        troubled = rng.random() < 0.5
        crashes = rng.randrange(1 + members // 5) if troubled else 0
        return cls(
            seed=seed,
            members=members,
            relays=rng.randrange(3),
            source_out_degree=rng.randrange(2, 9),
            window=float(rng.randrange(1, 30)),
            settle=110.0 if troubled else 25.0,
            topology=rng.choice(("plane", "transit-stub", "uniform")),
            loss=rng.choice((0.001, 0.01, 0.05)) if lossy else 0.0,
            duplication=rng.choice((0.0, 0.01)) if lossy else 0.0,
            reordering=rng.choice((0.0, 0.02)) if lossy else 0.0,
            uninterested=rng.choice((0.0, 0.1, 0.3)),
            crashes=crashes,
            leaves=rng.randrange(1 + members // 5) if troubled else 0,
            # Never with other crashes: an orphan without the RP may know nobody who lives.
            rendezvous_point_crash=not troubled and rng.random() < 0.3,
            unreachable=rng.random() < 0.5,
            packets_per_second=rng.choice((0.0, 1.0, 5.0, 20.0)),
        )

    @classmethod
    def flash(cls, members: int = 500, window: float = 60.0, seed: int = 0) -> Scenario:
        """Make a flash crowd: everybody comes within the window."""
        return cls(
            seed=seed,
            members=members,
            source_out_degree=8,
            window=window,
            settle=20.0,
            topology="transit-stub",
        )

    def __str__(self) -> str:
        changed = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name == "seed" or getattr(self, field.name) != field.default
        )
        return f"Scenario({', '.join(changed)})"

    @property
    def is_calm(self) -> bool:
        """Tell whether nothing goes wrong, so that no packet may be missed."""
        troubles = (self.loss, self.duplication, self.reordering, self.crashes, self.leaves)
        return not any(troubles)

    @property
    def end(self) -> Instant:
        """Return when the run ends."""
        return BEGIN + self.window + self.settle

    def play(self, *, wire: bool = False, trace: Trace | None = None) -> World:
        """Run it to its end and check the result; `world.failures` says what did not hold."""
        world = self.prepare(wire=wire, trace=trace)
        try:
            world.run_until(self.end)
        except Exception as error:
            error.add_note(f"at {world.now:.6f} s of {self}")
            raise
        expected = range(len(world.packets))
        late = [n for n in expected if world.packets[n] >= (self.end - TAIL - LAST_PACKETS) * 1e6]
        world.finish(expected if self.is_calm else late, strict=self.is_calm)
        return world

    def prepare(self, *, wire: bool = False, trace: Trace | None = None) -> World:
        """Make the world of this scenario, with everything that is to happen in its schedule."""
        rng = Random(f"{self.seed}/cast")
        world = World(
            self.seed,
            topology(self.topology, Random(f"{self.seed}/topology")),
            Conditions(self.loss, self.duplication, self.reordering),
            wire=wire,
            tell_unreachable=self.unreachable,
            trace=trace,
        )
        point = add_rendezvous_point(world, "rp")
        source = add_end_host(world, "source", "source", self.source_out_degree, (point.endpoint,))
        world.at(0.0, lambda: world.start(point))
        world.at(0.0, lambda: world.start(source))
        for number in range(1, self.relays + 1):
            relay = add_end_host(world, f"s{number}", "super-node", 8, (point.endpoint,))
            world.at(BEGIN * rng.random(), _starter(world, relay, joins=False))
        members = [
            add_end_host(world, f"m{number}", "member", degree, (point.endpoint,))
            for number, degree in enumerate(self._degrees(rng), 1)
        ]
        for member in members:
            joins = rng.random() >= self.uninterested
            world.at(BEGIN + self.window * rng.random(), _starter(world, member, joins))
        self._schedule_troubles(world, members, point, rng)
        self._schedule_packets(world, source)
        return world

    def _degrees(self, rng: Random) -> list[int]:
        """Draw the members' out-degrees so that everybody can find a place at all.

        Each prefix of the members, in the order of their numbers, keeps one free slot for each
        five hosts; the order in which they come is drawn apart from that.
        """
        pool = [degree for degree, weight in self.out_degrees for _ in range(weight)]
        able = [degree for degree in pool if degree >= 4] or [max(pool)]
        free = self.source_out_degree
        degrees = []
        for number in range(1, self.members + 1):
            degree = rng.choice(pool)
            if free - 1 + degree < 2 + number // 5:
                degree = rng.choice(able)
            free += degree - 1
            degrees.append(degree)
        return degrees

    def _schedule_troubles(
        self, world: World, members: list[Node], point: Node, rng: Random
    ) -> None:
        begin = BEGIN + self.window
        going = list(members)
        for number in range(self.crashes + self.leaves):
            member = going.pop(rng.randrange(len(going)))
            end = world.crash if number < self.crashes else world.stop
            world.at(begin + 2.0 + 4.0 * rng.random(), _caller(end, member))
        if self.rendezvous_point_crash:
            # Whoever has no place by then would find none without it.
            world.at(begin + 0.75 * self.settle, lambda: world.crash(point))

    def _schedule_packets(self, world: World, source: Node) -> None:
        first_of_last = self.end - TAIL - LAST_PACKETS
        if self.packets_per_second:
            for number in range(int(first_of_last * self.packets_per_second)):
                world.at((1 + number) / self.packets_per_second, lambda: world.originate(source))
        for number in range(LAST_PACKETS):
            world.at(first_of_last + number, lambda: world.originate(source))


def add_rendezvous_point(world: World, name: str, session: str = SESSION) -> Node:
    """Add an RP; it forwards nothing, so it has no forwarder (-03 §3)."""
    point = RendezvousPoint((session,), world.parameters, world.random(name))
    return world.add(name, "rendezvous-point", point, point.views)


def add_end_host(
    world: World,
    name: str,
    kind: str,
    out_degree: int,
    points: tuple[Endpoint, ...],
    session: str = SESSION,
) -> Node:
    """Add a host that begins as `source`, `super-node` or `member`."""
    setup = HostSetup(
        session_name=session,
        rendezvous_points=points,
        out_degree=out_degree,
        instance=world.random(name, "instance").randrange(1 << 64),
        name=name,
        relay_only=kind == "super-node",
    )
    host = EndHost(kind, setup, world.parameters, world.random(name))
    return world.add(
        name,
        kind,
        host,
        lambda now: (host.view(now),),
        forwarder=Forwarder(world.parameters),
        out_degree=out_degree,
    )


def _starter(world: World, node: Node, joins: bool) -> Callable[[], None]:
    def start() -> None:
        world.start(node)
        if joins:
            world.subscribe(node)

    return start


def _caller(function: Callable[[Node], None], node: Node) -> Callable[[], None]:
    return lambda: function(node)
