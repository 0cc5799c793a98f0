"""What both ends of the secured benches hold in common: a source's credential, guards, a key.

All of it follows from fixed bytes, so two processes need not talk to agree.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from dmmp.actions import InstallKey
from dmmp.forwarding.forwarder import Forwarder
from dmmp.parameters import Parameters
from dmmp.security.association import Association
from dmmp.security.authority import Authority, Request
from dmmp.security.data_guard import DataGuard
from dmmp.security.gate import Gate
from dmmp.security.identity import CertifiedParty, SharedSecretParty, Trust
from dmmp.security.noise import Keys
from dmmp.security.peer import EVERY_CAPABILITY, Peer
from dmmp.security.setup import Security
from dmmp.types import Endpoint, Instant
from tests.bench.relay_node import ORIGIN, SESSION

NONE: Final = "no security"
TAGS: Final = "tags"
MANIFESTS: Final = "manifests"
OPENED: Final = "manifests, opened"
PLAIN_MEMBER: Final = "no security, delivering"
TAGS_MEMBER: Final = "tags, delivering"
MEMBER: Final = "manifests, delivering"
GUARDS: Final = (NONE, TAGS, MANIFESTS, OPENED, PLAIN_MEMBER, TAGS_MEMBER, MEMBER)
"""Ways to guard data: not at all; with a shared secret; with certificates, as a relay without keys;
the same, opening everything for nobody. Then each as a member whose programs listen."""

UNGUARDED: Final = (NONE, PLAIN_MEMBER)
DELIVERING: Final = (PLAIN_MEMBER, TAGS_MEMBER, MEMBER)
"""Ways in which everything goes to programs as well, through a TUN."""

_BY_TAGS: Final = (TAGS, TAGS_MEMBER)

NAME: Final = "bench"
SECRET: Final = b"k" * 32
EPOCH: Final = 1
PORT: Final = 5004
"""Where the programs of a member listen."""


_SOMEBODY = Peer(bytes(16), "", EVERY_CAPABILITY, 0, 0, (), bytes(32), bytes(32), 0, 0.0)


class _Drawn:
    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return sha256(b"bench %d" % self._count).digest()[:size]


def guard(way: str) -> DataGuard | None:
    """Make a guard, of the source and of relays alike."""
    if way in UNGUARDED:
        return None
    party: CertifiedParty | SharedSecretParty
    if way in _BY_TAGS:
        party = SharedSecretParty(b"a secret for benches only", NAME)
    else:
        dice = _Drawn()
        authority = Authority(dice(32))
        request = Request("source", NAME, EVERY_CAPABILITY, 256, 10**10)
        at = 86400.0 * int(time.time() / 86400)
        held = authority.credential(request, at, dice, 3 * 86400.0)
        party = CertifiedParty(held, Trust((authority.public,), NAME))
    wall = time.time() - time.monotonic()
    return Security(party, _Drawn(), wall).guard(delivers=way != MANIFESTS)


def gate(way: str, parent: Endpoint, children: Sequence[Endpoint], now: Instant) -> Gate | None:
    """Make a relay's gate, with associations that stand already; none without security."""
    if way in UNGUARDED:
        return None
    party = SharedSecretParty(b"a secret for benches only", NAME)
    made = Security(party, _Drawn(), time.time() - time.monotonic()).gate(now, Parameters())
    for number, endpoint in enumerate((parent, *children)):
        made.associations._adopt(association(number, endpoint, now, near=number > 0), now)
    return made


def association(number: int, other: Endpoint, now: Instant, near: bool) -> Association:
    """Make one end of the association with this number; `near` is the end that called."""
    keys = [sha256(b"bench %d %d" % (number, end)).digest() for end in (near, not near)]
    indexes = (2 * number + 1 + near, 2 * number + 2 - near)
    return Association(
        indexes, Keys(keys[0], keys[1], bytes(32)), other, _SOMEBODY, now, 1, initiated=near
    )


def forwarder(way: str, now: Instant, seals: bool) -> Forwarder:
    """Make a forwarder with a guard that holds the key, if it needs one."""
    made = Forwarder(Parameters(), guard=guard(way))
    if way not in UNGUARDED and (seals or way != MANIFESTS):
        made.apply(InstallKey(SESSION, ORIGIN, EPOCH, SECRET, seals), now)
    return made
