"""Self-improvement, step by step and refusal by refusal: P, and G (-03 §6.8)."""

from __future__ import annotations

from dataclasses import replace

from dmmp.actions import Action, Branch, Install
from dmmp.interest import interest
from dmmp.messages import (
    BreakConfirm,
    BreakRequest,
    BreakResponse,
    JoinNotification,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    PromotionAck,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import HostRecord, LeaveReason, RefreshKind, Status
from dmmp.messages.local import Silence
from dmmp.roles.end_host import EndHost
from dmmp.roles.states import Confirming, Joined
from dmmp.types import SELF, HostId
from tests.roles.stage import (
    PARAMETERS,
    answer,
    at,
    body,
    group,
    installed,
    only,
    sends,
    super_node,
)
from tests.roles.super_node_stage import in_mesh
from tests.roles.test_cluster_member import GROUP, adopt, joined, request_from

NOW = 60.0
X_WISH, Y_WISH = interest(group(7)), interest(group(8))
X = HostRecord(host=HostId(9), endpoint=at(9), depth=3, out_degree=8, free_slots=6, uptime=40)


def refreshed(subject: EndHost, record: HostRecord, *wishes: object) -> list[Action]:
    """Have a host confirm or renew its place."""
    message = request_from(
        record.host, RefreshRequest, kind=RefreshKind.CHILD, sender=record, interest=wishes
    )
    return subject.receive(message, record.endpoint, NOW)


def parent_of_x(record: HostRecord = X) -> EndHost:
    """Make P, out-degree 3, below super node 3, with its children X and 20."""
    member = joined(out_degree=3)
    refreshed(member, record, X_WISH)
    adopt(member, 20, NOW, (Y_WISH,))
    return member


def asked(member: EndHost, record: HostRecord = X) -> list[Action]:
    """Take step 1."""
    return member.receive(request_from(9, PromotionRequest, applicant=record), at(9), NOW)


def agreed() -> tuple[EndHost, list[Action]]:
    """Take P to step 4."""
    member = parent_of_x()
    ask = only(asked(member), BreakRequest)
    return member, member.receive(answer(ask, BreakResponse, 3), at(3), NOW)


def descended() -> tuple[EndHost, list[Action]]:
    """Take P to step 8."""
    member, _ = agreed()
    joined_g = request_from(9, JoinNotification, parent=super_node(3))
    return member, member.receive(joined_g, at(9), NOW)


def refused(actions: list[Action]) -> bool:
    """Tell whether X was refused, and nobody else bothered."""
    return body(actions, PromotionAck).status == Status.REFUSED and not sends(actions, BreakRequest)


# P.


def test_the_parent_asks_the_grandparent_first() -> None:
    actions = asked(parent_of_x())
    request = only(actions, BreakRequest)
    assert request.to == at(3) and request.message.applicant == X  # type: ignore[attr-defined]
    assert not sends(actions, PromotionAck)


def test_it_judges_by_what_it_knows_not_by_what_is_claimed() -> None:
    known = replace(X, out_degree=4)
    assert refused(asked(parent_of_x(known), X))
    assert refused(asked(parent_of_x(replace(X, uptime=3)), X))


def test_a_stranger_is_refused() -> None:
    assert refused(asked(joined(out_degree=3)))


def test_one_promotion_at_a_time_and_then_a_rest() -> None:
    member = parent_of_x()
    other = replace(X, host=HostId(10), endpoint=at(10))
    refreshed(member, other)
    asked(member)
    second = request_from(10, PromotionRequest, applicant=other)
    assert refused(member.receive(second, at(10), NOW))
    member.standing.calm_until = NOW + 1.0
    member.role.part = None  # type: ignore[attr-defined]
    assert refused(member.receive(second, at(10), NOW))


def test_a_repeated_request_does_not_ask_twice() -> None:
    member, actions = agreed()
    assert only(actions, PromotionAck).to == at(9)
    again = asked(member)
    assert body(again, PromotionAck).status == Status.SUCCESS
    assert not sends(again, BreakRequest)
    waiting = parent_of_x()
    asked(waiting)
    assert asked(waiting) == []


def test_agreed_it_lends_its_wishes_without_those_of_the_applicant() -> None:
    _, actions = agreed()
    ack = body(actions, PromotionAck)
    assert (ack.status, ack.grandparent.host) == (Status.SUCCESS, 3)
    loan = only(actions, RefreshRequest)
    assert loan.to == at(9)
    groups = {record.group for record in loan.message.interest}  # type: ignore[attr-defined]
    assert groups == {GROUP, Y_WISH.group}
    assert installed(actions).entry.upstream == (at(3), at(9))


def test_the_grandparents_refusal_is_passed_on() -> None:
    member = parent_of_x()
    ask = only(asked(member), BreakRequest)
    no = answer(ask, BreakResponse, 3, status=Status.REFUSED)
    assert refused(member.receive(no, at(3), NOW))
    assert member.role.is_calm(NOW)  # type: ignore[attr-defined]


def test_without_the_grandparents_word_nothing_happens() -> None:
    member = parent_of_x()
    ask = only(asked(member), BreakRequest)
    member.wake(NOW + PARAMETERS.promotion_hold)
    late = member.receive(answer(ask, BreakResponse, 3), at(3), NOW + 6.0)
    assert not sends(late, PromotionAck)
    assert member.role.is_calm(NOW + 6.0)  # type: ignore[attr-defined]


def test_told_of_the_exchange_it_goes_below_its_child() -> None:
    member, actions = descended()
    assert only(actions, BreakConfirm).to == at(3)
    confirm = only(actions, RefreshRequest)
    assert confirm.to == at(9) and isinstance(member.role.state, Confirming)
    entry = installed(actions).entry
    assert entry.upstream == (at(9), at(3))
    assert [branch.endpoint for branch in entry.downstream] == [at(20)]
    groups = {record.group for record in confirm.message.interest}  # type: ignore[attr-defined]
    assert groups == {GROUP, Y_WISH.group}


def below_x(member: EndHost, actions: list[Action], free: int = 5) -> list[Action]:
    """Have X confirm P's place."""
    confirm = only(actions, RefreshRequest)
    risen = replace(X, depth=2, free_slots=free)
    done = answer(
        confirm,
        RefreshResponse,
        9,
        sender=risen,
        super_node=HostId(3),
        root_path=(3, 2),
        backups=(super_node(3),),
    )
    return member.receive(done, at(9), NOW)


def test_below_its_child_it_sends_the_others_there() -> None:
    member, actions = descended()
    actions = below_x(member, actions)
    go = only(actions, JoinNotification)
    assert (go.to, go.message.parent.host) == (at(20), 9)  # type: ignore[attr-defined]
    view = member.view(NOW)
    assert view.parent is not None and view.parent.host == 9
    assert [backup.host for backup in view.backups] == [3]
    assert only(actions, LeaveReport).to == at(3)


def test_where_there_is_no_room_it_keeps_them() -> None:
    member, actions = descended()
    assert not sends(below_x(member, actions, free=0), JoinNotification)


def test_the_parent_by_now_may_still_say_that_it_moved() -> None:
    member, actions = descended()
    below_x(member, actions)
    moved = request_from(9, LeaveReport, reason=LeaveReason.MOVED)
    member.receive(moved, at(9), NOW)
    state = member.role.state
    assert isinstance(state, Joined) and state.parent.endpoint == at(9)


def test_that_the_child_moved_says_the_same_as_step_seven() -> None:
    member, _ = agreed()
    moved = request_from(9, LeaveReport, reason=LeaveReason.MOVED)
    actions = member.receive(moved, at(9), NOW)
    assert only(actions, RefreshRequest).to == at(9)
    assert only(actions, BreakConfirm).to == at(3)


def test_step_seven_without_an_agreement_changes_nothing() -> None:
    member = parent_of_x()
    early = request_from(9, JoinNotification, parent=super_node(3))
    assert member.receive(early, at(9), NOW) == []
    asked(member)
    assert member.receive(early, at(9), NOW) == []


def test_a_refusal_by_the_grandparent_waits_for_step_seven() -> None:
    member, _ = agreed()
    (renewal,) = [s for s in sends(member.wake(NOW), RefreshRequest) if s.to == at(3)]
    no = answer(renewal, RefreshResponse, 3, status=Status.FULL, sender=super_node(3))
    member.receive(no, at(3), NOW)
    assert isinstance(member.role.state, Joined)


def test_nor_does_it_wait_for_ever() -> None:
    member, _ = agreed()
    member.receive(Silence(NOW), SELF, NOW + 0.5)
    member.receive(Silence(NOW), SELF, NOW + 1.0)
    again = member.wake(NOW + 0.5 + PARAMETERS.join_wait)
    renewal = next(s for s in sends(again, RefreshRequest) if s.to == at(3))
    no = answer(renewal, RefreshResponse, 3, status=Status.FULL, sender=super_node(3))
    member.receive(no, at(3), NOW + 2.0)
    assert not isinstance(member.role.state, Joined)
    member, _ = agreed()
    assert at(3) in [s.to for s in sends(member.wake(NOW + 5.0), RefreshRequest)]


def test_without_the_grandparent_it_asks_its_child_first() -> None:
    member, _ = agreed()
    actions = member.receive(request_from(3, LeaveReport), at(3), NOW)
    assert sends(actions, JoinRequest)[0].to == at(9)
    assert member.role.part is None  # type: ignore[attr-defined]


# G.


P = HostRecord(host=HostId(20), endpoint=at(20), depth=2, out_degree=2)


def grandparent() -> EndHost:
    """Make a super node with one place for the cluster, which P has."""
    subject = in_mesh(out_degree=2)
    refreshed(subject, P, X_WISH, Y_WISH)
    return subject


def exchange_asked(subject: EndHost, applicant: HostRecord = X, child: int = 20) -> Status:
    """Take step 2; return step 3."""
    message = request_from(child, BreakRequest, applicant=applicant)
    return Status(body(subject.receive(message, at(child), NOW), BreakResponse).status)


def joins(subject: EndHost, now: float = NOW) -> Status:
    """Take step 5; return step 6."""
    message = request_from(9, JoinRequest, applicant=X)
    return Status(body(subject.receive(message, at(9), now), JoinResponse).status)


def test_the_grandparent_exchanges_one_child_for_the_other_at_once() -> None:
    subject = grandparent()
    assert exchange_asked(subject) == exchange_asked(subject) == Status.SUCCESS
    assert joins(subject) == Status.SUCCESS
    assert [child.host for child in subject.view(NOW).children] == [20], "until it confirms"
    assert subject.view(NOW).tables[1] == ("reservations", 0)
    actions = refreshed(subject, X, X_WISH)
    assert body(actions, RefreshResponse).status == Status.SUCCESS
    (entry,) = [action.entry for action in actions if isinstance(action, Install)]
    # X's subtree is P's: what P wanted goes on without a word of X.
    assert entry.downstream == (Branch(at(9), (X_WISH, Y_WISH)),)
    assert [child.host for child in subject.view(NOW).children] == [9]


def test_whose_place_was_exchanged_has_no_promise_of_another() -> None:
    subject = grandparent()
    exchange_asked(subject)
    # P lost an answer and asked once more for the place that it has.
    again = request_from(20, JoinRequest, applicant=P)
    reply = subject.receive(again, P.endpoint, NOW)
    assert body(reply, JoinResponse).status == Status.SUCCESS
    joins(subject)
    refreshed(subject, X, X_WISH)
    assert body(refreshed(subject, P), RefreshResponse).status == Status.FULL
    assert [child.host for child in subject.view(NOW).children] == [9]


def test_the_break_is_confirmed_once_and_both_rest() -> None:
    subject = grandparent()
    exchange_asked(subject)
    refreshed(subject, X)
    gone = request_from(20, BreakConfirm)
    (reply,) = sends(subject.receive(gone, at(20), NOW))
    assert isinstance(reply.message, BreakConfirm) and reply.to == at(20)
    assert sends(subject.receive(gone, at(20), NOW)) == [], "or two hosts would never be silent"
    assert exchange_asked(subject, replace(X, host=HostId(11)), child=9) == Status.REFUSED


def test_one_agreement_at_a_time() -> None:
    subject = grandparent()
    exchange_asked(subject)
    assert exchange_asked(subject, replace(X, host=HostId(11))) == Status.REFUSED


def test_a_stranger_cannot_exchange_a_child() -> None:
    subject = grandparent()
    assert exchange_asked(subject, child=77) == Status.REFUSED
    message = request_from(20, BreakRequest, applicant=X)
    reply = body(subject.receive(message, at(77), NOW), BreakResponse)
    assert reply.status == Status.REFUSED


def test_an_ancestor_cannot_be_the_applicant() -> None:
    subject = grandparent()
    assert exchange_asked(subject, replace(X, host=HostId(2))) == Status.REFUSED


def test_the_place_is_for_the_applicant_at_its_address_only() -> None:
    subject = grandparent()
    exchange_asked(subject)
    message = request_from(9, RefreshRequest, kind=RefreshKind.CHILD, sender=X)
    reply = body(subject.receive(message, at(77), NOW), RefreshResponse)
    assert reply.status == Status.FULL
    assert [child.host for child in subject.view(NOW).children] == [20]


def test_an_agreement_lapses() -> None:
    subject = grandparent()
    exchange_asked(subject)
    subject.wake(NOW + PARAMETERS.promotion_hold)
    subject.standing.children.confirmed[HostId(20)].expires = NOW + 60.0
    message = request_from(9, RefreshRequest, kind=RefreshKind.CHILD, sender=X)
    reply = body(subject.receive(message, at(9), NOW + 6.0), RefreshResponse)
    assert reply.status == Status.FULL


def test_neither_super_node_nor_source_yields() -> None:
    subject = grandparent()
    refreshed(subject, X)
    message = request_from(20, PromotionRequest, applicant=X)
    assert body(subject.receive(message, at(20), NOW), PromotionAck).status == Status.REFUSED
