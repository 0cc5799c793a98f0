"""What source, super node and cluster member have in common.

Finding the RP and registering there (-03 §6.1), answering probes (slide 12), having children:
admission (slide 16), their refreshes and interest (slide 18, Decision 25), their leaving (slide 20).
Each role adds its own states and its way up.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from dmmp.actions import ForwardingEntry, Install, Replay, Report, Send, Withdraw
from dmmp.alarms import jittered
from dmmp.errors import Violation
from dmmp.events import ChildAdded, ChildLost, Left, Refused, Registered, Resumed, Waiting
from dmmp.interest import union
from dmmp.messages import (
    BreakRequest,
    BreakResponse,
    DataRequest,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    PromotionAck,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    HostFlag,
    HostRecord,
    LeaveReason,
    RefreshKind,
    Status,
)
from dmmp.messages.local import Subscribe
from dmmp.messages.schema import Message
from dmmp.policies.admission import Applicant, ClusterView, Verdict, admit_first
from dmmp.roles.relatives import Child
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions, Role
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.view import View
from dmmp.types import Endpoint, HostId, Instant


@dataclass(frozen=True, slots=True)
class Idle:
    """Not started."""


@dataclass(frozen=True, slots=True)
class Locating:
    """Asking an RP for the session (Decision 23)."""


@dataclass(frozen=True, slots=True)
class Registering:
    """Asking the RP for an identity (-03 §6.1)."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Has told its relatives and waits for their answers (slide 20)."""

    waiting_for: frozenset[Endpoint] = frozenset()


@dataclass(frozen=True, slots=True)
class Gone:
    """Has left; answers nothing any more."""


