"""The rendezvous point, rule by rule (slides 9, 12 and 14; -03 §3, §5, §6.1)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.actions import Install, Replay, Report, Send
from dmmp.errors import ParameterError
from dmmp.events import HostExpired, HostRegistered
from dmmp.messages import (
    LeaveReport,
    LeaveResponse,
    Message,
    PingRpResponse,
    SourceRequest,
    SourceResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import HostFlag, HostRecord, HostState, Phase, Status
from dmmp.messages.local import Unreachable
from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint, session_id
from dmmp.types import NO_SESSION, SELF, STUN_MAGIC, HostId, Instant, SessionId
from tests.examples import examples
from tests.roles.rendezvous import (
    OTHER_SESSION,
    add_source,
    add_super_node,
    ping,
    rendezvous_point,
    second_source,
    sweep,
    told,
    version,
    welcome,
)
from tests.roles.stage import PARAMETERS, SESSION, at, events, only

# Finding the session.


def test_it_names_the_session_by_its_name() -> None:
    request = SubscriptionRequest(sequence=5, group_name="demo")
    found = only(rendezvous_point().receive(request, at(9), 0.0), SubscriptionResponse)
    assert found.to == at(9) and found.message.sequence == 5
    assert found.message.session == SESSION != OTHER_SESSION


def test_every_rp_of_a_group_generates_the_same_session_id() -> None:
    assert set(rendezvous_point(0).sessions) == set(rendezvous_point(7, seed=2).sessions)


@given(st.text(max_size=20))
def test_a_session_id_is_never_none_nor_that_of_stun(name: str) -> None:
    assert session_id(name) not in (NO_SESSION, STUN_MAGIC)


def test_an_unknown_session_is_refused() -> None:
    rp = rendezvous_point()
    request = SubscriptionRequest(group_name="unheard")
    found = only(rp.receive(request, at(9), 0.0), SubscriptionResponse).message
    assert isinstance(found, SubscriptionResponse)
    assert (found.status, found.session) == (Status.UNKNOWN_SESSION, NO_SESSION)
    assert welcome(ping(rp, 9, session=SessionId(12345))).status == Status.UNKNOWN_SESSION
    assert [view.hosts for view in rp.views(0.0)] == [0, 0]


def test_at_most_so_many_sessions_and_indices() -> None:
    with pytest.raises(ParameterError):
        RendezvousPoint(tuple(str(n) for n in range(65)), PARAMETERS, Random(1))
    for index in (-1, 16):
        with pytest.raises(ParameterError):
            RendezvousPoint(("demo",), PARAMETERS, Random(1), index)


# Identities.


def test_every_host_gets_an_id_of_its_own_and_hears_where_it_is_seen() -> None:
    rp = rendezvous_point()
    found = [welcome(ping(rp, number)) for number in range(3, 50)]
    assert len({answer.host for answer in found}) == len(found)
    assert all(answer.host for answer in found)
    assert [answer.observed for answer in found] == [at(number) for number in range(3, 50)]
    assert found[-1].hosts == len(found)


def test_a_request_that_was_sent_again_gives_the_same_id() -> None:
    rp = rendezvous_point()
    first, second = ping(rp, 9), ping(rp, 9, 0.25)
    assert welcome(first).host == welcome(second).host
    assert events(first, HostRegistered) and not events(second, HostRegistered)
    assert rp.views(0.0)[0].hosts == 1


def test_a_host_that_moved_keeps_its_id() -> None:
    rp = rendezvous_point()
    before = welcome(ping(rp, 9, instance=77))
    assert welcome(ping(rp, 10, 5.0, host=before.host, instance=77)).host == before.host


def test_another_start_of_a_host_gets_another_id() -> None:
    rp = rendezvous_point()
    assert welcome(ping(rp, 9, instance=77)).host != welcome(ping(rp, 9, instance=78)).host


def test_an_rp_that_starts_empty_leaves_every_host_its_id() -> None:
    old, new = rendezvous_point(), rendezvous_point(seed=2)
    given_before = {number: welcome(ping(old, number)).host for number in range(3, 30)}
    for number, host in given_before.items():
        assert welcome(ping(new, number, 100.0, host=host)).host == host


def test_ids_given_before_a_restart_are_not_given_again_to_newcomers() -> None:
    # Hosts renew within 20 s; a newcomer may come before. Any start of the count could meet them
    # by chance, so the chance must be small.
    before = {welcome(ping(rendezvous_point(seed=seed), 9)).host for seed in range(300)}
    assert len(before) == 300


def test_an_id_that_another_host_has_is_not_given_to_who_claims_it() -> None:
    rp = rendezvous_point()
    first = welcome(ping(rp, 9)).host
    assert welcome(ping(rp, 10, host=first)).host != first


@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 1 << 16))
def test_two_rps_never_give_the_same_id(first: int, second: int, seed: int) -> None:
    ids = [
        {welcome(ping(rp, number)).host for number in range(3, 10)}
        for rp in (rendezvous_point(first, seed=seed), rendezvous_point(second, seed=seed))
    ]
    assert first == second or not ids[0] & ids[1]


def test_sessions_do_not_mix() -> None:
    rp = rendezvous_point()
    add_source(rp)
    add_super_node(rp, 3)
    other = ping(rp, 4, session=OTHER_SESSION, out_degree=8)
    assert welcome(other).super_nodes == () and not told(other)
    # The other session may have a source too.
    source = ping(rp, 5, session=OTHER_SESSION, flags=HostFlag.SOURCE)
    assert welcome(source).status == Status.SUCCESS
    assert [view.hosts for view in rp.views(0.0)] == [2, 2]


def test_a_full_session_takes_no_more_hosts_but_renews_those_it_has() -> None:
    rp = rendezvous_point(parameters=Parameters(hosts=2))
    held = welcome(ping(rp, 3)).host
    ping(rp, 4)
    assert welcome(ping(rp, 5)).status == Status.FULL
    assert welcome(ping(rp, 3, 1.0)).host == held
    assert rp.views(0.0)[0].hosts == 2


# Candidates.


def test_a_newcomer_hears_of_at_most_twelve_super_nodes() -> None:
    rp = rendezvous_point()
    all_of_them = {add_super_node(rp, number) for number in range(3, 40)}
    named = welcome(ping(rp, 99)).super_nodes
    assert len(named) == 12 and {host.host for host in named} <= all_of_them
    # With the address the RP sees, not one a host claims.
    assert all(host.endpoint.port == 47700 for host in named)


def test_nobody_is_named_to_itself() -> None:
    rp = rendezvous_point()
    add_super_node(rp, 3)
    again = ping(rp, 3, 1.0, flags=HostFlag.SUPER_NODE, depth=1, free_slots=4)
    assert welcome(again).super_nodes == ()


def test_a_super_node_without_a_place_is_not_named_yet() -> None:
    rp = rendezvous_point()
    ping(rp, 3, flags=HostFlag.SUPER_NODE, out_degree=8, depth=255)
    assert welcome(ping(rp, 9)).super_nodes == ()


def test_one_that_ceases_to_be_a_super_node_is_named_no_more() -> None:
    rp = rendezvous_point()
    add_super_node(rp, 3)
    ping(rp, 3, 1.0, out_degree=8, depth=3)
    assert welcome(ping(rp, 9, 1.0)).super_nodes == ()


def test_who_refused_a_host_is_named_to_it_only_when_no_other_is_left() -> None:
    rp = rendezvous_point()
    first, second = add_super_node(rp, 3), add_super_node(rp, 4)
    named = welcome(ping(rp, 9, refused=(first,))).super_nodes
    assert [host.host for host in named] == [second]


def test_the_overlay_is_being_built_for_a_while_after_the_first_super_node() -> None:
    rp = rendezvous_point()
    assert welcome(ping(rp, 9)).phase == Phase.BUILDING
    add_super_node(rp, 3, now=10.0)
    assert welcome(ping(rp, 9, 10.0 + PARAMETERS.build_window - 0.1)).phase == Phase.BUILDING
    assert welcome(ping(rp, 9, 10.0 + PARAMETERS.build_window)).phase == Phase.RUNNING


# The source.


def test_the_source_is_told_of_every_non_leaf_host_and_of_no_leaf() -> None:
    rp = rendezvous_point()
    add_source(rp)
    leaf, other = ping(rp, 3, out_degree=1), ping(rp, 4, out_degree=2)
    assert not told(leaf)
    (report,) = told(other)
    assert report.state == HostState.ACTIVE and report.subject.host == welcome(other).host
    assert report.subject.endpoint == at(4)


def test_a_source_that_comes_later_is_told_the_most_capable_first() -> None:
    rp = rendezvous_point()
    for number, out_degree in ((3, 2), (4, 1), (5, 8), (6, 4)):
        ping(rp, number, out_degree=out_degree)
    reports = told(ping(rp, 2, flags=HostFlag.SOURCE, out_degree=8))
    assert [report.subject.out_degree for report in reports] == [8, 4, 2]


def test_a_leaf_that_offers_itself_is_told_to_the_source() -> None:
    rp = rendezvous_point()
    add_source(rp)
    host = welcome(ping(rp, 3, out_degree=1)).host
    offer = HostRecord(host=host, flags=HostFlag.OFFERS, out_degree=1)
    request = SourceRequest(session=SESSION, source=host, sequence=9, host=offer)
    actions = rp.receive(request, at(3), 1.0)
    found = only(actions, SourceResponse).message
    assert isinstance(found, SourceResponse) and found.origin.endpoint == at(2)
    (report,) = told(actions)
    assert report.subject.flags & HostFlag.OFFERS and report.subject.endpoint == at(3)


def test_nobody_offers_another_host() -> None:
    rp = rendezvous_point()
    add_source(rp)
    host = welcome(ping(rp, 3, out_degree=1)).host
    offer = HostRecord(host=host, flags=HostFlag.OFFERS, out_degree=9)
    request = SourceRequest(session=SESSION, source=host, host=offer)
    assert not told(rp.receive(request, at(4), 1.0))


def test_without_a_source_the_answer_says_so() -> None:
    request = SourceRequest(session=SESSION, host=HostRecord())
    found = only(rendezvous_point().receive(request, at(9), 0.0), SourceResponse).message
    assert isinstance(found, SourceResponse) and found.status == Status.NO_SOURCE


def test_a_renewal_that_says_nothing_new_is_not_told() -> None:
    rp = rendezvous_point()
    add_source(rp)
    ping(rp, 3, out_degree=4)
    assert not told(ping(rp, 3, 20.0, out_degree=4))


@pytest.mark.parametrize("flags", [HostFlag.OFFERS | HostFlag.RELAY_ONLY, HostFlag.SUPER_NODE])
def test_who_still_offers_itself_or_is_a_super_node_is_told_again(flags: HostFlag) -> None:
    # The source's Setup Request may have found nobody: without this a relay waits for ever, and
    # the super nodes of a source before this one keep to that.
    rp = rendezvous_point()
    add_source(rp)
    offers: dict[str, Any] = {"flags": flags, "out_degree": 8}
    ping(rp, 3, 0.0, **offers)
    soon = [told(ping(rp, 3, now, **offers)) for now in (4.0, 8.0, 12.0)]
    assert soon == [[], [], []]
    assert told(ping(rp, 3, PARAMETERS.refresh_rp, **offers))
    assert not told(ping(rp, 3, PARAMETERS.refresh_rp + 4.0, **offers))


def test_a_report_is_sent_again_until_the_source_has_noted_it() -> None:
    rp = rendezvous_point()
    add_source(rp)
    (report,) = told(ping(rp, 3, out_degree=4))
    assert rp.next_alarm() == (0.25, "RETRY")
    assert told(rp.wake(0.25)) == [report]
    answer = StatusResponse(session=SESSION, sequence=report.sequence)
    rp.receive(answer, at(2), 0.3)
    alarm = rp.next_alarm()
    assert alarm is not None and alarm[1] != "RETRY"
    assert not told(rp.wake(10.0))


def test_a_second_source_is_refused() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    second = welcome(second_source(rp, 3, first))
    assert second.status == Status.DUPLICATE_SOURCE and not second.host
    # The first is renewed, and still it.
    assert welcome(ping(rp, 2, 4.0, flags=HostFlag.SOURCE)).host == first


def test_claiming_the_sources_id_makes_nobody_the_source() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    thief = welcome(second_source(rp, 3, first, host=first))
    assert thief.status == Status.DUPLICATE_SOURCE


def test_a_source_that_was_killed_and_starts_again_there_is_taken_at_once() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    ping(rp, 3, out_degree=4)
    actions = ping(rp, 2, 5.0, instance=4711, flags=HostFlag.SOURCE, out_degree=8)
    assert welcome(actions).status == Status.SUCCESS and welcome(actions).host != first
    assert [report.subject.endpoint for report in told(actions)] == [at(3)]
    assert rp.views(5.0)[0].hosts == 2


def test_when_the_source_is_gone_another_may_come() -> None:
    rp = rendezvous_point()
    add_source(rp)
    sweep(rp, 200.0)
    assert welcome(ping(rp, 3, 200.0, flags=HostFlag.SOURCE)).status == Status.SUCCESS


# The tree version.


def status_report(rp: RendezvousPoint, number: int, now: Instant = 1.0, **fields: Any) -> Message:
    """Have a host say that the mesh changed; return the answer."""
    report = StatusReport(session=SESSION, source=HostId(5), subject=HostRecord(), **fields)
    return only(rp.receive(report, at(number), now), StatusResponse).message


def test_the_tree_version_rises_at_the_sources_word() -> None:
    rp = rendezvous_point()
    add_source(rp)
    assert [status_report(rp, 2).tree_version for _ in range(3)] == [1, 2, 3]
    assert welcome(ping(rp, 9)).tree_version == 3


def test_the_tree_version_goes_round() -> None:
    rp = rendezvous_point()
    add_source(rp)
    assert status_report(rp, 2, tree_version=255).tree_version == 0


def test_nobody_else_raises_it() -> None:
    rp = rendezvous_point()
    add_source(rp)
    add_super_node(rp, 3)
    answer = status_report(rp, 3)
    assert isinstance(answer, StatusResponse) and answer.status == Status.REFUSED
    assert version(rp) == 0


def test_an_inactive_super_node_is_named_no_more_at_the_sources_word() -> None:
    rp = rendezvous_point()
    add_source(rp)
    host = add_super_node(rp, 3)
    subject = HostRecord(host=host)
    report = StatusReport(session=SESSION, state=HostState.INACTIVE, subject=subject)
    rp.receive(report, at(2), 1.0)
    assert welcome(ping(rp, 9, 1.0)).super_nodes == ()


def test_an_rp_that_starts_empty_learns_everything_from_the_renewals() -> None:
    rp = rendezvous_point(seed=2)
    ping(rp, 2, host=2, tree_version=200, flags=HostFlag.SOURCE, out_degree=8)
    add_super_node(rp, 3)
    assert version(rp) == 200
    assert len(welcome(ping(rp, 9)).super_nodes) == 1
    # And the next change goes on from there.
    assert status_report(rp, 2, tree_version=200).tree_version == 201


def test_it_takes_over_a_version_that_the_source_raised_without_it() -> None:
    rp = rendezvous_point()
    source = add_source(rp)
    status_report(rp, 2)
    ping(rp, 2, 4.0, host=source, tree_version=5, flags=HostFlag.SOURCE)
    assert version(rp) == 5
    assert status_report(rp, 2, tree_version=8).tree_version == 9


def test_a_source_that_has_just_started_teaches_no_version() -> None:
    rp = rendezvous_point()
    add_source(rp)
    status_report(rp, 2, tree_version=199)
    sweep(rp, 200.0)
    assert welcome(ping(rp, 4, 200.0, flags=HostFlag.SOURCE)).tree_version == 200


# Coming and going.


def test_a_host_that_does_not_renew_is_forgotten_and_the_source_told() -> None:
    rp = rendezvous_point()
    add_source(rp)
    ping(rp, 3, out_degree=4)
    only(told_now := ping(rp, 3, 60.0, out_degree=4), PingRpResponse)
    assert not told(told_now)
    ping(rp, 2, 65.0, flags=HostFlag.SOURCE)
    assert not events(sweep(rp, 60.0 + PARAMETERS.hold_rp - 1.0), HostExpired)
    ping(rp, 2, 130.0, flags=HostFlag.SOURCE)
    actions = sweep(rp, 60.0 + PARAMETERS.hold_rp + PARAMETERS.refresh_rp)
    (gone,) = events(actions, HostExpired)
    assert gone.reason == "silent"  # type: ignore[attr-defined]
    assert {report.state for report in told(actions)} == {HostState.INACTIVE}
    # Its number of this start is forgotten too: nothing grows.
    assert welcome(ping(rp, 3, 200.0)).hosts == 2


def test_a_host_that_leaves_is_forgotten_at_once() -> None:
    rp = rendezvous_point()
    add_source(rp)
    host = add_super_node(rp, 3)
    leave = LeaveReport(session=SESSION, source=host, sequence=8)
    actions = rp.receive(leave, at(3), 5.0)
    assert only(actions, LeaveResponse).message.sequence == 8
    assert [report.state for report in told(actions)] == [HostState.LEAVING]
    assert welcome(ping(rp, 9, 5.0)).super_nodes == ()
    # Sent again, because the answer was lost: answered again, and nothing else.
    again = rp.receive(leave, at(3), 5.3)
    assert only(again, LeaveResponse) and not told(again) and not events(again, HostExpired)


def test_nobody_signs_another_host_off() -> None:
    rp = rendezvous_point()
    host = add_super_node(rp, 3)
    rp.receive(LeaveReport(session=SESSION, source=host), at(4), 5.0)
    assert len(welcome(ping(rp, 9, 5.0)).super_nodes) == 1


def test_unreachable_hosts_are_left_to_their_hold_time() -> None:
    rp = rendezvous_point()
    add_super_node(rp, 3)
    assert rp.receive(Unreachable(at(3)), SELF, 1.0) == []


def test_it_never_touches_data() -> None:
    rp = rendezvous_point()
    add_source(rp)
    add_super_node(rp, 3)
    actions = [
        a for _, m in examples() for number in (2, 3, 9) for a in rp.receive(m, at(number), 1)
    ]
    assert not [a for a in actions if isinstance(a, (Install, Replay))]
    assert all(isinstance(a, (Send, Report)) for a in actions)


def test_a_host_that_was_started_again_is_registered_once() -> None:
    rp = rendezvous_point()
    add_source(rp)
    before = add_super_node(rp, 5)
    actions = ping(rp, 5, 1.0, instance=99, out_degree=4)
    assert welcome(actions).host != before and welcome(actions).hosts == 2
    gone = [report for report in told(actions) if report.subject.host == before]
    assert [report.state for report in gone] == [HostState.INACTIVE]


def test_no_more_super_nodes_than_a_mesh_may_have_and_the_chosen_ones_first() -> None:
    rp = rendezvous_point(parameters=replace(PARAMETERS, super_nodes_most=3))
    source = add_source(rp)
    claimed = [add_super_node(rp, number) for number in range(10, 14)]
    named = {host.host for host in welcome(ping(rp, 40)).super_nodes}
    assert named == set(claimed[:3])
    report = StatusReport(
        session=SESSION,
        source=source,
        sequence=9,
        state=HostState.ACTIVE,
        subject=HostRecord(host=claimed[3], endpoint=at(13)),
    )
    rp.receive(report, at(2), 1.0)
    add_super_node(rp, 13, now=2.0)
    named = {host.host for host in welcome(ping(rp, 41, 2.0)).super_nodes}
    assert claimed[3] in named and len(named) == 3
