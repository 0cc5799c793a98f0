"""Which hosts a parent names to its children as backup parents (slide 22, Decision 20)."""

from __future__ import annotations

from collections.abc import Sequence

from dmmp.messages.common import HostRecord
from dmmp.types import HostId

BACKUPS = 2
"""Backup parents named to each child (Decision 20)."""


def choose_backups(
    child: HostId,
    grandparent: HostRecord | None,
    others: Sequence[HostRecord],
    at_most: int,
    turn: int = 0,
) -> tuple[HostRecord, ...]:
    """Name the grandparent and hosts with room, the child itself never.

    The `others` come in the order of preference. Where a parent dies all its children go to their
    backups at once, so they are spread over the free places: the child whose `turn` it is takes the
    one that those before it leave. Hosts without room come last: they may have some by then.
    """
    named = [] if grandparent is None or grandparent.host == child else [grandparent]
    taken = {child, *(host.host for host in named)}
    usable = [host for host in others if host.host not in taken]
    places = [host for host in usable for _ in range(min(host.free_slots, MOST_COUNTED))]
    if places:
        turn %= len(places)
        places = places[turn:] + places[:turn]
    ordered = {host.host: host for host in [*places, *usable]}
    return tuple([*named, *ordered.values()][:at_most])


MOST_COUNTED = 16
"""Free places of one host that count when children are spread over them."""
