"""A cluster member (slides 9, 16-20, -03 §6.3-6.5).

It asks the RP for super nodes, probes at most twelve of them and takes the nearest, among similar
ones the one of higher out-degree. While the overlay is being built it sends a Cluster Request
there; later a Join Request, which a full super node passes down; among several offers the smallest
depth wins, then the longest uptime. The first Refresh confirms the place. From then on it refreshes
its parent, feeds its own children, and when the parent dies it seeks another: the backups first,
then super nodes it knows, then the RP again. If it can feed many more than its parent, it takes the
parent's place after a while (-03 §6.8; see `improving`). Where it finds no place at all it offers
itself to the RP as a super node; when the source sends it a Setup Request it becomes one, children
and all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from enum import Enum
from typing import ClassVar

from dmmp.actions import Become, Report, Send
from dmmp.alarms import jittered
from dmmp.events import Waiting as WaitingReport
from dmmp.messages import (
    BreakConfirm,
    BreakRequest,
    BreakResponse,
    ClusterRequest,
    ClusterResponse,
    DataRequest,
    JoinNotification,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    PromotionAck,
    PromotionConfirm,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    SourceRequest,
    SourceResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import HostFlag, HostRecord, Phase, Status, located
from dmmp.messages.local import Silence, Start, Stop, Subscribe, Unreachable
from dmmp.messages.schema import Message
from dmmp.policies.backups import BACKUPS, choose_backups
from dmmp.policies.parents import SUPER_NODE_RANKINGS, Candidate
from dmmp.roles.handover import Claim, Handover, for_states, ignored
from dmmp.roles.leaving import LEAVING
from dmmp.roles.nearing import NearingRole
from dmmp.roles.role import Actions
from dmmp.roles.seeking import MAXIMUM_ASKED
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import (
    Asking,
    Confirming,
    Gone,
    Idle,
    Joined,
    Leaving,
    Locating,
    Parent,
    Probing,
    Registering,
    Waiting,
)
from dmmp.roles.view import View
from dmmp.types import Endpoint, HostId, Instant


class ClusterMember(NearingRole):
    """See the module's docstring."""

    NAME = "member"

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.refused: tuple[HostId, ...] = ()
        self.lost: tuple[HostId, ...] = ()
        self.empty_handed = False

    # Bootstrap.

    def on_ping_rp(self, message: PingRpResponse, sender: Endpoint, now: Instant) -> Actions:
        """Learn identity and candidates; without a place, probe them (-03 §6.1)."""
        request = self.matched(message, sender)
        if request is None:
            return
        yield from self.note_registration(message, sender, request, now)
        if message.status != Status.SUCCESS or not isinstance(self.state, (Registering, Waiting)):
            return
        yield from self.install(now)
        parent = self.parent()
        beside = {self.standing.host, *self.lost, *((parent.record.host,) if parent else ())}
        candidates = tuple(
            host for host in message.super_nodes if host.host not in beside and host.endpoint.port
        )
        if candidates:
            self.alarms.stop(Alarm.JOIN_AGAIN)
            building = message.phase == Phase.BUILDING
            if len(candidates) == 1:
                # Nothing to compare: a crowd is sent so, lest it melts the core (Decision 13).
                yield from self.seek(
                    [Candidate(candidates[0])], now, building=building, previous=self.parent()
                )
                return
            self.state = Probing(
                candidates[: self.parameters.candidates],
                building,
                (None,) * min(len(candidates), self.parameters.candidates),
                self.parameters.probe_rounds,
                previous=parent,
            )
            self.alarms.set(Alarm.PROBES_DONE, now + self.parameters.probe_wait)
            yield from self.on_probes_alarm(None, now)
        elif not self.empty_handed:
            # Another RP may know super nodes that this one does not (Decision 21): its answer
            # counts too, but the search has failed once only.
            self.empty_handed = True
            yield from self.search_failed(parent, now)

    def on_probes_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Send one round of probes (Decision 12)."""
        state = self.state
        if not isinstance(state, Probing) or state.rounds_left == 0:
            return
        self.state = replace(
            state,
            rounds_left=state.rounds_left - 1,
            waiting=state.waiting + len(state.candidates),
        )
        if state.rounds_left > 1:
            self.alarms.set(Alarm.PROBES, now + self.parameters.probe_spacing)
        for candidate in state.candidates:
            yield self.standing.ask(
                self.standing.make(ProbeRequest, timestamp=0),
                candidate.endpoint,
                now,
                tries=1,
                wait=self.parameters.probe_wait,
            )

    def on_probed(self, message: ProbeResponse, sender: Endpoint, now: Instant) -> Actions:
        """Note a round trip and the candidate's fresh state; when all are in, go on."""
        request = self.standing.requests.peek(message, sender)
        state = self.state
        assert isinstance(state, Probing)
        named = any(candidate.endpoint == sender for candidate in state.candidates)
        if request is None or request.lasting or not named:
            yield from self.on_probe_response(message, sender, now)
            return
        self.unproven.pop(sender, None)
        self.standing.requests.close(message.sequence)
        trip = now - request.sent
        candidates, trips = list(state.candidates), list(state.round_trips)
        for at, candidate in enumerate(candidates):
            if candidate.endpoint == sender:
                held = trips[at]
                trips[at] = trip if held is None else min(held, trip)
                candidates[at] = located(message.sender, sender)
        self.state = replace(
            state,
            candidates=tuple(candidates),
            round_trips=tuple(trips),
            waiting=state.waiting - 1,
        )
        if self.state.waiting == 0 and self.state.rounds_left == 0:
            yield from self.on_probes_done(None, now)

    def on_probes_done(self, key: Hashable, now: Instant) -> Actions:
        """Rank the candidates by what was measured and seek a place (slide 9)."""
        state = self.state
        if not isinstance(state, Probing):
            return
        self.alarms.stop(Alarm.PROBES)
        self.alarms.stop(Alarm.PROBES_DONE)
        candidates = [
            Candidate(record, trip)
            for record, trip in zip(state.candidates, state.round_trips, strict=True)
        ]
        ranked = SUPER_NODE_RANKINGS["nearest"](candidates, self.parameters)
        yield from self.seek(ranked, now, building=state.building, previous=state.previous)

    def search_failed(self, previous: Parent | None, now: Instant) -> Actions:
        """No place: try again later; after a few rounds offer oneself to the RP (slide 16)."""
        state = self.state
        if isinstance(state, Asking):
            more = self.named_elsewhere(state)
            if more:
                self.state = replace(state, candidates=more)
                yield from self.ask_next(now)
                return
            asked = {c.host for c in self.standing.super_nodes if c.endpoint in state.tried}
            self.refused = tuple(sorted(asked | set(self.lost)))
        self.state = Waiting(previous)
        yield from self.install(now)
        self.failures += 1
        if self.failures == self.parameters.offer_after:
            yield Report(WaitingReport("no place in the overlay yet, trying again"))
        pause = self.parameters.retry_bootstrap * 2 ** min(self.failures - 1, 6)
        orphaned = self.standing.is_fed and previous is None
        parameters = self.parameters
        most = parameters.retry_orphan_most if orphaned else parameters.retry_bootstrap_most
        pause = min(pause, most)
        self.alarms.set(Alarm.JOIN_AGAIN, now + jittered(self.rng, pause))
        may_offer = previous is None and not self.standing.setup.ordinary
        if self.failures >= self.parameters.offer_after and may_offer:
            offer = replace(self.record(now), flags=int(HostFlag.OFFERS))
            for point in self.standing.points.answering():
                request = self.standing.make(SourceRequest, host=offer)
                yield self.standing.ask(request, point.endpoint, now, tries=2)

    def named_elsewhere(self, state: Asking) -> tuple[Candidate, ...]:
        """List the super nodes that other RPs named and nobody has asked yet (Decision 21)."""
        if len(state.tried) >= MAXIMUM_ASKED or len(self.standing.points.answering()) < 2:
            return ()
        parent = self.parent()
        beside = {self.standing.host, *self.lost, *((parent.record.host,) if parent else ())}
        return tuple(
            candidate
            for candidate in self.known_candidates()
            if candidate.record.endpoint not in state.tried
            and candidate.record.host not in beside
            and candidate.record.endpoint.port
        )

    def on_join_again(self, key: Hashable, now: Instant) -> Actions:
        """Ask the RP for candidates again (-03 §6.1); while it is silent, those known before."""
        if isinstance(self.state, Waiting):
            if self.failures > self.parameters.offer_after:
                # It may be the only super node there is, and live.
                self.lost = ()
            pause = self.parameters.retry_bootstrap_most
            self.alarms.set(Alarm.JOIN_AGAIN, now + jittered(self.rng, pause))
            self.empty_handed = False
            yield from self.register(now, self.refused)
            if self.standing.rendezvous_silent and self.standing.super_nodes:
                yield from self.seek(self.known_candidates(), now, previous=self.state.previous)

    def on_source_response(
        self, message: SourceResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """The RP has taken the offer to the source, or knows no source yet."""
        self.matched(message, sender)
        yield from ()

    def on_parent_lost(self, parent: Parent, now: Instant) -> Actions:
        """Do not take the lost parent's name from the RP again, which may not know yet."""
        self.lost = (parent.record.host,)
        self.refused = self.lost
        led = parent.record.host == parent.super_node
        is_heir = parent.successor.host == self.standing.host
        if led and is_heir and not self.standing.setup.ordinary:
            self.alarms.set(Alarm.CLAIM, now + self.parameters.claim_after)
        yield from ()

    def on_claim(self, key: Hashable, now: Instant) -> Actions:
        """Neither source nor another place is in sight: hold the cluster together (Decision 22)."""
        if self.parent() is None and isinstance(self.state, (Probing, Asking, Waiting)):
            self._stop_seeking()
            yield Become("super-node", Claim(self.standing))

    def _stop_seeking(self) -> None:
        for alarm in (Alarm.PROBES, Alarm.PROBES_DONE, Alarm.OFFERS_DONE, Alarm.JOIN_AGAIN):
            self.alarms.stop(alarm)
        self.alarms.stop(Alarm.CLAIM)

    def on_joined(self, now: Instant) -> Actions:
        """A parent has confirmed: the next search starts afresh."""
        self.lost = self.refused = ()
        self.alarms.stop(Alarm.CLAIM)
        self.compare_later(now)
        yield from super().on_joined(now)

    def on_refresh_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the place; below a super node that has no way to the source look for another."""
        yield from super().on_refresh_alarm(key, now)
        parent = self.parent()
        if parent is None or parent.record.host != parent.super_node or self.has_place():
            return
        if isinstance(self.state, Joined):
            self.state = Waiting(parent)
            yield from self.on_join_again(None, now)

    # A super node from now on.

    def on_setup(self, message: SetupRequest, sender: Endpoint, now: Instant) -> Actions:
        """The source chose this host: become a super node in place (slide 9)."""
        if not self.standing.host:
            return  # The RP's answer is still under way; the source will ask again.
        if not message.sender.flags & HostFlag.SOURCE:
            yield Send(
                self.standing.answer(
                    SetupResponse,
                    message,
                    status=Status.NOT_SUPER_NODE,
                    sender=self.record(now),
                ),
                sender,
            )
            return
        self._stop_seeking()
        yield from self.give_back(now)
        yield Become("super-node", Handover(self.standing, message, sender, self.parent()))

    def take_over(self, parent: Parent | None, now: Instant) -> Actions:
        """Begin as a former super node: the mesh parent serves until a cluster takes this in."""
        self.state = Waiting(parent)
        yield from self.on_join_again(None, now)

    # Describing itself.

    def refresh_period(self) -> float:
        """Return how often the parent is refreshed, seconds (Decision 10)."""
        return self.parameters.refresh_cluster

    def known_candidates(self) -> list[Candidate]:
        """List the super nodes last heard of from the RP."""
        return [Candidate(record) for record in self.standing.super_nodes]

    def super_node(self) -> HostId:
        """Return the root of the cluster this host is in."""
        parent = self.parent()
        return HostId(0) if parent is None else parent.super_node

    def free_places(self, mesh: bool, now: Instant) -> int:
        """Count free places; a cluster member has none in the mesh."""
        if mesh:
            return 0
        most = min(self.standing.setup.out_degree, self.parameters.children)
        children = self.standing.children
        return max(0, most - children.taken(False, now) - children.taken(True, now))

    def backups_for(self, child: HostId) -> tuple[HostRecord, ...]:
        """Name the grandparent, and one of its level or this host's with room (Decision 20).

        The grandparent's level first: what kills parent and grandparent leaves those. Then this
        host's level, the children, who lose their parent with the child, and last those above.
        """
        parent = self.parent()
        mine = self.root_path()
        kin = [] if parent is None else list(self.kinship.named.values())
        kin.sort(key=lambda one: (one.record.host in mine, mine[0] in one.path))
        above = [one.record for one in kin if one.record.host in mine]
        beside = [one.record for one in kin if one.record.host not in mine]
        children = self.standing.children.records(False, BACKUPS + 1)
        turn = self.standing.children.turn(child)
        others = [*beside, *children, *above]
        return choose_backups(child, parent.record if parent else None, others, BACKUPS, turn)

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        parent = self.parent()
        return replace(
            super().view(now),
            parent=parent.record if parent is not None else None,
            backups=parent.backups if parent is not None else (),
        )

    GIVE_UP: ClassVar[Mapping[type[Message], Callable[..., Actions]]] = {
        SubscriptionRequest: NearingRole.on_rp_silent,
        PingRpRequest: NearingRole.on_rp_silent,
        JoinRequest: NearingRole.on_join_unanswered,
        ClusterRequest: NearingRole.on_join_unanswered,
        RefreshRequest: NearingRole.on_refresh_unanswered,
        ProbeRequest: NearingRole.on_probe_unanswered,
    }

    ALARMS: ClassVar[Mapping[Enum, Callable[..., Actions]]] = {
        Alarm.RETRY: NearingRole.on_retry,
        Alarm.LOCATE: NearingRole.on_locate_alarm,
        Alarm.REGISTER: NearingRole.on_register_alarm,
        Alarm.SWEEP: NearingRole.on_sweep,
        Alarm.PROBES: on_probes_alarm,
        Alarm.PROBES_DONE: on_probes_done,
        Alarm.OFFERS_DONE: NearingRole.on_offers_done,
        Alarm.JOIN_AGAIN: on_join_again,
        Alarm.REFRESH: on_refresh_alarm,
        Alarm.CLAIM: on_claim,
        Alarm.ROOM: NearingRole.on_room_alarm,
        Alarm.RETIRE: NearingRole.on_retire,
        Alarm.IMPROVE: NearingRole.on_improve_alarm,
        Alarm.NEARER: NearingRole.on_nearer_alarm,
        Alarm.LOOKED: NearingRole.on_looked_alarm,
        Alarm.PROMOTION: NearingRole.on_promotion_alarm,
        Alarm.LEAVE: NearingRole.on_leave_alarm,
    }

    _WITH_ID = (Registering, Probing, Asking, Confirming, Joined, Waiting)
    _ALIVE = (Idle, Locating, *_WITH_ID)

    TABLE: ClassVar[Mapping[tuple[type, type], Callable[..., Actions]]] = {
        (Idle, Start): NearingRole.on_start,
        (Locating, SubscriptionResponse): NearingRole.on_subscription,
        (Probing, ProbeResponse): on_probed,
        (Asking, JoinResponse): NearingRole.on_offer,
        (Asking, ClusterResponse): NearingRole.on_offer,
        (Joined, PromotionAck): NearingRole.on_promotion_ack,
        (Joined, BreakResponse): NearingRole.on_break_response,
        (Joined, JoinResponse): NearingRole.on_place_answer,
        (Joined, JoinNotification): NearingRole.on_join_notification,
        **for_states(
            (Probing, Asking, Confirming, Joined, Waiting),
            {
                RefreshResponse: NearingRole.on_refresh_answered,
                Silence: NearingRole.on_silence,
            },
        ),
        **for_states(_ALIVE, {Stop: NearingRole.on_stop, Subscribe: NearingRole.on_subscribe}),
        **for_states(
            (Asking, Confirming, Joined, Waiting),
            {ProbeResponse: NearingRole.on_probe_response},
        ),
        **for_states(
            _WITH_ID,
            {
                SubscriptionResponse: NearingRole.on_subscription,
                PingRpResponse: on_ping_rp,
                SourceResponse: on_source_response,
                ProbeRequest: NearingRole.on_probe,
                StatusReport: NearingRole.on_status_report,
                StatusResponse: NearingRole.on_status_response,
                JoinRequest: NearingRole.on_join_request,
                RefreshRequest: NearingRole.on_refresh,
                LeaveReport: NearingRole.on_leave_report,
                LeaveResponse: NearingRole.on_leave_response,
                DataRequest: NearingRole.on_data_request,
                SetupRequest: on_setup,
                PromotionRequest: NearingRole.on_climb_request,
                PromotionConfirm: NearingRole.on_promotion_confirm,
                BreakRequest: NearingRole.on_exchange_request,
                BreakConfirm: NearingRole.on_break_confirm,
                Unreachable: NearingRole.on_unreachable,
            },
        ),
        **LEAVING,
    }

    IGNORED: ClassVar[Mapping[tuple[type, type], str]] = ignored(_ALIVE, (Leaving, Gone), TABLE)
