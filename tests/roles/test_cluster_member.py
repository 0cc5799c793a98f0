"""A cluster member, rule by rule (slides 9, 16-20, -03 §6.3-6.5)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TypeVar

from dmmp.actions import Action, Replay
from dmmp.events import Admitted, ChildAdded, ParentLost, Promoted
from dmmp.interest import Interest, interest, no_interest
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    DataRequest,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    Message,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    SourceRequest,
    encode,
)
from dmmp.messages.common import (
    HostFlag,
    HostRecord,
    LeaveReason,
    Phase,
    RefreshKind,
    Status,
)
from dmmp.messages.local import Silence, Subscribe
from dmmp.roles.end_host import EndHost
from dmmp.types import SELF, HostId, Instant
from tests.roles.stage import (
    ME,
    PARAMETERS,
    SESSION,
    SOURCE,
    SOURCE_RECORD,
    answer,
    at,
    body,
    events,
    host,
    installed,
    only,
    register,
    sends,
    super_node,
)

M = TypeVar("M", bound=Message)

Wishes = tuple[Interest, ...]

GROUP = ip_address("239.1.2.3")
OTHER_GROUP = ip_address("239.1.2.4")


def joined(
    out_degree: int = 4, now: Instant = 10.0, groups: tuple[Interest, ...] = (interest(GROUP),)
) -> EndHost:
    """Make a member that has joined below super node 3."""
    member = host(out_degree=out_degree)
    for wanted in groups:
        member.receive(Subscribe(wanted), SELF, 0.0)
    register(member, 0.0, (super_node(3), super_node(4)))
    actions = member.wake(PARAMETERS.probe_wait)
    while not sends(actions, JoinRequest):
        alarm = member.next_alarm()
        assert alarm is not None
        actions = member.wake(alarm[0])
    for asked in sends(actions, JoinRequest):
        if asked.to == at(3):
            offer = answer(
                asked,
                JoinResponse,
                3,
                parent=super_node(3),
                super_node=HostId(3),
                root_path=(HostId(2),),
            )
            actions = member.receive(offer, at(3), now - PARAMETERS.offers_wait)
    if not sends(actions, RefreshRequest):
        actions = member.wake(now)
    confirm = only(actions, RefreshRequest)
    assert confirm.to == at(3)
    done = answer(
        confirm,
        RefreshResponse,
        3,
        sender=super_node(3),
        super_node=HostId(3),
        root_path=(HostId(2),),
        backups=(super_node(4),),
    )
    actions = member.receive(done, at(3), now)
    assert events(actions, Admitted)
    return member


def request_from(child: int, cls: type[M], **fields: object) -> M:
    """Make a request that host `child` sends."""
    header = {"session": SESSION, "source": HostId(child), "sequence": child * 1000}
    return cls(**header, **fields)  # type: ignore[arg-type]


def child_record(child: int, free: int = 2) -> HostRecord:
    """Describe a host that seeks a place."""
    return HostRecord(host=HostId(child), endpoint=at(child), out_degree=2, free_slots=free)


def adopt(
    member: EndHost, child: int, now: Instant, groups: tuple[Interest, ...] = ()
) -> list[Action]:
    """Have a host ask for a place and confirm it; return the actions of the confirmation."""
    member.receive(request_from(child, JoinRequest, applicant=child_record(child)), at(child), now)
    refresh = request_from(
        child, RefreshRequest, kind=RefreshKind.CHILD, sender=child_record(child), interest=groups
    )
    return member.receive(refresh, at(child), now)


def test_it_probes_every_candidate_three_times() -> None:
    member = host()
    actions = register(member, 0.0, (super_node(3), super_node(4)))
    probed = [send.to for send in sends(actions, ProbeRequest)]
    for _ in range(PARAMETERS.probe_rounds - 1):
        alarm = member.next_alarm()
        assert alarm is not None and alarm[1] == "PROBES"
        probed += [send.to for send in sends(member.wake(alarm[0]), ProbeRequest)]
    assert sorted(probed) == sorted([at(3), at(4)] * PARAMETERS.probe_rounds)


def test_it_asks_the_nearest_first() -> None:
    member = host()
    rounds = [sends(register(member, 0.0, (super_node(3), super_node(4))), ProbeRequest)]
    for _ in range(PARAMETERS.probe_rounds - 1):
        alarm = member.next_alarm()
        assert alarm is not None
        rounds.append(sends(member.wake(alarm[0]), ProbeRequest))
    actions = []
    for number, delay in ((4, 0.005), (3, 0.050)):
        for at_round, probes in enumerate(rounds):
            (probe,) = [send for send in probes if send.to == at(number)]
            sent = at_round * PARAMETERS.probe_spacing
            reply = answer(probe, ProbeResponse, number, timestamp=0, sender=super_node(number))
            actions += member.receive(reply, at(number), sent + delay)
    assert only(actions, JoinRequest).to == at(4)


def test_while_the_overlay_is_built_it_sends_a_cluster_request() -> None:
    member = host()
    register(member, 0.0, (super_node(3),), Phase.BUILDING)
    actions = member.wake(PARAMETERS.probe_wait)
    while not sends(actions, ClusterRequest):
        alarm = member.next_alarm()
        assert alarm is not None
        actions = member.wake(alarm[0])
    asked = only(actions, ClusterRequest)
    refusal = answer(asked, ClusterResponse, 3, status=Status.FULL, children=(child_record(8),))
    # Refused with children: it asks them in turn (slide 9).
    assert only(member.receive(refusal, at(3), 1.0), JoinRequest).to == at(8)


def test_several_offers_the_smallest_depth_wins_then_the_longest_uptime() -> None:
    member = host()
    register(member, 0.0, (super_node(3),))
    actions = member.wake(PARAMETERS.probe_wait)
    while not sends(actions, JoinRequest):
        actions = member.wake(member.next_alarm()[0])  # type: ignore[index]
    asked = only(actions, JoinRequest)
    now = 1.0
    for number, depth, uptime in ((5, 3, 90), (6, 2, 10), (7, 2, 50)):
        record = replace(child_record(number), depth=depth, uptime=uptime)
        offer = answer(asked, JoinResponse, number, parent=record, root_path=(HostId(3),))
        assert not sends(member.receive(offer, at(number), now))
    actions = member.wake(now + PARAMETERS.offers_wait)
    assert only(actions, RefreshRequest).to == at(7)
    confirm = only(actions, RefreshRequest)
    done = answer(confirm, RefreshResponse, 7, sender=replace(child_record(7), depth=2))
    declined = sends(member.receive(done, at(7), now + 0.3), LeaveReport)
    assert {send.to for send in declined} == {at(5), at(6)}
    assert all(getattr(send.message, "reason", 0) == LeaveReason.DECLINED for send in declined)


def test_the_confirmation_carries_its_interest_and_asks_for_what_the_parent_holds() -> None:
    member = joined()
    view = member.view(10.0)
    assert view.parent is not None and view.parent.host == 3
    assert view.depth == 2 and view.root_path == (3, 2)
    assert [wanted.group for wanted in view.groups] == [GROUP]


def test_an_offer_whose_root_path_holds_this_host_is_refused() -> None:
    member = host()
    register(member, 0.0, (super_node(3),))
    actions = member.wake(PARAMETERS.probe_wait)
    while not sends(actions, JoinRequest):
        actions = member.wake(member.next_alarm()[0])  # type: ignore[index]
    offer = answer(
        only(actions, JoinRequest), JoinResponse, 3, parent=super_node(3), root_path=(ME, HostId(2))
    )
    assert not sends(member.receive(offer, at(3), 1.0), RefreshRequest)


def test_a_new_wish_reaches_the_parent_at_once_and_a_second_waits_for_the_answer() -> None:
    member = joined()
    first = only(member.receive(Subscribe(interest(OTHER_GROUP)), SELF, 11.0), RefreshRequest)
    assert first.message.interest == (interest(OTHER_GROUP),)  # type: ignore[attr-defined]
    assert not sends(member.receive(Subscribe(no_interest(GROUP)), SELF, 11.0))
    done = answer(first, RefreshResponse, 3, sender=super_node(3), root_path=(HostId(2),))
    second = only(member.receive(done, at(3), 11.1), RefreshRequest)
    assert second.message.interest == (no_interest(GROUP),)  # type: ignore[attr-defined]


def test_the_interest_of_a_child_goes_up_and_into_its_branch() -> None:
    member = joined(groups=())
    actions = adopt(member, 9, 11.0, (interest(OTHER_GROUP),))
    assert events(actions, ChildAdded)
    (branch,) = installed(actions).entry.downstream
    assert branch.endpoint == at(9) and branch.interest == (interest(OTHER_GROUP),)
    upward = [send for send in sends(actions, RefreshRequest) if send.to == at(3)]
    assert upward[0].message.interest == (interest(OTHER_GROUP),)  # type: ignore[attr-defined]


def test_an_overtaken_refresh_does_not_bring_back_withdrawn_interest() -> None:
    member = joined(groups=())
    adopt(member, 9, 11.0, (interest(OTHER_GROUP),))
    base = request_from(9, RefreshRequest, kind=RefreshKind.CHILD, sender=child_record(9))
    leave = replace(base, sequence=9002, interest=(no_interest(OTHER_GROUP),))
    late = replace(base, sequence=9001, interest=(interest(OTHER_GROUP),))
    assert installed(member.receive(leave, at(9), 12.0)).entry.downstream[0].interest == ()
    member.receive(late, at(9), 12.1)
    assert member.view(12.1).subtree_groups == ()


def test_a_full_member_passes_the_request_down_unchanged_but_for_the_count() -> None:
    member = joined(out_degree=1)
    adopt(member, 9, 11.0)
    request = request_from(20, JoinRequest, applicant=child_record(20), passes=8)
    actions = member.receive(request, at(20), 12.0)
    passed = only(actions, JoinRequest)
    assert passed.to == at(9) and passed.message.sequence == request.sequence
    assert passed.message.passes == 7  # type: ignore[attr-defined]
    assert passed.message.applicant.endpoint == at(20)  # type: ignore[attr-defined]


def test_a_full_member_refuses_with_its_children_when_it_may_not_pass() -> None:
    member = joined(out_degree=1)
    adopt(member, 9, 11.0)
    request = request_from(20, JoinRequest, applicant=child_record(20), passes=0)
    refusal = only(member.receive(request, at(20), 12.0), JoinResponse)
    assert refusal.to == at(20)
    assert refusal.message.status == Status.FULL  # type: ignore[attr-defined]
    assert [child.host for child in refusal.message.children] == [9]  # type: ignore[attr-defined]


def test_a_place_that_is_offered_is_not_offered_twice() -> None:
    member = joined(out_degree=1)
    first = request_from(20, JoinRequest, applicant=child_record(20))
    second = request_from(21, JoinRequest, applicant=child_record(21))
    status = [
        body(member.receive(m, at(m.source), 12.0), JoinResponse).status for m in (first, second)
    ]
    assert status == [Status.SUCCESS, Status.FULL]
    later = 12.0 + PARAMETERS.reservation_hold + 0.1
    again = only(member.receive(second, at(21), later), JoinResponse)
    assert again.message.status == Status.SUCCESS  # type: ignore[attr-defined]


def test_an_ancestor_is_never_admitted() -> None:
    member = joined()
    request = request_from(3, JoinRequest, applicant=super_node(3))
    assert body(member.receive(request, at(3), 12.0), JoinResponse).status == Status.LOOP


def test_a_member_without_a_place_promises_none() -> None:
    member = host()
    register(member, 0.0)
    refresh = request_from(9, RefreshRequest, kind=RefreshKind.CHILD, sender=child_record(9))
    answered = only(member.receive(refresh, at(9), 1.0), RefreshResponse)
    assert answered.message.status == Status.NOT_JOINED  # type: ignore[attr-defined]


def run_until_lost(member: EndHost, now: Instant) -> tuple[list[Action], Instant]:
    """Let alarms fire, nobody answering, until the parent is given up."""
    actions: list[Action] = []
    while not events(actions, ParentLost):
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        actions = member.wake(now)
    return actions, now


def test_silence_is_followed_by_probes_and_then_by_the_backup_parent() -> None:
    member = joined()
    probe = only(member.receive(Silence(10.5), SELF, 11.0), ProbeRequest)
    assert probe.to == at(3)
    actions, now = run_until_lost(member, 11.0)
    # Three tries at 250 ms, doubling: 1.75 s, far within the refresh timers.
    assert now - 11.0 <= 1.76
    assert at(4) in [send.to for send in sends(actions, JoinRequest)]


def test_a_parent_that_answers_the_probe_is_kept() -> None:
    member = joined()
    probe = only(member.receive(Silence(10.5), SELF, 11.0), ProbeRequest)
    alive = answer(probe, ProbeResponse, 3, timestamp=0, sender=super_node(3))
    assert not events(member.receive(alive, at(3), 11.1), ParentLost)
    assert member.view(11.1).parent is not None


def test_a_parent_that_answers_no_refresh_is_given_up() -> None:
    member = joined()
    _, now = run_until_lost(member, 10.0)
    assert now <= 10.0 + 1.2 * PARAMETERS.refresh_cluster + 7.76


def test_a_loop_is_seen_in_the_path_and_broken() -> None:
    member = joined()
    looped = RefreshRequest(
        session=SESSION,
        source=HostId(3),
        kind=RefreshKind.PARENT,
        sender=super_node(3),
        root_path=(ME, HostId(2)),
    )
    (lost,) = events(member.receive(looped, at(3), 11.0), ParentLost)
    assert lost.reason == "loop"  # type: ignore[attr-defined]


def test_children_hear_of_a_new_path_at_once() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    moved = RefreshRequest(
        session=SESSION,
        source=HostId(3),
        kind=RefreshKind.PARENT,
        sender=super_node(3),
        root_path=(HostId(5), HostId(2)),
    )
    told = only(member.receive(moved, at(3), 12.0), RefreshRequest)
    assert told.to == at(9) and told.message.root_path == (3, 5, 2)  # type: ignore[attr-defined]


def test_children_stay_while_it_seeks_another_parent() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    leave = LeaveReport(session=SESSION, source=HostId(3), sequence=5)
    actions = member.receive(leave, at(3), 12.0)
    assert sends(actions, JoinRequest) and not events(actions, ParentLost)
    assert [child.host for child in member.view(12.0).children] == [9]


def test_a_dismissed_child_is_served_until_it_has_another_parent() -> None:
    member = joined()
    dismissal = LeaveReport(
        session=SESSION, source=HostId(3), sequence=5, reason=LeaveReason.DISMISSED
    )
    actions = member.receive(dismissal, at(3), 12.0)
    assert not events(actions, ParentLost)
    view = member.view(12.0)
    assert view.parent is not None and view.parent.host == 3
    # It goes on accepting data from there.
    assert member.role.upstream() == (at(3),)
    assert at(4) in [send.to for send in sends(actions, JoinRequest)]


def test_a_data_request_of_a_child_is_served_and_of_a_stranger_not() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    request = request_from(9, DataRequest, origin=HostId(0), channel=0, base=0)
    assert [type(a) for a in member.receive(request, at(9), 12.0)] == [Replay]
    assert not member.receive(request, at(77), 12.0)


def test_a_silent_child_loses_its_place() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    now = 11.0
    while now < 11.0 + PARAMETERS.hold_cluster + PARAMETERS.refresh_cluster:
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        for send in sends(member.wake(now), RefreshRequest):
            if send.to == at(3):
                member.receive(
                    answer(send, RefreshResponse, 3, sender=super_node(3), root_path=(HostId(2),)),
                    at(3),
                    now,
                )
    assert member.view(now).children == ()


def test_without_a_place_it_offers_itself_after_some_rounds() -> None:
    member = host()
    register(member, 0.0)
    now, offers = 0.0, []
    for _ in range(60):
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        actions = member.wake(now)
        offers += sends(actions, SourceRequest)
        for ping in sends(actions, PingRpRequest):
            again = answer(ping, PingRpResponse, 0, host=ME, observed=at(100))
            offers += sends(member.receive(again, at(1), now), SourceRequest)
        if offers:
            break
    assert offers[0].message.host.flags & HostFlag.OFFERS  # type: ignore[attr-defined]


def test_chosen_by_the_source_it_becomes_a_super_node_and_keeps_its_children() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    setup = SetupRequest(session=SESSION, source=HostId(2), sequence=77, sender=SOURCE_RECORD)
    actions = member.receive(setup, SOURCE, 12.0)
    assert body(actions, SetupResponse).status == Status.SUCCESS
    assert events(actions, Promoted)
    view = member.view(12.0)
    assert view.role == "super-node" and [c.host for c in view.children] == [9]
    # The old parent serves it until the mesh has taken it in.
    assert view.parent is not None and view.parent.host == 3


def test_only_the_source_can_make_it_a_super_node() -> None:
    member = joined()
    setup = SetupRequest(session=SESSION, source=HostId(3), sequence=77, sender=super_node(3))
    answered = only(member.receive(setup, at(3), 12.0), SetupResponse)
    assert answered.message.status == Status.NOT_SUPER_NODE  # type: ignore[attr-defined]
    assert member.view(12.0).role == "member"


def test_a_parent_that_is_too_deep_is_left_before_its_path_cannot_be_sent_on() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    deep = RefreshRequest(
        session=SESSION,
        source=HostId(3),
        kind=RefreshKind.PARENT,
        sender=super_node(3),
        root_path=tuple(HostId(1000 + hop) for hop in range(64)),
    )
    actions = member.receive(deep, at(3), 12.0)
    (lost,) = events(actions, ParentLost)
    assert lost.reason == "too deep"  # type: ignore[attr-defined]
    assert all(encode(send.message) for send in sends(actions))
