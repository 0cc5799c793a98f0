"""The source and its RPs (slides 9 and 21; -03 §5): registering, the tree version, coming back.

Of two sources one goes on (Decision 21). Every RP hears of each change of the mesh and says a tree
version; the source, and nobody else, decides by taking the newest (Decision 36). A source that was
cut off takes its super nodes up again when it is back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import takewhile

from dmmp.actions import Report, Send
from dmmp.alarms import jittered
from dmmp.events import MeshChanged
from dmmp.messages import (
    LeaveReport,
    PingRpResponse,
    SetupRequest,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.common import HostRecord, HostState, Status
from dmmp.roles.requests import Request
from dmmp.roles.rightful import RightfulRole
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import Registering, Rooted
from dmmp.types import Endpoint, HostId, Instant, serial_newer


class RegisteredSource(RightfulRole):
    """What a source has to do with RPs; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.invited: dict[HostId, HostRecord] = {}
        self.former: dict[HostId, HostRecord] = {}
        self.rooted: Instant = 0.0

    def core_tree(self) -> Mapping[HostId, HostId]:
        """Compute every super node's mesh parent as they do (Decision 15)."""
        me = self.standing.host
        return self.mesh.tree(me, me, self.standing.setup.out_degree, {})

    def on_ping_rp(self, message: PingRpResponse, sender: Endpoint, now: Instant) -> Actions:
        """Registered, or renewed: the size of the session decides how many super nodes."""
        request = self.matched(message, sender)
        if request is None:
            return
        point = self.standing.points.get(sender)
        was_silent = point is not None and point.silent
        yield from self.note_registration(message, sender, request, now)
        if message.status == Status.DUPLICATE_SOURCE:
            yield from self.step_back(sender, now)
        if message.status != Status.SUCCESS:
            return
        is_newer = serial_newer(message.tree_version, self.standing.tree_version, 8)
        if is_newer or isinstance(self.state, Registering):
            self.standing.tree_version = message.tree_version
        if isinstance(self.state, Registering):
            self.state = Rooted()
            self.rooted = now
            self.alarms.set(Alarm.MESH, now + jittered(self.rng, self.parameters.refresh_mesh))
        yield from self.install(now)
        if was_silent:
            # It may have been this host that was cut off, and dropped everybody for silent.
            for host in list(self.former):
                yield from self.take_back(host, now)
        self.choose_soon(now, self.parameters.choose_after)

    def step_back(self, refused_by: Endpoint, now: Instant) -> Actions:
        """Let another source have the session, unless an RP configured earlier has this one.

        Both ask the same RPs in the same order, so that exactly one of them goes on.
        """
        registrars = self.standing.points.answering()
        earlier = takewhile(lambda point: point.endpoint != refused_by, self.standing.points)
        if any(point in registrars for point in earlier):
            return
        for point in registrars:
            point.registered = False
            yield Send(self.standing.make(LeaveReport), point.endpoint)
        self.locate_later(now)

    # The tree version.

    def report(
        self,
        state: HostState,
        subject: HostRecord,
        to: Endpoint,
        now: Instant,
        wait: float = 0.0,
    ) -> Send:
        """Make a Status Report about a super node.

        `wait` seconds until it goes again, 0 as any request (Decision 9).
        """
        report = self.standing.make(StatusReport, state=state, subject=subject)
        return self.standing.ask(report, to, now, wait=wait)

    def raise_tree(self, state: HostState, subject: HostRecord, now: Instant) -> Actions:
        """Have the RPs raise the tree version for the changed mesh (-03 §5).

        Each of them says a version above the one it is told; the newest counts (Decision 36).
        """
        points = self.standing.points.answering()
        for point in points:
            yield self.report(state, subject, point.endpoint, now)
        if not points:
            yield from self.raise_alone(now)
        yield Report(MeshChanged(len(self.mesh), self.standing.tree_version))

    def on_status_response(
        self, message: StatusResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """An RP answers with the new tree version."""
        request = self.matched(message, sender)
        point = self.standing.points.get(sender)
        if request is None or point is None:
            return
        if message.status != Status.SUCCESS:
            # It has started anew.
            yield from self.register_at(point, now)
            yield from self.raise_unless_raised(request, now)
        elif serial_newer(message.tree_version, self.standing.tree_version, 8):
            self.standing.tree_version = message.tree_version
            yield from self.install(now)

    def on_status_unanswered(self, request: Request, now: Instant) -> Actions:
        """An RP does not answer."""
        if self.is_rp(request.to):
            yield from self.rp_is_silent(request.to)
            yield from self.raise_unless_raised(request, now)

    def raise_unless_raised(self, request: Request, now: Instant) -> Actions:
        """Raise the tree version if no RP does for the change that a request reports."""
        if serial_newer(self.standing.tree_version, request.message.tree_version, 8):
            return
        if not any(
            self.standing.requests.is_open(StatusReport, point.endpoint)
            for point in self.standing.points.answering()
        ):
            yield from self.raise_alone(now)

    def raise_alone(self, now: Instant) -> Actions:
        """Raise the tree version without the RPs; they learn it from the next renewal."""
        self.standing.tree_version = (self.standing.tree_version + 1) & 0xFF
        yield from self.install(now)

    def is_rp(self, endpoint: Endpoint) -> bool:
        return endpoint in self.standing.points

    # Super nodes that were there before.

    def remember(self, record: HostRecord) -> None:
        """Keep a super node that could not be reached in mind: perhaps this host could not."""
        while len(self.former) >= self.parameters.super_nodes_most:
            del self.former[next(iter(self.former))]
        self.former[record.host] = record

    def take_back(self, host: HostId, now: Instant) -> Actions:
        """Invite a super node again that was dropped because it could not be reached."""
        record = self.former.pop(host)
        if host not in self.mesh.peers:
            yield from self.invite(record, now)

    def invite(self, record: HostRecord, now: Instant) -> Actions:
        """Send a Setup Request to one that has been a super node, unless one is under way."""
        if record.host in self.invited or len(self.invited) >= self.parameters.super_nodes_most:
            return
        self.invited[record.host] = record
        request = self.standing.make(SetupRequest, sender=self.record(now))
        yield self.standing.ask(request, record.endpoint, now)

    def is_settled(self, now: Instant) -> bool:
        """Tell whether the RP had time to name who was a super node before."""
        settled = self.rooted + self.parameters.refresh_rp_core
        return isinstance(self.state, Rooted) and now >= settled

    @abstractmethod
    def choose_soon(self, now: Instant, after: float) -> None:
        """Arm the choice of super nodes."""
