"""Whom the source has a place for: chosen, invited, silent super nodes, and nobody else."""

from __future__ import annotations

from dataclasses import replace

from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshResponse,
    SetupRequest,
)
from dmmp.messages.common import HostState, Status
from dmmp.messages.local import Unreachable
from dmmp.types import SELF, HostId
from tests.roles.mesh_stage import named, news, sleep, status_of
from tests.roles.stage import SESSION, answer, at, only, sends, super_node
from tests.roles.test_source import ask, mesh_refresh, with_super_nodes


def test_who_was_not_chosen_takes_no_place_away_by_asking() -> None:
    """A reservation for anybody who claims to be a super node would keep the chosen out."""
    subject = with_super_nodes(3, 4, out_degree=2)
    for number in (20, 21, 22):
        assert ask(subject, number, 5.0).status == Status.FULL
    # Nor for the id of one that was chosen, from elsewhere.
    stolen = JoinRequest(session=SESSION, source=HostId(3), sequence=1, applicant=super_node(3))
    refused = only(subject.receive(stolen, at(9), 5.0), JoinResponse).message
    assert refused.status == Status.FULL  # type: ignore[attr-defined]
    assert dict(subject.view(5.0).tables)["reservations"] == 0
    assert [ask(subject, number, 5.1).status for number in (3, 4)] == [Status.SUCCESS] * 2


def test_one_that_is_invited_or_was_a_super_node_is_offered_a_place() -> None:
    subject = with_super_nodes(3)
    news(subject, named(5), 5.0)
    sleep(subject, 5.6)
    assert ask(subject, 5, 5.7).status == Status.SUCCESS
    # 3 answers no probe; perhaps only the way there was cut.
    news(subject, super_node(3), 6.0, HostState.INACTIVE)
    sleep(subject, 9.0)
    assert not [record for record in subject.view(9.0).super_nodes if record.host == 3]
    assert ask(subject, 3, 9.1).status == Status.SUCCESS


def test_a_machine_that_was_started_again_is_not_taken_for_the_super_node_it_was() -> None:
    """Who was only silent comes back by its Refresh; what started again there is another host."""
    cut, again = with_super_nodes(3, 4), with_super_nodes(3, 4)
    news(cut, super_node(3), 5.0, HostState.INACTIVE)
    sleep(cut, 9.0)
    back = cut.receive(mesh_refresh(3), at(3), 9.0)
    assert status_of(back, RefreshResponse) == Status.SUCCESS
    assert only(back, SetupRequest).to == at(3)
    probe = only(again.receive(Unreachable(at(3)), SELF, 5.0), ProbeRequest)
    stranger = replace(super_node(3), host=HostId(33))
    again.receive(answer(probe, ProbeResponse, 33, timestamp=0, sender=stranger), at(3), 5.1)
    for number in (3, 33):
        seen = mesh_refresh(number, sender=replace(stranger, host=HostId(number)))
        actions = again.receive(seen, at(3), 9.0)
        assert status_of(actions, RefreshResponse) == Status.UNKNOWN_HOST
        assert not sends(actions, SetupRequest)


def test_the_rendezvous_point_ends_that_one_is_waited_for() -> None:
    """It saw another host register at the address, or heard nothing for its hold time."""
    subject = with_super_nodes(3, 4)
    news(subject, super_node(3), 5.0, HostState.INACTIVE, 3, 4)
    news(subject, super_node(3), 5.0, HostState.INACTIVE)
    sleep(subject, 9.0)
    assert dict(subject.view(9.0).tables)["former"] == 1
    news(subject, super_node(3), 9.1, HostState.INACTIVE)
    actions = subject.receive(mesh_refresh(3), at(3), 9.2)
    assert status_of(actions, RefreshResponse) == Status.UNKNOWN_HOST
    assert not sends(actions, SetupRequest)
