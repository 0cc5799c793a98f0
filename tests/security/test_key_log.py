"""Tests of key logs: a capture opens with the lines that its hosts wrote, and with no others."""

from __future__ import annotations

import os
from ipaddress import ip_address
from random import Random

import pytest

from dmmp.errors import UsageError
from dmmp.messages import ProbeRequest, decode, encode
from dmmp.messages.data import Data
from dmmp.parameters import Parameters
from dmmp.security.authority import Authority, Request
from dmmp.security.gate import Gate
from dmmp.security.identity import CertifiedParty, Trust
from dmmp.security.key_log import KeyLog
from dmmp.security.peer import EVERY_CAPABILITY
from dmmp.security.setup import Security
from dmmp.types import Endpoint
from tests.forwarding.build import ORIGIN, SESSION
from tests.forwarding.guards import SECRET, by_manifest, give_keys
from tests.forwarding.overlay import Links, Overlay

FIRST, SECOND = Endpoint(ip_address("192.0.2.1"), 1), Endpoint(ip_address("192.0.2.2"), 2)
WALL = 1_800_000_000.0


def gates(log: list[str]) -> tuple[Gate, Gate]:
    """Make two hosts' gates, the first of which writes a key log."""
    random = Random(1).randbytes
    authority = Authority.create(random)
    trust = Trust((authority.public,), "demo")
    made = []
    for name, writes in (("one", log.append), ("other", None)):
        request = Request(name, "demo", EVERY_CAPABILITY, 8, 10**9)
        party = CertifiedParty(authority.credential(request, WALL, random), trust)
        made.append(Security(party, random, WALL, key_log=writes).gate(0.0, Parameters()))
    return made[0], made[1]


def test_what_was_sealed_opens_with_the_log_of_one_end() -> None:
    log: list[str] = []
    one, other = gates(log)
    one.associations.introduce(SECOND, other.associations.static_key, 0.0)
    wire = [datagram.data for datagram in one.send(ProbeRequest(timestamp=7), SECOND, 0.0)]
    at = 0
    while at < len(wire):
        receiver, sender = (other, FIRST) if at % 2 == 0 else (one, SECOND)
        wire += [found.data for found in receiver.receive(wire[at], sender, 0.0).datagrams]
        at += 1
    found = [KeyLog("\n".join(log)).opened(datagram) for datagram in wire]
    clear = [decode(plain) for plain in found if plain]
    assert clear == [ProbeRequest(timestamp=7)]
    assert not any(KeyLog("").opened(datagram) for datagram in wire)


def test_sealed_data_opens_with_the_epochs_secret() -> None:
    overlay = Overlay(Random(1), Links(), guards=by_manifest)
    overlay.add(1, overlay.source)
    give_keys(overlay, 3)
    wire: list[bytes] = []
    overlay.on_send = wire.append
    overlay.stream(3, 0.05)
    overlay.originate(5)
    overlay.run(overlay.now + 1)
    line = f"DMMP_EPOCH {SESSION:08x} {ORIGIN:08x} 03 {SECRET.hex()}"
    wrong = f"DMMP_EPOCH {SESSION:08x} {ORIGIN:08x} 03 {os.urandom(32).hex()}"
    opened = [plain for datagram in wire if (plain := KeyLog(f"{wrong}\n{line}").opened(datagram))]
    packets = [decode(plain) for plain in opened]
    numbers = {int.from_bytes(each.payload) for each in packets if isinstance(each, Data)}
    assert numbers == set(range(1, 10))
    assert not any(KeyLog(wrong).opened(datagram) for datagram in wire)
    assert not any(map(KeyLog(line).opened, (encode(ProbeRequest(timestamp=1)), b"", b"\0" * 99)))


@pytest.mark.parametrize("text", ["hello", "DMMP_EPOCH 1 2", "DMMP_ASSOCIATION xx yy 1 2"])
def test_what_is_no_key_log_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="line 1"):
        KeyLog(text)
