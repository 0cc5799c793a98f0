"""Whether upstream withholds packets: it was asked first, did not send them, and others had them.

A relay that drops data but answers everything else is not silent, so nothing else finds it
(Decision 71). Loss on the way there is no withholding: then most answers come.
"""

from __future__ import annotations

from dmmp.types import Endpoint, Instant

SPAN = 3.0
"""Seconds over which packets are counted."""

LEAST = 6
"""Packets of others in a span that are remarkable."""

SHARE = 3
"""Upstream must have sent a third of what others did, of all that it was asked for."""


class Owing:
    """What was asked of upstream in the present span, and who sent it."""

    __slots__ = ("_begun", "_by_others", "_by_upstream", "_upstream")

    def __init__(self) -> None:
        self._upstream: Endpoint | None = None
        self._begun: Instant = float("-inf")
        self._by_upstream = 0
        self._by_others = 0

    def repaired(self, upstream: Endpoint, sender: Endpoint, packets: int, now: Instant) -> bool:
        """Note packets that were asked for and came; tell, once, that upstream withholds."""
        if upstream != self._upstream or now - self._begun > SPAN:
            self._upstream, self._begun = upstream, now
            self._by_upstream = self._by_others = 0
        if sender == upstream:
            self._by_upstream += packets
            return False
        self._by_others += packets
        if self._by_others < LEAST or self._by_upstream * SHARE >= self._by_others:
            return False
        self._begun = float("-inf")
        return True
