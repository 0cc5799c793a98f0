"""The data plane of arrays: who is fed through whom, and that it says what real packets say."""

from __future__ import annotations

import pytest

from dmmp.lab import flows, overlay
from dmmp.lab.arena import rows_of
from dmmp.lab.case import Case
from dmmp.lab.failures import CHURNS, Change, Plan
from dmmp.lab.flows import Feeding, FlowRun, Stream


def case(
    hosts: int,
    churn: str = "none",
    seconds: float = 30.0,
    seed: int = 1,
    options: tuple[tuple[str, str], ...] = (),
) -> Case:
    return Case(
        protocol="dmmp",
        underlay="inet3000",
        hosts=hosts,
        uplinks="d4",
        churn=churn,
        seed=seed,
        seconds=seconds,
        options=options,
    )


def settled(hosts: int) -> tuple[FlowRun, Feeding]:
    """Let some hosts come and find places."""
    made = FlowRun(case(hosts))
    world = made.world
    assert isinstance(world, Feeding)
    world.number_hosts(made.hosts)
    made.join(10.0)
    world.run_until(30.0)
    return made, world


def test_everybody_with_a_place_is_reached_after_the_delays_of_the_hops() -> None:
    made, world = settled(24)
    reached, delays = world.ways()
    assert reached.all()
    parents = made.parents()
    for host in range(1, 24):
        way, at = 0.0, host
        while at:
            above = parents[at]
            way += world.network.topology.delay_us(made.hosts[above].place, made.hosts[at].place)
            at = above
        assert delays[host] == pytest.approx(way / 1e6, rel=1e-4)
    degrees = world.branches()
    assert degrees.sum() == 23 and max(degrees[1:]) <= 4


def test_below_a_host_that_crashed_nobody_is_reached_until_another_feeds_it() -> None:
    made, world = settled(24)
    parents = made.parents()
    relay = max(range(1, 24), key=parents.count)
    orphans = [host for host in range(1, 24) if parents[host] == relay]
    assert orphans
    world.crash(made.hosts[relay])
    reached, _ = world.ways()
    assert not reached[[relay, *orphans]].any()
    # Nobody tells them of any silence here: what remains is the Refresh that finds no answer.
    world.run_until(world.now + 60.0)
    assert world.ways()[0][orphans].all()


def test_what_was_sent_to_a_host_just_before_it_failed_is_not_counted() -> None:
    made = FlowRun(case(8))
    world = made.world
    assert isinstance(world, Feeding)
    world.number_hosts(made.hosts)
    stream = Stream(made, Plan([Change(0.0, 0, True)], 0.0, 0.0, 60.0))
    for host in range(8):
        stream.came_up(host)
    for number in range(50):
        world.at(number * 0.1, stream.tick)
    world.run_until(5.0)
    assert stream.expected[3] == 50 and stream.got[3] == 0 and stream.got[0] == 50
    stream.went_down(3)
    assert stream.expected[3] == 18, "the last 3.2 s are left out"
    assert stream.lost[3] == 18
    stream.went_down(0)
    assert (stream.expected[0], stream.got[0], stream.lost[0]) == (18, 18, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_with_packets_and_with_arrays_the_same_comes_out(seed: int) -> None:
    """Hosts that fail every five minutes: delivery, control, delay and recovery of both agree."""
    given = case(200, "nemo-high", 100.0, seed)
    arrays = flows.play(given).figures
    made = overlay.Run(given)
    score = made.stream(CHURNS["nemo-high"](seed, 200, 100.0))
    packets = score.measured(rows_of(made.underlay.delays)).figures
    assert arrays["delivery_ratio"] == pytest.approx(packets["delivery_ratio"], abs=0.002)
    assert arrays["connectivity"] == pytest.approx(packets["connectivity"], abs=0.002)
    assert arrays["control_bytes"] == pytest.approx(packets["control_bytes"], rel=0.08)
    assert arrays["control_packets"] == pytest.approx(packets["control_packets"], rel=0.08)
    assert arrays["delay_mean"] == pytest.approx(packets["delay_mean"], rel=0.2)
    assert arrays["recovery_seconds"] == pytest.approx(packets["recovery_seconds"], rel=0.25)
    assert packets["delivery_ratio"] > 0.99


def test_the_runner_takes_the_plane_by_its_option() -> None:
    given = case(12, seconds=5.0, options=(("plane", "arrays"),))
    figures = overlay.run(given).figures
    assert figures["delivery_ratio"] == 1.0 and figures["hosts_without_place"] == 0.0
    assert figures["control_bytes"] > 0.0 and figures["state_entries"] > 0.0
