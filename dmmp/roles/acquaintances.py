"""Hosts that this one has heard of, any of which might be a parent: a bounded sample."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dmmp.messages.common import HostRecord
from dmmp.types import HostId

MOST_KNOWN = 64
"""Hosts remembered; one more replaces one by lot, so that old and new ones stay mixed."""


class Acquaintances:
    """Records by host, the last one heard of each."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._known: dict[HostId, HostRecord] = {}

    def __len__(self) -> int:
        return len(self._known)

    def note(self, record: HostRecord) -> None:
        """Take note of a host that somebody named, or that answered itself."""
        if not record.host or not record.endpoint.port:
            return
        if record.host not in self._known and len(self._known) >= MOST_KNOWN:
            del self._known[self._rng.choice(list(self._known))]
        self._known[record.host] = record

    def forget(self, host: HostId) -> None:
        """Forget a host, until it answers or is named again."""
        self._known.pop(host, None)

    def draw(self, most: int, usable: Callable[[HostRecord], bool]) -> list[HostRecord]:
        """Draw some by lot."""
        found = [record for record in self._known.values() if usable(record)]
        return self._rng.sample(found, min(most, len(found)))
