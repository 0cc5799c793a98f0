"""Graphs of routers made by seed: transit-stub as of GT-ITM, and Waxman's.

Both return links as pairs of routers, [links, 2], and their one-way delays in seconds, [links].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dmmp.lab.routes import Floats, Integers

INSIDE_STUB = (0.001, 0.003)
STUB_TO_TRANSIT = (0.004, 0.010)
INSIDE_TRANSIT = (0.010, 0.020)
TRANSIT_TO_TRANSIT = (0.020, 0.040)
"""Ranges of the delays of links, in seconds: a way across the whole is 50 to 200 ms."""

STUB_DENSITY = 0.25
TRANSIT_DENSITY = 0.6
DOMAIN_DENSITY = 0.5
"""Shares of all possible links that there are: with ten routers in a stub, 2.9 per router."""


class Shape(NamedTuple):
    """How many of what a transit-stub graph has."""

    domains: int
    transits_each: int
    stubs_each: int
    routers_each: int

    @property
    def transits(self) -> int:
        """Routers in transit domains; they have the lowest numbers."""
        return self.domains * self.transits_each

    @property
    def routers(self) -> int:
        """All routers."""
        return self.transits * (1 + self.stubs_each * self.routers_each)


SMALL = Shape(10, 5, 10, 10)
"""5,050 routers."""

LARGE = Shape(10, 10, 10, 10)
"""10,100 routers."""


def transit_stub(rng: np.random.Generator, shape: Shape) -> tuple[Integers, Floats]:
    """Make transit domains, linked at random, and stubs that hang on one transit router each."""
    edges: list[Integers] = []
    delays: list[Floats] = []

    def link(pairs: Integers, seconds: tuple[float, float]) -> None:
        edges.append(pairs)
        delays.append(rng.uniform(*seconds, size=len(pairs)))

    each = shape.transits_each
    domains = _connected(rng, shape.domains, DOMAIN_DENSITY)
    link(domains * each + rng.integers(each, size=domains.shape), TRANSIT_TO_TRANSIT)
    for domain in range(shape.domains):
        link(_connected(rng, each, TRANSIT_DENSITY) + domain * each, INSIDE_TRANSIT)
    first = shape.transits
    for transit in range(shape.transits):
        for _ in range(shape.stubs_each):
            link(_connected(rng, shape.routers_each, STUB_DENSITY) + first, INSIDE_STUB)
            border = first + int(rng.integers(shape.routers_each))
            link(np.array([[transit, border]]), STUB_TO_TRANSIT)
            first += shape.routers_each
    return np.concatenate(edges), np.concatenate(delays)


def _connected(rng: np.random.Generator, size: int, density: float) -> Integers:
    """Draw graphs in which each possible link is there with this chance until one is connected."""
    low, high = np.triu_indices(size, 1)
    while True:
        there = rng.random(len(low)) < density
        pairs = np.stack([low[there], high[there]], axis=1)
        if _is_connected(size, pairs):
            return pairs.astype(np.int64)


def _is_connected(size: int, pairs: Integers) -> bool:
    reached = np.eye(size, dtype=bool)
    reached[pairs[:, 0], pairs[:, 1]] = True
    reached |= reached.T
    for _ in range(size.bit_length()):
        reached = reached @ reached
    return bool(reached[0].all())


WAXMAN_ROUTERS = 1_024
WAXMAN_LINKS = 3_145
"""As many as Narada was simulated with: Chu, Rao, Seshan and Zhang, SIGMETRICS 2000."""

WAXMAN_REACH = 0.2
WAXMAN_SIDE_SECONDS = 0.030


def waxman(rng: np.random.Generator) -> tuple[Integers, Floats]:
    """Make Waxman's graph: near routers are linked more often than far ones.

    Routers stand on a square whose side takes 30 ms. A link of length d has a chance in proportion
    to exp(-d / (0.2 × diagonal)). The first links join each router to an earlier one so that all
    are connected, the others are drawn from all pairs.
    """
    count = WAXMAN_ROUTERS
    spots = rng.random((count, 2))
    apart = np.hypot(*(spots[:, None, :] - spots[None, :, :]).transpose(2, 0, 1))
    chance = np.exp(-apart / (WAXMAN_REACH * np.sqrt(2.0)))
    joined = [
        (rng.choice(router, p=chance[router, :router] / chance[router, :router].sum()), router)
        for router in range(1, count)
    ]
    first = np.array(joined, dtype=np.int64)
    chance[first[:, 0], first[:, 1]] = 0.0
    low, high = np.triu_indices(count, 1)
    weight = chance[low, high]
    drawn = rng.choice(
        len(low), size=WAXMAN_LINKS - len(first), replace=False, p=weight / weight.sum()
    )
    edges = np.concatenate([first, np.stack([low[drawn], high[drawn]], axis=1)])
    # Two routers on one spot would have a link of no length, which a sparse matrix leaves out.
    delays = np.maximum(apart[edges[:, 0], edges[:, 1]] * WAXMAN_SIDE_SECONDS, 1e-6)
    return edges.astype(np.int64), delays
