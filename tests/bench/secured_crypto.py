"""What handshakes and seals cost by themselves, in microseconds, both ends in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from ipaddress import ip_address

from dmmp.security.associations import Associations
from dmmp.security.authority import Authority, Request
from dmmp.security.identity import CertifiedParty, Trust
from dmmp.security.outcomes import Unknown
from dmmp.security.peer import EVERY_CAPABILITY
from dmmp.types import Endpoint

HANDSHAKES = 100
SEALS = 2000
MESSAGE = bytes(150)
FIRST = Endpoint(ip_address("192.0.2.1"), 47700)


def _pair(number: int, parties: list[CertifiedParty]) -> tuple[Associations, Associations]:
    wall = time.time()
    one, other = (
        Associations(party, os.urandom, 2 * number + at, wall) for at, party in enumerate(parties)
    )
    return one, other


def _parties() -> list[CertifiedParty]:
    authority = Authority.create(os.urandom)
    trust = Trust((authority.public,), "bench")
    return [
        CertifiedParty(
            authority.credential(
                Request(name, "bench", EVERY_CAPABILITY, 8, 10**9), time.time(), os.urandom
            ),
            trust,
        )
        for name in ("one", "other")
    ]


def _meet(one: Associations, other: Associations, first: Endpoint, second: Endpoint) -> None:
    """Carry datagrams between two hosts until one's first message has come."""
    one.introduce(second, other.static_key, 0.0)
    sent = one.send(MESSAGE, second, 0.0)
    assert not isinstance(sent, Unknown)
    (initiation,) = sent
    (response,) = other.receive(initiation.data, first, 0.0).datagrams
    (sealed,) = one.receive(response.data, second, 0.0).datagrams
    assert other.receive(sealed.data, first, 0.0).plaintexts == [MESSAGE]


def handshakes() -> dict[str, float]:
    """Measure handshakes with certificates, both ends together."""
    parties = _parties()
    pairs = [_pair(number, parties) for number in range(HANDSHAKES)]
    places = [
        (Endpoint(ip_address(0x0A000000 + 2 * n), 1), Endpoint(ip_address(0x0A000001 + 2 * n), 1))
        for n in range(HANDSHAKES)
    ]
    begun = time.process_time()
    for (one, other), (first, second) in zip(pairs, places, strict=True):
        _meet(one, other, first, second)
    return {"handshake, both ends": (time.process_time() - begun) / HANDSHAKES * 1e6}


def lone_costs() -> dict[str, float]:
    """Measure sealing, opening, and turning junk away."""
    one, other = _pair(1, _parties())
    second = Endpoint(ip_address("192.0.2.2"), 47700)
    _meet(one, other, FIRST, second)
    sealed: list[bytes] = []

    def seal() -> None:
        for _ in range(SEALS):
            sent = one.send(MESSAGE, second, 1.0)
            assert not isinstance(sent, Unknown)
            sealed.append(sent[0].data)

    def take() -> None:
        for datagram in sealed:
            other.receive(datagram, FIRST, 1.0)

    junk = [os.urandom(600) for _ in range(SEALS)]

    def turn_away() -> None:
        for datagram in junk:
            other.receive(datagram, FIRST, 1.0)

    named: dict[str, Callable[[], None]] = {
        "seal 150 bytes": seal,
        "open 150 bytes": take,
        "turn junk away": turn_away,
    }
    costs = {}
    for name, run in named.items():
        begun = time.process_time()
        run()
        costs[name] = (time.process_time() - begun) / SEALS * 1e6
    return costs
