"""Which parent: the nearest super node, the shallowest offer (slides 9, 16 and 19)."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages.common import HostRecord
from dmmp.policies.parents import (
    OFFER_RANKINGS,
    SUPER_NODE_RANKINGS,
    Candidate,
    nearest,
    shallowest,
)
from tests.policies.drawn import PARAMETERS, hosts, ids, record


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Draw candidates, some of them measured."""
    found: list[HostRecord] = draw(hosts(at_most=20))
    trips = st.none() | st.floats(0.0, 0.5)
    return [Candidate(host, draw(trips)) for host in found]


def order(ranked: list[Candidate]) -> list[int]:
    """Return the ids in their order."""
    return ids([candidate.record for candidate in ranked])


def test_the_nearest_super_node_comes_first() -> None:
    far, near = Candidate(record(1, 8), 0.100), Candidate(record(2, 2), 0.010)
    assert order(nearest([far, near], PARAMETERS)) == [2, 1]


def test_among_similar_ones_the_higher_out_degree() -> None:
    # 10 % or 2 ms apart is similar (Decision 12).
    for first, second in ((0.100, 0.109), (0.001, 0.003)):
        weak, strong = Candidate(record(1, 2), first), Candidate(record(2, 8), second)
        assert order(nearest([weak, strong], PARAMETERS)) == [2, 1]
    weak, strong = Candidate(record(1, 2), 0.100), Candidate(record(2, 8), 0.111)
    assert order(nearest([weak, strong], PARAMETERS)) == [1, 2]


def test_who_was_not_measured_comes_last() -> None:
    silent, far = Candidate(record(1, 8), None), Candidate(record(2, 1), 0.4)
    assert order(nearest([silent, far], PARAMETERS)) == [2, 1]


def test_the_smallest_depth_wins_then_the_longest_uptime() -> None:
    offers = [
        Candidate(record(1, depth=3, uptime=90), 0.001),
        Candidate(record(2, depth=2, uptime=10), 0.001),
        Candidate(record(3, depth=2, uptime=50), 0.200),
    ]
    assert order(shallowest(offers, PARAMETERS)) == [3, 2, 1]


@given(candidates(), st.randoms(use_true_random=False))
def test_every_ranking_names_each_candidate_once_whatever_their_order(
    found: list[Candidate], rng: Random
) -> None:
    measured = [candidate for candidate in found if candidate.round_trip is not None]
    shuffled = list(measured)
    rng.shuffle(shuffled)
    for ranking in (*SUPER_NODE_RANKINGS.values(), *OFFER_RANKINGS.values()):
        assert sorted(order(ranking(found, PARAMETERS))) == sorted(order(found))
        assert ranking(measured, PARAMETERS) == ranking(shuffled, PARAMETERS)


@given(candidates())
def test_the_first_choice_is_no_farther_than_similar_to_the_nearest(found: list[Candidate]) -> None:
    trips = [c.round_trip for c in found if c.round_trip is not None]
    if trips:
        first = nearest(found, PARAMETERS)[0].round_trip
        assert first is not None
        assert first <= max(min(trips) * 1.1, min(trips) + 0.002)
