"""One simulated machine: a host, its forwarder, where it stands, and what was seen of it.

A plain record. `world` drives it, `checks` and `measure` read it. The glossary keeps "node" for
exactly this: a place in the simulator's graph, whatever role runs there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dmmp.actions import ANY_ORIGIN, ForwardingEntry, Install, Replay, Withdraw
from dmmp.forwarding.burst import Burst, Outcome, Silent
from dmmp.interest import Interest
from dmmp.roles.role import Host
from dmmp.roles.view import View
from dmmp.types import Endpoint, HostId, Instant, IpAddress, SessionId


class Forwards(Protocol):
    """What a node needs of a forwarder; `forwarding.Forwarder` is the one that is meant."""

    def apply(self, action: Install | Withdraw | Replay, now: Instant) -> Outcome:
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


@dataclass(slots=True, eq=False)
class Node:
    """A machine of the simulation; instants ending in `_us` are the simulator's microseconds."""

    name: str
    kind: str
    place: int
    endpoint: Endpoint
    host: Host
    views: Callable[[Instant], tuple[View, ...]]
    forwarder: Forwards | None = None
    out_degree: int = 0

    alive: bool = False
    crashed: bool = False
    started_us: int | None = None
    stopped_us: int | None = None
    """When it was told to leave."""
    gone_us: int | None = None
    """When it had left, or crashed."""
    admitted_us: int | None = None
    heard_us: int | None = None
    """When its programs got their first packet."""
    armed_us: int | None = None

    spins: int = 0
    """Wakes in a row after which it wanted to be woken at the same instant again."""

    wants: dict[IpAddress, tuple[Interest, int]] = field(default_factory=dict)
    """What its programs joined, and since when."""
    entries: dict[tuple[SessionId, HostId], ForwardingEntry] = field(default_factory=dict)
    upstream: tuple[Node, ...] = ()
    """Where it accepts data from, by the entry that serves every origin."""
    downstream: dict[int, Node | None] = field(default_factory=dict)
    """The nodes it sends data to, by address, in the same entry."""
    heard: set[int] = field(default_factory=set)
    """Numbers of the packets its programs got."""
    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    violations: int = 0
    """How many of its inputs it reported as violations."""

    def view(self, now: Instant) -> View:
        """Return what it shows of its only, or first, session."""
        return self.views(now)[0]

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
