"""What hosts of Narada say to each other, vectors apart (`narada_table`)."""

from __future__ import annotations

from typing import NamedTuple

from dmmp.lab.relatives.narada_table import Floats
from dmmp.lab.relatives.parts import COUNT, DELAY, HEADER, HOST


class MembersWanted(NamedTuple):
    """Who is in the group?"""

    octets: int = HEADER


class Members(NamedTuple):
    """Some of them."""

    hosts: tuple[int, ...]

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""
        return HEADER + COUNT + HOST * len(self.hosts)


class LinkWanted(NamedTuple):
    """Be my neighbour; `utility` is what that is worth to me, None for who needs one at all."""

    utility: float | None
    octets: int = HEADER + DELAY


class LinkTaken(NamedTuple):
    """I am."""

    octets: int = HEADER


class LinkRefused(NamedTuple):
    """I am not."""

    octets: int = HEADER


class Unlink(NamedTuple):
    """I am it no longer."""

    octets: int = HEADER


class Probe(NamedTuple):
    """Are you there? `latencies`: and how far are the others from you?"""

    latencies: bool = False
    octets: int = HEADER + 1


class Probed(NamedTuple):
    """I am; with latencies, also my degree and what my least link is worth."""

    latency: Floats | None
    degree: int
    least: float
    octets: int
