"""Secured hosts in a world: real certificates, gates and guards, with dice of the world's seed.

A small authority of the simulation's own certifies every host at its first start; the network then
carries what a real one would, sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dmmp.forwarding.forwarder import Forwarder
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from dmmp.roles.standing import HostSetup
from dmmp.security.authority import Authority, Request
from dmmp.security.identity import (
    CertifiedParty,
    Credential,
    SharedSecretParty,
    Trust,
    static_public,
)
from dmmp.security.peer import Capability
from dmmp.security.setup import Security
from dmmp.sim.node import Life
from dmmp.types import Endpoint, Instant

WALL = 1_800_000_000.0
"""Seconds since 1970 when a simulation begins."""

LIFETIME = 7 * 86400.0
"""No simulation lasts as long as its certificates."""

BANDWIDTH = 10**9

_CAPABILITIES = {
    "rendezvous-point": Capability.RENDEZVOUS_POINT,
    "source": Capability.SOURCE | Capability.SUPER_NODE | Capability.MEMBER,
    "super-node": Capability.SUPER_NODE | Capability.MEMBER,
    "member": Capability.SUPER_NODE | Capability.MEMBER,
}


class Secured:
    """Makes hosts' lives secured: with certificates, or by one secret that all `share`.

    `grant` says what a host's certificate allows, by its name and kind; a member may become a super
    node unless it says otherwise. `most_children` is the highest out-degree certified.
    """

    def __init__(
        self,
        seed: int,
        session: str,
        *,
        shared: bool = False,
        grant: Callable[[str, str], Capability] | None = None,
        most_children: int = 65535,
    ) -> None:
        self.seed = seed
        self.session = session
        self.shared = shared
        self.points: dict[Endpoint, bytes] = {}
        self._grant = grant
        self._most_children = most_children
        self._credentials: dict[str, Credential] = {}
        self.authority = Authority.create(self.random("authority").randbytes)
        self._trust = Trust((self.authority.public,), session)

    def random(self, *purpose: object) -> Random:
        """Make the dice of one purpose."""
        return Random("/".join(str(part) for part in (self.seed, "security", *purpose)))

    def credential(self, name: str, kind: str) -> Credential:
        """Give a host its credential: the same after every restart."""
        held = self._credentials.get(name)
        if held is None:
            allowed = _CAPABILITIES[kind] if self._grant is None else self._grant(name, kind)
            request = Request(name, self.session, allowed, self._most_children, BANDWIDTH)
            dice = self.random("credential", name).randbytes
            held = self.authority.credential(request, WALL, dice, LIFETIME)
            self._credentials[name] = held
        return held

    def of(self, name: str, kind: str, life: int) -> Security:
        """Give one life of a host its part in the session."""
        party: CertifiedParty | SharedSecretParty
        if self.shared:
            party = SharedSecretParty(b"a secret of the whole simulation", self.session)
        else:
            party = CertifiedParty(self.credential(name, kind), self._trust)
        return Security(party, self.random("dice", name, life).randbytes, WALL, self.points)

    def note_point(self, endpoint: Endpoint, name: str) -> None:
        """Let hosts made from now on know an RP's key, as a session file would."""
        if not self.shared:
            secret = self.credential(name, "rendezvous-point").static_secret
            self.points[endpoint] = static_public(secret)

    def life(
        self,
        kind: str,
        setup: HostSetup,
        parameters: Parameters,
        rng: Random,
        life: int,
        now: Instant,
    ) -> Life:
        """Make what runs on a secured machine."""
        security = self.of(setup.name, kind, life)
        gate = security.gate(now, parameters, central=kind == "source")
        host = EndHost(kind, setup, parameters, rng)
        keyed = KeyedHost(
            host,
            security.node_of(gate),
            security.random,
            self.random("keys", setup.name, life),
            WALL,
            is_source=kind == "source",
            takes_keys=kind != "super-node" or self.shared,
        )
        guard = security.guard(delivers=kind != "super-node")
        forwarder = Forwarder(parameters, guard=guard)
        return Life(keyed, lambda at: (keyed.view(at),), forwarder, gate)
