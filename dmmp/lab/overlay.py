"""DMMP itself in the laboratory: the real roles and forwarders in the simulator's world.

Every message goes from role to role as an object, and its bytes are counted as the codec would make
them; with the option `wire` it goes through the codec. Data is real in any case.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from random import Random
from typing import Any, NamedTuple

import numpy as np

from dmmp.errors import UsageError
from dmmp.lab.arena import OCTETS, PERIOD, QUEUE_SECONDS, rows_of
from dmmp.lab.case import Case, Measured
from dmmp.lab.constructions import measure
from dmmp.lab.failures import CHURNS, Change, Plan
from dmmp.lab.frame import HEADERS, Relative
from dmmp.lab.score import WINDOW, Score
from dmmp.lab.state import entries_of, state_figures, state_samples
from dmmp.lab.underlays import places, underlay
from dmmp.lab.uplinks import MOST_CHILDREN, UPLINKS, uplink_rates
from dmmp.messages import Message
from dmmp.messages.header import HEADER_BYTES
from dmmp.parameters import Parameters
from dmmp.policies.capacity import children_of
from dmmp.sim.cast import REAL, add_end_host, add_rendezvous_point
from dmmp.sim.network import Conditions
from dmmp.sim.node import Node
from dmmp.sim.schedule import MICROSECONDS
from dmmp.sim.sizes import size_of
from dmmp.sim.trace import Payload, Trace
from dmmp.sim.world import World
from dmmp.types import Endpoint

JOINING = 60.0
"""Seconds in which the members come, one after the other in random order."""

SETTLING = 480.0
"""Seconds after the last came until anything is measured: trees improve for some minutes."""


class Seen(World):
    """A world that tells a score of each copy of a packet that comes, and of each that is heard."""

    score: Score | None = None
    place_of: Mapping[int, int]
    """The number of the host that a node is, by the node's `id`."""
    limits: Sequence[float] | None = None
    """Uplinks in bit/s by host; None where nobody's is a bound."""
    free_us: list[int]
    """When the uplink of each host has sent what it has to send."""

    def limit(self, limits: Sequence[float]) -> None:
        """Let no host send faster than this, headers of IP and UDP included."""
        self.limits = limits
        self.free_us = [0] * len(limits)

    def _transmit(self, node: Node, to: Endpoint, payload: Payload, whole_bytes: int = 0) -> None:
        number = None if self.limits is None else self.place_of.get(id(node))
        if self.limits is None or number is None:
            super()._transmit(node, to, payload, whole_bytes)
            return
        now_us = self.now_us
        free_us = max(now_us, self.free_us[number])
        if free_us - now_us > QUEUE_SECONDS * MICROSECONDS:
            self.network.counts.lost += 1
            return
        octets = HEADERS + (size_of(payload) if isinstance(payload, Message) else len(payload))
        self.free_us[number] = free_us + int(octets * 8 * MICROSECONDS / self.limits[number])
        # It is on its way from the moment at which the last bit has left the uplink.
        self.now_us = self.free_us[number]
        super()._transmit(node, to, payload, whole_bytes)
        self.now_us = now_us

    def _arrive(self, arrival: tuple[Node, Node, Endpoint, Payload]) -> None:
        node, sender, _, payload = arrival
        if self.score is not None and node.alive and type(payload) is bytes:
            number = self._numbers.get(payload[HEADER_BYTES:])
            if number is not None:
                at, by = self.place_of[id(node)], self.place_of[id(sender)]
                self.score.arrival(at, by, number, self.now, _NOBODY)
        super()._arrive(arrival)

    def _deliver(self, node: Node, packet: bytes) -> None:
        super()._deliver(node, packet)
        number = self._numbers.get(packet)
        if self.score is not None and number is not None:
            self.score.delivered(self.place_of[id(node)], number, self.now)


_NOBODY: Any = None


class Seat(NamedTuple):
    """A node as a score looks at it."""

    node: Node
    parent: int | None
    children: Sequence[int]
    state_entries: int


