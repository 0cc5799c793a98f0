"""Figures of trees on networks small enough to count by hand, and what is said of many values."""

from __future__ import annotations

import numpy as np
import pytest

from dmmp.errors import UsageError
from dmmp.lab.constructions import measure
from dmmp.lab.metrics import (
    FIGURES,
    depths,
    multicast_links,
    out_degrees,
    relay_delays,
    stress,
    tree_delays,
    tree_figures,
)
from dmmp.lab.numpy_plane import TreePlane
from dmmp.lab.routes import Routes, between, graph_of
from dmmp.lab.statistics import growth_exponent, mean_interval, quantiles
from dmmp.lab.underlays import Underlay, generator, underlay


def _hub() -> Underlay:
    """Four routers in a row of 10 ms links, a host on each end and two in the middle.

    Host 0 on router 0, hosts 1 and 2 on router 2, host 3 on router 3.
    """
    graph = graph_of(4, np.array([[0, 1], [1, 2], [2, 3]]), np.full(3, 0.010))
    at = np.array([0, 2, 2, 3])
    return Underlay("hub", between(graph, np.arange(4)), at, 0.001, Routes(graph, at))


def test_delays_along_a_tree() -> None:
    hub = _hub()
    assert hub.delays[0] == pytest.approx([0, 0.022, 0.022, 0.032])
    assert hub.delays[1, 2] == pytest.approx(0.002)
    assert tree_delays(hub, [-1, 0, 1, 2]) == pytest.approx([0, 0.022, 0.024, 0.036])
    assert depths([-1, 0, 1, 2]).tolist() == [0, 1, 2, 3]


def test_stress_of_a_star_and_of_a_chain() -> None:
    hub = _hub()
    # Links 0-1 and 1-2 carry three copies each, link 2-3 one.
    assert sorted(stress(hub, [-1, 0, 0, 0]).tolist()) == [1, 3, 3]
    assert sorted(stress(hub, [-1, 0, 0, 0], access=True).tolist()) == [1, 1, 1, 1, 3, 3, 3]
    assert stress(hub, [-1, 0, 1, 2]).tolist() == [1, 1, 1]
    # Back and forth are two links: host 3 feeds 1 and 2.
    assert sorted(stress(hub, [-1, 3, 3, 0]).tolist()) == [1, 1, 1, 2]
    assert len(multicast_links(hub, np.array([1, 2, 3]))) == 3


def test_figures_of_a_small_tree() -> None:
    figures = tree_figures(_hub(), [-1, 3, 3, 0], [2, 2, 2, 1])
    assert figures["cost_ratio"] == pytest.approx(5 / 3)
    assert figures["cost_delay_ratio"] == pytest.approx(5 / 3)
    assert figures["stress_mean"] == pytest.approx(5 / 4)
    assert figures["stress_max"] == 2
    assert figures["stress_access_max"] == 2
    assert figures["stretch_max"] == pytest.approx(0.044 / 0.022)
    assert figures["stretch_mean"] == pytest.approx((2 + 2 + 1) / 3)
    assert figures["rmd"] == pytest.approx(0.044 / 0.032)
    assert figures["rad"] == pytest.approx((0.044 + 0.044 + 0.032) / (0.022 + 0.022 + 0.032))
    assert figures["depth_mean"] == pytest.approx(5 / 3)
    assert figures["depth_max"] == 2
    assert figures["out_degree_max"] == 2
    assert figures["non_forwarders"] == pytest.approx(0.5)
    assert figures["over_degree_hosts"] == 1 and figures["over_degree_max"] == 1
    # Within degrees 2, 2, 2, 1 the best is: two from the source, the third one hop below.
    assert figures["bound_mean"] == pytest.approx((0.022 + 0.022 + 0.032 + 0.002) / 3, abs=0.001)
    assert figures["ratio_mean"] > 1.4


def test_hosts_without_a_place_are_counted_apart() -> None:
    # Host 2 has no parent, hosts 3 and 4 feed each other.
    parents = [-1, 0, -1, 4, 3, 1]
    assert depths(parents).tolist() == [0, 1, -1, -1, -1, 2]
    assert out_degrees(parents).tolist() == [1, 1, 0, 0, 0, 0]
    figures = tree_figures(underlay("planetlab490", 1, 6), parents, [2] * 6)
    assert figures["hosts_placed"] == 2 and figures["hosts_without_place"] == 3
    assert np.isfinite(list(figures.values())).all()
    alone = tree_figures(underlay("planetlab490", 1, 3), [-1, -1, 1], [2] * 3)
    assert alone["hosts_without_place"] == 2 and "delay_mean" not in alone


