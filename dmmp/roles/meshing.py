"""A super node's part in the mesh (slides 8, 9 and 18, Decision 15).

It sets up with the other super nodes, which measures the links, and refreshes the whole mesh with
the few it announces. When link state has settled it computes the same degree-capped tree as all
the others and moves to its parent there: the new one confirms before the old one is left.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from dmmp.actions import Become, Send
from dmmp.alarms import jittered
from dmmp.messages import (
    DataRequest,
    LeaveReport,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.common import (
    HostFlag,
    HostRecord,
    HostState,
    LeaveReason,
    LinkRecord,
    RefreshKind,
    Status,
    located,
)
from dmmp.policies.backups import BACKUPS
from dmmp.policies.links import choose_links
from dmmp.policies.parents import Candidate
from dmmp.roles.displacing import DisplacingRole
from dmmp.roles.handover import Demotion
from dmmp.roles.mesh import Mesh, Peer
from dmmp.roles.requests import LONGEST_WAIT, Request
from dmmp.roles.rightful import RightfulRole
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import (
    Confirming,
    Joined,
    Offer,
    Parent,
    Registering,
)
from dmmp.types import Endpoint, HostId, Instant

SELDOM = 3
"""Periods of the mesh from one Refresh that comes sooner to the next (Decision 15)."""


MOST_TIMES = 10
"""Doublings of the pause after a refusal: it has long been as long as it gets."""


def is_source(peer: Peer) -> bool:
    """Tell whether a member of the mesh is the source."""
    return bool(peer.record.flags & HostFlag.SOURCE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A place in the core tree that is not to be had yet."""

    host: HostId
    times: int
    again: Instant


