"""Counts of the data plane, for `dmmp show`, the simulator's checks and the tests: plain numbers.

Packets are segments; a drop has a reason. What belongs to a channel is counted there and joins the
group's sum when the channel goes. Nothing here decides anything.
"""

from __future__ import annotations

from typing import TypedDict

from dmmp.types import IpAddress

REASONS = (
    "ttl",
    "no_members",
    "not_upstream",
    "duplicate",
    "old",
    "malformed",
    "queue_full",
    "unknown_channel",
    "channels_full",
    "stale_tree",
    "own",
    "no_entry",
    "not_downstream",
    "old_heartbeat",
    "forged",
    "unproven",
    "unsealed",
    "unopened",
    "no_key",
)
"""Why packets are dropped. `ttl` and `queue_full` are the gateway's and the sockets' to count."""

GroupCount = dict[str, int]
"""What is counted for a group, by the names of `GROUP_FIELDS`."""

GROUP_FIELDS = ("data_received", "data_forwarded", "delivered", "duplicates", "lost", "bytes")


class Snapshot(TypedDict):
    """All counts of a forwarder at one moment: totals, drops by reason, groups, sizes of tables."""

    data_received: int
    data_forwarded: int
    delivered: int
    originated: int
    duplicates: int
    lost: int
    bytes: int
    heartbeats_received: int
    heartbeats_sent: int
    replayed: int
    withheld: int
    requests: int
    repaired: int
    given_up: int
    late: int
    scattered: int
    dropped: dict[str, int]
    groups: dict[str, GroupCount]
    tables: dict[str, int]


class Counters:
    """Totals since the start, drops by reason, and the sums of groups whose channels are gone.

    `data_received` are packets from upstream that were new and wanted; `data_forwarded` counts one
    for each branch; `originated` are this host's own; `bytes` are those of `data_received` and
    `originated`, headers included. `repaired` are packets of `data_received` that had been asked
    for, `given_up` those that were asked for in vain. `late` are
    packets that came too late to be delivered in order, `scattered` those sent by lot, `withheld`
    those asked for that one host may not be sent again. Whatever arrives is counted once, as
    received or as dropped.
    """

    __slots__ = (
        "_former",
        "_most_groups",
        "bytes",
        "data_forwarded",
        "data_received",
        "delivered",
        "dropped",
        "former_given_up",
        "former_lost",
        "heartbeats_received",
        "heartbeats_sent",
        "late",
        "originated",
        "repaired",
        "replayed",
        "requests",
        "scattered",
        "withheld",
    )

    def __init__(self, most_groups: int) -> None:
        self.data_received = 0
        self.data_forwarded = 0
        self.delivered = 0
        self.originated = 0
        self.bytes = 0
        self.heartbeats_received = 0
        self.heartbeats_sent = 0
        self.replayed = 0
        self.withheld = 0
        self.requests = 0
        self.repaired = 0
        self.late = 0
        self.scattered = 0
        self.former_given_up = 0
        self.former_lost = 0
        self.dropped: dict[str, int] = dict.fromkeys(REASONS, 0)
        self._most_groups = most_groups
        self._former: dict[IpAddress, GroupCount] = {}

    @property
    def duplicates(self) -> int:
        """Packets that had come before."""
        return self.dropped["duplicate"]

    def drop(self, reason: str, packets: int = 1) -> None:
        """Count packets that went no further; `reason` is one of `REASONS`."""
        self.dropped[reason] += packets

    def retire(self, group: IpAddress, count: GroupCount) -> None:
        """Keep the sum of a channel that goes; the group longest without one is let go of."""
        total = self._former.pop(group, None)
        self._former[group] = count if total is None else added(total, count)
        self.former_lost += count["lost"]
        if len(self._former) > self._most_groups:
            del self._former[next(iter(self._former))]

    def former(self) -> dict[IpAddress, GroupCount]:
        """Return the sums of channels that are gone, by group."""
        return dict(self._former)

    def snapshot(
        self, lost: int, given_up: int, groups: dict[str, GroupCount], tables: dict[str, int]
    ) -> Snapshot:
        """Return everything; the arguments are what the channels and tables there are tell."""
        return {
            "data_received": self.data_received,
            "data_forwarded": self.data_forwarded,
            "delivered": self.delivered,
            "originated": self.originated,
            "duplicates": self.duplicates,
            "lost": self.former_lost + lost,
            "bytes": self.bytes,
            "heartbeats_received": self.heartbeats_received,
            "heartbeats_sent": self.heartbeats_sent,
            "replayed": self.replayed,
            "withheld": self.withheld,
            "requests": self.requests,
            "repaired": self.repaired,
            "given_up": self.former_given_up + given_up,
            "late": self.late,
            "scattered": self.scattered,
            "dropped": {reason: count for reason, count in self.dropped.items() if count},
            "groups": groups,
            "tables": tables,
        }


def added(first: GroupCount, second: GroupCount) -> GroupCount:
    """Add two counts field by field."""
    return {name: first[name] + second[name] for name in GROUP_FIELDS}
