"""Which super nodes the RP names to a newcomer: at most twelve (Decision 13).

Some that look near by their address, some with most free places, some at random: a hundred probes
from each newcomer would melt the core in a flash crowd, and one fixed dozen would melt itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from itertools import islice
from operator import itemgetter
from random import Random

from dmmp.messages.common import HostRecord
from dmmp.policies.colocation import spread, spread_by_lot
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

KINDS = 3
"""Equal parts: near by the likeness of their addresses, most free places, random."""

OTHER_VERSION = 1 << 130
"""Farther than any address of the same version of IP."""

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
    levels: Callable[[Sequence[HostId]], Sequence[float]] | None = None,
) -> tuple[HostRecord, ...]:
    """Choose candidates, those without a free place only when no other is left.

    Of one network no more than two are named, chosen by lot (`colocation`).
    `levels` tells how often super nodes were named of late (`Namings`): those named too often are
    passed over. If all were, the newcomer gets one, the least named, which it need not probe.
    """
    fresh = [host for host in super_nodes if host.host not in refused] if refused else super_nodes
    free = [host for host in super_nodes if host.free_slots > 0]
    # Who refused a moment ago and has a place now is worth more than who never had one.
    usable = [host for host in free if host.host not in refused] or free or fresh or super_nodes
    if levels is not None:
        ids = [host.host for host in usable]
        held = levels(ids)
        rested = [host for host, level in zip(usable, held, strict=True) if level < AT_ONCE]
        if not rested and usable:
            return (min(zip(held, ids, usable, strict=True), key=itemgetter(0, 1))[2],)
        usable = rested
    usable = spread_by_lot(usable, rng)
    if len(usable) <= at_most:
        return tuple(usable)
    part = -(-at_most // KINDS)
    near = _nearest(newcomer, usable, part)
    taken = {host.host for host in near}
    rest = [host for host in usable if host.host not in taken]
    roomy = nsmallest(part, rest, key=_by_room)
    taken = {host.host for host in roomy}
    rest = [host for host in rest if host.host not in taken]
    chosen = [*near, *roomy]
    while rest and len(chosen) < at_most:
        chosen.append(rest.pop(rng.randrange(len(rest))))
    return tuple(chosen[:at_most])


class Shortlist:
    """The same super nodes for one newcomer after the other: what they have in common, once.

    In a crowd the super nodes' records change more seldom than newcomers come.
    """

    def __init__(self, super_nodes: Sequence[HostRecord]) -> None:
        self.super_nodes = super_nodes
        usable = [host for host in super_nodes if host.free_slots > 0] or list(super_nodes)
        rest = spread(usable)[1]
        self._usable = usable
        self._ids = [host.host for host in usable]
        self._addresses = [int(host.endpoint.address) for host in usable]
        versions = {host.endpoint.address.version for host in usable}
        self._version = versions.pop() if len(versions) == 1 and not rest else 0
        """Of all addresses; 0 where they differ, or where some have to go by lot."""
        order = range(len(usable))
        self._by_room = sorted(order, key=lambda place: _by_room(usable[place]))

    def choose(
        self,
        newcomer: Endpoint,
        at_most: int,
        rng: Random,
        levels: Callable[[Sequence[HostId]], Sequence[float]] | None = None,
        without: HostId = NO_HOST,
    ) -> tuple[HostRecord, ...]:
        """Choose as `choose_candidates` does for one that nobody has refused, and not itself."""
        usable = self._usable
        places = [place for place, host in enumerate(self._ids) if host != without]
        if levels is not None:
            held = levels(self._ids)
            places = [place for place in places if held[place] < AT_ONCE]
        if newcomer.address.version != self._version or len(places) <= at_most:
            others = [host for host in self.super_nodes if host.host != without]
            return choose_candidates(newcomer, others, (), at_most, rng, levels)
        own, part = int(newcomer.address), -(-at_most // KINDS)
        distances = [own ^ address for address in self._addresses]
        near = sorted(places, key=distances.__getitem__)[:part]
        left = set(places).difference(near)
        roomy = list(islice((place for place in self._by_room if place in left), part))
        left.difference_update(roomy)
        rest = sorted(left)
        chosen = [*near, *roomy]
        while rest and len(chosen) < at_most:
            chosen.append(rest.pop(rng.randrange(len(rest))))
        return tuple([usable[place] for place in chosen[:at_most]])


def _by_room(host: HostRecord) -> tuple[int, HostId]:
    return -host.free_slots, host.host


def _nearest(newcomer: Endpoint, hosts: Sequence[HostRecord], at_most: int) -> list[HostRecord]:
    """List those whose addresses are most like the newcomer's, the most alike first."""
    version, own = newcomer.address.version, int(newcomer.address)
    distances = [
        (own ^ int(address) if address.version == version else OTHER_VERSION, host.host, host)
        for host, address in [(host, host.endpoint.address) for host in hosts]
    ]
    return [host for _, _, host in nsmallest(at_most, distances, key=itemgetter(0, 1))]
