"""The networks under the overlay: measured matrices, router graphs, regions.

`UNDERLAYS` makes each from a seed and a number of hosts. Host 0 is the source. The same seed gives
the same network, and fewer hosts are the first of more. Delays are one way, in seconds. Where the
data came from stands in `data/PROVENANCE.md`, under which terms in `data/LICENSES.txt`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dmmp.errors import UsageError
from dmmp.lab.graphs import LARGE, SMALL, WAXMAN_ROUTERS, Shape, transit_stub, waxman
from dmmp.lab.routes import Floats, Integers, Routes, between, graph_of

DATA = Path(__file__).parent / "data"

ACCESS_SECONDS = 0.0001
"""The link between a host and its router, where there are routers."""

WORLD_KM_PER_SECOND = 200_000.0
"""Light in fibre."""

INET_SECONDS = (0.001, 0.004)
"""Delay of a link: Birrer and Bustamante, NWU-CS-04-36."""

MOST_IN_A_MATRIX = 20_000
SINGLE_FROM = 2_000


@dataclass(frozen=True, eq=False)
class Underlay:
    """A network with hosts on it.

    `spots` are the one-way delays among the places where hosts stand, in seconds, [spots, spots];
    `at` says who stands where, [hosts]; `access` is added at both ends. `routed` are the ways where
    there are routers, `lonlat` degrees [hosts, 2], `up` and `down` bit/s [hosts], where known.
    """

    name: str
    spots: NDArray[np.floating[Any]]
    at: Integers
    access: float = 0.0
    routed: Routes | None = None
    lonlat: Floats | None = None
    up: Floats | None = None
    down: Floats | None = None

    @property
    def hosts(self) -> int:
        """How many hosts there are."""
        return len(self.at)

    @cached_property
    def delays(self) -> Floats:
        """One-way delays among hosts in seconds, [hosts, hosts], 0 to oneself.

        Single precision beyond 2,000 hosts. Raises UsageError beyond 20,000, where `delay` works.
        """
        if self.hosts > MOST_IN_A_MATRIX:
            raise UsageError(
                f"a matrix of delays among {self.hosts} hosts is too large: "
                f"take at most {MOST_IN_A_MATRIX}, or ask for pairs"
            )
        kind = np.float64 if self.hosts <= SINGLE_FROM else np.float32
        full: Floats = self.spots[np.ix_(self.at, self.at)].astype(kind)
        full += 2 * self.access
        np.fill_diagonal(full, 0.0)
        return full

    def delay(self, first: Integers, second: Integers) -> Floats:
        """Return the one-way delays from some hosts to others, pair by pair, in seconds."""
        first, second = np.asarray(first), np.asarray(second)
        apart = self.spots[self.at[first], self.at[second]].astype(np.float64)
        return np.where(first == second, 0.0, apart + 2 * self.access)


class Places:
    """An underlay as the simulator wants it (`dmmp.sim.topology.Topology`).

    Places are given out as 0, 1, 2 …, and place k is host k, unless some places stand where a host
    stands already: `shared` names these, place to host, and the other places are hosts 0, 1, 2 …
    in order. A rendezvous point that is added first and stands beside the source is {0: 0}.
    """

    SAME_PLACE_US = 1

    def __init__(self, underlay: Underlay, shared: Mapping[int, int] | None = None) -> None:
        self._underlay = underlay
        self._shared = dict(shared or {})
        self._hosts: list[int] = []
        self._at: list[int] = []
        self._next = 0
        micros = np.empty(underlay.spots.shape, dtype=np.int32)
        for row, seconds in enumerate(underlay.spots):
            # Row by row: of the largest networks there is no room for a third copy.
            micros[row] = np.rint((seconds + 2 * underlay.access) * 1e6)
        np.maximum(micros, self.SAME_PLACE_US, out=micros)
        # A view of memory gives plain integers, several times faster than the array does.
        self._micros = micros.data

    def attach(self) -> int:
        """Give out the next place; raises UsageError when all hosts have one."""
        place = len(self._hosts)
        host = self._shared.get(place)
        if host is None:
            host, self._next = self._next, self._next + 1
        if not 0 <= host < self._underlay.hosts:
            raise UsageError(
                f"{self._underlay.name} was made for {self._underlay.hosts} hosts: make it larger"
            )
        self._hosts.append(host)
        self._at.append(int(self._underlay.at[host]))
        return place

    def host_of(self, place: int) -> int:
        """Return the host whose place this is."""
        return self._hosts[place]

    def delay_us(self, first: int, second: int) -> int:
        """Return the one-way delay between two places, in microseconds, at least 1."""
        if self._hosts[first] == self._hosts[second]:
            return self.SAME_PLACE_US
        return int(self._micros[self._at[first], self._at[second]])


def places(underlay: Underlay, shared: Mapping[int, int] | None = None) -> Places:
    """Make the simulator's topology of an underlay; see `Places`."""
    return Places(underlay, shared)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the source of randomness for one purpose."""
    return np.random.default_rng([seed, *purpose.encode()])


def underlay(name: str, seed: int, hosts: int) -> Underlay:
    """Make the underlay of this name, one of `UNDERLAYS`."""
    make = UNDERLAYS.get(name)
    if make is None:
        raise UsageError(f"no underlay is called {name!r}: take {', '.join(UNDERLAYS)}")
    if hosts < 1:
        raise UsageError("an underlay needs at least one host, the source")
    return make(seed, hosts)


def _matrix(name: str, seed: int, hosts: int, one_way: Floats) -> Underlay:
    if hosts > len(one_way):
        raise UsageError(f"{name} has {len(one_way)} nodes, {hosts} hosts do not fit: take fewer")
    return Underlay(name, one_way, generator(seed, name).permutation(len(one_way))[:hosts])


@lru_cache(maxsize=1)
def _planetlab_one_way() -> Floats:
    with np.load(DATA / "planetlab490_rtt.npz") as archive:
        upper = np.median(archive["rtt_tenth_ms_upper"], axis=0)
    one_way = np.zeros((490, 490))
    one_way[np.triu_indices(490, 1)] = upper / 20_000.0
    one_way += one_way.T
    one_way.setflags(write=False)
    return one_way


def planetlab490(seed: int, hosts: int) -> Underlay:
    """PlanetLab, 490 nodes, medians of 18 slices: symmetric, many detours shorter than direct."""
    return _matrix("planetlab490", seed, hosts, _planetlab_one_way())


def planetlab_crowd(seed: int, hosts: int) -> Underlay:
    """As many hosts as are wanted at the sites of PlanetLab, each a millisecond from its site.

    For sizes that no measured matrix has; hosts of one site are 2 ms from each other.
    """
    at = generator(seed, "planetlab-crowd").integers(0, 490, hosts)
    return Underlay("planetlab-crowd", _planetlab_one_way(), at, 0.001)


def seattle99(seed: int, hosts: int) -> Underlay:
    """The Seattle testbed, 99 devices of private persons, medians over time: not symmetric.

    The file resolves 10 ms of round trip; what it gives as 0 counts as half of that.
    """
    with np.load(DATA / "seattle99_rtt.npz") as archive:
        rtt_ms = archive["rtt_ms_median"].astype(np.float64)
    one_way = np.maximum(rtt_ms, 5.0) / 2_000.0
    np.fill_diagonal(one_way, 0.0)
    return _matrix("seattle99", seed, hosts, one_way)


def _routed(
    name: str, seed: int, hosts: int, graph: csr_array, candidates: Integers
) -> tuple[Underlay, Integers]:
    """Put hosts on routers, each used once before any is used again; also return these routers."""
    rng = generator(seed, f"{name}/hosts")
    rounds = -(-hosts // len(candidates))
    drawn = np.concatenate([rng.permutation(candidates) for _ in range(rounds)])[:hosts]
    used, at = np.unique(drawn, return_inverse=True)
    routes = Routes(graph, drawn.astype(np.int64))
    spots = between(graph, used)
    return Underlay(name, spots, at.astype(np.int64), ACCESS_SECONDS, routes), drawn


def inet(routers: int, seed: int, hosts: int) -> Underlay:
    """A power-law graph of the Inet generator with links of 1 to 4 ms by seed.

    The set-up of Birrer and Bustamante, NWU-CS-04-36: hosts stand on random routers.
    """
    name = f"inet{routers}"
    with np.load(DATA / f"{name}.npz") as archive:
        edges = archive["edges"].astype(np.int64)
    delays = generator(seed, f"{name}/links").uniform(*INET_SECONDS, size=len(edges))
    graph = graph_of(routers, edges, delays)
    return _routed(name, seed, hosts, graph, np.arange(routers))[0]


def world(seed: int, hosts: int) -> Underlay:
    """The synthetic backbone of the world, 3,815 places, 200 km per ms; hosts stand in towns."""
    with np.load(DATA / "topohub_backbone_world.npz") as archive:
        edges = archive["edges"].astype(np.int64)
        delays = archive["dist_km"].astype(np.float64) / WORLD_KM_PER_SECOND
        lonlat = archive["lonlat"].astype(np.float64)
        towns = np.flatnonzero(archive["name"] != "")
    graph = graph_of(len(lonlat), edges, delays)
    made, drawn = _routed("world", seed, hosts, graph, towns)
    return Underlay(made.name, made.spots, made.at, made.access, made.routed, lonlat=lonlat[drawn])


@lru_cache(maxsize=4)
def _transit_stub_graph(name: str, shape: Shape, seed: int) -> csr_array:
    edges, delays = transit_stub(generator(seed, f"{name}/graph"), shape)
    return graph_of(shape.routers, edges, delays)


def generated_transit_stub(shape: Shape, seed: int, hosts: int) -> Underlay:
    """A transit-stub graph in the shape of GT-ITM's, made by seed; hosts stand in the stubs."""
    name = f"transit-stub-{shape.routers}"
    graph = _transit_stub_graph(name, shape, seed)
    return _routed(name, seed, hosts, graph, np.arange(shape.transits, shape.routers))[0]


