"""One simulated machine: a host, its forwarder, where it stands, and what was seen of it.

A plain record. `world` drives it, `checks` and `measure` read it. The glossary keeps "node" for
exactly this: a place in the simulator's graph, whatever role runs there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dmmp.actions import (
    ANY_ORIGIN,
    ForwarderAction,
    ForwardingEntry,
)
from dmmp.forwarding.burst import Burst, Outcome, Silent
from dmmp.interest import Interest
from dmmp.roles.role import Host
from dmmp.roles.view import View
from dmmp.security.gate import Gate
from dmmp.sim.schedule import MICROSECONDS
from dmmp.types import Endpoint, HostId, Instant, IpAddress, SessionId


class Forwards(Protocol):
    """What a node needs of a forwarder; `forwarding.Forwarder` is the one that is meant."""

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Carry out a role's wish."""

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Take data or a heartbeat from the network."""

    def originate(
        self,
        session: SessionId,
        host: HostId,
        tree_version: int,
        group: IpAddress,
        source: IpAddress,
        packets: Sequence[bytes | memoryview],
        now: Instant,
    ) -> Outcome:
        """Take packets of this host's own programs."""

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Handle every alarm that is due."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""


class Life(NamedTuple):
    """What runs on a machine from one start to the next."""

    host: Host
    views: Callable[[Instant], tuple[View, ...]]
    forwarder: Forwards | None = None
    gate: Gate | None = None


class Heard:
    """A growing set of packet numbers: a byte each, so that millions of deliveries are cheap."""

    __slots__ = ("_count", "_marks")

    def __init__(self) -> None:
        self._marks = bytearray()
        self._count = 0

    def add(self, number: int) -> bool:
        """Add a number; tell whether it is new."""
        marks = self._marks
        if number >= len(marks):
            marks.extend(bytes(number + 1024 - len(marks)))
        elif marks[number]:
            return False
        marks[number] = 1
        self._count += 1
        return True

    def __contains__(self, number: int) -> bool:
        return number < len(self._marks) and self._marks[number] == 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return (number for number, mark in enumerate(self._marks) if mark)


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """A machine of the simulation; instants ending in `_us` are the simulator's microseconds."""

    name: str
    kind: str
    place: int
    endpoint: Endpoint
    host: Host
    views: Callable[[Instant], tuple[View, ...]]
    forwarder: Forwards | None = None
    gate: Gate | None = None
    """Seals its control messages; None where they travel as they are."""
    out_degree: int = 0
    begin: Callable[[int], Life] | None = None
    """Makes what runs after the restart of this number."""

    alive: bool = False
    crashed: bool = False
    suspended: bool = False
    """Stands still, and will go on with what it knew."""
    lives: int = 1
    ahead_us: int = 0
    """How far its clock is ahead of the world's."""
    started_us: int | None = None
    stopped_us: int | None = None
    """When it was told to leave."""
    gone_us: int | None = None
    """When it had left, or crashed; None again once it is back."""
    last_gone_us: int | None = None
    """The same, for the last time it went."""
    admitted_us: int | None = None
    heard_us: int | None = None
    """When its programs got their first packet."""
    armed_us: int | None = None

    spins: int = 0
    """Wakes in a row after which it wanted to be woken at the same instant again."""

    wants: dict[IpAddress, tuple[Interest, int]] = field(default_factory=dict)
    """What its programs joined, and since when."""
    entries: dict[tuple[SessionId, HostId], ForwardingEntry] = field(default_factory=dict)
    routes: dict[int, tuple[Endpoint, Node | None, int]] = field(default_factory=dict)
    """Ways it has sent by: the endpoint's `id`, the object itself, who is there, the delay."""
    upstream: tuple[Node, ...] = ()
    """Where it accepts data from, by the entry that serves every origin."""
    downstream: dict[int, Node | None] = field(default_factory=dict)
    """The nodes it sends data to, by address, in the same entry."""
    heard: Heard = field(default_factory=Heard)
    """Numbers of the packets its programs got since it was started."""
    delivered: int = 0
    """Packets its programs got in all its lives."""
    member_since_us: int | None = None
    """Since when it has had a place and a wish: what the delivery ratio counts."""
    last_heard_us: int | None = None
    silence_us: int = 0
    """Longest time between two packets of one life."""
    sent: int = 0
    """Control messages sent: requests, answers, heartbeats and data requests."""
    sent_bytes: int = 0
    """Bytes of them."""
    sent_data_bytes: int = 0
    probes: int = 0
    """Probe Requests that reached it."""
    probes_since: tuple[int, int] = (0, 0)
    """The second that is counted, and how many came in it so far."""
    most_probes: int = 0
    """The most of them in one second, while it was a super node."""
    past_us: int = 0
    """How long its past lives were, together."""
    past_duplicates: int = 0
    """Duplicates its forwarders of past lives counted."""
    received: int = 0
    violations: int = 0
    """How many of its inputs it reported as violations."""

    def __repr__(self) -> str:
        # Nodes know one another: the repr of all that one holds would have no end.
        return f"<{self.kind} {self.name}>"

    def view(self, now: Instant) -> View:
        """Return what it shows of its only, or first, session at this time of the world."""
        return self.views(now + self.ahead_us / MICROSECONDS)[0]

    def all_views(self, now: Instant) -> tuple[View, ...]:
        """Return what it shows of all its sessions at this time of the world."""
        return self.views(now + self.ahead_us / MICROSECONDS)

    @property
    def duplicates(self) -> int:
        """Packets that came again, in all its lives; 0 without a real forwarder."""
        counters = getattr(self.forwarder, "counters", None)
        return self.past_duplicates + (0 if counters is None else int(counters.duplicates))

    def renew(self, life: Life) -> None:
        """Forget what the life before knew; what programs want, and what was counted, stays."""
        self.past_duplicates = self.duplicates
        self.past_us += (self.gone_us or 0) - (self.started_us or 0)
        self.host, self.views, self.forwarder, self.gate = life
        self.lives += 1
        self.crashed = self.suspended = False
        self.stopped_us = self.gone_us = self.admitted_us = None
        self.heard_us = self.last_heard_us = self.armed_us = self.member_since_us = None
        self.spins = 0
        self.entries = {}
        self.upstream, self.downstream = (), {}
        self.heard = Heard()

    @property
    def entry(self) -> ForwardingEntry | None:
        """Return the entry that serves every origin; a node takes part in one session."""
        for (_, origin), entry in self.entries.items():
            if origin == ANY_ORIGIN:
                return entry
        return None

    def feeders(self) -> list[Node]:
        """List the living nodes it takes data from and that do send it data."""
        address = int(self.endpoint.address)
        return [above for above in self.upstream if above.alive and address in above.downstream]

    def way_up(self, at_most: int) -> list[Node]:
        """List the nodes from this one toward the source, as far as data really flows."""
        way = [self]
        while len(way) <= at_most:
            feeders = way[-1].feeders()
            if not feeders:
                break
            way.append(feeders[0])
            if feeders[0] is self:
                break
        return way

    @property
    def is_source(self) -> bool:
        """Tell whether this is where the tree begins."""
        return self.kind == "source"
