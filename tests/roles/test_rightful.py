"""Places in the mesh go to those whom the core tree puts there (Decisions 15 and 33)."""

from __future__ import annotations

from typing import Any

import pytest

from dmmp.actions import Action
from dmmp.messages import LeaveReport, Message, RefreshRequest, RefreshResponse
from dmmp.messages.common import HostFlag, LeaveReason, LinkRecord, RefreshKind, Status
from dmmp.roles.end_host import EndHost
from dmmp.roles.standing import Alarm
from dmmp.types import Endpoint, HostId, Instant
from tests.roles.mesh_stage import named, said, status_of
from tests.roles.stage import ME, PARAMETERS, SOURCE, at, sends, super_node
from tests.roles.super_node_stage import (
    SOURCE_ID,
    confirmed,
    in_mesh,
    refresh_from,
    run,
    steer,
)
from tests.roles.test_source import mesh_refresh, with_super_nodes


def dismissed(actions: list[Action]) -> list[Endpoint]:
    """List who is sent away."""
    return [
        send.to
        for send in sends(actions, LeaveReport)
        if said(send).reason == LeaveReason.DISMISSED
    ]


def full_source() -> EndHost:
    """Make a source with two places, which 3 and 4 have; by its links 3 belongs below 4."""
    subject = with_super_nodes(3, 4, 5, out_degree=2)
    source = subject.standing.host
    for number in (3, 4):
        subject.receive(mesh_refresh(number, RefreshKind.CHILD), at(number), 9.0)
    links = {
        3: (LinkRecord(source, 900), LinkRecord(HostId(4), 5)),
        4: (LinkRecord(source, 10), LinkRecord(HostId(3), 5)),
        5: (LinkRecord(source, 20),),
    }
    for number, own in links.items():
        subject.receive(mesh_refresh(number, links=own), at(number), 9.1)
    return subject


def ask(subject: EndHost, number: int, now: Instant) -> list[Action]:
    """Have a super node ask for a place in the mesh."""
    request: Message = mesh_refresh(number, RefreshKind.CHILD)
    actions = subject.receive(request, at(number), now)
    assert status_of(actions, RefreshResponse) == Status.FULL
    return actions


def test_a_full_source_sends_away_whom_the_tree_puts_elsewhere() -> None:
    subject = full_source()
    assert dismissed(ask(subject, 5, 9.2)) == [at(3)]
    # It is served until it has found another place.
    assert {child.host for child in subject.view(9.2).mesh_children} == {3, 4}


def test_one_at_a_time_is_sent_away_and_again_if_it_has_not_gone() -> None:
    subject = full_source()
    assert dismissed(ask(subject, 5, 9.2)) == [at(3)]
    for later in (0.5, 1.1, 3.0):
        assert dismissed(ask(subject, 5, 9.2 + later * PARAMETERS.place_wait)) == []
    assert dismissed(ask(subject, 5, 9.3 + PARAMETERS.refresh_mesh)) == [at(3)]


def test_a_stranger_with_the_id_of_a_super_node_moves_nobody() -> None:
    subject = in_mesh(super_node(3), super_node(4), super_node(5), super_node(6), out_degree=4)
    role: Any = subject.role
    for number in (2, 3, 4, 5, 6):
        trip = 0.3 if number == 2 else 0.001 * number
        role.mesh.peers[number].round_trip = trip
        role.mesh.peers[number].announced_us = None
    list(role.choose_mesh_links(1.2))
    flags = HostFlag.SUPER_NODE
    for number in (3, 4, 5, 6):
        near = (LinkRecord(ME, 10),) if number > 3 else (LinkRecord(SOURCE_ID, 1),)
        subject.receive(refresh_from(number, links=near), at(number), 1.2)
    for number in (3, 4):
        child = refresh_from(
            number, 5000 + number, kind=RefreshKind.CHILD, sender=named(number, 8, flags)
        )
        subject.receive(child, at(number), 1.2)
    assert role.core_tree()[HostId(5)] == ME != role.core_tree()[HostId(3)]
    claim = refresh_from(5, 6000, kind=RefreshKind.CHILD, sender=named(5, 8, flags))
    assert dismissed(subject.receive(claim, at(99), 1.3)) == []
    assert dismissed(subject.receive(claim, at(5), 1.3)) == [at(3)]


def test_a_place_is_taken_up_again_when_who_had_it_has_gone() -> None:
    subject = full_source()
    ask(subject, 5, 9.2)
    moved = LeaveReport(
        session=subject.standing.session,
        source=HostId(3),
        sequence=77,
        reason=LeaveReason.MOVED,
    )
    subject.receive(moved, at(3), 9.3)
    again = subject.receive(mesh_refresh(5, RefreshKind.CHILD), at(5), 9.5)
    assert status_of(again, RefreshResponse) == Status.SUCCESS


def test_nobody_goes_for_one_whom_the_tree_puts_elsewhere_too() -> None:
    subject = full_source()
    source = subject.standing.host
    far = (LinkRecord(source, 5000), LinkRecord(HostId(4), 30))
    subject.receive(mesh_refresh(5, links=far), at(5), 9.1)
    # Then 3 is the second nearest of the source, but over 4 it is nearer still.
    assert dismissed(ask(subject, 5, 9.2)) == []


