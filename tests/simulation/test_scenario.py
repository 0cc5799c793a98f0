"""Whole sessions: pinned seeds, flash crowds, and that a seed means the same run everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest

from dmmp.errors import UsageError
from dmmp.sim.scenario import Scenario
from dmmp.sim.world import World
from tests.marks import slow

PINNED = range(1, 21)

FIRST = (1, 2, 3, 7, 8)
"""Those of a quick look."""

FOUND = (47, 197, 416)
"""Seeds that once failed, each for another reason."""

FLASHES = range(1, 1 + int(os.environ.get("DMMP_FLASHES", "5")))
"""Seeds of flash crowds; twenty take a minute and a half on two cores."""


def verdict(world: World, scenario: Scenario) -> None:
    """Fail with what does not hold and how to run it again."""
    again = f"\nagain: {scenario}.play()"
    assert not world.failures, "\n".join(str(failure) for failure in world.failures) + again


@pytest.mark.parametrize(
    "seed", [*FIRST, *slow(*(seed for seed in PINNED if seed not in FIRST), *FOUND)]
)
def test_a_session_drawn_from_a_seed(seed: int) -> None:
    """Size, capacities, network, comings and goings as the seed says; every check holds."""
    scenario = Scenario.from_seed(seed)
    world = scenario.play()
    verdict(world, scenario)
    assert sum(node.admitted_us is not None for node in world.nodes) >= scenario.members


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 5])
def test_nobody_misses_a_packet_while_the_tree_is_built(seed: int) -> None:
    """Fifty packets a second all the time: every move of every host is made before it is broken."""
    scenario = replace(Scenario.flash(40, 10.0, seed), packets_per_second=50.0)
    verdict(scenario.play(), scenario)


def test_nobody_loses_a_packet_when_the_rendezvous_point_dies() -> None:
    """It is off the data path (-03 §3, Decision 21)."""
    scenario = Scenario(seed=3, members=25, packets_per_second=20.0, rendezvous_point_crash=True)
    world = scenario.play()
    verdict(world, scenario)
    assert world.node("rp").crashed
    assert scenario.is_calm


def test_crashes_and_losses_together() -> None:
    """A fifth of the members dies, one datagram in twenty is lost: the others hear again."""
    scenario = Scenario(
        seed=11, members=30, settle=110.0, loss=0.05, crashes=6, leaves=3, packets_per_second=5.0
    )
    world = scenario.play()
    verdict(world, scenario)
    assert sum(node.crashed for node in world.nodes) == 6
    assert sum(node.gone_us is not None and not node.crashed for node in world.nodes) == 3


def test_a_flash_crowd_of_a_hundred() -> None:
    """All within twelve virtual seconds; five hundred are among the long tests."""
    scenario = Scenario.flash(100, 12.0, 1)
    verdict(scenario.play(), scenario)


@pytest.mark.long
@pytest.mark.slow
def test_flash_crowds_of_five_hundred() -> None:
    """One after the other on each core."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        failures = [line for lines in pool.map(flash_failures, FLASHES) for line in lines]
    assert not failures, "\n".join(failures)


def flash_failures(seed: int) -> list[str]:
    """Run one flash crowd in a process of its own."""
    scenario = Scenario.flash(500, 60.0, seed)
    return [f"{failure}; again: {scenario}.play()" for failure in scenario.play().failures]


DIGESTS = """
from dmmp.sim.scenario import Scenario
for scenario in (*map(Scenario.from_seed, (2, 7, 16)), Scenario.flash(60, 6.0, 3)):
    print(scenario.play().trace.digest())
"""


def digests(hash_seed: str) -> list[str]:
    """Run some seeds in a process of its own."""
    environment = dict(os.environ, PYTHONHASHSEED=hash_seed)
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_a_seed_gives_the_same_trace_under_two_hash_seeds() -> None:
    """No order of a set of strings or addresses reaches an action (§4.6)."""
    first, second = digests("1"), digests("2")
    assert first == second
    assert len(set(first)) == 4
    assert first[0] == Scenario.from_seed(2).play().trace.digest()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 5, 23])
def test_bytes_on_the_wire_change_nothing(seed: int) -> None:
    """Every message through the codec and back: the same trace, to the digest."""
    scenario = Scenario.from_seed(seed)
    plain, wire = scenario.play(), scenario.play(wire=True)
    assert plain.trace.digest() == wire.trace.digest()
    assert wire.undecodable == 0
    assert wire.network.counts == plain.network.counts


@pytest.mark.parametrize("seed", PINNED)
def test_a_scenario_prints_itself(seed: int) -> None:
    """As an expression that makes it again."""
    scenario = Scenario.from_seed(seed)
    assert eval(str(scenario)) == scenario
    assert str(Scenario(seed=4)) == "Scenario(seed=4)"


def test_from_seed_draws_every_knob() -> None:
    """Over some seeds each of the first fields takes more than one value: else it is not tested.

    Faults are drawn by `drawing`; that every kind of them is, is tested there.
    """
    drawn = [Scenario.from_seed(seed) for seed in range(1, 200)]
    fixed = {"out_degrees"}
    names = Scenario.__slots__[: Scenario.__slots__.index("rendezvous_points")]
    for name in names:
        values = {getattr(scenario, name) for scenario in drawn}
        assert (len(values) == 1) is (name in fixed), name


def test_an_exception_says_where_it_happened() -> None:
    """A role that raises breaks its contract; the seed must not be lost with it."""
    scenario = Scenario(seed=1, members=2)
    world = scenario.prepare()
    assert world.now == 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "start", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) as caught:
            scenario.play()
    assert caught.value.__notes__ == ["at 0.000000 s of Scenario(seed=1, members=2)"]


def test_nonsense_is_refused() -> None:
    """Nobody to receive, or more who go than came."""
    with pytest.raises(UsageError):
        Scenario(seed=1, members=0)
    with pytest.raises(UsageError):
        Scenario(seed=1, members=3, crashes=2, leaves=2)
