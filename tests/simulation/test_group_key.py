"""The group's key in whole sessions: who left reads nothing more, who came late nothing of before.

Rows 20, 21 and 24 of the threat table, point 4 of the issue: real key servers, members, guards and
gates in virtual time. The attacker has every key that a host held, and all packets.
"""

from __future__ import annotations

import sys
from typing import ClassVar, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.messages import KeyLeave, KeyRequest, KeyResponse, encode
from dmmp.messages.header import CHANNEL_MASK, HEADER
from dmmp.messages.schema import Message
from dmmp.roles.keyed import KeyedHost
from dmmp.security import association, cookies, data_keys, key_wrap, noise
from dmmp.security.gate import SEALED_BYTES
from dmmp.security.key_member import KeyMember
from dmmp.security.key_server import KeyServer
from dmmp.sim.network import PERFECT, Conditions
from dmmp.sim.node import Node
from dmmp.types import Endpoint, Instant
from tests.attackers.listener import Listener, Tap, epoch_of, is_sealed, tap
from tests.simulation.secured_stage import SecuredStage

pytestmark = pytest.mark.slow


def told(*words: object) -> None:
    """Write a measured figure, which `pytest -s` shows."""
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")


SEEDS = (1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3)))

LINK = 10e6 / 8
"""Bytes a second of the stream that rekeying is compared with: 10 Mbit/s."""

HEADERS = 28
"""Bytes of IPv4 and UDP around each datagram."""


def keyed(node: Node) -> KeyedHost:
    """Return the part of a host that handles keys."""
    return cast(KeyedHost, node.host)


def server(stage: SecuredStage) -> KeyServer:
    """Return the source's key server."""
    found = keyed(stage.source).server
    assert found is not None
    return found


def member(node: Node) -> KeyMember:
    """Return a host's part in the group."""
    found = keyed(node).member
    assert found is not None
    return found


def settled(
    seed: int, members: int, conditions: Conditions = PERFECT
) -> tuple[SecuredStage, float]:
    """Make a session in which all hold the keys; return it, and the time."""
    stage = SecuredStage(seed)
    stage.join(members, 0.5, members * 0.03)
    at = 0.5 + members * 0.03 + 4.0
    stage.world.run_until(at)
    # The newest epoch, which joins alone made of the ones before, they know when data comes.
    assert all(member(node).epoch for node in stage.members)
    assert len(server(stage)) == members
    stage.world.network.set_conditions(conditions)
    return stage, at


def relayed(stage: SecuredStage) -> Node:
    """Return a host that feeds none, far from the source: all packets come by."""
    return max(
        stage.members, key=lambda node: (not node.downstream, node.view(stage.world.now).depth or 0)
    )


def by_epoch(packets: list[bytes]) -> dict[int, int]:
    """Count the sealed packets of each epoch, by its eight bits."""
    counts: dict[int, int] = {}
    for packet in packets:
        if is_sealed(packet):
            counts[epoch_of(packet)] = counts.get(epoch_of(packet), 0) + 1
    return counts


def possible(stage: SecuredStage) -> range:
    """Return the full numbers of the epochs that there were, and some more."""
    newest = server(stage).secret.epoch
    return range(newest - 12, newest + 4)


