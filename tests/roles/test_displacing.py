"""Making room: C sends a child to an applicant that gains by its place (Decision 75)."""

from __future__ import annotations

import pytest

from dmmp.actions import Action, Send
from dmmp.messages import (
    JoinNotification,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    PromotionConfirm,
)
from dmmp.messages.common import HostFlag, HostRecord, LeaveReason, Status
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.types import HostId
from tests.roles.stage import answer, at, only, sends
from tests.roles.test_cluster_member import adopt, joined, request_from

NOW = 12.0
X = HostRecord(
    host=HostId(20),
    endpoint=at(20),
    flags=HostFlag.EXCHANGES,
    depth=4,
    out_degree=3,
    free_slots=2,
    delay_us=30_000,
)


def full(children: int = 2) -> EndHost:
    """Make C, with a child for each of its places."""
    member = joined(out_degree=children)
    for number in range(children):
        adopt(member, 10 + number, NOW)
    return member


def ask(member: EndHost, applicant: HostRecord = X, now: float = NOW) -> list[Action]:
    request = request_from(applicant.host, JoinRequest, applicant=applicant, passes=0)
    return member.receive(request, applicant.endpoint, now)


def sent_away(member: EndHost) -> Send:
    told = only(ask(member), JoinNotification)
    assert told.message.parent.host == X.host  # type: ignore[attr-defined]
    assert told.message.parent.endpoint == X.endpoint  # type: ignore[attr-defined]
    return told


def went(told: Send, status: Status = Status.SUCCESS) -> PromotionConfirm:
    found = answer(told, PromotionConfirm, number_of(told), status=status)
    assert isinstance(found, PromotionConfirm)
    return found


def verdicts(actions: list[Action]) -> list[Status]:
    answers = [each.message for each in sends(actions, JoinResponse) if each.to == X.endpoint]
    return [Status(each.status) for each in answers if isinstance(each, JoinResponse)]


def number_of(told: Send) -> int:
    """Tell which child it is."""
    return next(number for number in (10, 11) if at(number) == told.to)


def goodbye(member: EndHost, number: int) -> list[Action]:
    report = request_from(number, LeaveReport, reason=LeaveReason.MOVED)
    return member.receive(report, at(number), NOW)


@pytest.mark.parametrize("goodbye_first", [True, False])
def test_the_place_is_the_applicants_when_the_child_has_said_so_and_gone(
    goodbye_first: bool,
) -> None:
    member = full()
    told = sent_away(member)
    found = [] if not goodbye_first else verdicts(goodbye(member, number_of(told)))
    found += verdicts(member.receive(went(told), told.to, NOW))
    found += [] if goodbye_first else verdicts(goodbye(member, number_of(told)))
    assert found == [Status.SUCCESS]
    # Reserved: another applicant gets nothing.
    other = request_from(
        30, JoinRequest, applicant=HostRecord(host=HostId(30), endpoint=at(30)), passes=0
    )
    refused = only(member.receive(other, at(30), NOW), JoinResponse)
    assert refused.message.status == Status.FULL  # type: ignore[attr-defined]


def test_a_child_that_stays_means_no() -> None:
    member = full()
    told = sent_away(member)
    assert verdicts(member.receive(went(told, Status.FULL), told.to, NOW)) == [Status.FULL]
    assert len(member.view(NOW).children) == 2


def test_who_asks_again_meanwhile_is_not_answered_twice() -> None:
    member = full()
    sent_away(member)
    assert not ask(member)


def test_a_child_that_is_silent_is_not_waited_for_any_longer_than_a_promotion() -> None:
    member = full()
    sent_away(member)
    later = NOW + Parameters().promotion_hold + 0.1
    member.wake(later)
    # Nor is anybody else sent away at once: who asks again and again has little of it.
    assert not sends(ask(member, now=later), JoinNotification)
    later += 1.5 * Parameters().nearing_look
    assert sends(ask(member, now=later), JoinNotification)


def test_nobody_makes_room_without_need_or_for_who_may_not_have_it() -> None:
    plain = HostRecord(host=HostId(20), endpoint=at(20), delay_us=30_000)
    core = HostRecord(
        host=HostId(20), endpoint=at(20), flags=HostFlag.EXCHANGES | HostFlag.SUPER_NODE
    )
    child = HostRecord(host=HostId(10), endpoint=at(10), flags=HostFlag.EXCHANGES)
    above = HostRecord(host=HostId(2), endpoint=at(2), flags=HostFlag.EXCHANGES)
    for applicant in (plain, core, child, above):
        assert not sends(ask(full(), applicant), JoinNotification)
    roomy = joined(out_degree=3)
    adopt(roomy, 10, NOW)
    assert verdicts(ask(roomy)) == [Status.SUCCESS]


def test_another_hosts_word_moves_nobody() -> None:
    member = full()
    told = sent_away(member)
    other = 21 - number_of(told)
    assert not verdicts(member.receive(went(told, Status.FULL), at(other), NOW))
