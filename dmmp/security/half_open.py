"""Associations whose initiator has not yet shown that it got the response: a table of fixed size.

The oldest goes out, by number and after 10 s; so a flood costs others their place for some
milliseconds, and they ask again. Section 2.6 of the design.
"""

from __future__ import annotations

from collections import OrderedDict

from dmmp.security.association import Association
from dmmp.types import Endpoint, Instant

HALF_OPEN_SECONDS = 10.0
"""An initiator gives up after 7.25 s; what comes later than this comes from nobody."""

_Origin = tuple[Endpoint, bytes, int]


class HalfOpen:
    """By this host's index; several of one initiator until the first of them is confirmed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[int, Association] = OrderedDict()
        self._origins: dict[_Origin, list[int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, index: object) -> bool:
        return index in self._entries

    def is_crowded(self) -> bool:
        """Tell whether three quarters of the places are taken (issue 5: then it is load)."""
        return 4 * len(self._entries) >= 3 * self._most

    def get(self, index: int) -> Association | None:
        """Return the entry of this index."""
        return self._entries.get(index)

    def add(self, association: Association) -> bool:
        """Add an entry; tell whether the oldest had to go for it."""
        is_full = len(self._entries) >= self._most
        if is_full:
            self._remove(next(iter(self._entries)))
        self._entries[association.index] = association
        self._origins.setdefault(_origin(association), []).append(association.index)
        return is_full

    def take(self, association: Association) -> None:
        """Take out an entry that is confirmed, and its siblings: their initiator forgot them."""
        for index in list(self._origins[_origin(association)]):
            self._remove(index)

    def expire(self, now: Instant) -> None:
        """Take out what is too old."""
        while (at := self.next_expiry()) is not None and at <= now:
            self._remove(next(iter(self._entries)))

    def next_expiry(self) -> Instant | None:
        """Return when the oldest is too old."""
        if not self._entries:
            return None
        return next(iter(self._entries.values())).begun + HALF_OPEN_SECONDS

    def drop(self, endpoint: Endpoint) -> None:
        """Take out all of an endpoint."""
        for origin in [origin for origin in self._origins if origin[0] == endpoint]:
            for index in list(self._origins[origin]):
                self._remove(index)

    def _remove(self, index: int) -> None:
        origin = _origin(self._entries.pop(index))
        siblings = self._origins[origin]
        siblings.remove(index)
        if not siblings:
            del self._origins[origin]


def _origin(association: Association) -> _Origin:
    return association.endpoint, association.peer.static_key, association.instance
