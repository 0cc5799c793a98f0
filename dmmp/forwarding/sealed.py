"""Sealed bursts that are to be delivered here and whose key is not here yet: a bounded store."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from dmmp.forwarding.burst import Octets, compact
from dmmp.forwarding.cache import RECORD_BYTES, Key
from dmmp.types import Instant

KEY_SECONDS = 2.0
"""So long a burst waits for its key: as long as the cache could repair it."""

MOST_BYTES = 8 << 20
"""Bytes that wait at most, of all channels; the oldest go first."""


class Unopened(NamedTuple):
    """A burst of a channel and an epoch, and since when it waits."""

    key: Key
    epoch: int
    data: Octets
    stride: int
    since: Instant

    @property
    def packets(self) -> int:
        """Packets in the burst."""
        return -(-len(self.data) // self.stride)


class Sealed:
    """What waits for keys, in the order it came."""

    def __init__(self) -> None:
        self.used_bytes = 0
        self._held: deque[Unopened] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, burst: Unopened, now: Instant) -> int:
        """Keep a burst; return how many packets were dropped for it, or because they are old."""
        burst = burst._replace(data=compact(burst.data))
        self._held.append(burst)
        self.used_bytes += _size(burst)
        dropped = 0
        while self._held and (
            self.used_bytes > MOST_BYTES or now - self._held[0].since > KEY_SECONDS
        ):
            oldest = self._held.popleft()
            self.used_bytes -= _size(oldest)
            dropped += oldest.packets
        return dropped

    def take(self, origin_key: int, epoch: int, now: Instant) -> list[Unopened]:
        """Give back what waited for this key, not too long."""
        ready: list[Unopened] = []
        rest: deque[Unopened] = deque()
        for held in self._held:
            (ready if (held.key[0], held.epoch) == (origin_key, epoch) else rest).append(held)
        self._held = rest
        self.used_bytes -= sum(map(_size, ready))
        return [held for held in ready if now - held.since <= KEY_SECONDS]


def _size(burst: Unopened) -> int:
    return len(burst.data) + RECORD_BYTES
