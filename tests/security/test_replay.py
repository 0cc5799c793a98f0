"""The replay window against a model that remembers everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.security.replay import WINDOW, Window

STEPS = st.one_of(
    st.integers(-WINDOW - 2, WINDOW + 2), st.sampled_from((1, 1, 1, 0, -1, -WINDOW, 1 << 40))
)


@given(steps=st.lists(STEPS, max_size=60))
def test_it_says_what_a_memory_without_end_says(steps: list[int]) -> None:
    window, seen, highest = Window(), set(), -1
    for step in steps:
        counter = max(0, highest + step)
        fresh = counter not in seen and counter > highest - WINDOW
        assert window.is_new(counter) is fresh
        if fresh:
            window.record(counter)
            seen.add(counter)
            highest = max(highest, counter)


def test_each_counter_once_in_any_order_within_the_window() -> None:
    window = Window()
    order = [number ^ 1023 for number in range(4 * WINDOW)]
    for counter in order:
        assert window.is_new(counter)
        window.record(counter)
    assert not any(window.is_new(counter) for counter in order)


def test_the_border_is_exact() -> None:
    window = Window()
    window.record(WINDOW)
    assert window.is_new(1)
    assert not window.is_new(0)
    assert not window.is_new(WINDOW)


def test_a_leap_costs_nothing_and_asking_changes_nothing() -> None:
    """The counter of a forged datagram may be anything; it is asked for, and never recorded."""
    window = Window()
    window.record(5)
    assert window.is_new((1 << 64) - 1)
    assert window.is_new(6)
    window.record((1 << 64) - 1)
    assert not window.is_new(6)
    assert window.is_new((1 << 64) - 2)
