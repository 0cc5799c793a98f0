"""The source of a session (slides 9, 15, 18, 21; -03 §4.1).

It registers at the RP, which then names to it every non-leaf host. From these it chooses super
nodes (policy), sends each a Setup Request, tells the others by Status Reports, and has the RP raise
the tree version. It is the root of the mesh: super nodes are its children, at most as many as its
out-degree; everybody else it sends to them. What it originates goes to the branches that want it. A
super node that is reported silent, or was not heard of for the hold time, is probed, and dropped
when it does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from enum import Enum
from typing import ClassVar

from dmmp.actions import Send
from dmmp.alarms import jittered
from dmmp.interest import Interest
from dmmp.messages import (
    BreakRequest,
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
    PromotionRequest,
    RefreshRequest,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    HostFlag,
    HostRecord,
    HostState,
    LeaveReason,
    RefreshKind,
    Status,
    is_shutdown,
    located,
)
from dmmp.messages.local import Start, Stop, Subscribe, Unreachable
from dmmp.messages.schema import Message
from dmmp.policies.capacity import by_capacity
from dmmp.policies.super_nodes import choose
from dmmp.roles.handover import for_states, ignored
from dmmp.roles.parenting import ParentRole
from dmmp.roles.registered_source import RegisteredSource
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import Gone, Idle, Leaving, Locating, Registering, Rooted
from dmmp.roles.view import View
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

MAXIMUM_KNOWN = 1024
"""Hosts remembered as possible super nodes, the most capable (slide 9)."""


class Source(RegisteredSource):
    """See the module's docstring."""

    NAME = "source"

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.candidates: dict[HostId, HostRecord] = {}
        self.least: HostRecord | None = None
        """The least welcome of them, if that is known and none has come since."""
        self.invited: dict[HostId, HostRecord] = {}
        self.heirs: dict[HostId, tuple[HostRecord, ...]] = {}

    # Choosing super nodes.

    def on_news(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """From the RP: a host that could be chosen. From a super node: a question of another."""
        yield Send(self.standing.answer(StatusResponse, message), sender)
        subject = message.subject
        if self.is_rp(sender):
            yield from self.note_candidate(subject, message.state, now)
            return
        asker, peer = self.mesh.peers.get(message.source), self.mesh.peers.get(subject.host)
        if asker is None or asker.endpoint != sender:
            return
        if peer is None:
            # The report of its end was lost, or it is none.
            yield self.report(HostState.INACTIVE, subject, sender, now)
        elif message.state == HostState.ACTIVE:
            yield self.report(HostState.ACTIVE, peer.record, sender, now)
        else:
            yield from self.doubt(subject.host, now)

    def note_candidate(self, subject: HostRecord, state: int, now: Instant) -> Actions:
        """Note a host the RP names; one that offers itself is chosen soon (slide 16)."""
        if state != HostState.ACTIVE:
            self.candidates.pop(subject.host, None)
            self.former.pop(subject.host, None)
            yield from self.doubt(subject.host, now)
            return
        if subject.host == self.standing.host or not subject.endpoint.port:
            return
        if len(self.candidates) >= MAXIMUM_KNOWN and subject.host not in self.candidates:
            least = self._least_welcome()
            if _by_welcome(least) < _by_welcome(subject):
                return
            del self.candidates[least.host]
        self.least = None
        self.candidates[subject.host] = subject
        if subject.flags & HostFlag.SUPER_NODE and subject.host not in self.mesh.peers:
            # It was one before this source started: take it up again.
            self.candidates[subject.host] = replace(subject, flags=subject.flags | HostFlag.OFFERS)
        offers = bool(self.candidates[subject.host].flags & HostFlag.OFFERS)
        self.choose_soon(now, 0.0 if offers else self.parameters.choose_after)

    def _least_welcome(self) -> HostRecord:
        """Return the last of a full table: looked for once, and not for each host of a crowd."""
        least = self.least
        if least is None or self.candidates.get(least.host) is not least:
            least = self.least = max(self.candidates.values(), key=_by_welcome)
        return least

    def choose_soon(self, now: Instant, after: float) -> None:
        """Arm the choice, unless an earlier one is armed."""
        if not self.candidates:
            return
        if after == 0.0 or not self.alarms.is_set(Alarm.CHOOSE):
            self.alarms.set(Alarm.CHOOSE, now + after)

    def on_choose(self, key: Hashable, now: Instant) -> Actions:
        """Choose super nodes and send each a Setup Request (slide 9)."""
        if not isinstance(self.state, Rooted):
            return  # The RP's answer is still under way: whom should they take for their source?
        present = [peer.record for peer in self.mesh.peers.values()] + list(self.invited.values())
        chosen = choose(
            list(self.candidates.values()),
            present,
            max(self.standing.hosts, len(self.candidates)),
            self.standing.setup.out_degree,
            self.parameters,
        )
        for host in chosen:
            yield from self.invite(host, now)

    def invite(self, host: HostRecord, now: Instant) -> Actions:
        """Send a Setup Request: be a super node (slide 9)."""
        members = tuple(peer.record for peer in self.mesh.super_nodes()[:MAXIMUM_CANDIDATES])
        self.invited[host.host] = host
        request = self.standing.make(SetupRequest, sender=self.record(now), members=members)
        yield self.standing.ask(request, host.endpoint, now)

    def invite_heir(self, heirs: tuple[HostRecord, ...], now: Instant) -> Actions:
        """Make the first of a super node's successors one; the next if it is not there (slide 21).

        Nobody is invited if one of them is a super node already, or if there is no room for more.
        """
        if any(heir.host in self.mesh.peers or heir.host in self.invited for heir in heirs):
            return
        usable = [
            heir
            for heir in heirs
            if heir.host and heir.endpoint.port and not heir.flags & HostFlag.ORDINARY
        ]
        if not usable or len(self.mesh) + len(self.invited) >= self.parameters.super_nodes_most:
            return
        self.heirs[usable[0].host] = tuple(usable[1:])
        yield from self.invite(usable[0], now)

    def on_setup_response(self, message: SetupResponse, sender: Endpoint, now: Instant) -> Actions:
        """A host is a super node from now on: tell the others, raise the tree version."""
        request = self.matched(message, sender)
        if request is None:
            return
        host = next((h for h, r in self.invited.items() if r.endpoint == request.to), HostId(0))
        if self.invited.pop(host, None) is None:
            return
        self.heirs.pop(host, None)
        if message.sender.host != host:
            self.candidates.pop(host, None)
            return
        if message.status != Status.SUCCESS:
            self.candidates.pop(host, None)
            return
        record = replace(
            message.sender, endpoint=sender, flags=message.sender.flags | HostFlag.SUPER_NODE
        )
        others = self.mesh.super_nodes()
        self.mesh.add(record, sender, now)
        trip = request.round_trip(now)
        if trip is not None:
            self.mesh.peers[host].sample(trip, self.parameters.delay_weight)
        yield from self.raise_tree(HostState.ACTIVE, record, now)
        # Several are chosen at once, so the Setup Request named only those of that moment.
        named = {member.host for member in request.message.members}  # type: ignore[attr-defined]
        for peer in others:
            if peer.record.host not in named:
                yield self.news(HostState.ACTIVE, peer.record, sender, now)
        yield from self.tell_mesh(HostState.ACTIVE, record, now)

    def on_setup_unanswered(self, request: Request, now: Instant) -> Actions:
        """The chosen host does not answer: choose another."""
        for host in [h for h, record in self.invited.items() if record.endpoint == request.to]:
            del self.invited[host]
            self.candidates.pop(host, None)
            yield from self.invite_heir(self.heirs.pop(host, ()), now)
        self.choose_soon(now, self.parameters.choose_after)

    def tell_mesh(self, state: HostState, subject: HostRecord, now: Instant) -> Actions:
        """Tell every other super node that one came or went."""
        for peer in list(self.mesh.peers.values()):
            if peer.record.host != subject.host:
                yield self.news(state, subject, peer.endpoint, now)

    def news(self, state: HostState, subject: HostRecord, to: Endpoint, now: Instant) -> Send:
        """Make one of many reports that go out together, and are answered together (Decision 9).

        On a narrow uplink that alone takes longer than a request waits, and all would go again.
        """
        wait = max(self.parameters.retry_first, self.parameters.news_each * len(self.mesh))
        return self.report(state, subject, to, now, wait)

    # Keeping the mesh.

    def on_mesh_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """A super node refreshes its place (a child) or its presence in the mesh (slide 18)."""
        peer = self.mesh.peers.get(message.source)
        known = peer is not None and peer.endpoint == sender
        if peer is not None and known:
            peer.record, peer.heard = located(message.sender, sender), now
            peer.successors = message.successors
            if message.kind == RefreshKind.MESH:
                self.mesh.note_links(message.source, message.links)
        # One that was chosen may refresh before its Setup Response is here.
        invited = self.invited.get(message.source)
        known = known or (invited is not None and invited.endpoint == sender)
        if not known and message.sender.flags & HostFlag.SUPER_NODE:
            former = self.former.get(message.source)
            if former is not None and former.endpoint == sender:
                # The way to it was cut, it was not gone.
                yield from self.take_back(message.source, now)
                known = True
            elif peer is None and invited is None and not self.is_settled(now):
                return  # It was one before this source came, and may be invited in a moment.
        claims = message.sender.flags & ~(HostFlag.FED | HostFlag.ORDINARY)
        if message.kind == RefreshKind.CHILD and (known or not claims):
            yield from self.on_child_refresh(message, sender, now)
            return
        status = Status.SUCCESS if known else Status.UNKNOWN_HOST
        yield Send(self.refresh_answer(message, status, now), sender)

    def may_ask(self, message: DataRequest, sender: Endpoint, now: Instant) -> bool:
        """Tell whether a host may have data: a super node, too, that is fed by another.

        If that one keeps everything back, and all hang below it, nobody else has any.
        """
        return super().may_ask(message, sender, now) or any(
            peer.endpoint == sender for peer in self.mesh.peers.values()
        )

    def on_join_request(self, message: JoinRequest, sender: Endpoint, now: Instant) -> Actions:
        """Offer a super node of this source a place; any other host gets none (slide 16).

        Else whoever claims to be one would keep places from those that are, by asking alone.
        """
        host, flags = message.applicant.host, message.applicant.flags
        claims = host == message.source != NO_HOST and bool(flags & HostFlag.SUPER_NODE)
        if claims and self.may_admit() and not self._chose(host, sender):
            yield from self.drop_former(host, sender, now)
            yield Send(self.offer(JoinResponse, message, Status.FULL, True, now), sender)
        else:
            yield from super().on_join_request(message, sender, now)

    def _chose(self, host: HostId, endpoint: Endpoint) -> bool:
        """Tell whether a host there is a super node, was invited, or was one until it fell silent.

        The last may only have been cut off, and comes back by its first Refresh.
        """
        known = (self.mesh.peers.get(host), self.invited.get(host), self.former.get(host))
        return any(held is not None and held.endpoint == endpoint for held in known)

    def on_mesh_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Probe super nodes that were not heard of for the hold time (Decision 10)."""
        self.alarms.set(Alarm.MESH, now + jittered(self.rng, self.parameters.refresh_mesh))
        for host, peer in list(self.mesh.peers.items()):
            if peer.heard + self.parameters.hold_mesh * self.mesh.hurry() <= now:
                yield from self.doubt(host, now)

    def doubt(self, host: HostId, now: Instant) -> Actions:
        """Probe a super node before believing that it is gone (slide 18)."""
        peer = self.mesh.peers.get(host)
        if peer is not None:
            wait = max(self.parameters.probe_wait_least, 3 * (peer.round_trip or 0.0))
            yield from self.probe(peer.endpoint, now, wait=wait)

    def on_probe_response(self, message: ProbeResponse, sender: Endpoint, now: Instant) -> Actions:
        """A doubted super node is alive, unless another host answers at its address."""
        if self.matched(message, sender) is None:
            return
        for host, peer in list(self.mesh.peers.items()):
            if peer.endpoint == sender and message.sender.host == host:
                hold = self.parameters.hold_mesh * self.mesh.hurry()
                forgotten = peer.heard + hold <= now
                peer.heard = now
                if forgotten:
                    # It lives and refreshes nothing here: it may have had another source.
                    yield from self.invite(peer.record, now)
            elif peer.endpoint == sender:
                yield from self.drop_super_node(host, now)

    def on_probe_unanswered(self, request: Request, now: Instant) -> Actions:
        """A super node is inactive: drop it and tell everybody (slide 21)."""
        for host, peer in list(self.mesh.peers.items()):
            if peer.endpoint == request.to:
                self.remember(peer.record)
                yield from self.drop_super_node(host, now)

    def drop_super_node(self, host: HostId, now: Instant) -> Actions:
        """Remove a super node from the mesh."""
        peer = self.mesh.remove(host)
        self.candidates.pop(host, None)
        if peer is None:
            return
        yield from self.drop_child(host, "inactive", now)
        yield from self.tell_mesh(HostState.INACTIVE, peer.record, now)
        yield from self.raise_tree(HostState.INACTIVE, peer.record, now)
        yield from self.invite_heir(peer.successors, now)
        self.choose_soon(now, self.parameters.choose_after)

    def on_unreachable(self, message: Unreachable, sender: Endpoint, now: Instant) -> Actions:
        """The network says nobody listens there: probe it."""
        for host, peer in list(self.mesh.peers.items()):
            if peer.endpoint == message.endpoint:
                yield from self.doubt(host, now)

    def on_leave_report(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A super node moved, elects its heir, or goes for good (slide 21)."""
        peer = self.mesh.peers.get(message.source)
        heir = message.replacement
        if message.reason == LeaveReason.HANDOVER and heir.host not in self.mesh.peers:
            # The place is kept for the heir once it is a super node; first it has to be one.
            yield Send(self.standing.answer(LeaveResponse, message), sender)
            if peer is not None and peer.endpoint == sender:
                yield from self.invite_heir((heir,), now)
            return
        yield from self.on_child_leaves(message, sender, now)
        if peer is not None and peer.endpoint == sender and is_shutdown(message.reason):
            yield from self.drop_super_node(message.source, now)

    def on_stop(self, message: Stop, sender: Endpoint, now: Instant) -> Actions:
        """Tell the super nodes and the RP, then go."""
        told = [peer.endpoint for peer in self.mesh.peers.values()]
        told += self.standing.registrars()
        yield from self.say_goodbye(told, HostRecord(), now)

    # Describing itself.

    def offer(
        self,
        cls: type[JoinResponse] | type[ClusterResponse],
        request: Message,
        status: Status,
        mesh: bool,
        now: Instant,
    ) -> Message:
        """Answer an applicant; a cluster member is sent to the super nodes."""
        answer = super().offer(cls, request, status, mesh, now)
        if status is Status.SUCCESS or mesh:
            return answer
        records = tuple(peer.record for peer in self.mesh.super_nodes()[:MAXIMUM_CANDIDATES])
        return replace(answer, children=records)  # type: ignore[call-arg]

    def flags(self) -> int:
        """Say what this host is."""
        return HostFlag.SOURCE

    def register_period(self) -> float:
        """Return how often the source asks the RP for the session's size, seconds."""
        return self.parameters.refresh_rp_core

    def has_place(self) -> bool:
        """The source is where the tree begins."""
        return isinstance(self.state, Rooted)

    def root_path(self) -> tuple[HostId, ...]:
        """Nobody stands above the source."""
        return ()

    def super_node(self) -> HostId:
        """The source is in no cluster."""
        return HostId(0)

    def free_places(self, mesh: bool, now: Instant) -> int:
        """Count free places: all of them serve the mesh."""
        most = min(self.standing.setup.out_degree, self.parameters.children)
        return max(0, most - self.standing.children.taken(True, now)) if mesh else 0

    def upstream(self) -> tuple[Endpoint, ...]:
        """Data comes from nowhere but this host."""
        return ()

    def delivers(self) -> tuple[Interest, ...]:
        """Programs here hear the source through their own kernel."""
        return ()

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        base = super().view(now)
        return replace(
            base,
            super_nodes=tuple(peer.record for peer in self.mesh.super_nodes()),
            tables=(
                *base.tables,
                ("mesh", len(self.mesh)),
                ("candidates", len(self.candidates)),
                ("former", len(self.former)),
                ("invited", len(self.invited)),
            ),
        )

    GIVE_UP: ClassVar[Mapping[type[Message], Callable[..., Actions]]] = {
        SubscriptionRequest: ParentRole.on_rp_silent,
        PingRpRequest: ParentRole.on_rp_silent,
        SetupRequest: on_setup_unanswered,
        StatusReport: RegisteredSource.on_status_unanswered,
        ProbeRequest: on_probe_unanswered,
    }

    ALARMS: ClassVar[Mapping[Enum, Callable[..., Actions]]] = {
        Alarm.RETRY: ParentRole.on_retry,
        Alarm.LOCATE: ParentRole.on_locate_alarm,
        Alarm.REGISTER: ParentRole.on_register_alarm,
        Alarm.SWEEP: ParentRole.on_sweep,
        Alarm.CHOOSE: on_choose,
        Alarm.MESH: on_mesh_alarm,
        Alarm.LEAVE: ParentRole.on_leave_alarm,
    }

    _WITH_ID = (Registering, Rooted)
    _ALIVE = (Idle, Locating, *_WITH_ID)

    TABLE: ClassVar[Mapping[tuple[type, type], Callable[..., Actions]]] = {
        (Idle, Start): ParentRole.on_start,
        (Locating, SubscriptionResponse): ParentRole.on_subscription,
        **for_states(_ALIVE, {Stop: on_stop, Subscribe: ParentRole.on_subscribe}),
        **for_states(
            _WITH_ID,
            {
                SubscriptionResponse: ParentRole.on_subscription,
                PingRpResponse: RegisteredSource.on_ping_rp,
                ProbeRequest: ParentRole.on_probe,
                ProbeResponse: on_probe_response,
                StatusReport: on_news,
                StatusResponse: RegisteredSource.on_status_response,
                SetupResponse: on_setup_response,
                JoinRequest: on_join_request,
                RefreshRequest: on_mesh_refresh,
                LeaveReport: on_leave_report,
                DataRequest: ParentRole.on_data_request,
                PromotionRequest: ParentRole.on_promotion_request,
                BreakRequest: ParentRole.on_break_request,
                Unreachable: on_unreachable,
            },
        ),
        (Leaving, LeaveResponse): ParentRole.on_leave_response,
        (Leaving, LeaveReport): ParentRole.on_child_leaves,
        (Leaving, ProbeRequest): ParentRole.on_probe,
    }

    IGNORED: ClassVar[Mapping[tuple[type, type], str]] = ignored(_ALIVE, (Leaving, Gone), TABLE)


def _by_welcome(host: HostRecord) -> tuple[bool, tuple[int, int, int]]:
    return (not host.flags & HostFlag.OFFERS, by_capacity(host))


__all__ = ["JoinResponse", "Rooted", "Source"]
