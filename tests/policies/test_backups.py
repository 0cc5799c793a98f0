"""Backup parents (slide 22, Decision 20)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages.common import HostRecord
from dmmp.policies.backups import choose_backups
from dmmp.types import HostId
from tests.policies.drawn import hosts, ids, record


def test_the_grandparent_comes_first_then_the_first_with_room() -> None:
    others = [record(5, free=0), record(6, free=3), record(7, free=2)]
    assert ids(choose_backups(HostId(9), record(2, free=0), others, 2)) == [2, 6]


def test_without_a_grandparent_two_others_are_named() -> None:
    others = [record(5, free=1), record(6, free=3), record(7, free=0)]
    assert ids(choose_backups(HostId(9), None, others, 2)) == [5, 6]


def test_children_are_spread_over_the_free_places() -> None:
    others = [record(5, free=1), record(6, free=2)]
    first = [ids(choose_backups(HostId(9), None, others, 1, turn))[0] for turn in range(6)]
    assert first == [5, 6, 6, 5, 6, 6]


@given(hosts(at_least=1), st.booleans(), st.integers(0, 12))
def test_the_child_itself_is_never_named_and_nobody_twice(
    others: list[HostRecord], with_grandparent: bool, at_most: int
) -> None:
    child = others[0].host
    for above in (others[0], others[-1]):
        grandparent = above if with_grandparent else None
        named = ids(choose_backups(child, grandparent, others, at_most))
        assert child not in named
        assert len(named) == len(set(named)) <= at_most
