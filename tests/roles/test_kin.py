"""Relatives that go, or do not want to be any: nobody counts on them a moment longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.actions import Send
from dmmp.messages import (
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import HostState, LeaveReason, RefreshKind, Status
from dmmp.messages.local import Silence, Stop
from dmmp.roles.end_host import EndHost
from dmmp.types import SELF, HostId, Instant
from tests.roles.mesh_stage import news
from tests.roles.stage import SESSION, answer, at, installed, only, sends, super_node
from tests.roles.super_node_stage import SOURCE_ID, in_mesh, refresh_from
from tests.roles.test_cluster_member import child_record, request_from
from tests.roles.test_recovery import with_backup


def becomes_guest(member: EndHost, number: int, now: Instant) -> None:
    """Have a host count this one among its relatives."""
    request = request_from(
        number, RefreshRequest, kind=RefreshKind.RELATIVE, sender=child_record(number)
    )
    member.receive(request, at(number), now)


def leave_report(number: int, reason: LeaveReason = LeaveReason.SHUTDOWN) -> LeaveReport:
    """Make what a host says that goes."""
    return LeaveReport(session=SESSION, source=HostId(number), sequence=1 << 20, reason=reason)


def next_question(member: EndHost, now: Instant, until: Instant) -> tuple[Send, Instant]:
    """Wait for the next Refresh to relative 4, while the parent answers."""
    while (alarm := member.next_alarm()) is not None and alarm[0] <= until:
        now = alarm[0]
        for send in sends(member.wake(now), RefreshRequest):
            if send.to == at(4):
                return send, now
            served = answer(
                send,
                RefreshResponse,
                3,
                sender=super_node(3),
                super_node=HostId(3),
                root_path=(HostId(2),),
                backups=(super_node(4),),
            )
            member.receive(served, at(3), now)
    raise AssertionError("it never asks the relative again")


def test_a_relative_that_says_that_it_goes_is_asked_for_nothing_more() -> None:
    member = with_backup()
    assert installed(member.receive(leave_report(4), at(4), 11.0)).entry.repairers == ()
    # Nor is it a place to go to.
    asked = member.receive(Silence(11.0), SELF, 11.1)
    assert [send.to for send in sends(asked, ProbeRequest)] == [at(3)]


def test_only_the_relative_itself_can_say_so_and_only_that_it_goes_for_good() -> None:
    member = with_backup()
    for said, sender in (
        (leave_report(4), at(77)),
        (leave_report(77), at(4)),
        (leave_report(4, LeaveReason.MOVED), at(4)),
    ):
        assert only(member.receive(said, sender, 11.0), LeaveResponse).to == sender
    assert member.role.repairers() == (at(4),)


def test_a_guest_that_goes_is_none_any_more() -> None:
    member = with_backup()
    becomes_guest(member, 9, 11.0)
    assert dict(member.view(11.0).tables)["guests"] == 1
    member.receive(leave_report(9), at(9), 11.1)
    assert dict(member.view(11.1).tables)["guests"] == 0


@pytest.mark.parametrize("other", [False, True], ids=["refuses", "another-host"])
def test_one_that_refuses_is_asked_for_nothing_but_again_later(other: bool) -> None:
    """It answers no Data Requests of guests, or the machine was started again."""
    member = with_backup()
    send, now = next_question(member, 10.1, 60.0)
    sender = replace(super_node(4), host=HostId(44)) if other else super_node(4)
    status = Status.SUCCESS if other else Status.UNKNOWN_HOST
    refused = answer(send, RefreshResponse, 4, status=status, sender=sender)
    assert installed(member.receive(refused, at(4), now)).entry.repairers == ()
    asked = member.receive(Silence(now), SELF, now)
    assert [send.to for send in sends(asked, ProbeRequest)] == [at(3)]
    member.role.standing.requests.close_all_to(at(3))
    # No more often than any other relative, though the parent goes on naming it.
    again, later = next_question(member, now, now + 60.0)
    assert later - now >= 0.8 * member.standing.parameters.refresh_relative
    agrees = answer(
        again,
        RefreshResponse,
        4,
        sender=super_node(4),
        super_node=HostId(4),
        root_path=(HostId(2),),
    )
    assert installed(member.receive(agrees, at(4), later)).entry.repairers == (at(4),)


def test_who_goes_tells_its_guests_once_and_does_not_wait_for_them() -> None:
    member = with_backup()
    becomes_guest(member, 9, 11.0)
    told = sends(member.receive(Stop(), SELF, 12.0), LeaveReport)
    assert {send.to for send in told} == {at(1), at(3), at(9)}
    (farewell,) = [send.message for send in told if send.to == at(9)]
    assert isinstance(farewell, LeaveReport)
    assert (farewell.reason, farewell.replacement.host) == (LeaveReason.SHUTDOWN, 0)
    for send in told:
        if send.to != at(9):
            member.receive(answer(send, LeaveResponse, 0), send.to, 12.1)
    assert member.view(12.1).state == "Gone"


def test_a_super_node_asks_nothing_more_of_one_that_the_source_dropped() -> None:
    subject = in_mesh(super_node(3), super_node(4))
    for number in (3, 4):
        subject.receive(refresh_from(number, root_path=(SOURCE_ID,)), at(number), 1.5)
    list(subject.role.install(1.5))
    assert {at(3), at(4)} <= set(subject.role.installed.repairers)  # type: ignore[union-attr]
    gone = news(subject, super_node(4), 2.0, HostState.INACTIVE, 2, SOURCE_ID)
    assert at(4) not in installed(gone).entry.repairers
