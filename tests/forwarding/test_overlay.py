"""Many forwarders and bad links: everything arrives once at each, and little is sent twice."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmmp.parameters import Parameters
from tests.forwarding.overlay import Host, Links, Overlay
from tests.marks import slow

DEPTH = 4


def tree(
    seed: int, links: Links, width: int = 1, parameters: Parameters | None = None
) -> tuple[Overlay, list[Host]]:
    """Make a source and `DEPTH` levels below it; each host may turn to grandparent and siblings."""
    overlay = Overlay(Random(seed), links, parameters)
    level = [overlay.source]
    hosts: list[Host] = []
    for _ in range(DEPTH):
        above, level = level, []
        for host in above:
            level += [overlay.add(len(overlay.hosts), host) for _ in range(width)]
        hosts += level
    for host in hosts:
        assert host.parent is not None
        parent = overlay.hosts[host.parent]
        siblings = tuple(child for child in parent.children if child != host.at)
        host.repairers = ((parent.parent,) if parent.parent is not None else ()) + siblings
        overlay.install(host)
    return overlay, hosts


@pytest.mark.parametrize("delay", [0.0005, *slow(0.01, 0.06)])
@pytest.mark.parametrize("loss", [*slow(0.01, 0.05), 0.1])
def test_all_arrives_once_and_repair_costs_little_more_than_what_was_lost(
    loss: float, delay: float
) -> None:
    overlay, _ = tree(1, Links(loss, delay=delay, jitter=delay / 10))
    overlay.stream(1500, 0.002)
    assert overlay.missed() == {}
    ratio = overlay.replayed() / overlay.lost
    assert overlay.lost > 1500 * DEPTH * loss / 2
    assert ratio <= 1.3, f"{overlay.replayed()} packets repaired {overlay.lost} lost: {ratio:.3f}"


def test_a_tree_repairs_each_loss_once_too() -> None:
    overlay, hosts = tree(2, Links(0.05, delay=0.01, jitter=0.002), width=2)
    overlay.stream(400, 0.005)
    assert overlay.missed() == {}
    ratio = overlay.replayed() / overlay.lost
    assert ratio <= 1.3, f"{overlay.replayed()} packets repaired {overlay.lost} lost: {ratio:.3f}"
    assert len(hosts) == 30


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.sampled_from([0.0, 0.02, 0.15]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.0, 0.03]),
)
def test_bad_links_lose_nothing_in_the_end(
    seed: int, loss: float, repeat: float, jitter: float
) -> None:
    overlay, _ = tree(seed, Links(loss, repeat, 0.005, jitter))
    overlay.stream(100, 0.01)
    assert overlay.missed() == {}


def test_when_a_relay_dies_its_child_goes_on_with_the_next_above() -> None:
    overlay, hosts = tree(3, Links(0.0, delay=0.01))
    overlay.stream(100, 0.005, settle=0)
    hosts[1].alive = False
    for _ in range(60):
        overlay.originate()
        overlay.run(overlay.now + 0.005)
    assert [silent.since for _, silent in hosts[2].silences]
    overlay.kill(hosts[1])
    for _ in range(60):
        overlay.originate()
        overlay.run(overlay.now + 0.005)
    overlay.run(overlay.now + 1)
    assert overlay.missed() == {}


def test_packets_by_lot_are_taken_and_cost_nothing_else() -> None:
    parameters = replace(Parameters(), random_forward=0.05)
    overlay, hosts = tree(4, Links(0.02, delay=0.005), width=2, parameters=parameters)
    overlay.stream(300, 0.005)
    assert overlay.missed() == {}
    assert sum(host.forwarder.counters.scattered for host in hosts) > 300
