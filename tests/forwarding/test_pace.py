"""When the silence of upstream is remarkable (Decision 11)."""

from __future__ import annotations

import pytest

from dmmp.forwarding.pace import Pace
from dmmp.parameters import Parameters


def flow(gap: float, count: int, packets: int = 1) -> Pace:
    """Make the pace of a flow from 10.0 on."""
    pace = Pace(Parameters())
    for n in range(count):
        pace.heard(packets, 10.0 + n * gap)
    return pace


def test_a_fast_flow_is_silent_after_the_least_silence() -> None:
    pace = flow(0.001, 3001)
    assert pace.silent_at() == pytest.approx(13.0 + 0.1)


def test_a_slow_flow_is_silent_after_five_mean_gaps() -> None:
    pace = flow(0.125, 25)
    assert pace.silent_at() == pytest.approx(13.0 + 5 * 0.125, abs=0.1)


FIRST_BEAT = 0.1 + 1.5 * 0.2
"""Seconds after which the heartbeat is missed that follows on the last packet by 0.2 s."""


def test_after_one_burst_a_heartbeat_is_expected() -> None:
    assert flow(0.0, 1, packets=64).silent_at() == pytest.approx(10.0 + FIRST_BEAT)


def test_so_it_is_between_bursts_with_pauses() -> None:
    assert flow(2.0, 5, packets=64).silent_at() == pytest.approx(18.0 + FIRST_BEAT)


def test_and_among_few_packets() -> None:
    assert flow(0.4, 6).silent_at() == pytest.approx(12.0 + FIRST_BEAT)


def test_each_heartbeat_puts_the_next_off_twice_as_far_as_the_source_does() -> None:
    pace = flow(0.4, 6)
    for after, following in ((0.2, 0.4), (0.6, 0.8), (1.4, 1.6), (6.2, 5.0)):
        pace.alive(12.0 + after)
        assert pace.silent_at() == pytest.approx(12.0 + after + 0.1 + 1.5 * following)


def test_long_after_the_last_packet_nothing_is_expected() -> None:
    pace = flow(0.4, 6)
    pace.alive(12.0 + 31.0)
    assert pace.silent_at() is None


def test_after_a_pause_the_flow_must_become_steady_again() -> None:
    pace = flow(0.01, 200)
    pace.heard(1, 20.0)
    assert pace.silent_at() == pytest.approx(20.0 + FIRST_BEAT)
    for n in range(100):
        pace.heard(1, 20.0 + 0.01 * n)
    assert pace.silent_at() == pytest.approx(20.99 + 0.1)


def test_a_sign_of_life_puts_silence_off() -> None:
    pace = flow(0.001, 1001)
    pace.alive(11.4)
    assert pace.silent_at() == pytest.approx(11.5)
    assert pace.last == pytest.approx(11.0)


def test_a_flow_forgotten_is_not_missed() -> None:
    pace = flow(0.001, 1001)
    pace.reset()
    assert pace.silent_at() is None


def test_only_the_last_second_or_two_count() -> None:
    pace = flow(0.3, 200)
    begun = pace.last
    for n in range(1, 31):
        pace.heard(1, begun + 0.1 * n)
    assert pace.silent_at() == pytest.approx(begun + 3.0 + 0.5, abs=0.1)


def test_a_bursty_flow_is_silent_after_twice_its_longest_gap_of_late() -> None:
    pace = Pace(Parameters())
    for n in range(40):
        pace.heard(10, 10.0 + 0.1 * n)
    assert pace.silent_at() == pytest.approx(13.9 + 0.2)
    pace.heard(10, 14.2)
    for n in range(1, 101):
        pace.heard(1, 14.2 + 0.01 * n)
    assert pace.silent_at() == pytest.approx(15.2 + 2 * 0.75 * 0.3)
    for n in range(1, 601):
        pace.heard(1, 15.2 + 0.01 * n)
    assert pace.silent_at() == pytest.approx(21.2 + 0.1)


def test_the_way_to_upstream_may_be_known_to_be_slow() -> None:
    pace = flow(0.01, 100)
    pace.patience = 0.45
    assert pace.silent_at() == pytest.approx(pace.last + 0.45)


def test_a_flow_is_steady_after_a_third_of_a_second() -> None:
    assert flow(0.01, 25).silent_at() == pytest.approx(10.24 + FIRST_BEAT)
    assert flow(0.01, 40).silent_at() == pytest.approx(10.39 + 0.1)


def test_silence_is_told_of_again_ever_more_seldom_until_a_sign_of_life() -> None:
    pace = flow(0.01, 101)
    told = []
    while (at := pace.silent_at()) is not None:
        told.append(round(at - 11.0, 3))
        pace.tell()
    assert told[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.6, 3.6]
    assert 14 < told[-1] <= 15
    pace.alive(40.0)
    assert pace.silent_at() == pytest.approx(40.1)
    pace.tell()
    pace.heard(1, 40.2)
    assert pace.silent_at() == pytest.approx(40.2 + FIRST_BEAT)


def test_a_source_that_idles_is_not_missed_until_it_sends_again() -> None:
    pace = flow(0.01, 101)
    pace.rest(11.05)
    assert pace.silent_at() is not None
    pace.rest(11.2)
    # By then its first heartbeat is due.
    assert pace.silent_at() == pytest.approx(11.0 + FIRST_BEAT)
    pace.heard(1, 11.3)
    assert pace.silent_at() == pytest.approx(11.3 + 0.5)


def test_between_the_packets_of_a_slow_flow_no_source_idles() -> None:
    pace = flow(0.1, 30)
    pace.rest(pace.last + 0.15)
    assert pace.silent_at() is not None


def test_a_host_that_was_late_itself_waits_once_more_but_not_twice() -> None:
    pace = flow(0.01, 101)
    pace.grant(0.04, 11.14)
    assert pace.silent_at() == pytest.approx(11.1)
    pace.grant(0.3, 11.4)
    assert pace.silent_at() == pytest.approx(11.5)
    pace.grant(0.3, 11.8)
    assert pace.silent_at() == pytest.approx(11.5)
