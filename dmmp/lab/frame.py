"""What a relative of DMMP is here: a role under the same three methods, without I/O or clock.

Hosts are numbered; what is said is a `Message`, whose size counts as on the wire. The `arena` runs
them all under the same rules: same network, same failures, same packets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

HEADERS = 28
"""Bytes of IPv4 and UDP in front of every message."""


class Message(Protocol):
    """Anything that is said; immutable."""

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""


class Data(NamedTuple):
    """A packet of the stream, on one hop: `hops` so far, `again` if it is sent to repair a loss."""

    number: int
    octets: int
    hops: int = 0
    again: bool = False


class Send(NamedTuple):
    """Say something to a host."""

    to: int
    message: Message


class Deliver(NamedTuple):
    """A packet came for the programs here; the arena counts what comes twice."""

    number: int


Action = Send | Deliver


class Relative(Protocol):
    """A host of another protocol. Its first `wake` is its start; a host that failed and comes back
    is a new object.

    `parent` is who it last took data from, None at the source and before; `children` are whom it
    would send the next packet of the stream to.
    """

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        """Take what another host said."""

    def wake(self, now: float) -> Sequence[Action]:
        """Do what is due."""

    def next_alarm(self) -> float | None:
        """Say when to wake it."""

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        """Send a packet of the stream: at the source only."""

    @property
    def parent(self) -> int | None: ...

    @property
    def children(self) -> Sequence[int]: ...

    @property
    def state_entries(self) -> int:
        """Hosts, links and routes that it remembers."""
