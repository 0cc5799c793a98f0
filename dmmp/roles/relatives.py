"""A host's children: places, reservations, liveness, and what each child's subtree wants.

Nobody promises what it does not have (Decision 14): an offer reserves a place until it is
confirmed, declined or lapses. Interest is kept per child and group with its own hold time
(Decision 25).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import nsmallest
from math import inf
from operator import itemgetter

from dmmp.actions import Branch
from dmmp.interest import Interest, is_carried, union
from dmmp.messages.common import HostFlag, HostRecord, located
from dmmp.parameters import Parameters
from dmmp.policies.capacity import by_capacity
from dmmp.types import Endpoint, HostId, Instant, IpAddress, serial_newer


@dataclass(slots=True)
class Wish:
    """One group of one child: what it wants, the request that said so, until when it holds."""

    interest: Interest
    sequence: int
    expires: Instant


@dataclass(slots=True)
class Child:
    """A confirmed child; `mesh` tells a super node's mesh child from one in its cluster."""

    record: HostRecord
    endpoint: Endpoint
    mesh: bool
    expires: Instant
    confirmed: int = 0
    """Number of the Refresh that confirmed its place: what it sent before does not end that."""
    wishes: dict[IpAddress, Wish] = field(default_factory=dict)
    branch: Branch | None = None

    def wants(self) -> tuple[Interest, ...]:
        """Return its interest in canonical order."""
        return union(wish.interest for wish in self.wishes.values())

    def to_branch(self) -> Branch:
        """Return its part of the forwarding entry."""
        if self.branch is None:
            self.branch = Branch(self.endpoint, self.wants())
        return self.branch


