"""Hosts of one network are one risk: how many of them a host relies on (security design, row 19).

Who has many identities mostly has them at neighbouring addresses: a /24 of IPv4, a /48 of IPv6.
Only global addresses count: elsewhere one such network may be a whole session, or a laboratory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random

from dmmp.messages.common import HostRecord
from dmmp.types import IpAddress

OF_ONE_NETWORK = 2
"""Hosts of one network that a host takes for relatives, or is named to find a place."""

PREFIX_BITS = {4: 24, 6: 48}
"""Bits that addresses of one network have in common, by the version of IP."""

Network = tuple[int, int]


@lru_cache(maxsize=4096)
def network_of(address: IpAddress) -> Network | None:
    """Return what the addresses of one network have in common; None for one that is not global."""
    if not address.is_global:
        return None
    version = address.version
    return version, int(address) >> (address.max_prefixlen - PREFIX_BITS[version])


def spread(
    records: Sequence[HostRecord], beside: Sequence[HostRecord] = ()
) -> tuple[list[HostRecord], list[HostRecord]]:
    """Part hosts into those that are few enough of their network, in their order, and the rest.

    `beside` are hosts that are there already and count, too.
    """
    counts: dict[Network, int] = {}
    for host in beside:
        network = network_of(host.endpoint.address)
        if network is not None:
            counts[network] = counts.get(network, 0) + 1
    few: list[HostRecord] = []
    rest: list[HostRecord] = []
    for host in records:
        network = network_of(host.endpoint.address)
        if network is None:
            few.append(host)
            continue
        count = counts.get(network, 0)
        counts[network] = count + 1
        (few if count < OF_ONE_NETWORK else rest).append(host)
    return few, rest


def spread_by_lot(records: Sequence[HostRecord], rng: Random) -> list[HostRecord]:
    """Leave out, by lot, what is too many of one network; the others keep their order."""
    few, rest = spread(records)
    if not rest:
        return few
    shuffled = list(records)
    rng.shuffle(shuffled)
    kept = {host.host for host in spread(shuffled)[0]}
    return [host for host in records if host.host in kept]
