"""Sessions of several RPs, and a source that dies and returns (Decision 21, slide 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from dmmp.forwarding.forwarder import Forwarder
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.sim.node import Node
from dmmp.sim.scenario import SESSION, add_end_host
from dmmp.sim.topology import topology
from dmmp.sim.world import World
from dmmp.types import Endpoint, HostId, Instant
from tests.marks import slow

PARENTS = dict[str, HostId]


class Stage:
    """RPs, a source, relays and members in one world; the source sends all the time."""

    def __init__(self, points: int = 2, relays: int = 2, seed: int = 1) -> None:
        # Places are compared: nobody is to move to a better one meanwhile.
        still = Parameters(nearing_look=0.0)
        self.world = World(seed, topology("plane", Random(f"{seed}/topology")), parameters=still)
        self.points = [self.add_point(index) for index in range(points)]
        self.endpoints: tuple[Endpoint, ...] = tuple(point.endpoint for point in self.points)
        self.source = self.add("source", "source", 8)
        self.relays = [self.add(f"s{number}", "super-node", 8) for number in range(relays)]
        self.members: list[Node] = []
        for node in (*self.points, self.source, *self.relays):
            self.world.at(0.0, self.starter(node))

    def add_point(self, index: int) -> Node:
        name = f"rp{index}"
        point = RendezvousPoint((SESSION,), self.world.parameters, self.world.random(name), index)
        return self.world.add(name, "rendezvous-point", point, point.views)

    def add(self, name: str, kind: str, out_degree: int) -> Node:
        return add_end_host(self.world, name, kind, out_degree, self.endpoints)

    def starter(self, node: Node, joins: bool = False) -> Callable[[], None]:
        def start() -> None:
            self.world.start(node)
            if joins:
                self.world.subscribe(node)

        return start

    def join(self, count: int, since: Instant, within: Instant) -> None:
        """Have members come one after the other."""
        for number in range(count):
            member = self.add(f"m{len(self.members)}", "member", 3)
            self.members.append(member)
            self.world.at(since + within * number / count, self.starter(member, joins=True))

    def send(self, since: Instant, until: Instant, rate: float = 20.0) -> None:
        """Have the program at the source send packets."""
        for number in range(int((until - since) * rate)):
            self.world.at(since + number / rate, lambda: self.world.originate(self.source))

    def start_anew(self, point: Node) -> None:
        """Have an RP that was killed start with nothing at its old address."""
        index = self.points.index(point)
        rng = self.world.random(point.name, "anew")
        host = RendezvousPoint((SESSION,), self.world.parameters, rng, index)
        point.host, point.views, point.crashed, point.gone_us = host, host.views, False, None
        self.world.start(point)

    def source_anew(self, node: Node) -> None:
        """Have a source that was killed start again there, as another process."""
        setup = HostSetup(SESSION, self.endpoints, 8, instance=4711)
        host = EndHost("source", setup, self.world.parameters, self.world.random("source anew"))
        node.host, node.views = host, lambda now: (host.view(now),)
        node.forwarder = Forwarder(self.world.parameters)
        node.entries, node.crashed, node.gone_us = {}, False, None
        node.upstream, node.downstream = (), {}
        self.world.start(node)

    def places(self) -> PARENTS:
        """Return who stands where, and as whom."""
        found: PARENTS = {}
        for node in (self.source, *self.relays, *self.members):
            view = node.view(self.world.now)
            found[f"{node.name} is"] = view.host
            found[f"{node.name} below"] = view.parent.host if view.parent else HostId(0)
        return found

    def missed(self, since: Instant = 0.0) -> dict[str, list[int]]:
        """Return the packets, sent from then on, that members in the tree did not get."""
        sent = [n for n, at in enumerate(self.world.packets) if at >= since * 1e6]
        found = {m.name: [n for n in sent if n not in m.heard] for m in self.members if m.alive}
        return {name: numbers for name, numbers in found.items() if numbers}

    def sound(self) -> None:
        """Fail if a check does not hold."""
        assert not self.world.failures, "\n".join(map(str, self.world.failures))
        assert not self.world.checks.places(self.world.now_us)


def settled(points: int = 2, members: int = 20) -> Stage:
    """Make a session in which everybody has a place."""
    stage = Stage(points)
    stage.join(members, 0.5, 5.0)
    stage.world.run_until(20.0)
    assert all(node.admitted_us is not None for node in stage.members)
    return stage


def test_every_rp_knows_every_host_by_the_same_id() -> None:
    stage = settled(3)
    views = [point.view(20.0) for point in stage.points]
    assert {view.hosts for view in views} == {23}
    known = [
        {host.id for host in point.host.sessions.values()}  # type: ignore[attr-defined]
        for point in stage.points
    ]
    assert known[0] == known[1] == known[2]
    registered = [
        set(next(iter(point.host.sessions.values())).hosts)  # type: ignore[attr-defined]
        for point in stage.points
    ]
    assert registered[0] == registered[1] == registered[2]
    stage.world.run_until(50.0)
    assert {node.view(50.0).hosts for node in stage.members} == {23}
    stage.sound()


@pytest.mark.parametrize("killed", [0, *slow(1)])
def test_everybody_joins_though_an_rp_dies_in_the_flash_crowd(killed: int) -> None:
    stage = Stage()
    stage.join(50, 0.5, 5.0)
    stage.send(15.0, 20.0)
    stage.world.at(2.5, lambda: stage.world.crash(stage.points[killed]))
    stage.world.run_until(25.0)
    late = [node.name for node in stage.members if node.admitted_us is None]
    assert not late
    # Who came when it was dead lost no more than the moment that the next one is tried after.
    for node in stage.members:
        assert node.admitted_us is not None and node.started_us is not None
        assert node.admitted_us - node.started_us < 4e6, node.name
    assert not stage.missed(15.0)
    stage.sound()


@pytest.mark.parametrize("points", [2, *slow(1)])
def test_an_rp_that_starts_empty_learns_everything_and_disturbs_nobody(points: int) -> None:
    stage = settled(points)
    stage.send(20.0, 60.0)
    before, version = stage.places(), stage.points[0].view(20.0).tree_version
    stage.world.at(22.0, lambda: stage.world.crash(stage.points[0]))
    stage.world.at(23.0, lambda: stage.start_anew(stage.points[0]))
    core = 23.0 + 1.2 * stage.world.parameters.refresh_rp_core + 0.1
    stage.world.run_until(core)
    view = stage.points[0].view(core)
    assert view.tree_version == version
    assert {host.host for host in view.super_nodes} == {
        node.view(core).host for node in stage.relays
    }
    members = 23.0 + 1.2 * stage.world.parameters.refresh_rp + 0.1
    stage.world.run_until(members)
    assert stage.points[0].view(members).hosts == 23
    stage.world.run_until(63.0)
    assert stage.places() == before
    assert not stage.missed(20.0)
    stage.sound()


def test_nobody_notices_a_dead_rp_and_its_return_is_noticed_within_one_refresh() -> None:
    stage = settled()
    stage.send(20.0, 150.0, 5.0)
    before = stage.places()
    stage.world.at(21.0, lambda: stage.world.crash(stage.points[1]))
    stage.world.run_until(120.0)
    assert {node.view(120.0).hosts for node in stage.members} == {23}
    stage.start_anew(stage.points[1])
    until = 120.0 + 1.2 * stage.world.parameters.refresh_rp + 0.1
    stage.world.run_until(until)
    assert stage.points[1].view(until).hosts == 23
    stage.world.run_until(153.0)
    assert stage.places() == before and not stage.missed(20.0)
    stage.sound()


# The source dies and returns.


@pytest.mark.parametrize(
    "pause",
    [0.5, pytest.param(5.0, marks=pytest.mark.slow), pytest.param(40.0, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("points", [1, 2])
def test_a_source_that_is_started_again_is_heard_from_its_first_packet_on(
    pause: float, points: int
) -> None:
    stage = settled(points)
    stage.send(20.0, 22.0)
    version, old = stage.source.view(20.0).tree_version, stage.source.view(20.0).host
    back = 22.5 + pause
    stage.world.at(22.5, lambda: stage.world.crash(stage.source))
    stage.world.at(back, lambda: stage.source_anew(stage.source))
    # As soon as the super nodes can have their places again: until then nobody wants it.
    stage.send(back + 0.6, back + 20.0)
    relays = [node.view(22.0).host for node in stage.relays]
    stage.world.run_until(back + 23.0)
    now = stage.world.now
    view = stage.source.view(now)
    assert view.host != old
    assert 0 < (view.tree_version - version) % 256 < 128
    assert not stage.missed(20.0)
    # The same super nodes, under the same ids.
    assert [node.view(now).host for node in stage.relays] == relays
    assert {host.host for host in view.super_nodes} == set(relays)
    assert all(node.view(now).role == "super-node" for node in stage.relays)
    stage.sound()


def test_super_nodes_are_taken_up_again_at_once() -> None:
    stage = settled()
    stage.world.at(22.0, lambda: stage.world.crash(stage.source))
    stage.world.at(30.0, lambda: stage.source_anew(stage.source))
    stage.world.run_until(31.0)
    view = stage.source.view(31.0)
    assert len(view.super_nodes) == 2 and len(view.mesh_children) >= 1


def test_a_source_that_comes_back_elsewhere_is_taken_in_seconds() -> None:
    stage = settled()
    stage.send(20.0, 22.0)
    moved = stage.add("moved", "source", 8)
    stage.world.at(22.5, lambda: stage.world.crash(stage.source))
    stage.world.at(24.0, lambda: stage.world.start(moved))
    stage.world.run_until(28.0)
    assert moved.view(28.0).state == "Rooted" and len(moved.view(28.0).super_nodes) == 2
    stage.source = moved
    stage.send(34.0, 40.0)
    stage.world.run_until(45.0)
    assert not stage.missed(20.0)
    stage.sound()


LONG_CUTS = [pytest.param(seconds, marks=pytest.mark.slow) for seconds in (20.0, 60.0, 100.0)]


@pytest.mark.parametrize("cut", [5.0, *LONG_CUTS])
def test_a_source_that_was_cut_off_and_comes_back_is_heard_again(cut: float) -> None:
    stage = settled()
    old = stage.source.view(20.0).host
    version = stage.source.view(20.0).tree_version
    stage.world.network.partition([stage.source.place])
    stage.send(20.0, 20.0 + cut, 2.0)
    stage.world.run_until(20.0 + cut)
    stage.world.network.heal()
    stage.send(36.0 + cut, 42.0 + cut)
    stage.world.run_until(36.0 + cut)
    stage.world.run_until(45.0 + cut)
    now = stage.world.now
    view = stage.source.view(now)
    assert view.host == old and (view.tree_version - version) % 256 < 128
    assert all(node.view(now).role == "super-node" for node in stage.relays)
    assert not stage.missed(36.0 + cut)
    stage.sound()


def test_two_sources_at_once_leave_one() -> None:
    stage = settled()
    other = stage.add("other", "source", 8)
    stage.send(20.0, 60.0)
    stage.world.start(other)
    stage.world.run_until(63.0)
    assert stage.source.view(63.0).state == "Rooted"
    assert other.view(63.0).state == "Locating" and not stage.missed(20.0)


def test_two_sources_that_each_have_an_rp_leave_one() -> None:
    stage = Stage(relays=1)
    other = stage.add("other", "source", 8)
    place = stage.world.network
    # Each can reach one RP only when it starts.
    pairs = [(stage.source, stage.points[1]), (other, stage.points[0])]
    for source, point in pairs:
        place.block(source.place, point.place)
    stage.world.at(0.0, stage.starter(other))
    stage.world.run_until(10.0)
    assert {n.view(10.0).state for n in (stage.source, other)} == {"Rooted"}
    for source, point in pairs:
        place.unblock(source.place, point.place)
    stage.world.run_until(60.0)
    assert stage.source.view(60.0).state == "Rooted"
    assert other.view(60.0).state != "Rooted"
    assert stage.points[1].view(60.0).hosts == stage.points[0].view(60.0).hosts
    # The super node that had gone over to the other one is fetched back.
    bounds = stage.world.parameters
    end = 12.0 + 2 * bounds.hold_mesh + 2 * bounds.refresh_mesh
    stage.world.run_until(end)
    assert [host.host for host in stage.source.view(end).mesh_children] == [
        stage.relays[0].view(end).host
    ]


def test_two_rps_of_one_index_and_one_count_never_leave_two_hosts_with_one_id() -> None:
    stage = Stage(points=1, relays=1)
    twin = RendezvousPoint((SESSION,), stage.world.parameters, stage.world.random("rp0"), 0)
    second = stage.world.add("twin", "rendezvous-point", twin, twin.views)
    # It must not be taken for the first: only its count is the same.
    for session in twin.sessions.values():
        session.me = HostId(session.me ^ 0x0800_0000)
    stage.world.at(0.0, stage.starter(second))
    stage.endpoints = (stage.points[0].endpoint, second.endpoint)
    for node in (stage.source, *stage.relays):
        setup = node.host.standing.setup  # type: ignore[attr-defined]
        again = replace(setup, rendezvous_points=stage.endpoints)
        kind = "source" if node is stage.source else "super-node"
        host = EndHost(kind, again, stage.world.parameters, stage.world.random(node.name))
        node.host, node.views = host, lambda now, host=host: (host.view(now),)  # type: ignore[misc]
    stage.join(10, 0.5, 2.0)
    stage.endpoints = stage.endpoints[::-1]
    stage.join(10, 0.5, 2.0)
    stage.world.run_until(30.0)
    ids = [node.view(30.0).host for node in (stage.source, *stage.relays, *stage.members)]
    assert len(set(ids)) == len(ids) and all(ids)
    assert not stage.world.checks.places(stage.world.now_us)
