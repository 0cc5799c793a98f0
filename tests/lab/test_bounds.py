"""Bounds hold against every tree there is, and the compact tree comes near them."""

from __future__ import annotations

from itertools import product
from random import Random

import numpy as np
import pytest

from dmmp.errors import UsageError
from dmmp.lab.bounds import (
    compact_tree,
    fluid_bound,
    least_depth,
    level_sizes,
    lower_bound,
    stripes_share,
)
from dmmp.lab.case import Case
from dmmp.lab.constructions import CONSTRUCTIONS, random_tree, run
from dmmp.lab.metrics import depths, out_degrees, tree_figures
from dmmp.lab.routes import Floats
from dmmp.lab.searching import improved, searched_tree
from dmmp.lab.underlays import Underlay, underlay
from dmmp.lab.uplinks import UPLINKS


def _every_tree(degrees: list[int]) -> list[list[int]]:
    hosts = len(degrees)
    trees = []
    for above in product(range(hosts), repeat=hosts - 1):
        parents = [-1, *above]
        if (depths(parents) >= 0).all() and (out_degrees(parents) <= degrees).all():
            trees.append(parents)
    return trees


def _along(delays: Floats, parents: list[int]) -> Floats:
    found = []
    for host in range(1, len(parents)):
        here, total = host, 0.0
        while here:
            total, here = total + delays[parents[here], here], parents[here]
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize(
    "degrees", [[1, 2, 1, 0, 2], [2, 1, 1, 1, 1], [4, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
)
def test_no_tree_beats_the_bound(degrees: list[int]) -> None:
    trees = _every_tree(degrees)
    for seed in range(25):
        delays = np.random.default_rng(seed).uniform(0.001, 0.1, (5, 5))
        np.fill_diagonal(delays, 0.0)
        least = lower_bound(delays, degrees)
        each = [_along(delays, tree) for tree in trees]
        assert least.mean <= min(along.mean() for along in each) + 1e-12
        assert least.largest <= min(along.max() for along in each) + 1e-12
        compact, searched = compact_tree(delays, degrees), searched_tree(delays, degrees)
        assert compact in trees and searched in trees
        assert _along(delays, searched).mean() <= _along(delays, compact).mean() + 1e-12


def test_the_bound_is_met_where_one_tree_is_the_best() -> None:
    # A line of hosts, each of which can feed one: the line itself is the best tree.
    spots = np.arange(8.0) / 100
    delays = np.abs(spots[:, None] - spots[None, :])
    least = lower_bound(delays, [1] * 8)
    assert compact_tree(delays, [1] * 8) == [-1, 0, 1, 2, 3, 4, 5, 6]
    assert least.mean == pytest.approx(spots[1:].mean())
    assert least.largest == pytest.approx(0.07)


def test_with_room_for_all_the_star_or_better_is_the_bound() -> None:
    delays = underlay("waxman-1024", 1, 60).delays
    least = lower_bound(delays, [59] * 60)
    assert least.mean == pytest.approx(delays[0, 1:].mean(), rel=1e-6)
    assert least.largest == pytest.approx(delays[0].max(), rel=1e-6)


def test_levels_hold_what_the_largest_degrees_allow() -> None:
    assert level_sizes([2] + [3] * 40) == [2, 6, 18, 40]
    assert level_sizes([1, 5, 0, 0, 0, 0, 0]) == [1, 5, 5, 6]
    assert least_depth([2] + [3] * 40) == 4
    assert least_depth([1] * 30) == 29


def test_degrees_that_do_not_suffice_are_refused() -> None:
    delays = np.ones((4, 4)) - np.eye(4)
    for refuse in (lower_bound, compact_tree):
        with pytest.raises(UsageError, match="places"):
            refuse(delays, [1, 1, 0, 0])
    assert lower_bound(np.zeros((1, 1)), [0]).mean == 0.0


@pytest.mark.parametrize("name", UPLINKS)
def test_trees_respect_degrees_and_place_everybody(name: str) -> None:
    made = underlay("planetlab490", 2, 150)
    degrees = UPLINKS[name](Random(name), 150)
    random = random_tree(made, degrees, Random(1))
    for parents in (compact_tree(made.delays, degrees), random):
        assert (out_degrees(parents) <= degrees).all()
        assert (depths(parents) >= 0).all()


def test_searching_makes_a_bad_tree_good() -> None:
    made = underlay("planetlab490", 2, 80)
    degrees = UPLINKS["het"](Random("het"), 80)
    random = random_tree(made, degrees, Random(1))
    better = improved(made.delays, degrees, random)
    assert (out_degrees(better) <= degrees).all() and (depths(better) >= 0).all()
    least = lower_bound(made.delays, degrees).mean
    assert least <= _along(made.delays, better).mean() < 1.5 * least
    assert _along(made.delays, random).mean() > 2 * least
    # Nothing is left to gain.
    assert improved(made.delays, degrees, better) == better


def test_scarce_places_still_serve_everybody() -> None:
    delays = underlay("planetlab490", 3, 60).delays
    for seed in range(10):
        degrees = [1] + [0] * 59
        draws = Random(seed)
        while sum(degrees) < 59:
            degrees[draws.randrange(1, 60)] += 1
        parents = compact_tree(delays, degrees)
        assert (depths(parents) >= 0).all() and (out_degrees(parents) <= degrees).all()
        assert lower_bound(delays, degrees).mean <= _along(delays, parents).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uplinks", "mean", "largest"), [("d4", 1.11, 1.08), ("d8", 1.04, 1.03), ("het", 1.20, 1.11)]
)
def test_compact_tree_on_planetlab_is_as_near_the_bound_as_it_should_be(
    uplinks: str, mean: float, largest: float
) -> None:
    ratios = []
    for seed in range(5):
        made = underlay("planetlab490", seed, 490)
        degrees = UPLINKS[uplinks](Random(f"{seed}/uplinks/{uplinks}"), 490)
        figures = tree_figures(made, compact_tree(made.delays, degrees), degrees)
        ratios.append((figures["ratio_mean"], figures["ratio_max"]))
    # Who gets which degree matters most in `het`: 0.05 is one standard error of five draws.
    assert np.mean(ratios, axis=0) == pytest.approx((mean, largest), abs=0.08)


@pytest.mark.slow
def test_a_searched_tree_comes_within_a_tenth_of_the_bound() -> None:
    made = underlay("planetlab490", 1, 490)
    degrees = UPLINKS["het"](Random("1/uplinks/het"), 490)
    figures = tree_figures(made, searched_tree(made.delays, degrees), degrees)
    assert 1.0 <= figures["ratio_mean"] < 1.1
    assert figures["over_compact_mean"] < 0.9 and figures["over_degree_hosts"] == 0


def test_fluid_bound_is_the_least_of_source_and_average() -> None:
    assert fluid_bound([10.0, 1.0, 1.0]) == 6.0
    assert fluid_bound([1.0, 9.0, 9.0]) == 1.0


def test_stripes_come_nearer_to_the_fluid_bound() -> None:
    draws = Random("uplinks")
    uplinks = [draws.lognormvariate(0, 1) for _ in range(1_001)]
    uplinks[0] = 5 * sum(uplinks) / len(uplinks)
    shares = [stripes_share(uplinks, stripes).share for stripes in (1, 2, 4, 8, 16)]
    assert shares == pytest.approx([0.68, 0.80, 0.89, 0.94, 0.97], abs=0.03)


def test_equal_uplinks_carry_the_whole_rate_as_chains() -> None:
    best = stripes_share([1.0] * 51, 1)
    assert best.share == pytest.approx(1.0)
    assert best.rate == pytest.approx(1.0)
    assert best.depth == 50
    assert stripes_share([1.0] * 51, 4).depth < 10


@pytest.mark.parametrize("protocol", CONSTRUCTIONS)
def test_constructions_run(protocol: str) -> None:
    case = Case(protocol, "waxman-1024", 64, 1, loss=0.02)
    measured, again = run(case), run(case)
    assert measured.figures == again.figures
    assert len(measured.samples["delay"]) == 63
    assert measured.figures["stretch_mean"] >= 1 - 1e-9
    assert (measured.figures["stretch_max"] == pytest.approx(1)) == (
        protocol in ("star", "ip-multicast")
    )


def test_unknown_constructions_are_refused() -> None:
    with pytest.raises(UsageError, match="no construction"):
        run(Case("magic", "waxman-1024", 8, 1))
    with pytest.raises(UsageError, match="no uplinks"):
        run(Case("star", "waxman-1024", 8, 1, uplinks="d5"))


def test_random_trees_are_worse_than_compact_ones() -> None:
    made: Underlay = underlay("planetlab490", 1, 200)
    degrees = [8] + [4] * 199
    compact = tree_figures(made, compact_tree(made.delays, degrees), degrees)
    random = tree_figures(made, random_tree(made, degrees, Random(1)), degrees)
    assert 1.0 <= compact["ratio_mean"] < 1.3 < 2.0 < random["ratio_mean"]
    assert random["over_compact_mean"] == pytest.approx(
        random["delay_mean"] / compact["delay_mean"]
    )