def test_relays_shorten_ways_on_measured_delays() -> None:
    made = underlay("planetlab490", 1, 100)
    relayed = relay_delays(made)
    assert (relayed <= made.delays[0] + 1e-12).all()
    assert (relayed[1:] < made.delays[0, 1:]).mean() > 0.3
    one_relay = (made.delays[0][:, None] + made.delays).min(axis=0)
    assert (relayed <= one_relay + 1e-12).all()
    figures = tree_figures(made, [-1] + [0] * 99, [99] * 100)
    assert figures["stretch_mean"] == pytest.approx(1.0)
    assert figures["relay_stretch_mean"] > 1.01


def test_every_figure_is_defined() -> None:
    for name in ("planetlab490", "waxman-1024"):
        made = underlay(name, 1, 40)
        measured = measure(made, [-1] + [0] * 39, [39] * 40)
        assert measured.figures.keys() <= FIGURES.keys()
        assert all(FIGURES.values())
    assert "stress_mean" in measured.figures and len(measured.samples["stress"]) > 10


def test_link_stress_needs_routers() -> None:
    with pytest.raises(UsageError, match="no routers"):
        stress(underlay("planetlab490", 1, 3), [-1, 0, 0])


def test_a_plane_without_loss_delivers_all_after_the_delays_of_the_tree() -> None:
    made = underlay("planetlab490", 1, 30)
    parents = [-1, *((host - 1) // 3 for host in range(1, 30))]
    plane = TreePlane(made, parents)
    assert plane.send(generator(1, "packets"), 5).all()
    assert plane.delays == pytest.approx(tree_delays(made, parents))
    assert plane.expected_delivery() == 1.0


def test_copies_wait_for_those_before_them() -> None:
    made = underlay("planetlab490", 1, 5)
    slow = TreePlane(made, [-1, 0, 0, 2, 0], copy_seconds=np.full(5, 0.5))
    waits = slow.delays - tree_delays(made, [-1, 0, 0, 2, 0])
    assert waits == pytest.approx([0, 0, 0.5, 0.5, 1.0])


def test_losses_and_failures_cut_off_what_is_below() -> None:
    made = underlay("planetlab490", 1, 5)
    plane = TreePlane(made, [-1, 0, 1, 2, -1], loss=np.array([0, 0.5, 0, 0, 0]))
    got = plane.send(generator(1, "packets"), 4_000)
    assert got[0].all() and not got[4].any()
    assert (got[1] == got[2]).all() and (got[2] == got[3]).all()
    assert got[1].mean() == pytest.approx(0.5, abs=0.04)
    assert plane.expected_delivery() == pytest.approx(1.5 / 4)
    up = np.array([True, True, False, True, True])
    got = plane.send(generator(1, "packets"), 10, up)
    assert got[1].any() and not got[2:].any()
    sound = TreePlane(made, [-1, 0, 1, 2, 0])
    assert sound.delivery(generator(1, "packets"), 10, up) == pytest.approx(2 / 3)


def test_means_have_intervals_of_student() -> None:
    told = mean_interval([1.0, 2.0, 3.0, float("nan")])
    assert told.value == pytest.approx(2.0) and told.values == 3
    # t for 2 degrees of freedom is 4.3027, the standard error 1 / sqrt(3).
    assert told.half == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert mean_interval([5.0])[:3] == (5.0, -np.inf, np.inf)
    with pytest.raises(UsageError):
        mean_interval([float("nan")])


def test_growth_exponents_come_with_intervals() -> None:
    sizes = [10, 100, 1_000, 10_000]
    exact = growth_exponent(sizes, [3 * size**0.8 for size in sizes])
    assert exact.value == pytest.approx(0.8) and exact.half < 1e-6
    noisy = growth_exponent(sizes, [10.0, 11.0, 9.0, 10.5])
    assert noisy.low < 0 < noisy.high
    with pytest.raises(UsageError, match="three sizes"):
        growth_exponent([1, 2], [1, 2])
    with pytest.raises(UsageError, match="above 0"):
        growth_exponent([1, 2, 3], [1, 0, 2])


def test_quantiles_leave_out_what_is_no_number() -> None:
    assert quantiles([1, 2, 3, 4, 5, float("nan")], (0, 0.5, 1)) == {0: 1, 0.5: 3, 1: 5}
    with pytest.raises(UsageError):
        quantiles([])
