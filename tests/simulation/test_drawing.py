"""Drawn scenarios: every kind of fault is drawn, pinned seeds hold, many run on all cores."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from dmmp.sim.churn import Churn
from dmmp.sim.drawing import FAULTS, draw_scenario, draw_single
from dmmp.sim.faults import KINDS, Fault
from dmmp.sim.scenario import Scenario
from dmmp.sim.sweep import judge, judge_all
from tests.marks import long, slow

FOUND = {
    "random": (10, 26, 36, 45, 77, 79, 92, 121, 130, 227, 272, 385, 456),
    "single": (16, 19, 34, 60, 101, 267),
}
"""Seeds that once failed, each for another reason."""

MANY = range(1, 9)
MORE = range(9, 9 + int(os.environ.get("DMMP_SEEDS", "16")))
"""Seeds of each kind that are run on all cores; five hundred take half an hour."""


def test_every_kind_of_fault_is_drawn() -> None:
    """Half of the seeds mend everything, most are small, some are large."""
    drawn = [draw_scenario(seed) for seed in range(1, 400)]
    assert {fault.kind for scenario in drawn for fault in scenario.faults} == set(KINDS)
    assert len(FAULTS) == len(KINDS) + 1, "the RP's crash is drawn apart"
    assert 150 < sum(bool(scenario.heals) for scenario in drawn) < 250
    assert all(bool(scenario.heals) is not scenario.safety for scenario in drawn)
    sizes = sorted(scenario.members for scenario in drawn)
    assert sizes[0] < 12 and sizes[len(sizes) // 2] < 80 and 250 < sizes[-1] <= 300
    assert {scenario.rendezvous_points for scenario in drawn} == {1, 2, 3}
    assert any(scenario.churn for scenario in drawn)


@pytest.mark.parametrize("seed", range(1, 30))
def test_a_drawn_scenario_prints_itself(seed: int) -> None:
    """As an expression that makes it again."""
    for scenario in (draw_scenario(seed), draw_single(seed)):
        names = {"Scenario": Scenario, "Fault": Fault, "Churn": Churn}
        assert eval(str(scenario), names) == scenario


@pytest.mark.parametrize("seed", [9, 12, *slow(1, 4, 19, 20)])
def test_a_drawn_scenario_holds(seed: int) -> None:
    """All checks, with faults of all kinds."""
    verdict = judge("random", seed)
    assert not verdict.failures, verdict.line()


@pytest.mark.parametrize("seed", [1, 2, *slow(9, 15, 25, 42, 53)])
def test_no_single_death_costs_anybody_a_packet(seed: int) -> None:
    """Super nodes, relays, members and the RP, one after another (slide 6)."""
    scenario = draw_single(seed)
    assert scenario.strict and all(fault.kind == "crash" for fault in scenario.faults)
    verdict = judge("single", seed)
    assert not verdict.failures, verdict.line()


def test_a_failing_seed_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line; an exception in a role counts as a failure."""
    broken = replace(draw_single(1), faults=(), loss=1.0, strict=False, settle=20.0)
    monkeypatch.setattr("dmmp.sim.sweep.DRAWS", {"single": lambda seed: broken})
    verdict = judge("single", 1)
    assert verdict.line().startswith("seed 1: joined: ")
    assert verdict.line().endswith("again: dmmp sim --single --seed 1")
    monkeypatch.setattr("dmmp.sim.world.World.start", lambda *_: 1 / 0)
    assert judge("single", 1).failures[0].startswith("ZeroDivisionError: ")


@pytest.mark.slow
def test_many_seeds_come_in_their_order() -> None:
    """Whatever the number of processes."""
    assert [verdict.seed for verdict in judge_all("single", (9, 2), processes=1)] == [9, 2]


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["random", "single"])
@pytest.mark.parametrize("seeds", [MANY, *long(MORE)], ids=["first", "more"])
def test_many_seeds_hold(draw: str, seeds: range) -> None:
    """On all cores."""
    failed = [verdict.line() for verdict in judge_all(draw, seeds) if verdict.failures]
    assert not failed, "\n".join(failed)


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["random", "single"])
def test_what_once_failed_holds(draw: str) -> None:
    """On all cores."""
    failed = [verdict.line() for verdict in judge_all(draw, FOUND[draw]) if verdict.failures]
    assert not failed, "\n".join(failed)
