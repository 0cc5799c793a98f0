"""Inputs that never cross the wire: the application's wishes, and what the forwarder noticed.

They enter a role by the same door as messages, from the endpoint `SELF`, and have no encoding, so
no peer can forge one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmmp.interest import Interest
from dmmp.types import Endpoint, HostId, Instant, SessionId


@dataclass(frozen=True, slots=True)
class LocalMessage:
    """Anything that comes from this host itself; it cannot be encoded."""


@dataclass(frozen=True, slots=True)
class Start(LocalMessage):
    """Begin: register and find a place (slide 14)."""


@dataclass(frozen=True, slots=True)
class Stop(LocalMessage):
    """Leave in good order (slide 20)."""


@dataclass(frozen=True, slots=True)
class Subscribe(LocalMessage):
    """A program here wants a group; replaces what it wanted of the group before (Decision 25)."""

    interest: Interest


@dataclass(frozen=True, slots=True)
class Silence(LocalMessage):
    """The flow from upstream stopped at `since`, though it was steady (Decision 11)."""

    since: Instant


@dataclass(frozen=True, slots=True)
class Unreachable(LocalMessage):
    """The network says that nobody listens at this endpoint (an ICMP error, RFC 792)."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Carries(LocalMessage):
    """This host sends datagrams of up to so many bytes: find out which paths carry them (RFC 8899).

    Without it no path is probed. It may come again with a larger size.
    """

    datagram_bytes: int


@dataclass(frozen=True, slots=True)
class TooLarge(LocalMessage):
    """The network says that datagrams above `fits` bytes do not reach this endpoint (RFC 1191).

    0: it is this host's own interface that could not send the last probe.
    """

    endpoint: Endpoint
    fits: int = 0


@dataclass(frozen=True, slots=True)
class Forged(LocalMessage):
    """Packets of an origin that it did not send came from `forger` (Decision 67)."""

    forger: Endpoint
    session: SessionId
    origin: HostId
    packets: int


@dataclass(frozen=True, slots=True)
class Denied(LocalMessage):
    """The authority denied these hosts, by their nodes of 16 bytes (slide 23)."""

    nodes: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Withholding(LocalMessage):
    """Upstream did not send what it was asked for, and others had it (Decision 71).

    With `starved` nobody had it: so many times in a row nothing at all came of what was announced.
    """

    upstream: Endpoint
    starved: int = 0


@dataclass(frozen=True, slots=True)
class KeyWanted(LocalMessage):
    """Data of an epoch, 8 bits on the wire, cannot be opened: its secret is not here (Decision 68).

    Or, if `failed`, the one that was guessed is not the right one.
    """

    session: SessionId
    origin: HostId
    epoch: int
    failed: bool = False


@dataclass(frozen=True, slots=True)
class KeyFits(LocalMessage):
    """The secret that was guessed for an epoch has opened something (Decision 68)."""

    session: SessionId
    origin: HostId
    epoch: int


@dataclass(frozen=True, slots=True)
class KeyNews(LocalMessage):
    """An origin's signed word to all who hold its keys: a whole datagram (Decision 68)."""

    session: SessionId
    origin: HostId
    datagram: bytes


@dataclass(frozen=True, slots=True)
class Credited(LocalMessage):
    """An origin has shown a certificate that holds (Decision 67)."""

    session: SessionId
    origin: HostId
