"""External checks that need no protocol: the law of multicast cost, the star, lossy trees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from random import Random

import numpy as np

from dmmp.lab.bounds import compact_tree
from dmmp.lab.check import CheckResult
from dmmp.lab.constructions import star
from dmmp.lab.metrics import routes_of, tree_figures
from dmmp.lab.numpy_plane import Booleans, TreePlane
from dmmp.lab.routes import Floats
from dmmp.lab.statistics import Interval, growth_exponent
from dmmp.lab.underlays import Underlay, generator, underlay

GROUP_SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512)
EXPONENT_BAND = (0.75, 0.85)
"""Chuang and Sirbu, INET'98, give 0.8 on graphs with exponential growth of neighbourhoods."""

JUDGED = ("transit-stub-5050", "transit-stub-10100", "waxman-1024")
REPORTED = ("inet3000", "inet5000", "world")

STAR_SIZES = (128, 512, 2_048)
LOSSES = (0.01, 0.05)
LOSSY_PACKETS = 20_000
SIGMAS = 4.0


def multicast_exponent(name: str, seeds: Sequence[int], sources: int = 10) -> Interval:
    """Return the exponent of L(m)/u against m on an underlay, m receivers from 2 to 512.

    L(m) is how many links the shortest-path tree to m random hosts has, u the mean links on the
    way to one of them, both means over seeds and `sources` in each (Chuang and Sirbu, INET'98).
    """
    sizes = np.zeros(len(GROUP_SIZES))
    single = 0.0
    for seed in seeds:
        made = underlay(name, seed, GROUP_SIZES[-1] + sources)
        for source in range(sources):
            links, way = _tree_sizes(made, source, generator(seed, f"group {source}"))
            sizes += links
            single += way
    return growth_exponent(GROUP_SIZES, [float(size / single) for size in sizes])


