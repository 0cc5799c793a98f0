"""Trees made at once from all delays, without a protocol: what runs are compared with.

None of them can be had in practice: they know every delay exactly, and nobody fails.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from dmmp.errors import UsageError
from dmmp.lab.bounds import check_degrees, compact_tree, fluid_bound
from dmmp.lab.case import Case, Measured
from dmmp.lab.metrics import (
    multicast_links,
    out_degrees,
    stress,
    tree_delays,
    tree_figures,
)
from dmmp.lab.numpy_plane import TreePlane
from dmmp.lab.searching import searched_tree
from dmmp.lab.underlays import Underlay, generator, underlay
from dmmp.lab.uplinks import UPLINKS, uplink_rates

LOSSY_PACKETS = 2_000


def star(made: Underlay, degrees: list[int], rng: Random) -> list[int]:
    """The source sends to everybody, whatever its degree."""
    return [-1] + [0] * (made.hosts - 1)


def compact(made: Underlay, degrees: list[int], rng: Random) -> list[int]:
    """The compact tree of all hosts; see `bounds.compact_tree`."""
    return compact_tree(made.delays, degrees)


def searched(made: Underlay, degrees: list[int], rng: Random) -> list[int]:
    """The compact tree improved as far as single changes can; see `searching.searched_tree`."""
    return searched_tree(made.delays, degrees)


def random_tree(made: Underlay, degrees: list[int], rng: Random) -> list[int]:
    """Hosts in random order below a random one that has room."""
    check_degrees(degrees)
    waiting = rng.sample(range(1, made.hosts), made.hosts - 1)
    # Those that can serve nobody come last, so that they close no place that others need.
    waiting.sort(key=lambda host: degrees[host] == 0)
    parents = [-1] * made.hosts
    places = [0] * degrees[0]
    for host in waiting:
        chosen = rng.randrange(len(places))
        places[chosen], places[-1] = places[-1], places[chosen]
        parents[host] = places.pop()
        places.extend([host] * degrees[host])
    return parents


TREES: dict[str, Callable[[Underlay, list[int], Random], list[int]]] = {
    "star": star,
    "compact-tree": compact,
    "searched-tree": searched,
    "random-tree": random_tree,
}
"""Makers of trees by name: the parent of each host, -1 for the source."""

IP_MULTICAST = "ip-multicast"

CONSTRUCTIONS = (*TREES, IP_MULTICAST)
"""Names that `run` knows."""


def setting(case: Case) -> tuple[Underlay, list[int]]:
    """Return the underlay and the degrees of a case, the same for every protocol."""
    make = UPLINKS.get(case.uplinks)
    if make is None:
        raise UsageError(f"no uplinks are called {case.uplinks!r}: take {', '.join(UPLINKS)}")
    made = underlay(case.underlay, case.seed, case.hosts)
    return made, make(Random(f"{case.seed}/uplinks/{case.uplinks}"), case.hosts)


def run(case: Case) -> Measured:
    """Make the tree of a case and measure it; `case.protocol` is one of `CONSTRUCTIONS`.

    Churn is left out: a construction has no time. With loss the figures say what is delivered.
    """
    made, degrees = setting(case)
    if case.protocol == IP_MULTICAST:
        return multicast(made)
    make = TREES.get(case.protocol)
    if make is None:
        raise UsageError(
            f"no construction is called {case.protocol!r}: take {', '.join(CONSTRUCTIONS)}"
        )
    parents = make(made, degrees, Random(f"{case.seed}/{case.protocol}"))
    measured = measure(made, parents, degrees)
    if case.loss:
        plane = TreePlane(made, parents, case.loss)
        rng = generator(case.seed, "losses")
        measured.figures["delivery_ratio"] = plane.delivery(rng, LOSSY_PACKETS)
    if case.protocol != "star":
        rates = uplink_rates(
            case.uplinks, Random(f"{case.seed}/uplinks/{case.uplinks}"), case.hosts
        )
        measured.figures["fluid_share"] = _rate(parents, rates) / fluid_bound(rates)
    return measured


def measure(made: Underlay, parents: list[int], degrees: list[int]) -> Measured:
    """Return the figures of a tree, and its delays, stretches, out-degrees and stresses."""
    delays = tree_delays(made, parents)
    placed = np.flatnonzero(delays > 0)
    stretch = delays[placed] / made.delay(np.zeros_like(placed), placed)
    samples = {
        "delay": [float(value) for value in delays[placed]],
        "stretch": [float(value) for value in stretch],
        "out_degree": [float(value) for value in out_degrees(parents)],
        "parents": [float(parent) for parent in parents],
    }
    if made.routed is not None:
        samples["stress"] = [float(value) for value in stress(made, parents)]
    return Measured(tree_figures(made, parents, degrees), samples)


def multicast(made: Underlay) -> Measured:
    """Return the figures of native IP multicast: the shortest-path tree of the routers.

    Every link carries one copy at most. It is no overlay, so it has no out-degrees.
    """
    receivers = np.arange(1, made.hosts)
    direct = made.delay(np.zeros_like(receivers), receivers)
    figures = {
        "delay_mean": float(direct.mean()),
        "delay_max": float(direct.max()),
        "stretch_mean": 1.0,
        "stretch_max": 1.0,
        "rmd": 1.0,
        "rad": 1.0,
    }
    samples = {"delay": [float(value) for value in direct]}
    if made.routed is not None:
        links = multicast_links(made, receivers)
        figures |= {"stress_mean": 1.0, "stress_max": 1.0, "cost_ratio": 1.0}
        figures["multicast_links"] = float(len(links))
    return Measured(figures, samples)


def _rate(parents: list[int], rates: list[float]) -> float:
    """Return the rate that a tree can carry: what its most burdened uplink gives each child."""
    children = out_degrees(parents)
    return min(rate / int(count) for rate, count in zip(rates, children, strict=True) if count)
