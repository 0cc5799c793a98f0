"""The data plane of arrays: who is fed through whom, and that it says what real packets say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.errors import UsageError
from dmmp.lab import flows, overlay
from dmmp.lab.arena import rows_of
from dmmp.lab.case import Case
from dmmp.lab.failures import CHURNS, Change, Plan
from dmmp.lab.feeding import Feeding
from dmmp.lab.flows import FlowRun, Stream
from dmmp.lab.overlay import VARIANTS, parameters_of
from dmmp.roles.end_host import EndHost
from dmmp.roles.recovery import RecoveringRole
from dmmp.roles.requests import RoundTrip
from dmmp.sim.network import Conditions
from dmmp.sim.node import Node
from tests.marks import long


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


def played(given: Case, is_quick: bool) -> dict[str, float]:
    made = FlowRun(given)
    assert isinstance(made.world, Feeding)
    made.world.is_quick = is_quick
    return made.play(CHURNS[given.churn](given.seed, given.hosts, given.seconds)).figures


def role_of(node: Node) -> RecoveringRole:
    assert isinstance(node.host, EndHost) and isinstance(node.host.role, RecoveringRole)
    return node.host.role


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *long(2)])
def test_relatives_that_are_spared_the_messages_learn_the_same(seed: int) -> None:
    """Hosts fail, so that relatives are needed: all figures agree with those of full messages."""
    given = case(200, "nemo-high", 100.0, seed)
    full, quick = played(given, False), played(given, True)
    assert quick["delivery_ratio"] == pytest.approx(full["delivery_ratio"], abs=0.002)
    assert quick["control_packets"] == pytest.approx(full["control_packets"], rel=0.05)
    assert quick["control_bytes"] == pytest.approx(full["control_bytes"], rel=0.05)
    assert quick["state_entries"] == pytest.approx(full["state_entries"], rel=0.05)
    assert quick["recovery_seconds"] == pytest.approx(full["recovery_seconds"], rel=0.25)


def test_relatives_that_know_each_other_meet_without_a_message() -> None:
    made, world = settled(24)
    parents = made.parents()
    member = next(
        node
        for node, parent in zip(made.hosts[1:], parents[1:], strict=True)
        if parent > 0 and any(kin.is_known for kin in role_of(node).kinship.named.values())
    )
    role = role_of(member)
    kin = next(kin for kin in role.kinship.named.values() if kin.is_known)
    other = world.node_at(kin.endpoint)
    assert other is not None
    kin.refreshed = -1e9
    before = (member.sent, other.sent, len(world._schedule))
    trips = 2 * world.network.topology.delay_us(member.place, other.place) / 1e6
    kin.round_trip = RoundTrip()
    world._meet_relatives(member, world.now)
    assert (member.sent, other.sent, len(world._schedule)) == (
        before[0] + 1,
        before[1] + 1,
        before[2],
    )
    assert kin.refreshed == kin.heard == world.now
    assert kin.record == role_of(other).record(world.now)
    assert kin.round_trip.smoothed == pytest.approx(trips)
    assert role_of(other).kinship.is_guest(member.endpoint, world.now)


@pytest.mark.parametrize("trouble", ["down", "another life", "loss", "unknown"])
def test_messages_go_wherever_it_is_not_sure_what_comes_back(trouble: str) -> None:
    made, world = settled(24)
    member = next(
        node
        for node, parent in zip(made.hosts[1:], made.parents()[1:], strict=True)
        if parent > 0 and any(kin.is_known for kin in role_of(node).kinship.named.values())
    )
    for kin in role_of(member).kinship.named.values():
        kin.refreshed = -1e9
        other = world.node_at(kin.endpoint)
        assert other is not None
        if trouble == "down":
            world.crash(other)
        elif trouble == "another life":
            world.crash(other)
            world.restart(other)
        elif trouble == "unknown":
            kin.heard = float("-inf")
    if trouble == "loss":
        world.network.set_conditions(Conditions(loss=0.01))
    before = member.sent
    world._meet_relatives(member, world.now)
    assert member.sent == before
    assert all(kin.refreshed == -1e9 for kin in role_of(member).kinship.named.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
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


@pytest.mark.parametrize("option", ["wire", "limited"])
def test_what_needs_real_packets_is_refused(option: str) -> None:
    given = case(12, seconds=5.0, options=(("plane", "arrays"), (option, "yes")))
    with pytest.raises(UsageError, match=option):
        overlay.run(given)


def test_members_and_super_nodes_are_told_apart() -> None:
    figures = flows.play(case(40, seconds=5.0)).figures
    assert figures["core_state_entries"] > figures["member_state_entries"] > 0.0
    assert figures["core_control_bytes"] > figures["member_control_bytes"] > 0.0
    low, high = figures["member_state_entries"], figures["core_state_entries"]
    assert low < figures["state_entries"] < high


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_variant_lets_places_lapse_between_two_renewals(variant: str) -> None:
    # Whoever is in the mesh renews its place there as often as others renew theirs.
    found = parameters_of(replace(case(12), protocol=variant))
    assert min(found.hold_cluster, found.hold_mesh) >= 2 * found.refresh_cluster
