"""Bytes and packets to an address that nobody has proven: never more than came from it (row 2).

Every option code there can be, every message in clear, handshakes true and false, sealed datagrams
of others; at every role, before it has a place, with one, and under load. What goes out later, in
answer to no datagram in particular, counts as well. From captures in `test_wire`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from dmmp.messages import encode
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.security.identity import Mode, prologue
from dmmp.sim.carrying import GROUP
from dmmp.sim.cast import SESSION, add_end_host
from dmmp.sim.node import Node
from dmmp.sim.secured import WALL
from dmmp.types import Endpoint, HostId
from tests.attackers.junk import junk
from tests.attackers.message_forger import CLASSES, MessageForger, Person
from tests.attackers.openings import openings
from tests.attackers.wire import endpoint
from tests.attackers.wrong_keys import CONTROL, DATA, Known, wrong_keys
from tests.attacks.stage import Stage
from tests.marks import slow

AFTERWARDS = 40.0
"""Seconds in which whatever an attack has begun would have gone out: five tries and more."""

ROLES = ("rp", "source", "relay", "member")

Make = Callable[["Scene", Node], Iterator[bytes]]


class Scene:
    """An overlay, and victims: addresses that datagrams claim to come from, where nobody is."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.dice = Random(state)
        self.stage = Stage(members=3)
        if state == "before":
            # Nobody is where they look for an RP.
            for name, kind in (("lone", "member"), ("lonely", "super-node")):
                world, parts = self.stage.world, self.stage.parts
                points = (endpoint("10.99.0.1"),)
                world.start(add_end_host(world, name, kind, 3, points, parts=parts))
        self.into: Counter[Endpoint] = Counter()
        self.packets: Counter[Endpoint] = Counter()
        self._victims = 0

    def node(self, role: str) -> Node:
        """Give who plays a role, or somebody who looks in vain for a place in it."""
        if self.state == "before":
            role = {"relay": "lonely", "member": "lone"}.get(role, role)
        return self.stage.world.node("m0" if role == "member" else role)

    def victim(self) -> Endpoint:
        """Give an address that was not used before."""
        self._victims += 1
        number = self._victims
        return endpoint(f"10.200.{number >> 8 & 255}.{number & 255}", 1024 + (number >> 16))

    def attack(self, node: Node, datagrams: Iterator[bytes], count: int, each: int = 1) -> None:
        """Send so many in victims' names, `each` in the name of one."""
        victim = self.victim()
        for number, datagram in enumerate(islice(datagrams, count)):
            if number % each == 0:
                victim = self.victim()
            self.into[victim] += len(datagram)
            self.packets[victim] += 1
            self.stage.world.inject(node, victim, datagram)
            if number % 20 == 0:
                self.stage.run(0.01)
        self.stage.run(0.1)

    def judge(self) -> tuple[int, int]:
        """See that no victim was sent more than came in its name; give bytes in and out."""
        self.stage.run(AFTERWARDS)
        out: Counter[Endpoint] = Counter()
        packets: Counter[Endpoint] = Counter()
        for seen in self.stage.world.seen:
            if seen.to in self.into:
                out[seen.to] += len(seen.data)
                packets[seen.to] += 1
        for victim, size in out.items():
            assert size <= self.into[victim] and packets[victim] <= self.packets[victim]
        return self.into.total(), out.total()

    def load(self, node: Node) -> None:
        """Have so many openings arrive that the host asks for cookies."""
        if self.state == "load":
            self.attack(node, false_openings(self, node), 500)


