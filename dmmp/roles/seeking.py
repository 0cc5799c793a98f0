"""Finding a parent: ask candidates, collect offers, choose, confirm (slide 16, -03 §6.3).

The first Refresh confirms the chosen offer, the others are declined. A change of parent is made
before the old one is left.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from dmmp.actions import Report
from dmmp.alarms import jittered
from dmmp.events import Admitted
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    RefreshResponse,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    MAXIMUM_INTEREST,
    LeaveReason,
    Status,
    located,
)
from dmmp.policies.parents import OFFER_RANKINGS, Candidate, Ranking
from dmmp.roles.requests import Request, RoundTrip
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm
from dmmp.roles.states import Asking, Confirming, Joined, Offer, Parent
from dmmp.roles.uplink import Announced, UplinkRole, narrowed, with_relatives
from dmmp.types import Endpoint, HostId, Instant

ASKED_AT_ONCE = 3
"""Candidates asked in parallel (slide 16: several offers are compared)."""

MAXIMUM_ASKED = 32
"""Candidates asked in one search before the RP is asked again."""


class SeekingRole(UplinkRole):
    """A role that seeks its parent; see the module's docstring."""

    def seek(
        self,
        candidates: Sequence[Candidate],
        now: Instant,
        building: bool = False,
        previous: Parent | None = None,
    ) -> Actions:
        """Start a search among candidates in their order."""
        mine = self.standing.host
        usable = tuple(
            c
            for c in candidates
            if c.record.host != mine and c.record.endpoint.port and self.trusts((c.record.host,))
        )
        self.state = Asking(usable[:MAXIMUM_ASKED], building=building, previous=previous)
        yield from self.install(now)
        yield from self.ask_next(now)

    def ask_next(self, now: Instant) -> Actions:
        """Ask the next candidates; without any left, this search has failed."""
        state = self.state
        assert isinstance(state, Asking)
        # The named replacement, a backup and a known super node may be one host: it is asked once.
        named: dict[Endpoint, Candidate] = {}
        for candidate in state.candidates:
            named.setdefault(candidate.record.endpoint, candidate)
        fresh = [c for endpoint, c in named.items() if endpoint not in state.tried]
        width = (
            1 if not state.tried and fresh and fresh[0].round_trip is not None else ASKED_AT_ONCE
        )
        batch = fresh[:width]
        if not batch or len(state.tried) >= MAXIMUM_ASKED:
            yield from self.search_failed(state.previous, now)
            return
        # Programs wait: whoever is dead is not waited for as long.
        waits = self.standing.is_fed and state.previous is None
        asked = set(state.asked)
        for candidate in batch:
            send = self.standing.ask(
                self._join_request(state, now),
                candidate.record.endpoint,
                now,
                tries=self.parameters.switch_tries if waits else self.parameters.join_tries,
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
            path = (message.parent.host, *message.root_path)
            if self.may_hang_below(path) and self.trusts(path):
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
            Candidate(located(message.parent, sender), trip),
            message.super_node,
            (message.parent.host, *message.root_path),
        )
        asked = state.asked - {message.sequence} if direct else state.asked
        if direct:
            self.standing.requests.close(message.sequence)
        if not state.offers:
            starving = self.standing.is_fed and state.previous is None
            parameters = self.parameters
            wait = parameters.offers_wait_orphan if starving else parameters.offers_wait
            self.alarms.set(Alarm.OFFERS_DONE, now + wait)
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
        then: tuple[Candidate, ...] = (),
    ) -> Actions:
        """Take up an offer: the first Refresh confirms it (slide 18).

        It goes out behind the new forwarding entry, and so behind the Data Requests by which this
        host's forwarder asks for what it lacks: the answer is in order (slide 17).
        """
        self.state = Confirming(offer, others, previous, moving, then)
        # It may be where this host has just left, and would be told so again.
        self.standing.requests.close_all_to(offer.candidate.record.endpoint, LeaveReport)
        yield from self.install(now)
        self.announced = Announced()
        wants = self.standing.subtree_wants()
        page = [narrowed(record) for record in list(wants.values())[:MAXIMUM_INTEREST]]
        self.announced.records = {record.group: record for record in page}
        hurried = self.standing.is_fed and previous is None
        trip = offer.candidate.round_trip or 0.0
        least = self.parameters.switch_wait_least
        yield self.standing.ask(
            self.refresh(now, page),
            offer.candidate.record.endpoint,
            now,
            tries=self.parameters.switch_tries if hurried else self.parameters.join_tries,
            wait=max(least, 3 * trip) if hurried else 0.0,
        )

    def on_confirmed(self, message: RefreshResponse, sender: Endpoint, now: Instant) -> Actions:
        """The parent answers the confirmation: joined, or try the next offer."""
        request = self.matched(message, sender)
        state = self.state
        assert isinstance(state, Confirming)
        if request is None or sender != state.offer.candidate.record.endpoint:
            return
        path = (message.sender.host, *message.root_path)
        if message.status != Status.SUCCESS or not self.may_hang_below(path):
            if message.status == Status.FULL:
                self._note_children_of(message)
            yield from self.confirmation_failed(now)
            return
        record = located(message.sender, sender)
        parent = with_relatives(Parent(record, sender, path, message.super_node), message)
        self.standing.is_fed, self.round_trip = True, RoundTrip()
        probed = state.offer.candidate.round_trip
        if probed is not None:
            # The answer may have waited for a handshake, or for a host that is busy with orphans.
            self.round_trip.sample(min(probed, now - request.sent))
        else:
            self.sample(request, now)
        for other in state.others:
            yield self.decline(other)
        old = state.previous
        leaves = old is not None and old.endpoint != sender
        self.state = Joined(parent, old.endpoint if leaves and old is not None else None)
        self.failures = 0
        if old is None:
            # Whatever this host knew before is no measure of a ring's direction.
            self.standing.tree_version = message.tree_version
        self.note_tree_version(message)
        # Those who come here just after it are relatives to know before long.
        soon = min(self.parameters.refresh_first, self.refresh_period())
        self.alarms.set(Alarm.REFRESH, now + jittered(self.rng, soon))
        if leaves and old is not None:
            self.alarms.set(Alarm.RETIRE, now + self.parameters.previous_parent_hold)
            yield self.standing.ask(
                self.standing.make(LeaveReport, reason=LeaveReason.MOVED), old.endpoint, now
            )
        yield from self.install(now)
        yield Report(Admitted(parent.record.host, sender, len(path)))
        yield from self.tell_children(now)
        yield from self.on_subtree_changed(now)
        yield from self.on_relatives_named(now)
        yield from self.on_joined(now)

    def trusts(self, path: tuple[HostId, ...]) -> bool:
        """Tell whether data may come this way: no host on it was found forging or withholding.

        Else the shallowest offer would lead back to the parent just left, or below it.
        """
        distrusted = self.standing.distrusted
        return not (distrusted and any(host in distrusted for host in path))

    def is_shunned(self, host: HostId) -> bool:
        """Tell whether a host is known to be no parent for this one."""
        return False

    def _note_children_of(self, message: RefreshResponse) -> None:
        """Take the children that a full host names for next: they have room (slide 16)."""
        state = self.state
        assert isinstance(state, Confirming)
        path = (message.sender.host, *message.root_path)
        # Its own children hang below it still, whatever the full host has last heard of them.
        known = {offer.candidate.record.host for offer in state.others}
        known.update(self.standing.children.confirmed)
        named = [
            Offer(Candidate(record), message.super_node, (record.host, *path))
            for record in message.backups
            if record.host not in known
            and record.endpoint.port
            and not self.is_shunned(record.host)
        ]
        usable = [offer for offer in named if self.may_hang_below(offer.path)]
        self.state = replace(state, others=(*usable, *state.others)[:MAXIMUM_CANDIDATES])

    def confirmation_failed(self, now: Instant) -> Actions:
        """The chosen parent will not have this host: next offer, or back to before."""
        state = self.state
        assert isinstance(state, Confirming)
        if state.others:
            first, others = state.others[0], state.others[1:]
            yield from self.confirm(first, others, state.previous, state.moving, now, state.then)
        elif state.moving and state.previous is not None:
            self.state = Joined(state.previous)
            yield from self.install(now)
            self.announced = Announced()
            yield from self.send_refresh(now)
        elif state.then:
            yield from self.seek(state.then, now, previous=state.previous)
        else:
            yield from self.search_failed(state.previous, now)
