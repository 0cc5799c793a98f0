"""What a host needs to take part in a secured session: its gate and its guard, of one making.

`Security` is there once for each host; the simulator and the runtime make the same of it. Where
files come from, and which mode was chosen, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dmmp.parameters import Parameters
from dmmp.security.associations import Associations
from dmmp.security.certificate import read_certificate
from dmmp.security.data_guard import DataGuard
from dmmp.security.gate import Gate
from dmmp.security.identity import CertifiedParty, SharedSecretParty, static_public
from dmmp.security.limits import Limits
from dmmp.security.peer import Capability, Peer
from dmmp.security.signing import Signer
from dmmp.types import Endpoint, Instant

CENTRAL = 20_000
"""Associations of an RP or a source, whom every host of a session talks to: all members that there
may be keys for, and the rest."""


@dataclass(frozen=True, slots=True)
class Security:
    """One host's part in a secured session; `points` are the static keys of the RPs.

    `random` gives so many random bytes; `wall` is seconds since 1970 less the clock of `now`.
    """

    party: CertifiedParty | SharedSecretParty
    random: Callable[[int], bytes]
    wall: float
    points: Mapping[Endpoint, bytes] = field(default_factory=dict)
    key_log: Callable[[str], None] | None = None

    @property
    def shared(self) -> bool:
        """Tell whether all hosts share one secret, and nobody has a certificate."""
        return isinstance(self.party, SharedSecretParty)

    @property
    def peer(self) -> Peer:
        """Return what others know this host as."""
        party = self.party
        if isinstance(party, CertifiedParty):
            return party.held.peer
        return party.check(b"", static_public(party.static_secret), 0.0)

    @property
    def capabilities(self) -> Capability:
        """What this host may be."""
        return self.peer.capabilities

    @property
    def is_ordinary(self) -> bool:
        """Tell whether this host may not be a super node."""
        return not self.capabilities & (Capability.SUPER_NODE | Capability.SOURCE)

    @property
    def out_degree(self) -> int:
        """Return the most children that this host may claim."""
        return self.peer.out_degree

    def gate(self, now: Instant, parameters: Parameters, central: bool = False) -> Gate:
        """Make the gate; `central` is for who talks to every host of the session."""
        limits = Limits()
        if central:
            most = CENTRAL
            limits = replace(limits, associations=most, timestamps=most, keys=most)
        associations = Associations(
            self.party,
            self.random,
            int.from_bytes(self.random(8)),
            self.wall,
            parameters,
            limits,
            default_key=static_public(self.party.static_secret) if self.shared else None,
            key_log=self.key_log,
        )
        for endpoint, key in self.points.items():
            associations.pin(endpoint, key)
        return Gate(associations, self.points, self.shared)

    def guard(self, *, delivers: bool) -> DataGuard:
        """Make the guard of this host's forwarder; `delivers` unless it is a mere relay."""
        guard = self._guard(delivers)
        guard.keys.key_log = self.key_log
        return guard

    def _guard(self, delivers: bool) -> DataGuard:
        party = self.party
        if not isinstance(party, CertifiedParty):
            # A tag is all that proves data here, so who passes it on needs the key as well.
            signer = party.signer
            return DataGuard(None, self.wall, signer, anybody=self.peer, delivers=True)
        own = None
        if Capability.SOURCE in party.held.peer.capabilities:
            own = Signer(party.held.signing_secret)

        def check(certificate: bytes, at: float) -> Peer:
            shown = read_certificate(certificate).peer
            return party.trust.check(certificate, shown.static_key, at)

        return DataGuard(check, self.wall, own, party.credential, delivers=delivers)

    def node_of(self, gate: Gate) -> Callable[[Endpoint], bytes | None]:
        """Make what tells members apart: by their certificates, or by where they are."""

        def node(endpoint: Endpoint) -> bytes | None:
            peer = gate.peer(endpoint)
            if peer is None or self.shared:
                return None if peer is None else str(endpoint).encode()
            return peer.node

        return node