def every_option(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give a datagram of every option there can be, of some length."""
    for option in range(1 << 16):
        yield bare(scene, option)


def bare(scene: Scene, option: int) -> bytes:
    """Make a datagram of an option; what stands behind the header is noise."""
    dice = scene.dice
    size = dice.choice((0, 16, 100, 600 - HEADER_BYTES, 1400))
    words = [dice.choice((0, 1, dice.getrandbits(32))) for _ in range(4)]
    return HEADER.pack(VERSION, 0, option, *words, size) + dice.randbytes(size)


def some_options(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give those in use and some others."""
    for option in (*range(0x120), *scene.dice.sample(range(0x120, 1 << 16), 100)):
        yield bare(scene, option)


def in_clear(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give every message in clear."""
    stage = scene.stage
    people = [Person(each.view(stage.world.now).host, each.endpoint) for each in stage.hosts]
    session = stage.source.view(stage.world.now).session
    forger = MessageForger(scene.dice, session, people[0], people, [GROUP], SESSION)
    while True:
        for cls in CLASSES:
            yield encode(forger.forge(cls))


def known(scene: Scene, node: Node) -> Known:
    """Tell what who sees the wires knows."""
    assert node.gate is not None
    view = scene.stage.source.view(scene.stage.world.now)
    associations = node.gate.associations
    indexes = tuple(associations._contacts._by_index)
    return Known(view.session, view.host, indexes=indexes, static_key=associations.static_key)


def with_wrong_keys(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give what looks right, also the handshakes."""
    return wrong_keys(scene.dice, known(scene, node), (*CONTROL, *DATA))


def false_openings(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give handshakes of who has no certificate."""
    key, common = known(scene, node).static_key, prologue(Mode.CERTIFICATES, SESSION)
    return openings(scene.dice, key, common, WALL + scene.stage.world.now)


def true_openings(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give handshakes of a member, in the names of others."""
    key, common = known(scene, node).static_key, prologue(Mode.CERTIFICATES, SESSION)
    party = scene.stage.secured.of("eve", "member", 0).party
    return openings(scene.dice, key, common, WALL + scene.stage.world.now, party)


def sealed_by_others(scene: Scene, node: Node) -> Iterator[bytes]:
    """Give what was sealed for this very host, as if others had sent it."""
    yield from [seen.data for seen in scene.stage.world.seen if seen.to == node.endpoint]


KINDS: dict[str, tuple[Make, int, int]] = {
    "junk": (lambda scene, node: junk(scene.dice), 150, 1),
    "some options": (some_options, 400, 1),
    "in clear": (in_clear, 150, 3),
    "wrong keys": (with_wrong_keys, 150, 1),
    "false openings": (false_openings, 30, 1),
    "true openings": (true_openings, 30, 1),
    "many true openings": (true_openings, 40, 20),
    "sealed by others": (sealed_by_others, 150, 1),
}


@pytest.mark.parametrize(
    ("role", "state"),
    [
        ("relay", "settled"),
        *slow(*((role, "settled") for role in ROLES if role != "relay")),
        *slow(*((role, "before") for role in ("relay", "member"))),
        *slow(*((role, "load") for role in ROLES)),
    ],
)
def test_nobody_gets_more_than_came_in_his_name(role: str, state: str) -> None:
    scene = Scene(state)
    node = scene.node(role)
    for make, count, each in KINDS.values():
        scene.load(node)
        scene.attack(node, make(scene, node), count, each)
    into, out = scene.judge()
    # Some do get something: else this would be no test of handshakes.
    assert into and out
    assert out < into / 2


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_no_option_code_earns_anything(role: str) -> None:
    scene = Scene("settled")
    node = scene.node(role)
    scene.attack(node, every_option(scene, node), 1 << 16)
    into, out = scene.judge()
    assert into > 10_000_000 and out == 0


def test_what_a_handshake_earns_by_itself() -> None:
    for make, least, most in ((false_openings, 0.0, 0.0), (true_openings, 0.5, 1.0)):
        scene = Scene("settled")
        node = scene.node("rp")
        scene.attack(node, make(scene, node), 10)
        into, out = scene.judge()
        assert least <= out / into <= most


@pytest.mark.slow
def test_whom_a_member_names_nobody_calls_for_it() -> None:
    # An insider may name any address, and keys for it; what that makes others send there counts.
    scene = Scene("settled")
    stage, world = scene.stage, scene.stage.world
    eve = stage.members[-1]
    assert eve.gate is not None
    me = Person(eve.view(world.now).host, eve.endpoint)
    session = stage.source.view(world.now).session
    begun = len(world.seen)
    for number in range(40):
        named = [Person(HostId(7000 + 10 * number + n), scene.victim()) for n in range(8)]
        for each in named:
            eve.gate.associations.introduce(each.endpoint, scene.dice.randbytes(32), world.now)
            scene.into[each.endpoint] = 0
        forger = MessageForger(scene.dice, session, me, named, [GROUP], SESSION)
        for cls in CLASSES:
            for node in (stage.rp, stage.source, stage.relay, stage.members[0]):
                world.send(
                    eve, replace(forger.forge(cls), session=session, source=me.host), node.endpoint
                )
        stage.run(1.0)
    stage.run(AFTERWARDS)
    seen = [each for each in world.seen[begun:] if each.sender != eve.endpoint]
    sent = sum(len(each.data) for each in world.seen[begun:] if each.sender == eve.endpoint)
    assert sum(len(each.data) for each in seen if each.to in scene.into) <= sent
