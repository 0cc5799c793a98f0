"""Who the other end of an association is, and what it may do: the facts of its certificate.

Values only. In a session with one shared secret every peer is `ANYBODY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol

from dmmp.types import IpAddress


class Capability(IntFlag):
    """What an authority lets a host be (slide 23); bits of the certificate's extension."""

    NONE = 0
    MEMBER = 1
    SUPER_NODE = 2
    SOURCE = 4
    RENDEZVOUS_POINT = 8
    AUTHORITY = 16


EVERY_CAPABILITY = (
    Capability.MEMBER
    | Capability.SUPER_NODE
    | Capability.SOURCE
    | Capability.RENDEZVOUS_POINT
    | Capability.AUTHORITY
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A host whose credential was checked.

    `node` is the hash of its signing key, 16 bytes; `out_degree` and `bandwidth` (bit/s) are the
    most it may claim; `groups` are those it may send to, none meaning all; `not_after` is in
    seconds since 1970; `static_key` (X25519) and `signing_key` (Ed25519) are 32 bytes each.
    """

    node: bytes
    name: str
    capabilities: Capability
    out_degree: int
    bandwidth: int
    groups: tuple[IpAddress, ...]
    static_key: bytes
    signing_key: bytes
    serial: int
    not_after: float


class Party(Protocol):
    """This host, as the other ends of its associations get to know it.

    `static_secret` is the X25519 private key; `credential` what is shown of this host (a
    certificate, DER; nothing with a shared secret); `prologue` what both ends must agree on.
    """

    @property
    def static_secret(self) -> bytes: ...

    @property
    def credential(self) -> bytes: ...

    @property
    def prologue(self) -> bytes: ...

    def check(self, credential: bytes, static_key: bytes, at: float) -> Peer:
        """Tell who shows this credential and holds this key, at `at` seconds since 1970.

        Raise `AuthenticationError` unless it is valid and names that very key.
        """
