"""This host in handshakes: its keys, its dice, its count of what it saw. State for the three files
that make associations, and no behaviour beyond drawing and counting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dmmp.errors import UsageError
from dmmp.security.cookies import COOKIE_SECONDS
from dmmp.security.handshakes import MAXIMUM_CREDENTIAL_BYTES
from dmmp.security.limits import Limits, Recent
from dmmp.security.noise import KeyPair
from dmmp.security.peer import Party
from dmmp.types import Endpoint, Instant

COUNTERS = (
    # What was done.
    "initiations_sent",
    "responses_sent",
    "cookie_replies_sent",
    "cookies_received",
    "established",
    "doubted",
    "suspected",
    # What was dropped, by the first reason found.
    "malformed",
    "mac1",
    "mac2",
    "flooded",
    "amplifying",
    "handshake",
    "reflected",
    "replayed",
    "refused",
    "usurping",
    "unknown_index",
    "wrong_address",
    "seal",
    "cookie",
    # What had to go, or led nowhere.
    "hearsay",
    "evicted",
    "half_open_evicted",
    "queue_dropped",
    "failed",
)
"""Names in `counters`; there are no others."""


class Datagram(NamedTuple):
    """Bytes to be sent, and where to."""

    data: bytes
    to: Endpoint


class Host:
    """What is the same for all associations of a host.

    `wall` is seconds since 1970 minus the monotonic clock's; set it anew when the clock is put
    right. The static key is read once, the credential for each handshake, so that a renewed
    certificate is shown from then on. Raise `UsageError` if the credential is too long.
    """

    def __init__(
        self,
        party: Party,
        random: Callable[[int], bytes],
        instance: int,
        wall: float,
        limits: Limits,
    ) -> None:
        if len(party.credential) > MAXIMUM_CREDENTIAL_BYTES:
            raise UsageError(f"a credential of more than {MAXIMUM_CREDENTIAL_BYTES} bytes")
        self.party, self.random, self.instance, self.wall = party, random, instance, wall
        self.limits = limits
        self.static = KeyPair(party.static_secret)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.cookies: Recent[Endpoint, tuple[bytes, Instant]] = Recent(limits.cookies)
        self._order = 0

    def count(self, name: str) -> None:
        """Count one more of this name."""
        self.counters[name] += 1

    def ephemeral(self) -> KeyPair:
        """Draw a key for one handshake."""
        return KeyPair(self.random(32))

    def next_order(self) -> int:
        """Number a handshake: which of two began later is asked of numbers, not of clocks."""
        self._order += 1
        return self._order

    def cookie_for(self, endpoint: Endpoint, now: Instant) -> bytes | None:
        """Return the cookie this endpoint gave within the last 120 s."""
        found = self.cookies.get(endpoint)
        return found[0] if found is not None and now < found[1] + COOKIE_SECONDS else None
