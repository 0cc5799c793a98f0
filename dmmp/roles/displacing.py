"""Making room for a host that gains more than a child loses (Decision 75; `nearing`).

C is full, X asks for a place with the flag EXCHANGES: its way would be so much shorter that a child
W of C may as well go below X, which has room for it. C sends W there as in self-improvement (steps
9 to 12 of `improving`); when W has gone, the place is X's. W is served by C until X has confirmed,
and X by its parent until C has: nobody is without data, and nobody has a child too many.
"""

from __future__ import annotations

from dmmp.actions import Send
from dmmp.messages import JoinNotification, JoinRequest, JoinResponse, PromotionConfirm
from dmmp.messages.common import HostFlag, HostRecord, Status, located
from dmmp.roles.exchanging import CORE, ExchangingRole
from dmmp.roles.relatives import Child
from dmmp.roles.role import Actions
from dmmp.roles.states import Displacing, Joined
from dmmp.types import Endpoint, HostId, Instant


class DisplacingRole(ExchangingRole):
    """A role that may be C; see the module's docstring."""

    def on_join_request(self, message: JoinRequest, sender: Endpoint, now: Instant) -> Actions:
        """Send a child away for an applicant that gains by it; others as ever."""
        part, applicant, child = self.part, message.applicant, None
        if message.source == applicant.host and applicant.flags & HostFlag.EXCHANGES:
            applicant = located(applicant, sender)
            if isinstance(part, Displacing) and part.applicant.host == applicant.host:
                return  # It asks again: the answer comes when the child has gone.
            child = self.displaced(applicant, now)
        if child is None:
            yield from super().on_join_request(message, sender, now)
            return
        part = Displacing(child.record.host, child.endpoint, applicant, message)
        self.take_part(part, self.parameters.promotion_hold, now)
        go = self.standing.make(JoinNotification, parent=applicant)
        yield self.standing.ask(go, child.endpoint, now, self.parameters.join_tries)

    def displaced(self, applicant: HostRecord, now: Instant) -> Child | None:
        """Choose the child that makes room, by lot; None if there is room, or none can be made."""
        children = self.standing.children
        if (
            applicant.flags & CORE
            or not isinstance(self.state, Joined)
            or not self.is_calm(now)
            or not self.may_admit()
            or self.free_places(False, now) > 0
            or applicant.host in (0, self.standing.host, *self.ancestors())
            or not self.trusts((applicant.host,))
            or applicant.host in children.confirmed
            or children.has_reserved(applicant.host, False, now)
        ):
            return None
        found = children.of(mesh=False)
        # Fewer free places below mean fewer hosts, for whom the way gets longer.
        return min(
            found, key=lambda child: (child.record.free_slots, self.rng.random()), default=None
        )

    def on_promotion_confirm(
        self, message: PromotionConfirm, sender: Endpoint, now: Instant
    ) -> Actions:
        """Y or W has heard where to go, and went or not (step 12)."""
        if self.standing.requests.is_waiting(message.sequence):
            self.standing.requests.close_all_to(sender, JoinNotification)
        part = self.part
        if not isinstance(part, Displacing) or part.endpoint != sender:
            return
        if message.status == Status.SUCCESS:
            yield from self.grant(now)
        else:
            self.end_part(now)
            yield self.verdict(part, Status.FULL, now)

    def drop_child(self, host: HostId, reason: str, now: Instant) -> Actions:
        """Remove a child; if it made room, the place is the applicant's."""
        yield from super().drop_child(host, reason, now)
        if isinstance(self.part, Displacing) and self.part.child == host:
            yield from self.grant(now)

    def grant(self, now: Instant) -> Actions:
        """Offer the place once it is free: the child's goodbye may still be on its way."""
        part = self.part
        assert isinstance(part, Displacing)
        if part.child in self.standing.children.confirmed:
            return
        self.end_part(now)
        host = part.applicant.host
        may = self.may_admit() and self.free_places(False, now) > 0 and host not in self.ancestors()
        if may:
            self.standing.children.reserve(host, False, now)
        yield self.verdict(part, Status.SUCCESS if may else Status.FULL, now)

    def verdict(self, part: Displacing, status: Status, now: Instant) -> Send:
        """Answer the applicant."""
        answer = self.offer(JoinResponse, part.request, status, False, now)
        return Send(answer, part.applicant.endpoint)
