"""How a host seals, proves and opens data: by manifests of certified origins, or by tags alone.

With certificates the origin signs, and whoever passes data on checks signatures and needs no key.
With a shared secret there is nobody to tell from another: the tag, which all who have the group's
key can check, is all there is. What is done with packets is the forwarder's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.security.data_keys import DataKeys
from dmmp.security.manifest import Manifest, beat_holds, packet_holds, read_manifest
from dmmp.security.peer import Capability, Peer
from dmmp.security.signing import Signer, Verifier
from dmmp.types import Instant, IpAddress

MOST_ORIGINS = 64
"""Origins whose signers are known: as many as there are keys of."""

MOST_SIGNERS = 2
"""Certificates held for one origin: the one in force, and one that says it is the same."""

CHECKS_A_SECOND = 2000
"""Signatures checked at most: a fifth of a processor, and 30 times what a full stream needs."""

MOST_CHECKS = 200
"""And so many at once."""

CheckCredential = Callable[[bytes, float], Peer]
"""Tells who shows a certificate, at a time in seconds since 1970; raises `AuthenticationError`."""


class Known(NamedTuple):
    """An origin's signer."""

    peer: Peer
    verifier: Verifier


class DataGuard:
    """The keys, the signers and the budget; see the module's docstring.

    `check` is there if origins show certificates; else `anybody` is who signs for all who share the
    secret. `signer` and `credential` are this host's own, if it may be an origin. `wall` is seconds
    since 1970 less the clock of `now`.
    """

    def __init__(
        self,
        check: CheckCredential | None,
        wall: float,
        signer: Signer | None = None,
        credential: bytes = b"",
        *,
        anybody: Peer | None = None,
        delivers: bool = True,
    ) -> None:
        self.keys = DataKeys()
        self.signer = signer
        self.credential = credential
        self.delivers = delivers
        self.epochs: dict[int, int] = {}
        """The present epoch of each origin that is this host."""
        self._check = check
        self._anybody = [] if anybody is None else [Known(anybody, Verifier(anybody.signing_key))]
        self._wall = wall
        self._known: dict[int, list[Known]] = {}
        self._settled: dict[int, bytes] = {}
        self._checks = float(MOST_CHECKS)
        self._checked_at: Instant | None = None

    @property
    def by_manifest(self) -> bool:
        """Tell whether packets are proven by their origin's signature, not by the tag alone."""
        return self._check is not None

    def learn(self, origin_key: int, credential: bytes, now: Instant) -> bool:
        """Take an origin's certificate; tell whether it is news. Raise `AuthenticationError`."""
        known = self._known.get(origin_key, [])
        if self._check is None or not self._may_check(now):
            return False
        peer = self._check(credential, now + self._wall)
        if Capability.SOURCE not in peer.capabilities:
            raise AuthenticationError(f"{peer.name} is no source")
        if any(each.peer.serial == peer.serial for each in known):
            return False
        settled = self._settled.get(origin_key)
        if settled not in (None, peer.signing_key) and self._valid(origin_key, now):
            raise AuthenticationError(f"{peer.name} is another source")
        others = [each for each in known if each.peer.signing_key != peer.signing_key]
        self._known.pop(origin_key, None)
        self._known[origin_key] = [Known(peer, Verifier(peer.signing_key)), *others][:MOST_SIGNERS]
        if len(self._known) > MOST_ORIGINS:
            # Anybody may show a certificate as that of whatever origin, so first goes who never
            # signed anything.
            unproven = (key for key in self._known if key not in self._settled)
            del self._known[next(unproven, next(iter(self._known)))]
        return True

    def knows(self, origin_key: int, now: Instant) -> bool:
        """Tell whether a valid certificate of this origin is known."""
        return bool(self._valid(origin_key, now))

    def origin(self, origin_key: int) -> Peer | None:
        """Return who the origin is."""
        known = self._known.get(origin_key)
        return known[0].peer if known else None

    def beat_holds(
        self, origin_key: int, group: IpAddress, datagram: bytes, now: Instant
    ) -> bool | None:
        """Tell whether a heartbeat is its origin's, who may send to the group; None: no telling."""
        if not self._may_check(now):
            return None
        for known in self._valid(origin_key, now):
            if beat_holds(known.verifier, datagram):
                allowed = known.peer.groups
                if self._check is not None:
                    self._settle(origin_key, known)
                return not allowed or group in allowed or group.is_unspecified
        return False

    def manifest(
        self, payload: bytes, origin_key: int, channel: int, now: Instant
    ) -> Manifest | None:
        """Read a manifest; None if nobody can tell now. Raise `DecodeError` if it is none."""
        if not self._may_check(now):
            return None
        failure: DecodeError | None = None
        for known in self._valid(origin_key, now):
            try:
                return read_manifest(payload, origin_key, channel, known.verifier)
            except DecodeError as error:
                failure = error
        if failure is None:
            return None
        raise failure

    def packet_holds(
        self, origin_key: int, datagram: bytes | memoryview, now: Instant
    ) -> bool | None:
        """Tell whether a signed packet is its origin's; None if nobody can tell now."""
        valid = self._valid(origin_key, now)
        if not valid or not self._may_check(now):
            return None
        return any(packet_holds(known.verifier, datagram) for known in valid)

    def own_cipher(self, origin_key: int, channel: int, sequence: int) -> AESGCM | None:
        """Return the cipher of the present epoch of this host as origin; None before its first."""
        epoch = self.epochs.get(origin_key)
        if epoch is None:
            return None
        return self.keys.cipher(origin_key, epoch << 16 | channel, sequence)

    def _valid(self, origin_key: int, now: Instant) -> list[Known]:
        at = now + self._wall
        if self._check is None:
            return self._anybody
        return [each for each in self._known.get(origin_key, ()) if each.peer.not_after > at]

    def _settle(self, origin_key: int, known: Known) -> None:
        """Believe who signed a heartbeat first, and no other, while his certificate is valid.

        Another source's certificate may only have said that it is this origin's.
        """
        self._known[origin_key] = [known]
        self._settled[origin_key] = known.peer.signing_key
        if len(self._settled) > MOST_ORIGINS:
            del self._settled[next(iter(self._settled))]

    def deny(self, serials: frozenset[int]) -> None:
        """Believe certificates with these serials no more."""
        for origin_key, known in list(self._known.items()):
            left = [each for each in known if each.peer.serial not in serials]
            if len(left) < len(known):
                self._settled.pop(origin_key, None)
                self._known[origin_key] = left

    def _may_check(self, now: Instant) -> bool:
        """Take one check of the budget, if there is one: a check costs 0.1 ms."""
        if self._checked_at is None:
            self._checked_at = now
        earned = (now - self._checked_at) * CHECKS_A_SECOND
        self._checks = min(MOST_CHECKS, self._checks + max(0.0, earned))
        self._checked_at = max(now, self._checked_at)
        if self._checks < 1:
            return False
        self._checks -= 1
        return True
