"""Faults: each kind does to machines and network what it says, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.sim.faults import Fault
from dmmp.sim.scenario import Scenario
from dmmp.sim.world import World

CALM = Scenario(
    seed=5, members=10, window=2.0, settle=25.0, topology="plane", packets_per_second=5.0
)


def started(*faults: Fault, until: float, **fields: object) -> World:
    """Run a small session with these faults up to some time."""
    scenario = replace(CALM, faults=faults, safety=True, **fields)  # type: ignore[arg-type]
    world = scenario.prepare()
    world.run_until(until)
    return world


def is_on(world: World, name: str) -> bool:
    """Tell whether a machine runs."""
    return world.node(name).alive


def test_crash_and_fresh_start() -> None:
    """Off for two seconds, then another instance at the same address, joined to the same group."""
    world = started(Fault("crash", 10.0, 2.0, "m3"), until=11.0)
    node = world.node("m3")
    before, former = node.endpoint, node.host
    assert node.crashed and not is_on(world, "m3")
    world.run_until(16.0)
    assert is_on(world, "m3") and node.gone_us is None
    assert node.lives == 2 and node.host is not former and node.endpoint == before
    assert node.admitted_us is not None and node.admitted_us > 12_000_000
    assert len(node.heard) > 10


def test_leave_and_fresh_start() -> None:
    """In good order: it has said goodbye before it goes."""
    world = started(Fault("leave", 10.0, 6.0, "m3"), until=14.0)
    assert not world.node("m3").alive and not world.node("m3").crashed
    world.run_until(20.0)
    assert world.node("m3").alive and world.node("m3").lives == 2


def test_suspend_goes_on_with_what_it_knew() -> None:
    """The same host object, deaf meanwhile, its alarms rung afterwards."""
    world = started(Fault("suspend", 10.0, 5.0, "m3"), until=12.0)
    node = world.node("m3")
    host, heard = node.host, len(node.heard)
    assert not is_on(world, "m3") and node.suspended
    world.run_until(14.9)
    assert len(node.heard) == heard
    world.run_until(25.0)
    assert is_on(world, "m3") and node.host is host and node.lives == 1
    assert len(node.heard) > heard + 10


def test_a_one_way_cut_lets_the_way_back_open() -> None:
    """What m1 sends to m2 is lost, nothing else."""
    world = started(Fault("cut", 10.0, 5.0, "m1", "m2"), until=12.0)
    one, other = world.node("m1").place, world.node("m2").place
    assert not world.network.is_open(one, other) and world.network.is_open(other, one)
    world.run_until(15.1)
    assert world.network.is_open(one, other)


def test_a_partition_by_name_and_by_share() -> None:
    """Inside an island datagrams pass; after the time everywhere."""
    world = started(Fault("partition", 10.0, 5.0, "m1,m2"), until=12.0)
    places = [world.node(name).place for name in ("m1", "m2", "source")]
    assert world.network.is_open(places[0], places[1])
    assert not world.network.is_open(places[0], places[2])
    world.run_until(15.1)
    assert world.network.is_open(places[0], places[2])
    world = started(Fault("partition", 10.0, 5.0, share=0.5), until=12.0)
    everyone = [node.place for node in world.nodes]
    cut_off = [place for place in everyone if not world.network.is_open(everyone[0], place)]
    assert 0 < len(cut_off) < len(everyone)


@pytest.mark.parametrize(
    ("kind", "count"),
    [("loss", "lost"), ("bursts", "lost"), ("duplicate", "duplicated"), ("reorder", "reordered")],
)
def test_a_worse_network_for_a_while(kind: str, count: str) -> None:
    """Something is lost, doubled or late while it lasts, and nothing before or after."""
    world = started(Fault(kind, 8.0, 12.0, amount=0.5), until=7.9)
    assert getattr(world.network.counts, count) == 0
    world.run_until(20.1)
    found = getattr(world.network.counts, count)
    assert found > 3
    world.run_until(26.0)
    assert getattr(world.network.counts, count) == found


def test_bursts_come_and_go() -> None:
    """Sometimes nothing gets through, sometimes everything does."""
    world = started(Fault("bursts", 8.0, 12.0, amount=1.0), until=8.0)
    plain = []
    for step in range(120):
        world.run_until(8.0 + step / 10)
        plain.append(world.network.is_plain)
    assert 0.1 < plain.count(False) / len(plain) < 0.5


def test_one_host_with_a_bad_line() -> None:
    """Only what it sends or gets is lost."""
    world = started(Fault("loss", 8.0, 6.0, "m1", amount=1.0), until=9.0)
    place = world.node("m1").place
    assert world.network.carry(place, 0) == () and world.network.carry(0, place) == ()
    assert world.network.carry(0, 1) != ()


def test_a_clock_jumps() -> None:
    """The host's view is of its own time; its alarms ring early."""
    world = started(until=9.0)
    node = world.node("m3")
    sent = node.sent
    world.jump(node, 30.0)
    assert node.ahead_us == 30_000_000
    world.run_until(9.01)
    assert node.sent > sent


