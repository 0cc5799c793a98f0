"""Self-improvement: a child X of much more capacity takes the place of its parent P (-03 §6.8).

G is P's parent, Y another child of P. The steps: 1 X asks P; 2 P asks G; 3 G agrees; 4 P agrees,
and sends X in a Refresh what it wants without X; 5 and 6 X asks G, which holds P's very place for
it. X's Refresh to G is the exchange: G replaces P by X at once. 7 X tells P that it has joined; P
confirms its place below X; 8 P and G confirm the break to each other; 9 P sends each Y to X, which
10 asks, 11 is offered a place or not, and 12 tells P.

No packet is lost, because P is a branch of X before X asks G for the exchange, and P accepts from X
from step 4 on: what G sent before the exchange comes to P directly, what it sends after it through
X. Nobody has a branch too many, because G exchanges one for the other in one entry, X had a place
reserved for P, and P feeds nobody new. For the moment in which X and P are branches of each other
nothing runs in a ring: data never goes back to its sender, nor twice through a window.

Nobody holds more than one such agreement at a time, none for longer than `promotion_hold`, and
nobody enters another for `promotion_calm` after one. Whatever is lost, the agreement lapses, and
each goes on with the parent that it has, or seeks one as after any loss.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from dmmp.actions import Branch, Report, Send
from dmmp.alarms import jittered
from dmmp.events import ChildAdded, PlaceTaken
from dmmp.messages import (
    JoinNotification,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    PromotionAck,
    PromotionConfirm,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    HostRecord,
    LeaveReason,
    Status,
    located,
)
from dmmp.policies.parents import Candidate
from dmmp.roles.exchanging import CORE
from dmmp.roles.relatives import Child
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm
from dmmp.roles.states import (
    Climbing,
    Confirming,
    Following,
    Joined,
    Offer,
    Parent,
    Yielding,
)
from dmmp.roles.yielding import YieldingRole
from dmmp.types import Endpoint, Instant


class ImprovingRole(YieldingRole):
    """A role that may climb, yield and follow; see the module's docstring."""

    # The lock.

    def end_part(self, now: Instant) -> None:
        """Be done with a promotion, good or bad."""
        if isinstance(self.part, Climbing):
            self.standing.children.release(self.part.parent)
        super().end_part(now)

    # X, the child that climbs.

    def compare_later(self, now: Instant) -> None:
        """Compare oneself with the parent after a while: now it is new, and so is its record."""
        parameters = self.parameters
        pause = jittered(self.rng, parameters.promotion_look, parameters.promotion_look_spread)
        self.alarms.set(Alarm.IMPROVE, now + pause)

    def on_improve_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Step 1: with room for the parent and much more capacity, ask for its place."""
        self.compare_later(now)
        state = self.state
        if not isinstance(state, Joined) or not self.is_calm(now):
            return
        parent = state.parent
        if (
            parent.record.flags & CORE
            or self.free_places(False, now) < 1
            or not self.beats(self.known(now), parent.record)
        ):
            return
        request = self.standing.make(PromotionRequest, applicant=self.record(now))
        send = self.standing.ask(request, parent.endpoint, now, self.parameters.join_tries)
        part = Climbing(parent.record.host, parent.endpoint, send.message.sequence)
        # Half of the time that P and G hold their part: whoever takes up the place has it still.
        self.take_part(part, self.parameters.promotion_hold / 2, now)
        self.standing.children.reserve(part.parent, False, now)
        yield send

    def known(self, now: Instant) -> HostRecord:
        """Describe this host as its parent may know it: from a Refresh ago."""
        record = self.record(now)
        age = int(1.5 * self.parameters.refresh_cluster)
        return replace(record, uptime=max(0, record.uptime - age))

    def on_promotion_ack(self, message: PromotionAck, sender: Endpoint, now: Instant) -> Actions:
        """Step 4 is here: agreed, go to G for its place (step 5); or not."""
        request = self.matched(message, sender)
        part = self.part
        if request is None or not isinstance(part, Climbing) or part.asked != message.sequence:
            return
        above = message.grandparent
        if message.status != Status.SUCCESS or not above.endpoint.port or not above.host:
            self.end_part(now)
            return
        self.part = replace(part, agreed=True, grandparent=above)
        join = self.standing.make(JoinRequest, applicant=self.record(now), passes=0)
        yield self.standing.ask(join, above.endpoint, now, self.parameters.join_tries)

    def on_place_answer(self, message: JoinResponse, sender: Endpoint, now: Instant) -> Actions:
        """Steps 6 and 11: a place where this host was sent to, or none."""
        request = self.matched(message, sender)
        part, state = self.part, self.state
        if request is None or not isinstance(state, Joined):
            return
        path = (message.parent.host, *message.root_path)
        good = message.status == Status.SUCCESS and self.may_hang_below(path)
        offer = Offer(Candidate(located(message.parent, sender)), message.super_node, path)
        if isinstance(part, Climbing) and part.grandparent and part.grandparent.endpoint == sender:
            if not good or part.parent in path:
                self.end_part(now)
                return
            self.part = replace(part, found=offer)
            yield from self.climb(now)
        elif isinstance(part, Following) and part.asked == message.sequence:
            if good:
                self.part = replace(part, offer=offer)
                yield from self.confirm(offer, (), state.parent, True, now)
            else:
                self.end_part(now)
                yield self.step_twelve(part, Status.FULL)

    def on_lent_wishes(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """P says what it will want of this host, which is still its child (step 4)."""
        part = self.part
        assert isinstance(part, Climbing)
        hold = now + self.parameters.hold_cluster
        child = part.below or Child(located(message.sender, sender), sender, False, hold)
        self.standing.children.note_interest(child, message.interest, message.sequence, hold)
        self.part = replace(part, below=child)
        yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        yield from self.install(now)
        yield from self.climb(now)

    def climb(self, now: Instant) -> Actions:
        """Take up P's place at G, once P's wishes and G's offer are here."""
        part, state = self.part, self.state
        if not isinstance(part, Climbing) or not isinstance(state, Joined):
            return
        if part.found is None or part.below is None or part.offer is not None:
            return
        self.part = replace(part, offer=part.found)
        # Anew, so that it lasts until G has answered; P is a branch from now on.
        children = self.standing.children
        children.release(part.parent)
        if self.free_places(False, now) < 1 or state.parent.endpoint != part.endpoint:
            self.end_part(now)
            return
        children.reserve(part.parent, False, now)
        yield from self.confirm(part.found, (), state.parent, True, now)

    def rise(self, part: Climbing, message: RefreshResponse, now: Instant) -> Actions:
        """G has confirmed: P is a child now, and hears of it (step 7)."""
        assert part.below is not None
        self.standing.children.adopt(part.below)
        if not self.alarms.is_set(Alarm.SWEEP):
            self.alarms.set(Alarm.SWEEP, now + self.parameters.sweep)
        self.alarms.hasten(Alarm.SWEEP, max(now, part.below.expires))
        joined = self.standing.make(JoinNotification, parent=message.sender)
        # Its own Refresh to this host is the answer.
        yield self.standing.ask(joined, part.endpoint, now, self.parameters.join_tries)
        yield Report(PlaceTaken(part.parent))
        yield Report(ChildAdded(part.parent, part.endpoint))

    # Y, and all who take up a place in a promotion.

    def on_join_notification(
        self, message: JoinNotification, sender: Endpoint, now: Instant
    ) -> Actions:
        """Step 7 from X to P, or step 9 from P to Y."""
        part, state = self.part, self.state
        assert isinstance(state, Joined)
        if isinstance(part, Yielding) and part.applicant.endpoint == sender:
            if self.is_yielding_to(sender):
                yield from self.descend(part, state, now)
        elif state.parent.endpoint == sender:
            yield from self.follow(message, state.parent, now)
        elif state.retiring == sender and message.parent.host == state.parent.record.host:
            yield Send(self.standing.answer(PromotionConfirm, message), sender)

    def follow(self, message: JoinNotification, parent: Parent, now: Instant) -> Actions:
        """Step 10: ask where the parent sends this host; stay, if it is not free to go."""
        if isinstance(self.part, Following):
            return
        target = message.parent
        usable = target.endpoint.port and target.host not in (0, self.standing.host)
        if not usable or not self.is_calm(now) or target.host in self.standing.children.confirmed:
            refusal = self.standing.answer(PromotionConfirm, message, status=Status.REFUSED)
            yield Send(refusal, parent.endpoint)
            return
        join = self.standing.make(JoinRequest, applicant=self.record(now), passes=0)
        send = self.standing.ask(join, target.endpoint, now, self.parameters.join_tries)
        part = Following(message, parent.endpoint, send.message.sequence)
        self.take_part(part, self.parameters.promotion_hold, now)
        yield send

    def step_twelve(self, part: Following, status: Status) -> Send:
        """Tell P where this host is now."""
        confirm = self.standing.answer(PromotionConfirm, part.told, status=status)
        return Send(confirm, part.former)

    def on_confirmed(self, message: RefreshResponse, sender: Endpoint, now: Instant) -> Actions:
        """A place is confirmed; if it was taken up in a promotion, go on with that."""
        part, state = self.part, self.state
        assert isinstance(state, Confirming)
        path = (message.sender.host, *message.root_path)
        granted = (
            part is not None
            and part.offer is state.offer
            and sender == state.offer.candidate.record.endpoint
            and self.standing.requests.peek(message, sender) is not None
            and message.status == Status.SUCCESS
            and self.may_hang_below(path)
        )
        if granted and isinstance(part, Climbing):
            self.end_part(now)
            yield from self.rise(part, message, now)
        yield from super().on_confirmed(message, sender, now)
        if granted and isinstance(part, Yielding):
            yield from self.send_on(part, now)
        if granted and isinstance(part, Following):
            self.end_part(now)
            yield self.step_twelve(part, Status.SUCCESS)

    def confirmation_failed(self, now: Instant) -> Actions:
        """The place is not to be had: the promotion is over, the parent before is the parent."""
        part, state = self.part, self.state
        assert isinstance(state, Confirming)
        mine = part is not None and part.offer is state.offer
        if mine:
            self.end_part(now)
        if mine and not isinstance(part, Yielding):
            # It may have confirmed, and the answers were lost.
            goodbye = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
            yield self.standing.ask(goodbye, state.offer.candidate.record.endpoint, now)
        yield from super().confirmation_failed(now)
        if mine and isinstance(part, Following):
            yield self.step_twelve(part, Status.REFUSED)

    # What a promotion changes in the rest of the role.

    def branches(self) -> tuple[Branch, ...]:
        """Return where data goes to: P is a branch of X while X confirms its place at G."""
        part = self.part
        found = super().branches()
        if isinstance(part, Climbing) and part.below is not None and self.is_taking_up(part):
            return (*found, part.below.to_branch())
        return found

    def on_child_refresh(self, message: RefreshRequest, sender: Endpoint, now: Instant) -> Actions:
        """At X, take P's wishes while it is the parent still; all else as ever."""
        part = self.part
        if not isinstance(part, Yielding):
            # P has heard that this host has its place.
            self.standing.requests.close_all_to(sender, JoinNotification)
        if (
            isinstance(part, Climbing)
            and sender == part.endpoint
            and (isinstance(self.state, Joined) or self.is_taking_up(part))
        ):
            yield from self.on_lent_wishes(message, sender, now)
            return
        yield from super().on_child_refresh(message, sender, now)
