"""What happens in one run: sizes, capacities, network, comings and goings, all from a seed.

A `Scenario` is a value. Its `str` is an expression that makes it again, to be pasted into a test;
`play` runs it. Nothing here checks or measures. `drawing` draws scenarios, `files` reads them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from random import Random

from dmmp.errors import UsageError
from dmmp.parameters import Parameters
from dmmp.sim.cast import REAL, SESSION, Parts, add_end_host, add_rendezvous_point
from dmmp.sim.churn import Churn
from dmmp.sim.faults import Fault, Faults
from dmmp.sim.network import Conditions
from dmmp.sim.node import Node
from dmmp.sim.schedule import microseconds
from dmmp.sim.secured import Secured
from dmmp.sim.topology import topology
from dmmp.sim.trace import Trace
from dmmp.sim.world import World
from dmmp.types import Endpoint, Instant

__all__ = ["SESSION", "Scenario", "add_end_host", "add_rendezvous_point"]

MIXED = ((0, 30), (1, 10), (2, 20), (4, 25), (8, 10), (16, 5))
"""Out-degrees and their weights: many who only receive, few who can feed many (-03 §2)."""

SECURITY = ("none", "certificates", "psk")
"""How the hosts of a scenario are secured; without is seven times as fast."""

BEGIN = 0.2
"""When the first member may come; RP and source are there from 0."""

LAST_PACKETS = 5
"""Seconds in the end whose packets must be heard; without a stream, one is sent in each."""

TAIL = 3.0
"""Seconds after the last packet, for its way and its repair."""

BUILT = 5.0
"""Seconds after the last host came; from then on a `strict` run demands every packet."""

MOST_POINTS = 3
"""Rendezvous points of one scenario."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run; times in seconds, probabilities of each datagram.

    With `heals`, everything is mended at that time, and from `recovers` seconds later on every
    member must hear every packet. With `strict` every one must from when the tree is built: then
    the faults may take single machines, and no datagram may be lost. With `safety` only what must
    hold at every moment is checked. `measured` is the part of the run that is measured,
    `deadline` after how many seconds a packet is too late.
    """

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
    rendezvous_points: int = 1
    faults: tuple[Fault, ...] = ()
    churn: Churn | None = None
    heals: float = 0.0
    recovers: float = 50.0
    strict: bool = False
    safety: bool = False
    payload_bytes: int = 8
    deadline: float = 3.2
    measured: tuple[float, float] = (0.0, 0.0)
    sweeps: float = 1.0
    parameters: tuple[tuple[str, float], ...] = ()
    security: str = "none"

    def __post_init__(self) -> None:
        if self.security not in SECURITY:
            raise UsageError(f"security: one of {', '.join(SECURITY)}")
        if self.members < 1 or self.source_out_degree < 1:
            raise UsageError("a scenario needs a member, and a source that can feed one")
        if self.crashes + self.leaves > self.members:
            raise UsageError("more members cannot go than there are")
        if not 1 <= self.rendezvous_points <= MOST_POINTS:
            raise UsageError(f"rendezvous_points: 1 to {MOST_POINTS}")
        if min(self.window, self.settle, self.packets_per_second, self.heals) < 0:
            raise UsageError("window, settle, packets_per_second, heals: must not be negative")
        if self.sweeps <= 0 or self.deadline <= 0:
            raise UsageError("sweeps, deadline: must be above 0")
        if self.settle < TAIL + LAST_PACKETS:
            raise UsageError(f"settle: at least {TAIL + LAST_PACKETS:g} s, for the last packets")
        if self.heals:
            late = [fault for fault in self.faults if fault.end > self.heals]
            if late or (self.churn is not None and self.churn.end > self.heals):
                raise UsageError("heals: every fault must have begun and ended before")
            if self.heals + self.recovers + TAIL + LAST_PACKETS > self.end:
                raise UsageError("heals: the run must go on for recovers and some packets more")
        self.made_parameters()

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
        return not any(troubles) and not self.faults and self.churn is None

    @property
    def end(self) -> Instant:
        """Return when the run ends."""
        return BEGIN + self.window + self.settle

    def made_parameters(self) -> Parameters:
        """Return the protocol's parameters with this scenario's changes."""
        defaults = Parameters()
        changes: dict[str, int | float] = {}
        for name, value in self.parameters:
            if name not in Parameters.__slots__:
                raise UsageError(f"parameters: there is no {name!r}")
            changes[name] = type(getattr(defaults, name))(value)
        return replace(defaults, **changes)  # type: ignore[arg-type]

    def play(self, *, wire: bool = False, trace: Trace | None = None, parts: Parts = REAL) -> World:
        """Run it to its end and check the result; `world.failures` says what did not hold."""
        with _without_collector():
            world = self.prepare(wire=wire, trace=trace, parts=parts)
            try:
                world.run_until(self.end)
                expected, strict = self._expected(world.packets)
                world.finish(expected, strict=strict, safety=self.safety)
            except Exception as error:
                error.add_note(f"at {world.now:.6f} s of {self}")
                raise
        return world

    def _expected(self, packets: list[int]) -> tuple[list[int], bool]:
        """Say which packets must have been heard, and whether each of them."""
        if self.is_calm:
            return list(range(len(packets))), True
        since = self.end - TAIL - LAST_PACKETS
        if self.heals:
            since = self.heals + self.recovers
        elif self.strict:
            since = BEGIN + self.window + BUILT
        is_each = self.strict or bool(self.heals)
        return [n for n, at in enumerate(packets) if at >= since * 1e6], is_each

    def prepare(
        self, *, wire: bool = False, trace: Trace | None = None, parts: Parts = REAL
    ) -> World:
        """Make the world of this scenario, with everything that is to happen in its schedule."""
        rng = Random(f"{self.seed}/cast")
        if self.security != SECURITY[0]:
            secured = Secured(self.seed, SESSION, shared=self.security == SECURITY[2])
            parts = replace(parts, secured=secured)
        world = World(
            self.seed,
            topology(self.topology, Random(f"{self.seed}/topology")),
            Conditions(self.loss, self.duplication, self.reordering),
            parameters=self.made_parameters(),
            wire=wire,
            tell_unreachable=self.unreachable,
            trace=trace,
            payload_bytes=self.payload_bytes,
        )
        world.sweep_us = microseconds(self.sweeps)
        begin, end = self.measured
        world.tally.measure(microseconds(begin), microseconds(end or self.end))
        world.tally.window_us = microseconds(self.deadline)
        names = ["rp", *(f"rp{number}" for number in range(2, self.rendezvous_points + 1))]
        found = [
            add_rendezvous_point(world, name, index=index, parts=parts)
            for index, name in enumerate(names)
        ]
        points = tuple(point.endpoint for point in found)
        add = _Adder(world, points, parts)
        source = add("source", "source", self.source_out_degree)
        for machine in (*found, source):
            world.at(0.0, _caller(world.start, machine))
        for number in range(1, self.relays + 1):
            relay = add(f"s{number}", "super-node", 8)
            world.at(BEGIN * rng.random(), _starter(world, relay, joins=False))
        members = [
            add(f"m{number}", "member", degree)
            for number, degree in enumerate(self._degrees(rng), 1)
        ]
        for member in members:
            joins = rng.random() >= self.uninterested
            arrives = BEGIN + self.window * rng.random()
            if self.churn is None or self.churn.model != "poisson":
                world.at(arrives, _starter(world, member, joins))
        self._schedule_troubles(world, members, found[0], rng)
        self._schedule_faults(world, add)
        self._schedule_churn(world, members)
        self._schedule_packets(world)
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

    def _schedule_faults(self, world: World, add: _Adder) -> None:
        rng = Random(f"{self.seed}/newcomers")
        pool = [degree for degree, weight in self.out_degrees for _ in range(weight)]

        def newcomer() -> Callable[[], None]:
            return _starter(world, add(add.next_name("x"), "member", rng.choice(pool)), joins=True)

        def new_source() -> Node:
            return add(add.next_name("source"), "source", self.source_out_degree)

        faults = Faults(world, newcomer, new_source)
        faults.schedule(self.faults)
        if self.heals:
            world.at(self.heals, faults.heal)

    def _schedule_churn(self, world: World, members: list[Node]) -> None:
        if self.churn is None:
            return
        rng = Random(f"{self.seed}/churn/leaving")
        for at, host, is_up in self.churn.turns(self.seed, len(members)):
            member = members[host]
            if not is_up:
                end = world.stop if rng.random() < self.churn.leaving else world.crash
                world.at(at, _caller(end, member))
            elif self.churn.model == "poisson":
                world.at(at, _starter(world, member, joins=True))
            else:
                world.at(at, _caller(world.restart, member))

    def _schedule_packets(self, world: World) -> None:
        first_of_last = self.end - TAIL - LAST_PACKETS

        def send() -> None:
            # Another machine may be the source by now.
            for node in world.nodes:
                if node.is_source and node.alive:
                    world.originate(node)

        rate = self.packets_per_second
        steady_until = first_of_last if rate < 1 else self.end - TAIL
        for number in range(int(steady_until * rate)):
            world.at((1 + number) / rate, send)
        for number in range(LAST_PACKETS if rate < 1 else 0):
            world.at(first_of_last + number, send)


class _Adder:
    """Adds end hosts of one scenario to its world, the late ones with names of their own."""

    def __init__(self, world: World, points: tuple[Endpoint, ...], parts: Parts) -> None:
        self._world, self._points, self._parts = world, points, parts
        self._late = 0

    def __call__(self, name: str, kind: str, out_degree: int) -> Node:
        return add_end_host(self._world, name, kind, out_degree, self._points, parts=self._parts)

    def next_name(self, stem: str) -> str:
        """Return a name that nobody has."""
        self._late += 1
        return f"{stem}{self._late + 1}"


@contextmanager
def _without_collector() -> Iterator[None]:
    """Leave garbage with cycles where it is: there is next to none, and looking costs a third."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _starter(world: World, node: Node, joins: bool) -> Callable[[], None]:
    def start() -> None:
        world.start(node)
        if joins:
            world.subscribe(node)

    return start


def _caller(function: Callable[[Node], None], node: Node) -> Callable[[], None]:
    return lambda: function(node)
