"""What comes of a datagram, or of a plaintext that is to be sent, at the table of associations."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from dmmp.security.host import Datagram
from dmmp.security.peer import Peer
from dmmp.types import Endpoint


class Regard(Enum):
    """What is thought of a datagram before anything is done about it."""

    NONE = "Made up, or damaged."
    STRANGER = "From anywhere: after all others, and not if there are too many."
    KNOWN = "From an address that was proven, or in answer to what this host asked."


class Received(NamedTuple):
    """What came of a datagram: plaintexts (one or none), what to send, and who sent it."""

    plaintexts: list[bytes]
    datagrams: list[Datagram]
    peer: Peer | None


class Unknown(NamedTuple):
    """The plaintext waits, but nobody knows the static key of this endpoint: ask, `introduce`."""

    endpoint: Endpoint
