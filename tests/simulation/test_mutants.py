"""Each deliberate mistake is caught by a check, and without it the same seeds hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dmmp.sim.scenario import Scenario
from tests.simulation.mutants import MOST_SEEDS, MUTANTS, REAL_THING, Mutant, arena, failures, lossy


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    """Within its number of seeds, by a check that is meant to."""
    found: dict[int, set[str]] = {}
    for seed in range(1, mutant.seeds + 1):
        found[seed] = {failure.check for failure in failures(mutant, seed)}
        if found[seed] & set(mutant.caught_by):
            return
    pytest.fail(f"{mutant.name}: not caught with seeds 1 to {mutant.seeds}, only {found}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, MOST_SEEDS + 1))
@pytest.mark.parametrize("scenario", [arena, lossy])
def test_the_same_seeds_hold_without_a_mistake(
    scenario: Callable[[int], Scenario], seed: int
) -> None:
    """Otherwise the mutants would be caught by what is wrong anyway."""
    world = scenario(seed).play()
    assert not world.failures, f"{world.failures[0]}; again: {scenario(seed)}.play()"


def test_enough_of_them() -> None:
    """Each with a name of its own; and the harness finds nothing where nothing is broken."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 10
    assert failures(REAL_THING, 1) == []
