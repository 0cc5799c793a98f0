"""Plaintexts that wait for an association: bounded by endpoint and in all, the oldest out.

What is dropped is only counted: whoever sends control asks again (Decision 9).
"""

from __future__ import annotations

from collections import deque

from dmmp.security.limits import Limits
from dmmp.types import Endpoint


class Waiting:
    """A queue an endpoint, in the order in which the endpoints came."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: dict[Endpoint, deque[bytes]] = {}
        self._sizes: dict[Endpoint, int] = {}
        self.bytes_in_all = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queues)

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._queues

    def put(self, endpoint: Endpoint, plaintext: bytes) -> list[Endpoint]:
        """Queue a plaintext; return the endpoints that wait no more, to make room for it.

        One that is too long for any queue is dropped.
        """
        limits = self._limits
        gone: list[Endpoint] = []
        if len(plaintext) > limits.queued_bytes:
            self.dropped += 1
            return gone
        if endpoint not in self._queues and len(self._queues) >= limits.queued_endpoints:
            gone.append(next(iter(self._queues)))
            self.drop(gone[0])
        queue = self._queues.setdefault(endpoint, deque())
        queue.append(plaintext)
        self._count(endpoint, len(plaintext))
        while len(queue) > limits.queued_plaintexts or self._sizes[endpoint] > limits.queued_bytes:
            self._drop_oldest(endpoint)
        while self.bytes_in_all > limits.queued_bytes_in_all:
            oldest = next(iter(self._queues))
            self._drop_oldest(oldest)
            if not self._queues[oldest]:
                self.take(oldest)
                gone.append(oldest)
        return gone

    def take(self, endpoint: Endpoint) -> list[bytes]:
        """Take what waits, in the order in which it came."""
        found = self._queues.pop(endpoint, deque())
        self.bytes_in_all -= self._sizes.pop(endpoint, 0)
        return list(found)

    def drop(self, endpoint: Endpoint) -> None:
        """Drop what waits, and count it."""
        self.dropped += len(self.take(endpoint))

    def _drop_oldest(self, endpoint: Endpoint) -> None:
        self._count(endpoint, -len(self._queues[endpoint].popleft()))
        self.dropped += 1

    def _count(self, endpoint: Endpoint, size: int) -> None:
        self._sizes[endpoint] = self._sizes.get(endpoint, 0) + size
        self.bytes_in_all += size
