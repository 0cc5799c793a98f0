"""A secured session in the simulator: a source, its members, and whoever misbehaves among them.

Real certificates, gates, guards and key servers; what is hostile is in `tests.attackers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.security.peer import Capability
from dmmp.sim.cast import SESSION, Parts, add_end_host, add_rendezvous_point
from dmmp.sim.network import PERFECT, Conditions
from dmmp.sim.node import Node
from dmmp.sim.schedule import MICROSECONDS
from dmmp.sim.topology import topology
from dmmp.sim.world import World
from dmmp.types import Endpoint, Instant
from tests.attackers.hostile import Conduct, HostileSecured

PAYLOAD_BYTES = 100

IN_TIME = 3.2
"""Seconds within which a packet has to come to count: as in the published measurements."""


class SecuredStage:
    """RPs and a source, running; members come by `join`, packets by `send`."""

    def __init__(
        self,
        seed: int,
        conducts: dict[str, Conduct] | None = None,
        *,
        source_out_degree: int = 8,
        points: int = 1,
        make_point: Callable[[int], type[RendezvousPoint]] = lambda index: RendezvousPoint,
        grant: Callable[[str, str], Capability] | None = None,
        most_children: int = 65535,
        parameters: Parameters | None = None,
        conditions: Conditions = PERFECT,
    ) -> None:
        self.seed = seed
        self.conducts = {} if conducts is None else conducts
        self.world = World(
            seed,
            topology("plane", Random(f"{seed}/topology")),
            conditions,
            parameters=parameters,
            payload_bytes=PAYLOAD_BYTES,
        )
        self.secured = HostileSecured(
            seed, SESSION, self.conducts, grant=grant, most_children=most_children
        )
        self.parts = Parts(secured=self.secured)
        self.points = [self._point(index, make_point(index)) for index in range(points)]
        self.endpoints: tuple[Endpoint, ...] = tuple(point.endpoint for point in self.points)
        self.source = self.add("source", "source", source_out_degree)
        self.members: list[Node] = []
        self.got: dict[str, dict[int, int]] = {}
        """Of each host, when each packet was delivered, in microseconds."""
        self.forged = 0
        """Packets delivered that the source never sent."""
        self._count_forgeries()
        for node in (*self.points, self.source):
            self.world.start(node)

    def _point(self, index: int, make: type[RendezvousPoint]) -> Node:
        parts = replace(self.parts, rendezvous_point=make)
        return add_rendezvous_point(self.world, f"rp{index}", index=index, parts=parts)

    def _count_forgeries(self) -> None:
        judge = self.world.checks.after_delivery

        def count(node: Node, number: int | None, now_us: int) -> None:
            self.forged += number is None
            judge(node, number, now_us)

        self.world.checks.after_delivery = count  # type: ignore[method-assign]

    def add(self, name: str, kind: str, out_degree: int) -> Node:
        """Add a machine that nothing runs on yet."""
        return add_end_host(self.world, name, kind, out_degree, self.endpoints, parts=self.parts)

    def join(
        self,
        count: int,
        since: Instant,
        within: Instant,
        out_degree: Callable[[int], int] = lambda number: 4,
        name: Callable[[int], str] = lambda number: f"m{number}",
        kind: str = "member",
    ) -> list[Node]:
        """Have members come one after the other, each with interest."""
        joined = []
        for number in range(count):
            at = len(self.members)
            node = self.add(name(at), kind, out_degree(at))
            self.members.append(node)
            joined.append(node)
            self.world.at(since + within * number / count, self._starter(node, kind == "member"))
        return joined

    def _starter(self, node: Node, joins: bool) -> Callable[[], None]:
        def start() -> None:
            self.world.start(node)
            if joins:
                self.world.subscribe(node)

        return start

    def send(self, since: Instant, until: Instant, rate: float = 20.0, at_once: int = 5) -> None:
        """Have the source's program send `rate` packets a second, so many of them at once."""
        for number in range(int((until - since) * rate / at_once)):
            self.world.at(
                since + number * at_once / rate,
                lambda: self.world.originate(self.source, at_once),
            )

    def numbers(self, since: Instant, until: Instant) -> list[int]:
        """List the packets sent in that time."""
        sent = self.world.packets
        return [n for n, at in enumerate(sent) if since * MICROSECONDS <= at < until * MICROSECONDS]

    def share(self, nodes: Sequence[Node], since: Instant, until: Instant) -> float:
        """Return the share of the packets sent in that time that these hosts got, together."""
        sent = self.numbers(since, until)
        got = sum(number in node.heard for node in nodes for number in sent)
        return got / (len(sent) * len(nodes))

    def worst(self, nodes: Sequence[Node], since: Instant, until: Instant) -> float:
        """Return the share that the host got which got the least."""
        return min(self.share([node], since, until) for node in nodes)

    def honest(self) -> list[Node]:
        """List the members without a conduct."""
        return [node for node in self.members if node.name not in self.conducts]

    def super_nodes(self) -> list[Node]:
        """List the hosts that are super nodes now."""
        return [node for node in self.members if node.view(self.world.now).role == "super-node"]

    def children_of(self, node: Node) -> list[Node]:
        """List the living hosts whose data comes from this one now."""
        return [
            each
            for each in self.members
            if each.alive and each.upstream and each.upstream[0] is node
        ]
