"""The way up, the same for cluster members and super nodes: seek a parent, confirm it, keep it.

Seeking (slide 16, -03 §6.3): ask candidates, collect offers, choose, confirm with the first Refresh;
the others are declined. Keeping (slide 18): refresh, probe on silence, and when the parent is gone
seek again, its backups first. Children stay below this host meanwhile, and a change of parent is
made before the old one is left.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from dmmp.actions import Report, Send
from dmmp.alarms import jittered
from dmmp.errors import Violation
from dmmp.events import Admitted, ParentLost
from dmmp.interest import FilterMode, Interest, no_interest
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    DataRequest,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    MAXIMUM_INTEREST,
    MAXIMUM_SOURCES,
    HostRecord,
    HostState,
    LeaveReason,
    RefreshKind,
    Status,
)
from dmmp.messages.local import Silence, Stop, Unreachable
from dmmp.policies.parents import OFFER_RANKINGS, Candidate, Ranking
from dmmp.roles.overlay import Gone, Leaving, OverlayRole
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.types import Endpoint, HostId, Instant, IpAddress

ASKED_AT_ONCE = 3
"""Candidates asked in parallel (slide 16: several offers are compared)."""

MAXIMUM_ASKED = 32
"""Candidates asked in one search before the RP is asked again."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent: what it said of itself, where it is, the ids from it up to the source."""

    record: HostRecord
    endpoint: Endpoint
    path: tuple[HostId, ...]
    super_node: HostId
    backups: tuple[HostRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """A place that was offered and is reserved for a short while."""

    candidate: Candidate
    super_node: HostId
    path: tuple[HostId, ...]


@dataclass(frozen=True, slots=True)
class Asking:
    """Has asked for a place and collects offers; `previous` still serves it, if any."""

    candidates: tuple[Candidate, ...]
    asked: frozenset[int] = frozenset()
    tried: frozenset[Endpoint] = frozenset()
    offers: tuple[Offer, ...] = ()
    building: bool = False
    previous: Parent | None = None


@dataclass(frozen=True, slots=True)
class Confirming:
    """Takes up an offer; `others` are next if it fails, `previous` serves until it succeeds."""

    offer: Offer
    others: tuple[Offer, ...] = ()
    previous: Parent | None = None
    moving: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """Has a parent; data is still accepted from `retiring` for a moment."""

    parent: Parent
    retiring: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Found no place; tries again at the alarm."""

    previous: Parent | None = None


@dataclass(slots=True)
class Announced:
    """What the parent was told of this host's interest, and whether an answer is awaited."""

    records: dict[IpAddress, Interest] = field(default_factory=dict)
    waiting_for: int | None = None
    dirty: bool = False


class UplinkRole(OverlayRole):
    """A role that has a parent; see the module's docstring."""

    IN_MESH: ClassVar[bool]

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.announced = Announced()
        self.failures = 0

    # Seeking.

    def seek(
        self,
        candidates: Sequence[Candidate],
        now: Instant,
        building: bool = False,
        previous: Parent | None = None,
    ) -> Actions:
        """Start a search among candidates in their order."""
        mine = self.standing.host
        usable = tuple(c for c in candidates if c.record.host != mine and c.record.endpoint.port)
        self.state = Asking(usable[:MAXIMUM_ASKED], building=building, previous=previous)
        yield from self.install(now)
        yield from self.ask_next(now)

    def ask_next(self, now: Instant) -> Actions:
        """Ask the next candidates; without any left, this search has failed."""
        state = self.state
        assert isinstance(state, Asking)
        fresh = [c for c in state.candidates if c.record.endpoint not in state.tried]
        width = (
            1 if not state.tried and fresh and fresh[0].round_trip is not None else ASKED_AT_ONCE
        )
        batch = fresh[:width]
        if not batch or len(state.tried) >= MAXIMUM_ASKED:
            yield from self.search_failed(state.previous, now)
            return
        asked = set(state.asked)
        for candidate in batch:
            send = self.standing.ask(
                self._join_request(state, now),
                candidate.record.endpoint,
                now,
                tries=self.parameters.join_tries,
                any_sender=True,
            )
            asked.add(send.message.sequence)
            yield send
        self.state = replace(
            state,
            candidates=tuple(c for c in fresh if c not in batch),
            asked=frozenset(asked),
            tried=state.tried | {c.record.endpoint for c in batch},
        )
        self.alarms.set(Alarm.OFFERS_DONE, now + self.parameters.join_wait)

    def _join_request(self, state: Asking, now: Instant) -> JoinRequest | ClusterRequest:
        if state.building and not state.tried:
            return self.standing.make(ClusterRequest, applicant=self.record(now))
        return self.standing.make(
            JoinRequest, applicant=self.record(now), passes=self.parameters.pass_down
        )

    def on_offer(
        self, message: JoinResponse | ClusterResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Note an offer, or a refusal and the refuser's children (slides 9 and 16)."""
        request = self.matched(message, sender)
        state = self.state
        assert isinstance(state, Asking)
        if request is None or message.sequence not in state.asked:
            return
        direct = request.to == sender
        if message.status == Status.SUCCESS:
            if self.standing.host not in message.root_path:
                yield from self._note_offer(state, request, message, sender, direct, now)
            return
        if not direct:
            return
        self.standing.requests.close(message.sequence)
        children = tuple(
            Candidate(child)
            for child in message.children
            if child.free_slots > 0 and child.host != self.standing.host
        )
        self.state = replace(
            state,
            asked=state.asked - {message.sequence},
            candidates=(*children[:ASKED_AT_ONCE], *state.candidates)[:MAXIMUM_ASKED],
        )
        if not self.state.asked and not self.state.offers:
            yield from self.ask_next(now)

    def _note_offer(
        self,
        state: Asking,
        request: Request,
        message: JoinResponse | ClusterResponse,
        sender: Endpoint,
        direct: bool,
        now: Instant,
    ) -> Actions:
        trip = request.round_trip(now) if direct else None
        offer = Offer(
            Candidate(replace(message.parent, endpoint=sender), trip),
            message.super_node,
            (message.parent.host, *message.root_path),
        )
        asked = state.asked - {message.sequence} if direct else state.asked
        if direct:
            self.standing.requests.close(message.sequence)
        if not state.offers:
            self.alarms.set(Alarm.OFFERS_DONE, now + self.parameters.offers_wait)
        if len(state.offers) < MAXIMUM_CANDIDATES and all(
            held.candidate.record.host != message.parent.host for held in state.offers
        ):
            state = replace(state, offers=(*state.offers, offer))
        self.state = replace(state, asked=asked)
        if not asked:
            yield from self.choose_offer(now)

    def on_join_unanswered(self, request: Request, now: Instant) -> Actions:
        """A candidate does not answer: go on with the others."""
        state = self.state
        if isinstance(state, Asking) and request.message.sequence in state.asked:
            self.state = replace(state, asked=state.asked - {request.message.sequence})
            if not self.state.asked:
                yield from self.choose_offer(now)

    def on_offers_done(self, key: Hashable, now: Instant) -> Actions:
        """Enough waited: choose, or ask further candidates."""
        if isinstance(self.state, Asking):
            yield from self.choose_offer(now)

    def choose_offer(self, now: Instant) -> Actions:
        """Choose the best offer and confirm it; decline the others (slide 16)."""
        state = self.state
        assert isinstance(state, Asking)
        if not state.offers:
            yield from self.ask_next(now)
            return
        self.alarms.stop(Alarm.OFFERS_DONE)
        for sequence in sorted(state.asked):
            self.standing.requests.close(sequence)
        ranking = self.offer_ranking(state.building)
        ranked = ranking([offer.candidate for offer in state.offers], self.parameters)
        by_host = {offer.candidate.record.host: offer for offer in state.offers}
        offers = [by_host[candidate.record.host] for candidate in ranked]
        yield from self.confirm(offers[0], tuple(offers[1:]), state.previous, False, now)

    def offer_ranking(self, building: bool) -> Ranking:
        """Return the rule that compares offers: the nearest at first, then the shallowest."""
        return OFFER_RANKINGS["nearest" if building else "shallowest"]

    def confirm(
        self,
        offer: Offer,
        others: tuple[Offer, ...],
        previous: Parent | None,
        moving: bool,
        now: Instant,
    ) -> Actions:
        """Take up an offer: the first Refresh confirms it (slide 18)."""
        self.state = Confirming(offer, others, previous, moving)
        yield from self.install(now)
        self.announced = Announced()
        wants = self.standing.subtree_wants()
        page = [narrowed(record) for record in list(wants.values())[:MAXIMUM_INTEREST]]
        self.announced.records = {record.group: record for record in page}
        yield self.standing.ask(
            self.refresh(now, page),
            offer.candidate.record.endpoint,
            now,
            tries=self.parameters.join_tries,
        )

    def on_confirmed(self, message: RefreshResponse, sender: Endpoint, now: Instant) -> Actions:
        """The parent answers the confirmation: joined, or try the next offer."""
        request = self.matched(message, sender)
        state = self.state
        assert isinstance(state, Confirming)
        if request is None or sender != state.offer.candidate.record.endpoint:
            return
        path = (message.sender.host, *message.root_path)
        if message.status != Status.SUCCESS or self.standing.host in path:
            yield from self.confirmation_failed(now)
            return
        parent = Parent(
            replace(message.sender, endpoint=sender),
            sender,
            path,
            message.super_node,
            message.backups,
        )
        for other in state.others:
            yield self.decline(other)
        old = state.previous
        leaves = old is not None and old.endpoint != sender
        self.state = Joined(parent, old.endpoint if leaves and old is not None else None)
        self.failures = 0
        self.note_tree_version(message)
        self.alarms.set(Alarm.REFRESH, now + jittered(self.rng, self.refresh_period()))
        if leaves and old is not None:
            self.alarms.set(Alarm.RETIRE, now + self.parameters.previous_parent_hold)
            yield self.standing.ask(
                self.standing.make(LeaveReport, reason=LeaveReason.MOVED), old.endpoint, now
            )
        yield from self.install(now)
        yield Report(Admitted(parent.record.host, sender, len(path)))
        if self.announced.records:
            yield Send(self.standing.make(DataRequest, origin=HostId(0), channel=0, base=0), sender)
        yield from self.tell_children(now)
        yield from self.on_subtree_changed(now)
        yield from self.on_joined(now)

    def decline(self, offer: Offer) -> Send:
        """Give back a place that is not wanted."""
        message = self.standing.make(LeaveReport, reason=LeaveReason.DECLINED)
        return Send(message, offer.candidate.record.endpoint)

    def confirmation_failed(self, now: Instant) -> Actions:
        """The chosen parent will not have this host: next offer, or back to before."""
        state = self.state
        assert isinstance(state, Confirming)
        if state.others:
            yield from self.confirm(
                state.others[0], state.others[1:], state.previous, state.moving, now
            )
        elif state.moving and state.previous is not None:
            self.state = Joined(state.previous)
            yield from self.install(now)
            self.announced = Announced()
            yield from self.send_refresh(now)
        else:
            yield from self.search_failed(state.previous, now)

    # Keeping the parent.

    def refresh(self, now: Instant, interest: Sequence[Interest]) -> RefreshRequest:
        """Make the Refresh Request that goes to the parent (slide 18)."""
        return self.standing.make(
            RefreshRequest,
            kind=RefreshKind.CHILD,
            sender=self.record(now),
            super_node=self.super_node(),
            root_path=self.root_path(),
            interest=tuple(interest),
        )

    def on_refresh_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the place, and all interest, at the parent (Decision 10)."""
        if isinstance(self.state, Joined):
            yield from self.send_refresh(now)
        if not isinstance(self.state, (Leaving, Gone)):
            self.alarms.set(Alarm.REFRESH, now + jittered(self.rng, self.refresh_period()))

    def send_refresh(self, now: Instant) -> Actions:
        """Send the whole state to the parent, in as many messages as the interest needs."""
        state = self.state
        assert isinstance(state, Joined)
        wants = [narrowed(record) for record in self.standing.subtree_wants().values()]
        gone = [no_interest(group) for group in self._withdrawn(wants)]
        self.announced.records = {record.group: record for record in wants}
        records = [*wants, *gone]
        pages = [
            records[at : at + MAXIMUM_INTEREST]
            for at in range(0, max(len(records), 1), MAXIMUM_INTEREST)
        ]
        for page in pages:
            yield self.standing.ask(self.refresh(now, page), state.parent.endpoint, now)

    def _withdrawn(self, wants: Sequence[Interest]) -> list[IpAddress]:
        groups = {record.group for record in wants}
        return [group for group in self.announced.records if group not in groups]

    def on_subtree_changed(self, now: Instant) -> Actions:
        """Tell the parent at once what changed in the wishes below (Decision 25).

        One such message is under way at a time; what changes meanwhile goes with the next.
        """
        state = self.state
        if not isinstance(state, Joined):
            return
        announced = self.announced
        if announced.waiting_for is not None:
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
        send = self.standing.ask(self.refresh(now, page), state.parent.endpoint, now)
        announced.waiting_for = send.message.sequence
        yield send

    def on_refresh_response(
        self, message: RefreshResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the parent's present state; a refusal or a loop means it is none any more."""
        if self.matched(message, sender) is None:
            return
        state = self.state
        if not isinstance(state, Joined) or sender != state.parent.endpoint:
            return
        if message.status != Status.SUCCESS:
            yield from self.lose_parent(f"refused, status {message.status}", now)
            return
        self.note_tree_version(message)
        backups = message.backups
        yield from self.note_parent(message.sender, message.root_path, message.super_node, now)
        if isinstance(self.state, Joined):
            self.state = replace(self.state, parent=replace(self.state.parent, backups=backups))
            if self.announced.waiting_for == message.sequence:
                self.announced.waiting_for = None
                if self.announced.dirty:
                    yield from self.on_subtree_changed(now)

    def note_parent(
        self, record: HostRecord, above: tuple[HostId, ...], super_node: HostId, now: Instant
    ) -> Actions:
        """Take over the parent's state; a path through this host is a loop (Decision 17)."""
        state = self.state
        assert isinstance(state, Joined)
        path = (record.host, *above)
        if self.standing.host in path:
            yield from self.lose_parent("loop", now)
            return
        changed = path != state.parent.path or super_node != state.parent.super_node
        endpoint = state.parent.endpoint
        parent = replace(
            state.parent,
            record=replace(record, endpoint=endpoint),
            path=path,
            super_node=super_node,
        )
        self.state = replace(state, parent=parent)
        if changed:
            yield from self.tell_children(now)

    def tell_children(self, now: Instant) -> Actions:
        """Tell the children that the path above them changed: a loop shows at once (Decision 17)."""
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
        state = self.state
        if message.kind != RefreshKind.PARENT:
            yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        elif isinstance(state, Joined) and sender == state.parent.endpoint:
            self.note_tree_version(message)
            yield from self.note_parent(message.sender, message.root_path, message.super_node, now)

    def note_tree_version(self, message: RefreshResponse | RefreshRequest) -> None:
        """Take over the tree version that comes down from the source (Decision 16)."""
        self.standing.tree_version = message.tree_version

    def on_silence(self, message: Silence, sender: Endpoint, now: Instant) -> Actions:
        """The flow stopped: is the parent there? (Decision 11)"""
        if isinstance(self.state, Joined):
            yield from self.probe(self.state.parent.endpoint, now)

    def on_unreachable(self, message: Unreachable, sender: Endpoint, now: Instant) -> Actions:
        """The network says nobody listens there: ask the host itself before believing it."""
        parent = self.parent()
        if (
            parent is not None and parent.endpoint == message.endpoint
        ) or self.standing.children.by_endpoint(message.endpoint) is not None:
            yield from self.probe(message.endpoint, now)

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
        if message.sender.host != parent.record.host and isinstance(self.state, Joined):
            yield from self.lose_parent("replaced by another host", now)

    def on_probe_unanswered(self, request: Request, now: Instant) -> Actions:
        """No answer to the probes: the relative is inactive (slide 18)."""
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
        if isinstance(state, Confirming) and request.to == state.offer.candidate.record.endpoint:
            yield from self.confirmation_failed(now)
        elif isinstance(state, Joined) and request.to == state.parent.endpoint:
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
        yield from self.lose_parent("left", now, first)

    def lose_parent(self, reason: str, now: Instant, first: Sequence[Candidate] = ()) -> Actions:
        """Seek another parent: who was named, the backups, then known super nodes (slide 22)."""
        parent = self.parent()
        assert parent is not None
        yield Report(ParentLost(parent.record.host, reason))
        self.standing.requests.close_all_to(parent.endpoint)
        self.announced = Announced()
        gone = parent.record.host
        others = [*first, *(Candidate(backup) for backup in parent.backups)]
        others += [candidate for candidate in self.known_candidates()]
        yield from self.on_parent_lost(parent, HostState.INACTIVE, now)
        yield from self.seek([c for c in others if c.record.host != gone], now)

    def on_retire(self, key: Hashable, now: Instant) -> Actions:
        """Stop accepting data from the parent before (Decision 16)."""
        if isinstance(self.state, Joined):
            self.state = replace(self.state, retiring=None)
            yield from self.install(now)

    # Leaving.

    def on_stop(self, message: Stop, sender: Endpoint, now: Instant) -> Actions:
        """Leave in good order: tell parent, children and the RP, wait for answers (slide 20)."""
        parent = self.parent()
        replacement = HostRecord() if parent is None else parent.record
        told = [child.endpoint for child in self.standing.children.confirmed.values()]
        told += [parent.endpoint] if parent is not None else []
        told += [self.standing.rendezvous_point] if self.standing.host else []
        yield from self.say_goodbye(told, replacement, now)

    # What describes this host while it has, or seeks, a parent.

    def parent(self) -> Parent | None:
        """Return the parent that serves this host now, if any."""
        state = self.state
        if isinstance(state, Joined):
            return state.parent
        if isinstance(state, (Asking, Confirming, Waiting)):
            return state.previous
        return None

    def has_place(self) -> bool:
        """Tell whether this host is in the tree and may promise places."""
        return self.parent() is not None

    def root_path(self) -> tuple[HostId, ...]:
        """Return the ids from the parent up to the source."""
        parent = self.parent()
        return parent.path if parent is not None else ()

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

    # What differs between a member and a super node.

    def refresh_period(self) -> float:
        """Return how often the parent is refreshed, seconds."""
        raise NotImplementedError

    def known_candidates(self) -> list[Candidate]:
        """List hosts that could be asked when the backups fail."""
        raise NotImplementedError

    def search_failed(self, previous: Parent | None, now: Instant) -> Actions:
        """No candidate has a place."""
        raise NotImplementedError

    def on_joined(self, now: Instant) -> Actions:
        """A parent has confirmed."""
        yield from ()

    def on_parent_lost(self, parent: Parent, state: HostState, now: Instant) -> Actions:
        """Tell others that the parent is inactive (slide 18)."""
        yield from ()


def narrowed(record: Interest) -> Interest:
    """Fit interest into one record: a longer source list becomes "every source" (Decision 25)."""
    if len(record.sources) <= MAXIMUM_SOURCES:
        return record
    return Interest(record.group, FilterMode.EXCLUDE, ())


__all__ = [
    "Asking",
    "Confirming",
    "Joined",
    "Offer",
    "Parent",
    "UplinkRole",
    "Violation",
    "Waiting",
]
