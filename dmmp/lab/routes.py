"""Routers, the links among them, and the ways that packets take.

A way is the one of least delay. The ways out of one router form a tree, kept as the router before
each (`trees`). Links are directed: a packet there and a packet back load two links.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

KEPT_ENTRIES = 64_000_000
"""Entries of trees kept in memory, four bytes each, before all are forgotten."""

ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Routes:
    """A graph of routers; `at` says on which of them each host stands.

    `graph` holds the one-way delay of each link in seconds, both ways, shape [routers, routers];
    `at` has shape [hosts].
    """

    graph: csr_array
    at: Integers
    _kept: dict[int, NDArray[np.int32]] = field(default_factory=dict, repr=False)

    @property
    def routers(self) -> int:
        """How many routers there are."""
        return int(self.graph.shape[0])

    def trees(self, sources: Integers) -> NDArray[np.int32]:
        """Return, for each router in `sources`, the router before every router on the way from it.

        Shape [sources, routers]; the source itself has a negative number before it.
        """
        missing = sorted({int(source) for source in sources} - self._kept.keys())
        if missing and (len(self._kept) + len(missing)) * self.routers > KEPT_ENTRIES:
            self._kept.clear()
            missing = sorted({int(source) for source in sources})
        for some in _portions(missing):
            _, before = dijkstra(self.graph, indices=some, return_predecessors=True)
            for source, row in zip(some, before, strict=True):
                self._kept[source] = row.astype(np.int32)
        return np.stack([self._kept[int(source)] for source in sources])

    def crossings(self, senders: Integers, receivers: Integers) -> Integers:
        """Return the directed links that packets from host to host cross, one entry per crossing.

        `senders` and `receivers` are hosts, pair by pair. A link from router a to router b is the
        number a * routers + b. Two hosts on one router cross none.
        """
        sources, row = np.unique(self.at[senders], return_inverse=True)
        crossed: list[Integers] = []
        for first in range(0, len(sources), ROWS_AT_ONCE):
            before = self.trees(sources[first : first + ROWS_AT_ONCE])
            here = (row >= first) & (row < first + ROWS_AT_ONCE)
            crossed.extend(self._back(before, row[here] - first, self.at[receivers[here]]))
        return np.concatenate(crossed) if crossed else np.empty(0, dtype=np.int64)

    def _back(
        self, before: NDArray[np.int32], row: Integers, router: Integers
    ) -> Iterator[Integers]:
        """Walk all ways back to their sources at once, one link a step."""
        while len(router):
            previous = before[row, router].astype(np.int64)
            going = previous >= 0
            row, router, previous = row[going], router[going], previous[going]
            yield previous * self.routers + router
            router = previous

    def link_delays(self, links: Integers) -> Floats:
        """Return the one-way delays of links, in seconds."""
        found: Floats = np.asarray(self.graph[links // self.routers, links % self.routers])
        return found.ravel()


def graph_of(routers: int, edges: Integers, delays: Floats) -> csr_array:
    """Make the graph of these links, [links, 2] and [links]; of double ones the shortest counts."""
    low, high = edges.min(axis=1), edges.max(axis=1)
    order = np.lexsort((delays, high, low))
    low, high, delays = low[order], high[order], delays[order]
    first = np.ones(len(low), dtype=bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    first &= low != high
    low, high, delays = low[first], high[first], delays[first]
    both = np.concatenate([delays, delays])
    ends = (np.concatenate([low, high]), np.concatenate([high, low]))
    return csr_array(coo_array((both, ends), shape=(routers, routers)))


def between(graph: csr_array, routers: Integers) -> NDArray[np.float32]:
    """Return the least one-way delays among some routers, in seconds: [routers, routers]."""
    rows = [
        dijkstra(graph, indices=some)[:, routers].astype(np.float32)
        for some in _portions([int(router) for router in routers])
    ]
    return np.concatenate(rows)


def _portions(routers: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(routers), ROWS_AT_ONCE):
        yield routers[first : first + ROWS_AT_ONCE]
