"""Tree versions against a naive list of what was in force when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.versions import Versions

HOLD = 30.0

rises = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 3), st.integers(0, 127)),
        st.sampled_from([0.0, 0.5, 7.0, 29.0, 30.0, 31.0]),
    ),
    max_size=30,
)


@given(st.integers(0, 255), rises, st.sampled_from([0.0, 15.0, 30.0, 31.0]), st.integers(-300, 127))
def test_what_is_taken_is_newer_or_was_in_force_within_one_hold_time(
    first: int, steps: list[tuple[int, float]], wait: float, offset: int
) -> None:
    now = 0.0
    versions = Versions(first, HOLD, now)
    present = first
    replaced: list[tuple[int, float]] = [(first - 1000, now)]
    for step, pause in steps:
        now += pause
        versions.change((present + step) % 256, now)
        if step:
            replaced.append((present, now))
        present += step
    now += wait
    asked = present + offset
    oldest = min([version for version, at in replaced if now - at <= HOLD], default=present)
    # Numbers go round: whatever is more than 128 behind is read as newer.
    expected = (offset % 256 < 128) or asked + 256 * (-offset // 256) >= oldest
    assert versions.accepts(asked % 256, now) == expected
    assert len(versions) <= 128


def test_a_version_that_falls_begins_anew() -> None:
    versions = Versions(10, HOLD, 0.0)
    versions.change(5, 100.0)
    assert versions.accepts(4, 100.0 + HOLD) and versions.accepts(10, 100.0 + HOLD)
    assert not versions.accepts(4, 100.1 + HOLD) and versions.accepts(10, 100.1 + HOLD)


def test_a_version_that_is_said_again_changes_nothing() -> None:
    versions = Versions(10, HOLD, 0.0)
    versions.change(11, 100.0)
    for n in range(1000):
        versions.change(11, 100.0 + n)
    assert not versions.accepts(10, 1000.0)
    assert len(versions) == 0


def test_a_version_that_rises_without_end_is_remembered_in_bounded_room() -> None:
    versions = Versions(0, HOLD, 0.0)
    for n in range(1, 10_000):
        versions.change(n % 256, n / 1000)
        assert len(versions) <= 128
        assert all(versions.accepts((n - back) % 256, n / 1000) for back in range(256))
