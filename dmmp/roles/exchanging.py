"""The lock of self-improvement, and the part of G in it (-03 §6.8; the whole is in `improving`).

G agrees with its child P that X is to have P's place, and exchanges one for the other when X
confirms: in one entry, so that it never feeds one too many, and with P's wishes, since X's subtree
is what P's was. A super node takes part in self-improvement as G only.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from dmmp.actions import Report, Send
from dmmp.alarms import jittered
from dmmp.events import ChildLost
from dmmp.messages import (
    BreakConfirm,
    BreakRequest,
    BreakResponse,
    JoinRequest,
    JoinResponse,
    ProbeRequest,
    RefreshRequest,
)
from dmmp.messages.common import HostFlag, Status
from dmmp.roles.leaving import LeavingRole
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import Displacing, Exchanging, Following, Joined, Part
from dmmp.types import Endpoint, Instant

CORE = HostFlag.SOURCE | HostFlag.SUPER_NODE
"""Who changes places only by the source's choice (slide 9)."""


class ExchangingRole(LeavingRole):
    """A role that may exchange one child for another; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.part: Part | None = None
        # A host that changes its role is in no promotion any more.
        for alarm in (Alarm.PROMOTION, Alarm.IMPROVE, Alarm.NEARER, Alarm.LOOKED):
            self.alarms.stop(alarm)

    # The lock.

    def is_calm(self, now: Instant) -> bool:
        """Tell whether this host may enter into a promotion: in none, and in none until lately."""
        return self.part is None and now >= self.standing.calm_until

    def take_part(self, part: Part, hold: float, now: Instant) -> None:
        """Enter into a promotion, or go on with it, for a while at most."""
        self.part = part
        self.alarms.set(Alarm.PROMOTION, now + hold)

    def end_part(self, now: Instant) -> None:
        """Be done with a promotion, good or bad; who had agreed to one rests."""
        part, self.part = self.part, None
        self.alarms.stop(Alarm.PROMOTION)
        if part is not None and part.agreed:
            rest = self.parameters.promotion_calm
            if isinstance(part, Following | Displacing) and self.parameters.nearing_look:
                # Who made room may find a better place than the one it was sent to.
                rest = min(rest, self.parameters.nearing_look)
            self.standing.calm_until = now + jittered(self.rng, rest)

    def on_promotion_alarm(self, key: Hashable, now: Instant) -> Actions:
        """It took too long: what was not done is not done any more (-03 §6.8)."""
        self.end_part(now)
        yield from ()

    # G, the grandparent.

    def on_exchange_request(self, message: BreakRequest, sender: Endpoint, now: Instant) -> Actions:
        """Step 2 is here: agree to take X in P's place (step 3), or refuse."""
        part = self.part
        applicant = message.applicant
        wanted = Exchanging(message.source, sender, applicant)
        again = isinstance(part, Exchanging) and (
            (part.child, part.endpoint, part.applicant.host, part.applicant.endpoint)
            == (message.source, sender, applicant.host, applicant.endpoint)
        )
        if not again and not (self.is_calm(now) and self.may_exchange(wanted)):
            yield from self.on_break_request(message, sender, now)
            return
        if not again:
            self.take_part(wanted, self.parameters.promotion_hold, now)
        yield Send(self.standing.answer(BreakResponse, message), sender)

    def may_exchange(self, part: Exchanging) -> bool:
        """Tell whether P is a child here, and X a host that may be one."""
        child = self.standing.children.confirmed.get(part.child)
        host = part.applicant.host
        return (
            isinstance(self.state, Joined)
            and self.has_place()
            and child is not None
            and child.endpoint == part.endpoint
            and not child.mesh
            and bool(host and part.applicant.endpoint.port)
            and host not in (self.standing.host, *self.ancestors())
            and host not in self.standing.children.confirmed
        )

    def on_join_request(self, message: JoinRequest, sender: Endpoint, now: Instant) -> Actions:
        """Step 5 is here: to X, P's place is free (step 6). Others as ever."""
        part = self.part
        host = message.applicant.host
        if (
            isinstance(part, Exchanging)
            and host == part.applicant.host == message.source
            and sender == part.applicant.endpoint
            and self.may_exchange(part)
        ):
            # No reservation: it would be a second place, and outlive the agreement.
            yield Send(self.offer(JoinResponse, message, Status.SUCCESS, False, now), sender)
            return
        yield from super().on_join_request(message, sender, now)

    def on_child_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """Exchange P for X when X confirms; all else as ever."""
        part = self.part
        if (
            isinstance(part, Exchanging)
            and message.source == message.sender.host == part.applicant.host
            and sender == part.applicant.endpoint
            and not message.sender.flags & CORE
            and self.may_exchange(part)
        ):
            message = self.exchange(part, message, now)
            yield Report(ChildLost(part.child, "its child has taken its place"))
        yield from super().on_child_refresh(message, sender, now)

    def exchange(self, part: Exchanging, message: RefreshRequest, now: Instant) -> RefreshRequest:
        """Give P's place to X, and with it what was wanted there: X's subtree is P's now."""
        children = self.standing.children
        former = children.remove(part.child)
        assert former is not None
        # Nor is it promised another place, as it is if it asked for one meanwhile.
        children.release(part.child)
        self.standing.requests.close_all_to(former.endpoint, ProbeRequest)
        children.reserve(part.applicant.host, False, now)
        named = {record.group for record in message.interest}
        inherited = [record for record in former.wants() if record.group not in named]
        return replace(message, interest=(*message.interest, *inherited))

    def on_break_confirm(self, message: BreakConfirm, sender: Endpoint, now: Instant) -> Actions:
        """Step 8: P has left, and gets the same in return; or this is G's, in return."""
        part = self.part
        if isinstance(part, Exchanging) and (part.child, part.endpoint) == (message.source, sender):
            yield Send(self.standing.answer(BreakConfirm, message), sender)
            self.end_part(now)
            yield from self.drop_child(part.child, "left", now)
        elif self.standing.requests.is_waiting(message.sequence):
            self.standing.requests.close_all_to(sender, BreakConfirm)
