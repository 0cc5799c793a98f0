"""Hosts that this one has heard of, any of which might be a parent: a bounded sample."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dmmp.messages.common import HostRecord
from dmmp.types import HostId

MOST_KNOWN = 64
"""Hosts remembered; one more replaces one by lot, so that old and new ones stay mixed."""

MOST_PROMISING = 4
"""Of those that seem to offer a shorter way, measured anew at each look."""

MOST_OTHERS = 2
"""Of those that did not when they were measured: their place may be another by now."""


class Acquaintances:
    """Records by host, the last one heard of each, and how far it was when it was measured."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._known: dict[HostId, HostRecord] = {}
        self._hops: dict[HostId, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def note(self, record: HostRecord) -> None:
        """Take note of a host that somebody named, or that answered itself."""
        if not record.host or not record.endpoint.port:
            return
        if record.host not in self._known and len(self._known) >= MOST_KNOWN:
            self.forget(self._rng.choice(list(self._known)))
        self._known[record.host] = record

    def measured(self, record: HostRecord, round_trip: float | None) -> None:
        """Take note of a host that answered itself, and of the round trip in seconds."""
        self.note(record)
        if record.host in self._known and round_trip is not None:
            self._hops[record.host] = int(round_trip * 5e5)

    def forget(self, host: HostId) -> None:
        """Forget a host, until it answers or is named again."""
        self._known.pop(host, None)
        self._hops.pop(host, None)

    def draw(
        self, most: int, usable: Callable[[HostRecord], bool], present_us: int
    ) -> list[HostRecord]:
        """Choose whom to look at, where the way from the source takes `present_us` now.

        First the few by whom it seems to be shorter, then by lot those whose distance is not known,
        and a few more.
        """
        promising, strange, others = [], [], []
        for record in self._known.values():
            if not usable(record):
                continue
            hop = self._hops.get(record.host)
            if hop is None:
                strange.append(record)
            elif record.delay_us and record.delay_us + hop < present_us:
                promising.append((record.delay_us + hop, record.host, record))
            else:
                others.append(record)
        chosen = [record for _, _, record in sorted(promising)[:MOST_PROMISING]]
        chosen += self._rng.sample(strange, min(most, len(strange)))
        chosen += self._rng.sample(others, min(MOST_OTHERS, len(others)))
        return chosen[:most]
