"""The way up, the same for cluster members and super nodes: keeping a parent (slide 18).

Refresh it, tell it what the subtree wants, probe it on silence; when it is gone seek again, its
backups first (slide 22). Children stay below this host meanwhile. How a parent is found is in
`seeking`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from dmmp.actions import Report, Send
from dmmp.alarms import jittered
from dmmp.events import ParentLost
from dmmp.interest import FilterMode, Interest, no_interest
from dmmp.messages import (
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    MAXIMUM_INTEREST,
    MAXIMUM_SOURCES,
    NOT_JOINED_DEPTH,
    HostRecord,
    LeaveReason,
    RefreshKind,
    Status,
    located,
)
from dmmp.messages.local import Silence, Stop, Unreachable
from dmmp.messages.schema import Message
from dmmp.policies.parents import Candidate
from dmmp.roles.parenting import ParentRole
from dmmp.roles.requests import Request
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

LEFT = "left"
"""Why a parent is lost that left in good order (slide 20)."""


@dataclass(slots=True)
class Announced:
    """What the parent was told of this host's interest, and whether an answer is awaited."""

    records: dict[IpAddress, Interest] = field(default_factory=dict)
    waiting_for: int | None = None
    dirty: bool = False
    has_room: bool = False


class UplinkRole(ParentRole):
    """A role that has a parent; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.announced = Announced()
        self.failures = 0

    # Keeping the parent.

    def refresh(self, now: Instant, interest: Sequence[Interest]) -> RefreshRequest:
        """Make the Refresh Request that goes to the parent (slide 18)."""
        record = self.record(now)
        self.announced.has_room = record.free_slots > 0
        return self.standing.make(
            RefreshRequest,
            kind=RefreshKind.CHILD,
            sender=record,
            super_node=self.super_node(),
            root_path=self.root_path(),
            interest=tuple(interest),
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
            yield self.standing.ask(self.refresh(now, page), parent.endpoint, now)

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
        """Tell the parent soon when the first free place below comes or the last one goes."""
        has_room = self.depth() is not None and self.free_below(now) > 0
        if has_room != self.announced.has_room and not self.alarms.is_set(Alarm.ROOM):
            self.alarms.set(Alarm.ROOM, now + self.parameters.room_wait)
        yield from ()

    def on_room_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Tell the parent that there is room below, or none any more (Decision 14)."""
        parent = self.parent()
        has_room = self.depth() is not None and self.free_below(now) > 0
        if parent is None or isinstance(self.state, Confirming):
            return
        if has_room != self.announced.has_room:
            yield self.standing.ask(self.refresh(now, ()), parent.endpoint, now)

    def on_refresh_response(
        self, message: RefreshResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the parent's present state; a refusal or a loop means it is none any more."""
        if self.matched(message, sender) is None:
            return
        parent = self.parent()
        if parent is None or sender != parent.endpoint:
            return
        if message.status != Status.SUCCESS:
            yield from self.lose_parent(f"refused, status {message.status}", now)
            return
        self.note_tree_version(message)
        yield from self.note_parent(parent, message, message.backups, now)
        if self.announced.dirty:
            yield from self.on_subtree_changed(now)

    def note_parent(
        self,
        parent: Parent,
        message: RefreshRequest | RefreshResponse,
        backups: tuple[HostRecord, ...],
        now: Instant,
    ) -> Actions:
        """Take over the parent's state; a path through this host is a loop (Decision 17)."""
        path = (message.sender.host, *message.root_path)
        if not self.may_hang_below(path):
            reason = "loop" if self.standing.host in path else "too deep"
            yield from self.lose_parent(reason, now)
            # It lives, and would feed this host until the place lapses.
            goodbye = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
            yield self.standing.ask(goodbye, parent.endpoint, now)
            return
        record = located(message.sender, parent.endpoint)
        self.keep(Parent(record, parent.endpoint, path, message.super_node, backups))
        if path != parent.path or message.super_node != parent.super_node:
            yield from self.tell_children(now)

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
            yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        elif parent is not None and sender == parent.endpoint:
            self.note_tree_version(message)
            yield from self.note_parent(parent, message, parent.backups, now)

    def note_tree_version(self, message: Message) -> None:
        """Take over the tree version that comes down from the source (Decision 16)."""
        if serial_newer(message.tree_version, self.standing.tree_version, 8):
            self.standing.tree_version = message.tree_version

    def on_silence(self, message: Silence, sender: Endpoint, now: Instant) -> Actions:
        """The flow stopped: is the parent there? (Decision 11)"""
        parent = self.parent()
        if parent is not None:
            yield from self.probe(parent.endpoint, now)

    def on_unreachable(self, message: Unreachable, sender: Endpoint, now: Instant) -> Actions:
        """The network says nobody listens there: ask the host itself before believing it.

        Twice, then it is believed: a forged report costs a host that lives no more than a probe.
        """
        parent = self.parent()
        if (
            parent is not None and parent.endpoint == message.endpoint
        ) or self.standing.children.by_endpoint(message.endpoint) is not None:
            yield from self.probe(message.endpoint, now)
            self.standing.requests.hasten(ProbeRequest, message.endpoint)

    def probe(self, endpoint: Endpoint, now: Instant) -> Actions:
        """Probe a relative before the verdict (slide 18); one probe at a time."""
        if not self.standing.requests.is_open(ProbeRequest, endpoint):
            yield self.standing.ask(
                self.standing.make(ProbeRequest, timestamp=0),
                endpoint,
                now,
                tries=self.parameters.probe_tries,
            )

    def on_probe_response(self, message: ProbeResponse, sender: Endpoint, now: Instant) -> Actions:
        """A relative is alive; if another host answers there now, the relative is not."""
        request = self.matched(message, sender)
        parent = self.parent()
        if request is None or parent is None or sender != parent.endpoint:
            return
        if message.sender.host != parent.record.host:
            yield from self.lose_parent("replaced by another host", now)

    def on_probe_unanswered(self, request: Request, now: Instant) -> Actions:
        """No answer to the probes: the relative is inactive (slide 18)."""
        if not request.lasting:
            return  # It measured a candidate: one lost datagram is no verdict (Decision 11).
        parent = self.parent()
        if parent is not None and parent.endpoint == request.to:
            yield from self.lose_parent("silent", now)
            return
        child = self.standing.children.by_endpoint(request.to)
        if child is not None:
            yield from self.drop_child(child.record.host, "silent", now)

    def on_refresh_unanswered(self, request: Request, now: Instant) -> Actions:
        """A Refresh was not answered: the confirmation failed, or the parent is gone."""
        state = self.state
        parent = self.parent()
        if isinstance(state, Confirming) and request.to == state.offer.candidate.record.endpoint:
            yield from self.confirmation_failed(now)
        elif parent is not None and request.to == parent.endpoint:
            yield from self.lose_parent("silent", now)

    def on_leave_report(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A parent, a child or an applicant goes (slide 20)."""
        parent = self.parent()
        if parent is None or sender != parent.endpoint or message.source != parent.record.host:
            yield from self.on_child_leaves(message, sender, now)
            return
        yield Send(self.standing.answer(LeaveResponse, message), sender)
        replacement = message.replacement
        first = (Candidate(replacement),) if replacement.host else ()
        if message.reason == LeaveReason.DISMISSED:
            yield from self.seek_another(parent, first, parent, now)
        else:
            yield from self.lose_parent(LEFT, now, first)

    def lose_parent(self, reason: str, now: Instant, first: Sequence[Candidate] = ()) -> Actions:
        """Seek another parent: who was named, the backups, then known super nodes (slide 22).

        One that leaves in good order goes on serving for a moment.
        """
        parent = self.parent()
        assert parent is not None
        yield Report(ParentLost(parent.record.host, reason))
        self.standing.requests.close_all_to(parent.endpoint)
        self.announced = Announced()
        # Programs here wait: if nobody known has a place, it offers itself without more rounds.
        self.failures = max(self.failures, self.parameters.offer_after - 1)
        yield from self.on_parent_lost(parent, now)
        serving = None
        if reason == LEFT:
            serving = replace(parent, record=replace(parent.record, depth=NOT_JOINED_DEPTH))
        yield from self.seek_another(parent, first, serving, now)
        yield from self.tell_children(now)

    def seek_another(
        self,
        parent: Parent,
        first: Sequence[Candidate],
        previous: Parent | None,
        now: Instant,
    ) -> Actions:
        """Seek a place elsewhere; `previous` is the parent if it serves this host meanwhile."""
        yield from self.give_back()
        others = [*first, *(Candidate(backup) for backup in parent.backups)]
        others += self.known_candidates()
        elsewhere = [c for c in others if c.record.host != parent.record.host]
        yield from self.seek(elsewhere, now, previous=previous)

    def on_retire(self, key: Hashable, now: Instant) -> Actions:
        """Stop accepting data from the parent before (Decision 16)."""
        if isinstance(self.state, Joined):
            self.state = replace(self.state, retiring=None)
            yield from self.install(now)

    # Leaving.

    def on_stop(self, message: Stop, sender: Endpoint, now: Instant) -> Actions:
        """Leave in good order: tell parent, children and the RP, wait for answers (slide 20)."""
        yield from self.give_back()
        parent = self.parent()
        replacement = HostRecord() if parent is None else parent.record
        told = [child.endpoint for child in self.standing.children.confirmed.values()]
        told += [parent.endpoint] if parent is not None else []
        told += self.standing.registrars()
        yield from self.say_goodbye(told, replacement, now)

    # What describes this host while it has, or seeks, a parent.

    def parent(self) -> Parent | None:
        """Return the parent that serves this host now, if any."""
        state = self.state
        if isinstance(state, Joined):
            return state.parent
        if isinstance(state, (Probing, Asking, Confirming, Waiting)):
            return state.previous
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
        """Return how many hops below the source it stands, or will once its place is confirmed."""
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
    def seek(
        self,
        candidates: Sequence[Candidate],
        now: Instant,
        building: bool = False,
        previous: Parent | None = None,
    ) -> Actions:
        """Start a search among candidates in their order."""

    @abstractmethod
    def confirmation_failed(self, now: Instant) -> Actions:
        """The chosen parent will not have this host."""

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

    def give_back(self) -> Actions:
        """Give back the place being taken up, if any: its owner may have confirmed it already."""
        state = self.state
        if not isinstance(state, Confirming):
            return
        endpoint = state.offer.candidate.record.endpoint
        self.standing.requests.close_all_to(endpoint, RefreshRequest)
        if state.previous is None or state.previous.endpoint != endpoint:
            yield Send(self.standing.make(LeaveReport, reason=LeaveReason.MOVED), endpoint)
        for other in state.others:
            yield self.decline(other)

    def on_parent_lost(self, parent: Parent, now: Instant) -> Actions:
        """Tell others that the parent is inactive (slide 18)."""
        yield from ()


def narrowed(record: Interest) -> Interest:
    """Fit interest into one record: a longer source list becomes "every source" (Decision 25)."""
    if len(record.sources) <= MAXIMUM_SOURCES:
        return record
    return Interest(record.group, FilterMode.EXCLUDE, ())
