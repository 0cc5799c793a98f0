"""Self-improvement, step by step and refusal by refusal: X and Y (-03 §6.8)."""

from __future__ import annotations

from dmmp.actions import Action, Branch, Install, Send
from dmmp.events import ChildAdded, PlaceTaken
from dmmp.interest import interest
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
from dmmp.messages.common import HostFlag, HostRecord, LeaveReason, RefreshKind, Status
from dmmp.roles.end_host import EndHost
from dmmp.roles.states import Confirming, Joined
from dmmp.types import HostId
from tests.roles.stage import (
    PARAMETERS,
    SESSION,
    answer,
    at,
    body,
    events,
    group,
    installed,
    only,
    sends,
    super_node,
)
from tests.roles.test_cluster_member import adopt, joined, request_from

P = HostRecord(host=HostId(3), endpoint=at(3), depth=2, out_degree=2, uptime=500)
G = super_node(5, free=0)
WISH = interest(group(7))
LOOK = 60.0
"""When every host here has looked at its parent."""


def member_below(parent: HostRecord, out_degree: int = 8) -> EndHost:
    """Make a member whose parent, host 3, is the child of host 5."""
    member = joined(out_degree=out_degree)
    news = RefreshRequest(
        session=SESSION,
        source=HostId(3),
        kind=RefreshKind.PARENT,
        sender=parent,
        super_node=HostId(5),
        root_path=(HostId(5), HostId(2)),
    )
    member.receive(news, at(3), 11.0)
    return member


def asking(out_degree: int = 8) -> tuple[EndHost, Send]:
    """Make X, and take step 1."""
    member = member_below(P, out_degree)
    return member, only(member.wake(LOOK), PromotionRequest)


def lent(*wishes: object) -> RefreshRequest:
    """Make P's Refresh that says what it will want of X."""
    return request_from(
        3,
        RefreshRequest,
        kind=RefreshKind.CHILD,
        sender=P,
        root_path=(HostId(5), HostId(2)),
        interest=wishes,
    )


def agreed(member: EndHost, asked: Send) -> Send:
    """Take step 4; return step 5."""
    ack = answer(asked, PromotionAck, 3, grandparent=G)
    return only(member.receive(ack, at(3), LOOK), JoinRequest)


def offered(join: Send, status: Status = Status.SUCCESS) -> JoinResponse:
    """Make step 6."""
    found = answer(
        join, JoinResponse, 5, status=status, parent=G, super_node=HostId(5), root_path=(2,)
    )
    assert isinstance(found, JoinResponse)
    return found


def confirming() -> tuple[EndHost, list[Action]]:
    """Take X to where it confirms its place at G; return what it does then."""
    member, asked = asking()
    join = agreed(member, asked)
    member.receive(offered(join), at(5), LOOK)
    return member, member.receive(lent(WISH), at(3), LOOK)


def confirmed(refresh: Send, status: Status = Status.SUCCESS) -> RefreshResponse:
    """Make G's answer to X's Refresh."""
    found = answer(
        refresh, RefreshResponse, 5, status=status, sender=G, super_node=HostId(5), root_path=(2,)
    )
    assert isinstance(found, RefreshResponse)
    return found


# X.


def test_a_far_more_capable_child_asks_for_its_parents_place() -> None:
    member, asked = asking()
    assert asked.to == at(3)
    assert asked.message.applicant.host == member.view(LOOK).host  # type: ignore[attr-defined]


def test_an_equal_one_does_not_ask() -> None:
    assert not sends(member_below(P, out_degree=3).wake(LOOK), PromotionRequest)


def test_nobody_asks_a_super_node() -> None:
    core = HostRecord(host=HostId(3), endpoint=at(3), flags=HostFlag.SUPER_NODE, out_degree=2)
    assert not sends(member_below(core).wake(LOOK), PromotionRequest)


def test_without_room_for_the_parent_it_does_not_ask() -> None:
    member = member_below(P, out_degree=4)
    for child in range(20, 24):
        adopt(member, child, LOOK - 1.0)
    assert not sends(member.wake(LOOK), PromotionRequest)


