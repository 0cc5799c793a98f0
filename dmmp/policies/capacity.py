"""Who counts for more: the capacity of a host (slide 19).

Out-degree is the main criterion, uptime decides among equals; at the start, when every uptime is
near 0, bandwidth alone decides. Ids break ties, so that every host ranks alike.
"""

from __future__ import annotations

from fractions import Fraction

from dmmp.messages.common import HostRecord

PROMISED = Fraction(9, 10)
"""Share of an uplink that may be promised to children; the rest is for control, repairs and
children on the move (Decision 81)."""


def children_of(uplink: float, stream: float) -> int:
    """Return how many children an uplink feeds, both in bit/s (-03 §4.1, Decision 81).

    `stream` is what one copy takes, headers included; more than 0.
    """
    return int(PROMISED * Fraction(uplink) / Fraction(stream))


def by_capacity(host: HostRecord) -> tuple[int, int, int]:
    """Sort key: the most capable host first (slide 19)."""
    return (-host.out_degree, -host.uptime, host.host)


def is_leaf(host: HostRecord, leaf_below: int) -> bool:
    """Tell whether a host is a leaf: its out-degree is below `leaf_below` (slide 9; 2)."""
    return host.out_degree < leaf_below


def mesh_share(out_degree: int) -> int:
    """Return how many of a super node's connections serve the mesh (Decision 31).

    Half, rounded down: the other half feeds its own cluster. One static split keeps every promise
    of Decision 14 checkable without knowing the tree.
    """
    return out_degree // 2