def _tree_sizes(made: Underlay, source: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """Return the links of trees from a host to more and more others, and of a mean way."""
    routes = routes_of(made)
    others = rng.permutation(np.delete(np.arange(made.hosts), source))[: GROUP_SIZES[-1]]
    links = []
    for size in GROUP_SIZES:
        receivers = others[:size]
        crossed = routes.crossings(np.full_like(receivers, source), receivers)
        links.append(float(len(np.unique(crossed))))
    return np.array(links), len(crossed) / len(receivers)


def check_multicast_cost(brief: bool = False) -> CheckResult:
    """Check 1: the cost of IP multicast grows as m^0.8; on power-law graphs it is reported."""
    seeds = (1,) if brief else (1, 2, 3)
    found = {name: multicast_exponent(name, seeds) for name in (*JUDGED, *REPORTED)}
    low, high = EXPONENT_BAND
    return CheckResult(
        1,
        "exponent of IP multicast's cost in the number of receivers, 2 to 512",
        "0.8 (Chuang and Sirbu), 0.6 to 0.8 (Fahmy and Kwon)",
        ", ".join(f"{name} {one.value:.3f} ± {one.half:.3f}" for name, one in found.items()),
        all(low <= found[name].value <= high for name in JUDGED),
        band=f"{low} to {high} on {', '.join(JUDGED)}; the others are reported",
        is_brief=brief,
    )


def check_star(brief: bool = False) -> CheckResult:
    """Check 2: the star loads the source's access link with a copy for each, at stretch 1."""
    told, passed = [], True
    for hosts in STAR_SIZES[:1] if brief else STAR_SIZES:
        made = underlay("transit-stub-10100", 1, hosts)
        parents = star(made, [], Random("star"))
        figures = tree_figures(made, parents, [hosts] * hosts, bound=False)
        worst, stretch = figures["stress_access_max"], figures["stretch_max"]
        told.append(f"{worst:.0f} copies, stretch {stretch:.3f} with {hosts} hosts")
        passed = passed and worst == hosts - 1 and abs(stretch - 1.0) < 1e-9
    return CheckResult(
        2,
        "unicast star: worst stress and largest stretch, access links counted",
        "one copy per receiver, stretch 1, by definition",
        "; ".join(told),
        passed,
        band="exactly so",
        is_brief=brief,
    )


def lossy_delivery(
    made: Underlay, loss: float, seed: int, packets: int = LOSSY_PACKETS
) -> tuple[float, float, float]:
    """Return what a lossy compact tree delivers, what it should, and the standard error.

    All hosts below a hop share its losses, so the error is that of the mean over packets.
    """
    parents = compact_tree(made.delays, [4] * made.hosts)
    plane = TreePlane(made, parents, loss)
    got = plane.send(generator(seed, "lossy"), packets)[1:].mean(axis=0)
    error = float(got.std(ddof=1)) / sqrt(packets)
    # Straight from the definition, which shares no code with the plane: (1 - p) to the depth.
    should = float(((1.0 - loss) ** _hops(parents)).mean())
    return float(got.mean()), should, error


def _hops(parents: Sequence[int]) -> Floats:
    """Count the hops of every host but the source, one host at a time."""
    counted = []
    for host in range(1, len(parents)):
        hops, here = 0, host
        while here:
            hops, here = hops + 1, parents[here]
        counted.append(float(hops))
    return np.array(counted)


def unrepaired_delivery(
    depth: int, repair: float, mttf: float, seed: int
) -> tuple[float, float, float]:
    """Return what reaches the ends of chains whose hosts fail, with no buffer to fill the gap.

    After each failure of a host above, everything below it gets nothing for `repair` seconds;
    failures come at random, one per `mttf` seconds and host. Returns the share delivered, the
    approximation 1 - h r / MTTF for h hosts above, and the standard error over chains.
    """
    chains, seconds, rate = 400, 4_000, 10
    rng = generator(seed, "failures")
    times = np.arange(seconds * rate) / rate
    shares = [_unbroken(rng, depth, repair, mttf, times).mean() for _ in range(chains)]
    error = float(np.std(shares, ddof=1)) / sqrt(chains)
    return float(np.mean(shares)), 1.0 - depth * repair / mttf, error


def _unbroken(
    rng: np.random.Generator, depth: int, repair: float, mttf: float, times: Floats
) -> Booleans:
    """Say which packets get past all hosts of one chain."""
    passed = np.ones(len(times), dtype=np.bool_)
    span = float(times[-1]) + repair
    for _ in range(depth):
        # Failures before the first packet still count while their repair lasts.
        failed = np.sort(rng.uniform(-repair, span, rng.poisson((span + repair) / mttf)))
        latest = np.searchsorted(failed, times, side="right") - 1
        since = times - np.concatenate([[-np.inf], failed])[latest + 1]
        passed &= since >= repair
    return passed


def check_lossy_tree(brief: bool = False) -> CheckResult:
    """Check 13: a tree with losses delivers the mean of (1 - p)^depth; with failures and without
    repair 1 - h r / MTTF."""
    made = underlay("planetlab490", 1, 490)
    packets = LOSSY_PACKETS // 10 if brief else LOSSY_PACKETS
    told, passed = [], True
    for loss in LOSSES:
        got, should, error = lossy_delivery(made, loss, 1, packets)
        told.append(f"loss {loss:.0%}: {got:.4f}, formula {should:.4f}")
        passed = passed and abs(got - should) <= SIGMAS * error
    depth, repair, mttf = 7, 1.0, 300.0
    got, should, error = unrepaired_delivery(depth, repair, mttf, 1)
    # The formula leaves out that two repairs can overlap, which the second order bounds.
    overlap = (depth * repair / mttf) ** 2 / 2
    told.append(f"{depth} hosts above, {repair:.0f} s repair: {got:.4f}, formula {should:.4f}")
    passed = passed and -SIGMAS * error <= got - should <= overlap + SIGMAS * error
    return CheckResult(
        13,
        "static lossy tree, and failures without repair buffer, against the formulas",
        "mean of (1 - p)^depth; 1 - h r / MTTF",
        "; ".join(told),
        passed,
        band=f"within {SIGMAS:.0f} standard errors",
        is_brief=brief,
    )


CHECKS: dict[int, Callable[..., CheckResult]] = {
    1: check_multicast_cost,
    2: check_star,
    13: check_lossy_tree,
}
"""Checks by number; `brief=True` takes fewer hosts, seeds and packets."""
