"""Where hosts stand, and how long a datagram takes between two of them.

Delays are one way, symmetric, whole microseconds, and the same for the same seed. Places are given
out in the order of asking. Nothing here loses or reorders; that is `network`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from random import Random
from typing import Protocol

import networkx

from dmmp.errors import UsageError
from dmmp.sim.inet import Inet


class Topology(Protocol):
    """The delays among places 0, 1, 2 … of one simulated internet."""

    def attach(self) -> int:
        """Give out the next place."""

    def delay_us(self, first: int, second: int) -> int:
        """Return the one-way delay between two places, in microseconds."""


class Uniform:
    """Every two places equally far apart, unless set otherwise: for transcripts and unit tests."""

    def __init__(self, each_us: int = 10_000) -> None:
        self.each_us = each_us
        self._places = 0
        self._set: dict[tuple[int, int], int] = {}

    def attach(self) -> int:
        """Give out the next place."""
        self._places += 1
        return self._places - 1

    def set_delay(self, first: int, second: int, delay_us: int) -> None:
        """Set the delay between two places, both ways."""
        self._set[min(first, second), max(first, second)] = delay_us

    def delay_us(self, first: int, second: int) -> int:
        """Return the one-way delay between two places, in microseconds."""
        if not self._set:
            return self.each_us
        return self._set.get((min(first, second), max(first, second)), self.each_us)


class Plane:
    """Hosts strewn on a square; delay is the distance, plus what both access links cost."""

    SIDE_US = 40_000
    ACCESS_LEAST_US = 500
    ACCESS_MOST_US = 6_000

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._places: list[tuple[int, int, int]] = []

    def attach(self) -> int:
        """Give out the next place."""
        draw = self._rng.randrange
        access = draw(self.ACCESS_LEAST_US, self.ACCESS_MOST_US)
        self._places.append((draw(self.SIDE_US), draw(self.SIDE_US), access))
        return len(self._places) - 1

    def delay_us(self, first: int, second: int) -> int:
        """Return the one-way delay between two places, in microseconds."""
        x, y, access = self._places[first]
        x_other, y_other, access_other = self._places[second]
        across, along = x - x_other, y - y_other
        return isqrt(across * across + along * along) + access + access_other


class TransitStub:
    """Hosts on stub routers, stub routers on a small ring of transit routers with chords.

    The shape of GT-ITM's transit-stub graphs with one level of each; distances do not obey a
    metric of coordinates, which is what real routes do not do either.
    """

    TRANSITS = 8
    STUBS_EACH = 4
    LONG_US = (5_000, 30_000)
    SHORT_US = (1_000, 8_000)
    ACCESS_US = (200, 4_000)

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._places: list[tuple[int, int]] = []
        graph = networkx.Graph()
        for transit in range(self.TRANSITS):
            self._link(graph, transit, (transit + 1) % self.TRANSITS, self.LONG_US)
            self._link(graph, transit, (transit + 3) % self.TRANSITS, self.LONG_US)
        routers = self.TRANSITS * (1 + self.STUBS_EACH)
        for stub in range(self.TRANSITS, routers):
            self._link(graph, stub, stub % self.TRANSITS, self.SHORT_US)
        lengths = dict(networkx.all_pairs_dijkstra_path_length(graph, weight="delay_us"))
        self._between = [
            [int(lengths[one][two]) for two in range(routers)] for one in range(routers)
        ]

    def _link(self, graph: networkx.Graph, one: int, two: int, range_us: tuple[int, int]) -> None:
        graph.add_edge(one, two, delay_us=self._rng.randrange(*range_us))

    def attach(self) -> int:
        """Give out the next place."""
        stub = self._rng.randrange(self.TRANSITS, len(self._between))
        self._places.append((stub, self._rng.randrange(*self.ACCESS_US)))
        return len(self._places) - 1

    def delay_us(self, first: int, second: int) -> int:
        """Return the one-way delay between two places, in microseconds."""
        stub, access = self._places[first]
        stub_other, access_other = self._places[second]
        return self._between[stub][stub_other] + access + access_other


TOPOLOGIES: dict[str, Callable[[Random], Topology]] = {
    "uniform": lambda rng: Uniform(),
    "plane": Plane,
    "transit-stub": TransitStub,
    "inet3000": Inet,
}
"""Makers by name."""


def topology(name: str, rng: Random) -> Topology:
    """Make the topology of this name, one of `TOPOLOGIES`."""
    make = TOPOLOGIES.get(name)
    if make is None:
        raise UsageError(f"no topology is called {name!r}: take {', '.join(TOPOLOGIES)}")
    return make(rng)
