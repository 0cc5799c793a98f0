"""The schedule: order, ties, and the conversion of instants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.sim.schedule import SLOT_BITS, Schedule, microseconds, seconds


def test_ties_come_in_the_order_of_pushing() -> None:
    """Nothing scheduled is ever compared: the two here could not be."""
    schedule: Schedule[object] = Schedule()
    first, second, early = object(), object(), object()
    schedule.push(7, first)
    schedule.push(7, second)
    schedule.push(3, early)
    assert len(schedule) == 3
    assert [schedule.pop(10), schedule.pop(10), schedule.pop(10)] == [
        (3, early),
        (7, first),
        (7, second),
    ]
    assert schedule.pop(10) is None


def test_pop_stops_at_the_limit() -> None:
    """What comes later stays."""
    schedule: Schedule[str] = Schedule()
    schedule.push(5, "later")
    assert schedule.pop(4) is None
    assert schedule.pop(5) == (5, "later")


@given(st.lists(st.tuples(st.integers(0, 4 << SLOT_BITS), st.integers(0, 3)), max_size=60))
def test_everything_comes_in_order_however_far_ahead_it_was(pushes: list[tuple[int, int]]) -> None:
    """As from a list that is searched for the least of (time, turn) at each look."""
    schedule: Schedule[int] = Schedule()
    model: list[tuple[int, int]] = []
    now = 0
    for turn, (ahead, pops) in enumerate(pushes):
        schedule.push(now + ahead, turn)
        model.append((now + ahead, turn))
        for _ in range(pops):
            until = now + (2 << SLOT_BITS)
            least = min(model, default=None)
            assert schedule.next_us() == (least[0] if least else None)
            assert len(schedule) == len(model)
            if least is None or least[0] > until:
                assert schedule.pop(until) is None
                now = until
                continue
            assert schedule.pop(until) == least
            model.remove(least)
            now = least[0]


@given(st.floats(min_value=0, max_value=1e7, allow_nan=False))
def test_no_alarm_rings_before_its_instant(instant: float) -> None:
    """An early ring would find nothing due and be armed for the same microsecond, without end."""
    at_us = microseconds(instant)
    assert seconds(at_us) >= instant
    assert at_us <= instant * 1e6 + 2
