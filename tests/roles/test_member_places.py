"""What a member promises, to whom, and when it stops promising (Decisions 14, 17 and 21)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.actions import ANY_ORIGIN, Install, Replay, Send
from dmmp.events import ChildLost, ParentLost, PeerViolation
from dmmp.interest import interest
from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    LeaveReport,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SourceRequest,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import NOT_JOINED_DEPTH, HostFlag, RefreshKind, Status
from dmmp.messages.local import Start, Unreachable
from dmmp.roles.end_host import EndHost
from dmmp.roles.standing import HostSetup
from dmmp.types import SELF, HostId, SessionId
from tests.roles.stage import (
    PARAMETERS,
    RP,
    SESSION,
    answer,
    at,
    body,
    events,
    host,
    only,
    register,
    sends,
    super_node,
)
from tests.roles.test_cluster_member import (
    GROUP,
    adopt,
    child_record,
    joined,
    request_from,
    run_until_lost,
)


def test_the_confirmation_says_how_much_room_it_brings() -> None:
    member = host(out_degree=4)
    register(member, 0.0, (super_node(3),))
    actions = member.wake(PARAMETERS.probe_wait)
    while not sends(actions, JoinRequest):
        actions = member.wake(member.next_alarm()[0])  # type: ignore[index]
    offer = answer(
        only(actions, JoinRequest),
        JoinResponse,
        3,
        parent=super_node(3),
        root_path=(HostId(2),),
    )
    confirm = body(member.receive(offer, at(3), 1.0), RefreshRequest)
    assert (confirm.sender.depth, confirm.sender.free_slots) == (2, 4)


def test_the_parent_hears_soon_that_the_last_place_below_is_taken() -> None:
    member = joined(out_degree=1)
    adopt(member, 9, 11.0)
    full = request_from(9, RefreshRequest, kind=RefreshKind.CHILD, sender=child_record(9, free=0))
    member.receive(full, at(9), 12.0)
    told = []
    while (alarm := member.next_alarm()) is not None and alarm[0] <= 12.0 + PARAMETERS.room_wait:
        told += [send.message for send in sends(member.wake(alarm[0])) if send.to == at(3)]
    refreshes = [m for m in told if isinstance(m, RefreshRequest) and m.kind == RefreshKind.CHILD]
    assert refreshes and refreshes[-1].sender.free_slots == 0


def test_below_an_orphan_no_place_is_offered() -> None:
    member = joined()
    orphaned = RefreshRequest(
        session=SESSION,
        source=HostId(3),
        kind=RefreshKind.PARENT,
        sender=replace(super_node(3), depth=NOT_JOINED_DEPTH),
    )
    member.receive(orphaned, at(3), 11.0)
    assert member.view(11.0).depth is None
    request = request_from(20, JoinRequest, applicant=child_record(20))
    assert body(member.receive(request, at(20), 11.0), JoinResponse).status == Status.NOT_JOINED
    # It goes on listening to the orphan, which may have a place again at any moment.
    assert member.role.upstream() == (at(3),)


def test_an_orphan_tells_its_children_at_once() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    looped = RefreshRequest(
        session=SESSION,
        source=HostId(3),
        kind=RefreshKind.PARENT,
        sender=super_node(3),
        root_path=(member.view(11.0).host,),
    )
    actions = member.receive(looped, at(3), 12.0)
    assert events(actions, ParentLost)
    told = [send for send in sends(actions, RefreshRequest) if send.to == at(9)]
    assert told[0].message.sender.depth == NOT_JOINED_DEPTH  # type: ignore[attr-defined]


def test_an_orphan_that_finds_nobody_offers_itself_without_more_rounds() -> None:
    member = joined()
    _, lost_at = run_until_lost(member, 12.0)
    offers: list[Send] = []
    now = lost_at
    while not offers and now < 60.0:
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        offers = sends(member.wake(now), SourceRequest)
    assert offers[0].message.host.flags & HostFlag.OFFERS  # type: ignore[attr-defined]
    assert now <= lost_at + PARAMETERS.join_wait + 1.0


def test_a_parent_that_leaves_serves_until_another_has_confirmed() -> None:
    member = joined()
    leave = LeaveReport(session=SESSION, source=HostId(3), sequence=5)
    assert not events(member.receive(leave, at(3), 12.0), ParentLost)
    assert member.role.upstream() == (at(3),)
    assert member.role.has_place()


def test_what_is_held_goes_to_a_new_child_before_what_comes() -> None:
    member = joined()
    actions = adopt(member, 9, 11.0, (interest(GROUP),))
    kinds = [type(a) for a in actions if isinstance(a, (Install, Replay))]
    assert kinds == [Install, Replay]
    (replay,) = [a for a in actions if isinstance(a, Replay)]
    assert (replay.origin, replay.to) == (ANY_ORIGIN, at(9))


def test_a_child_that_was_started_again_does_not_hold_two_places() -> None:
    member = joined(out_degree=1)
    adopt(member, 9, 11.0)
    again = request_from(30, JoinRequest, applicant=child_record(30))
    actions = member.receive(again, at(9), 12.0)
    (lost,) = events(actions, ChildLost)
    assert lost.child == 9  # type: ignore[attr-defined]
    assert body(actions, JoinResponse).status == Status.SUCCESS


def test_a_request_passed_down_by_anybody_but_the_parent_is_answered_to_nobody() -> None:
    member = joined()
    passed = request_from(77, JoinRequest, applicant=child_record(20))
    assert member.receive(passed, at(77), 12.0) == []
    from_parent = replace(passed, source=HostId(3))
    assert only(member.receive(from_parent, at(3), 12.0), JoinResponse).to == at(20)


def test_a_message_of_another_session_changes_nothing() -> None:
    member = joined()
    stray = replace(
        request_from(20, JoinRequest, applicant=child_record(20)), session=SessionId(0xDEADBEEF)
    )
    actions = member.receive(stray, at(20), 12.0)
    assert events(actions, PeerViolation) and not sends(actions)


def test_with_two_rps_the_one_that_serves_the_session_is_found() -> None:
    setup = HostSetup("demo", (RP, at(8)), 4, instance=7)
    member = EndHost("member", setup, PARAMETERS, host().standing.rng)
    asked = only(member.receive(Start(), SELF, 0.0), SubscriptionRequest)
    refusal = answer(asked, SubscriptionResponse, 0, status=Status.UNKNOWN_SESSION)
    actions = member.receive(refusal, RP, 0.1)
    assert not events(actions) and only(actions, SubscriptionRequest).to == at(8)


def test_with_two_rps_the_one_that_knows_super_nodes_is_found() -> None:
    setup = HostSetup("demo", (RP, at(8)), 4, instance=7)
    member = EndHost("member", setup, PARAMETERS, host().standing.rng)
    register(member, 0.0)
    now = 0.0
    asked: list[Send] = []
    while not asked:
        now = member.next_alarm()[0]  # type: ignore[index]
        asked = [send for send in sends(member.wake(now)) if send.to in (RP, at(8))]
    assert asked[0].to == at(8)


def test_a_refused_refresh_of_a_parent_costs_no_child() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    actions, now = run_until_lost(member, 12.0)
    assert events(actions, ParentLost)
    refresh = request_from(9, RefreshRequest, kind=RefreshKind.CHILD, sender=child_record(9))
    assert body(member.receive(refresh, at(9), now), RefreshResponse).status == Status.SUCCESS


@pytest.mark.parametrize("version", [1, 127, 128, 200, 255])
def test_a_newcomer_takes_the_tree_version_of_its_first_parent(version: int) -> None:
    member = host()
    register(member, 0.0, (super_node(3),))
    actions = member.wake(PARAMETERS.probe_wait)
    while not sends(actions, JoinRequest):
        actions = member.wake(member.next_alarm()[0])  # type: ignore[index]
    offer = answer(only(actions, JoinRequest), JoinResponse, 3, parent=super_node(3))
    confirm = only(member.receive(offer, at(3), 1.0), RefreshRequest)
    done = answer(confirm, RefreshResponse, 3, sender=super_node(3), tree_version=version)
    member.receive(done, at(3), 1.1)
    assert member.view(1.1).tree_version == version


def test_a_parent_nobody_listens_for_is_probed_twice_and_then_given_up() -> None:
    member = joined()
    probe = only(member.receive(Unreachable(at(3)), SELF, 11.0), ProbeRequest)
    assert probe.to == at(3)
    _, now = run_until_lost(member, 11.0)
    # The join took no time, so the shortest wait counts: twice.
    assert now == pytest.approx(11.0 + 2 * PARAMETERS.probe_wait_least)


def test_a_report_that_nobody_listens_costs_a_living_parent_nothing() -> None:
    member = joined()
    probe = only(member.receive(Unreachable(at(3)), SELF, 11.0), ProbeRequest)
    alive = answer(probe, ProbeResponse, 3, timestamp=0, sender=super_node(3))
    assert not events(member.receive(alive, at(3), 11.2), ParentLost)
    assert member.view(11.2).parent is not None
