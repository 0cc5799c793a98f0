"""Inputs that never cross the wire: the application's wishes, and what the forwarder noticed.

They enter a role by the same door as messages, from the endpoint `SELF`, and have no encoding, so
no peer can forge one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmmp.interest import Interest
from dmmp.types import Endpoint, Instant


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
