"""Versions, suites and modes rewritten on the way: the handshake fails, and nothing less is spoken.

A member that joins through a proxy, over real sockets; and the same at two gates, for every byte
of the handshake's headers (row 8).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from random import Random

import pytest

from dmmp.messages import ProbeRequest, encode
from dmmp.messages.header import HEADER_BYTES
from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.runtime.driver import Driver
from dmmp.runtime.sockets import open_socket
from dmmp.security.gate import Gate
from dmmp.sim.cast import SESSION as SIMULATED
from dmmp.sim.secured import Secured
from dmmp.types import Endpoint, SessionId
from tests.attackers.downgrade_proxy import DOWNGRADES, Downgrade, signed_again
from tests.attackers.mutating_proxy import open_proxy
from tests.attackers.wire import endpoint
from tests.attacks.loopback import Node, security_of
from tests.attacks.stage import ordinary
from tests.runtime.loopback import ANY_PORT, QUICK, SESSION, until

PROBE = encode(ProbeRequest(session=SessionId(1), timestamp=5))
HERE, THERE = endpoint("10.0.0.1"), endpoint("10.0.0.2")

UNHARMED = "no change"


async def tried(name: str) -> tuple[Driver, Node, int, list[bytes]]:
    """Let a member look for its place through a proxy; give the RP, the member, what passed."""
    secured = Secured(1, SESSION, grant=ordinary)
    opened = await open_socket(ANY_PORT, "portable")
    gate = security_of(secured, "rp", "rendezvous-point").gate(time.monotonic(), QUICK, True)
    point = Driver(RendezvousPoint((SESSION,), QUICK, Random(0)), opened, gate=gate)
    change: Downgrade = DOWNGRADES.get(name, lambda data: data)
    change = signed_again(change, gate.associations.static_key)
    back: list[bytes] = []

    def alter(data: bytes, forward: bool) -> list[bytes]:
        if forward:
            back.append(data)
        made = change(data)
        return [made] if made else []

    proxy, where = await open_proxy(ANY_PORT, opened.local, alter)
    secured.note_point(where, "rp")
    member = Node("member", 2, where, secured)
    await member.open("batched")
    running = [asyncio.ensure_future(each.run()) for each in (point, member.driver)]
    try:
        if name == UNHARMED:
            await until(lambda: member.view.host)
        else:
            # Five tries of one call at least.
            await until(lambda: proxy.counts[True] >= 5)
    finally:
        for driver in (point, member.driver):
            driver.stop()
            driver.stop()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*running)
        proxy.close()
    return point, member, proxy.counts[False], back


def test_through_a_proxy_that_changes_nothing_a_member_gets_in() -> None:
    point, member, answers, _ = asyncio.run(tried(UNHARMED))
    assert answers and member.view.host
    assert point.gate is not None and point.gate.associations.counters["established"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DOWNGRADES))
def test_a_downgrade_fails_closed(name: str) -> None:
    point, member, _, sent = asyncio.run(tried(name))
    assert point.gate is not None and member.driver.gate is not None
    for gate in (point.gate, member.driver.gate):
        assert gate.associations.counters["established"] == 0
        assert gate.counters["opened"] == 0
    assert not member.view.host
    # It never says anything but the one kind of handshake.
    assert {each[:4] for each in sent} == {b"\x01\x00\x00\xd0"}


def gates() -> tuple[Gate, Gate]:
    secured = Secured(1, SIMULATED)
    secured.note_point(THERE, "rp")
    member = secured.of("m1", "member", 0).gate(0.0, Parameters())
    return member, secured.of("rp", "rendezvous-point", 0).gate(0.0, Parameters())


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_no_byte_of_a_handshakes_header_may_be_another(at: int) -> None:
    for leg in range(2):
        member, rp = gates()
        (opening,) = member.send_datagram(PROBE, THERE, 1.0)
        data = opening.data
        if leg == 0:
            data = _bent(data, at, rp)
        answers = rp.receive(data, HERE, 1.0).datagrams
        if leg == 0 and at in INDEX:
            # Whose index it is, nobody else knows: the answer to another one leads nowhere.
            assert all(not _completes(member, each.data) for each in answers)
            continue
        if leg == 0:
            assert not answers
        elif at not in INDEX:
            assert not _completes(member, _bent(answers[0].data, at, member))


INDEX = range(8, 12)
"""Bytes of a header that are the sender's index."""


def _bent(data: bytes, at: int, receiver: Gate) -> bytes:
    """Change one byte, and make mac1 hold again."""

    def change(each: bytes) -> bytes:
        return each[:at] + bytes((each[at] ^ 1,)) + each[at + 1 :]

    return signed_again(change, receiver.associations.static_key)(data)


def _completes(member: Gate, response: bytes) -> bool:
    sender: Endpoint = THERE
    taken = member.receive(response, sender, 1.1)
    return bool(taken.datagrams) and member.peer(THERE) is not None


def test_an_unchanged_handshake_completes() -> None:
    member, rp = gates()
    (opening,) = member.send_datagram(PROBE, THERE, 1.0)
    (answer,) = rp.receive(opening.data, HERE, 1.0).datagrams
    assert _completes(member, answer.data)
