"""The source, rule by rule (slides 9, 15, 18, 21; -03 §4.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dmmp.actions import Action, Send
from dmmp.events import Refused
from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    Message,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import HostFlag, HostState, LeaveReason, RefreshKind, Status
from dmmp.messages.local import Start, Stop, Unreachable
from dmmp.roles.end_host import EndHost
from dmmp.types import SELF, HostId, Instant
from tests.roles.mesh_stage import named, news, reports, sleep, status_of
from tests.roles.stage import (
    ME,
    PARAMETERS,
    RP,
    SESSION,
    answer,
    at,
    events,
    host,
    installed,
    only,
    register,
    sends,
    super_node,
)


def source(out_degree: int = 8) -> EndHost:
    """Make a source that has registered."""
    subject = host("source", out_degree)
    register(subject, 0.0)
    return subject


def renewal(subject: EndHost) -> tuple[Send, Instant]:
    """Wait for the next registration; return it and when it came."""
    while (alarm := subject.next_alarm()) is not None:
        found = sends(subject.wake(alarm[0]), PingRpRequest)
        if found:
            return found[0], alarm[0]
    raise AssertionError("it never renews its registration")


def accept(subject: EndHost, setup: Any, number: int, now: Instant) -> list[Action]:
    """Have a host accept its Setup Request."""
    reply = answer(setup, SetupResponse, number, sender=super_node(number))
    return subject.receive(reply, at(number), now)


def with_super_nodes(*numbers: int, out_degree: int = 8, hosts: int = 200) -> EndHost:
    """Make a source with super nodes that were chosen one after the other."""
    subject = host("source", out_degree)
    register(subject, 0.0)
    subject.standing.hosts = hosts
    for at_round, number in enumerate(numbers):
        now = 0.1 + at_round
        news(subject, named(number), now)
        (setup,) = sends(sleep(subject, now + PARAMETERS.choose_after), SetupRequest)
        accept(subject, setup, number, now + PARAMETERS.choose_after)
        settle(subject, now + PARAMETERS.choose_after)
    return subject


def settle(subject: EndHost, now: Instant, tree_version: int = 0) -> None:
    """Answer every open Status Report, the RP with a version if one is given."""
    for held in list(subject.standing.requests._open.values()):
        if isinstance(held.message, StatusReport):
            reply = StatusResponse(
                session=SESSION, sequence=held.message.sequence, tree_version=tree_version
            )
            subject.receive(reply, held.to, now)


def mesh_refresh(number: int, kind: RefreshKind = RefreshKind.MESH, **fields: Any) -> Message:
    """Make the Refresh Request of a super node."""
    values: dict[str, Any] = {"sender": super_node(number), **fields}
    return RefreshRequest(
        session=SESSION, source=HostId(number), sequence=number, kind=kind, **values
    )


# Registering.


def test_it_registers_as_the_source() -> None:
    subject = host("source", 8)
    actions = register(subject, 0.0)
    assert subject.view(0.0).state == "Rooted"
    assert installed(actions).entry.upstream == ()
    ping, _ = renewal(subject)
    assert isinstance(ping.message, PingRpRequest)
    assert ping.message.host.flags & HostFlag.SOURCE and ping.message.host.depth == 0


def refuse(subject: EndHost, status: Status, now: Instant) -> list[Action]:
    """Have the RP refuse the registration that is open."""
    (held,) = subject.standing.requests._open.values()
    assert isinstance(held.message, PingRpRequest)
    refusal = PingRpResponse(session=SESSION, sequence=held.message.sequence, status=status)
    return subject.receive(refusal, RP, now)


@pytest.mark.parametrize("kind", ["source", "super-node", "member"])
@pytest.mark.parametrize("status", [Status.DUPLICATE_SOURCE, Status.FULL, Status.UNKNOWN_SESSION])
def test_a_refused_registration_is_said_and_tried_again(kind: str, status: Status) -> None:
    subject = host(kind)
    start(subject)
    actions = refuse(subject, status, 0.2)
    assert events(actions, Refused)
    view = subject.view(0.2)
    assert view.host == 0 and view.depth is None and view.state == "Locating"
    again = sleep(subject, 0.2 + PARAMETERS.retry_bootstrap_most)
    assert sends(again, SubscriptionRequest)


def start(subject: EndHost) -> None:
    """Take a host up to its registration."""
    (locate,) = sends(subject.receive(Start(), SELF, 0.0))
    subject.receive(answer(locate, SubscriptionResponse, 0), RP, 0.1)


def test_a_source_that_became_a_duplicate_does_not_call_the_rp_silent() -> None:
    subject = source()
    ping, now = renewal(subject)
    refusal = answer(ping, PingRpResponse, 0, status=Status.DUPLICATE_SOURCE)
    assert events(subject.receive(refusal, RP, now), Refused)
    late = now + PARAMETERS.retry_bootstrap_most
    assert not sends(sleep(subject, late - 0.1), PingRpRequest)
    assert not subject.standing.rendezvous_silent
    assert sends(sleep(subject, late), SubscriptionRequest)


# Choosing.


def test_it_chooses_the_most_capable_and_sends_each_a_setup_request() -> None:
    subject = source()
    subject.standing.hosts = 20
    for number, out_degree in ((3, 4), (4, 2), (5, 8)):
        news(subject, named(number, out_degree), 0.1)
    chosen = sends(sleep(subject, 0.1 + PARAMETERS.choose_after), SetupRequest)
    assert [send.to for send in chosen] == [at(5), at(3)]
    sender = chosen[0].message.sender  # type: ignore[attr-defined]
    assert sender.flags & HostFlag.SOURCE and sender.host == ME


def test_a_host_that_is_asked_already_is_not_asked_twice() -> None:
    subject = source()
    for number in (3, 4):
        news(subject, named(number), 0.1)
        assert len(sends(sleep(subject, 0.1 + PARAMETERS.choose_after), SetupRequest)) <= 1
    assert subject.view(1.0).tables[-1] == ("invited", 1)


def test_a_host_that_offers_itself_is_chosen_at_once() -> None:
    subject = source()
    news(subject, named(3), 0.1)
    sleep(subject, 1.0)
    news(subject, named(4, 1, HostFlag.OFFERS), 1.0)
    assert only(sleep(subject, 1.0), SetupRequest).to == at(4)


def test_who_was_a_super_node_before_this_source_started_is_taken_up_again() -> None:
    subject = source()
    for number in (3, 4, 5):
        news(subject, super_node(number), 0.1)
    assert len(sends(sleep(subject, 0.2), SetupRequest)) == 3


def test_a_table_full_of_capable_hosts_still_takes_one_that_offers_itself() -> None:
    subject = source(2)
    for number in range(1024):
        news(subject, replace(named(3, 8), host=HostId(1000 + number)), 0.1)
    news(subject, named(9, 1, HostFlag.OFFERS), 0.2)
    assert at(9) in [send.to for send in sends(sleep(subject, 0.2), SetupRequest)]


def test_a_chosen_host_that_does_not_answer_is_replaced() -> None:
    subject = source()
    news(subject, named(3, 8), 0.1)
    assert only(sleep(subject, 0.6), SetupRequest).to == at(3)
    news(subject, named(4, 4), 1.0)
    later = [send.to for send in sends(sleep(subject, 12.0), SetupRequest)]
    assert later[-1] == at(4) and at(3) in later


def test_a_chosen_host_that_declines_is_replaced() -> None:
    subject = source()
    news(subject, named(3, 8), 0.1)
    news(subject, named(4, 4), 0.1)
    setup = only(sleep(subject, 0.6), SetupRequest)
    declined = answer(setup, SetupResponse, 3, status=Status.INCAPABLE, sender=named(3))
    subject.receive(declined, at(3), 0.7)
    ping, now = renewal(subject)
    renewed = answer(ping, PingRpResponse, 0, host=ME, observed=at(100), hosts=2)
    subject.receive(renewed, RP, now)
    assert only(sleep(subject, now + PARAMETERS.choose_after), SetupRequest).to == at(4)


def test_the_place_of_a_host_that_started_anew_does_not_go_to_who_answers_there_now() -> None:
    subject = source()
    news(subject, named(3), 0.1)
    setup = only(sleep(subject, 0.6), SetupRequest)
    stranger = replace(super_node(3), host=HostId(33))
    subject.receive(answer(setup, SetupResponse, 33, sender=stranger), at(3), 0.7)
    assert subject.view(0.7).super_nodes == ()


# Telling the others.


def test_the_others_and_the_rp_are_told_of_a_new_super_node_and_it_of_them() -> None:
    subject = with_super_nodes(3)
    news(subject, named(4), 5.0)
    setup = only(sleep(subject, 5.5), SetupRequest)
    assert [member.host for member in setup.message.members] == [3]  # type: ignore[attr-defined]
    found = reports(accept(subject, setup, 4, 5.6))
    assert sorted(found) == [(RP, HostState.ACTIVE, 4), (at(3), HostState.ACTIVE, 4)]


def test_super_nodes_chosen_at_the_same_moment_hear_of_each_other() -> None:
    subject = source()
    subject.standing.hosts = 40
    for number in (3, 4, 5, 6):
        news(subject, named(number), 0.1)
    setups = sends(sleep(subject, 0.6), SetupRequest)
    known: dict[Any, set[int]] = {}
    for setup in setups:
        assert isinstance(setup.message, SetupRequest)
        known[setup.to] = {member.host for member in setup.message.members}
    for number, setup in zip((3, 4, 5, 6), setups, strict=True):
        for to, state, about in reports(accept(subject, setup, number, 0.7)):
            if to != RP:
                assert state == HostState.ACTIVE
                known[to].add(about)
    assert known == {at(n): {3, 4, 5, 6} - {n} for n in (3, 4, 5, 6)}


def test_a_super_node_that_missed_a_report_is_told_when_it_asks() -> None:
    subject = with_super_nodes(3, 4)
    asked = news(subject, super_node(4), 5.0, HostState.ACTIVE, sender=3, by=3)
    assert only(asked, StatusResponse).to == at(3)
    assert reports(asked) == [(at(3), HostState.ACTIVE, 4)]
    # A member of the mesh that is none any more.
    gone = news(subject, super_node(9), 6.0, HostState.INACTIVE, sender=3, by=3)
    assert reports(gone) == [(at(3), HostState.INACTIVE, 9)]


def test_a_stranger_is_told_nothing_of_the_mesh() -> None:
    subject = with_super_nodes(3, 4)
    for state in (HostState.ACTIVE, HostState.INACTIVE):
        asked = news(subject, super_node(4), 5.0, state, sender=77, by=3)
        assert not reports(asked) and not sends(asked, ProbeRequest)


# The tree version.


def test_the_version_follows_the_rp() -> None:
    subject = source()
    news(subject, named(3), 0.1)
    accept(subject, only(sleep(subject, 0.6), SetupRequest), 3, 0.7)
    settle(subject, 0.8, tree_version=5)
    assert subject.view(0.8).tree_version == 5
    assert subject.role._installed.tree_version == 5  # type: ignore[union-attr]


def test_without_the_rp_the_source_raises_it_itself() -> None:
    subject = source()
    news(subject, named(3), 0.1)
    accept(subject, only(sleep(subject, 0.6), SetupRequest), 3, 0.7)
    sleep(subject, 9.0)
    assert subject.view(9.0).tree_version == 1


def test_an_rp_that_has_forgotten_everything_does_not_take_the_version_back() -> None:
    # Hosts drop data of an older tree version (Decision 16): it may never fall.
    subject = with_super_nodes(3)
    subject.standing.tree_version = 7
    news(subject, named(4), 5.0)
    accept(subject, only(sleep(subject, 5.6), SetupRequest), 4, 5.7)
    (report,) = [
        held.message
        for held in subject.standing.requests._open.values()
        if held.to == RP and isinstance(held.message, StatusReport)
    ]
    refusal = StatusResponse(session=SESSION, sequence=report.sequence, status=Status.REFUSED)
    subject.receive(refusal, RP, 5.8)
    assert subject.view(5.8).tree_version == 8
    ping, now = renewal(subject)
    behind = answer(ping, PingRpResponse, 0, host=ME, observed=at(100), tree_version=2)
    subject.receive(behind, RP, now)
    assert subject.view(now).tree_version == 8


def test_a_source_that_was_started_again_catches_up_with_the_version_of_the_hosts() -> None:
    # RP and source restarted together: the RP learns the version from the hosts' renewals.
    subject = source()
    ping, now = renewal(subject)
    later = answer(ping, PingRpResponse, 0, host=ME, observed=at(100), tree_version=31)
    assert installed(subject.receive(later, RP, now)).entry.tree_version == 31


# Places.


def ask(subject: EndHost, number: int, now: Instant, flags: int = HostFlag.SUPER_NODE) -> Any:
    """Have a host ask for a place; return the answer."""
    record = replace(named(number, 4, flags), depth=255)
    request = JoinRequest(session=SESSION, source=HostId(number), sequence=1, applicant=record)
    return only(subject.receive(request, at(number), now), JoinResponse).message


def test_a_super_node_is_admitted_and_confirmed() -> None:
    subject = with_super_nodes(3)
    assert ask(subject, 3, 5.0).status == Status.SUCCESS
    confirm = mesh_refresh(3, RefreshKind.CHILD)
    assert status_of(subject.receive(confirm, at(3), 5.1), RefreshResponse) == Status.SUCCESS
    assert [child.host for child in subject.view(5.1).mesh_children] == [3]


def test_it_never_has_more_children_than_its_out_degree() -> None:
    subject = with_super_nodes(3, 4, 5, out_degree=2)
    assert [ask(subject, number, 9.0).status for number in (3, 4)] == [Status.SUCCESS] * 2
    refusal = ask(subject, 5, 9.0)
    assert refusal.status == Status.FULL
    for number in (3, 4, 5):
        subject.receive(mesh_refresh(number, RefreshKind.CHILD), at(number), 9.1)
    view = subject.view(9.1)
    assert len(view.mesh_children) == 2 and not view.children
    # The refused one is sent to them.
    assert [child.host for child in ask(subject, 5, 9.2).children] == [3, 4]


def test_a_place_reserved_in_the_mesh_cannot_be_taken_up_by_a_member() -> None:
    subject = source(2)
    for number in range(20, 30):
        ask(subject, number, 5.0)
        plain = replace(named(number, 4), flags=0)
        confirm = mesh_refresh(number, RefreshKind.CHILD, sender=plain)
        subject.receive(confirm, at(number), 5.0)
    view = subject.view(5.0)
    assert not view.children and not view.mesh_children


def test_a_member_that_asks_for_a_place_is_sent_to_the_super_nodes() -> None:
    subject = with_super_nodes(3, 4)
    refusal = ask(subject, 9, 5.0, flags=0)
    assert refusal.status == Status.FULL
    assert {child.host for child in refusal.children} == {3, 4}


def test_who_was_not_chosen_gets_no_place_in_the_mesh() -> None:
    subject = with_super_nodes(3)
    for kind in (RefreshKind.CHILD, RefreshKind.MESH):
        actions = subject.receive(mesh_refresh(9, kind), at(9), 5.0)
        assert status_of(actions, RefreshResponse) == Status.UNKNOWN_HOST
    # Nor does it by the id of one that was.
    actions = subject.receive(mesh_refresh(3), at(9), 5.0)
    assert status_of(actions, RefreshResponse) == Status.UNKNOWN_HOST


def test_one_whose_setup_response_was_lost_is_not_dismissed_by_its_refresh() -> None:
    subject = source()
    news(subject, named(3), 0.1)
    assert only(sleep(subject, 0.6), SetupRequest).to == at(3)
    for kind in (RefreshKind.MESH, RefreshKind.CHILD):
        actions = subject.receive(mesh_refresh(3, kind), at(3), 0.8)
        assert status_of(actions, RefreshResponse) == Status.SUCCESS
    assert [child.host for child in subject.view(0.8).mesh_children] == [3]
    # Only the host itself, not its id from elsewhere.
    thief = subject.receive(mesh_refresh(3), at(9), 0.9)
    assert status_of(thief, RefreshResponse) == Status.UNKNOWN_HOST


# Watching the mesh.


def test_a_super_node_reported_silent_is_probed_and_kept_when_it_answers() -> None:
    subject = with_super_nodes(3, 4)
    probe = only(news(subject, super_node(4), 5.0, HostState.INACTIVE, 3, 3), ProbeRequest)
    assert probe.to == at(4)
    # One probe at a time, whoever else reports it.
    assert not sends(news(subject, super_node(4), 5.1, HostState.INACTIVE, 1), ProbeRequest)
    alive = answer(probe, ProbeResponse, 4, timestamp=0, sender=super_node(4))
    assert not reports(subject.receive(alive, at(4), 5.2))
    assert {record.host for record in subject.view(5.2).super_nodes} == {3, 4}


def test_one_that_does_not_answer_is_dropped_and_everybody_told() -> None:
    subject = with_super_nodes(3, 4)
    ask(subject, 4, 5.0)
    subject.receive(mesh_refresh(4, RefreshKind.CHILD), at(4), 5.0)
    news(subject, super_node(4), 5.0, HostState.INACTIVE, 3, 3)
    actions = sleep(subject, 5.0 + 2.0)
    assert set(reports(actions)) == {(at(3), HostState.INACTIVE, 4), (RP, HostState.INACTIVE, 4)}
    assert subject.view(7.0).mesh_children == ()
    assert installed(actions).entry.downstream == ()


def test_a_place_where_another_host_answers_now_is_empty() -> None:
    subject = with_super_nodes(3, 4)
    probe = only(subject.receive(Unreachable(at(4)), SELF, 5.0), ProbeRequest)
    other = answer(
        probe, ProbeResponse, 44, timestamp=0, sender=replace(super_node(4), host=HostId(44))
    )
    assert (at(3), HostState.INACTIVE, 4) in reports(subject.receive(other, at(4), 5.1))


def test_one_not_heard_of_for_the_hold_time_is_probed() -> None:
    subject = with_super_nodes(3, 4)
    now = 2.0
    probed: set[Any] = set()
    while now < 2.0 + PARAMETERS.hold_mesh + 1.3 * PARAMETERS.refresh_mesh:
        now += 1.0
        probed |= {send.to for send in sends(sleep(subject, now), ProbeRequest)}
        subject.receive(mesh_refresh(3), at(3), now)
    assert probed == {at(4)}


def test_one_that_leaves_is_dropped_at_once_one_that_only_moves_stays_in_the_mesh() -> None:
    subject = with_super_nodes(3, 4)
    for number in (3, 4):
        ask(subject, number, 5.0)
        subject.receive(mesh_refresh(number, RefreshKind.CHILD), at(number), 5.0)
    moved = LeaveReport(
        session=SESSION, source=HostId(3), sequence=1 << 20, reason=LeaveReason.MOVED
    )
    assert not reports(subject.receive(moved, at(3), 6.0))
    left = LeaveReport(session=SESSION, source=HostId(4), sequence=1 << 20)
    assert (at(3), HostState.INACTIVE, 4) in reports(subject.receive(left, at(4), 6.0))
    view = subject.view(6.0)
    assert [record.host for record in view.super_nodes] == [3] and not view.mesh_children


# Leaving.


def test_it_tells_the_super_nodes_and_the_rp_and_asks_nothing_more() -> None:
    subject = with_super_nodes(3, 4)
    news(subject, named(5), 5.0)
    told = {send.to for send in sends(subject.receive(Stop(), SELF, 5.1), LeaveReport)}
    assert told == {at(3), at(4), RP}
    rest = sleep(subject, 100.0)
    assert {type(send.message) for send in sends(rest)} == {LeaveReport}
    assert subject.view(100.0).state == "Gone" and subject.next_alarm() is None


def test_while_it_leaves_it_answers_those_that_leave_it() -> None:
    """Else each would send its report again and again, while it seeks another parent."""
    subject = with_super_nodes(3, 4)
    for number in (3, 4):
        ask(subject, number, 5.0)
        subject.receive(mesh_refresh(number, RefreshKind.CHILD), at(number), 5.0)
    subject.receive(Stop(), SELF, 6.0)
    moved = LeaveReport(
        session=SESSION, source=HostId(3), sequence=1 << 20, reason=LeaveReason.MOVED
    )
    actions = subject.receive(moved, at(3), 6.1)
    assert only(actions, LeaveResponse).to == at(3)
    # It has told its child already, and sends it nothing more.
    assert [branch.endpoint for branch in installed(actions).entry.downstream] == [at(4)]
    assert not sends(actions, LeaveReport) and subject.view(6.1).state == "Leaving"
    stranger = LeaveReport(session=SESSION, source=HostId(77), sequence=1)
    assert only(subject.receive(stranger, at(77), 6.2), LeaveResponse).to == at(77)
