"""Interest: which group a host wants, and from which sources (Decision 25).

One value serves the IGMP and MLD edge, the wire and the forwarder. It has the meaning of an IGMPv3
record (RFC 9776 §4.2.12): `INCLUDE{}` is "nothing", `EXCLUDE{}` is "every source".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Address

from dmmp.types import IpAddress

LINK_LOCAL_GROUPS_V4 = IPv4Network("224.0.0.0/24")

_SCOPE_LINK_LOCAL = 2


class FilterMode(IntEnum):
    """How the source list is meant."""

    INCLUDE = 0
    EXCLUDE = 1


@dataclass(frozen=True, slots=True)
class Interest:
    """Wish for the packets of one group; `interest` makes `sources` sorted, free of duplicates."""

    group: IpAddress
    mode: FilterMode = FilterMode.EXCLUDE
    sources: tuple[IpAddress, ...] = ()

    @property
    def is_none(self) -> bool:
        """Tell whether this is the absence of interest: a leave."""
        return self.mode is FilterMode.INCLUDE and not self.sources

    def admits(self, source: IpAddress) -> bool:
        """Tell whether packets from `source` are wanted."""
        return (source in self.sources) == (self.mode is FilterMode.INCLUDE)


def interest(
    group: IpAddress, mode: FilterMode = FilterMode.EXCLUDE, sources: Iterable[IpAddress] = ()
) -> Interest:
    """Make an `Interest` with its sources in canonical order."""
    return Interest(group, mode, tuple(sorted(set(sources), key=int)))


def is_carried(group: IpAddress) -> bool:
    """Tell whether `group` is multicast with a scope wider than the link (Decision 26).

    IPv6 scopes 0 (reserved), 1 and 2 stay at home whatever the flags: ff12:: is as local as ff02::.
    """
    if not group.is_multicast:
        return False
    if isinstance(group, IPv6Address):
        return group.packed[1] & 0x0F > _SCOPE_LINK_LOCAL
    return group not in LINK_LOCAL_GROUPS_V4


def no_interest(group: IpAddress) -> Interest:
    """Make the record that withdraws interest in `group`."""
    return Interest(group, FilterMode.INCLUDE, ())


def union(records: Iterable[Interest]) -> tuple[Interest, ...]:
    """Merge records into one a group that admits what any admits; sorted, without empty ones."""
    merged: dict[IpAddress, Interest] = {}
    for record in records:
        group = record.group
        held = merged.get(group)
        if held is None:
            merged[group] = record
        elif held.mode is not FilterMode.EXCLUDE or held.sources:
            # Whoever admits every source admits no more by another record.
            merged[group] = _either(held, record)
    kept = [record for record in merged.values() if not record.is_none]
    if len(kept) < 2:
        return tuple(kept)
    return tuple(sorted(kept, key=lambda record: (record.group.version, int(record.group))))


def _either(first: Interest, second: Interest) -> Interest:
    included: set[IpAddress] = set()
    excluded: set[IpAddress] | None = None
    for record in (first, second):
        if record.mode is FilterMode.INCLUDE:
            included.update(record.sources)
        elif excluded is None:
            excluded = set(record.sources)
        else:
            excluded &= set(record.sources)
    if excluded is None:
        return interest(first.group, FilterMode.INCLUDE, included)
    return interest(first.group, FilterMode.EXCLUDE, excluded - included)
