"""Everything is changed on its way: programs get what the source sent, or nothing (row 6).

Every datagram of an overlay in virtual time passes through somebody who changes it, control and
data alike; what arrives besides, unchanged, must be enough to go on. And a million changed packets
of one stream at one forwarder.
"""

from __future__ import annotations

from random import Random

import pytest

from dmmp.forwarding.burst import Burst
from dmmp.messages.options import Option
from dmmp.sim.node import Node
from dmmp.sim.trace import Payload
from dmmp.types import Endpoint
from tests.attackers.mutating_proxy import CHANGES, Mutator
from tests.attacks import attack_count
from tests.attacks.stage import Stage, Wires
from tests.forwarding.guards import Guards, by_manifest, by_tag, give_keys
from tests.forwarding.overlay import Links, Overlay
from tests.marks import slow

DELIVERY = ("forgery", "unwanted", "duplicate")


class Meddled(Wires):
    """Wires on which everything passes through a mutator, once it is there."""

    mutator: Mutator | None = None

    def _transmit(self, node: Node, to: Endpoint, payload: Payload, whole_bytes: int = 0) -> None:
        if self.mutator is None:
            super()._transmit(node, to, payload, whole_bytes)
            return
        assert isinstance(payload, bytes)
        for each in self.mutator(payload):
            super()._transmit(node, to, each, whole_bytes)


def meddled(share: float, seed: int) -> tuple[Stage, Mutator]:
    """Make an overlay with its places, and from now on somebody on all its wires."""
    stage = Stage(seed, world=Meddled(seed))
    assert isinstance(stage.world, Meddled)
    mutator = stage.world.mutator = Mutator(Random(seed), share)
    stage.world.taps = False
    return stage, mutator


def check(stage: Stage) -> None:
    """See that nothing was delivered that was not sent, or twice: the world's checks tell."""
    assert not [each for each in stage.world.failures if each.check in DELIVERY]


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("seed", [1, *slow(2)])
def test_nothing_changed_is_delivered(share: float, seed: int) -> None:
    stage, mutator = meddled(share, seed)
    before = {node.name: node.view(stage.world.now).host for node in stage.hosts}
    stage.stream(300)
    check(stage)
    assert mutator.changed > 10
    assert share < 1 or not any(stage.heard().values())
    assert {node.name: node.view(stage.world.now).host for node in stage.hosts} == before


@pytest.mark.slow
def test_an_overlay_lives_on_though_one_packet_in_fifty_is_changed() -> None:
    stage, _ = meddled(0.02, 3)
    for _ in range(10):
        stage.stream(100)
        stage.run(2.0)
    check(stage)
    assert min(stage.heard().values()) >= 0.99 * 1000


@pytest.mark.slow
@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_of_so_many_changed_packets_none_is_passed_on(guards: Guards) -> None:
    count = attack_count(100_000)
    overlay = Overlay(Random(1), Links(), guards=guards)
    host = overlay.add(1, overlay.source)
    child = overlay.add(2, host)
    give_keys(overlay)
    taken: list[bytes] = []
    overlay.on_send = lambda data: taken.append(bytes(data))
    overlay.stream(100, 0.005)
    overlay.originate(60)
    overlay.run(overlay.now + 1.0)
    dice = Random(7)
    mutator = Mutator(dice, 1.0)
    genuine = [each for each in taken if each[2:4] <= b"\0\2"]
    kinds = {each[16] for each in genuine}
    assert len(kinds) > 1
    for each in genuine:
        mutator(each)
    passed: list[bytes] = []
    overlay.on_send = lambda data: passed.append(bytes(data))
    got = [list(host.got), list(child.got)]
    known, tried, now = set(genuine), 0, overlay.now
    # Which origin's it is, a certificate does not say.
    shown = {each[24:] for each in genuine if each[3] == Option.CREDENTIAL}
    while tried < count:
        changed = mutator.change(dice.choice(genuine))
        if changed in known or changed[2:4] > b"\0\2":
            continue
        tried += 1
        now += 0.0005
        # Half of them as of the parent itself.
        burst = Burst(changed, max(1, len(changed)), overlay.source.at, sealed=tried % 2 == 0)
        outcome = host.forwarder.forward(burst, now)
        assert not outcome.deliveries
        # Requests may go up; down goes only what the source sent, and its certificate.
        sent = [bytes(each.data) for each in outcome.transmits]
        assert all(each[2:4] > b"\0\2" or each in known or each[24:] in shown for each in sent), (
            changed.hex()
        )
    assert [host.got, child.got] == got


def test_changes_really_change() -> None:
    mutator = Mutator(Random(1), 1.0)
    data = bytes(range(100))
    for _ in range(500):
        assert mutator(data) != [data]
    assert mutator.changed == 500 and len(CHANGES) >= 8


def test_a_sealed_message_that_was_changed_does_not_open() -> None:
    stage = Stage()
    sealed = [each for each in stage.world.seen if each.data[3] == Option.SEALED][-40:]
    mutator = Mutator(Random(1), 1.0)
    for each in sealed:
        mutator(each.data)
    before = {node.name: dict(node.gate.counters) for node in stage.hosts if node.gate is not None}
    for each in sealed:
        node = stage.world.node_at(each.to)
        if node is None or node.gate is None:
            continue
        for _ in range(50):
            changed = mutator.change(each.data)
            taken = node.gate.receive(changed, each.sender, stage.world.now)
            assert not taken.messages or changed in {other.data for other in sealed}
    after = {node.name: dict(node.gate.counters) for node in stage.hosts if node.gate is not None}
    assert after == before
