"""A cluster member leaves, rule by rule (slide 20)."""

from __future__ import annotations

from dmmp.actions import Send
from dmmp.messages import LeaveReport, LeaveResponse, ProbeRequest
from dmmp.messages.common import LeaveReason
from dmmp.messages.local import Silence, Stop
from dmmp.types import SELF, HostId
from tests.roles.stage import PARAMETERS, SESSION, answer, at, only, sends
from tests.roles.test_cluster_member import adopt, joined


def test_it_leaves_in_good_order() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    handover = only(member.receive(Stop(), SELF, 12.0), LeaveReport)
    # Its place goes to its child, which is served until it has it.
    assert handover.to == at(3) and said(handover).reason == LeaveReason.HANDOVER
    assert said(handover).replacement.host == 9
    agreed = answer(handover, LeaveResponse, 3)
    farewell = only(member.receive(agreed, at(3), 12.1), LeaveReport)
    assert farewell.to == at(9) and said(farewell).replacement.host == 3
    assert member.role.upstream() == (at(3),)
    moved = LeaveReport(session=SESSION, source=HostId(9), sequence=9, reason=LeaveReason.MOVED)
    gone = sends(member.receive(moved, at(9), 12.5), LeaveReport)
    assert {send.to for send in gone} == {at(1), at(3)}


def test_a_parent_that_dies_while_it_leaves_is_not_waited_for() -> None:
    member = joined()
    adopt(member, 9, 11.0)
    member.receive(Stop(), SELF, 12.0)
    asked = only(member.receive(Silence(11.9), SELF, 12.1), ProbeRequest)
    assert asked.to == at(3)
    now = 12.1
    told: list[Send] = []
    while not told:
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        told = [send for send in sends(member.wake(now), LeaveReport) if send.to == at(9)]
    # Whoever is below hears it at once, and is not sent to the dead.
    assert now < 12.1 + PARAMETERS.leave_move / 2
    assert said(told[0]).replacement.host == 0


def said(send: Send) -> LeaveReport:
    """Return a leave report that is sent."""
    assert isinstance(send.message, LeaveReport)
    return send.message


def test_nobody_answers_and_it_leaves_all_the_same() -> None:
    member = joined()
    member.receive(Stop(), SELF, 12.0)
    now = 12.0
    while member.view(now).state != "Gone":
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        member.wake(now)
    assert now <= 12.0 + PARAMETERS.leave_wait
