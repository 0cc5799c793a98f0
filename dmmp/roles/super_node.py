"""A super node (slides 8-10, 15, 17, 18, 21; -03 §4).

The source makes it one with a Setup Request that names the mesh; it answers, sets up with the other
super nodes (each round trip is the first measure of a link) and seeks a place below the source by
the same Join exchange that cluster members use. It then announces a few links in its Refresh to the
whole mesh. When link state has settled every super node computes the same degree-capped tree, and
each moves to its parent there: the new one confirms before the old one is left. Below it stands its
cluster, to which it answers Cluster and Join Requests; half of its out-degree serves the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import ClassVar

from dmmp.actions import Report, Send
from dmmp.alarms import jittered
from dmmp.events import Claimed, Promoted
from dmmp.events import Waiting as WaitingReport
from dmmp.messages import (
    BreakConfirm,
    BreakRequest,
    ClusterRequest,
    ClusterResponse,
    DataRequest,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    PromotionConfirm,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import (
    MAXIMUM_KIN,
    HostFlag,
    HostRecord,
    LeaveReason,
    Status,
    is_shutdown,
    located,
)
from dmmp.messages.local import Silence, Start, Stop, Subscribe, Unreachable
from dmmp.messages.schema import Message
from dmmp.policies.admission import Verdict
from dmmp.policies.backups import BACKUPS, choose_backups
from dmmp.policies.capacity import by_capacity, mesh_share
from dmmp.policies.parents import Candidate
from dmmp.roles.handover import Handover, for_states, ignored
from dmmp.roles.leaving import LEAVING
from dmmp.roles.mesh import Peer
from dmmp.roles.meshing import MeshingRole
from dmmp.roles.role import Actions
from dmmp.roles.seeking import MAXIMUM_ASKED
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import (
    NOBODY,
    Asking,
    Confirming,
    Gone,
    Idle,
    Joined,
    Leaving,
    Locating,
    Offering,
    Parent,
    Registering,
    Waiting,
)
from dmmp.roles.view import View
from dmmp.types import Endpoint, HostId, Instant


class SuperNode(MeshingRole):
    """See the module's docstring."""

    NAME = "super-node"

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.applicants: dict[HostId, tuple[ClusterRequest, Endpoint]] = {}
        self.has_claimed = False

    # Becoming one.

    def on_ping_rp(self, message: PingRpResponse, sender: Endpoint, now: Instant) -> Actions:
        """Registered: the source will send a Setup Request (slide 9)."""
        request = self.matched(message, sender)
        if request is None:
            return
        yield from self.note_registration(message, sender, request, now)
        if message.status == Status.SUCCESS and isinstance(self.state, Registering):
            self.state = Offering()
            yield from self.install(now)
            yield Report(WaitingReport("for the source to choose this host as super node"))

    def on_setup(self, message: SetupRequest, sender: Endpoint, now: Instant) -> Actions:
        """From the source: you are one. From another super node: we share the mesh (slide 9)."""
        if not self.standing.host:
            return  # The RP's answer is still under way; the source will ask again.
        by_source = bool(message.sender.flags & HostFlag.SOURCE)
        known = message.source in self.mesh.peers
        if by_source or known:
            status = Status.SUCCESS
        else:
            status = Status.UNKNOWN_HOST
        answer = self.standing.answer(
            SetupResponse, message, status=status, sender=self.record(now)
        )
        yield Send(answer, sender)
        before = self.mesh.source()
        if known or by_source:
            self.mesh.add(message.sender, sender, now)
        if by_source:
            anew = before is not None and before.record.host != message.source
            yield from self.enter_mesh(message, sender, now, anew)
        elif not known:
            yield from self.ask_about(message.sender, now)

    def enter_mesh(
        self, message: SetupRequest, sender: Endpoint, now: Instant, anew: bool = False
    ) -> Actions:
        """Learn the members the source names; without a place yet, seek one (slide 9)."""
        self.standing.tree_version = message.tree_version
        self.has_claimed = False
        self.mesh.add(message.sender, sender, now)
        parent = self.parent()
        if (
            parent is not None
            and parent.record.flags & HostFlag.SOURCE
            and parent.record.host != message.source
        ):
            # The source before is gone, be it that this one answers at its address.
            yield from self.lose_parent("another source", now)
        elif anew and isinstance(self.state, Asking):
            # The search began when there was none, and would end in vain.
            yield from self.seek(self.known_candidates(), now, previous=parent)
        for member in message.members:
            yield from self.meet(member, now)
        if not self.alarms.is_set(Alarm.MESH):
            self.alarms.set(Alarm.MESH, now + jittered(self.rng, self.parameters.rebuild_after))
        if not isinstance(self.state, (Asking, Confirming, Joined)):
            yield Report(Promoted(sender))
            yield from self.seek(self.known_candidates(), now, previous=self.parent())

    def take_over(self, handover: Handover, now: Instant) -> Actions:
        """Begin as a former member: answer the Setup Request, keep the old parent meanwhile."""
        self.state = Waiting(handover.parent)
        setup = handover.setup
        answer = self.standing.answer(SetupResponse, setup, sender=self.record(now))
        yield Send(answer, handover.source)
        yield from self.enter_mesh(setup, handover.source, now)
        # The old parent, which may be leaving, sees by the flag what its child is now.
        yield from self.send_refresh(now)
        yield from self.dismiss_surplus(now)

    def claim(self, now: Instant) -> Actions:
        """Begin as the successor of a super node that died out of the source's sight.

        The rest of the cluster gathers below it; the source confirms when it hears of it by the RP
        (Decision 22).
        """
        self.has_claimed = True
        yield Report(Claimed())
        yield from self.search_failed(None, now)
        yield from self.register(now)

    # Leaving.

    def must_elect(self) -> bool:
        """The heir of a super node has to be one itself before others go to it (slide 21)."""
        source = self.mesh.source()
        return source is not None and source.endpoint.port != 0

    def elect(self, heir: HostRecord, now: Instant) -> Actions:
        """Ask the source to make the heir a super node (slide 21)."""
        source = self.mesh.source()
        assert source is not None
        report = self.standing.make(LeaveReport, reason=LeaveReason.HANDOVER, replacement=heir)
        yield self.standing.ask(report, source.endpoint, now)

    def others_to_tell(self) -> list[Endpoint]:
        """List the RP, and the source, which tells the other super nodes."""
        source = self.mesh.source()
        return [*super().others_to_tell(), *([] if source is None else [source.endpoint])]

    def on_leave_report(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A parent that leaves is no member of the mesh any more, or the tree would lead back."""
        parent = self.parent()
        goes = parent is not None and parent.endpoint == sender
        if goes and is_shutdown(message.reason):
            source = self.mesh.source()
            if source is None or source.endpoint != sender:
                self.mesh.remove(message.source)
        yield from super().on_leave_report(message, sender, now)

    def dismiss_surplus(self, now: Instant) -> Actions:
        """Send away children that a member had and a super node has no place for.

        They are served until they have found another parent, so that the mesh gets its share
        (Decision 31) and nobody loses a packet.
        """
        out_degree = self.standing.setup.out_degree
        children = self.standing.children.of(mesh=False)
        surplus = len(children) - (out_degree - mesh_share(out_degree))
        children.sort(key=lambda child: by_capacity(child.record), reverse=True)
        for child in children[: max(0, surplus)]:
            message = self.standing.make(LeaveReport, reason=LeaveReason.DISMISSED)
            yield self.standing.ask(message, child.endpoint, now)

    # The cluster.

    def on_cluster_request(
        self, message: ClusterRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """Collect applicants for a moment, so that the most capable come first (slide 9)."""
        if len(self.applicants) < self.parameters.children:
            self.applicants[message.source] = (message, sender)
        if not self.alarms.is_set(Alarm.ADMIT):
            self.alarms.set(Alarm.ADMIT, now + self.parameters.cluster_window)
        yield from ()

    def on_admit(self, key: Hashable, now: Instant) -> Actions:
        """Answer the collected applicants, the most capable first (slide 9)."""
        waiting = sorted(self.applicants.values(), key=lambda held: by_capacity(held[0].applicant))
        self.applicants = {}
        for message, sender in waiting:
            applicant = located(message.applicant, sender)
            if not applicant.host:
                continue
            verdict = self.judge(applicant, False, False, now)
            status = Status.LOOP if verdict is Verdict.LOOP else Status.FULL
            if not self.has_place():
                status = Status.NOT_JOINED
            elif verdict is Verdict.ADMIT:
                self.standing.children.reserve(applicant.host, False, now)
                status = Status.SUCCESS
            yield Send(self.offer(ClusterResponse, message, status, False, now), sender)

    # The way up.

    def known_candidates(self) -> list[Candidate]:
        """List where to ask for a place in the mesh: the source, then the nearest super nodes."""
        source = self.mesh.source()
        peers: Sequence[Peer] = self.mesh.super_nodes()
        found = [] if source is None else [Candidate(source.record, source.round_trip or 0.0)]
        found += [Candidate(peer.record, peer.round_trip) for peer in peers]
        return found or [Candidate(record) for record in self.standing.super_nodes]

    def search_failed(self, previous: Parent | None, now: Instant) -> Actions:
        """No place in the mesh: keep what there is, try again soon."""
        self.state = Waiting(previous)
        yield from self.install(now)
        self.failures += 1
        if self.failures == self.parameters.offer_after:
            yield Report(WaitingReport("no place in the mesh yet, trying again"))
        pause = self.parameters.retry_bootstrap * 2 ** min(self.failures - 1, 4)
        pause = min(pause, self.parameters.retry_orphan_most)
        self.alarms.set(Alarm.JOIN_AGAIN, now + jittered(self.rng, pause))

    def on_met(self, peer: Peer, now: Instant) -> None:
        """Without a place, do not wait as long as the refusals before this one came suggest."""
        if mesh_share(peer.record.out_degree) == 0:
            return
        state = self.state
        if isinstance(state, Asking) and not self._is_asked(state, peer.endpoint):
            # It may have refused as what it was before: now its places are the mesh's, too.
            met = Candidate(peer.record, peer.round_trip)
            candidates = (met, *state.candidates)[:MAXIMUM_ASKED]
            tried = state.tried - {peer.endpoint}
            self.state = replace(state, candidates=candidates, tried=tried)
        elif isinstance(state, Waiting) and self.failures:
            # The first of several that come sets the time, or they would put it off for ever.
            self.failures = 0
            again = now + jittered(self.rng, self.parameters.retry_bootstrap)
            self.alarms.set(Alarm.JOIN_AGAIN, again)

    def _is_asked(self, state: Asking, endpoint: Endpoint) -> bool:
        if any(candidate.record.endpoint == endpoint for candidate in state.candidates):
            return True
        return self.standing.requests.is_open(JoinRequest, endpoint)

    def on_join_again(self, key: Hashable, now: Instant) -> Actions:
        """Seek a place in the mesh again."""
        if isinstance(self.state, Waiting):
            yield from self.seek(self.known_candidates(), now, previous=self.state.previous)

    def on_joined(self, now: Instant) -> Actions:
        """In the mesh: the RP may name this host to newcomers from now on."""
        self.refusal = None
        yield from self.register(now)

    def on_parent_lost(self, parent: Parent, now: Instant) -> Actions:
        """The source should know that a super node is inactive (slide 21)."""
        yield from self.report_inactive(parent.record, now)

    def on_room_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Tell the RP, which names this super node to newcomers, that room came or went."""
        room = self.room(now)
        if isinstance(self.state, Joined) and self.is_news(room):
            self.announced.room = room
            yield from self.register(now)

    # Describing itself.

    def refresh_period(self) -> float:
        """Return how often the mesh parent is refreshed, seconds (Decision 10).

        As often as in a cluster: interest and liveness of a branch matter more than its links.
        """
        return self.parameters.refresh_cluster

    def register_period(self) -> float:
        """Return how often the RP hears of this super node's free places."""
        return self.parameters.refresh_rp_core

    def flags(self) -> int:
        """Say what this host is: before the source chose it, only willing."""
        # Free places count for newcomers only once the super node is in the tree.
        if self.has_claimed:
            return HostFlag.SUPER_NODE | HostFlag.OFFERS
        return HostFlag.SUPER_NODE if self.mesh.peers else HostFlag.OFFERS

    def may_admit(self) -> bool:
        """Take in children with a place, or as one who holds an orphaned cluster together."""
        return super().may_admit() or self.has_claimed

    def successors(self) -> tuple[HostRecord, ...]:
        """Name the cluster's children that could take this host's place (slide 21)."""
        return self.standing.children.heirs_of(MAXIMUM_KIN)

    def successor(self) -> HostRecord:
        """Name the one that does if the source cannot choose (Decision 22)."""
        return next(iter(self.standing.children.heirs_of(1)), NOBODY)

    def super_node(self) -> HostId:
        """Return itself: it is the root of its cluster."""
        return self.standing.host

    def free_places(self, mesh: bool, now: Instant) -> int:
        """Count free places: half of the out-degree serves the mesh, the rest the cluster."""
        out_degree = min(self.standing.setup.out_degree, self.parameters.children)
        share = mesh_share(out_degree)
        children = self.standing.children
        most = share if mesh else out_degree - share
        free = most - children.taken(mesh, now)
        # A member that became super node may have more cluster children than its new share.
        total = out_degree - children.taken(True, now) - children.taken(False, now)
        return max(0, min(free, total))

    def backups_for(self, child: HostId) -> tuple[HostRecord, ...]:
        """Name near super nodes with room to the cluster's children.

        Near ones, or the one with most room would be everybody's backup, and be refreshed by all.
        """
        near = [peer.record for peer in self.mesh.super_nodes()]
        roomy = [record for record in near if record.free_slots > 0]
        others = [*roomy[: 2 * BACKUPS], *near[:BACKUPS]]
        held = self.standing.children.confirmed.get(child)
        if held is not None and held.mesh:
            return ()  # It knows the mesh itself.
        return choose_backups(child, None, others, BACKUPS, self.standing.children.turn(child))

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        parent = self.parent()
        base = super().view(now)
        return replace(
            base,
            parent=parent.record if parent is not None else None,
            backups=tuple(
                offer.candidate.record
                for offer in (self.backup_offers(parent) if parent is not None else ())
            ),
            super_nodes=tuple(peer.record for peer in self.mesh.super_nodes()),
            tables=(*base.tables, ("mesh", len(self.mesh)), ("applicants", len(self.applicants))),
        )

    GIVE_UP: ClassVar[Mapping[type[Message], Callable[..., Actions]]] = {
        SubscriptionRequest: MeshingRole.on_rp_silent,
        PingRpRequest: MeshingRole.on_rp_silent,
        JoinRequest: MeshingRole.on_join_unanswered,
        RefreshRequest: MeshingRole.on_refresh_given_up,
        ProbeRequest: MeshingRole.on_probe_unanswered,
    }

    ALARMS: ClassVar[Mapping[Enum, Callable[..., Actions]]] = {
        Alarm.RETRY: MeshingRole.on_retry,
        Alarm.LOCATE: MeshingRole.on_locate_alarm,
        Alarm.REGISTER: MeshingRole.on_register_alarm,
        Alarm.SWEEP: MeshingRole.on_sweep,
        Alarm.OFFERS_DONE: MeshingRole.on_offers_done,
        Alarm.JOIN_AGAIN: on_join_again,
        Alarm.REFRESH: MeshingRole.on_refresh_alarm,
        Alarm.ROOM: on_room_alarm,
        Alarm.RETIRE: MeshingRole.on_retire,
        Alarm.ADMIT: on_admit,
        Alarm.MESH: MeshingRole.on_mesh_alarm,
        Alarm.REBUILD: MeshingRole.on_rebuild,
        Alarm.PROMOTION: MeshingRole.on_promotion_alarm,
        Alarm.LEAVE: MeshingRole.on_leave_alarm,
    }

    _IN_MESH = (Asking, Confirming, Joined, Waiting)
    _WITH_ID = (Registering, Offering, *_IN_MESH)
    _ALIVE = (Idle, Locating, *_WITH_ID)

    TABLE: ClassVar[Mapping[tuple[type, type], Callable[..., Actions]]] = {
        (Idle, Start): MeshingRole.on_start,
        (Locating, SubscriptionResponse): MeshingRole.on_subscription,
        (Asking, JoinResponse): MeshingRole.on_offer,
        **for_states(_ALIVE, {Stop: MeshingRole.on_stop, Subscribe: MeshingRole.on_subscribe}),
        **for_states(
            _IN_MESH,
            {
                Silence: MeshingRole.on_silence,
                ClusterRequest: on_cluster_request,
            },
        ),
        **for_states(
            _WITH_ID,
            {
                SubscriptionResponse: MeshingRole.on_subscription,
                PingRpResponse: on_ping_rp,
                ProbeRequest: MeshingRole.on_probe,
                ProbeResponse: MeshingRole.on_probe_response,
                RefreshResponse: MeshingRole.on_refresh_answer,
                SetupResponse: MeshingRole.on_setup_response,
                StatusReport: MeshingRole.on_mesh_status,
                StatusResponse: MeshingRole.on_status_response,
                JoinRequest: MeshingRole.on_join_request,
                RefreshRequest: MeshingRole.on_refresh,
                LeaveReport: on_leave_report,
                LeaveResponse: MeshingRole.on_leave_response,
                DataRequest: MeshingRole.on_data_request,
                SetupRequest: on_setup,
                PromotionRequest: MeshingRole.on_promotion_request,
                PromotionConfirm: MeshingRole.on_promotion_confirm,
                BreakRequest: MeshingRole.on_exchange_request,
                BreakConfirm: MeshingRole.on_break_confirm,
                Unreachable: MeshingRole.on_unreachable,
            },
        ),
        **LEAVING,
    }

    IGNORED: ClassVar[Mapping[tuple[type, type], str]] = ignored(_ALIVE, (Leaving, Gone), TABLE)