class Children:
    """Children and reservations within the limits of the out-degree."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.confirmed: dict[HostId, Child] = {}
        self.reserved: dict[HostId, tuple[Instant, bool]] = {}
        self.heirs: dict[HostId, tuple[HostId, Instant]] = {}
        self._places = {False: 0, True: 0}
        self._at: dict[Endpoint, list[HostId]] = {}
        self._counted: dict[HostId, tuple[Interest, ...]] = {}
        self._wanted: dict[Interest, int] = {}

    def __len__(self) -> int:
        return len(self.confirmed)

    def of(self, mesh: bool) -> list[Child]:
        """List the children in the mesh, or in the cluster."""
        return [child for child in self.confirmed.values() if child.mesh is mesh]

    def taken(self, mesh: bool, now: Instant) -> int:
        """Count places that are taken or reserved, in the mesh or in the cluster.

        A child that has been promised a place of the other kind counts in both until it moves.
        """
        count = self._places[mesh]
        if not self.reserved:
            return count
        for host, (until, in_mesh) in self.reserved.items():
            if in_mesh is mesh and until > now:
                child = self.confirmed.get(host)
                count += child is None or child.mesh is not mesh
        return count

    def lapse(self, now: Instant) -> None:
        """Forget reservations that nobody confirmed in time."""
        if self.reserved:
            self.reserved = {held: place for held, place in self.reserved.items() if place[0] > now}

    def reserve(self, host: HostId, mesh: bool, now: Instant) -> None:
        """Hold a place for an applicant until it confirms."""
        self.lapse(now)
        if len(self.reserved) < self._parameters.children:
            self.reserved[host] = (now + self._parameters.reservation_hold, mesh)

    def has_reserved(self, host: HostId, mesh: bool, now: Instant) -> bool:
        """Tell whether a place is held for the host, in the mesh or in the cluster."""
        until, in_mesh = self.reserved.get(host, (now, mesh))
        return (until > now and in_mesh is mesh) or self.inherits(host, mesh, now) is not None

    def will(self, heir: HostId, child: HostId, until: Instant) -> None:
        """Let `heir` have the place of `child` at the moment it confirms (slides 20, 21)."""
        self.heirs = {
            held: place
            for held, place in self.heirs.items()
            if place[0] != child and place[0] in self.confirmed
        }
        if len(self.heirs) < self._parameters.children:
            self.heirs[heir] = (child, until)

    def inherits(self, host: HostId, mesh: bool, now: Instant) -> Child | None:
        """Return the child whose place this host is to have, mesh or cluster, if any."""
        child, until = self.heirs.get(host, (host, now))
        held = self.confirmed.get(child)
        return held if until > now and held is not None and held.mesh is mesh else None

    def release(self, host: HostId) -> None:
        """Give up a reservation."""
        self.reserved.pop(host, None)
        self.heirs.pop(host, None)

    def confirm(self, record: HostRecord, endpoint: Endpoint, mesh: bool, expires: Instant) -> bool:
        """Add or renew a child; tell whether it is new."""
        self.release(record.host)
        held = self.confirmed.get(record.host)
        if held is None:
            self._enter(record.host, Child(record, endpoint, mesh, expires))
            return True
        if held.endpoint != endpoint or held.mesh is not mesh:
            held.branch = None
            self._index(record.host, held, -1)
            held.endpoint, held.mesh = endpoint, mesh
            self._index(record.host, held, 1)
        held.record, held.expires = record, expires
        return False

    def adopt(self, child: Child) -> None:
        """Take in a child that was held apart until now, with what it wants."""
        host = child.record.host
        self.release(host)
        held = self.confirmed.get(host)
        if held is not None:
            self._index(host, held, -1)
        self._enter(host, child)

    def remove(self, host: HostId) -> Child | None:
        """Remove a child."""
        child = self.confirmed.pop(host, None)
        if child is not None:
            self._index(host, child, -1)
        return child

    def _enter(self, host: HostId, child: Child) -> None:
        self.confirmed[host] = child
        self._index(host, child, 1)

    def _index(self, host: HostId, child: Child, by: int) -> None:
        """Keep count of the children of each kind, and of who is where."""
        self._places[child.mesh] += by
        there = self._at.setdefault(child.endpoint, [])
        if by > 0:
            there.append(host)
        else:
            there.remove(host)
            if not there:
                del self._at[child.endpoint]

    def by_endpoint(self, endpoint: Endpoint) -> Child | None:
        """Find a child by where it sends from; of several the one that has been here longest."""
        there = self._at.get(endpoint, ())
        if len(there) > 1:
            there = [host for host in self.confirmed if host in there]
        return self.confirmed[there[0]] if there else None

    def note_interest(
        self, child: Child, records: tuple[Interest, ...], sequence: int, expires: Instant
    ) -> bool:
        """Store what a child said it wants; tell whether anything changed.

        An older request that was overtaken by a newer one about the same group changes nothing.
        """
        changed = False
        for record in records:
            held = child.wishes.get(record.group)
            if held is not None and serial_newer(held.sequence, sequence, 32):
                continue
            if held is None and (record.is_none or len(child.wishes) >= self._parameters.groups):
                continue
            if not is_carried(record.group):
                continue
            if held is None or held.interest != record:
                changed = True
            child.wishes[record.group] = Wish(record, sequence, expires)
        if changed:
            child.branch = None
        return changed

    def expire_interest(self, now: Instant) -> bool:
        """Forget wishes nobody renewed, and withdrawn ones; tell whether any branch changed."""
        changed = False
        for child in self.confirmed.values():
            for group in [g for g, wish in child.wishes.items() if wish.expires <= now]:
                changed = changed or not child.wishes[group].interest.is_none
                del child.wishes[group]
                child.branch = None
        return changed

    def lapse_next(self) -> Instant:
        """Return when the first child, or wish of a child, has to be renewed; inf without any."""
        children = self.confirmed.values()
        ends = [child.expires for child in children]
        ends += [wish.expires for child in children for wish in child.wishes.values()]
        return min(ends, default=inf)

    def branches(self) -> tuple[Branch, ...]:
        """Return the downstream part of the forwarding entry."""
        return tuple([child.branch or child.to_branch() for child in self.confirmed.values()])

    def interest(self) -> list[Interest]:
        """List all that the children's subtrees want, not merged; what many want is there twice.

        Twice, for two equal records that are merged come out in canonical order. It is counted
        when a child's wishes change, so that a crowd that wants the same costs no more than one.
        """
        counted = self._counted
        if counted.keys() != self.confirmed.keys():
            for host in [host for host in counted if host not in self.confirmed]:
                self._count(counted.pop(host), -1)
        for host, child in self.confirmed.items():
            wants = child.to_branch().interest
            held = counted.get(host, ())
            if held is not wants:
                self._count(held, -1)
                self._count(wants, 1)
                counted[host] = wants
        return [record for record, many in self._wanted.items() for _ in range(min(many, 2))]

    def _count(self, records: tuple[Interest, ...], by: int) -> None:
        for record in records:
            many = self._wanted.get(record, 0) + by
            if many:
                self._wanted[record] = many
            else:
                del self._wanted[record]

    def free_below(self) -> int:
        """Count free places in the subtrees of the cluster's children (Decision 14)."""
        return sum([child.record.free_slots for child in self.confirmed.values() if not child.mesh])

    def most_spare(self, mesh: bool, at_most: int) -> list[Child]:
        """List children with free places below them, the most first; ties by id."""
        spare = [child for child in self.of(mesh) if child.record.free_slots > 0]
        spare.sort(key=lambda child: (-child.record.free_slots, child.record.host))
        return spare[:at_most]

    def turn(self, host: HostId) -> int:
        """Return a child's place in the row of its siblings, 0 if it is no child."""
        child = self.confirmed.get(host)
        row = [] if child is None else self.of(child.mesh)
        return next((at for at, held in enumerate(row) if held is child), 0)

    def siblings(self, host: HostId, at_most: int) -> tuple[HostRecord, ...]:
        """Return the records of those that follow a child in the ring of its siblings."""
        child = self.confirmed.get(host)
        if child is None:
            return ()
        row = self.of(child.mesh)
        turn = self.turn(host)
        others = [*row[turn + 1 :], *row[:turn]]
        return tuple(located(other.record, other.endpoint) for other in others[:at_most])

    def heirs_of(self, at_most: int) -> tuple[HostRecord, ...]:
        """Return the cluster children that could take this host's place, the most capable first.

        Leaves cannot: they would feed nobody (slide 21). Nor can who has no certificate for it.
        """
        able = [
            (by_capacity(child.record), child)
            for child in self.confirmed.values()
            if child.record.out_degree > 1
            and not child.mesh
            and not child.record.flags & HostFlag.ORDINARY
        ]
        best = nsmallest(at_most, able, key=itemgetter(0))
        return tuple(located(child.record, child.endpoint) for _, child in best)

    def records(self, mesh: bool, at_most: int) -> tuple[HostRecord, ...]:
        """Return records of the children, most free places first, for a refusal."""
        children = sorted(
            self.of(mesh), key=lambda child: (-child.record.free_slots, child.record.host)
        )
        return tuple(located(child.record, child.endpoint) for child in children[:at_most])
