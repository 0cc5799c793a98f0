"""Nemo: a crew takes the packets in turn, so that a failure costs a share of them."""

from __future__ import annotations

import pytest

from dmmp.lab.arena import Arena
from dmmp.lab.relatives.nemo import CREW, Nemo
from tests.lab.test_nice import figures, played


def nemos(run: Arena) -> list[Nemo]:
    return [host for host in run.relatives if isinstance(host, Nemo)]


def test_everything_comes_once_by_the_whole_crew() -> None:
    run = played("nemo")
    got = figures(run)
    assert got["delivery_ratio"] >= 0.999
    assert got["duplicates_share"] <= 0.01
    assert got["handed_twice"] == 0.0
    # Co-leaders forward too: more hosts do than in NICE.
    assert got["non_forwarders"] < figures(played("nice"))["non_forwarders"] - 0.1


def test_leaders_have_crews_of_their_members() -> None:
    for nemo in nemos(played("nemo", 2)):
        for layer, cluster in enumerate(nemo.layers):
            if nemo.leads(layer):
                assert len(cluster.crew) == min(CREW, len(cluster.members)) - 1
                assert set(cluster.crew) <= cluster.members - {nemo.host}


@pytest.mark.slow
def test_crews_carry_the_stream_through_failures() -> None:
    got = figures(played("nemo", churn="nemo-high", seconds=120.0))
    other = figures(played("nice+nack", churn="nemo-high", seconds=120.0))
    assert got["delivery_ratio"] > 0.95
    assert got["delivery_ratio"] > other["delivery_ratio"]


def test_a_case_repeats() -> None:
    one, two = (played("nemo", churn="nemo-high", seconds=20.0) for _ in range(2))
    assert figures(one) == figures(two)
    assert one.events == two.events
