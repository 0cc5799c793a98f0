"""Which parent: the rules of slides 9, 16 and 19, each a function from a registry.

First choice of a cluster: the nearest super node, and among similar ones the higher out-degree.
Among offers in a running tree: the smallest depth, then the longest uptime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dmmp.messages.common import HostRecord
from dmmp.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that could be the parent, and its round-trip time in seconds, if it was measured."""

    record: HostRecord
    round_trip: float | None = None


def nearest(candidates: Sequence[Candidate], parameters: Parameters) -> list[Candidate]:
    """Rank by delay; among those similar to the nearest by out-degree (slide 9, Decision 12)."""
    measured = sorted(
        (c for c in candidates if c.round_trip is not None),
        key=lambda c: (c.round_trip or 0.0, c.record.host),
    )
    ranked: list[Candidate] = []
    while measured:
        first = measured[0].round_trip or 0.0
        limit = max(first * parameters.similar_ratio, first + parameters.similar_delay)
        similar = [c for c in measured if (c.round_trip or 0.0) <= limit]
        similar.sort(key=lambda c: (c.record.free_slots == 0, -c.record.out_degree, c.record.host))
        ranked.extend(similar)
        measured = measured[len(similar) :]
    unmeasured = [c for c in candidates if c.round_trip is None]
    return ranked + unmeasured


def shallowest(candidates: Sequence[Candidate], parameters: Parameters) -> list[Candidate]:
    """Rank by depth, then the longest uptime (slide 16, -03 §6.3), then the nearest."""
    return sorted(
        candidates,
        key=lambda c: (
            c.record.depth,
            -c.record.uptime,
            c.round_trip if c.round_trip is not None else 1e9,
            c.record.host,
        ),
    )


Ranking = Callable[[Sequence[Candidate], Parameters], list[Candidate]]

SUPER_NODE_RANKINGS: dict[str, Ranking] = {"nearest": nearest}
OFFER_RANKINGS: dict[str, Ranking] = {"shallowest": shallowest, "nearest": nearest}