@pytest.mark.parametrize("leavers", [1, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("seed", SEEDS)
def test_who_left_opens_nothing_of_the_next_epoch(seed: int, leavers: int) -> None:
    """Also if they put their keys together, of one batch and of batches one after another."""
    stage, at = settled(seed, 24)
    world = stage.world
    gone = stage.members[3 : 3 + leavers]
    ear = tap(next(node for node in stage.members if node not in gone))
    listener = Listener()
    stage.send(at, at + 12.0)
    before = server(stage).secret.epoch & 0xFF
    for turn, node in enumerate(gone):
        leaves = at + 2.0 + (turn // 2) * 1.5
        # Right before it leaves, and erases them.
        world.at(leaves - 0.0001, lambda node=node: listener.pool(node))  # type: ignore[misc]
        world.at(leaves, lambda node=node: world.stop(node))  # type: ignore[misc]
    world.run_until(at + 15.0)
    listener.learn(ear.packets)
    sent = by_epoch(ear.packets)
    opened = listener.opened(ear.packets, possible(stage))
    last = server(stage).secret.epoch & 0xFF
    # It reads what it may: all of the epoch that it was a member in.
    assert opened[before] == sent[before] > 0
    assert sent[last] > 50
    # While some are members still they read on; nobody reads what follows the last one's leave.
    assert last not in opened
    if leavers == 1:
        assert opened.keys() == {before}


@pytest.mark.parametrize("seed", SEEDS)
def test_who_comes_late_opens_nothing_from_before(seed: int) -> None:
    stage, at = settled(seed, 24)
    world = stage.world
    ear = tap(relayed(stage))
    stage.send(at, at + 8.0)
    before = server(stage).secret.epoch & 0xFF
    (late,) = stage.join(1, at + 4.0, 0.0)
    world.run_until(at + 10.0)
    listener = Listener()
    listener.pool(late)
    first = server(stage).secret.epoch & 0xFF
    assert first != before and len(late.heard) > 50
    listener.learn(ear.packets)
    sent, opened = by_epoch(ear.packets), listener.opened(ear.packets, possible(stage))
    assert sent[before] > 50
    assert opened == {first: sent[first]}


def test_who_fell_silent_is_put_out_and_opens_nothing_more() -> None:
    stage, at = settled(1, 12)
    world = stage.world
    gone = relayed(stage)
    ear = tap(next(node for node in stage.members if node is not gone))
    listener = Listener()
    listener.pool(gone)
    world.crash(gone)
    stage.send(at, at + 100.0, 2.0, 1)
    world.run_until(at + 103.0)
    assert len(server(stage)) == 11
    listener.learn(ear.packets)
    last = server(stage).secret.epoch & 0xFF
    assert by_epoch(ear.packets)[last] > 5
    assert last not in listener.opened(ear.packets, possible(stage))


# Who stays.


class Switches:
    """When each member has switched to an epoch, seconds after its batch."""

    def __init__(self, stage: SecuredStage, gone: list[Node], until: Instant) -> None:
        self.after: dict[str, float] = {}
        self.began: Instant | None = None
        self._stage = stage
        self._gone = gone
        self._before = server(stage).secret.epoch
        world = stage.world
        for step in range(int((until - world.now) / 0.02)):
            world.at(world.now + step * 0.02, self._look)

    def _look(self) -> None:
        stage, now = self._stage, self._stage.world.now
        if server(stage).secret.epoch == self._before:
            return
        self.began = self.began or now
        for node in stage.members:
            if node.name not in self.after and node not in self._gone:
                held = keyed(node).member
                if held is not None and held.epoch > self._before:
                    self.after[node.name] = now - self.began

    def within(self, seconds: float) -> float:
        """Return the share of those who stay that had switched after so long."""
        stay = len(self._stage.members) - len(self._gone)
        return sum(after <= seconds for after in self.after.values()) / stay


@pytest.mark.parametrize(
    ("members", "leavers", "loss", "seed"),
    [
        (40, 1, 0.01, 1),
        *(
            pytest.param(500, leavers, loss, seed, marks=pytest.mark.long)
            for leavers, loss, seed in ((1, 0.01, 1), (10, 0.01, 2), (1, 0.05, 3))
        ),
    ],
)
def test_those_who_stay_switch_within_a_second(
    members: int, leavers: int, loss: float, seed: int
) -> None:
    stage, at = settled(seed, members, Conditions(loss=loss))
    world = stage.world
    gone = stage.members[7 : 7 + leavers]
    stage.send(at, at + 9.0, 10.0, 2)
    switches = Switches(stage, gone, at + 8.0)
    for node in gone:
        world.at(at + 1.0, lambda node=node: world.stop(node))  # type: ignore[misc]
    world.run_until(at + 12.0)
    told(
        members,
        leavers,
        loss,
        seed,
        f"{switches.within(1.0):.4f} within 1 s, last",
        f"{max(switches.after.values()):.2f} s",
    )
    assert switches.within(1.0) >= 0.99
    assert switches.within(5.0) == 1.0
    stay = [node for node in stage.members if node not in gone]
    # None of them misses a packet for it.
    assert stage.share(stay, at, at + 9.0) >= 0.999


# What it costs.


class KeyCost:
    """Bytes of keys on the links of one host: channel 0, and what it says to the key server."""

    def __init__(self, stage: SecuredStage, node: Node) -> None:
        self.channel = self.received = self.sent = 0
        self._tap(node)
        self._messages(stage, node)

    def _tap(self, node: Node) -> None:
        made = tap(node)
        self._made: Tap = made

    def _messages(self, stage: SecuredStage, node: Node) -> None:
        gate = node.gate
        assert gate is not None
        send, receive = gate.send, gate.receive

        def size(message: Message) -> int:
            is_key = isinstance(message, KeyRequest | KeyResponse | KeyLeave)
            return len(encode(message)) + SEALED_BYTES + HEADERS if is_key else 0

        def counted_send(
            message: Message, to: Endpoint, now: Instant, whole: bool = False
        ) -> object:
            self.sent += size(message)
            return send(message, to, now, whole)

        def counted_receive(datagram: bytes, sender: Endpoint, now: Instant) -> object:
            taken = receive(datagram, sender, now)
            self.received += sum(size(message) for message in taken.messages)
            return taken

        gate.send = counted_send  # type: ignore[method-assign,assignment]
        gate.receive = counted_receive  # type: ignore[method-assign,assignment]

    def of_channel(self) -> int:
        """Return the bytes of the channel of keys that came in, headers of IP and UDP included."""
        keys = [p for p in self._made.packets if not HEADER.unpack_from(p)[6] & CHANNEL_MASK]
        return sum(len(packet) + HEADERS for packet in keys)


@pytest.mark.long
@pytest.mark.parametrize(("members", "seconds"), [(1000, 30.0)])
def test_a_leave_a_second_costs_a_hundredth_of_the_stream(members: int, seconds: float) -> None:
    stage, at = settled(1, members)
    world = stage.world
    leaving = stage.members[:: members // int(seconds)][: int(seconds)]
    stays = next(node for node in stage.members if node not in leaving and not node.downstream)
    below, top = KeyCost(stage, stays), KeyCost(stage, stage.source)
    feeds = next(node for node in stage.members if node not in leaving and node.downstream)
    between = KeyCost(stage, feeds)
    for second, node in enumerate(leaving):
        world.at(at + 0.5 + second, lambda node=node: world.stop(node))  # type: ignore[misc]
    stage.send(at, at + seconds, 2.0, 2)
    world.run_until(at + seconds + 1.0)
    assert member(stays).epoch == server(stage).secret.epoch
    for name, cost in (("member", below), ("relay", between)):
        share = (cost.of_channel() + cost.received + cost.sent) / seconds / LINK
        told(f"{name}: channel {cost.of_channel() / seconds:.0f} B/s, {share:.5f} of the stream")
        assert share <= 0.01
    # The source's own link carries the channel once for each of its children, and all requests.
    children = len(stage.source.downstream)
    each = below.of_channel() / seconds
    told(
        f"source: requests {top.received / seconds:.0f} B/s, answers {top.sent / seconds:.0f} B/s,"
    )
    told(f"channel {children} x {each:.0f} B/s")
    assert (top.received + top.sent) / seconds <= 0.01 * LINK
    assert each <= 0.01 * LINK


# Keys and nonces.


class Recording:
    """Stands for `AESGCM`, and counts what was sealed, and what under a pair that was used before.

    Of each pair of key and nonce a hash of 64 bits is kept: a million of them collide by chance
    once in 10^7 runs.
    """

    used: ClassVar[set[int]] = set()
    sealed: ClassVar[int] = 0
    again: ClassVar[int] = 0

    def __init__(self, key: bytes) -> None:
        self._key = bytes(key)
        self._cipher = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes | None) -> bytes:
        """Seal, and note it."""
        name = hash(self._key + bytes(nonce))
        Recording.again += name in self.used
        Recording.sealed += 1
        self.used.add(name)
        return self._cipher.encrypt(nonce, data, associated)

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes | None) -> bytes:
        """Open."""
        return self._cipher.decrypt(nonce, data, associated)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> type[Recording]:
    """Let every cipher of every host be recorded."""
    for module in (association, cookies, data_keys, key_wrap, noise):
        monkeypatch.setattr(module, "AESGCM", Recording)
    Recording.used.clear()
    Recording.sealed = Recording.again = 0
    return Recording


def test_a_recording_cipher_notices() -> None:
    """What the next test relies on."""
    Recording.used.clear()
    Recording.again = 0
    for _ in range(2):
        Recording(bytes(32)).encrypt(bytes(12), b"", None)
        Recording(bytes(32)).encrypt(bytes(11) + bytes((1 + Recording.again,)), b"", None)
    assert Recording.again == 1


@pytest.mark.parametrize("kills", [10, pytest.param(1000, marks=pytest.mark.long)])
def test_a_source_that_is_killed_never_uses_a_nonce_twice(
    recording: type[Recording], kills: int
) -> None:
    """It is killed in mid stream, at any moment, and comes back within the same second or later."""
    stage = SecuredStage(1)
    world = stage.world
    (only,) = stage.join(1, 0.2, 0.0)
    rng = world.random("kills")
    at, sealed = 3.0, []
    for _ in range(kills):
        world.run_until(at)
        for number in range(40):
            world.at(at + number * 0.05, lambda: world.originate(stage.source, 3))
        world.run_until(at + 2.0 * rng.random())
        sealed.append(recording.sealed)
        world.crash(stage.source)
        world.run_until(world.now + rng.choice((0.02, 0.3, 1.2)))
        world.restart(stage.source)
        at = world.now + 2.0
    assert stage.source.lives == kills + 1
    assert recording.again == 0
    # It did send, in most of its lives.
    assert only.delivered > 20 * kills
    told(f"{kills} kills, {recording.sealed} seals, {only.delivered} packets delivered")
