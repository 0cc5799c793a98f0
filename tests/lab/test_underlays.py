"""The networks: what was measured, what is generated, and how the simulator sees both."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from dmmp.errors import UsageError
from dmmp.lab.graphs import LARGE, SMALL, WAXMAN_LINKS, Shape, transit_stub, waxman
from dmmp.lab.routes import graph_of
from dmmp.lab.underlays import DATA, UNDERLAYS, generator, places, underlay
from dmmp.lab.uplinks import RATES, SOURCE_CHILDREN, UPLINKS, degrees_of, uplink_rates
from dmmp.sim.topology import Topology
from dmmp.sim.world import World

FAST = [name for name in UNDERLAYS if name not in ("transit-stub-10100", "inet5000")]


@pytest.mark.parametrize("name", FAST)
def test_delays_are_positive_and_the_same_for_the_same_seed(name: str) -> None:
    made, again = underlay(name, 3, 40), underlay(name, 3, 40)
    other = underlay(name, 4, 40)
    assert made.delays.shape == (40, 40)
    apart = ~np.eye(40, dtype=bool)
    assert (made.delays[apart] > 0).all() and np.isfinite(made.delays).all()
    assert (np.diag(made.delays) == 0).all()
    assert (made.delays == again.delays).all()
    assert (made.delays != other.delays).any()


@pytest.mark.parametrize("name", FAST)
def test_delay_of_pairs_is_that_of_the_matrix(name: str) -> None:
    made = underlay(name, 1, 30)
    first, second = np.arange(30), np.arange(30)[::-1]
    assert made.delay(first, second) == pytest.approx(made.delays[first, second], rel=1e-6)


@pytest.mark.parametrize("name", FAST)
def test_fewer_hosts_are_the_first_of_more(name: str) -> None:
    few, many = underlay(name, 2, 20), underlay(name, 2, 60)
    assert few.delays == pytest.approx(many.delays[:20, :20], rel=1e-6)


def test_planetlab_is_half_of_the_round_trip() -> None:
    made = underlay("planetlab490", 1, 490)
    with np.load(DATA / "planetlab490_rtt.npz") as archive:
        rtt = np.median(archive["rtt_tenth_ms_upper"], axis=0)
    upper = np.triu_indices(490, 1)
    assert np.sort(made.delays[upper]) == pytest.approx(np.sort(rtt) / 20_000)
    assert (made.delays == made.delays.T).all()


def test_seattle_keeps_both_directions() -> None:
    delays = underlay("seattle99", 1, 99).delays
    assert (delays != delays.T).mean() > 0.3


def test_more_hosts_than_nodes_are_refused() -> None:
    with pytest.raises(UsageError, match="490 nodes"):
        underlay("planetlab490", 1, 491)
    with pytest.raises(UsageError, match="no underlay"):
        underlay("arpanet", 1, 10)
    with pytest.raises(UsageError, match="at least one"):
        underlay("world", 1, 0)


def test_routers_are_used_once_before_any_is_used_again() -> None:
    made = underlay("waxman-1024", 1, 1_500)
    assert made.routed is not None
    uses = np.bincount(made.routed.at, minlength=1_024)
    assert uses.min() == 1 and uses.max() == 2
    assert made.delays.dtype == np.float64
    first, second = (int(host) for host in np.flatnonzero(made.routed.at == np.argmax(uses))[:2])
    assert made.delays[first, second] == pytest.approx(2 * made.access)


def test_a_matrix_of_too_many_hosts_is_refused_but_pairs_work() -> None:
    made = underlay("waxman-1024", 1, 20_001)
    with pytest.raises(UsageError, match="too large"):
        _ = made.delays
    assert made.delay(np.array([0]), np.array([20_000]))[0] > 0


def test_world_hosts_stand_on_the_globe() -> None:
    made = underlay("world", 1, 100)
    assert made.lonlat is not None and made.lonlat.shape == (100, 2)
    assert (np.abs(made.lonlat) <= (180, 90)).all()
    lon, lat = np.radians(made.lonlat).T
    cosine = np.sin(lat[0]) * np.sin(lat) + np.cos(lat[0]) * np.cos(lat) * np.cos(lon - lon[0])
    straight = 6_371 * np.arccos(np.clip(cosine, -1, 1)) / 200_000
    # No way in the network is shorter than the straight one, but for rounded coordinates.
    assert (made.delays[0] >= 0.98 * straight - 0.0001).all()


def test_simblock_has_rates_and_regions() -> None:
    made = underlay("simblock", 1, 500)
    assert made.up is not None and made.down is not None
    assert set(made.up) <= {19_200_000, 20_700_000, 5_800_000, 15_700_000, 10_200_000, 11_300_000}
    assert (made.down > made.up).all()
    assert 0.03 < np.median(made.delays) < 0.3


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_transit_stub_is_connected_and_sparse(shape: Shape) -> None:
    edges, delays = transit_stub(generator(1, "test"), shape)
    assert shape.routers in (5_050, 10_100)
    graph = graph_of(shape.routers, edges, delays)
    assert 2.6 < graph.nnz / shape.routers < 3.2
    assert _connected(shape.routers, edges)
    assert delays.min() >= 0.001 and delays.max() <= 0.040


def test_waxman_has_the_links_of_the_papers_and_prefers_near_ones() -> None:
    edges, delays = waxman(generator(1, "test"))
    assert len(np.unique(np.sort(edges, axis=1), axis=0)) == len(edges) == WAXMAN_LINKS
    assert _connected(1_024, edges)
    # Two random points of a square are 0.52 of its side apart.
    assert delays.mean() < 0.75 * 0.52 * 0.030


def _connected(routers: int, edges: np.typing.NDArray[np.int64]) -> bool:
    group = list(range(routers))

    def root(router: int) -> int:
        while group[router] != router:
            group[router] = group[group[router]]
            router = group[router]
        return router

    for one, other in edges.tolist():
        group[root(one)] = root(other)
    return len({root(router) for router in range(routers)}) == 1


def test_of_double_links_the_shortest_counts() -> None:
    edges = np.array([[0, 1], [1, 0], [1, 2], [2, 2]])
    graph = graph_of(3, edges, np.array([0.005, 0.002, 0.001, 0.004]))
    assert graph.nnz == 4
    assert graph[0, 1] == graph[1, 0] == 0.002


def test_places_are_whole_microseconds() -> None:
    made = underlay("planetlab490", 1, 50)
    topology: Topology = places(made)
    assert [topology.attach() for _ in range(50)] == list(range(50))
    for first in range(50):
        for second in range(50):
            micros = topology.delay_us(first, second)
            assert isinstance(micros, int) and micros >= 1
            assert abs(micros - made.delays[first, second] * 1e6) <= 1
    with pytest.raises(UsageError, match="made for 50 hosts"):
        topology.attach()


def test_some_places_share_that_of_a_host() -> None:
    made = underlay("transit-stub-5050", 1, 10)
    topology = places(made, {0: 0, 4: 2})
    for _ in range(12):
        topology.attach()
    assert [topology.host_of(place) for place in range(12)] == [0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    assert topology.delay_us(0, 1) == topology.delay_us(3, 4) == 1
    assert topology.delay_us(0, 5) == topology.delay_us(1, 5)


def test_the_real_simulator_takes_places() -> None:
    made = underlay("world", 1, 5)
    world = World(1, places(made, {0: 0}))
    assert [world.network.topology.attach() for _ in range(6)] == list(range(6))
    assert world.network.topology.delay_us(1, 2) == pytest.approx(made.delays[0, 1] * 1e6, abs=1)


@pytest.mark.parametrize("name", UPLINKS)
def test_uplinks_feed_the_source_and_all(name: str) -> None:
    degrees = UPLINKS[name](Random("uplinks"), 1_000)
    assert len(degrees) == 1_000 and degrees[0] >= SOURCE_CHILDREN
    assert sum(degrees) >= 1_500 and min(degrees) >= 0 and max(degrees) <= 64
    assert degrees == UPLINKS[name](Random("uplinks"), 1_000)
    assert degrees == degrees_of(uplink_rates(name, Random("uplinks"), 1_000))


def test_the_mix_het_has_its_shares() -> None:
    degrees = UPLINKS["het"](Random("shares"), 20_000)[1:]
    shares = [degrees.count(degree) / len(degrees) for degree in (0, 1, 2, 4, 8, 16)]
    assert shares == pytest.approx([0.35, 0.15, 0.20, 0.15, 0.10, 0.05], abs=0.015)


@pytest.mark.parametrize("name", ["lognormal", "pareto"])
def test_mean_uplink_is_three_streams(name: str) -> None:
    rates = RATES[name](Random("means"), 200_000)
    assert sum(rates) / len(rates) / 80_000 == pytest.approx(3.0, rel=0.1)
