"""Alarms against a model that is too simple to be wrong: a list that is searched."""

from __future__ import annotations

from enum import Enum
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.alarms import Alarms, jittered


class Why(Enum):
    """Two reasons to ring."""

    ONE = "one"
    TWO = "two"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(Why), st.integers(0, 3), st.integers(0, 9)),
        st.tuples(st.just("stop"), st.sampled_from(Why), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("ring"), st.just(Why.ONE), st.just(0), st.integers(0, 9)),
    ),
    max_size=200,
)


@given(steps)
def test_they_behave_like_a_list_that_is_searched(script: list[tuple[str, Why, int, int]]) -> None:
    """The earliest first, ties in the order of setting, moved and stopped ones never."""
    alarms = Alarms()
    model: list[tuple[float, int, tuple[Why, int]]] = []
    for count, (what, why, key, at) in enumerate(script):
        if what == "ring":
            due = min((held for held in model if held[0] <= at), default=None)
            assert alarms.due(at) == (None if due is None else due[2])
            model = [held for held in model if held is not due]
        else:
            model = [held for held in model if held[2] != (why, key)]
            if what == "set":
                model.append((at, count, (why, key)))
                alarms.set(why, at, key)
            else:
                alarms.stop(why, key)
            assert alarms.is_set(why, key) is (what == "set")
        first = min(model, default=None)
        assert alarms.next() == (None if first is None else (first[0], first[2][0].name))
        assert len(alarms) == len(model)


def test_moving_one_for_ever_keeps_the_heap_small() -> None:
    """Each move leaves an entry behind; they are cleared away in time."""
    alarms = Alarms()
    for at in range(100_000):
        alarms.set(Why.ONE, at)
    assert len(alarms) == 1
    assert len(alarms._heap) <= 128


@given(st.integers())
def test_jitter_stays_within_its_share(seed: int) -> None:
    """A fifth either way, unless told otherwise."""
    assert 8.0 <= jittered(Random(seed), 10.0) <= 12.0
    assert jittered(Random(seed), 10.0, 0.0) == 10.0


def test_stopping_all_of_them_leaves_nothing() -> None:
    """A role that begins anew a thousand times remembers no more than at first."""
    alarms = Alarms()
    for _ in range(1000):
        alarms.set(Why.ONE, 1.0)
        alarms.set(Why.TWO, 2.0)
        alarms.stop_all()
    assert alarms.next() is None and not alarms._live and not alarms._heap
