"""Puts machines into a world: which roles and forwarders run on them, anew after each restart.

`Parts` are what a machine is made of. The real ones are the default; who wants to see whether the
checks notice a fault gives others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from dmmp.forwarding.forwarder import Forwarder
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.sim.node import Forwards, Life, Node
from dmmp.sim.secured import Secured
from dmmp.sim.world import World
from dmmp.types import Endpoint

SESSION = "sim"


@dataclass(frozen=True, slots=True)
class Parts:
    """Makers of all that runs on a machine; if `secured`, that makes the hosts and forwarders."""

    end_host: Callable[[str, HostSetup, Parameters, Random], EndHost] = EndHost
    forwarder: Callable[[Parameters], Forwards] = Forwarder
    rendezvous_point: Callable[..., RendezvousPoint] = RendezvousPoint
    secured: Secured | None = None


REAL = Parts()


def add_rendezvous_point(
    world: World, name: str, session: str = SESSION, *, index: int = 0, parts: Parts = REAL
) -> Node:
    """Add an RP; it forwards nothing, so it has no forwarder (-03 §3)."""

    def begin(life: int) -> Life:
        rng = world.random(name, *_again(life))
        point = parts.rendezvous_point((session,), world.parameters, rng, index)
        if parts.secured is None:
            return Life(point, point.views)
        security = parts.secured.of(name, "rendezvous-point", life)
        return Life(point, point.views, None, security.gate(world.now, world.parameters, True))

    node = _add(world, name, "rendezvous-point", 0, begin)
    if parts.secured is not None:
        parts.secured.note_point(node.endpoint, name)
    return node


def add_end_host(
    world: World,
    name: str,
    kind: str,
    out_degree: int,
    points: tuple[Endpoint, ...],
    session: str = SESSION,
    *,
    parts: Parts = REAL,
) -> Node:
    """Add a host that begins as `source`, `super-node` or `member`."""

    def begin(life: int) -> Life:
        setup = HostSetup(
            session_name=session,
            rendezvous_points=points,
            out_degree=out_degree,
            instance=world.random(name, "instance", *_again(life)).randrange(1 << 64),
            name=name,
            relay_only=kind == "super-node",
        )
        rng = world.random(name, *_again(life))
        if parts.secured is not None:
            setup = replace(setup, ordinary=parts.secured.of(name, kind, life).is_ordinary)
            return parts.secured.life(kind, setup, world.parameters, rng, life, world.now)
        host = parts.end_host(kind, setup, world.parameters, rng)
        return Life(host, lambda now: (host.view(now),), parts.forwarder(world.parameters))

    return _add(world, name, kind, out_degree, begin)


def _again(life: int) -> tuple[int, ...]:
    """Name the draws of a later life; the first has the plain name."""
    return (life,) if life else ()


def _add(world: World, name: str, kind: str, out_degree: int, begin: Callable[[int], Life]) -> Node:
    host, views, forwarder, gate = begin(0)
    return world.add(
        name,
        kind,
        host,
        views,
        forwarder=forwarder,
        gate=gate,
        out_degree=out_degree,
        begin=begin,
    )