def test_a_child_s_refresh_says_nothing_of_links() -> None:
    """It has none in it, and those that the mesh was told stay."""
    subject = full_source()
    subject.receive(mesh_refresh(4, RefreshKind.CHILD), at(4), 9.15)
    assert dismissed(ask(subject, 5, 9.2)) == [at(3)]


def test_children_of_the_cluster_go_where_they_stand_on_places_of_the_mesh() -> None:
    subject = in_mesh(super_node(3), out_degree=4, relay_only=False)
    role: Any = subject.role
    children = role.standing.children
    for number in range(20, 24):
        children.confirm(named(number, number - 19), at(number), False, 99.0)
    for number in (2, 3):
        role.mesh.peers[number].round_trip = 0.001
        role.mesh.peers[number].announced_us = None
    list(role.choose_mesh_links(1.2))
    links = (LinkRecord(ME, 10),)
    subject.receive(refresh_from(3, links=links), at(3), 1.2)
    assert role.core_tree()[HostId(3)] == ME
    request = refresh_from(3, 3001, kind=RefreshKind.CHILD, sender=named(3, 8, HostFlag.SUPER_NODE))
    actions = subject.receive(request, at(3), 1.3)
    assert status_of(actions, RefreshResponse) == Status.FULL
    # Two places are the mesh's; the least capable go.
    assert dismissed(actions) == [at(20), at(21)]


def asked_again(subject: EndHost, refresh: Any, now: Instant) -> tuple[Any, Instant]:
    """Refuse a move, let others answer; return the next one to super node 3, and when it is."""
    subject.receive(confirmed(refresh, 3, Status.FULL), at(3), now)
    while now < 60.0:
        alarm = subject.next_alarm()
        assert alarm is not None
        now = alarm[0]
        for send in sends(subject.wake(now), RefreshRequest):
            if send.to == at(3) and said(send).kind == RefreshKind.CHILD:
                return send, now
            number = int(send.to.address) & 0xFF
            subject.receive(confirmed(send, number), send.to, now + 0.001)
    raise AssertionError("it never asks again")


def test_who_is_refused_its_place_in_the_tree_asks_less_and_less_often() -> None:
    subject = in_mesh(super_node(3))
    _, refresh, now = steer(subject)
    pauses = []
    for _ in range(7):
        refresh, later = asked_again(subject, refresh, now)
        pauses.append(later - now)
        now = later
    after, most = PARAMETERS.rebuild_after, PARAMETERS.refresh_mesh
    for times, pause in enumerate(pauses):
        expected = min(after * 2**times, most)
        assert 0.8 * expected <= pause <= 1.2 * expected + 0.01


@pytest.mark.parametrize(("trip", "moves"), [(0.00105, False), (0.0012, False), (0.0014, True)])
def test_it_stays_where_the_way_is_nearly_as_short(trip: float, moves: bool) -> None:
    """By the tree the way takes 1.01 ms there and back, through super node 3."""
    subject = in_mesh(super_node(3))
    role: Any = subject.role
    for number, measured in ((2, trip), (3, 0.001)):
        role.mesh.peers[number].round_trip = measured
        role.mesh.peers[number].announced_us = None
    list(role.choose_mesh_links(1.15))
    near = (LinkRecord(SOURCE_ID, 10), LinkRecord(ME, 1000))
    subject.receive(refresh_from(3, links=near), at(3), 1.15)
    assert role.core_tree()[ME] == 3
    asked = sends(list(role.on_rebuild(None, 1.5)), RefreshRequest)
    assert [send.to for send in asked] == ([at(3)] if moves else [])


def test_news_of_links_do_not_wait_for_the_period_of_a_large_mesh() -> None:
    subject = in_mesh(*(super_node(number) for number in range(3, 43)))
    role: Any = subject.role
    run(subject, 1.1, 3.0)
    assert role.mesh_period() >= 4 * PARAMETERS.refresh_mesh
    told = set(role.told_links)
    other = next(host for host in role.mesh.peers if host not in told)
    role.mesh.peers[other].round_trip, role.mesh.peers[other].announced_us = 0.0001, None
    list(role.choose_mesh_links(3.1))
    assert other in role.links
    at_last = role.alarms._at[Alarm.MESH, None][0]
    assert at_last <= 3.1 + 1.2 * PARAMETERS.refresh_mesh
    # But no sooner than a small mesh would be refreshed: a stranger's links cannot hurry it more.
    assert at_last >= 3.1 + 0.8 * (role.told_at + PARAMETERS.refresh_mesh - 3.1)


def test_the_same_links_are_told_in_their_period() -> None:
    subject = in_mesh(*(super_node(number) for number in range(3, 43)))
    role: Any = subject.role
    run(subject, 1.1, 30.0)
    before = role.alarms._at[Alarm.MESH, None][0]
    list(role.choose_mesh_links(30.1))
    assert role.alarms._at[Alarm.MESH, None][0] == before
    assert SOURCE in {peer.endpoint for peer in role.mesh.peers.values()}
