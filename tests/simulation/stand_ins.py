"""Tiny hosts that do what they are told, to show that the checks notice what is wrong.

They stand where real roles stand; world, network, forwarder and checks are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dmmp.actions import Action, Branch, ForwardingEntry, Install
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import interest
from dmmp.messages.common import HostRecord
from dmmp.messages.local import Start
from dmmp.parameters import Parameters
from dmmp.roles.role import Input
from dmmp.roles.view import View
from dmmp.sim.addresses import first_endpoint
from dmmp.sim.carrying import GROUP
from dmmp.sim.checks import Bounds
from dmmp.sim.node import Forwards, Node
from dmmp.sim.topology import Uniform
from dmmp.sim.world import World
from dmmp.types import Endpoint, HostId, Instant, SessionId

SESSION = SessionId(1)


class Scripted:
    """A host that answers `Start` with given actions and everything else with nothing."""

    def __init__(self, name: str, on_start: Sequence[Action] = ()) -> None:
        self.shown = View(role=name, state="Scripted", session=SESSION)
        self.on_start = list(on_start)
        self.on_wake: Callable[[Instant], list[Action]] = lambda now: []
        self.alarm: tuple[Instant, str] | None = None
        self.inputs: list[Input] = []

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Note the input; answer only `Start`."""
        self.inputs.append(message)
        return self.on_start if isinstance(message, Start) else []

    def wake(self, now: Instant) -> list[Action]:
        """Do what the test says."""
        return self.on_wake(now)

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return the alarm that the test set."""
        return self.alarm

    def view(self, now: Instant) -> View:
        """Show what the test set."""
        return self.shown


def world(seconds_of_bounds: float | None = None) -> World:
    """Make an empty world, every two places 10 ms apart; all bounds the same if given."""
    bounds = None
    if seconds_of_bounds is not None:
        bounds = replace(
            Bounds.of(Parameters()),
            one_sided=seconds_of_bounds,
            feeding_dead=seconds_of_bounds,
            leaving=seconds_of_bounds,
            relatives=seconds_of_bounds,
            registry=seconds_of_bounds,
        )
    return World(1, Uniform(), bounds=bounds)


def endpoint(place: int) -> Endpoint:
    """Return the endpoint that the world gives to this place."""
    return first_endpoint(place)


def entry(
    upstream: int | None = None, downstream: Sequence[int] = (), delivers: bool = True
) -> Install:
    """Make the installation of an entry, with places for hosts and interest everywhere."""
    wish = (interest(GROUP),)
    return Install(
        ForwardingEntry(
            SESSION,
            upstream=() if upstream is None else (endpoint(upstream),),
            downstream=tuple(Branch(endpoint(place), wish) for place in downstream),
            deliver=wish if delivers else (),
        )
    )


def add(
    made: World,
    name: str,
    *on_start: Action,
    kind: str = "member",
    out_degree: int = 4,
    parent: int | None = None,
    depth: int | None = None,
    forwarder: Forwards | None = None,
) -> Node:
    """Add a scripted host at the next place; it shows the parent and the depth."""
    host = Scripted(name, on_start)
    place = len(made.nodes)
    host.shown = replace(
        host.shown,
        host=HostId(place + 1),
        depth=depth,
        parent=None if parent is None else record(parent),
    )
    return made.add(
        name,
        kind,
        host,
        lambda now: (host.shown,),
        forwarder=forwarder or Forwarder(made.parameters),
        out_degree=out_degree,
    )


def start(made: World) -> World:
    """Start every host that is not running, in the order in which they were added."""
    for node in made.nodes:
        if node.started_us is None:
            made.start(node)
    return made


def host_of(node: Node) -> Scripted:
    """Return the scripted host of a node."""
    assert isinstance(node.host, Scripted)
    return node.host


def record(place: int) -> HostRecord:
    """Make the record of the host at a place."""
    return HostRecord(host=HostId(place + 1), endpoint=endpoint(place))


def failed(made: World) -> list[str]:
    """List the names of the checks that failed, each once."""
    return sorted({failure.check for failure in made.failures})
