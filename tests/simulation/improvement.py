"""A small tree in which one host will climb, and ways to disturb it at each message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dmmp.events import Event, PlaceTaken
from dmmp.messages import (
    BreakResponse,
    Message,
    PromotionAck,
    PromotionConfirm,
    PromotionRequest,
)
from dmmp.messages.common import Status
from dmmp.parameters import Parameters
from dmmp.sim.node import Node
from dmmp.sim.scenario import add_end_host, add_rendezvous_point
from dmmp.sim.topology import Uniform
from dmmp.sim.trace import Trace
from dmmp.sim.world import World
from dmmp.types import Endpoint

QUICK = replace(
    Parameters(),
    promotion_look=12.0,
    promotion_uptime=4.0,
    nearing_look=0.0,
    refresh_cluster=5.0,
    hold_cluster=15.0,
)
"""So that a test need not play a minute before the first promotion."""

RATE = 50
"""Packets a second."""


class Promotions(Trace):
    """Notes who took whose place, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[float, str]] = []

    def event(self, at_us: int, node: Node, event: Event) -> None:
        """Keep the one kind."""
        super().event(at_us, node, event)
        if isinstance(event, PlaceTaken):
            self.taken.append((at_us / 1e6, node.name))


class Stage(World):
    """A world that counts control messages from the first promotion on, and may act at one."""

    def __init__(self, seed: int = 1, parameters: Parameters = QUICK) -> None:
        self.promotions = Promotions()
        super().__init__(seed, Uniform(), parameters=parameters, trace=self.promotions)
        self.said: list[tuple[str, str, str]] = []
        """Sender, receiver and kind of each message since the first promotion was asked for."""
        self.act: Callable[[int], bool] = lambda number: True
        """Called with the number of a message before it goes out; tells whether it does."""
        self.begun: float | None = None
        self.agreed: dict[str, list[float]] = {}
        """When each host agreed to its part in a promotion, whatever the part."""

    def send(self, node: Node, message: Message, to: Endpoint, whole: bool = False) -> None:
        """Send a control message, if it is let through."""
        if self.begun is None and isinstance(message, PromotionRequest):
            self.begun = self.now
        if self.begun is not None:
            receiver = self.node_at(to)
            name = "?" if receiver is None else receiver.name
            self._note_part(node.name, name, message)
            self.said.append((node.name, name, type(message).__name__))
            if not self.act(len(self.said) - 1):
                return
        super().send(node, message, to, whole)

    def _note_part(self, sender: str, receiver: str, message: Message) -> None:
        if getattr(message, "status", Status.REFUSED) != Status.SUCCESS:
            return
        if isinstance(message, BreakResponse | PromotionAck | PromotionConfirm):
            self.agreed.setdefault(sender, []).append(self.now)
        if isinstance(message, PromotionAck):
            self.agreed.setdefault(receiver, []).append(self.now)

    def parent(self, name: str) -> str:
        """Name the parent of a host."""
        node = self.node(name)
        view = node.view(self.now)
        found = None if view.parent is None else self.node_at(view.parent.endpoint)
        return "-" if found is None else found.name


def build(full: bool = False) -> Stage:
    """Set the tree up: source, s, p, then x, y and y2 below p, and c below x.

    `full`: x has so many children that there is room for p and one of y and y2 only.
    """
    world = Stage()
    point = add_rendezvous_point(world, "rp")
    world.start(point)
    hosts = {"source": ("source", 1), "s": ("super-node", 2)}
    hosts |= {"p": ("member", 3), "x": ("member", 6)}
    hosts |= {"y": ("member", 1), "y2": ("member", 0), "c": ("member", 0)}
    if full:
        hosts |= dict.fromkeys(("c2", "c3", "c4"), ("member", 0))
    for name, (kind, degree) in hosts.items():
        node = add_end_host(world, name, kind, degree, (point.endpoint,))
        world.start(node)
        if kind == "member":
            world.subscribe(node)
        world.run_until(world.now + 2.0)
    return world


def play(world: Stage, seconds: float, rate: int = RATE) -> Stage:
    """Let packets flow from now on, so long."""
    source = world.node("source")
    begin = world.now
    for number in range(int(seconds * rate)):
        world.at(begin + number / rate, lambda: world.originate(source))
    world.run_until(begin + seconds + 2.0)
    return world
