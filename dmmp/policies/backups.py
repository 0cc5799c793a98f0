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
) -> tuple[HostRecord, ...]:
    """Name the grandparent and hosts with room, the most room first, the child itself never."""
    named = [] if grandparent is None or grandparent.host == child else [grandparent]
    taken = {child, *(host.host for host in named)}
    usable = [host for host in others if host.host not in taken]
    usable.sort(key=lambda host: (-host.free_slots, host.host))
    return tuple([*named, *usable[:at_most]][:at_most])