class OverlayRole(Role):
    """See the module's docstring. Subclasses give the table and the hooks at the end."""

    NAME: ClassVar[str]
    GIVE_UP: ClassVar[Mapping[type[Message], Any]] = {}

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing.rng)
        self.standing = standing
        self.alarms = standing.alarms
        self.parameters = standing.parameters
        self.state: object = Idle()
        self._installed: ForwardingEntry | None = None

    # Finding the RP and an identity.

    def on_start(self, message: object, sender: Endpoint, now: Instant) -> Actions:
        """Begin (slide 14): which session is it, by name, at the first RP."""
        self.standing.started = now
        yield from self.locate(now)

    def locate(self, now: Instant) -> Actions:
        """Ask the RP in use for the session id."""
        self.state = Locating()
        request = SubscriptionRequest(group_name=self.standing.setup.session_name)
        yield self.standing.ask(request, self.standing.rendezvous_point, now)

    def on_subscription(
        self, message: SubscriptionResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the session id; a session that the RP does not serve ends the attempt."""
        if self.matched(message, sender) is None:
            return
        yield from self.rp_answers()
        if message.status != Status.SUCCESS:
            name = self.standing.setup.session_name
            yield Report(Refused(f"the RP at {sender} does not serve a session {name!r}"))
            self.alarms.set(Alarm.LOCATE, now + self.parameters.retry_bootstrap_most)
            return
        self.standing.session = message.session
        self.state = Registering()
        yield from self.register(now)

    def register(self, now: Instant, refused: tuple[HostId, ...] = ()) -> Actions:
        """Register, or renew the registration, and ask for super nodes (-03 §6.1)."""
        request = self.standing.make(
            PingRpRequest,
            instance=self.standing.setup.instance,
            host=self.record(now),
            refused=refused[:MAXIMUM_CANDIDATES],
        )
        yield self.standing.ask(request, self.standing.rendezvous_point, now)
        self.alarms.set(Alarm.REGISTER, now + jittered(self.rng, self.register_period()))

    def note_registration(self, message: PingRpResponse, sender: Endpoint, now: Instant) -> Actions:
        """Take over what every Ping_RP response tells: identity, size, candidates."""
        yield from self.rp_answers()
        standing = self.standing
        if message.status != Status.SUCCESS:
            yield Report(Refused(self._refusal(message.status, sender)))
            return
        if standing.host != message.host:
            standing.host = message.host
            yield Report(Registered(message.session, message.host, sender))
        standing.observed = message.observed
        standing.hosts = message.hosts
        standing.super_nodes = message.super_nodes

    def _refusal(self, status: int, sender: Endpoint) -> str:
        if status == Status.DUPLICATE_SOURCE:
            return f"the session has another source, says the RP at {sender}"
        return f"the RP at {sender} refuses this host (status {status})"

    def rp_answers(self) -> Actions:
        """Note that the RP is there."""
        if self.standing.rendezvous_silent:
            self.standing.rendezvous_silent = False
            yield Report(Resumed(f"the RP at {self.standing.rendezvous_point} answers again"))

    def on_rp_silent(self, request: Request, now: Instant) -> Actions:
        """The RP did not answer: say so once, take the next one, try again (Decision 21)."""
        standing = self.standing
        if not standing.rendezvous_silent:
            standing.rendezvous_silent = True
            yield Report(Waiting(f"the RP at {request.to} does not answer, trying again"))
        points = standing.setup.rendezvous_points
        at = points.index(request.to) if request.to in points else -1
        standing.rendezvous_point = points[(at + 1) % len(points)]
        if isinstance(self.state, (Locating, Registering)):
            yield from self.locate(now)

    def on_locate_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Ask again for a session that was refused."""
        if isinstance(self.state, Locating):
            yield from self.locate(now)

    def on_register_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the registration (Decision 21)."""
        if self.standing.host and not isinstance(self.state, (Leaving, Gone)):
            yield from self.register(now)

    # Requests and their answers.

    def matched(self, message: Message, sender: Endpoint) -> Request | None:
        """Take the open request that the message answers (Decision 6)."""
        return self.standing.requests.match(message, sender)

    def on_retry(self, key: Hashable, now: Instant) -> Actions:
        """Send a request again, or tell whoever asked that nobody answers (Decision 9)."""
        if not isinstance(key, int):
            return
        again = self.standing.requests.again(key, now)
        if isinstance(again, Request):
            given_up = self.GIVE_UP.get(type(again.message))
            if given_up is not None:
                yield from given_up(self, again, now)
        elif again is not None:
            send, at = again
            self.alarms.set(Alarm.RETRY, at, key)
            yield send

    def on_probe(self, message: ProbeRequest, sender: Endpoint, now: Instant) -> Actions:
        """Answer a probe (slide 12)."""
        yield Send(
            self.standing.answer(
                ProbeResponse, message, timestamp=message.timestamp, sender=self.record(now)
            ),
            sender,
        )

    def on_status_report(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """Acknowledge; roles that use the news extend this (slide 12)."""
        yield Send(self.standing.answer(StatusResponse, message), sender)

    def on_promotion_request(
        self, message: PromotionRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """Decline to change places (-03 §6.8, step 4): the threshold is the parent's to judge."""
        yield Send(self.standing.answer(PromotionAck, message, status=Status.REFUSED), sender)

    def on_break_request(self, message: BreakRequest, sender: Endpoint, now: Instant) -> Actions:
        """Decline to exchange a child (-03 §6.8, step 3)."""
        yield Send(self.standing.answer(BreakResponse, message, status=Status.REFUSED), sender)

    # Children.

    def on_join_request(self, message: JoinRequest, sender: Endpoint, now: Instant) -> Actions:
        """Offer a place, pass the request down, or refuse with the children (slide 16)."""
        applicant = message.applicant
        # A request that was passed down names where the applicant is; a direct one shows it.
        if message.source == applicant.host:
            applicant = replace(applicant, endpoint=sender)
        mesh = bool(applicant.flags & HostFlag.SUPER_NODE)
        verdict = self.judge(applicant, mesh, message.passes > 0, now)
        if verdict is Verdict.ADMIT:
            self.standing.children.reserve(applicant.host, mesh, now)
        if verdict is Verdict.PASS_DOWN:
            yield from self.pass_down(message, applicant, mesh)
            return
        status = {Verdict.ADMIT: Status.SUCCESS, Verdict.LOOP: Status.LOOP}.get(
            verdict, Status.FULL
        )
        yield Send(self.offer(JoinResponse, message, status, mesh, now), applicant.endpoint)

    def judge(self, applicant: HostRecord, mesh: bool, may_pass: bool, now: Instant) -> Verdict:
        """Ask the admission policy."""
        children = self.standing.children
        if not applicant.host:
            raise Violation("-03 §6.3", "an applicant without an id")
        return admit_first(
            Applicant(
                applicant.host,
                (
                    applicant.host in children.confirmed
                    and children.confirmed[applicant.host].mesh is mesh
                )
                or children.has_reserved(applicant.host, now),
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
        cls: type[Any],
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
        first = message.passes >= self.parameters.pass_down
        width = self.parameters.pass_width if first else 1
        targets = children.of(mesh=True) if mesh else children.most_spare(False, width)
        if mesh:
            targets = sorted(targets, key=lambda child: self.rng.random())[:width]
        passed = replace(
            message, source=self.standing.host, applicant=applicant, passes=message.passes - 1
        )
        for child in targets:
            # One place fewer to promise until the child's next refresh says what is left.
            if not mesh:
                child.record = replace(child.record, free_slots=child.record.free_slots - 1)
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
        held = children.confirmed.get(host)
        status = self._place_for(message, held, mesh, now)
        if status is not Status.SUCCESS:
            children.release(host)
            yield Send(self.refresh_answer(message, status, now), sender)
            return
        hold = self.parameters.hold_mesh if mesh else self.parameters.hold_cluster
        record = replace(message.sender, endpoint=sender)
        moved = held is not None and held.endpoint != sender
        is_new = children.confirm(record, sender, mesh, now + hold)
        child = children.confirmed[host]
        changed = children.note_interest(child, message.interest, message.sequence, now + hold)
        if is_new or changed or moved:
            yield from self.install(now)
        if is_new:
            yield Report(ChildAdded(host, sender))
            if not self.alarms.is_set(Alarm.SWEEP):
                self.alarms.set(Alarm.SWEEP, now + self.parameters.refresh_cluster)
        yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        if is_new or changed:
            yield from self.on_subtree_changed(now)

    def _place_for(
        self, message: RefreshRequest, held: Child | None, mesh: bool, now: Instant
    ) -> Status:
        host = message.source
        if not host or message.sender.host != host:
            raise Violation("slide 18", "a refresh that does not say whose it is")
        if host == self.standing.host or host in self.root_path():
            return Status.LOOP
        if held is not None and held.mesh is mesh:
            return Status.SUCCESS
        if not self.has_place() and held is None:
            return Status.NOT_JOINED
        if self.standing.children.has_reserved(host, now) or self.free_places(mesh, now) > 0:
            return Status.SUCCESS
        return Status.FULL

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
            backups=self.backups_for(message.source) if message.kind == RefreshKind.CHILD else (),
        )

    def on_child_leaves(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """Let a child, or an applicant that declined, go (slide 20)."""
        yield Send(self.standing.answer(LeaveResponse, message), sender)
        if message.reason == LeaveReason.DECLINED:
            self.standing.children.release(message.source)
            return
        child = self.standing.children.confirmed.get(message.source)
        if child is not None and child.endpoint == sender:
            yield from self.drop_child(message.source, "left", now)

    def drop_child(self, host: HostId, reason: str, now: Instant) -> Actions:
        """Remove a child and what its subtree wanted."""
        child = self.standing.children.remove(host)
        if child is None:
            return
        self.standing.requests.close_all_to(child.endpoint)
        yield Report(ChildLost(host, reason))
        yield from self.install(now)
        yield from self.on_subtree_changed(now)

    def on_sweep(self, key: Hashable, now: Instant) -> Actions:
        """Drop children and wishes whose hold time is over (Decision 10)."""
        children = self.standing.children
        for host in [h for h, child in children.confirmed.items() if child.expires <= now]:
            yield from self.drop_child(host, "silent", now)
        if children.expire_interest(now):
            yield from self.install(now)
            yield from self.on_subtree_changed(now)
        if children.confirmed:
            self.alarms.set(Alarm.SWEEP, now + self.parameters.refresh_cluster)

    def on_data_request(self, message: DataRequest, sender: Endpoint, now: Instant) -> Actions:
        """Send a child what it lacks and this host holds (slide 17, Decision 18)."""
        child = self.standing.children.confirmed.get(message.source)
        if child is None or child.endpoint != sender:
            raise Violation("slide 17", "a data request from a host that is not a child")
        yield Replay(
            self.standing.session,
            message.origin,
            message.channel,
            message.base,
            message.bitmap,
            sender,
        )

    # Leaving.

    def say_goodbye(
        self, told: Sequence[Endpoint], replacement: HostRecord, now: Instant
    ) -> Actions:
        """Report the leaving to everybody named; go when all have answered, or soon (slide 20)."""
        if not told:
            yield from self.go(now)
            return
        self.state = Leaving(frozenset(told))
        self.alarms.set(Alarm.LEAVE, now + self.parameters.leave_wait)
        for endpoint in dict.fromkeys(told):
            message = self.standing.make(LeaveReport, replacement=replacement)
            yield self.standing.ask(message, endpoint, now)

    def on_leave_response(self, message: LeaveResponse, sender: Endpoint, now: Instant) -> Actions:
        """One more knows that this host goes."""
        if self.matched(message, sender) is None or not isinstance(self.state, Leaving):
            return
        waiting_for = self.state.waiting_for - {sender}
        self.state = Leaving(waiting_for)
        if not waiting_for:
            yield from self.go(now)

    def on_leave_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Go, answered or not."""
        if isinstance(self.state, Leaving):
            yield from self.go(now)

    def go(self, now: Instant) -> Actions:
        """Be gone."""
        self.state = Gone()
        yield Withdraw(self.standing.session)
        yield Report(Left())

    # Interest and the forwarding entry.

    def on_subscribe(self, message: Subscribe, sender: Endpoint, now: Instant) -> Actions:
        """Note what this host's programs want (Decision 25)."""
        wanted = self.standing.wanted
        record = message.interest
        if record.is_none:
            if wanted.pop(record.group, None) is None:
                return
        elif wanted.get(record.group) == record or len(wanted) >= self.parameters.groups:
            return
        else:
            wanted[record.group] = record
        yield from self.install(now)
        yield from self.on_subtree_changed(now)

    def install(self, now: Instant) -> Actions:
        """Put the present upstream, branches and local wishes into force, if they changed."""
        entry = ForwardingEntry(
            session=self.standing.session,
            tree_version=self.standing.tree_version,
            upstream=self.upstream(),
            downstream=self.standing.children.branches(),
            deliver=self.delivers(),
        )
        if entry != self._installed and self.standing.host:
            self._installed = entry
            yield Install(entry)

    # Describing itself.

    def record(self, now: Instant) -> HostRecord:
        """Describe this host to others, as it is now."""
        path = self.root_path()
        return self.standing.record(
            now,
            self.flags(),
            len(path) if self.has_place() else None,
            self.free_places(False, now) + self.standing.children.free_below()
            if self.has_place()
            else 0,
        )

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        standing = self.standing
        children = standing.children
        return View(
            role=self.NAME,
            state=type(self.state).__name__,
            session=standing.session,
            session_name=standing.setup.session_name,
            host=standing.host,
            out_degree=standing.setup.out_degree,
            depth=len(self.root_path()) if self.has_place() else None,
            root_path=self.root_path(),
            super_node=self.super_node(),
            children=children.records(False, len(children)),
            mesh_children=children.records(True, len(children)),
            groups=union(standing.wants()),
            subtree_groups=tuple(standing.subtree_wants().values()),
            tree_version=standing.tree_version,
            hosts=standing.hosts,
            tables=(
                ("children", len(children)),
                ("reservations", len(children.reserved)),
                ("requests", len(standing.requests)),
                ("alarms", len(self.alarms)),
                ("groups", len(standing.wanted)),
            ),
        )

    # What differs by role.

    def flags(self) -> int:
        """Say what this host is (slide 9)."""
        return HostFlag.NONE

    def register_period(self) -> float:
        """Return how often to renew the registration, seconds."""
        return self.parameters.refresh_rp

    def has_place(self) -> bool:
        """Tell whether this host is in the tree and may promise places."""
        raise NotImplementedError

    def root_path(self) -> tuple[HostId, ...]:
        """Return the ids from the parent up to the source."""
        raise NotImplementedError

    def super_node(self) -> HostId:
        """Return the root of the cluster this host is in."""
        raise NotImplementedError

    def free_places(self, mesh: bool, now: Instant) -> int:
        """Count free places in the mesh or in the cluster."""
        raise NotImplementedError

    def upstream(self) -> tuple[Endpoint, ...]:
        """Return where data may come from."""
        raise NotImplementedError

    def delivers(self) -> tuple[Any, ...]:
        """Return what this host's programs want, in canonical order."""
        return union(self.standing.wants())

    def backups_for(self, child: HostId) -> tuple[HostRecord, ...]:
        """Name backup parents to a child (Decision 20)."""
        return ()

    def on_subtree_changed(self, now: Instant) -> Actions:
        """React to a change in what the subtree wants or can hold."""
        yield from ()

    def on_other_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """Take a refresh from a relative that is not a child."""
        yield Send(self.refresh_answer(message, Status.UNKNOWN_HOST, now), sender)
