"""How much a host takes on before it knows anybody: bounds, rates, and when they are exceeded.

Fixed tables, so that a flood costs no memory. Nothing here is secret but a salt.
Figures: section 2.6 of the design, after wireguard-go; Decision 6 for the spirit of them.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2s
from typing import Generic, TypeVar

from dmmp.types import Instant, IpAddress

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the association table; each with what it is measured by.

    A host needs as many associations as it has neighbours; an RP as many as hosts renew
    themselves there within some minutes, so it should be given more.
    """

    associations: int = 1024  # out-degree + mesh (slide 15: 100) + 64, generously
    superseded: int = 3  # of one endpoint: renewed, and crossed on the way
    half_open: int = 1024  # some 2 kB each; three quarters full means load
    keys: int = 4096  # static keys that were heard of
    timestamps: int = 4096  # of initiators whose credential held
    cookies: int = 1024  # of others, 120 s each
    queued_endpoints: int = 512  # that wait for an association
    queued_plaintexts: int = 16  # of one endpoint
    queued_bytes: int = 32 << 10  # of one endpoint
    queued_bytes_in_all: int = 1 << 20
    initiations: int = 200  # a second; more is load: they cost 150 us and a certificate each
    buckets: int = 4096  # of addresses, 16 bytes each
    address_rate: float = 20.0  # initiations a second from one /32 or /64 (wireguard-go)
    address_burst: float = 5.0  # and at once (wireguard-go)


class Recent(Generic[_K, _V]):
    """A table that forgets what was not used for longest, once it has `most` entries."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[_K, _V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _K) -> _V | None:
        """Return what is known, and know it for longer."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: _K, value: _V) -> None:
        """Learn or replace."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def pop(self, key: _K) -> None:
        """Forget."""
        self._entries.pop(key, None)


class Buckets:
    """Token buckets of addresses in a fixed table: a /32 each for IPv4, a /64 for IPv6.

    Addresses that share a bucket share its tokens; which do is hidden by `salt`, at most 32 bytes,
    so nobody can choose an address to empty another's.
    """

    def __init__(self, limits: Limits, salt: bytes) -> None:
        self._rate, self._burst = limits.address_rate, limits.address_burst
        self._count = limits.buckets
        self._salt = salt
        self._tokens = array("d", [self._burst]) * self._count
        self._at = array("d", [float("-inf")]) * self._count

    def take(self, address: IpAddress, now: Instant) -> bool:
        """Take a token for this address; tell whether there was one."""
        prefix = address.packed[:8]
        number = int.from_bytes(blake2s(prefix, key=self._salt, digest_size=8).digest(), "big")
        at = number % self._count
        tokens = min(self._burst, self._tokens[at] + self._rate * (now - self._at[at]))
        self._at[at] = now
        self._tokens[at] = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1


class Load:
    """Counts initiations by the second; a second with too many makes the next one suspect, too."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: Instant = float("-inf")
        self._count = self._earlier = 0

    def note(self, now: Instant) -> None:
        """Count one initiation."""
        self._turn(now)
        self._count += 1

    def is_high(self, now: Instant) -> bool:
        """Tell whether there are more than a second may have."""
        self._turn(now)
        return self._count > self._most or self._earlier > self._most

    def _turn(self, now: Instant) -> None:
        age = now - self._begun
        if age >= 2:
            self._earlier, self._count, self._begun = 0, 0, now
        elif age >= 1:
            self._earlier, self._count = self._count, 0
            self._begun += 1
