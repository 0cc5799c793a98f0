"""Drawn scenarios with every fault there is, sealed and proven as real hosts do it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from dmmp.forwarding.forwarder import Forwarder
from dmmp.sim.drawing import draw_scenario, draw_single
from dmmp.sim.scenario import Scenario
from dmmp.sim.trace import Trace
from tests.marks import slow

SEEDS = int(os.environ.get("DMMP_SECURED_SEEDS", "0"))
"""So many more of each, by hand: a minute for ten."""

SMALL = Scenario(seed=5, members=12, window=4.0, loss=0.02, settle=25.0, packets_per_second=20.0)


def judge(scenario: Scenario) -> None:
    world = scenario.play(trace=Trace(is_kept=False))
    assert not world.failures, [str(failure) for failure in world.failures[:3]]


@pytest.mark.parametrize("security", ["psk", *slow("certificates")])
def test_a_small_session_on_links_that_lose(security: str) -> None:
    world = replace(SMALL, security=security).play(trace=Trace(is_kept=False))
    assert not world.failures, [str(failure) for failure in world.failures[:3]]
    guarded = [node.forwarder for node in world.nodes if node.forwarder is not None]
    dropped = [each.counters.dropped for each in guarded if isinstance(each, Forwarder)]
    assert len(dropped) > SMALL.members
    assert sum(each["forged"] for each in dropped) == 0
    assert all(node.gate is not None for node in world.nodes)
    assert world.undecodable == 0


@pytest.mark.slow
@pytest.mark.parametrize("security", ["certificates", "psk"])
@pytest.mark.parametrize("seed", [1, 5, 9, 12, *range(100, 100 + SEEDS)])
def test_drawn(seed: int, security: str) -> None:
    judge(replace(draw_scenario(seed), security=security))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 8, *range(100, 100 + SEEDS)])
def test_single_deaths(seed: int) -> None:
    judge(replace(draw_single(seed), security="certificates"))