class MeshingRole(RightfulRole, DisplacingRole):
    """A role that takes part in the mesh; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.links: tuple[HostId, ...] = ()
        self.told_links: tuple[HostId, ...] = ()
        self.told_at: Instant = 0.0
        self.hastened: Instant = -inf
        self.refusal: Refusal | None = None

    def meet(self, record: HostRecord, now: Instant) -> Actions:
        """Set up with another super node (slide 9)."""
        if record.host == self.standing.host or not record.endpoint.port:
            return
        if self.mesh.add(record, record.endpoint, now):
            request = self.standing.make(SetupRequest, sender=self.record(now))
            yield self.standing.ask(request, record.endpoint, now)

    def on_setup_response(self, message: SetupResponse, sender: Endpoint, now: Instant) -> Actions:
        """The round trip is the first measure of the link."""
        request = self.matched(message, sender)
        if request is not None and message.status == Status.SUCCESS:
            self.heard(message.sender, sender, request, now)
            yield from self.choose_mesh_links(now)
            peer = self.mesh.peers.get(message.sender.host)
            if peer is not None and peer.endpoint == sender:
                self.on_met(peer, now)

    def on_met(self, peer: Peer, now: Instant) -> None:
        """Another super node has come: a hook."""

    def heard(
        self,
        record: HostRecord,
        sender: Endpoint,
        request: Request,
        now: Instant,
        above: tuple[HostId, ...] | None = None,
    ) -> None:
        """Renew what is known of a mesh member from its answer."""
        peer = self.mesh.peers.get(record.host)
        if peer is None or peer.endpoint != sender:
            return
        peer.record, peer.heard = located(record, sender), now
        if above is not None:
            peer.path = (record.host, *above)
        trip = request.round_trip(now)
        if trip is not None:
            peer.sample(trip, self.parameters.delay_weight)
        elif peer.round_trip is None:
            peer.round_trip, peer.is_guess = now - request.sent, True

    def choose_mesh_links(self, now: Instant, is_told: bool = False) -> Actions:
        """Choose the links to announce anew; what is good enough stays.

        `is_told`: the Refresh that tells of them goes out at once.
        """
        source = self.mesh.source()
        if source is None:
            return
        measured = self.mesh.measured()
        self.links = choose_links(
            self.standing.host,
            source.record.host,
            measured,
            self.parameters,
            self.rng,
            self.links,
            self.mesh.from_source(),
        )
        if is_told:
            self.told_links, self.told_at = self.links, now
        elif self.links != self.told_links:
            self.tell_links_soon(now)
        self.alarms.set(Alarm.REBUILD, now + self.parameters.rebuild_after)
        yield from ()

    def tell_links_soon(self, now: Instant) -> None:
        """Let the next Refresh of the mesh come sooner: until then others compute another tree.

        Seldom: where super nodes come and go all the time, links always change.
        """
        soon = max(
            now + self.parameters.place_wait,
            self.told_at + self.parameters.refresh_mesh,
            self.hastened + SELDOM * self.mesh_period(),
        )
        if self.alarms.hasten(Alarm.MESH, now + jittered(self.rng, soon - now)):
            self.hastened = now

    def parent_trip(self, parent: Parent) -> float | None:
        """Return the round trip to the mesh parent, as the mesh measures it."""
        peer = self.mesh.peers.get(parent.record.host)
        return None if peer is None else peer.round_trip

    def link_state(self) -> tuple[LinkRecord, ...]:
        """Return the announced links with their delays."""
        measured = self.mesh.measured()
        return tuple(LinkRecord(host, measured[host]) for host in self.links if host in measured)

    def mesh_period(self) -> float:
        """Return how often the mesh is refreshed, seconds: what one host sends stays the same."""
        return self.parameters.refresh_mesh * self.mesh.hurry()

    def on_mesh_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Refresh the whole mesh and the source with this host's link state (slide 18)."""
        self.alarms.set(Alarm.MESH, now + jittered(self.rng, self.mesh_period()))
        yield from self.choose_mesh_links(now, is_told=True)
        links = self.link_state()
        for peer in list(self.mesh.peers.values()):
            yield self.standing.ask(
                self.standing.make(
                    RefreshRequest,
                    kind=RefreshKind.MESH,
                    sender=self.record(now),
                    super_node=self.standing.host,
                    root_path=self.root_path(),
                    links=links,
                    successors=self.successors() if is_source(peer) else (),
                ),
                peer.endpoint,
                now,
                tries=self.parameters.join_tries,
                wait=self._wait_for(peer),
            )

    def _wait_for(self, peer: Peer) -> float:
        wait = max(self.parameters.retry_first, 1.5 * (peer.round_trip or 0.0))
        return min(wait, LONGEST_WAIT)

    def on_other_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """Take link state from a mesh member; from the parent its path (slide 18)."""
        if message.kind != RefreshKind.MESH:
            yield from super().on_other_refresh(message, sender, now)
            return
        peer = self.mesh.peers.get(message.source)
        known = peer is not None and peer.endpoint == sender
        status = Status.SUCCESS if known else Status.UNKNOWN_HOST
        yield Send(self.refresh_answer(message, status, now), sender)
        if peer is not None and known:
            peer.record, peer.heard = located(message.sender, sender), now
            peer.path = (message.sender.host, *message.root_path)
            if self.mesh.note_links(message.source, message.links):
                self.alarms.set(Alarm.REBUILD, now + self.parameters.rebuild_after)
        else:
            yield from self.ask_about(message.sender, now)

    def on_refresh_answer(
        self, message: RefreshResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """An answer from the parent, or from the mesh: then it measures the link."""
        request = self.standing.requests.peek(message, sender)
        if request is not None:
            for peer in self.mesh.at(sender):
                if peer.record.host != message.sender.host:
                    # It was started again there, and is another host.
                    yield from self.is_gone(peer, now)
        if request is not None and self._is_mesh_refresh(request):
            self.standing.requests.close(message.sequence)
            source = self.mesh.source()
            is_new = source is not None and source.round_trip is None
            self.heard(message.sender, sender, request, now, message.root_path)
            if source is None or source.endpoint != sender:
                return
            if message.status == Status.UNKNOWN_HOST:
                yield from self.dismissed(now)
            elif is_new:
                # Until it was measured no link to it could be announced.
                yield from self.choose_mesh_links(now)
        else:
            yield from self.on_refresh_answered(message, sender, now)

    def _is_mesh_refresh(self, request: Request) -> bool:
        return (
            isinstance(request.message, RefreshRequest) and request.message.kind == RefreshKind.MESH
        )

    def on_refresh_given_up(self, request: Request, now: Instant) -> Actions:
        """Nobody answered: the source judges whether a mesh member is inactive (slide 21)."""
        if not self._is_mesh_refresh(request):
            yield from self.on_refresh_unanswered(request, now)
            return
        for peer in self.mesh.at(request.to):
            yield from self.is_gone(peer, now)
            if self.standing.children.by_endpoint(peer.endpoint) is not None:
                yield from self.probe(peer.endpoint, now)

    def is_gone(self, peer: Peer, now: Instant) -> Actions:
        """Avoid a mesh member that is dead, or cut off from here, as long as that lasts."""
        peer.round_trip = peer.announced_us = None
        yield from self.report_inactive(peer.record, now)
        yield from self.choose_mesh_links(now)
        yield from self.install(now)

    def report_inactive(self, record: HostRecord, now: Instant) -> Actions:
        """Tell the source that a super node does not answer (slide 18)."""
        source = self.mesh.source()
        if source is not None and source.record.host != record.host:
            report = self.standing.make(StatusReport, state=HostState.INACTIVE, subject=record)
            yield self.standing.ask(report, source.endpoint, now, tries=2)

    def ask_about(self, record: HostRecord, now: Instant) -> Actions:
        """Ask the source about a host that acts as a super node: its report may have been lost.

        One such question is under way at a time: strangers cost little.
        """
        source = self.mesh.source()
        if source is None or not record.flags & HostFlag.SUPER_NODE:
            return
        if not self.standing.requests.is_open(StatusReport, source.endpoint):
            question = self.standing.make(StatusReport, state=HostState.ACTIVE, subject=record)
            yield self.standing.ask(question, source.endpoint, now, tries=2)

    def on_mesh_status(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """From the source: a super node came or went (slides 9 and 21)."""
        yield Send(self.standing.answer(StatusResponse, message), sender)
        source = self.mesh.source()
        if source is None or source.endpoint != sender:
            yield from self._on_news_from_below(message, sender, now)
            return
        self.note_tree_version(message)
        subject = message.subject
        if message.state == HostState.ACTIVE:
            yield from self.meet(subject, now)
        elif subject.host == self.standing.host:
            yield from self.dismissed(now)
        else:
            self.mesh.remove(subject.host)
            yield from self.choose_mesh_links(now)
            yield from self.install(now)

    def _on_news_from_below(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """Somebody known says that a relative is inactive (slide 18).

        Its parent looks at a child itself: it holds the place that its children need. About a
        super node the source judges.
        """
        subject = message.subject.host
        peer = self.mesh.peers.get(subject)
        known = (
            self.kinship.is_guest(sender, now)
            or self.standing.children.by_endpoint(sender) is not None
            or any(held.endpoint == sender for held in self.mesh.peers.values())
        )
        source = self.mesh.source()
        if not known or message.state != HostState.INACTIVE:
            return
        yield from self.doubt_child(self.standing.children.confirmed.get(subject), now)
        if peer is None or source is None:
            return
        if not self.standing.requests.is_open(StatusReport, source.endpoint):
            yield from self.report_inactive(peer.record, now)

    # Backups, which a super node finds by itself: it knows the whole mesh.

    def relatives(self) -> Sequence[HostRecord]:
        """List nobody: mesh members refresh each other anyway (slide 18)."""
        return ()

    def backup_offers(self, parent: Parent) -> list[Offer]:
        """List the source and the super nodes not below this host, those with room first.

        Room in the mesh follows from the core tree, which every super node computes.
        """
        room = self.mesh.room(self.core_tree())
        usable = self._mesh_backups(parent)
        usable.sort(
            key=lambda peer: (
                parent.record.host in peer.path,
                room.get(peer.record.host, 0) <= 0,
                len(peer.path),
            )
        )
        return [
            Offer(
                Candidate(peer.record, peer.round_trip),
                self.standing.host,
                peer.path or (peer.record.host,),
            )
            for peer in usable[: BACKUPS + 1]
        ]

    def _mesh_backups(self, parent: Parent) -> list[Peer]:
        """List the mesh members that could be the parent instead: source first, then by delay."""
        source = self.mesh.source()
        peers = [] if source is None else [source]
        peers += self.mesh.super_nodes()
        return [
            peer
            for peer in peers
            if peer.record.host != parent.record.host
            and (peer is source or (peer.path and peer.round_trip is not None))
            and self.may_hang_below(peer.path or (peer.record.host,))
            and self.trusts((peer.record.host, *peer.path))
        ]

    def repairers(self) -> tuple[Endpoint, ...]:
        """List mesh members that could be the parent, then some of its children (slide 17).

        A host that has just become a super node may have children who know more than it does.
        """
        parent = self.parent()
        if parent is None:
            return ()
        found = [peer.endpoint for peer in self._mesh_backups(parent)[: BACKUPS + 1]]
        found += [child.endpoint for child in self.standing.children.of(mesh=False)[:BACKUPS]]
        return tuple(e for e in dict.fromkeys(found) if e != parent.endpoint)

    def may_ask(self, message: DataRequest, sender: Endpoint, now: Instant) -> bool:
        """Tell whether a host may have data: its relatives, and every member of the mesh."""
        return super().may_ask(message, sender, now) or any(
            peer.endpoint == sender for peer in self.mesh.peers.values()
        )

    def note_backup(
        self, message: ProbeResponse, request: Request, sender: Endpoint, now: Instant
    ) -> None:
        """A mesh member has answered a probe: note when, and how far it is."""
        self.heard(message.sender, sender, request, now)

    def core_tree(self) -> Mapping[HostId, HostId]:
        """Compute every super node's mesh parent from the links known (Decision 15)."""
        source = self.mesh.source()
        if source is None:
            return {}
        mine = {link.neighbour: link.delay_us for link in self.link_state()}
        out_degree = self.standing.setup.out_degree
        return self.mesh.tree(source.record.host, self.standing.host, out_degree, mine)

    def on_rebuild(self, key: Hashable, now: Instant) -> Actions:
        """Compute the core tree and move to this host's parent there (Decision 15)."""
        state = self.state
        if not isinstance(state, Joined):
            return
        chosen = self.core_tree().get(self.standing.host)
        peer = self.mesh.peers.get(chosen) if chosen is not None else None
        # What a member that is not heard here has said of its link may be old (Decision 61).
        if peer is None or peer.round_trip is None or peer.endpoint == state.parent.endpoint:
            return
        if not self.trusts((peer.record.host,)):
            return  # Its place in the tree is below a host that it has just left for a reason.
        if self.is_near_enough():
            return
        refusal = self.refusal
        if refusal is not None and refusal.host == chosen and now < refusal.again:
            self.alarms.set(Alarm.REBUILD, refusal.again)
            return
        offer = Offer(Candidate(peer.record, peer.round_trip), self.standing.host, ())
        yield from self.confirm(offer, (), state.parent, True, now)

    def is_near_enough(self) -> bool:
        """Tell whether the way through the present parent is about as short as in the tree.

        A tree changes in many places when one super node comes or goes, mostly for next to
        nothing, and each move is news for everybody below.
        """
        present = 2 * self.path_delay()
        planned = self.mesh.way(self.standing.host)
        return 0 < present <= planned * self.parameters.move_gain

    def confirmation_failed(self, now: Instant) -> Actions:
        """A place in the core tree is taken still: ask again, less and less often (Decision 33)."""
        state = self.state
        if isinstance(state, Confirming) and state.moving:
            self.note_refusal(state.offer.candidate.record.host, now)
        yield from super().confirmation_failed(now)

    def note_refusal(self, host: HostId, now: Instant) -> None:
        """Note who refused a place in the core tree, and arm the next attempt."""
        held = self.refusal
        times = min(held.times + 1, MOST_TIMES) if held is not None and held.host == host else 0
        pause = min(self.parameters.rebuild_after * 2**times, self.parameters.refresh_mesh)
        again = now + jittered(self.rng, pause)
        self.refusal = Refusal(host, times, again)
        self.alarms.set(Alarm.REBUILD, again)

    def dismissed(self, now: Instant) -> Actions:
        """The source does not count this host among the super nodes any more."""
        if self.standing.setup.relay_only:
            # It has no place of its own any more, so nobody can have one below it.
            parent = self.parent()
            told = {
                child.endpoint: LeaveReason.DISMISSED
                for child in self.standing.children.confirmed.values()
            }
            told.update({} if parent is None else {parent.endpoint: LeaveReason.MOVED})
            for endpoint, reason in told.items():
                report = self.standing.make(LeaveReport, reason=reason)
                yield self.standing.ask(report, endpoint, now)
            self.mesh = Mesh(self.parameters)
            self.links = self.told_links = ()
            self.refusal = None
            self.state = Registering()
            self.alarms.stop(Alarm.MESH)
            self.alarms.stop(Alarm.REBUILD)
            yield from self.install(now)
            yield from self.register(now)
        else:
            for alarm in (Alarm.MESH, Alarm.REBUILD, Alarm.ADMIT, Alarm.OFFERS_DONE):
                self.alarms.stop(alarm)
            yield Become("member", Demotion(self.standing, self.parent()))