@lru_cache(maxsize=4)
def _waxman_graph(seed: int) -> csr_array:
    edges, delays = waxman(generator(seed, "waxman-1024/graph"))
    return graph_of(WAXMAN_ROUTERS, edges, delays)


def generated_waxman(seed: int, hosts: int) -> Underlay:
    """Waxman's graph with as many routers and links as Narada was simulated with, by seed."""
    graph = _waxman_graph(seed)
    return _routed("waxman-1024", seed, hosts, graph, np.arange(WAXMAN_ROUTERS))[0]


def simblock(seed: int, hosts: int) -> Underlay:
    """Six regions of the world with the rates of their access lines, SimBlock's figures of 2019.

    The delay of a pair is drawn once as SimBlock draws it per message: from a Pareto distribution
    about the mean of the two regions, which is one way.
    """
    if hosts > MOST_IN_A_MATRIX:
        raise UsageError(f"simblock takes at most {MOST_IN_A_MATRIX} hosts")
    regions = json.loads((DATA / "simblock_regions.json").read_text(encoding="utf-8"))
    share = np.array(regions["bitcoin_node_share_2019"])
    region = generator(seed, "simblock").choice(len(share), size=hosts, p=share / share.sum())
    mean_ms = np.array(regions["latency_ms_2019"], dtype=np.float64)[np.ix_(region, region)]
    drawn = np.ones((hosts, hosts))
    for host in range(1, hosts):
        # A stream of draws for each host keeps the pairs the same when more hosts come.
        drawn[host, :host] -= generator(seed, f"simblock/{host}").random(host)
    lower = np.tril((mean_ms - 5.0) / drawn ** (1.0 / (0.2 * mean_ms)), -1) / 1_000.0
    up = np.array(regions["upload_bps_2019"], dtype=np.float64)[region]
    down = np.array(regions["download_bps_2019"], dtype=np.float64)[region]
    return Underlay("simblock", lower + lower.T, np.arange(hosts), up=up, down=down)


UNDERLAYS: dict[str, Callable[[int, int], Underlay]] = {
    "planetlab490": planetlab490,
    "planetlab-crowd": planetlab_crowd,
    "seattle99": seattle99,
    "inet3000": partial(inet, 3_000),
    "inet5000": partial(inet, 5_000),
    "world": world,
    "transit-stub-5050": partial(generated_transit_stub, SMALL),
    "transit-stub-10100": partial(generated_transit_stub, LARGE),
    "waxman-1024": generated_waxman,
    "simblock": simblock,
}
"""Makers by name: from a seed and a number of hosts."""
