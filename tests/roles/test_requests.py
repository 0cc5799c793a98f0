"""Open requests: matching, retransmission, and what happens when the table is full.

Decisions 6 and 9.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    LeaveResponse,
    Message,
    ProbeRequest,
    ProbeResponse,
    SetupRequest,
    StatusReport,
)
from dmmp.messages.common import HostRecord
from dmmp.roles.requests import LONGEST_WAIT, Request, Requests, RoundTrip
from dmmp.types import Endpoint
from tests.roles.stage import PARAMETERS, at


def requests(seed: int = 1) -> Requests:
    """Make an empty table."""
    return Requests(PARAMETERS, Random(seed), lambda number: None)


PARENT = at(3)


def ask(table: Requests, to: Endpoint = PARENT, tries: int = 5, now: float = 0.0) -> int:
    """Open a probe; return its number."""
    return table.open(ProbeRequest(timestamp=0), to, now, tries)[1]


def reply(sequence: int) -> ProbeResponse:
    """Make the answer to a probe."""
    return ProbeResponse(sequence=sequence, timestamp=0, sender=HostRecord())


def test_the_numbers_start_at_random_and_grow() -> None:
    first, second = requests(1), requests(2)
    assert ask(first) != ask(second)
    assert (ask(first) - ask(first)) % (1 << 32) == (1 << 32) - 1


def test_whoever_set_an_alarm_learns_that_it_is_over() -> None:
    over: list[int] = []
    table = Requests(replace(PARAMETERS, maximum_outstanding=4), Random(1), over.append)
    numbers = [ask(table, tries=1) for _ in range(5)]
    assert over == numbers[:1]
    table.match(reply(numbers[1]), PARENT)
    table.close(numbers[2])
    table.close(numbers[2])
    assert isinstance(table.again(numbers[3], PARAMETERS.retry_first), Request)
    table.close_all()
    assert over == numbers


def test_the_numbers_go_round() -> None:
    table = requests()
    table._sequence = (1 << 32) - 2
    assert [ask(table) for _ in range(3)] == [(1 << 32) - 1, 1, 2]
    assert table.match(reply(1), at(3)) is not None


def test_it_is_sent_after_a_quarter_second_doubling_five_times_in_all() -> None:
    table = requests()
    send, sequence, look = table.open(ProbeRequest(timestamp=7), at(3), 10.0, 5)
    times = [10.0]
    while True:
        again = table.again(sequence, look)
        if not isinstance(again, tuple):
            break
        assert again[0] == send, "the same message, with the same number"
        times.append(look)
        look = again[1]
    assert isinstance(again, Request) and again.to == at(3)
    assert times == [10.0, 10.25, 10.75, 11.75, 13.75] and look == 17.75
    # Given up once, then it is forgotten.
    assert table.again(sequence, 99.0) is None and len(table) == 0


def test_only_the_host_that_was_asked_can_answer() -> None:
    table = requests()
    sequence = ask(table)
    assert table.match(reply(sequence), at(4)) is None
    assert table.match(LeaveResponse(sequence=sequence), at(3)) is None
    assert table.match(reply(sequence + 1), at(3)) is None
    assert table.unmatched == 3
    assert table.match(reply(sequence), at(3)) is not None


def test_a_second_answer_means_nothing() -> None:
    table = requests()
    sequence = ask(table)
    table.match(reply(sequence), at(3))
    assert table.match(reply(sequence), at(3)) is None and table.unmatched == 1


def test_a_request_that_is_passed_on_is_answered_by_several() -> None:
    table = requests()
    join = JoinRequest(applicant=HostRecord())
    _, sequence, _ = table.open(join, at(3), 0.0, 3, any_sender=True)
    for number in (5, 6):
        assert table.match(JoinResponse(sequence=sequence), at(number)) is not None
    table.close(sequence)
    assert table.match(JoinResponse(sequence=sequence), at(7)) is None


def test_after_a_retransmission_the_round_trip_is_unknown() -> None:
    table = requests()
    sequence = ask(table)
    request = table.peek(reply(sequence), at(3))
    assert request is not None and request.round_trip(0.04) == 0.04
    table.again(sequence, 0.25)
    assert request.round_trip(0.29) is None


def test_a_host_farther_than_the_first_wait_is_measured_and_then_waited_for() -> None:
    """The first answer counts though it is ambiguous, later ones only if they are not."""
    trip, table = RoundTrip(), requests()
    assert trip.wait(PARAMETERS) == PARAMETERS.retry_first
    _, number, again = table.open(ProbeRequest(timestamp=0), at(5), 0.0, 5)
    table.again(number, again)
    held = table._open[number]
    held.sample(trip, 0.4)
    assert trip.smoothed == 0.4 and trip.wait(PARAMETERS) > 0.4
    held.sample(trip, 3.0)
    assert trip.smoothed == 0.4
    _, second, _ = table.open(ProbeRequest(timestamp=0), at(5), 5.0, 5)
    table._open[second].sample(trip, 5.3)
    # The first clean one replaces the guess, and is smoothed by those that follow.
    assert round(trip.smoothed, 6) == 0.3


def test_nobody_is_waited_for_longer_than_two_seconds_however_slowly_it_answers() -> None:
    trip = RoundTrip()
    for _ in range(30):
        trip.sample(0.99 * trip.wait(PARAMETERS))
        assert trip.wait(PARAMETERS) <= LONGEST_WAIT == 2.0


def test_closing_what_is_open_to_a_host_leaves_the_others() -> None:
    table = requests()
    probe, other = ask(table, at(3)), ask(table, at(4))
    _, setup, _ = table.open(SetupRequest(sender=HostRecord()), at(3), 0.0, 5)
    table.close_all_to(at(3), ProbeRequest)
    assert [table.is_waiting(number) for number in (probe, other, setup)] == [False, True, True]
    table.close_all_to(at(3))
    assert len(table) == 1 and table.is_open(ProbeRequest, at(4))


def test_the_table_is_bounded() -> None:
    table = requests()
    for _ in range(2 * PARAMETERS.maximum_outstanding):
        ask(table)
    assert len(table) == PARAMETERS.maximum_outstanding


def test_a_flood_of_reports_pushes_out_no_request_whose_end_somebody_waits_for() -> None:
    # A source that chooses one hundred super nodes at once tells each of all the others.
    table = requests()
    _, setup, _ = table.open(SetupRequest(sender=HostRecord()), at(3), 0.0, 5)
    for number in range(2 * PARAMETERS.maximum_outstanding):
        report: Message = StatusReport(subject=HostRecord())
        send, _, _ = table.open(report, at(number % 200), 0.0, 5)
        assert isinstance(send.message, StatusReport)
    assert table.is_waiting(setup) and len(table) == PARAMETERS.maximum_outstanding


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=60))
def test_every_request_ends_exactly_once(steps: list[tuple[int, int]]) -> None:
    table = requests()
    opened: list[int] = []
    ended: list[int] = []
    for kind, which in steps:
        if kind == 0 or not opened:
            opened.append(ask(table, tries=2))
            continue
        sequence = opened[which % len(opened)]
        if kind == 1 and table.match(reply(sequence), at(3)) is not None:
            ended.append(sequence)
        if kind == 2 and isinstance(table.again(sequence, 1.0), Request):
            ended.append(sequence)
    assert len(ended) == len(set(ended))
    assert len(table) == len(opened) - len(ended)
    assert all(table.is_waiting(sequence) != (sequence in ended) for sequence in opened)


def test_how_far_a_host_is_says_the_least_of_its_last_round_trips() -> None:
    trip = RoundTrip()
    assert trip.least() is None
    for seconds in (0.02, 0.005, 0.01, 0.03):
        trip.sample(seconds)
    assert trip.least() == 0.005
    for _ in range(4):
        trip.sample(0.01)
    assert trip.least() == 0.005
    trip.sample(0.02)
    assert trip.least() == 0.01, "the way has become longer"


def test_a_guess_is_forgotten_with_the_first_clean_round_trip() -> None:
    trip = RoundTrip()
    trip.sample(0.001)
    trip.is_guess = True
    trip.sample(0.01)
    assert trip.least() == 0.01
