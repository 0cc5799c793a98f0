"""Faults: what goes wrong in a run, when, for how long, and whom it hits.

A `Fault` is a value, one table of a scenario file. `Faults` carries them out on a world by its
ordinary verbs; the roles and forwarders meet nothing but what the network and their machine do.
Victims named by what they are at that moment (`super-node`, `relay`, `member`) are drawn by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from dmmp.errors import UsageError
from dmmp.interest import no_interest
from dmmp.messages import Option
from dmmp.messages.header import HEADER, VERSION
from dmmp.roles.view import View
from dmmp.sim.carrying import GROUP, PROGRAM, SHORTEST_PAYLOAD
from dmmp.sim.network import Conditions, Layer
from dmmp.sim.node import Node
from dmmp.sim.world import World
from dmmp.tun.packets import wrap_udp
from dmmp.types import DEFAULT_PORT, Endpoint, Instant

KINDS = {
    "crash": "goes off without a word; after `for` seconds it starts anew",
    "leave": "leaves in good order; `for` seconds after that it starts anew",
    "suspend": "stands still for `for` seconds and goes on with what it knew",
    "cut": "what it sends to `to` is lost for `for` seconds; the way back is open",
    "partition": "the hosts named, or a `share` of all, are an island for `for` seconds",
    "loss": "loses `amount` of all it sends and gets (without `who`: everybody) for `for` seconds",
    "bursts": "the same, but only in bursts of about a quarter of a second, one in about a second",
    "duplicate": "`amount` of its datagrams come twice for `for` seconds",
    "reorder": "`amount` of its datagrams come late for `for` seconds",
    "clock": "its clock jumps `amount` seconds forward",
    "crowd": "`count` more members come within `for` seconds",
    "source-returns": "the source goes off, and is back after `for` seconds at another address",
    "source-moves": "the source goes off, and after `for` seconds another machine is the source",
    "unjoin": "its programs leave the group, and join it again after `for` seconds",
    "forge": "a stranger sends it packets that look like the source's next ones",
    "rebind": "its address changes: the NAT before it forgot it",
}
"""What each kind does to whom it hits."""

AIMLESS = ("crowd", "source-returns", "source-moves")
EVERYWHERE = ("loss", "bursts", "duplicate", "reorder")
CLASSES = ("member", "super-node", "relay", "leaf", "host")
"""Whom a fault may hit by what they are: `relay` has children, `leaf` has none, `host` is any."""

STRANGER = Endpoint(IPv4Address("198.51.100.7"), DEFAULT_PORT)
"""Who forges packets (RFC 5737)."""

FORGERIES = 5
FIRST_CHANNEL = 1

BURST_MEAN = 0.25
PAUSE_MEAN = 1.0
"""Of the two states of a Gilbert-Elliott channel, in seconds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `lasts` is `for` in a scenario file, and 0 means for ever.

    `who` is a machine's name, names with commas, a class of hosts or `rp`; `count` of a class.
    """

    kind: str
    at: Instant
    lasts: float = 0.0
    who: str = ""
    to: str = ""
    count: int = 1
    share: float = 0.0
    amount: float = 0.0
    graceful: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"fault kind: {self.kind!r} is none of {', '.join(KINDS)}")
        named = f"fault {self.kind!r}"
        if self.at < 0 or self.lasts < 0:
            raise UsageError(f"{named} at, for: must not be negative")
        if self.count < 1:
            raise UsageError(f"{named} count: must be at least 1")
        if not 0 <= self.share <= 1:
            raise UsageError(f"{named} share: must be between 0 and 1")
        if self.kind in EVERYWHERE and not 0 < self.amount <= 1:
            raise UsageError(f"{named} amount: must be above 0 and at most 1")
        if self.kind == "clock" and not 0 < self.amount <= 86_400:
            raise UsageError(f"{named} amount: seconds, above 0 and at most a day")
        if self.kind == "cut" and not self.to:
            raise UsageError(f"{named} to: says where nothing arrives")
        aimed = self.who or self.share or self.kind in (*AIMLESS, *EVERYWHERE)
        if not aimed:
            raise UsageError(f"{named} who: says whom it hits")

    @property
    def end(self) -> Instant:
        """Return when it is over, or begins if it lasts for ever."""
        return self.at + self.lasts


class Faults:
    """Carries out faults on one world; `newcomer` and `new_source` make machines, not started."""

    def __init__(
        self,
        world: World,
        newcomer: Callable[[], Callable[[], None]],
        new_source: Callable[[], Node],
    ) -> None:
        self._world = world
        self._newcomer = newcomer
        self._new_source = new_source
        self._layers: list[Layer] = []
        self._healed = False
        self.hits = 0
        """How many machines were hit."""

    def schedule(self, faults: Sequence[Fault]) -> None:
        """Put all of them into the world's schedule; names of machines must be right by now."""
        for number, fault in enumerate(faults):
            for who in (fault.who, fault.to):
                for name in who.split(",") if who and who not in CLASSES else ():
                    self._world.node(name.strip())
            if fault.kind == "crowd":
                self._schedule_crowd(number, fault)
            else:
                self._world.at(fault.at, self._beginner(number, fault))

    def heal(self) -> None:
        """End all that still goes on: the network is perfect and every machine on again."""
        self._healed = True
        world = self._world
        world.network.calm()
        for node in world.nodes:
            world.resume(node)
            if node.crashed and (node.forwarder is None or node is self._source()):
                world.restart(node)

    def _beginner(self, number: int, fault: Fault) -> Callable[[], None]:
        return lambda: self._begin(number, fault)

    def _begin(self, number: int, fault: Fault) -> None:
        kind = fault.kind
        if kind.startswith("source-"):
            self._move_source(fault)
            return
        if kind in EVERYWHERE:
            self._worsen(number, fault)
            return
        if kind == "partition":
            self._part(number, fault)
            return
        victims = self._victims(fault.who, fault.count, number)
        self.hits += len(victims)
        for victim in victims:
            self._hit(fault, victim)

    def _hit(self, fault: Fault, victim: Node) -> None:
        world = self._world
        if fault.kind == "crash":
            world.crash(victim)
            self._later(fault, lambda: world.restart(victim))
        elif fault.kind == "leave":
            world.stop(victim)
            self._later(fault, lambda: world.restart(victim))
        elif fault.kind == "suspend":
            world.suspend(victim)
            self._later(fault, lambda: world.resume(victim))
        elif fault.kind == "clock":
            world.jump(victim, fault.amount)
        elif fault.kind == "rebind":
            world.rebind(victim)
        elif fault.kind == "forge":
            self._forge(victim)
        elif fault.kind == "unjoin" and victim.wants:
            world.subscribe(victim, no_interest(GROUP))
            self._later(fault, lambda: world.subscribe(victim))
        elif fault.kind == "cut":
            for other in self._victims(fault.to, 1, -1):
                self._cut(fault, victim, other)

    def _forge(self, victim: Node) -> None:
        """Send what only the source may, from an address that nobody has."""
        world, source = self._world, self._source()
        view = None if source is None else source.view(world.now)
        if view is None:
            return
        packet = wrap_udp(PROGRAM, Endpoint(GROUP, PROGRAM.port), b"\xff" * SHORTEST_PAYLOAD)
        for number in range(1, FORGERIES + 1):
            header = HEADER.pack(
                VERSION,
                view.tree_version,
                Option.DATA,
                view.session,
                view.host,
                len(world.packets) + number,
                FIRST_CHANNEL,
                len(packet),
            )
            world.inject(victim, STRANGER, header + packet)

    def _cut(self, fault: Fault, victim: Node, other: Node) -> None:
        network = self._world.network
        network.block(victim.place, other.place)
        self._later(fault, lambda: network.unblock(victim.place, other.place))

    def _later(self, fault: Fault, undo: Callable[[], None]) -> None:
        if fault.lasts:
            self._world.at(fault.end, undo)

    def _part(self, number: int, fault: Fault) -> None:
        world = self._world
        if fault.who:
            island = self._victims(fault.who, fault.count, number)
        else:
            rng = world.random("island", number)
            island = [node for node in world.nodes if rng.random() < fault.share]
        self.hits += len(island)
        world.network.partition([node.place for node in island])
        self._later(fault, world.network.heal)

    def _worsen(self, number: int, fault: Fault) -> None:
        conditions = {
            "loss": Conditions(loss=fault.amount),
            "bursts": Conditions(loss=fault.amount),
            "duplicate": Conditions(duplication=fault.amount),
            "reorder": Conditions(reordering=fault.amount, late_us=80_000),
        }[fault.kind]
        victims = self._victims(fault.who, fault.count, number) if fault.who else []
        places = [node.place for node in victims] if fault.who else [None]
        self.hits += max(len(victims), 1)
        network, world = self._world.network, self._world
        for index, place in enumerate(places):
            windows = [(fault.at, fault.end if fault.lasts else None)]
            if fault.kind == "bursts":
                windows = self._bursts(fault, number, index)
            for begin, end in windows:

                def start(place: int | None = place, end: Instant | None = end) -> None:
                    if self._healed:
                        return
                    layer = network.worsen(conditions, place)
                    if end is not None:
                        world.at(end, lambda: network.ease(layer))

                world.at(begin, start)

    def _bursts(
        self, fault: Fault, number: int, index: int
    ) -> list[tuple[Instant, Instant | None]]:
        """Draw the bad times of a channel with two states (Gilbert-Elliott)."""
        rng = self._world.random("bursts", number, index)
        end = fault.at + (fault.lasts or 3600.0)
        found: list[tuple[Instant, Instant | None]] = []
        at = fault.at
        while (at := at + rng.expovariate(1 / PAUSE_MEAN)) < end:
            over = min(at + rng.expovariate(1 / BURST_MEAN), end)
            found.append((at, over))
            at = over
        return found

    def _schedule_crowd(self, number: int, fault: Fault) -> None:
        rng = self._world.random("crowd", number)
        for _ in range(fault.count):
            self._world.at(fault.at + fault.lasts * rng.random(), self._newcomer())

    def _move_source(self, fault: Fault) -> None:
        world = self._world
        old = self._source()
        if old is None or not old.alive:
            return
        self.hits += 1
        if fault.graceful:
            world.stop(old)
        else:
            world.crash(old)
        if fault.kind == "source-moves":
            new = self._new_source()
            world.at(fault.end, lambda: world.start(new))
            return

        def back() -> None:
            if not old.alive:
                world.rebind(old)
                world.restart(old)

        world.at(fault.end, back)

    def _source(self) -> Node | None:
        """Return the machine that is, or was last, the source."""
        found = [node for node in self._world.nodes if node.is_source]
        return found[-1] if found else None

    def _victims(self, who: str, count: int, number: int) -> list[Node]:
        """Find whom a fault hits: by name, or drawn among those of a class."""
        if who not in CLASSES:
            return [self._world.node(name.strip()) for name in who.split(",")]
        now = self._world.now
        able = [
            node
            for node in self._world.nodes
            if node.alive
            and node.forwarder is not None
            and not node.is_source
            and node.stopped_us is None
            and _is(who, node.view(now))
        ]
        rng = self._world.random("victims", number, who)
        return rng.sample(able, min(count, len(able)))


def _is(who: str, view: View) -> bool:
    if who == "host":
        return True
    if who in ("member", "super-node"):
        return view.role == who
    has_children = bool(view.children or view.mesh_children)
    return has_children is (who == "relay")
