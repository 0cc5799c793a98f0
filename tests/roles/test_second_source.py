"""Several RPs seen from one of them, and a second source there (Decisions 7 and 21)."""

from __future__ import annotations

from typing import Any

from dmmp.actions import Action, Send
from dmmp.events import HostExpired, Misconfigured
from dmmp.messages import LeaveReport, PingRpResponse, ProbeRequest, SubscriptionRequest
from dmmp.messages import SubscriptionResponse as Found
from dmmp.messages.common import HostFlag, HostState, Status
from dmmp.types import HostId
from tests.roles.rendezvous import (
    add_source,
    add_super_node,
    alive,
    ping,
    rendezvous_point,
    second_source,
    sweep,
    told,
    welcome,
)
from tests.roles.stage import PARAMETERS, SESSION, at, body, events, only, sends

SOURCE_FLAGS: dict[str, Any] = {"flags": HostFlag.SOURCE, "out_degree": 8}


def answered(actions: list[Action], number: int) -> list[PingRpResponse]:
    """Pick what the host at `at(number)` is answered."""
    found = [send for send in sends(actions, PingRpResponse) if send.to == at(number)]
    return [s.message for s in found if isinstance(s.message, PingRpResponse)]


# A second source.


def test_a_source_that_comes_back_elsewhere_does_not_wait_for_the_hold_time() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    add_super_node(rp, 5)
    asked = ping(rp, 3, 1.0, **SOURCE_FLAGS)
    assert only(asked, ProbeRequest).to == at(2) and not answered(asked, 3)
    actions = sweep(rp, 3.0)
    (found,) = answered(actions, 3)
    assert found.status == Status.SUCCESS and found.host not in (0, first)
    (gone,) = events(actions, HostExpired)
    assert gone.host == first and gone.reason == "silent"  # type: ignore[attr-defined]
    # It hears of the super node at once, to take it up again.
    reports = told([a for a in actions if isinstance(a, Send) and a.to == at(3)], 3)
    (report,) = {report.sequence: report for report in reports}.values()
    assert report.state == HostState.ACTIVE and report.subject.flags & HostFlag.SUPER_NODE


def test_the_verdict_counts_for_the_request_that_was_sent_again() -> None:
    rp = rendezvous_point()
    add_source(rp)
    assert only(ping(rp, 3, 1.0, **SOURCE_FLAGS), ProbeRequest)
    # Sent again because nothing came: no second probe, one answer.
    assert not sends(ping(rp, 3, 1.25, **SOURCE_FLAGS))
    assert [found.status for found in answered(sweep(rp, 3.0), 3)] == [Status.SUCCESS]


def test_while_the_first_is_doubted_a_third_is_refused() -> None:
    rp = rendezvous_point()
    add_source(rp)
    ping(rp, 3, 1.0, **SOURCE_FLAGS)
    assert welcome(ping(rp, 4, 1.1, **SOURCE_FLAGS)).status == Status.DUPLICATE_SOURCE


def test_who_answers_at_the_first_ones_address_must_be_it() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    actions = second_source(rp, 3, HostId(first + 1))
    assert [found.status for found in answered(actions, 3)] == [Status.SUCCESS]


def test_a_first_source_that_lives_keeps_everything() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    assert welcome(second_source(rp, 3, first)).status == Status.DUPLICATE_SOURCE
    assert not events(sweep(rp, 10.0), HostExpired)
    assert welcome(ping(rp, 2, 10.0, host=first, **SOURCE_FLAGS)).host == first


def test_a_renewal_of_the_first_is_as_good_as_an_answer_to_the_probe() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    ping(rp, 3, 1.0, **SOURCE_FLAGS)
    actions = ping(rp, 2, 1.5, host=first, **SOURCE_FLAGS)
    assert [found.status for found in answered(actions, 3)] == [Status.DUPLICATE_SOURCE]
    assert not events(sweep(rp, 10.0), HostExpired)


def test_when_the_first_leaves_meanwhile_the_second_is_taken_and_stays() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    ping(rp, 3, 1.0, **SOURCE_FLAGS)
    rp.receive(LeaveReport(session=SESSION, source=first), at(2), 1.1)
    taken = welcome(ping(rp, 3, 1.25, **SOURCE_FLAGS))
    assert taken.status == Status.SUCCESS
    # The probe of the first, which nobody answers, costs the second nothing.
    assert not events(sweep(rp, 10.0), HostExpired)
    assert welcome(ping(rp, 3, 10.0, host=taken.host, **SOURCE_FLAGS)).host == taken.host


def test_a_stranger_cannot_answer_for_the_first_source() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    probe = only(ping(rp, 3, 1.0, **SOURCE_FLAGS), ProbeRequest)
    assert rp.receive(alive(probe, first), at(9), 1.1) == []
    assert [found.status for found in answered(sweep(rp, 3.0), 3)] == [Status.SUCCESS]


def test_a_first_source_that_comes_back_must_give_way_to_a_second_that_lives() -> None:
    rp = rendezvous_point()
    first = add_source(rp)
    ping(rp, 3, 1.0, **SOURCE_FLAGS)
    sweep(rp, 3.0)
    back = ping(rp, 2, 4.0, host=first, **SOURCE_FLAGS)
    assert only(back, ProbeRequest).to == at(3)


# An id that another RP gave.


def test_it_takes_over_the_id_that_another_rp_gave() -> None:
    first, second = rendezvous_point(0), rendezvous_point(1, seed=2)
    host = welcome(ping(first, 9)).host
    assert welcome(ping(second, 9, host=host)).host == host
    assert second.views(0.0)[0].hosts == 1


def test_a_host_that_two_rps_gave_ids_keeps_one_at_both() -> None:
    first, second = rendezvous_point(0), rendezvous_point(1, seed=2)
    add_source(second)
    host = welcome(ping(first, 9, out_degree=4)).host
    other = welcome(ping(second, 9, out_degree=4)).host
    assert other != host
    actions = ping(second, 9, 0.5, host=host, out_degree=4)
    assert welcome(actions).host == host and welcome(actions).hosts == 2
    states = {(int(report.subject.host), report.state) for report in told(actions)}
    assert states == {(int(other), HostState.INACTIVE), (int(host), HostState.ACTIVE)}


def test_an_id_that_two_hosts_bring_stays_with_the_first_and_that_is_said() -> None:
    rp = rendezvous_point()
    ping(rp, 9, host=77)
    actions = ping(rp, 10, host=77)
    assert welcome(actions).status == Status.SUCCESS and welcome(actions).host != 77
    (said,) = events(actions, Misconfigured)
    assert "0000004d" in str(said)
    assert not events(ping(rp, 9, 1.0, host=77), Misconfigured)


def test_an_rp_has_an_id_of_its_own_which_no_host_gets() -> None:
    rp = rendezvous_point(5)
    request = SubscriptionRequest(group_name="demo")
    me = body(rp.receive(request, at(9), 0.0), Found).source
    assert me >> 28 == 5
    assert welcome(ping(rp, 9)).source == me
    assert welcome(ping(rp, 10, host=me)).host != me
    assert body(rendezvous_point(5, seed=2).receive(request, at(9), 0.0), Found).source != me


def test_the_hold_time_is_as_long_as_ever_without_a_second_source() -> None:
    rp = rendezvous_point()
    add_source(rp)
    assert not events(sweep(rp, PARAMETERS.hold_rp - 1.0), HostExpired)
