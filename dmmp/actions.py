"""What a role asks the world to do: a closed union of frozen values (ten kinds).

Drivers carry them out in order; tests compare them. A role has no other effect.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmmp.events import Event
from dmmp.interest import Interest
from dmmp.messages.schema import Message
from dmmp.types import NO_HOST, Endpoint, HostId, SessionId

ANY_ORIGIN = HostId(0)
"""Origin of the entry that serves every origin without an entry of its own, PIM's (*,G)."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One downstream host and what its subtree wants (Decision 25)."""

    endpoint: Endpoint
    interest: tuple[Interest, ...] = ()


@dataclass(frozen=True, slots=True)
class ForwardingEntry:
    """Where data of an origin may come from and where it goes (slide 10, Decisions 15, 16, 25).

    `upstream` lists the endpoints data is accepted from: the present parent first, then one that is
    being left (make before break); empty at the source. `deliver` is what this host's own programs
    want. `repairers` are asked, in this order, for what upstream does not send (Decision 18); `me`
    is the id that such requests bear; `patience` is the least silence of the flow that counts, in
    seconds, as the way to upstream is known to be that slow (Decision 11).
    """

    session: SessionId
    origin: HostId = ANY_ORIGIN
    tree_version: int = 0
    upstream: tuple[Endpoint, ...] = ()
    downstream: tuple[Branch, ...] = ()
    deliver: tuple[Interest, ...] = ()
    repairers: tuple[Endpoint, ...] = ()
    me: HostId = NO_HOST
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Send:
    """Send one control message; if `whole`, lost rather than in fragments: it probes the path."""

    message: Message
    to: Endpoint
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Install:
    """Put a forwarding entry in force, in place of the one with its session and origin."""

    entry: ForwardingEntry


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove a forwarding entry."""

    session: SessionId
    origin: HostId = ANY_ORIGIN


@dataclass(frozen=True, slots=True)
class Replay:
    """Send packets from the cache again (Decision 18): fields as in `DataRequest`."""

    session: SessionId
    origin: HostId
    channel: int
    base: int
    bitmap: bytes
    to: Endpoint


@dataclass(frozen=True, slots=True)
class InstallKey:
    """Open an origin's data of an epoch (8 bits) with this secret of 32 bytes (Decision 68).

    `seals` says that the origin is this host, which seals with it from now on; not `certain` is a
    secret that may be the wrong one.
    """

    session: SessionId
    origin: HostId
    epoch: int
    secret: bytes
    seals: bool = False
    certain: bool = True

    def __repr__(self) -> str:
        return f"InstallKey({self.session}, {self.origin}, {self.epoch})"


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell all who hold this origin's keys, down the tree, signed and repaired like data.

    The origin is this host; each of `datagrams` is a whole one, of at most 1,200 bytes.
    """

    session: SessionId
    origin: HostId
    datagrams: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PathMtu:
    """Know that the path to an endpoint carries datagrams of so many bytes whole (RFC 8899).

    Larger ones arrive in fragments only. 0: nothing is known.
    """

    endpoint: Endpoint
    datagram_bytes: int


@dataclass(frozen=True, slots=True)
class Become:
    """Change the host's role in place; `EndHost` carries it out, drivers never see it."""

    role: str
    state: object


@dataclass(frozen=True, slots=True)
class Report:
    """Tell logs, traces and people what happened."""

    event: Event


Action = Send | Install | Withdraw | Replay | InstallKey | Publish | PathMtu | Become | Report

ForwarderAction = Install | Withdraw | Replay | InstallKey | Publish
"""What the data plane carries out."""
