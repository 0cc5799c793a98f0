"""Each check must fail where what it guards is broken, and hold where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dmmp.actions import Action, Become, ForwarderAction, Report
from dmmp.events import Admitted, ChildAdded, Left
from dmmp.forwarding.burst import Burst, Outcome, Silent
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import no_interest
from dmmp.messages.local import Silence
from dmmp.parameters import Parameters
from dmmp.sim.carrying import GROUP
from dmmp.sim.node import Node
from dmmp.sim.world import World
from dmmp.types import HostId, Instant, IpAddress, SessionId
from tests.simulation.stand_ins import (
    Scripted,
    add,
    endpoint,
    entry,
    failed,
    host_of,
    record,
    start,
    world,
)


def joined(parent: int) -> Report:
    """Make the report of an admission below the host at a place."""
    return Report(Admitted(HostId(parent + 1), endpoint(parent), 1))


def pair(*, child_forwarder: Forwarder | None = None) -> tuple[World, Node, Node]:
    """Make a source with one member below it, all as it should be."""
    made = world(5.0)
    source = add(made, "source", entry(downstream=[1], delivers=False), kind="source", depth=0)
    member = add(
        made, "member", entry(upstream=0), joined(0), parent=0, depth=1, forwarder=child_forwarder
    )
    start(made).subscribe(member)
    host_of(source).shown = replace(host_of(source).shown, children=(record(1),))
    return made, source, member


def send_some(made: World, source: Node, count: int = 3) -> None:
    """Send packets, one a second, once the member is settled."""
    for number in range(count):
        made.at(4.0 + number, lambda: made.originate(source))


def test_a_sound_world_fails_no_check() -> None:
    """The base of all below: source, member, packets, nothing amiss."""
    made, source, member = pair()
    send_some(made, source)
    made.run_until(10.0)
    made.finish(range(3), strict=True)
    assert made.failures == []
    assert set(member.heard) == {0, 1, 2}
    assert member.heard_us is not None and member.admitted_us == 0


def test_capacity_in_the_entry() -> None:
    """An entry with more branches than the host can feed."""
    made = world()
    add(made, "a", entry(downstream=[1, 2, 3]), out_degree=2)
    start(made)
    assert failed(made) == ["capacity"]


def test_capacity_in_what_is_shown() -> None:
    """Children without interest are in no entry, and count all the same."""
    made = world()
    node = add(made, "a", out_degree=1)
    host_of(node).shown = replace(
        host_of(node).shown, children=(record(1),), mesh_children=(record(2),)
    )
    host_of(node).on_wake = lambda now: [Report(ChildAdded(HostId(2), endpoint(1)))]
    host_of(node).alarm = (0.5, "TEST")
    start(made).run_until(0.6)
    assert "capacity" in failed(made)


def test_a_cycle_is_found_at_once() -> None:
    """Three hosts, each below the next."""
    made = world()
    made.checks.bounds = replace(made.checks.bounds, cycle=0.0)
    first = add(made, "a", entry(upstream=1, downstream=[2]))
    second = add(made, "b", entry(upstream=2, downstream=[0]))
    add(made, "c", entry(upstream=0, downstream=[1]))
    made.start(first)
    made.start(second)
    assert failed(made) == []
    start(made)
    assert failed(made) == ["cycle"]
    assert "c < a < b < c" in made.failures[0].detail


def test_upstream_alone_is_no_cycle() -> None:
    """Two that would take data from each other, and neither sends any: nothing goes round."""
    made = world()
    made.checks.bounds = replace(made.checks.bounds, cycle=0.0)
    add(made, "a", entry(upstream=1))
    add(made, "b", entry(upstream=0))
    start(made)
    assert failed(made) == []


def test_a_cycle_may_be_given_time_to_end() -> None:
    """With a bound it must last as long before it counts."""
    made = world()
    made.checks.bounds = replace(made.checks.bounds, cycle=2.0)
    add(made, "a", entry(upstream=1, downstream=[1]))
    add(made, "b", entry(upstream=0, downstream=[0]))
    start(made).run_until(1.5)
    assert failed(made) == []
    assert made.checks.cycles_seen == 1
    made.run_until(3.0)
    assert failed(made) == ["cycle"]


def test_no_cycle_through_the_dead() -> None:
    """A dead host forwards nothing, whatever it was last told."""
    made = world()
    made.checks.bounds = replace(made.checks.bounds, cycle=0.0)
    first = add(made, "a", entry(upstream=1, downstream=[1]))
    add(made, "b", entry(upstream=0, downstream=[0]))
    made.start(first)
    made.crash(first)
    start(made)
    assert failed(made) == []


class Twice(Forwarder):
    """A forwarder that delivers each packet twice."""

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Deliver again what was delivered."""
        outcome = super().forward(burst, now)
        return Outcome(outcome.transmits, outcome.deliveries * 2)