def test_who_took_part_lately_does_not_ask() -> None:
    member = member_below(P)
    member.standing.calm_until = LOOK + 1.0
    assert not sends(member.wake(LOOK), PromotionRequest)


def test_refused_it_stays_and_asks_again_only_at_its_next_look() -> None:
    member, asked = asking()
    member.receive(answer(asked, PromotionAck, 3, status=Status.REFUSED), at(3), LOOK)
    assert isinstance(member.role.state, Joined)
    assert member.role.free_places(False, LOOK) == 8
    assert not sends(member.wake(LOOK + 1.0), PromotionRequest)


def test_agreed_it_asks_the_grandparent_itself() -> None:
    member, asked = asking()
    join = agreed(member, asked)
    assert (join.to, join.message.passes) == (at(5), 0)  # type: ignore[attr-defined]


def test_the_word_of_another_host_is_no_agreement() -> None:
    member, asked = asking()
    ack = answer(asked, PromotionAck, 9, grandparent=G)
    assert not sends(member.receive(ack, at(9), LOOK), JoinRequest)


def test_it_confirms_only_with_both_the_offer_and_the_parents_wishes() -> None:
    member, asked = asking()
    join = agreed(member, asked)
    assert not sends(member.receive(offered(join), at(5), LOOK), RefreshRequest)
    late = member.receive(lent(WISH), at(3), LOOK)
    assert only(late, RefreshRequest).to == at(5)
    # Or the other way round.
    member, asked = asking()
    early = member.receive(lent(WISH), at(3), LOOK)
    assert body(early, RefreshResponse).status == Status.SUCCESS
    assert not sends(early, RefreshRequest)
    actions = member.receive(offered(agreed(member, asked)), at(5), LOOK)
    assert only(actions, RefreshRequest).to == at(5)


def test_the_parent_is_fed_before_the_exchange() -> None:
    member, actions = confirming()
    entry = installed(actions).entry
    assert entry.upstream == (at(5), at(3))
    assert entry.downstream == (Branch(at(3), (WISH,)),)
    assert actions.index(installed(actions)) < actions.index(only(actions, RefreshRequest))
    assert not member.view(LOOK).children, "it is the parent still"
    assert member.role.free_places(False, LOOK) == 7


def test_confirmed_it_tells_the_parent_which_is_its_child_now() -> None:
    member, actions = confirming()
    done = member.receive(confirmed(only(actions, RefreshRequest)), at(5), LOOK)
    told = only(done, JoinNotification)
    assert (told.to, told.message.parent.host) == (at(3), 5)  # type: ignore[attr-defined]
    assert only(done, LeaveReport).to == at(3)
    assert events(done, PlaceTaken) == [PlaceTaken(HostId(3))]
    assert events(done, ChildAdded)
    assert [child.host for child in member.view(LOOK).children] == [3]
    # The flow does not notice.
    for action in done:
        if isinstance(action, Install):
            assert action.entry.upstream[0] == at(5)
            assert action.entry.downstream == (Branch(at(3), (WISH,)),)
    assert member.role.branches() == (Branch(at(3), (WISH,)),)
    # What the parent wants goes up at once.
    wanted = [send for send in sends(done, RefreshRequest) if send.to == at(5)]
    assert WISH in wanted[0].message.interest  # type: ignore[attr-defined]
    assert not member.role.is_calm(LOOK + 20.0)  # type: ignore[attr-defined]
    assert member.role.is_calm(LOOK + 40.0)  # type: ignore[attr-defined]


def test_refused_by_the_grandparent_all_is_as_before() -> None:
    member, actions = confirming()
    refusal = confirmed(only(actions, RefreshRequest), Status.FULL)
    actions = member.receive(refusal, at(5), LOOK)
    state = member.role.state
    assert isinstance(state, Joined) and state.parent.endpoint == at(3)
    assert installed(actions).entry.downstream == ()
    assert installed(actions).entry.upstream == (at(3),)
    goodbye = only(actions, LeaveReport)
    assert goodbye.to == at(5)
    assert goodbye.message.reason == LeaveReason.MOVED  # type: ignore[attr-defined]
    assert not sends(actions, JoinNotification)


