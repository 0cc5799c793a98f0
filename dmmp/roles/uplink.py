"""The way up, the same for cluster members and super nodes: keeping a parent (slide 18).

Refresh it, tell it what the subtree wants, describe this host as one that has a parent. How one is
found is in `seeking`, what happens when it is gone in `recovery`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from dmmp.actions import Send
from dmmp.alarms import jittered
from dmmp.interest import FilterMode, Interest, no_interest
from dmmp.messages import (
    LeaveReport,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    MAXIMUM_INTEREST,
    MAXIMUM_SOURCES,
    NOT_JOINED_DEPTH,
    HostFlag,
    HostRecord,
    LeaveReason,
    RefreshKind,
    Status,
    located,
)
from dmmp.messages.schema import Message
from dmmp.policies.parents import Candidate
from dmmp.roles.parenting import ParentRole
from dmmp.roles.requests import Request, RoundTrip
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import (
    Asking,
    Confirming,
    Gone,
    Joined,
    Leaving,
    Offer,
    Parent,
    Probing,
    Waiting,
)
from dmmp.types import Endpoint, HostId, Instant, IpAddress, serial_newer

PATIENCE_STEP = 0.05
"""Seconds in which the patience with a parent changes: each change is a new forwarding entry."""


@dataclass(slots=True)
class Announced:
    """What the parent was told of this host's interest, and whether an answer is awaited."""

    records: dict[IpAddress, Interest] = field(default_factory=dict)
    waiting_for: int | None = None
    dirty: bool = False
    room: int = 0