class Run:
    """A world with the hosts of a case: host 0 is the source, beside it is a rendezvous point."""

    WORLD: type[World] = Seen
    PARTS = REAL

    def __init__(self, case: Case) -> None:
        self.case = case
        self.underlay = underlay(case.underlay, case.seed, case.hosts)
        degrees = UPLINKS.get(case.uplinks)
        if degrees is None:
            raise UsageError(f"no uplinks {case.uplinks!r}: {', '.join(sorted(UPLINKS))}")
        self.degrees = degrees(Random(f"{case.seed}/uplinks/{case.uplinks}"), case.hosts)
        rates: list[float] = []
        if case.option("limited"):
            dice = Random(f"{case.seed}/uplinks/{case.uplinks}")
            rates = uplink_rates(case.uplinks, dice, case.hosts)
            stream = carried_bits(case)
            self.degrees = [min(MOST_CHILDREN, children_of(rate, stream)) for rate in rates]
        self.world = self.WORLD(
            case.seed,
            places(self.underlay, {0: 0}),
            Conditions(loss=case.loss),
            parameters=parameters_of(case),
            trace=Trace(is_kept=False),
            wire=case.option("wire") == "yes",
            payload_bytes=int(case.option("octets", str(OCTETS))),
        )
        # The invariants are for tests; sweeps over all pairs would cost more than the protocol.
        self.world.sweep_us = 10**15
        point = add_rendezvous_point(self.world, "rp")
        points: tuple[Endpoint, ...] = (point.endpoint,)
        self.hosts = [
            add_end_host(self.world, "source", "source", self.degrees[0], points, parts=self.PARTS)
        ]
        self.hosts += [
            add_end_host(
                self.world, f"m{number}", "member", self.degrees[number], points, parts=self.PARTS
            )
            for number in range(1, case.hosts)
        ]
        self.point = point
        self._index = {id(node): number for number, node in enumerate(self.hosts)}
        if isinstance(self.world, Seen):
            self.world.place_of = self._index
            if rates:
                self.world.limit(rates)

    def join(self, within: float = JOINING) -> None:
        """Start the rendezvous point and the source, and let all others come."""
        world, dice = self.world, Random(f"{self.case.seed}/joins")
        self.world.start(self.point)
        self.world.start(self.hosts[0])
        world.run_until(2.0)
        for node in dice.sample(self.hosts[1:], len(self.hosts) - 1):
            world.at(2.0 + dice.uniform(0.0, within), partial(self._begin, node))
        world.run_until(2.0 + within)

    def parents(self) -> list[int]:
        """Return who each host takes data from, by number; -1: nobody."""
        found = []
        for node in self.hosts:
            above = node.upstream[0] if node.alive and node.upstream else None
            found.append(-1 if above is None else self._index.get(id(above), -1))
        return found

    def seats(self) -> list[Relative | None]:
        """Show who is up, and between whom: a score asks its relatives for no more."""
        found: list[Any] = []
        for node, parent in zip(self.hosts, self.parents(), strict=True):
            if not node.alive:
                found.append(None)
                continue
            below = [self._index[id(each)] for each in node.downstream.values() if each is not None]
            entries = entries_of(node, self.world.now)
            found.append(Seat(node, None if parent < 0 else parent, below, entries))
        return found

    def stream(self, plan: Plan) -> Score:
        """Send a stream while hosts come and fail as planned, and count what becomes of it."""
        world = self.world
        assert isinstance(world, Seen)
        times = round((plan.until - plan.stream_from) / PERIOD)
        sent_at = [plan.stream_from + number * PERIOD for number in range(times)]
        window = float(self.case.option("window", str(WINDOW)))
        score = world.score = Score(len(self.hosts), sent_at, plan, window)
        world.start(self.point)
        for change in plan.changes:
            world.at(change.time, partial(self._change, change, score))
        for at in sent_at:
            world.at(at, partial(world.originate, self.hosts[0]))
        world.run_until(plan.measured_from)
        score.begin()
        before = [(node.sent, node.sent_bytes, node.sent_data_bytes) for node in self.hosts]
        world.run_until(plan.until)
        packet = HEADER_BYTES + max(map(len, world._numbers), default=1)
        for number, (node, (sent, octets, data)) in enumerate(zip(self.hosts, before, strict=True)):
            score.control_packets[number] = node.sent - sent
            score.control_octets[number] = node.sent_bytes - octets + HEADERS * (node.sent - sent)
            score.copies[number] = round((node.sent_data_bytes - data) / packet)
        score.close(self.seats(), plan.until)
        return score

    def _change(self, change: Change, score: Score) -> None:
        node, now = self.hosts[change.host], self.world.now
        if not change.up:
            self.world.crash(node)
            score.went_down(change.host, now, self.seats())
            return
        score.came_up(change.host, now)
        if node.crashed:
            self.world.restart(node)
        elif change.host:
            self._begin(node)
        else:
            self.world.start(node)

    def _begin(self, node: Node) -> None:
        self.world.start(node)
        self.world.subscribe(node)


