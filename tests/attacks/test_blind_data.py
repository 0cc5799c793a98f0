"""Data in upstream's name from who is not upstream: nothing is passed on, and nothing is lost.

Whoever knows session, origin and channel, and can forge an address, gets as far as the forwarder;
there only what the source signed counts (rows 4 and 10). The stream must not suffer from it either.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from dmmp.forwarding.burst import Burst
from dmmp.messages.header import (
    EPOCH_SHIFT,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER,
    VERSION,
)
from tests.attackers.wrong_keys import DATA, Known, Make, manifest, sealed_data, wrong_keys
from tests.attacks import attack_count
from tests.forwarding.build import GROUP, ORIGIN, SESSION, SOURCE, TREE
from tests.forwarding.guards import by_manifest, by_tag, give_keys
from tests.forwarding.overlay import Host, Links, Overlay, through_gates
from tests.forwarding.test_proving import insider

GAP = 0.005

EACH = 100
"""Forgeries beside each packet of a flood: 20,000 a second."""


class Scene:
    """A source, a relay, its child; the attacker sends to the child in the relay's name."""

    def __init__(self, guards: object = by_manifest) -> None:
        self.overlay = Overlay(Random(1), Links(), guards=guards)  # type: ignore[arg-type]
        self.relay = self.overlay.add(1, self.overlay.source)
        self.child = self.overlay.add(2, self.relay)
        self.grandchild = self.overlay.add(3, self.child)
        for host in (self.relay, self.child, self.grandchild):
            host.repairers = ()
        give_keys(self.overlay)
        self.overlay.stream(20, GAP)
        self.forged: set[bytes] = set()
        self.taken: list[bytes] = []
        self.passed = self._number = 0
        self.overlay.on_send = self._note

    @property
    def number(self) -> int:
        """Tell the child's highest number, or the last one that it knew."""
        for each in self.child.forwarder._table.announced():
            if each.key[1] == 1:
                self._number = each.window.highest
        return self._number

    @property
    def known(self) -> Known:
        """Tell what the attacker knows."""
        return Known(
            SESSION,
            ORIGIN,
            number=self.number,
            tree_version=TREE,
            group=GROUP,
            source=SOURCE,
        )

    def inject(self, datagram: bytes, host: Host | None = None, by_parent: bool = True) -> None:
        """Let a forgery arrive, of the parent itself or of somebody in its name."""
        host = host or self.child
        assert host.parent is not None
        self.forged.add(datagram)
        burst = Burst(datagram, len(datagram), host.parent)
        if by_parent:
            burst = through_gates(datagram, host.parent)
        self.overlay.carry_out(host, host.forwarder.forward(burst, self.overlay.now))

    def _note(self, data: bytes) -> None:
        """Count forgeries that a host passes on."""
        self.passed += bytes(data) in self.forged
        self.taken.append(bytes(data))

    def delivered(self) -> int:
        """Count what programs got that the source did not send, or twice."""
        sent = set(range(1, self.overlay.sent + 1))
        hosts = self.overlay.hosts.values()
        return sum(len(host.got) - len(set(host.got) & sent) for host in hosts)

    def stream(self, packets: int, attack: Iterator[bytes], each: int) -> None:
        """Let the source send, with so many forgeries beside every packet."""
        for _ in range(packets):
            self.overlay.originate()
            for _ in range(each):
                self.inject(next(attack), by_parent=False)
                self.overlay.run(self.overlay.now + GAP / each)
            self.overlay.run(self.overlay.now + (0 if each else GAP))
        self.overlay.run(self.overlay.now + 2.0)