class UplinkRole(ParentRole):
    """A role that has a parent; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.announced = Announced()
        self.failures = 0
        self.round_trip = RoundTrip()

    # Keeping the parent.

    def refresh(self, now: Instant, interest: Sequence[Interest]) -> RefreshRequest:
        """Make the Refresh Request that goes to the parent (slide 18)."""
        record = self.record(now)
        self.announced.room = record.free_slots
        if self.standing.is_fed:
            # Its forwarder asks for just what it lacks: nothing needs to be sent on spec.
            record = replace(record, flags=record.flags | HostFlag.FED)
        return self.standing.make(
            RefreshRequest,
            kind=RefreshKind.CHILD,
            sender=record,
            super_node=self.super_node(),
            root_path=self.root_path(),
            interest=tuple(interest),
            successors=self.successors(),
        )

    def on_refresh_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the place, and all interest, at the parent (Decision 10)."""
        if not isinstance(self.state, Confirming):
            yield from self.send_refresh(now)
        if not isinstance(self.state, (Leaving, Gone)):
            self.alarms.set(Alarm.REFRESH, now + jittered(self.rng, self.refresh_period()))

    def send_refresh(self, now: Instant) -> Actions:
        """Send the whole state to the parent, in as many messages as the interest needs."""
        parent = self.parent()
        if parent is None:
            return
        wants = [narrowed(record) for record in self.standing.subtree_wants().values()]
        gone = [no_interest(group) for group in self._withdrawn(wants)]
        self.announced.records = {record.group: record for record in wants}
        records = [*wants, *gone]
        pages = [
            records[at : at + MAXIMUM_INTEREST]
            for at in range(0, max(len(records), 1), MAXIMUM_INTEREST)
        ]
        for page in pages:
            wait = self.round_trip.wait(self.parameters)
            yield self.standing.ask(self.refresh(now, page), parent.endpoint, now, wait=wait)

    def _withdrawn(self, wants: Sequence[Interest]) -> list[IpAddress]:
        groups = {record.group for record in wants}
        return [group for group in self.announced.records if group not in groups]

    def on_subtree_changed(self, now: Instant) -> Actions:
        """Tell the parent at once what changed in the wishes below (Decision 25).

        One such message is under way at a time; what changes meanwhile goes with the next.
        """
        parent = self.parent()
        if parent is None or isinstance(self.state, Confirming):
            return
        announced = self.announced
        if self.standing.requests.is_waiting(announced.waiting_for):
            announced.dirty = True
            return
        wants = [narrowed(record) for record in self.standing.subtree_wants().values()]
        changed = [r for r in wants if announced.records.get(r.group) != r]
        changed += [no_interest(group) for group in self._withdrawn(wants)]
        if not changed:
            return
        page = changed[:MAXIMUM_INTEREST]
        for record in page:
            if record.is_none:
                announced.records.pop(record.group, None)
            else:
                announced.records[record.group] = record
        announced.dirty = len(changed) > len(page)
        send = self.standing.ask(self.refresh(now, page), parent.endpoint, now)
        announced.waiting_for = send.message.sequence
        yield send

    def on_room_changed(self, now: Instant) -> Actions:
        """Tell the parent soon when twice or half as many places are free below, or none."""
        if self.is_news(self.room(now)) and not self.alarms.is_set(Alarm.ROOM):
            self.alarms.set(Alarm.ROOM, now + self.parameters.room_wait)
        yield from ()

    def room(self, now: Instant) -> int:
        """Count the free places below, none while this host has none itself."""
        return self.free_below(now) if self.depth() is not None else 0

    def is_news(self, room: int) -> bool:
        """Tell whether so many free places are worth a message (Decision 44)."""
        return room != self.announced.room and not (
            self.announced.room < 2 * room and room < 2 * self.announced.room
        )

    def on_room_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Tell the parent that there is room below, or none any more (Decision 14)."""
        parent = self.parent()
        if parent is None or isinstance(self.state, Confirming):
            return
        if self.is_news(self.room(now)):
            yield self.standing.ask(self.refresh(now, ()), parent.endpoint, now)

    def on_refresh_response(
        self, message: RefreshResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the parent's present state; a refusal or a loop means it is none any more."""
        request = self.matched(message, sender)
        parent = self.parent()
        if request is None or parent is None or sender != parent.endpoint:
            return
        self.sample(request, now)
        if message.status != Status.SUCCESS:
            yield from self.lose_parent(f"refused, status {message.status}", now)
            return
        yield from self.note_parent(parent, message, now)
        if self.announced.dirty:
            yield from self.on_subtree_changed(now)

    def note_parent(
        self, parent: Parent, message: RefreshRequest | RefreshResponse, now: Instant
    ) -> Actions:
        """Take over the parent's state; a path through this host is a loop (Decision 17)."""
        path = (message.sender.host, *message.root_path)
        if not self.may_hang_below(path):
            reason = "loop" if self.standing.host in path else "too deep"
            yield from self.lose_parent(reason, now)
            return
        has_fallen = self.follow_tree_version(message)
        kept = replace(
            parent,
            record=located(message.sender, parent.endpoint),
            path=path,
            super_node=message.super_node,
        )
        if isinstance(message, RefreshResponse):
            kept = with_relatives(kept, message)
        self.keep(kept)
        if has_fallen or path != parent.path or message.super_node != parent.super_node:
            yield from self.tell_children(now)
        yield from self.on_relatives_named(now)

    def tell_children(self, now: Instant) -> Actions:
        """Tell the children that the path above them changed: a loop shows (Decision 17)."""
        for child in self.standing.children.confirmed.values():
            yield Send(
                self.standing.make(
                    RefreshRequest,
                    kind=RefreshKind.PARENT,
                    sender=self.record(now),
                    super_node=self.super_node(),
                    root_path=self.root_path(),
                ),
                child.endpoint,
            )

    def on_other_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """The parent tells of a new path; any other host only gets this host's state."""
        parent = self.parent()
        if message.kind != RefreshKind.PARENT:
            if message.kind == RefreshKind.RELATIVE and message.source == message.sender.host:
                until = now + self.parameters.hold_relative
                self.standing.kinship.admit(message.source, sender, until)
            yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        elif parent is not None and sender == parent.endpoint:
            yield from self.note_parent(parent, message, now)

    def note_tree_version(self, message: Message) -> None:
        """Take over the tree version that comes down from the source (Decision 16)."""
        if serial_newer(message.tree_version, self.standing.tree_version, 8):
            self.standing.tree_version = message.tree_version

    def follow_tree_version(self, message: Message) -> bool:
        """Take over the parent's tree version, an older one too (Decision 16); tell if it was.

        Where the source and its rendezvous points begin anew, those below may remember more than
        they do, and would drop all data as that of an old tree. Data of newer ones is taken anyway.
        """
        is_older = serial_newer(self.standing.tree_version, message.tree_version, 8)
        self.standing.tree_version = message.tree_version
        return is_older

    def on_retire(self, key: Hashable, now: Instant) -> Actions:
        """Stop accepting data from the parent before (Decision 16)."""
        if isinstance(self.state, Joined):
            self.state = replace(self.state, retiring=None)
            yield from self.install(now)

    def sample(self, request: Request, now: Instant) -> None:
        """Learn from the parent's answer how far it is (Decision 12)."""
        request.sample(self.round_trip, now)

    def path_delay(self) -> int:
        """Return the parent's delay from the source and half the round trip to it, µs."""
        parent = self.parent()
        return 0 if parent is None else way_through(parent.record, self.parent_trip(parent))

    def parent_trip(self, parent: Parent) -> float | None:
        """Return the round trip to the parent in seconds, if it is known."""
        return self.round_trip.least()

    def patience(self) -> float:
        """Return three round trips to the parent, in whole steps, so that it seldom changes.

        0 while none is known.
        """
        trip = self.round_trip.least() or 0.0
        return ceil(3 * trip / PATIENCE_STEP) * PATIENCE_STEP

    def on_refresh_unanswered(self, request: Request, now: Instant) -> Actions:
        """A Refresh was not answered: the confirmation failed, or the parent is gone."""
        state = self.state
        parent = self.parent()
        if isinstance(state, Confirming) and request.to == state.offer.candidate.record.endpoint:
            if parent is None or parent.endpoint != request.to:
                # Only the answer may have been lost, and then it feeds this host.
                goodbye = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
                yield self.standing.ask(goodbye, request.to, now)
            yield from self.confirmation_failed(now)
        elif parent is not None and request.to == parent.endpoint:
            yield from self.lose_parent("silent", now)

    # What describes this host while it has, or seeks, a parent.

    def parent(self) -> Parent | None:
        """Return the parent that serves this host now, if any."""
        state = self.state
        if isinstance(state, Joined):
            return state.parent
        if isinstance(state, (Probing, Asking, Confirming, Waiting)):
            return state.previous
        if isinstance(state, Leaving):
            return state.parent
        return None

    def keep(self, parent: Parent) -> None:
        """Put fresh knowledge of the parent in place of the old."""
        state = self.state
        if isinstance(state, Joined):
            self.state = replace(state, parent=parent)
        elif isinstance(state, (Probing, Asking, Confirming, Waiting)):
            self.state = replace(state, previous=parent)

    def has_place(self) -> bool:
        """Tell whether this host is in the tree and may promise places.

        Below an orphan it is not, though it may be served again at any moment.
        """
        parent = self.parent()
        return parent is not None and parent.record.depth != NOT_JOINED_DEPTH

    def depth(self) -> int | None:
        """Return how many hops below the source it stands, or will once its place is confirmed.

        Its children are told that too: with 255 they would leave in the meantime, and all at once.
        """
        state = self.state
        if isinstance(state, Confirming) and not self.has_place():
            return len(state.offer.path)
        return super().depth()

    def is_parent(self, endpoint: Endpoint) -> bool:
        """Tell whether the host at an endpoint is the parent."""
        parent = self.parent()
        return parent is not None and parent.endpoint == endpoint

    def may_hang_below(self, path: tuple[HostId, ...]) -> bool:
        """Tell whether a root path is free of this host and leaves room for it (Decision 17)."""
        return self.standing.host not in path and len(path) < self.parameters.path

    def root_path(self) -> tuple[HostId, ...]:
        """Return the ids from the parent up to the source."""
        parent = self.parent()
        return parent.path if parent is not None else ()

    def ancestors(self) -> tuple[HostId, ...]:
        """Return who may not become a child: all above, and all above the place being taken up.

        Without the second two hosts that move at the same moment could become each other's parent.
        """
        state = self.state
        if isinstance(state, Confirming):
            offer = state.offer
            return (offer.candidate.record.host, *offer.path, *self.root_path())
        return self.root_path()

    def upstream(self) -> tuple[Endpoint, ...]:
        """Return where data may come from: the parent, and the one before or after it."""
        state = self.state
        parent = self.parent()
        found = [] if parent is None else [parent.endpoint]
        if isinstance(state, Confirming):
            found.insert(0, state.offer.candidate.record.endpoint)
        if isinstance(state, Joined) and state.retiring is not None:
            found.append(state.retiring)
        return tuple(dict.fromkeys(found))

    # What differs between a member and a super node, and how a parent is found.

    @abstractmethod
    def confirmation_failed(self, now: Instant) -> Actions:
        """The chosen parent will not have this host."""

    @abstractmethod
    def lose_parent(self, reason: str, now: Instant) -> Actions:
        """The parent is gone, or no parent any more."""

    def on_relatives_named(self, now: Instant) -> Actions:
        """React to other backups or siblings in the parent's answer."""
        yield from ()

    def successors(self) -> tuple[HostRecord, ...]:
        """Name the children that could take this host's place (slide 21)."""
        return ()

    @abstractmethod
    def refresh_period(self) -> float:
        """Return how often the parent is refreshed, seconds."""

    @abstractmethod
    def known_candidates(self) -> list[Candidate]:
        """List hosts that could be asked when the backups fail."""

    @abstractmethod
    def search_failed(self, previous: Parent | None, now: Instant) -> Actions:
        """No candidate has a place."""

    def on_joined(self, now: Instant) -> Actions:
        """A parent has confirmed."""
        yield from ()

    def decline(self, offer: Offer) -> Send:
        """Give back a place that is not wanted."""
        message = self.standing.make(LeaveReport, reason=LeaveReason.DECLINED)
        return Send(message, offer.candidate.record.endpoint)

    def give_back(self, now: Instant) -> Actions:
        """Give back the place being taken up, if any: its owner may have confirmed it already."""
        state = self.state
        if not isinstance(state, Confirming):
            return
        endpoint = state.offer.candidate.record.endpoint
        self.standing.requests.close_all_to(endpoint, RefreshRequest)
        if state.previous is None or state.previous.endpoint != endpoint:
            goodbye = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
            yield self.standing.ask(goodbye, endpoint, now)
        for other in state.others:
            yield self.decline(other)


def way_through(above: HostRecord, round_trip: float | None) -> int:
    """Return the delay from the source through a host, µs; 0 if it is not known."""
    if round_trip is None or not (above.delay_us or above.flags & HostFlag.SOURCE):
        return 0
    return min(above.delay_us + max(1, int(round_trip * 5e5)), 0xFFFFFFFF)


def with_relatives(parent: Parent, message: RefreshResponse) -> Parent:
    """Take over the relatives that a parent names to its child."""
    return replace(
        parent,
        backups=message.backups,
        siblings=message.siblings,
        successor=message.successor,
    )


def narrowed(record: Interest) -> Interest:
    """Fit interest into one record: a longer source list becomes "every source" (Decision 25)."""
    if len(record.sources) <= MAXIMUM_SOURCES:
        return record
    return Interest(record.group, FilterMode.EXCLUDE, ())