def carried_bits(case: Case) -> float:
    """Return what the stream takes of an uplink for each child, bit/s, headers included.

    Where an uplink is a bound, a host that counts the payload alone promises what it cannot keep.
    """
    octets = int(case.option("octets", str(OCTETS)))
    return (octets + HEADER_BYTES + HEADERS) * 8 / PERIOD


def run(case: Case) -> Measured:
    """Run a case: with churn a stream and what of it is heard, without it what the tree is worth.

    Options: `joining` and `settling`, seconds, of a run without churn; `wire`, `octets`, `window`
    and `limited`, as in `arena`; `plane` with the value `arrays` for `flows`; and every parameter
    of the protocol by its name.
    """
    if case.option("plane") == "arrays":
        # It needs what stands here.
        from dmmp.lab import flows

        return flows.play(case)
    made = Run(case)
    churn = CHURNS.get(case.churn)
    if churn is None:
        raise UsageError(f"no churn is called {case.churn!r}: take {', '.join(CHURNS)}")
    gc.collect()
    gc.disable()
    try:
        if case.churn == "none":
            return _settled(made)
        score = made.stream(churn(case.seed, case.hosts, case.seconds))
        return score.measured(rows_of(made.underlay.delays))
    finally:
        gc.enable()


def _settled(made: Run) -> Measured:
    """Let the hosts join and settle, then look at their tree."""
    case, world = made.case, made.world
    made.join(float(case.option("joining", str(JOINING))))
    world.run_until(world.now + float(case.option("settling", str(SETTLING))))
    before = [(node.sent, node.sent_bytes) for node in made.hosts]
    world.run_until(world.now + case.seconds)
    parents = made.parents()
    measured = measure(made.underlay, parents, made.degrees)
    measured.figures |= _control(made.hosts, before, case.seconds)
    measured.figures |= state_figures(made.hosts, made.point, world.now)
    measured.samples = {
        **measured.samples,
        "state": state_samples(made.hosts[1:], world.now),
    }
    return measured


def _control(
    hosts: Sequence[Node], before: Sequence[tuple[int, int]], seconds: float
) -> dict[str, float]:
    """Count control messages, and bytes with their headers, a second, over all but the source."""
    messages = np.array([node.sent - was[0] for node, was in zip(hosts, before, strict=True)])
    octets = np.array([node.sent_bytes - was[1] for node, was in zip(hosts, before, strict=True)])
    octets = octets + HEADERS * messages
    return {
        "control_packets": float(messages[1:].mean() / seconds),
        "control_bytes": float(octets[1:].mean() / seconds),
        "control_bytes_max": float(octets[1:].max() / seconds),
        "source_control_bytes": float(octets[0] / seconds),
    }


VARIANTS: dict[str, dict[str, float | int]] = {
    "dmmp": {},
    # As on the slides: who came first stands above.
    "dmmp-slides": {"nearing_look": 0.0},
    "dmmp-moves": {"nearing_hops": float("inf")},
    "dmmp-narrow": {"nearing_width": 4},
    "dmmp-thin": {"mesh_links": 3, "mesh_ways": 0},
    "dmmp-patient": {
        "nearing_look": 0.0,
        "candidates": 4,
        "probe_rounds": 1,
        "refresh_cluster": 30.0,
        "hold_cluster": 90.0,
        # A super node renews its place in the mesh as often as a member renews its own.
        "hold_mesh": 90.0,
        "refresh_relative": 90.0,
        "hold_relative": 270.0,
        "refresh_rp": 120.0,
        "hold_rp": 400.0,
    },
}
"""The protocol as it is; without one or the other part of Decision 75; with few links to grow the
core tree over (Decision 15); and, for the largest sessions, with long periods and nobody who looks
for shorter ways. Longer ones would not do: so long the places of the dead are taken."""


def parameters_of(case: Case) -> Parameters:
    """Take the variant's parameters, and those that the options name; others are the run's own.

    Raise UsageError for a variant that is not there.
    """
    if case.protocol not in VARIANTS:
        raise UsageError(f"there is no {case.protocol!r}, but {', '.join(VARIANTS)}")
    kinds = {each.name: each.type for each in fields(Parameters)}
    changed: dict[str, float | int] = dict(VARIANTS[case.protocol])
    for name, value in case.options:
        if name in kinds:
            changed[name] = int(value) if kinds[name] == "int" else float(value)
    return replace(Parameters(), **changed)  # type: ignore[arg-type]