def aimed(scene: Scene, kinds: tuple[Make, ...]) -> Iterator[bytes]:
    """Give forgeries of these kinds, each near the numbers that are in use then."""
    dice = Random(4)
    while True:
        known = scene.known
        for _ in range(50 * EACH // len(kinds) + 1):
            for make in kinds:
                yield make(known, dice)


def header(number: int, flags: int, payload: bytes) -> bytes:
    reserved = flags | 1 << EPOCH_SHIFT | 1
    words = (VERSION, TREE, 0, SESSION, ORIGIN, number & 0xFFFFFFFF, reserved, len(payload))
    return HEADER.pack(*words) + payload


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_a_forged_number_far_ahead_moves_nothing(guards: object) -> None:
    scene = Scene(guards)
    before = scene.number
    for ahead in (2, 300, 5_000, 60_000, 1 << 30):
        scene.inject(header(before + ahead, FLAG_SEALED, bytes(100)))
    assert scene.number - before <= 300
    scene.stream(50, iter([]), 0)
    assert scene.overlay.missed() == {} and not scene.passed


def test_numbers_before_the_beginning_need_a_signature_like_all_others() -> None:
    scene = Scene()
    late = scene.overlay.add(9, scene.relay)
    give_keys(scene.overlay)
    scene.overlay.stream(5, GAP)
    for number in range(1, scene.number):
        scene.inject(insider(number, FLAG_SIGNED), late)
        scene.inject(header(number, FLAG_SIGNED | FLAG_SEALED, bytes(100)), late)
    assert not scene.passed and not scene.delivered()


def test_old_numbers_in_a_row_begin_nothing_anew() -> None:
    scene = Scene()
    scene.overlay.run(scene.overlay.now + 5.0)
    for back in range(5_000, 5_200):
        scene.inject(header(scene.number - back, FLAG_SIGNED | FLAG_SEALED, bytes(100)))
        scene.inject(insider((scene.number - back) & 0xFFFFFFFF, FLAG_SIGNED))
    assert not scene.passed and not scene.delivered()
    scene.stream(20, iter([]), 0)
    assert scene.overlay.missed() == {}


def test_a_true_manifest_under_another_number_takes_no_packets_place() -> None:
    scene = Scene()
    scene.overlay.originate(30)
    scene.overlay.run(scene.overlay.now + 1.0)
    manifests = [each for each in scene.taken if each[3] == 0 and each[16] & FLAG_MANIFEST >> 24]
    assert manifests
    for ahead in range(1, 40):
        for each in manifests:
            number = (scene.number + ahead) & 0xFFFFFFFF
            scene.inject(each[:12] + number.to_bytes(4) + each[16:])
    assert not scene.passed and not scene.delivered()
    scene.stream(60, iter([]), 0)
    assert scene.overlay.missed() == {}


def test_nothing_has_all_that_waits_looked_at_again_and_again() -> None:
    scene = Scene()
    scene.overlay.originate(30)
    scene.overlay.run(scene.overlay.now + 1.0)
    manifests = [each for each in scene.taken if each[3] == 0 and each[16] & FLAG_MANIFEST >> 24]
    for ahead in range(1, 257):
        scene.inject(header(scene.number + ahead, FLAG_SEALED, bytes(100)))
    looked: list[int] = []
    proven = scene.child.forwarder._proven

    def note(*arguments: Any) -> Any:
        looked.append(1)
        return proven(*arguments)

    scene.child.forwarder._proven = note  # type: ignore[method-assign, assignment]
    for _ in range(20):
        for each in manifests:
            scene.inject(each)
    assert len(looked) <= 20 * len(manifests)
    # Nor do new ones that do not list them.
    looked.clear()
    for _ in range(5):
        scene.overlay.originate(3)
        scene.overlay.run(scene.overlay.now + 0.02)
    assert len(looked) < 256


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_forgeries_are_no_sign_of_life(guards: object) -> None:
    scene = Scene(guards)
    for _ in range(60):
        scene.overlay.originate()
        scene.overlay.run(scene.overlay.now + 0.01)
    silences = len(scene.child.silences)
    scene.relay.alive = False
    attack = wrong_keys(Random(3), scene.known, DATA)
    for _ in range(400):
        for _ in range(5):
            scene.inject(next(attack))
        scene.overlay.run(scene.overlay.now + 0.01)
    assert len(scene.child.silences) > silences


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
@pytest.mark.parametrize("make", DATA, ids=lambda make: make.__name__)
def test_a_flood_of_each_kind_is_passed_on_by_nobody(guards: object, make: object) -> None:
    scene = Scene(guards)
    kinds = (make,)
    scene.stream(40, wrong_keys(Random(2), scene.known, kinds), 5)  # type: ignore[arg-type]
    assert not scene.passed and not scene.delivered()
    assert scene.overlay.missed() == {}


@pytest.mark.slow
@pytest.mark.parametrize("guards", [by_manifest, pytest.param(by_tag, marks=pytest.mark.long)])
def test_a_flood_of_all_kinds_is_passed_on_by_nobody(guards: object) -> None:
    scene = Scene(guards)
    scene.stream(attack_count(100_000) // EACH, aimed(scene, DATA), EACH)
    assert not scene.passed and not scene.delivered()


@pytest.mark.slow
@pytest.mark.parametrize("guards", [by_manifest, pytest.param(by_tag, marks=pytest.mark.long)])
def test_and_costs_the_stream_nothing_as_long_as_signatures_can_be_checked(guards: object) -> None:
    # Of 20,000 a second 1,000 claim to be signed: half of what is checked at most.
    scene = Scene(guards)
    others = tuple(make for make in DATA if make is not sealed_data)
    kinds = (*(sealed_data,) * 19 * len(others), *others)
    scene.stream(attack_count(100_000) // EACH, aimed(scene, kinds), EACH)
    assert not scene.passed and not scene.delivered()
    assert len(scene.child.got) >= 0.999 * scene.overlay.sent


@pytest.mark.slow
def test_nor_where_most_claim_to_be_signed() -> None:
    scene = Scene()
    scene.stream(1000, aimed(scene, (manifest,)), EACH)
    assert len(scene.child.got) >= 0.999 * scene.overlay.sent
