"""A small secured overlay in virtual time, with somebody on every wire of it.

An RP, a source, a host that only relays, and members: real certificates, gates, guards and keys.
What was sent can be sent again, or from elsewhere, as whoever is on the path would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, NamedTuple

from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages.schema import Message
from dmmp.parameters import Parameters
from dmmp.roles.keyed import KeyedHost
from dmmp.security.peer import Capability
from dmmp.sim.cast import SESSION, Parts, add_end_host, add_rendezvous_point
from dmmp.sim.node import Node
from dmmp.sim.secured import Secured
from dmmp.sim.topology import topology
from dmmp.sim.trace import Payload
from dmmp.sim.world import World
from dmmp.types import Endpoint, Instant

QUIET = replace(Parameters(), promotion_look=3600.0, nearing_look=0.0)
"""Nobody takes another's place of his own accord: what changes, an attack has changed."""

SETTLE = 14.0
"""Seconds after which a small overlay has found its shape, and all know of it and have keys."""


class Seen(NamedTuple):
    """A datagram on a wire: when, from where, to where."""

    at: Instant
    sender: Endpoint
    to: Endpoint
    data: bytes


class Wires(World):
    """A world whose wires are tapped; `seen` is what went over them."""

    def __init__(self, seed: int) -> None:
        super().__init__(
            seed, topology("plane", Random(f"{seed}/wires")), parameters=QUIET, payload_bytes=100
        )
        self.seen: list[Seen] = []
        self.taps = True

    def _transmit(self, node: Node, to: Endpoint, payload: Payload, whole_bytes: int = 0) -> None:
        if self.taps:
            assert not isinstance(payload, Message), "in a secured world all is bytes"
            self.seen.append(Seen(self.now, node.endpoint, to, bytes(payload)))
        super()._transmit(node, to, payload, whole_bytes)


def ordinary(name: str, kind: str) -> Capability:
    """Let only super nodes be super nodes: the shape of the tree is known then."""
    if kind == "rendezvous-point":
        return Capability.RENDEZVOUS_POINT
    granted = Capability.MEMBER
    if kind in ("source", "super-node"):
        granted |= Capability.SUPER_NODE
    return granted | Capability.SOURCE if kind == "source" else granted


class Stage:
    """The overlay: `rp`, `source`, `relay` and `members`, all with their places."""

    def __init__(self, seed: int = 1, members: int = 5, world: Wires | None = None) -> None:
        self.world = world or Wires(seed)
        self.secured = Secured(seed, SESSION, grant=ordinary)
        self.parts = Parts(secured=self.secured)
        self.rp = add_rendezvous_point(self.world, "rp", parts=self.parts)
        self.world.start(self.rp)
        self.source = self.add("source", "source", 1)
        self.relay = self.add("relay", "super-node", 3)
        self.members = [self.add(f"m{number}", "member", 2) for number in range(members)]
        self.world.start(self.source)
        self.world.at(0.2, lambda: self.world.start(self.relay))
        for number, member in enumerate(self.members):
            self.world.at(2.0 + 0.1 * number, partial(self.join, member))
        self.run(SETTLE)
        assert all(member.view(self.world.now).parent for member in self.members)
        for member in self.members:
            assert isinstance(member.forwarder, Forwarder)
            assert member.forwarder.snapshot()["tables"]["keys"]

    def add(self, name: str, kind: str, out_degree: int) -> Node:
        """Put a host somewhere."""
        points = (self.rp.endpoint,)
        return add_end_host(self.world, name, kind, out_degree, points, parts=self.parts)

    def join(self, member: Node) -> None:
        """Start a member whose programs want the group."""
        self.world.start(member)
        self.world.subscribe(member)

    @property
    def hosts(self) -> list[Node]:
        """List who is part of it, but the RP."""
        return [self.source, self.relay, *self.members]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run_until(self.world.now + seconds)

    def stream(self, packets: int, gap: float = 0.01, burst: int = 1) -> None:
        """Let the source send, and let what it sent arrive."""
        for number in range(0, packets, burst):
            at = self.world.now + number * gap
            self.world.at(at, lambda: self.world.originate(self.source, burst))
        self.run(packets * gap + 1.0)

    def replay(self, seen: Iterable[Seen], spacing: float = 0.0) -> int:
        """Send datagrams again, as they were, from where they came; return how many."""
        count = 0
        for each in list(seen):
            node = self.world.node_at(each.to)
            if node is None or not node.alive:
                continue
            at = self.world.now + spacing * count
            self.world.at(at, partial(self.inject, node, each))
            count += 1
        return count

    def inject(self, node: Node, seen: Seen) -> None:
        """Let one arrive."""
        self.world.inject(node, seen.sender, seen.data)

    def heard(self) -> dict[str, int]:
        """Count what each member's programs got, with what they got twice."""
        return {member.name: member.delivered for member in self.members}

    def standing(self) -> dict[str, Any]:
        """Tell what an attack must not change: who is where, below whom, with which keys."""
        return dict(self._standings())

    def _standings(self) -> Iterator[tuple[str, Any]]:
        for node in (self.rp, *self.hosts):
            view = node.view(self.world.now)
            yield (
                node.name,
                (
                    node.alive,
                    view.role,
                    view.state,
                    view.host,
                    view.parent and (view.parent.host, view.parent.endpoint),
                    view.root_path,
                    view.super_node,
                    sorted((child.host, child.endpoint) for child in view.children),
                    sorted((child.host, child.endpoint) for child in view.mesh_children),
                    sorted(other.host for other in view.super_nodes),
                    sorted(map(str, view.subtree_groups)),
                    view.tree_version,
                    view.hosts,
                    epoch_of(node),
                ),
            )


def epoch_of(node: Node) -> int | None:
    """Tell which epoch a host is in; None for one that has no keys."""
    host = node.host
    if not isinstance(host, KeyedHost):
        return None
    if host.server is not None:
        return host.server.secret.epoch
    return None if host.member is None else host.member.epoch
