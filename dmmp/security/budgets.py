"""How much each peer may say: messages and bytes a second, by who it is and not by where.

A message is counted once its seal has opened, so nobody can use up what is another's; what is too
much is dropped before it is read. A table of fixed size. Figures: design 2.6; those of bursts and
of Data Requests are from simulations of crowds that join at once and of links that lose a fifth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dmmp.messages.header import OPTION_AT, OPTION_OFFSET
from dmmp.messages.options import Option
from dmmp.security.limits import Recent
from dmmp.security.peer import Capability, Peer
from dmmp.types import Instant

MOST_PEERS = 20_000
"""Peers that are counted: as many as an RP or a source has associations."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`messages` and `octets` a second, and `seconds` worth of both at once."""

    messages: float
    octets: float
    seconds: float


class Kind(Enum):
    """What is counted together."""

    CONTROL = Rate(50.0, float(64 << 10), 5.0)
    """Everything else. Relatives say less than one a second; a source that has to find places for a
    hundred at once says 61 more to a super node than 50 a second."""

    CENTRAL = Rate(1000.0, float(1 << 20), 5.0)
    """What an RP and a source say: of every host that comes, and to every host."""

    REQUESTS = Rate(1000.0, float(256 << 10), 2.0)
    """Data Requests: of 10,000 packets a second, a fifth of them lost, 450 requests a second."""


_CENTRAL = Capability.RENDEZVOUS_POINT | Capability.SOURCE


class Bucket:
    """What is left of a rate."""

    __slots__ = ("at", "messages", "octets")

    def __init__(self, rate: Rate, now: Instant) -> None:
        self.messages = rate.messages * rate.seconds
        self.octets = rate.octets * rate.seconds
        self.at = now

    def take(self, rate: Rate, octets: int, now: Instant) -> bool:
        """Take one message of so many bytes; tell whether that much was left."""
        passed = max(0.0, now - self.at)
        self.at = max(now, self.at)
        self.messages = min(rate.messages * rate.seconds, self.messages + rate.messages * passed)
        self.octets = min(rate.octets * rate.seconds, self.octets + rate.octets * passed)
        if self.messages < 1 or self.octets < octets:
            return False
        self.messages -= 1
        self.octets -= octets
        return True


class Budgets:
    """The buckets of at most `most` peers; whoever was silent longest begins anew."""

    def __init__(self, most: int = MOST_PEERS) -> None:
        self._buckets: Recent[tuple[bytes, Kind], Bucket] = Recent(most * len(Kind))

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: bytes, peer: Peer, plaintext: bytes, now: Instant) -> bool:
        """Tell whether `peer`, counted as `name`, may say this now."""
        kind = kind_of(peer, plaintext)
        bucket = self._buckets.get((name, kind))
        if bucket is None:
            bucket = Bucket(kind.value, now)
            self._buckets.put((name, kind), bucket)
        return bucket.take(kind.value, len(plaintext), now)


def kind_of(peer: Peer, plaintext: bytes) -> Kind:
    """Say what a message counts as."""
    if (
        len(plaintext) >= OPTION_OFFSET + 2
        and OPTION_AT(plaintext, OPTION_OFFSET)[0] == Option.DATA_REQUEST
    ):
        return Kind.REQUESTS
    return Kind.CENTRAL if peer.capabilities & _CENTRAL else Kind.CONTROL
