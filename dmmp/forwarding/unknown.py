"""Data that came before the announcement of its channel (Decision 8): it waits, bounded.

Who is asked for the announcement, and what happens to data it makes known, is the forwarder's.
"""

from __future__ import annotations

from dmmp.forwarding.burst import Run, compact
from dmmp.forwarding.cache import RECORD_BYTES, Key
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, Instant

MAXIMUM_UNKNOWN = 64
"""Channels that are waited for at one time."""

Held = list[tuple[Run, Endpoint]]
"""Runs and who sent them, as they came."""


class Unknown:
    """Runs by channel; each channel has until its instant to become known."""

    def __init__(self, parameters: Parameters) -> None:
        self.used_bytes = 0
        self._parameters = parameters
        self._held: dict[Key, Held] = {}
        self._until: dict[Key, Instant] = {}
        self._ask_at: dict[Key, Instant] = {}

    def __len__(self) -> int:
        return len(self._held)

    def until(self, key: Key) -> Instant | None:
        """Say how long this channel is waited for; None if it is not."""
        return self._until.get(key)

    def hold(self, key: Key, run: Run, sender: Endpoint, now: Instant) -> bool:
        """Keep a run; tell whether there was room."""
        run = run._replace(data=compact(run.data))
        size = len(run.data) + RECORD_BYTES
        if self.used_bytes + size > self._parameters.unknown_bytes:
            return False
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= MAXIMUM_UNKNOWN:
                return False
            held = self._held[key] = []
            self._until[key] = now + self._parameters.unknown_hold
        held.append((run, sender))
        self.used_bytes += size
        return True

    def asks(self, key: Key, now: Instant) -> bool:
        """Tell whether it is time to ask for the announcement, which may have been lost."""
        if now < self._ask_at.get(key, now):
            return False
        self._ask_at[key] = now + self._parameters.unknown_again
        return True

    def take(self, key: Key) -> Held:
        """Give back what was kept for a channel, and wait no longer."""
        self._until.pop(key, None)
        self._ask_at.pop(key, None)
        held = self._held.pop(key, [])
        self.used_bytes -= sum(len(run.data) + RECORD_BYTES for run, _ in held)
        return held
