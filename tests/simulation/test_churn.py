"""Churn: the lengths have the means asked for, and a seed always means the same turns."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from dmmp.errors import UsageError
from dmmp.sim.churn import Churn, Turn

LONG = 200_000.0


def lengths(turns: list[Turn], host: int) -> tuple[list[float], list[float]]:
    """Return how long one host was up, and down, between its turns."""
    own = [turn for turn in turns if turn.host == host]
    up = [after.at - before.at for before, after in pairwise(own) if before.is_up]
    down = [after.at - before.at for before, after in pairwise(own) if not before.is_up]
    return up, down


@pytest.mark.parametrize(
    ("model", "shape"), [("exponential", 1.0), ("weibull", 0.7), ("pareto", 3.0)]
)
def test_times_up_and_down_have_their_means(model: str, shape: float) -> None:
    """Over many turns; turns alternate, begin with going down and end with being up."""
    churn = Churn(model, 10.0, LONG, 30.0, 6.0, shape)
    turns = churn.turns(1, 3)
    assert turns == sorted(turns)
    assert all(turn.at >= 10.0 for turn in turns)
    for host in range(3):
        up, down = lengths(turns, host)
        assert 27.0 < mean(up) < 33.0 and 5.4 < mean(down) < 6.6
        own = [turn.is_up for turn in turns if turn.host == host]
        assert not own[0] and own[-1]
        assert all(one is not other for one, other in pairwise(own))


def test_a_host_keeps_its_failures_whoever_is_beside_it() -> None:
    """Drawn for each host apart: more hosts, or another protocol, change nothing."""
    churn = Churn(at=5.0, lasts=1000.0, mttf=20.0, mttr=5.0)
    few, many = churn.turns(7, 2), churn.turns(7, 9)
    assert [turn for turn in many if turn.host < 2] == few
    assert churn.turns(8, 2) != few


def test_poisson_arrivals_come_at_their_rate_and_go_for_good() -> None:
    """Each host once."""
    turns = Churn("poisson", lasts=1000.0, rate=0.5, mttf=50.0).turns(3, 2000)
    coming = [turn for turn in turns if turn.is_up]
    assert 400 < len(coming) < 600
    assert len({turn.host for turn in coming}) == len(coming)
    stays = {turn.host: turn.at for turn in coming}
    assert all(turn.at > stays[turn.host] for turn in turns if not turn.is_up)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "brownian"}, "model"),
        ({"mttf": 0.0}, "mttf"),
        ({"leaving": 2.0}, "leaving"),
        ({"at": -1.0}, "at"),
        ({"model": "pareto", "shape": 1.0}, "shape"),
    ],
)
def test_nonsense_names_the_key(fields: dict[str, float | str], says: str) -> None:
    """One line that says what to change."""
    with pytest.raises(UsageError, match=f"churn {says}"):
        Churn(**fields)  # type: ignore[arg-type]
