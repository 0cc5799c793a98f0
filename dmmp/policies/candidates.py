"""Which super nodes the RP names to a newcomer: at most twelve (Decision 13).

Some that look near by their address, some with most free places, some at random: a hundred probes
from each newcomer would melt the core in a flash crowd, and one fixed dozen would melt itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

from dmmp.messages.common import HostRecord
from dmmp.policies.colocation import spread, spread_by_lot
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

KINDS = 3
"""Equal parts: near by the likeness of their addresses, most free places, random."""

OTHER_VERSION = 1 << 130
"""Farther than any address of the same version of IP."""

Levels = Callable[[Sequence[HostId]], Sequence[float]]
"""Says of each super node to how many newcomers it was named of late (`Namings.levels`)."""

AT_ONCE = 4.0
"""Newcomers to whom one super node may be named at one moment."""


MOST_NAMED = 200
"""Super nodes whose namings are kept: twice as many as there may be (slide 15)."""


class Namings:
    """How often each super node was named to newcomers of late: a bucket each that leaks.

    `rate` is how many newcomers a second may be sent to one. Each of them probes everyone it is
    named, so this bounds the probes that a crowd sends to a super node, however few there are.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._levels: dict[HostId, tuple[float, Instant]] = {}

    def level(self, host: HostId, now: Instant) -> float:
        """Return how full a super node's bucket is."""
        held, at = self._levels.get(host, (0.0, now))
        return max(held - (now - at) * self.rate, 0.0)

    def levels(self, hosts: Sequence[HostId], now: Instant) -> list[float]:
        """Return how full the buckets of several are."""
        held, empty, rate = self._levels, (0.0, now), self.rate
        buckets = [held.get(host, empty) for host in hosts]
        return [max(level - (now - at) * rate, 0.0) for level, at in buckets]

    def note(self, hosts: Sequence[HostId], now: Instant) -> None:
        """Take note that these are named to a newcomer."""
        for host in hosts:
            self._levels[host] = (self.level(host, now) + 1.0, now)
        if len(self._levels) > MOST_NAMED:
            # Whoever it is that leaves here has long been empty, or there is one name too many.
            del self._levels[min(self._levels, key=lambda host: self._levels[host][1])]


def choose_candidates(
    newcomer: Endpoint,
    super_nodes: Sequence[HostRecord],
    refused: Sequence[HostId],
    at_most: int,
    rng: Random,
    levels: Levels | None = None,
) -> tuple[HostRecord, ...]:
    """Choose for one newcomer; see `Shortlist.choose`."""
    return Shortlist(super_nodes).choose(newcomer, refused, at_most, rng, levels)


class Shortlist:
    """Super nodes to choose from, for one newcomer after the other.

    What they have in common is computed once: in a crowd newcomers come more often than the
    records of super nodes change.
    """

    def __init__(self, super_nodes: Sequence[HostRecord]) -> None:
        self.super_nodes = super_nodes
        self._ids = [host.host for host in super_nodes]
        self._free = {place for place, host in enumerate(super_nodes) if host.free_slots > 0}
        addresses = [host.endpoint.address for host in super_nodes]
        self._addresses = [(address.version, int(address)) for address in addresses]
        self._by_room = sorted(range(len(super_nodes)), key=self._room_of)
        self._is_spread = not spread(super_nodes)[1]

    def _room_of(self, place: int) -> tuple[int, HostId]:
        host = self.super_nodes[place]
        return -host.free_slots, host.host

    def choose(
        self,
        newcomer: Endpoint,
        refused: Sequence[HostId],
        at_most: int,
        rng: Random,
        levels: Levels | None = None,
        without: HostId = NO_HOST,
    ) -> tuple[HostRecord, ...]:
        """Choose candidates, those without a free place only when no other is left.

        Of one network no more than two are named, chosen by lot (`colocation`). `without` is the
        host that asks. `levels` tells how often super nodes were named of late (`Namings`): those
        named too often are passed over. If all were, the newcomer gets one, the least named, which
        it need not probe.
        """
        ids, super_nodes = self._ids, self.super_nodes
        places = [place for place, host in enumerate(ids) if host != without]
        free = [place for place in places if place in self._free]
        if refused:
            fresh = [place for place in places if ids[place] not in refused]
            # Who refused a moment ago and has a place now is worth more than who never had one.
            usable = (
                [place for place in free if ids[place] not in refused] or free or fresh or places
            )
        else:
            usable = free or places
        if levels is not None:
            held = levels(ids)
            rested = [place for place in usable if held[place] < AT_ONCE]
            if not rested and usable:
                return (super_nodes[min(usable, key=lambda place: (held[place], ids[place]))],)
            usable = rested
        if not self._is_spread:
            kept = spread_by_lot([super_nodes[place] for place in usable], rng)
            named = {host.host for host in kept}
            usable = [place for place in usable if ids[place] in named]
        if len(usable) > at_most:
            usable = self._choose_from(usable, newcomer, at_most, rng)
        return tuple([super_nodes[place] for place in usable])

    def _choose_from(
        self, usable: Sequence[int], newcomer: Endpoint, at_most: int, rng: Random
    ) -> list[int]:
        part = -(-at_most // KINDS)
        near = self._nearest(newcomer, usable)[:part]
        left = set(usable).difference(near)
        roomy = list(islice((place for place in self._by_room if place in left), part))
        left.difference_update(roomy)
        rest = sorted(left)
        chosen = [*near, *roomy]
        while rest and len(chosen) < at_most:
            chosen.append(rest.pop(rng.randrange(len(rest))))
        return chosen[:at_most]

    def _nearest(self, newcomer: Endpoint, usable: Sequence[int]) -> list[int]:
        """List those whose addresses are most like the newcomer's, the most alike first."""
        version, own = newcomer.address.version, int(newcomer.address)
        distances = [
            own ^ address if kind == version else OTHER_VERSION for kind, address in self._addresses
        ]
        ids = self._ids
        return [place for _, _, place in sorted((distances[at], ids[at], at) for at in usable)]
