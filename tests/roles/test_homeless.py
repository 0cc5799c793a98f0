"""A super node without a place, when others come to the mesh (Decision 39)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dmmp.messages import JoinRequest, SetupRequest, SetupResponse
from dmmp.roles.end_host import EndHost
from dmmp.roles.states import Asking
from dmmp.types import Instant
from tests.roles.mesh_stage import news, sleep
from tests.roles.stage import PARAMETERS, answer, at, only, sends, super_node
from tests.roles.super_node_stage import chosen


def waiting() -> tuple[EndHost, Instant]:
    """Make a super node that found no place again and again."""
    subject, _ = chosen()
    now = 1.0
    while subject.view(now).state != "Waiting" or now < 20.0:
        alarm = subject.next_alarm()
        assert alarm is not None
        now = alarm[0]
        subject.wake(now)
    return subject, now


def comes(subject: EndHost, number: int, out_degree: int, now: Instant) -> None:
    """Let the source tell of a super node, which answers."""
    comer = replace(super_node(number), out_degree=out_degree)
    setup = only(news(subject, comer, now, by=2, sender=2), SetupRequest)
    subject.receive(answer(setup, SetupResponse, number, sender=comer), at(number), now)


def test_without_a_place_it_tries_again_soon_after_the_first_super_node_has_come() -> None:
    soon = 1.2 * PARAMETERS.retry_bootstrap
    subject, now = waiting()
    comes(subject, 3, 8, now)
    # More come before it tries, and do not put it off.
    for number, later in ((4, 0.1), (5, 0.2), (6, 0.3)):
        assert sends(sleep(subject, now + later), JoinRequest) == []
        comes(subject, number, 8, now + later)
    asked = sends(sleep(subject, now + soon), JoinRequest)
    assert subject.view(now + soon).state == "Asking"
    tried = {send.to for send in asked}
    while at(3) not in tried and now < 40.0:
        now += 1.0
        tried |= {send.to for send in sends(sleep(subject, now), JoinRequest)}
    assert at(3) in tried


def test_one_that_can_feed_nobody_in_the_mesh_changes_nothing() -> None:
    subject, now = waiting()
    comes(subject, 3, 1, now)
    soon = now + 1.2 * PARAMETERS.retry_bootstrap
    assert sends(sleep(subject, soon), JoinRequest) == []


def test_a_super_node_that_comes_during_a_search_is_asked_next_even_if_it_refused() -> None:
    subject, actions = chosen(super_node(3), super_node(4))
    role: Any = subject.role
    assert isinstance(role.state, Asking)
    # As what it was before, host 3 refused.
    role.standing.requests.close_all_to(at(3), JoinRequest)
    left = tuple(c for c in role.state.candidates if c.record.host == 4)
    role.state = replace(role.state, tried=role.state.tried | {at(3)}, candidates=left)
    (setup,) = (send for send in sends(actions, SetupRequest) if send.to == at(3))
    reply = answer(setup, SetupResponse, 3, sender=super_node(3))
    subject.receive(reply, at(9), 1.1)
    assert [c.record.host for c in role.state.candidates] == [4], "not from there"
    subject.receive(reply, at(3), 1.1)
    assert [c.record.host for c in role.state.candidates] == [3, 4]
