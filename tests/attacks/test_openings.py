"""Handshakes from everywhere at once: who is true gets in, and tables keep their size (row 3).

In virtual time, at the RP's gate; the same on the wire, with what a machine can send, is in
`test_wire`. And the order in which a driver answers under such a flood.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from dmmp.forwarding.burst import Burst
from dmmp.messages import ProbeRequest, encode
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.options import Option
from dmmp.parameters import Parameters
from dmmp.runtime import driver as drivers
from dmmp.security.cookies import REPLY_BYTES, where
from dmmp.security.gate import Gate
from dmmp.security.identity import Mode, prologue
from dmmp.security.limits import Limits
from dmmp.sim.cast import SESSION
from dmmp.sim.secured import WALL, Secured
from dmmp.types import Endpoint, Instant, SessionId
from tests.attackers.openings import openings
from tests.attackers.wire import Sources, endpoint
from tests.attacks import attack_count
from tests.attacks.loopback import Session, session
from tests.runtime.loopback import until

RP, JOINER = endpoint("10.0.0.1"), endpoint("10.0.0.2")
RATE = 50_000
DELAY = 0.02
PROBE = encode(ProbeRequest(session=SessionId(1), timestamp=5))


class Scene:
    """An RP's gate, a joiner's, and a flood: `valid` openings bear a certificate that holds."""

    def __init__(self, valid: bool = False) -> None:
        self.secured = Secured(1, SESSION)
        self.secured.note_point(RP, "rp")
        self.rp = self._gate("rp", "rendezvous-point")
        self.joiner = self._gate("m1", "member")
        shown = self.secured.of("eve", "member", 0).party if valid else None
        common, key = prologue(Mode.CERTIFICATES, SESSION), self.rp.associations.static_key
        self.flood = openings(Random(2), key, common, WALL, shown)
        self.sources = Sources("10.128.0.0/9", Random(3))
        self.out = self.into = self.replies = 0
        self.most_half_open = 0

    def _gate(self, name: str, kind: str) -> Gate:
        security = self.secured.of(name, kind, 0)
        return security.gate(0.0, Parameters(), central=kind == "rendezvous-point")

    def batch(self, count: int, now: Instant) -> None:
        """Let so many openings arrive; nothing they earn may be more than they were."""
        for datagram in islice(self.flood, count):
            source = self.sources.draw()
            taken = self.rp.receive(datagram, source, now)
            assert not taken.messages and len(taken.datagrams) <= 1
            for data, to in taken.datagrams:
                assert to == source and len(data) <= len(datagram)
                self.out += len(data)
            self.into += len(datagram)
            self.replies += len(taken.datagrams)
        self.most_half_open = max(self.most_half_open, self.rp.associations.sizes()["half_open"])


def join(scene: Scene, rate: int, seconds: float) -> Instant | None:
    """Let a joiner call beside the flood; tell when it was answered."""
    step = 0.01
    ways: list[tuple[Instant, bytes, Endpoint]] = []
    now = 5.0
    begun = now + 1.0
    called = False
    while now < begun + seconds:
        scene.batch(int(rate * step), now)
        if now >= begun and not called:
            called = True
            ways += [(now + DELAY, *each) for each in scene.joiner.send_datagram(PROBE, RP, now)]
        ways += [(now + DELAY, *each) for each in scene.joiner.wake(now)]
        arrived = [way for way in ways if way[0] <= now]
        ways = [way for way in ways if way[0] > now]
        for _, data, to in arrived:
            to_rp = to == RP
            gate, sender = (scene.rp, JOINER) if to_rp else (scene.joiner, RP)
            taken = gate.receive(data, sender, now)
            ways += [(now + DELAY, *each) for each in taken.datagrams]
            if to_rp and taken.messages:
                return now - begun
        now += step
    return None


@pytest.mark.slow
@pytest.mark.parametrize("valid", [False, True])
def test_a_joiner_gets_in_within_two_seconds(valid: bool) -> None:
    scene = Scene(valid)
    rate = min(RATE, attack_count(RATE))
    took = join(scene, rate, 4.0)
    assert took is not None and took <= 2.0
    assert scene.most_half_open <= Limits().half_open
    assert scene.out < scene.into / 5 and scene.replies <= scene.into // 600


@pytest.mark.slow
@pytest.mark.parametrize("valid", [False, True])
def test_tables_keep_their_size(valid: bool) -> None:
    scene = Scene(valid)
    for second in range(12):
        # Below what counts as load, as long as there is room.
        scene.batch(190, 100.0 + second)
    scene.batch(5_000, 113.0)
    sizes = scene.rp.associations.sizes()
    assert sizes["associations"] == 0
    assert scene.most_half_open <= Limits().half_open
    if valid:
        # The slow ones do use up places; three quarters full means load, and then none is given.
        assert scene.most_half_open >= 700
    assert sizes["timestamps"] <= 20_000


def known_by(running: Session, count: int) -> Iterator[bytes]:
    assert running.rp.gate is not None
    key = running.rp.gate.associations.static_key
    yield from islice(openings(Random(4), key, b"another prologue", WALL), count)


@pytest.mark.slow
def test_strangers_wait_for_those_who_are_known() -> None:
    async def main() -> None:
        async with session() as running:
            driver, rp = running.rp, running.rp.gate
            assert rp is not None
            order: list[str] = []
            receive = rp.receive

            def note(datagram: bytes, sender: Endpoint, now: Instant) -> object:
                order.append("stranger" if datagram[3] == Option.HANDSHAKE_INITIATION else "known")
                return receive(datagram, sender, now)

            rp.receive = note  # type: ignore[method-assign, assignment]
            flood = [
                Burst(each, len(each), endpoint("10.1.2.3", 1024 + n))
                for n, each in enumerate(known_by(running, 2000))
            ]
            gate = running.member.driver.gate
            assert gate is not None
            sealed = gate.send_datagram(PROBE, driver.socket.local, driver.clock())
            known = Burst(sealed[0].data, len(sealed[0].data), running.member.driver.socket.local)
            driver.take([*flood, known])
            # One that is known comes last and is heard first; of the rest no more than may wait.
            assert order[0] == "known"
            assert len(order) == 1 + drivers.STRANGERS_AT_ONCE
            await until(lambda: len(order) >= 1 + drivers.STRANGERS_LIMIT)
            await asyncio.sleep(0.05)
            assert order.count("stranger") == drivers.STRANGERS_LIMIT

    asyncio.run(main())


def test_what_is_answered_at_the_door_is_answered_alike() -> None:
    scene = Scene()
    scene.batch(500, 10.0)
    associations = scene.rp.associations
    assert associations.is_flooded(10.1)
    key, common = associations.static_key, prologue(Mode.CERTIFICATES, SESSION)
    false = openings(Random(5), key, common, WALL, noise=True)
    for call in (next(scene.flood), next(false)):
        for bad in (call[:-40] + b"\1" + call[-39:], call[:500], call.ljust(1300)):
            assert associations.answer_flood(bad, where(JOINER), True, 10.1) == b""
            assert scene.rp.receive(bad, JOINER, 10.1).datagrams == []
        before = dict(associations.counters)
        (asked,) = scene.rp.receive(call, JOINER, 10.1).datagrams
        between = dict(associations.counters)
        answer = associations.answer_flood(memoryview(call), where(JOINER), True, 10.1)
        assert answer is not None and len(answer) == len(asked.data) == REPLY_BYTES
        assert answer[:HEADER_BYTES] == asked.data[:HEADER_BYTES]
        after = associations.counters
        assert {name: after[name] - between[name] for name in after} == {
            name: between[name] - before[name] for name in after
        }
        assert associations.answer_flood(call, where(JOINER), False, 10.1) == b""
    # The cookie in it is as good as one that was asked for; who bears it is not answered there.
    (first,) = scene.joiner.send_datagram(PROBE, RP, 10.1)
    reply = associations.answer_flood(first.data, where(JOINER), True, 10.1)
    assert reply is not None
    scene.joiner.receive(reply, RP, 10.2)
    (again,) = scene.joiner.wake(10.5)
    assert associations.answer_flood(again.data, where(JOINER), True, 10.5) is None
    assert associations.answer_flood(again.data, where(RP), True, 10.5)
    (response,) = scene.rp.receive(again.data, JOINER, 10.5).datagrams
    assert response.data[3] == Option.HANDSHAKE_RESPONSE


def test_a_cookie_reply_is_all_that_load_earns() -> None:
    scene = Scene()
    scene.batch(2_000, 10.0)
    out = scene.replies
    assert out
    scene.batch(1_000, 10.1)
    assert scene.replies - out == 1_000
    taken = scene.rp.receive(next(scene.flood), scene.sources.draw(), 10.2)
    assert [len(each.data) for each in taken.datagrams] == [REPLY_BYTES]