def test_a_crowd_comes() -> None:
    """So many more members, within the time."""
    world = started(Fault("crowd", 8.0, 2.0, count=12), until=7.9)
    assert not any(node.alive for node in world.nodes if node.name.startswith("x"))
    world.run_until(10.0)
    assert sum(node.alive for node in world.nodes if node.name.startswith("x")) == 12


def test_the_source_returns_from_elsewhere() -> None:
    """The same machine, another address, another instance."""
    world = started(Fault("source-returns", 8.0, 2.0), until=7.9)
    before = world.node("source").endpoint
    world.run_until(9.0)
    assert not world.node("source").alive
    world.run_until(10.1)
    source = world.node("source")
    assert source.alive and source.lives == 2 and source.endpoint != before
    assert world.node_at(before) is None and world.node_at(source.endpoint) is source


def test_another_machine_becomes_the_source() -> None:
    """And sends from where the numbers were."""
    world = started(Fault("source-moves", 8.0, 2.0, graceful=True), until=8.0)
    sent = len(world.packets)
    world.run_until(25.0)
    new = [node for node in world.nodes if node.is_source and node.alive]
    assert len(new) == 1 and new[0].name != "source"
    assert not world.node("source").alive and not world.node("source").crashed
    assert len(world.packets) > sent


def test_a_nat_forgets() -> None:
    """The same host sends from elsewhere, and what comes to the old address is lost."""
    world = started(Fault("rebind", 8.0, who="m3"), until=7.9)
    node = world.node("m3")
    before, host = node.endpoint, node.host
    world.run_until(8.1)
    assert node.endpoint != before and node.host is host and node.lives == 1
    assert world.node_at(before) is None and world.node_at(node.endpoint) is node


def test_the_rendezvous_point_returns_empty() -> None:
    """Another life, that learns the hosts anew."""
    world = started(Fault("crash", 8.0, 1.0, "rp"), until=9.1, settle=60.0)
    assert world.node("rp").lives == 2
    assert world.node("rp").view(world.now).hosts < 5
    world.run_until(40.0)
    assert world.node("rp").view(world.now).hosts == 11


def test_several_rendezvous_points_know_their_index() -> None:
    """Ids that two of them give out cannot be the same (Decision 21)."""
    world = replace(CALM, rendezvous_points=3).prepare()
    points = [node for node in world.nodes if node.forwarder is None]
    assert [node.name for node in points] == ["rp", "rp2", "rp3"]
    assert [node.host.index for node in points] == [0, 1, 2]  # type: ignore[attr-defined]


def test_healing_mends_everything() -> None:
    """Network, machines that stand still, the RP, the source."""
    faults = (
        Fault("suspend", 8.0, 20.0, "m1"),
        Fault("crash", 8.0, 20.0, "rp"),
        Fault("source-returns", 8.0, 20.0),
        Fault("loss", 8.0, 20.0, amount=0.5),
        Fault("partition", 8.0, 20.0, share=0.5),
    )
    scenario = replace(CALM, faults=faults, heals=28.5, settle=90.0)
    world = scenario.prepare()
    world.run_until(27.0)
    assert not is_on(world, "m1") and not is_on(world, "rp")
    assert world.network.carry(0, 1) == () or world.network.counts.lost > 0
    world.run_until(28.6)
    assert world.network.is_plain
    assert all(node.alive for node in world.nodes)


def test_classes_are_what_hosts_are_at_that_moment() -> None:
    """A relay has children, a leaf has none, a super node is one; never the source."""
    for who, count in (("relay", 2), ("leaf", 3), ("super-node", 1), ("host", 4)):
        world = started(Fault("crash", 10.0, 0.0, who, count=count), until=9.999)
        views = {node.name: node.view(world.now) for node in world.nodes if node.alive}
        world.run_until(10.001)
        gone = [views[node.name] for node in world.nodes if node.crashed]
        assert len(gone) == count
        assert "source" not in {view.role for view in gone}
        if who in ("relay", "leaf"):
            has_children = [bool(view.children or view.mesh_children) for view in gone]
            assert set(has_children) == {who == "relay"}
        elif who == "super-node":
            assert gone[0].role == "super-node"