def test_no_offer_and_the_agreement_lapses() -> None:
    member, asked = asking()
    agreed(member, asked)
    member.receive(lent(WISH), at(3), LOOK)
    member.wake(LOOK + PARAMETERS.promotion_hold / 2)
    assert member.role.part is None  # type: ignore[attr-defined]
    assert member.role.free_places(False, LOOK + 4.0) == 8
    assert isinstance(member.role.state, Joined)


def test_an_offer_whose_path_leads_through_the_parent_is_none() -> None:
    member, asked = asking()
    join = agreed(member, asked)
    member.receive(lent(WISH), at(3), LOOK)
    looped = answer(join, JoinResponse, 5, parent=G, root_path=(3, 2))
    assert not sends(member.receive(looped, at(5), LOOK), RefreshRequest)


# Y.

X = HostRecord(host=HostId(6), endpoint=at(6), depth=2, out_degree=8, free_slots=4)


def sent_on(sender: int = 3) -> tuple[EndHost, list[Action]]:
    """Have a member hear step 9; return what it does."""
    member = member_below(P, out_degree=1)
    go = request_from(sender, JoinNotification, parent=X)
    return member, member.receive(go, at(sender), LOOK)


def test_sent_on_it_asks_the_new_parent_and_tells_the_old_one() -> None:
    member, actions = sent_on()
    join = only(actions, JoinRequest)
    assert (join.to, join.message.passes) == (at(6), 0)  # type: ignore[attr-defined]
    offer = answer(join, JoinResponse, 6, parent=X, super_node=HostId(5), root_path=(5, 2))
    confirm = only(member.receive(offer, at(6), LOOK), RefreshRequest)
    assert confirm.to == at(6) and isinstance(member.role.state, Confirming)
    done = answer(confirm, RefreshResponse, 6, sender=X, super_node=HostId(5), root_path=(5, 2))
    actions = member.receive(done, at(6), LOOK)
    assert only(actions, LeaveReport).to == at(3)
    told = only(actions, PromotionConfirm)
    assert (told.to, told.message.status) == (at(3), Status.SUCCESS)  # type: ignore[attr-defined]
    # Asked once more, since the answer was lost, it says so again.
    again = member.receive(request_from(3, JoinNotification, parent=X), at(3), LOOK)
    assert body(again, PromotionConfirm).status == Status.SUCCESS


def test_without_room_there_it_stays() -> None:
    member, actions = sent_on()
    full = answer(only(actions, JoinRequest), JoinResponse, 6, status=Status.FULL, parent=X)
    actions = member.receive(full, at(6), LOOK)
    assert body(actions, PromotionConfirm).status == Status.FULL
    assert isinstance(member.role.state, Joined)


def test_refused_there_after_all_it_stays() -> None:
    member, actions = sent_on()
    join = only(actions, JoinRequest)
    offer = answer(join, JoinResponse, 6, parent=X, super_node=HostId(5), root_path=(5, 2))
    confirm = only(member.receive(offer, at(6), LOOK), RefreshRequest)
    refusal = answer(confirm, RefreshResponse, 6, status=Status.FULL, sender=X)
    actions = member.receive(refusal, at(6), LOOK)
    assert body(actions, PromotionConfirm).status == Status.REFUSED
    state = member.role.state
    assert isinstance(state, Joined) and state.parent.endpoint == at(3)


def test_a_stranger_sends_nobody_anywhere() -> None:
    assert sent_on(sender=9)[1] == []


def test_who_took_part_lately_does_not_go() -> None:
    member = member_below(P, out_degree=1)
    member.standing.calm_until = LOOK + 1.0
    actions = member.receive(request_from(3, JoinNotification, parent=X), at(3), LOOK)
    assert body(actions, PromotionConfirm).status == Status.REFUSED
    assert not sends(actions, JoinRequest)
