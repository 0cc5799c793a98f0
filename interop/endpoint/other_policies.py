"""This implementation with other policies and parameters: the same messages and hold times.

Hosts that take this one's habits for granted find it out here: what it prefers, how often it says
something, how long it waits. It sends at random too (Decision 19). It takes the words of `dmmp`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from dmmp.cli import main
from dmmp.messages.common import HostRecord
from dmmp.parameters import Parameters
from dmmp.policies import backups, parents, promotion
from dmmp.policies.parents import Candidate
from dmmp.roles import cluster_member, super_node
from dmmp.runtime import node, renewing
from dmmp.types import HostId

PARAMETERS = functools.partial(
    Parameters,
    retry_first=0.4,
    probe_tries=3,
    probe_spacing=0.05,
    probe_wait=0.6,
    offers_wait=0.3,
    refresh_first=1.5,
    refresh_cluster=4.0,
    refresh_relative=8.0,
    refresh_mesh=6.0,
    mesh_links=2,
    mesh_random_links=2,
    super_node_ratio=0.5,
    choose_after=1.0,
    cache_seconds=4.0,
    reorder_wait=0.02,
    repair_least=0.05,
    heartbeat_first=0.1,
    heartbeat=2.0,
    heartbeat_idle=2.0,
    silence_gaps=8.0,
    nearing_look=0.0,
)
"""`Parameters` with other defaults."""


def roomiest(candidates: Sequence[Candidate], parameters: Parameters) -> list[Candidate]:
    """Rank by free places, the farthest first among equals: against slides 9 and 16."""
    return sorted(
        candidates,
        key=lambda each: (
            -each.record.free_slots,
            -(each.round_trip or 0.0),
            -each.record.host,
        ),
    )


def never(applicant: HostRecord, parent: HostRecord, parameters: Parameters) -> bool:
    """Let no child take its parent's place, however capable it is."""
    return False


def strangers_first(
    child: HostId,
    grandparent: HostRecord | None,
    others: Sequence[HostRecord],
    at_most: int,
    turn: int = 0,
) -> tuple[HostRecord, ...]:
    """Name backups in the opposite order, the grandparent last."""
    ordered = backups.choose_backups(child, grandparent, others, len(others) + 1, turn)
    return tuple(reversed(ordered))[:at_most]


def vary() -> None:
    """Put the other choices in the places of the usual ones."""
    parents.SUPER_NODE_RANKINGS["nearest"] = roomiest
    for name in parents.OFFER_RANKINGS:
        parents.OFFER_RANKINGS[name] = roomiest
    for name in promotion.THRESHOLDS:
        promotion.THRESHOLDS[name] = never
    for module in (cluster_member, super_node):
        setattr(module, "choose_backups", strangers_first)  # noqa: B010
    for module in (node, renewing):
        setattr(module, "Parameters", PARAMETERS)  # noqa: B010


if __name__ == "__main__":
    vary()
    randomized = [] if sys.argv[1:2] == ["rp"] else ["--randomized", "0.05"]
    sys.exit(main([*sys.argv[1:], *randomized]))
