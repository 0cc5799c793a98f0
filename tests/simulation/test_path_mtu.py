"""The search for path MTUs among simulated hosts: found everywhere, at no other cost."""

from __future__ import annotations

from dmmp.messages.local import Carries
from dmmp.roles.end_host import EndHost
from dmmp.sim.node import Node
from dmmp.sim.scenario import Scenario
from dmmp.sim.world import World

LARGEST = 8924
PLACES = (9000, 1500, 1400, 1280)
OVERHEAD = 28
CALM = Scenario(
    seed=5, members=12, window=2.0, settle=70.0, topology="plane", packets_per_second=5.0, loss=0.02
)


def searched(wire: bool) -> World:
    """Run a small session on links of several sizes, with losses."""
    world = CALM.prepare()
    world.wire = wire
    mtus = [PLACES[number % len(PLACES)] for number, _ in enumerate(world.nodes)]
    for node, mtu in zip(world.nodes, mtus, strict=True):
        world.network.set_mtu(node.place, mtu)
    ends = [node for node in world.nodes if isinstance(node.host, EndHost)]
    for node in ends:
        world.at(10.0, lambda node=node: world.tell(node, Carries(LARGEST)))  # type: ignore[misc]
    world.run_until(70.0)
    return world


def fits(world: World, node: Node, other: Node) -> int:
    """Return the MTU of the path between two nodes."""
    mtus = world.network._mtus
    return min(mtus[node.place], mtus[other.place], LARGEST + OVERHEAD)


def test_every_parent_finds_the_path_of_every_child() -> None:
    world = searched(wire=True)
    assert world.failures == [] and world.undecodable == 0
    found = 0
    for node in world.nodes:
        for path in node.view(world.now).paths if isinstance(node.host, EndHost) else ():
            other = world.node_at(path.endpoint)
            assert other is not None
            # A child sees what its parent has found; both may be on the way after a move.
            assert path.path_mtu <= fits(world, node, other)
            found += path.path_mtu == fits(world, node, other)
    assert found >= 20
    assert world.network.counts.too_large > 0


def test_nothing_is_probed_where_nobody_says_so() -> None:
    world = CALM.prepare()
    world.run_until(20.0)
    assert world.network.counts.too_large == 0
    hosts = [node.host for node in world.nodes if isinstance(node.host, EndHost)]
    assert hosts and all(len(host.paths) == 0 for host in hosts)
