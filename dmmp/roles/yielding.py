"""The part of P in self-improvement: it yields its place to its child X (-03 §6.8; `improving`).

P judges by the record that it holds of X, asks G, and passes G's word on with what it wants itself.
Once X has the place it takes the one below X that is kept for it, and sends its other children
after X. G stays its backup parent.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from dmmp.actions import Report, Send
from dmmp.events import ChildLost
from dmmp.interest import Interest, union
from dmmp.messages import (
    BreakConfirm,
    BreakRequest,
    BreakResponse,
    JoinNotification,
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    PromotionAck,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    MAXIMUM_INTEREST,
    HostRecord,
    LeaveReason,
    RefreshKind,
    Status,
    located,
)
from dmmp.messages.local import Silence
from dmmp.policies.capacity import by_capacity
from dmmp.policies.parents import Candidate
from dmmp.policies.promotion import THRESHOLDS
from dmmp.roles.displacing import DisplacingRole
from dmmp.roles.role import Actions
from dmmp.roles.states import Confirming, Joined, Offer, Parent, Part, Yielding
from dmmp.roles.uplink import narrowed
from dmmp.types import Endpoint, Instant


class YieldingRole(DisplacingRole):
    """A role that may leave its place to a child; see the module's docstring."""

    def on_promotion_alarm(self, key: Hashable, now: Instant) -> Actions:
        """It took too long: what was not done is not done any more."""
        part = self.part
        if part is not None and self.is_taking_up(part):
            # That ends by itself.
            self.take_part(part, self.parameters.retry_first, now)
            return
        self.end_part(now)
        yield from self.install(now)
        unsure = isinstance(part, Yielding) and part.agreed and part.offer is None
        if unsure and isinstance(self.state, Joined):
            # Whether X came to G is not known here: G's answer tells.
            yield from self.send_refresh(now)

    def beats(self, applicant: HostRecord, parent: HostRecord) -> bool:
        """Ask the policy whether the threshold is reached (slide 19)."""
        return THRESHOLDS["out-degree"](applicant, parent, self.parameters)

    def on_climb_request(
        self, message: PromotionRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """Step 1 is here: judge by what is known of the child; ask G (step 2), or refuse."""
        part, state = self.part, self.state
        if (
            isinstance(part, Yielding)
            and part.applicant.endpoint == sender
            and part.request.sequence == message.sequence
        ):
            if part.agreed and isinstance(state, Joined):
                yield self.agreement(part, state.parent)
            return
        child = self.standing.children.by_endpoint(sender)
        if (
            not isinstance(state, Joined)
            or not self.is_calm(now)
            or child is None
            or child.record.host != message.source
            or not self.beats(child.record, self.record(now))
            or len(state.parent.path) + 1 >= self.parameters.path
        ):
            yield from self.on_promotion_request(message, sender, now)
            return
        above = state.parent.endpoint
        applicant = located(child.record, sender)
        self.take_part(Yielding(applicant, message, above), self.parameters.promotion_hold, now)
        request = self.standing.make(BreakRequest, applicant=applicant)
        yield self.standing.ask(request, above, now, self.parameters.join_tries)

    def on_break_response(self, message: BreakResponse, sender: Endpoint, now: Instant) -> Actions:
        """Step 3 is here, without which P must not let X go: pass the word on (step 4)."""
        request = self.matched(message, sender)
        part, state = self.part, self.state
        if (
            request is None
            or not isinstance(part, Yielding)
            or part.agreed
            or part.grandparent != sender
            or request.message.applicant.host != part.applicant.host  # type: ignore[attr-defined]
        ):
            return
        if (
            message.status != Status.SUCCESS
            or not isinstance(state, Joined)
            or state.parent.endpoint != sender
        ):
            self.end_part(now)
            yield from self.on_promotion_request(part.request, part.applicant.endpoint, now)
            return
        part = replace(part, agreed=True)
        self.take_part(part, self.parameters.promotion_hold, now)
        yield from self.install(now)
        yield self.agreement(part, state.parent)
        yield from self.lend_wishes(part, now)

    def agreement(self, part: Yielding, parent: Parent) -> Send:
        """Make step 4: yes, and this is G."""
        above = located(parent.record, parent.endpoint)
        ack = self.standing.answer(PromotionAck, part.request, grandparent=above)
        return Send(ack, part.applicant.endpoint)

    def lend_wishes(self, part: Yielding, now: Instant) -> Actions:
        """Tell X what all below this host want but X, so that X can feed it from the first on."""
        others = [
            child
            for child in self.standing.children.confirmed.values()
            if child.record.host != part.applicant.host
        ]
        records: list[Interest] = [r for child in others for r in child.wants()]
        wants = [narrowed(record) for record in union([*self.standing.wants(), *records])]
        free = self.free_places(False, now) + sum(child.record.free_slots for child in others)
        sender = replace(self.record(now), free_slots=min(free, 0xFFFF))
        for at in range(0, max(len(wants), 1), MAXIMUM_INTEREST):
            request = self.standing.make(
                RefreshRequest,
                kind=RefreshKind.CHILD,
                sender=sender,
                super_node=self.super_node(),
                root_path=self.root_path(),
                interest=tuple(wants[at : at + MAXIMUM_INTEREST]),
            )
            yield self.standing.ask(request, part.applicant.endpoint, now)

    def descend(self, part: Yielding, state: Joined, now: Instant) -> Actions:
        """Step 7 is here: X has the place. Take the one below it, break with G (step 8)."""
        applicant, parent = part.applicant, state.parent
        path = (applicant.host, *parent.path)
        offer = Offer(Candidate(applicant), parent.super_node, path)
        self.take_part(replace(part, offer=offer), self.parameters.promotion_hold, now)
        # Without a word to G, which has given the place away.
        if self.standing.children.remove(applicant.host) is not None:
            self.standing.requests.close_all_to(applicant.endpoint, ProbeRequest)
            yield Report(ChildLost(applicant.host, "took the place of this host"))
        confirm = self.standing.make(BreakConfirm)
        yield self.standing.ask(confirm, part.grandparent, now, self.parameters.join_tries)
        yield from self.confirm(offer, (), parent, True, now)

    def send_on(self, part: Yielding, now: Instant) -> Actions:
        """Step 9: send the other children to X, the most capable first, as far as it has room."""
        state = self.state
        assert isinstance(state, Joined)
        children = sorted(
            self.standing.children.of(mesh=False), key=lambda child: by_capacity(child.record)
        )
        # X answers for its places itself; more than its record admits need not ask.
        room = min(part.applicant.out_degree - 1, state.parent.record.free_slots)
        target = located(state.parent.record, state.parent.endpoint)
        for child in children[: max(0, room)]:
            go = self.standing.make(JoinNotification, parent=target)
            yield self.standing.ask(go, child.endpoint, now, self.parameters.join_tries)

    # What it changes in the rest of the role.

    def is_taking_up(self, part: Part) -> bool:
        """Tell whether the place being confirmed is that of the promotion."""
        state = self.state
        return isinstance(state, Confirming) and state.offer is part.offer

    def is_yielding_to(self, endpoint: Endpoint) -> bool:
        """Tell whether this host has agreed to leave its place to the host at an endpoint."""
        part, state = self.part, self.state
        return (
            isinstance(part, Yielding)
            and part.agreed
            and part.offer is None
            and part.applicant.endpoint == endpoint
            and isinstance(state, Joined)
            and state.parent.endpoint == part.grandparent
        )

    def upstream(self) -> tuple[Endpoint, ...]:
        """Return where data may come from: at P, from X too, once that was agreed."""
        part = self.part
        found = super().upstream()
        if isinstance(part, Yielding) and self.is_yielding_to(part.applicant.endpoint):
            return tuple(dict.fromkeys((*found, part.applicant.endpoint)))
        return found

    def seek(
        self,
        candidates: Sequence[Candidate],
        now: Instant,
        building: bool = False,
        previous: Parent | None = None,
    ) -> Actions:
        """Start a search, which ends a promotion; P asks X first, which may have its place."""
        part = self.part
        if isinstance(part, Yielding) and part.agreed and part.offer is None:
            candidates = (Candidate(part.applicant), *candidates)
        self.end_part(now)
        yield from super().seek(candidates, now, building, previous)

    def on_silence(self, message: Silence, sender: Endpoint, now: Instant) -> Actions:
        """The flow stopped; at P perhaps because X got the place and died: wait less for it."""
        part = self.part
        if (
            isinstance(part, Yielding)
            and not part.doubted
            and self.is_yielding_to(part.applicant.endpoint)
        ):
            # Time for what X says to be lost once and said again.
            self.take_part(replace(part, doubted=True), self.parameters.join_wait, now)
        yield from super().on_silence(message, sender, now)

    def on_refresh_response(
        self, message: RefreshResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the parent's state; at P, G's refusal only says that X has the place already."""
        part = self.part
        if (
            message.status != Status.SUCCESS
            and isinstance(part, Yielding)
            and part.grandparent == sender
            and self.is_yielding_to(part.applicant.endpoint)
        ):
            self.matched(message, sender)
            return
        yield from super().on_refresh_response(message, sender, now)

    def on_leave_report(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A relative goes; that X moved means to P what step 7 says.

        Who moves was a child: that it is the parent by now, as X is to P, changes nothing.
        """
        part, state = self.part, self.state
        if message.reason not in (LeaveReason.MOVED, LeaveReason.DECLINED):
            yield from super().on_leave_report(message, sender, now)
        elif (
            isinstance(part, Yielding)
            and isinstance(state, Joined)
            and message.reason == LeaveReason.MOVED
            and self.is_yielding_to(sender)
        ):
            yield Send(self.standing.answer(LeaveResponse, message), sender)
            yield from self.descend(part, state, now)
        else:
            yield from self.on_child_leaves(message, sender, now)