def test_duplicates() -> None:
    """No program gets a packet twice."""
    made, source, _ = pair(child_forwarder=Twice(Parameters()))
    send_some(made, source)
    made.run_until(10.0)
    assert failed(made) == ["duplicate"]


class Forges(Forwarder):
    """A forwarder that changes the last byte of what it delivers."""

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Change a byte."""
        outcome = super().forward(burst, now)
        changed = [
            delivery._replace(data=bytes(delivery.data[:-1]) + b"\xff")
            for delivery in outcome.deliveries
        ]
        return Outcome(outcome.transmits, changed)


def test_forgery() -> None:
    """What is delivered was sent, to the last byte."""
    made, source, _ = pair(child_forwarder=Forges(Parameters()))
    send_some(made, source)
    made.run_until(10.0)
    assert failed(made) == ["forgery"]


def test_unwanted() -> None:
    """A host whose programs have left the group, and whose entry still delivers."""
    made, source, member = pair()
    made.subscribe(member, no_interest(GROUP))
    send_some(made, source)
    made.run_until(10.0)
    assert failed(made) == ["unwanted"]


def test_tables() -> None:
    """A table beyond its bound."""
    made = world()
    node = add(made, "a")
    host_of(node).shown = replace(host_of(node).shown, tables=(("children", 257),))
    start(made).run_until(11.0)
    assert failed(made) == ["table"]


def test_tables_without_a_bound() -> None:
    """Whoever adds a table must say how large it may grow."""
    made = world()
    node = add(made, "a")
    host_of(node).shown = replace(host_of(node).shown, tables=(("secrets", 1),))
    start(made).run_until(11.0)
    assert failed(made) == ["table"]


def test_upstream_that_does_not_serve() -> None:
    """A takes data from B, and B sends it nothing: wrong, but only after a while."""
    made = world(5.0)
    source = add(made, "source", entry(), kind="source")
    member = add(made, "member", entry(upstream=0))
    start(made).subscribe(member)
    made.run_until(5.0)
    assert failed(made) == []
    made.run_until(8.0)
    assert failed(made) == ["one-sided"]
    assert "is not among those served by source" in made.failures[0].detail
    assert source.alive


def test_branch_to_one_that_does_not_listen() -> None:
    """B sends data to A, and A takes its data elsewhere."""
    made = world(5.0)
    add(made, "source", entry(downstream=[1]), kind="source")
    add(made, "member")
    start(made).run_until(8.0)
    assert failed(made) == ["one-sided"]
    assert "sends data in vain to member" in made.failures[0].detail


def test_upstream_that_is_dead() -> None:
    """Nobody waits for a dead parent for ever."""
    made, source, _ = pair()
    made.crash(source)
    made.run_until(5.0)
    assert failed(made) == []
    made.run_until(8.0)
    assert failed(made) == ["one-sided"]
    assert "takes data from the dead" in made.failures[0].detail


def test_branch_to_the_dead() -> None:
    """Nobody serves a dead child for ever."""
    made, _, member = pair()
    made.crash(member)
    made.run_until(5.0)
    assert failed(made) == []
    made.run_until(8.0)
    assert failed(made) == ["one-sided"]
    assert "sends data to the dead member" in made.failures[0].detail


def test_leaving() -> None:
    """A host that never says it has left."""
    made, _, member = pair()
    made.stop(member)
    made.run_until(8.0)
    assert failed(made) == ["leaving"]


def test_leaving_in_time() -> None:
    """`Left` switches the machine off."""
    made, _, member = pair()
    host_of(member).on_wake = lambda now: [Report(Left())]
    host_of(member).alarm = (1.0, "LEAVE")
    made.stop(member)
    made.run_until(4.0)
    assert failed(made) == []
    assert not member.alive and not member.crashed and member.gone_us == 1_000_000


def test_joined() -> None:
    """A host without a parent in the end."""
    made = world(5.0)
    add(made, "source", entry(), kind="source")
    add(made, "member", entry())
    start(made).finish()
    assert failed(made) == ["joined"]


def test_joined_to_nowhere() -> None:
    """A host whose parent has no upstream itself, though it says so."""
    made = world(5.0)
    add(made, "source", entry(), kind="source", depth=0)
    add(made, "a", entry(downstream=[2]), parent=0, depth=1)
    member = add(made, "member", entry(upstream=1), parent=1, depth=2)
    start(made).subscribe(member)
    made.finish()
    assert any("the way up ends at a" in failure.detail for failure in made.failures)


def test_depth() -> None:
    """A host that is nearer than it says."""
    made, _, member = pair()
    host_of(member).shown = replace(host_of(member).shown, depth=3)
    made.finish()
    assert failed(made) == ["depth"]


def test_heard() -> None:
    """A host that is joined and hears nothing: its upstream link is cut."""
    made, source, member = pair()
    made.network.block(source.place, member.place)
    send_some(made, source)
    made.run_until(10.0)
    made.finish(range(3))
    assert failed(made) == ["heard"]


@pytest.mark.parametrize("strict", [False, True])
def test_heard_in_part(strict: bool) -> None:
    """One lost packet is wrong only where every one is expected."""
    made, source, member = pair()
    send_some(made, source)
    made.at(4.9, lambda: made.network.block(source.place, member.place))
    made.at(5.1, made.network.heal)
    made.run_until(5.2)
    assert set(range(2)) - set(member.heard) == {1}
    made.checks.heard(made.now_us, made.packets, range(2), strict)
    assert failed(made) == (["heard"] if strict else [])


def test_remains() -> None:
    """A parent that still shows a child that has long gone."""
    made, source, member = pair()
    made.crash(member)
    made.tell(source, Silence(0.0))
    made.run_until(4.0)
    made.checks.remains(made.now_us)
    assert failed(made) == []
    made.run_until(6.0)
    made.checks.remains(made.now_us)
    assert failed(made) == ["remains"]
    assert "among its children" in made.failures[0].detail


def test_a_registry_may_show_the_dead_as_long_as_it_holds_them() -> None:
    """Relatives forget sooner: they ask."""
    made, source, member = pair()
    made.checks.bounds = replace(made.checks.bounds, registry=8.0)
    point = made.add("rp", "rendezvous-point", Scripted("rp"), source.views)
    made.start(point)
    gone = host_of(source).shown.children
    host_of(source).shown = replace(host_of(source).shown, hosts=1, children=(), super_nodes=gone)
    made.crash(member)
    for now, expected in ((6.0, {"source"}), (9.0, {"source", "rp"})):
        made.run_until(now)
        made.checks.remains(made.now_us)
        told = {failure.who for failure in made.failures if "super nodes" in failure.detail}
        assert told == expected


def test_remains_at_the_rendezvous_point() -> None:
    """An RP that counts the dead."""
    made, source, member = pair()
    point = made.add("rp", "rendezvous-point", Scripted("rp"), source.views)
    made.start(point)
    host_of(source).shown = replace(host_of(source).shown, hosts=2, children=())
    made.crash(member)
    made.run_until(4.0)
    made.checks.remains(made.now_us)
    assert failed(made) == []
    made.run_until(6.0)
    made.checks.remains(made.now_us)
    assert failed(made) == ["remains"]
    assert "counts 2 hosts, there are 1" in made.failures[0].detail


def test_contract() -> None:
    """An action that no driver can carry out, and an RP that wants to forward data."""
    made = world()
    add(made, "a", Become("source", None))
    start(made)
    assert failed(made) == ["contract"]
    made = world()
    node = add(made, "rp")
    node.forwarder = None
    start(made)
    made.tell(node, host_start())
    made._perform(node, [entry()])
    assert failed(made) == ["contract"]


def host_start() -> Silence:
    """Return any local input."""
    return Silence(0.0)


def test_progress() -> None:
    """A host whose alarm is always due would stop virtual time."""
    made = world()
    node = add(made, "a")
    host_of(node).alarm = (0.5, "TEST")
    start(made).run_until(1.0)
    assert failed(made) == ["progress"]
    assert made.now == 1.0


class Wakes:
    """A forwarder that does nothing but ring once and report silence."""

    def __init__(self) -> None:
        self.alarm: tuple[Instant, str] | None = None

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Set the alarm."""
        self.alarm = (0.25, "SILENCE")
        return Outcome()

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Do nothing."""
        return Outcome()

    def originate(
        self,
        session: SessionId,
        host: HostId,
        tree_version: int,
        group: IpAddress,
        source: IpAddress,
        packets: Sequence[bytes | memoryview],
        now: Instant,
    ) -> Outcome:
        """Do nothing."""
        return Outcome()

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Report silence, once."""
        self.alarm = None
        return Outcome(), [Silent(0.125)]

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return the one alarm."""
        return self.alarm


def test_the_earlier_alarm_of_the_two_rings() -> None:
    """And what the forwarder noticed reaches the host by its one door."""
    made = world()
    rung: list[Instant] = []
    node = add(made, "a", entry(), forwarder=Wakes())
    host = host_of(node)

    def on_wake(now: Instant) -> list[Action]:
        rung.append(now)
        host.alarm = None if now >= 0.75 else host.alarm
        return []

    host.on_wake = on_wake
    host.alarm = (0.75, "TEST")
    start(made).run_until(1.0)
    assert host.inputs[-1] == Silence(0.125)
    assert rung == [0.75]
    assert failed(made) == []
