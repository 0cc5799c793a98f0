"""A super node, rule by rule (slides 8-10, 15-18 and 21; -03 §4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dmmp.events import Admitted, ParentLost, Promoted
from dmmp.interest import interest
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    PingRpRequest,
    ProbeRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.common import (
    NOT_JOINED_DEPTH,
    HostFlag,
    HostState,
    LeaveReason,
    RefreshKind,
    Status,
)
from dmmp.messages.local import Silence, Stop
from dmmp.policies.capacity import mesh_share
from dmmp.types import SELF, HostId, Instant
from tests.roles.mesh_stage import lost, named, news, reports, said, sleep, status_of
from tests.roles.stage import (
    ME,
    PARAMETERS,
    SESSION,
    SOURCE,
    SOURCE_RECORD,
    answer,
    at,
    events,
    group,
    host,
    installed,
    only,
    register,
    sends,
    super_node,
)
from tests.roles.super_node_stage import (
    SOURCE_ID,
    chosen,
    confirm,
    confirmed,
    in_mesh,
    join,
    refresh_from,
    run,
    setup_from,
    steer,
    take_place,
)

# Becoming one.


def test_it_offers_itself_and_waits_to_be_chosen() -> None:
    subject = host("super-node", 8, relay_only=True)
    register(subject, 0.0)
    assert subject.view(0.0).state == "Offering" and subject.view(0.0).depth is None
    flags = subject.role.record(0.0).flags
    assert flags == HostFlag.OFFERS | HostFlag.RELAY_ONLY


def test_chosen_by_the_source_it_seeks_a_place_in_the_mesh_below_it() -> None:
    subject, actions = chosen()
    reply = only(actions, SetupResponse)
    assert (reply.to, reply.message.sequence) == (SOURCE, 77)
    assert status_of(actions, SetupResponse) == Status.SUCCESS and events(actions, Promoted)
    asked = only(actions, JoinRequest)
    assert asked.to == SOURCE
    assert said(asked).applicant.flags & HostFlag.SUPER_NODE
    joined = take_place(subject, actions, SOURCE_ID, 1.1)
    assert events(joined, Admitted) and subject.view(1.1).depth == 1
    # Only now may the RP name it to newcomers.
    ping = only(joined, PingRpRequest).message
    assert isinstance(ping, PingRpRequest) and ping.host.depth == 1
    assert ping.host.flags & HostFlag.SUPER_NODE


def test_it_sets_up_with_the_members_the_source_names() -> None:
    _, actions = chosen(super_node(3), super_node(4))
    assert {send.to for send in sends(actions, SetupRequest)} == {at(3), at(4)}


def test_a_setup_request_sent_again_is_answered_again_and_nothing_else() -> None:
    subject, _ = chosen(super_node(3))
    again = subject.receive(setup_from(SOURCE_RECORD, 77, super_node(3)), SOURCE, 1.2)
    assert [type(send.message) for send in sends(again)] == [SetupResponse]
    assert not events(again, Promoted)


def test_it_answers_a_known_member_and_asks_the_source_about_a_stranger() -> None:
    subject = in_mesh(super_node(3))
    known = subject.receive(setup_from(super_node(3)), at(3), 2.0)
    assert status_of(known, SetupResponse) == Status.SUCCESS
    strange = subject.receive(setup_from(super_node(9)), at(9), 2.0)
    assert status_of(strange, SetupResponse) == Status.UNKNOWN_HOST
    assert reports(strange) == [(SOURCE, HostState.ACTIVE, 9)]
    assert [record.host for record in subject.view(2.0).super_nodes] == [3]
    # One question at a time, or strangers could make it flood the source.
    assert not reports(subject.receive(setup_from(super_node(10)), at(10), 2.0))


def test_a_report_the_source_has_noted_is_not_sent_again() -> None:
    subject = in_mesh(super_node(3))
    report = only(subject.receive(setup_from(super_node(9)), at(9), 2.0), StatusReport)
    subject.receive(answer(report, StatusResponse, SOURCE_ID), SOURCE, 2.1)
    assert not reports(run(subject, 2.1, 8.0))


def test_without_a_place_it_goes_on_asking() -> None:
    subject, actions = chosen()
    refused = answer(only(actions, JoinRequest), JoinResponse, 2, status=Status.FULL)
    subject.receive(refused, SOURCE, 1.1)
    assert subject.view(1.1).state == "Waiting"
    asked = sends(sleep(subject, 2.0), JoinRequest)
    assert asked and {send.to for send in asked} == {SOURCE}


# The mesh.


def test_link_state_goes_to_every_member_and_the_source() -> None:
    subject = in_mesh(super_node(3), super_node(4))
    found = sends(run(subject, 1.1, 13.2), RefreshRequest)
    mesh = [s for s in found if said(s).kind == RefreshKind.MESH]
    assert {send.to for send in mesh} == {SOURCE, at(3), at(4)}
    links = said(mesh[-1]).links
    assert {link.neighbour for link in links} == {2, 3, 4}
    assert all(link.delay_us > 0 for link in links)


def test_the_nearest_are_among_the_links_whenever_they_were_measured() -> None:
    subject = in_mesh(*(super_node(number) for number in range(3, 9)))
    role: Any = subject.role
    for number in range(2, 9):
        role.mesh.peers[number].round_trip = 0.1
        role.mesh.peers[number].announced_us = None
    list(role.choose_mesh_links(2.0))
    role.mesh.add(super_node(20), at(20), 2.0)
    role.mesh.peers[20].round_trip = 0.001
    before = set(role.links)
    list(role.choose_mesh_links(2.0))
    assert 20 in role.links
    # The random one stays: the tree should not change for nothing.
    assert len(before & set(role.links)) >= 3


def test_it_moves_to_its_computed_parent_only_after_that_has_confirmed() -> None:
    subject = in_mesh(super_node(3))
    actions, refresh, now = steer(subject)
    # Make before break: data is taken from both, and nobody was told to go.
    assert installed(actions).entry.upstream == (at(3), SOURCE)
    assert not sends(actions, LeaveReport)
    assert subject.view(now).parent.host == SOURCE_ID  # type: ignore[union-attr]
    moved = subject.receive(confirmed(refresh, 3), at(3), now)
    leave = only(moved, LeaveReport)
    assert leave.to == SOURCE and said(leave).reason == LeaveReason.MOVED
    assert subject.view(now).parent.host == 3  # type: ignore[union-attr]
    # What is under way from the former parent is still taken for a moment.
    entry = subject.role._installed
    assert entry is not None and entry.upstream == (at(3), SOURCE)
    later = sleep(subject, now + PARAMETERS.previous_parent_hold)
    assert installed(later).entry.upstream == (at(3),)


def test_refused_by_its_computed_parent_it_stays() -> None:
    subject = in_mesh(super_node(3))
    _, refresh, now = steer(subject)
    actions = subject.receive(confirmed(refresh, 3, Status.FULL), at(3), now)
    assert installed(actions).entry.upstream == (SOURCE,)
    view = subject.view(now)
    assert view.state == "Joined" and view.parent.host == SOURCE_ID  # type: ignore[union-attr]
    assert not events(actions, ParentLost)


def test_an_unanswered_move_leaves_it_where_it_was() -> None:
    subject = in_mesh(super_node(3))
    now = steer(subject)[2]
    while subject.view(now).state == "Confirming":
        alarm = subject.next_alarm()
        assert alarm is not None and alarm[0] < 8.0
        now = alarm[0]
        subject.wake(now)
    view = subject.view(now)
    assert view.state == "Joined" and view.parent.host == SOURCE_ID  # type: ignore[union-attr]


def test_a_silent_member_is_reported_to_the_source_and_kept_until_its_word() -> None:
    subject = in_mesh(super_node(3))
    now = 1.1
    found: list[Any] = []
    while not found and now < 20.0:
        alarm = subject.next_alarm()
        assert alarm is not None
        now = alarm[0]
        due = subject.wake(now)
        for send in sends(due, RefreshRequest):
            if send.to == SOURCE:
                subject.receive(confirmed(send, SOURCE_ID), SOURCE, now)
        found = reports(due)
    assert found == [(SOURCE, HostState.INACTIVE, 3)]
    assert [record.host for record in subject.view(now).super_nodes] == [3]
    news(subject, super_node(3), now, HostState.INACTIVE, 2, SOURCE_ID)
    assert subject.view(now).super_nodes == ()


def test_a_member_at_whose_address_another_host_answers_is_as_one_that_is_silent() -> None:
    """The machine was started again: no link, and the source hears of it."""
    subject = in_mesh(super_node(3), super_node(4))
    role: Any = subject.role
    role.mesh.peers[3].round_trip = 0.001
    list(role.choose_mesh_links(1.2))
    assert 3 in {link.neighbour for link in role.link_state()}
    renewed: list[Any] = []
    while not renewed:
        alarm = subject.next_alarm()
        assert alarm is not None
        now = alarm[0]
        due = [send for send in sends(subject.wake(now), RefreshRequest) if send.to == at(3)]
        renewed = [send for send in due if said(send).kind == RefreshKind.MESH]
    stranger = replace(super_node(3), host=HostId(33))
    other = answer(renewed[0], RefreshResponse, 33, status=Status.UNKNOWN_HOST, sender=stranger)
    assert reports(subject.receive(other, at(3), now)) == [(SOURCE, HostState.INACTIVE, 3)]
    assert 3 not in {link.neighbour for link in role.link_state()}
    # The source judges: until then it stays a member, and is asked again.
    assert {record.host for record in subject.view(now).super_nodes} == {3, 4}


def test_only_the_source_says_who_is_in_the_mesh() -> None:
    subject = in_mesh(super_node(3), super_node(4))
    news(subject, super_node(4), 2.0, HostState.INACTIVE, 3, 3)
    assert not sends(news(subject, super_node(9), 2.0, HostState.ACTIVE, 3, 3), SetupRequest)
    assert {record.host for record in subject.view(2.0).super_nodes} == {3, 4}


def test_a_child_that_its_children_call_dead_is_probed_for_its_place_is_needed() -> None:
    subject = in_mesh()
    join(subject, 8, 2.0)
    assert confirm(subject, 8, 2.0) == Status.SUCCESS
    stranger = news(subject, named(8), 3.0, HostState.INACTIVE, 9, 9)
    assert not sends(stranger, ProbeRequest)
    # One that it knows as a relative of the child.
    kin = refresh_from(9, kind=RefreshKind.RELATIVE, sender=named(9))
    subject.receive(kin, at(9), 3.0)
    told = news(subject, named(8), 3.1, HostState.INACTIVE, 9, 9)
    assert [send.to for send in sends(told, ProbeRequest)] == [at(8)]
    sleep(subject, 3.1 + 1.0)
    assert subject.view(4.1).children == ()


def test_a_source_that_started_anew_takes_the_place_of_the_one_before() -> None:
    subject = in_mesh(super_node(3))
    again = replace(SOURCE_RECORD, host=HostId(222))
    subject.receive(setup_from(again), SOURCE, 2.0)
    role: Any = subject.role
    assert set(role.mesh.peers) == {222, 3} and role.mesh.source().record.host == 222


# The cluster.


def test_cluster_requests_are_collected_and_the_most_capable_come_first() -> None:
    subject = in_mesh(out_degree=4)
    for number, out_degree in ((20, 1), (21, 8), (22, 4)):
        request = ClusterRequest(
            session=SESSION, source=HostId(number), sequence=1, applicant=named(number, out_degree)
        )
        assert not sends(subject.receive(request, at(number), 2.0))
    answered = sends(sleep(subject, 2.0 + PARAMETERS.cluster_window), ClusterResponse)
    found = [(send.to, said(send).status) for send in answered]
    assert found == [
        (at(21), Status.SUCCESS),
        (at(22), Status.SUCCESS),
        (at(20), Status.FULL),
    ]


def test_half_of_its_out_degree_serves_the_mesh() -> None:
    subject = in_mesh(out_degree=5)
    members = [join(subject, number, 2.0).status for number in range(20, 26)]
    relays = [join(subject, n, 2.0, HostFlag.SUPER_NODE).status for n in range(30, 36)]
    assert members.count(Status.SUCCESS) == 3 and relays.count(Status.SUCCESS) == 2


def test_a_mesh_place_is_not_taken_up_by_a_member() -> None:
    subject = in_mesh(out_degree=2)
    assert confirm(subject, 20, 2.0) == Status.SUCCESS
    assert join(subject, 30, 2.0, HostFlag.SUPER_NODE).status == Status.SUCCESS
    assert confirm(subject, 30, 2.1) == Status.FULL


def test_a_child_that_becomes_a_super_node_is_served_until_it_has_its_place() -> None:
    subject = in_mesh(out_degree=2)
    assert confirm(subject, 20, 2.0) == Status.SUCCESS
    assert confirm(subject, 30, 2.0, HostFlag.SUPER_NODE) == Status.SUCCESS
    # The mesh's share is taken: it stays what it was.
    assert confirm(subject, 20, 3.0, HostFlag.SUPER_NODE) == Status.SUCCESS
    view = subject.view(3.0)
    assert [child.host for child in view.children] == [20]
    assert [child.host for child in view.mesh_children] == [30]


def test_whose_place_went_to_an_heir_has_no_promise_of_another() -> None:
    subject = in_mesh(out_degree=2)

    def ask(number: int, out_degree: int, now: Instant) -> Status:
        applicant = named(number, out_degree, HostFlag.SUPER_NODE)
        applicant = replace(applicant, depth=NOT_JOINED_DEPTH)
        request = JoinRequest(
            session=SESSION, source=HostId(number), sequence=int(now * 10), applicant=applicant
        )
        return status_of(subject.receive(request, at(number), now), JoinResponse)

    def take(number: int, out_degree: int, now: Instant) -> Status:
        sender = replace(named(number, out_degree, HostFlag.SUPER_NODE), depth=3)
        refresh = refresh_from(number, int(now * 10), kind=RefreshKind.CHILD, sender=sender)
        return status_of(subject.receive(refresh, at(number), now), RefreshResponse)

    assert (ask(20, 0, 2.0), take(20, 0, 2.1)) == (Status.SUCCESS, Status.SUCCESS)
    # It lost the answer, or looks for a better place, and asks once more.
    assert ask(20, 0, 2.2) == Status.SUCCESS
    assert (ask(21, 8, 2.3), take(21, 8, 2.4)) == (Status.SUCCESS, Status.SUCCESS)
    assert take(20, 0, 2.5) == Status.FULL
    assert [child.host for child in subject.view(2.5).mesh_children] == [21]


def test_a_claim_of_many_passes_does_not_flood_the_tree() -> None:
    subject = in_mesh(out_degree=2)
    confirm(subject, 20, 2.0)
    request = JoinRequest(
        session=SESSION, source=HostId(40), sequence=1, applicant=named(40), passes=255
    )
    role: Any = subject.role
    role.standing.children.confirmed[HostId(20)].record = replace(named(20), free_slots=5)
    (passed,) = sends(subject.receive(request, at(40), 2.1), JoinRequest)
    assert said(passed).passes == PARAMETERS.pass_down - 1


def test_its_free_places_are_those_of_its_whole_cluster() -> None:
    subject = in_mesh(out_degree=4)
    assert subject.role.record(2.0).free_slots == 2
    refresh = refresh_from(20, kind=RefreshKind.CHILD, sender=replace(named(20), free_slots=7))
    subject.receive(refresh, at(20), 2.0)
    assert subject.role.record(2.0).free_slots == 1 + 7


def test_backups_are_named_to_every_child() -> None:
    subject = in_mesh(super_node(3), super_node(4))
    # Those in the mesh know it themselves.
    for flags, expected in ((0, [3, 4]), (HostFlag.SUPER_NODE, [])):
        sender = named(20 + flags, 2, flags)
        refresh = refresh_from(20 + flags, kind=RefreshKind.CHILD, sender=sender)
        for _ in range(2):
            message = only(subject.receive(refresh, at(20 + flags), 2.0), RefreshResponse).message
        backups = message.backups  # type: ignore[attr-defined]
        assert [record.host for record in backups] == expected


steps = st.lists(
    st.tuples(
        st.sampled_from(("join", "confirm", "cluster", "decline", "leave", "later")),
        st.integers(20, 32),
        st.sampled_from((0, int(HostFlag.SUPER_NODE))),
    ),
    max_size=60,
)


@given(st.integers(0, 7), steps)
def test_no_sequence_of_joins_takes_it_above_its_out_degree(
    out_degree: int, drawn: list[tuple[str, int, int]]
) -> None:
    subject = in_mesh(out_degree=out_degree)
    now = 2.0
    promised: dict[tuple[int, bool], Instant] = {}
    for what, number, flags in drawn:
        mesh = bool(flags)
        if what == "later":
            now += 1.0
        elif what == "join":
            if join(subject, number, now, flags).status == Status.SUCCESS:
                # Another promise to the same host takes the place of the one before.
                promised.pop((number, not mesh), None)
                promised[number, mesh] = now + PARAMETERS.reservation_hold
        elif what == "cluster":
            request = ClusterRequest(
                session=SESSION, source=HostId(number), applicant=named(number, 2)
            )
            subject.receive(request, at(number), now)
        elif what == "confirm":
            kept = promised.pop((number, mesh), 0.0) > now
            promised.pop((number, not mesh), None)
            status = confirm(subject, number, now, flags)
            # A promise is kept as long as it holds.
            assert not kept or status == Status.SUCCESS
        else:
            reason = LeaveReason.DECLINED if what == "decline" else LeaveReason.MOVED
            leave = LeaveReport(session=SESSION, source=HostId(number), reason=reason)
            subject.receive(leave, at(number), now)
            promised.pop((number, True), None)
            promised.pop((number, False), None)
        view = subject.view(now)
        assert len(view.mesh_children) <= mesh_share(out_degree)
        assert len(view.children) <= out_degree - mesh_share(out_degree)
        entry = subject.role._installed
        assert entry is not None
        assert {branch.endpoint for branch in entry.downstream} == {
            child.endpoint for child in (*view.children, *view.mesh_children)
        }


# Losing and leaving.


def test_when_its_parent_dies_it_tells_the_source_and_seeks_another_place() -> None:
    subject = in_mesh(super_node(3))
    _, refresh, now = steer(subject)
    subject.receive(confirmed(refresh, 3), at(3), now)
    probes = sends(subject.receive(Silence(2.6), SELF, 3.0), ProbeRequest)
    # The source, its backup, is probed with it.
    assert [send.to for send in probes] == [at(3), SOURCE]
    actions = sleep(subject, 4.8)
    assert lost(actions) == ["silent"]
    assert (SOURCE, HostState.INACTIVE, 3) in reports(actions)
    confirms = [s for s in sends(actions, RefreshRequest) if said(s).kind == RefreshKind.CHILD]
    assert confirms[0].to == SOURCE


def test_it_leaves_in_good_order() -> None:
    subject = in_mesh(super_node(3))
    confirm(subject, 20, 2.0)
    elect = only(subject.receive(Stop(), SELF, 2.1), LeaveReport)
    message = elect.message
    assert isinstance(message, LeaveReport)
    assert (elect.to, message.reason) == (SOURCE, LeaveReason.HANDOVER)
    assert message.replacement.host == 20
    rest = sleep(subject, 100.0)
    assert {type(send.message) for send in sends(rest)} <= {LeaveReport}
    assert subject.view(100.0).state == "Gone" and subject.next_alarm() is None


def test_a_parent_in_a_loop_is_told_that_its_child_goes() -> None:
    subject = in_mesh(super_node(3))
    path = (HostId(9), ME, SOURCE_ID)
    loop = refresh_from(2, kind=RefreshKind.PARENT, sender=SOURCE_RECORD, root_path=path)
    actions = subject.receive(loop, SOURCE, 2.0)
    assert lost(actions) == ["loop"]
    assert only(actions, LeaveReport).to == SOURCE


def test_interest_follows_it_to_its_new_parent() -> None:
    subject = in_mesh(super_node(3))
    wanted = interest(group(9))
    refresh = refresh_from(20, kind=RefreshKind.CHILD, sender=named(20), interest=(wanted,))
    up = sends(subject.receive(refresh, at(20), 1.12), RefreshRequest)
    assert [said(send).interest for send in up if send.to == SOURCE] == [(wanted,)]
    moving = steer(subject)[1]
    assert said(moving).interest == (wanted,)
