"""Which hosts a parent names to its children as backup parents (slide 22, Decision 20)."""

from __future__ import annotations

from collections.abc import Sequence

from dmmp.messages.common import HostRecord
from dmmp.types import HostId


def choose_backups(
    child: HostId,
    grandparent: HostRecord | None,
    others: Sequence[HostRecord],
    at_most: int,
) -> tuple[HostRecord, ...]:
    """Name the grandparent and hosts with room, the most room first, the child itself never."""
    named = [] if grandparent is None else [grandparent]
    ranked = sorted(others, key=lambda host: (host.free_slots == 0, -host.free_slots, host.host))
    for host in ranked:
        if host.host != child and all(host.host != held.host for held in named):
            named.append(host)
    return tuple(named[:at_most])
