"""Having children: admission, their refreshes and interest, their leaving.

An applicant gets a place, is passed down, or is refused with the children to ask (slide 16); its
first Refresh takes up the offer. Each Refresh renews place and interest (slide 18, Decision 25);
what is not renewed lapses (Decision 10).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from dmmp.actions import ANY_ORIGIN, Replay, Report, Send
from dmmp.errors import Violation
from dmmp.events import ChildAdded, ChildLost
from dmmp.messages import (
    ClusterResponse,
    DataRequest,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    NOT_JOINED_DEPTH,
    HostFlag,
    HostRecord,
    LeaveReason,
    RefreshKind,
    Status,
    located,
)
from dmmp.messages.schema import Message
from dmmp.policies.admission import Applicant, ClusterView, Verdict, admit_first
from dmmp.policies.backups import BACKUPS
from dmmp.policies.capacity import mesh_share
from dmmp.roles.registration import RegisteredRole
from dmmp.roles.relatives import Child
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm
from dmmp.types import Endpoint, HostId, Instant, serial_newer


class ParentRole(RegisteredRole):
    """A role that may have children; see the module's docstring."""

    def on_join_request(self, message: JoinRequest, sender: Endpoint, now: Instant) -> Actions:
        """Offer a place, pass the request down, or refuse with the children (slide 16)."""
        applicant = message.applicant
        # A request that was passed down names where the applicant is; a direct one shows it. Only
        # the parent passes down, or anybody could have answers sent to anybody; one that was the
        # parent until just now does no wrong.
        if message.source == applicant.host:
            applicant = located(applicant, sender)
            yield from self.drop_former(applicant.host, sender, now)
        elif not self.is_parent(sender):
            return
        mesh = bool(applicant.flags & HostFlag.SUPER_NODE)
        if not self.may_admit():
            answer = self.offer(JoinResponse, message, Status.NOT_JOINED, mesh, now)
            yield Send(answer, applicant.endpoint)
            return
        verdict = self.judge(applicant, mesh, message.passes > 0, now)
        if verdict not in (Verdict.ADMIT, Verdict.LOOP) and mesh and self.make_room(applicant, now):
            verdict = Verdict.ADMIT
        children = self.standing.children
        if verdict is Verdict.ADMIT and children.inherits(applicant.host, mesh, now) is None:
            # An heir has a child's place and needs no other: both together would be one too many.
            children.reserve(applicant.host, mesh, now)
        if verdict is Verdict.PASS_DOWN:
            yield from self.pass_down(message, applicant, mesh)
            return
        status = {Verdict.ADMIT: Status.SUCCESS, Verdict.LOOP: Status.LOOP}.get(
            verdict, Status.FULL
        )
        yield Send(self.offer(JoinResponse, message, status, mesh, now), applicant.endpoint)

    def make_room(self, applicant: HostRecord, now: Instant) -> bool:
        """Promise a homeless super node that can feed others the place of one that feeds nobody.

        Else leaves that came first could fill the mesh and keep it from growing (Decision 40).
        """
        if applicant.depth != NOT_JOINED_DEPTH or mesh_share(applicant.out_degree) == 0:
            return False
        for child in self.standing.children.of(mesh=True):
            if mesh_share(child.record.out_degree) == 0:
                until = now + self.parameters.reservation_hold
                self.standing.children.will(applicant.host, child.record.host, until)
                return True
        return False

    def judge(self, applicant: HostRecord, mesh: bool, may_pass: bool, now: Instant) -> Verdict:
        """Ask the admission policy."""
        children = self.standing.children
        if not applicant.host:
            raise Violation("-03 §6.3", "an applicant without an id")
        if applicant.host in self.ancestors():
            return Verdict.LOOP
        return admit_first(
            Applicant(
                applicant.host,
                (
                    applicant.host in children.confirmed
                    and children.confirmed[applicant.host].mesh is mesh
                )
                or children.has_reserved(applicant.host, mesh, now),
                may_pass,
            ),
            ClusterView(
                self.standing.host,
                self.root_path(),
                self.free_places(mesh, now),
                sum(child.record.free_slots for child in children.of(mesh))
                if not mesh
                else len(children.of(mesh=True)),
                self.parameters.path,
            ),
        )

    def offer(
        self,
        cls: type[JoinResponse] | type[ClusterResponse],
        request: Message,
        status: Status,
        mesh: bool,
        now: Instant,
    ) -> Message:
        """Make the answer to an applicant: the place, or the children to ask in turn."""
        refused = status is not Status.SUCCESS
        children = self.standing.children.records(mesh, MAXIMUM_CANDIDATES) if refused else ()
        answer: Message = self.standing.answer(
            cls,
            request,
            status=status,
            parent=self.record(now),
            super_node=self.super_node(),
            root_path=self.root_path(),
            children=children,
        )
        return answer

    def pass_down(self, message: JoinRequest, applicant: HostRecord, mesh: bool) -> Actions:
        """Pass a Join Request to the children with most places below (slide 16)."""
        children = self.standing.children
        # What the request claims beyond the limit counts for nothing: it would flood the tree.
        passes = min(message.passes, self.parameters.pass_down)
        width = self.parameters.pass_width if passes == self.parameters.pass_down else 1
        targets = children.of(mesh=True) if mesh else children.most_spare(False, width)
        if mesh:
            targets = sorted(targets, key=lambda child: self.rng.random())[:width]
        passed = replace(message, source=self.standing.host, applicant=applicant, passes=passes - 1)
        if targets and not mesh:
            # One place fewer to promise until the next refresh says what is left; whose it is that
            # the applicant takes is not known, and it takes but one.
            child = targets[self.rng.randrange(len(targets))]
            child.record = replace(child.record, free_slots=child.record.free_slots - 1)
        for child in targets:
            yield Send(passed, child.endpoint)

    def on_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """Renew a relative's state; from a child also its interest (slide 18)."""
        if message.kind == RefreshKind.CHILD:
            yield from self.on_child_refresh(message, sender, now)
        else:
            yield from self.on_other_refresh(message, sender, now)

    def on_child_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """Confirm or renew a child's place (slide 18); its first refresh takes up the offer."""
        children = self.standing.children
        host = message.source
        mesh = bool(message.sender.flags & HostFlag.SUPER_NODE)
        yield from self.drop_former(host, sender, now)
        held = children.confirmed.get(host)
        if held is not None and not self._has_room(host, mesh, now):
            # A child whose role changed keeps the place it has until there is one of the other
            # kind: it is served meanwhile.
            mesh = held.mesh
        status = self._place_for(message, held, mesh, now)
        if status is not Status.SUCCESS:
            children.release(host)
            if held is not None and held.endpoint == sender:
                yield from self.drop_child(host, f"refused, status {int(status)}", now)
            yield Send(self.refresh_answer(message, status, now), sender)
            if status is Status.FULL and mesh:
                yield from self.on_mesh_full(host, sender, now)
            return
        hold = self.parameters.hold_mesh if mesh else self.parameters.hold_cluster
        record = located(message.sender, sender)
        moved = held is not None and held.endpoint != sender
        former = children.inherits(host, mesh, now)
        if former is not None and former.record.host != host:
            # At this moment, so that this host never has one child more than it can feed: nor is
            # the former promised another place, as it is if it asked for one meanwhile.
            children.remove(former.record.host)
            children.release(former.record.host)
            self.standing.requests.close_all_to(former.endpoint, ProbeRequest)
            yield Report(ChildLost(former.record.host, "its place went to its heir"))
            # One that leaves knows it; any other asks the heir first.
            yield self.standing.ask(
                self.standing.make(LeaveReport, reason=LeaveReason.DISMISSED, replacement=record),
                former.endpoint,
                now,
            )
        is_new = children.confirm(record, sender, mesh, now + hold)
        child = children.confirmed[host]
        if is_new:
            child.confirmed = message.sequence
        changed = children.note_interest(child, message.interest, message.sequence, now + hold)
        if is_new:
            for early in self.standing.kinship.kept_for(sender, now):
                yield _replay(early, sender)
        if is_new or changed or moved:
            yield from self.install(now)
        if is_new and not message.sender.flags & HostFlag.FED:
            # What this host holds goes ahead of what comes (slide 17). A child that was
            # fed before has asked for what it lacks, just ahead of this message.
            yield Replay(self.standing.session, ANY_ORIGIN, 0, 0, b"", sender)
        if is_new:
            yield Report(ChildAdded(host, sender))
            if not self.alarms.is_set(Alarm.SWEEP):
                self.alarms.set(Alarm.SWEEP, now + self.parameters.sweep)
            self.alarms.hasten(Alarm.SWEEP, now + hold)
        yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        if is_new or changed:
            yield from self.on_subtree_changed(now)
        yield from self.on_room_changed(now)

    def on_mesh_full(self, applicant: HostId, sender: Endpoint, now: Instant) -> Actions:
        """React to a super node that was refused for want of a place in the mesh."""
        yield from ()

    def _place_for(
        self, message: RefreshRequest, held: Child | None, mesh: bool, now: Instant
    ) -> Status:
        host = message.source
        if not host or message.sender.host != host:
            raise Violation("slide 18", "a refresh that does not say whose it is")
        above = self.ancestors() if held is None else self.root_path()
        if host == self.standing.host or host in above:
            return Status.LOOP
        if held is not None and held.mesh is mesh:
            return Status.SUCCESS
        if not self.may_admit() and held is None:
            return Status.NOT_JOINED
        return Status.SUCCESS if self._has_room(host, mesh, now) else Status.FULL

    def _has_room(self, host: HostId, mesh: bool, now: Instant) -> bool:
        reserved = self.standing.children.has_reserved(host, mesh, now)
        return reserved or self.free_places(mesh, now) > 0

    def refresh_answer(
        self, message: RefreshRequest, status: Status, now: Instant
    ) -> RefreshResponse:
        """Make the response to a refresh."""
        return self.standing.answer(
            RefreshResponse,
            message,
            status=status,
            sender=self.record(now),
            super_node=self.super_node(),
            root_path=self.root_path(),
            **self._relatives_for(message, status),
        )

    def _relatives_for(
        self, message: RefreshRequest, status: Status
    ) -> dict[str, tuple[HostRecord, ...] | HostRecord]:
        """Name to a child its relatives, to a refused one the children that have room."""
        if message.kind != RefreshKind.CHILD:
            return {}
        if status is Status.FULL:
            if message.sender.flags & HostFlag.SUPER_NODE:
                return {}  # Cluster members have no places in the mesh.
            spare = self.standing.children.most_spare(False, BACKUPS)
            return {"backups": tuple(located(child.record, child.endpoint) for child in spare)}
        if status is not Status.SUCCESS:
            return {}
        return {
            "backups": self.backups_for(message.source),
            "siblings": self.siblings_for(message.source),
            "successor": self.successor(),
        }

    def on_child_leaves(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """Let a child, or an applicant that declined, go (slide 20)."""
        yield Send(self.standing.answer(LeaveResponse, message), sender)
        self.standing.children.release(message.source)
        if message.reason == LeaveReason.DECLINED:
            return
        child = self.standing.children.confirmed.get(message.source)
        if child is None or child.endpoint != sender:
            return
        if child.confirmed and serial_newer(child.confirmed, message.sequence, 32):
            return  # It left before it came back, and the report was late.
        if message.reason == LeaveReason.HANDOVER:
            heir = message.replacement.host
            if heir and heir not in self.ancestors():
                until = now + self.parameters.hold_cluster
                self.standing.children.will(heir, message.source, until)
            return
        yield from self.drop_child(message.source, "left", now)

    def drop_former(self, host: HostId, sender: Endpoint, now: Instant) -> Actions:
        """Drop a child whose address another host has now: it was started again there."""
        former = self.standing.children.by_endpoint(sender)
        if former is not None and former.record.host != host:
            yield from self.drop_child(former.record.host, "started again", now)

    def drop_child(self, host: HostId, reason: str, now: Instant) -> Actions:
        """Remove a child and what its subtree wanted."""
        child = self.standing.children.remove(host)
        if child is None:
            return
        # Nothing else: a host that ceases to be a child may be about to become the parent.
        self.standing.requests.close_all_to(child.endpoint, ProbeRequest)
        yield Report(ChildLost(host, reason))
        yield from self.install(now)
        yield from self.on_subtree_changed(now)
        yield from self.on_room_changed(now)

    def on_sweep(self, key: Hashable, now: Instant) -> Actions:
        """Doubt children whose hold time is over, drop those that stay silent (Decision 10)."""
        children = self.standing.children
        self.standing.kinship.expire(now)
        for host, child in list(children.confirmed.items()):
            if child.expires + self.parameters.sweep <= now:
                yield from self.drop_child(host, "silent", now)
            elif child.expires <= now:
                yield from self.probe(child.endpoint, now)
        if children.expire_interest(now):
            yield from self.install(now)
            yield from self.on_subtree_changed(now)
        if children.confirmed:
            at = max(now + self.parameters.sweep, children.lapse_next())
            self.alarms.set(Alarm.SWEEP, at)

    def on_data_request(self, message: DataRequest, sender: Endpoint, now: Instant) -> Actions:
        """Send a relative what it lacks and this host holds (slide 17, Decision 18)."""
        if self.may_ask(message, sender, now):
            yield _replay(message, sender)
        else:
            # A host that takes up a place asks just ahead of it, so that all comes in order.
            self.standing.kinship.keep(message, sender, now)

    def may_admit(self) -> bool:
        """Tell whether this host takes in children at all: only with a place of its own."""
        return self.has_place()

    def may_ask(self, message: DataRequest, sender: Endpoint, now: Instant) -> bool:
        """Tell whether a host may have data: children, those about to be some, relatives."""
        children = self.standing.children
        return (
            children.by_endpoint(sender) is not None
            or self.standing.kinship.is_guest(sender, now)
            or any(children.has_reserved(message.source, mesh, now) for mesh in (False, True))
            or self.is_parent(sender)
        )

    def probe(
        self,
        endpoint: Endpoint,
        now: Instant,
        tries: int = 0,
        wait: float = 0.0,
        backoff: float = 2.0,
    ) -> Actions:
        """Probe a relative before the verdict (slide 18); one probe at a time."""
        if not self.standing.requests.is_open(ProbeRequest, endpoint):
            yield self.standing.ask(
                self.standing.make(ProbeRequest, timestamp=0),
                endpoint,
                now,
                tries=tries or self.parameters.doubt_tries,
                wait=wait,
                backoff=backoff,
            )

    def on_other_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """Take a refresh from a relative that is not a child."""
        yield Send(self.refresh_answer(message, Status.UNKNOWN_HOST, now), sender)


def _replay(request: DataRequest, to: Endpoint) -> Replay:
    return Replay(
        request.session, request.origin, request.channel, request.base, request.bitmap, to
    )
