"""The RPs a host was told of, as it knows them (Decision 21): who answers, who has registered it.

All of it is soft: an RP that is silent is asked again, one that starts anew is registered at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dmmp.messages.common import HostRecord, Status
from dmmp.roles.requests import RoundTrip
from dmmp.types import NO_HOST, Endpoint, HostId

INDEX_BITS = 4
"""Top bits of an id that carry the RP's index: two RPs never give the same (Decision 21)."""

ID_BITS = 32 - INDEX_BITS
"""The other bits, which count."""

MAXIMUM_NAMED = 32
"""Super nodes that a host keeps of those that all its RPs name: more it asks in no search."""


@dataclass(slots=True, eq=False)
class Point:
    """One RP that was configured, by its address."""

    endpoint: Endpoint
    identity: HostId = NO_HOST
    """The id it gave itself: the same at two addresses is one RP."""
    silent: bool = False
    located: bool = False
    """It serves the session."""
    registered: bool = False
    """It has registered this host by the id that the host has."""
    refusal: int = Status.SUCCESS
    """Why it last refused this host, so that it is said once."""
    same_index: bool = False
    """Another RP with its index was found, and that was said."""
    round_trip: RoundTrip = field(default_factory=RoundTrip)
    hosts: int = 0
    super_nodes: tuple[HostRecord, ...] = ()

    @property
    def index(self) -> int:
        """Return the index that its ids carry."""
        return self.identity >> ID_BITS


class Points:
    """The table of them, in the order in which they were configured: it is never changed."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._points = {endpoint: Point(endpoint) for endpoint in endpoints}

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self._points.values())

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._points

    def get(self, endpoint: object) -> Point | None:
        """Return the RP at an address, if one is configured there."""
        return self._points.get(endpoint)  # type: ignore[call-overload, no-any-return]

    def hopeful_first(self) -> list[Point]:
        """List them, those that are not known to be silent first."""
        return sorted(self, key=lambda point: point.silent)

    def present(self) -> Point:
        """Return the first that has registered this host and answers, or is most likely to."""
        return min(self, key=lambda point: (point.silent, not point.registered))

    def all_silent(self) -> bool:
        """Tell whether none of them answers."""
        return all(point.silent for point in self)

    def registrars(self) -> list[Point]:
        """List those that have registered this host."""
        return [point for point in self if point.registered]

    def answering(self) -> list[Point]:
        """List those that have registered this host and are not known to be silent."""
        return [point for point in self if point.registered and not point.silent]

    def is_second_address(self, point: Point) -> bool:
        """Tell whether the same RP, by another of its addresses, has registered this host."""
        for other in self:
            if other is point:
                if point.registered:
                    return False  # Registered by two addresses by chance, the later one is it.
            elif (
                point.identity == other.identity != NO_HOST
                and other.registered
                and not other.silent
            ):
                return True
        return False

    def identify(self, point: Point, identity: HostId) -> None:
        """Note who answers at an address; an RP that was started anew is another one."""
        for other in self:
            if other is not point and other.identity == point.identity != identity:
                # Its second address says nothing any more: the new one must be asked there.
                other.located = other.registered = False
        point.identity = identity

    def same_index(self, point: Point) -> Point | None:
        """Return another RP of the same index: someone forgot to tell them apart."""
        for other in self:
            if (
                point.identity
                and other.identity not in (NO_HOST, point.identity)
                and other.index == point.index
            ):
                return other
        return None

    def hosts(self) -> int:
        """Return the size of the session: what the RP that knows most of them says."""
        known = self.answering() or self.registrars()
        return max((point.hosts for point in known), default=0)

    def super_nodes(self, first: Point) -> tuple[HostRecord, ...]:
        """Merge what they named, `first`'s before others', each super node once."""
        found: dict[HostId, HostRecord] = {}
        for point in (first, *self.answering()):
            for host in point.super_nodes:
                found.setdefault(host.host, host)
        return tuple(found.values())[:MAXIMUM_NAMED]

    def other_words(self) -> list[HostRecord]:
        """List the super nodes that other RPs name, and the one whose word counts does not."""
        first = self.present()
        known = {record.host for record in first.super_nodes}
        return [
            record
            for point in self.answering()
            if point is not first and point.identity != first.identity
            for record in point.super_nodes
            if record.host not in known
        ]
