"""Hostile hosts with certificates and keys among honest ones (threat table, rows 10, 13 to 17, 19).

All in virtual time, with real gates, guards, forwarders and roles; what misbehaves is in
`tests.attackers.hostile`. `python -m tests.attackers.crowd` gives figures for more hosts and
seeds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from dmmp.forwarding.burst import Burst
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages.header import CHANNEL_MASK, FLAG_MANIFEST, HEADER, Header
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.security.data_guard import DataGuard
from dmmp.security.signing import Signer
from dmmp.sim.node import Node
from dmmp.sim.secured import Secured
from dmmp.types import DEFAULT_PORT, Endpoint, Instant
from tests.attackers.crowd import KINDS, play
from tests.attackers.hostile import DATA, Conduct, HostilePoint, guard_of
from tests.attackers.insider import Forger
from tests.attackers.listener import Tap, is_sealed, tap
from tests.attacks import attack_count
from tests.marks import long
from tests.simulation.secured_stage import SecuredStage

pytestmark = pytest.mark.slow


def told(*words: object) -> None:
    """Write a measured figure, which `pytest -s` shows."""
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")


NEVER = float("inf")

STEP = 0.05
"""How often the tests look who feeds whom, seconds."""


def asleep(members: int) -> dict[str, Conduct]:
    """Make every member one that could turn hostile."""
    return {f"m{number}": Conduct(since=NEVER) for number in range(members)}


@dataclass
class Watch:
    """Who of some hosts had a certain parent when; looked at until a moment."""

    stage: SecuredStage
    parent: Node
    children: list[Node]
    since: Instant
    gone: dict[str, float] = field(default_factory=dict)
    """Of each that left, how long after `since`."""
    back: set[str] = field(default_factory=set)
    """Who came back later."""

    def until(self, instant: Instant) -> Watch:
        """Look now and then until this moment."""
        world = self.stage.world
        for step in range(int((instant - world.now) / STEP)):
            world.at(world.now + step * STEP, self._look)
        return self

    def _look(self) -> None:
        for child in self.children:
            has_left = not child.upstream or child.upstream[0] is not self.parent
            if has_left:
                self.gone.setdefault(child.name, self.stage.world.now - self.since)
            elif child.name in self.gone:
                self.back.add(child.name)


def grown(seed: int, members: int = 30, source_out_degree: int = 3) -> tuple[SecuredStage, Instant]:
    """Make a session with a stream, in which nobody misbehaves yet; return it, and the time."""
    stage = SecuredStage(seed, asleep(members), source_out_degree=source_out_degree)
    stage.join(members, 0.5, members * 0.05)
    at = 0.5 + members * 0.05 + 6.0
    stage.send(at - 3.0, at + 34.0, 50.0, 5)
    stage.world.run_until(at)
    return stage, at


def busiest(stage: SecuredStage, among: list[Node]) -> Node:
    """Return who feeds the most."""
    return max(among, key=lambda node: (len(stage.children_of(node)), node.name))


def relay_of(stage: SecuredStage, kind: str) -> Node:
    """Choose who is to turn hostile: a super node, or a member that feeds others."""
    core = stage.super_nodes()
    pool = core if kind == "super-node" else [n for n in stage.members if n not in core]
    chosen = busiest(stage, pool)
    assert stage.children_of(chosen)
    return chosen


# Row 13: a relay that keeps data back.


@pytest.mark.parametrize(
    ("who", "conduct", "seed"),
    [
        ("member", {"drops": 1.0}, 1),
        *(
            pytest.param(who, conduct, seed, marks=pytest.mark.long)
            for who in ("member", "super-node")
            for conduct in (
                {"drops": 1.0},
                {"drops": 0.5},
                {"drops": 0.1},
                {"drops": 1.0, "deaf": True},
                {"drops": 1.0, "mute": True},
            )
            for seed in (1, 2)
            if (who, conduct, seed) != ("member", {"drops": 1.0}, 1)
        ),
    ],
)
def test_who_withholds_data_loses_its_children(
    who: str, conduct: dict[str, float], seed: int
) -> None:
    """Within a few seconds, and they lose no more than a hundredth of the next thirty."""
    stage, at = grown(seed)
    bad = relay_of(stage, who)
    children = stage.children_of(bad)
    watch = Watch(stage, bad, children, at).until(at + 30.0)
    own = stage.conducts[bad.name]
    own.since = at
    for name, value in conduct.items():
        setattr(own, name, value)
    stage.world.run_until(at + 34.0)
    lost = {child.name: 1.0 - stage.share([child], at, at + 30.0) for child in children}
    told(who, conduct, seed, {name: f"{after:.2f}" for name, after in watch.gone.items()}, lost)
    assert own.withheld
    assert watch.gone.keys() == {child.name for child in children}
    assert max(lost.values()) <= 0.01
    others = [node for node in stage.members if node is not bad]
    assert stage.share(others, at, at + 30.0) >= 0.99
    # Of a tenth it takes longer until so many are missing as to tell; nothing is lost meanwhile.
    assert max(watch.gone.values()) <= (3.0 if conduct["drops"] >= 0.5 else 6.0)
    assert not watch.back


@pytest.mark.long
def test_a_newcomer_below_a_relay_that_sends_nothing_finds_another() -> None:
    """It has never had a packet: only heartbeats tell it that there are any."""
    stage, at = grown(1)
    bad = relay_of(stage, "super-node")
    stage.conducts[bad.name].since = at
    stage.conducts[bad.name].drops = 1.0
    late = stage.join(12, at + 0.5, 3.0)
    stage.world.run_until(at + 22.0)
    assert [node.name for node in late if node.upstream and node.upstream[0] is bad] == []
    waited = [(node.heard_us or 0) - (node.started_us or 0) for node in late]
    assert all(node.heard_us for node in late) and max(waited) <= 8e6
    assert stage.share(late, at + 12.0, at + 20.0) >= 0.999


# Row 10: forgeries.


@pytest.mark.parametrize("kind", ["signed", "manifest", "heartbeat", "rekey"])
def test_the_relay_that_passes_on_a_forgery_is_dropped_within_one_batch(kind: str) -> None:
    stage, at = grown(2, 16)
    bad = relay_of(stage, "super-node")
    children = stage.children_of(bad)
    own = stage.conducts[bad.name]
    own.since, own.forges, own.kinds = at, 1.0, (kind,)
    watch = Watch(stage, bad, children, at).until(at + 10.0)
    stage.world.run_until(at + 12.0)
    assert own.forged and own.first_forgery is not None
    # Batches are a tenth of a second apart, links up to 60 ms long: nobody waits for a second one.
    assert watch.gone.keys() == {child.name for child in children}
    assert max(watch.gone.values()) <= own.first_forgery - at + 0.2
    assert stage.forged == 0
    assert stage.share([n for n in stage.members if n is not bad], at, at + 10.0) >= 0.999


@pytest.mark.parametrize("kind", ["altered", "ahead", "credential"])
def test_forgeries_that_prove_nothing_against_anybody_change_nothing(kind: str) -> None:
    """Plain data, which anybody may send in its name, or a certificate that is none: dropped."""
    stage, at = grown(2, 16)
    bad = relay_of(stage, "super-node")
    own = stage.conducts[bad.name]
    own.since, own.forges, own.kinds = at, 0.5, (kind,)
    stage.world.run_until(at + 12.0)
    assert own.forged > 50 and stage.forged == 0
    assert stage.share(stage.members, at, at + 10.0) >= 0.999


@pytest.mark.long
def test_millions_of_forgeries_reach_no_program() -> None:
    """Fed straight into honest forwarders, between the packets of a stream that goes on."""
    stage, at = grown(1, 8, 8)
    count = attack_count(200_000)
    victims = stage.members[1:4]
    insider = stage.members[0]
    forgers = [forger_of(stage, insider) for _ in victims]
    taps = [tap(victim) for victim in victims]
    sent = delivered = valid = 0
    while sent < count:
        stage.world.run_until(stage.world.now + 0.1)
        stage.world.originate(stage.source, 20)
        for victim, forger, ear in zip(victims, forgers, taps, strict=True):
            batch = forged_of(forger, ear, count // 100 + 64)
            valid += sum(forger.opens(each) for each in batch[:8] if is_sealed(each))
            sent += len(batch)
            delivered += fed(victim, batch, stage.world.now)
    stage.world.run_until(stage.world.now + 3.0)
    told(f"{sent} forgeries, {delivered} delivered")
    assert delivered == 0 and stage.forged == 0
    # They are good ones: with the group's key they open.
    assert valid > 0
    # And what the source sent all the while is there.
    assert stage.share(victims, at, stage.world.now - 3.0) == 1.0


def forger_of(stage: SecuredStage, insider: Node) -> Forger:
    """Make a forger with the keys of a member."""
    forwarder = stage.secured.made[insider.name].inner
    assert isinstance(forwarder, Forwarder)
    guard: DataGuard | None = guard_of(forwarder)
    held = stage.secured.credential(insider.name, "member")
    assert guard is not None
    rng = stage.world.random("forger", insider.name)
    return Forger(guard, Signer(held.signing_secret), rng, held.certificate)


def forged_of(forger: Forger, ear: Tap, count: int) -> list[bytes]:
    """Make forgeries of the packets that came by last: the numbers and epochs are right."""
    made: list[bytes] = []
    packets = ear.packets[-64:]
    while packets and len(made) < count:
        for packet in packets:
            header = Header._make(HEADER.unpack_from(packet))
            if not header.reserved & CHANNEL_MASK or header.reserved & FLAG_MANIFEST:
                continue
            # Signatures cost a guard its budget, and all but the first 200 would not be looked at.
            kind = "altered" if len(made) % 500 else ""
            made += forger.forge(packet, (kind,) if kind else ())
            made += forger.sealed(header, header.sequence + len(made) % 90 - 30)
    return made[:count]


def fed(victim: Node, batch: list[bytes], now: Instant) -> int:
    """Give forgeries to a host as if its parent had sent them; count what its programs would get.

    What it would tell its role is left out: the parent would be gone after the first one.
    """
    assert victim.forwarder is not None
    parent = victim.upstream[0].endpoint
    delivered = 0
    for each in batch:
        outcome = victim.forwarder.forward(Burst(each, len(each), parent, True), now)
        delivered += len(outcome.deliveries)
        assert all(len(sent.data) < 24 or sent.data[2:4] != DATA for sent in outcome.transmits)
    return delivered


# The fifth point: a fifth of the super nodes is hostile.


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_a_fifth_of_hostile_super_nodes_costs_a_hundredth(kind: str, seed: int) -> None:
    """They are hostile from the beginning; everybody has had ten seconds to find a parent."""
    result = play(kind, seed)
    told(kind, seed, result)
    assert result.honest >= 0.99
    assert result.delivered_forgeries == 0


def test_who_knows_nobody_but_below_liars_gets_away_from_them() -> None:
    """Four of ten super nodes keep back everything, and all relatives of many are below them."""
    result = play("lie-drop", 3)
    told("lie-drop", 3, result)
    assert result.honest >= 0.95
    assert result.worst >= 0.5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["drop", "forge", "mixed"])
def test_super_nodes_that_turn_hostile_in_mid_stream_cost_a_hundredth(kind: str) -> None:
    result = play(kind, 3, since=2.0)
    told(kind, result)
    assert result.hostile_super_nodes >= 0.1 * result.super_nodes
    assert result.honest >= 0.99
    assert result.delivered_forgeries == 0


# Row 14: boasting.


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_liar_is_believed_its_certificate_and_keeps_no_child_that_it_does_not_feed(
    seed: int,
) -> None:
    certified, members = 6, 30
    conducts = {"m0": Conduct(lies=True, drops=1.0)}
    stage = SecuredStage(seed, conducts, most_children=certified, source_out_degree=6)
    # It could take any number: nothing but its own word limits it.
    stage.join(members, 0.5, 3.0, out_degree=lambda number: 200 if number == 0 else 4)
    stage.send(2.0, 40.0)
    liar = stage.members[0]
    stays: dict[str, tuple[Instant, Instant]] = {}
    most = [0]

    def look() -> None:
        now, below = stage.world.now, stage.children_of(liar)
        most[0] = max(most[0], len(below))
        for node in below:
            since, last = stays.get(node.name, (now, now))
            stays[node.name] = (since if now - last < 2 * STEP else now, now)
        if now > 6.0:
            assert all(last - since <= 10.0 for since, last in stays.values())

    for step in range(int(38.0 / STEP)):
        stage.world.at(step * STEP, look)
    stage.world.run_until(43.0)
    told(f"{most[0]} children at most, {len(stage.children_of(liar))} in the end")
    views = [node.view(stage.world.now) for node in (*stage.points, stage.source, *stage.honest())]
    me = liar.view(stage.world.now).host
    believed = [
        record.out_degree
        for view in views
        for record in (*view.super_nodes, *view.children, *view.mesh_children, *view.backups)
        if record.host == me
    ]
    assert believed and max(believed) <= certified
    assert len(stage.children_of(liar)) == 0
    assert stage.share(stage.honest(), 15.0, 40.0) >= 0.99


# Row 17: one of two rendezvous points is hostile.


@pytest.mark.parametrize(
    ("index", "seed"),
    [(0, 1), *long((0, 2), (0, 3), (1, 1), (1, 2), (1, 3))],
)
def test_one_honest_rendezvous_point_is_enough(index: int, seed: int) -> None:
    """The other names nobody but its friends, who feed nobody, and one of them as the source."""
    early, joiners = 10, 20
    # Every third of those that may become super nodes, so that there are others to find.
    numbers = range(0, early, 3)
    conducts = {f"m{number}": Conduct(drops=1.0, mute=True) for number in numbers}

    def make_point(at: int) -> type[RendezvousPoint]:
        return HostilePoint if at == index else RendezvousPoint

    stage = SecuredStage(seed, conducts, points=2, make_point=make_point, source_out_degree=early)
    stage.join(early, 0.3, 0.5, out_degree=lambda number: 8)
    stage.world.run_until(4.0)
    hostile = stage.points[index].host
    assert isinstance(hostile, HostilePoint)
    enemies = [stage.members[number] for number in numbers]
    hostile.friends = tuple(node.endpoint for node in enemies)
    hostile.source = enemies[0].endpoint
    late = stage.join(joiners, 4.5, 3.0, out_degree=lambda number: 3)
    stage.send(4.0, 60.0)
    # Some try the hostile ones again, for they seem near, and leave them again.
    below = 0
    for second in range(40, 60):
        stage.world.run_until(float(second))
        below += sum(any(node in enemies for node in each.way_up(20)) for each in late)
    stage.world.run_until(64.0)
    told(index, seed, f"{below / (20 * joiners):.3f} below enemies", stage.share(late, 40.0, 60.0))
    assert below <= 0.15 * 20 * joiners
    assert stage.share(late, 40.0, 60.0) >= 0.99


# Row 19: many identities.


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_hosts_without_a_certificate_of_the_authority_get_no_association(count: int) -> None:
    stage = SecuredStage(1)
    stage.join(6, 0.3, 0.5)
    stage.world.run_until(4.0)
    others = SecuredStage(2).secured
    targets = [stage.points[0], stage.source, *stage.super_nodes()[:1], stage.members[-1]]
    before = [established(target) for target in targets]
    answered = 0
    for number in range(count):
        target = targets[number % len(targets)]
        answered += knock(stage, others, target, number)
    assert [established(target) for target in targets] == before
    assert answered == 0
    # It was the certificate that was wrong: one of the right authority is answered.
    assert all(knock(stage, stage.secured, target, count + at) for at, target in enumerate(targets))


def established(node: Node) -> int:
    """Return how many associations a host has."""
    assert node.gate is not None
    return node.gate.associations.sizes()["associations"]


def knock(stage: SecuredStage, secured: Secured, target: Node, number: int) -> int:
    """Let a stranger call a host from an address of its own; count the answers."""
    assert target.gate is not None
    made = secured.of(f"stranger-{number}", "member", 0)
    now = stage.world.now + number * 0.01
    gate = made.gate(now, stage.world.parameters)
    key = target.gate.associations.static_key
    gate.associations.introduce(target.endpoint, key, now)
    sent = gate.associations.send(b"let me in", target.endpoint, now)
    assert isinstance(sent, list) and sent
    address = Endpoint(IPv4Address(0x2D000000 + 256 * number), DEFAULT_PORT)
    return sum(len(target.gate.receive(each.data, address, now).datagrams) for each in sent)
