"""What a run was like, in numbers: delays of joining, depths, control overhead, stretch.

Read from the nodes after the run. Only living hosts count, and only those that joined where joining
is what is measured. Definitions as in the glossary: stretch is overlay delay over direct delay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from dmmp.sim.node import Node
from dmmp.sim.schedule import MICROSECONDS, seconds
from dmmp.sim.topology import Topology
from dmmp.sim.world import World


@dataclass(frozen=True, slots=True)
class Summary:
    """A sample in five numbers."""

    count: int
    median: float
    p95: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Measures:
    """The numbers of one run."""

    hosts: int
    """Living hosts of the session, source and super nodes included."""
    joined: int
    super_nodes: int
    departed: int
    join_delay: Summary
    """Seconds from start to admission."""
    first_data: Summary
    """Seconds from start to the first packet delivered."""
    depths: tuple[tuple[int, int], ...]
    """How many hosts stand at each depth; the source has depth 0."""
    control_sent: Summary
    """Control messages a host sent, per second of its life."""
    control_sent_most: tuple[str, float]
    """The busiest machine, and its rate; often the RP."""
    slots_used: int
    slots: int
    stretch: Summary
    packets: int
    delivered: int
    delivery: float
    """Of the members admitted when a packet was sent, the share that got it in time (`tally`)."""
    delivery_started: float
    """The same, counted from the start of each host."""
    connectivity: float
    """Share of members that got a packet in each interval of ten seconds."""
    duplicates: float
    """Data that came again, at all receivers together, for each packet sent."""
    control_bytes: float
    """Bytes of control a host sends in a second of its life; see `Tally.control_per_second`."""
    silence: Summary
    """Longest time between two packets at each host with interest, seconds."""
    probes: Summary
    """Most Probe Requests in one second, at each super node."""
    violations: int
    """Inputs that hosts reported as not allowed."""
    network: tuple[tuple[str, int], ...]
    virtual_seconds: float


def measure(world: World) -> Measures:
    """Measure a world that has been run."""
    alive = [node for node in world.nodes if node.alive and node.forwarder is not None]
    views = {node: node.view(world.now) for node in alive}
    joined = [node for node in alive if views[node].parent is not None]
    rates = {node: _rate(node, world.now_us) for node in world.nodes if node.started_us is not None}
    busiest = max(rates, key=lambda node: (rates[node], node.name), default=None)
    tally = world.tally
    depths: dict[int, int] = {}
    for view in views.values():
        if view.depth is not None:
            depths[view.depth] = depths.get(view.depth, 0) + 1
    return Measures(
        hosts=len(alive),
        joined=len(joined),
        super_nodes=sum(1 for view in views.values() if view.role == "super-node"),
        departed=sum(1 for node in world.nodes if node.gone_us is not None),
        join_delay=summary(_since_start(node, node.admitted_us) for node in joined),
        first_data=summary(
            _since_start(node, node.heard_us) for node in alive if node.heard_us is not None
        ),
        depths=tuple(sorted(depths.items())),
        control_sent=summary(rates[node] for node in alive),
        control_sent_most=("", 0.0) if busiest is None else (busiest.name, rates[busiest]),
        slots_used=sum(len(view.children) + len(view.mesh_children) for view in views.values()),
        slots=sum(node.out_degree for node in alive),
        stretch=summary(_stretches(joined, world.network.topology)),
        packets=len(world.packets),
        delivered=sum(node.delivered for node in world.nodes),
        delivery=round(tally.members.value, 7),
        delivery_started=round(tally.started.value, 7),
        connectivity=round(tally.connected.value, 7),
        duplicates=round(tally.duplicates_per_packet(), 4),
        control_bytes=round(tally.control_per_second()[1], 1),
        silence=summary(seconds(n.silence_us) for n in world.nodes if n.last_heard_us is not None),
        probes=summary(float(node.most_probes) for node in world.nodes if node.most_probes),
        violations=sum(node.violations for node in world.nodes),
        network=tuple(world.network.counts.rows()),
        virtual_seconds=world.now,
    )


def summary(sample: Iterable[float]) -> Summary:
    """Summarise a sample; all zero if it is empty. Percentiles by the nearest rank."""
    ordered = sorted(sample)
    if not ordered:
        return Summary(0, 0.0, 0.0, 0.0, 0.0)
    last = len(ordered) - 1
    return Summary(
        len(ordered),
        round(ordered[last // 2], 6),
        round(ordered[(last * 95 + 99) // 100], 6),
        round(ordered[(last * 99 + 99) // 100], 6),
        round(ordered[last], 6),
    )


def _since_start(node: Node, at_us: int | None) -> float:
    return seconds((at_us or 0) - (node.started_us or 0))


def _rate(node: Node, now_us: int) -> float:
    end = node.gone_us if node.gone_us is not None else now_us
    life = max(node.past_us + end - (node.started_us or 0), 1)
    return node.sent * MICROSECONDS / life


def _stretches(joined: list[Node], topology: Topology) -> Iterable[float]:
    for node in joined:
        way = node.way_up(len(joined) + 1)
        if way[-1].is_source and len(way) > 1:
            delay = sum(topology.delay_us(low.place, high.place) for low, high in pairwise(way))
            yield delay / max(topology.delay_us(node.place, way[-1].place), 1)
