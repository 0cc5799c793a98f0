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


def test_one_burst_is_no_flow() -> None:
    assert flow(0.0, 1, packets=64).silent_at() is None


def test_bursts_with_pauses_between_are_no_steady_flow() -> None:
    assert flow(2.0, 5, packets=64).silent_at() is None


def test_too_few_packets_are_no_flow() -> None:
    assert flow(0.4, 6).silent_at() is None


def test_after_a_pause_the_flow_must_become_steady_again() -> None:
    pace = flow(0.01, 200)
    pace.heard(1, 20.0)
    assert pace.silent_at() is None
    for n in range(100):
        pace.heard(1, 20.0 + 0.01 * n)
    assert pace.silent_at() is not None


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
