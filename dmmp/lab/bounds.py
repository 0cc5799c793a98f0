"""What no tree can beat, and the central tree that comes near it.

Everything here knows all delays at once, which no protocol does. Delays are one-way seconds,
[hosts, hosts]; host 0 is the source; degrees are how many children a host may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, shortest_path

from dmmp.errors import UsageError
from dmmp.lab.routes import Floats, Integers

SPARE_LEVELS = 2
"""Levels looked at beyond the least depth."""

RATE_STEPS = 60
RATE_SLACK = 1e-9
"""Halvings in the search for a rate, and how much a copy may be too large for its uplink."""


class Bound(NamedTuple):
    """The least mean and the least maximum of the delays from the source, in seconds."""

    mean: float
    largest: float


def lower_bound(delays: Floats, degrees: Sequence[int]) -> Bound:
    """Bound the delays of every tree out of host 0 in which no host exceeds its degree.

    A host h hops below the source is no nearer than the shortest walk of h hops through hosts that
    may have children. A level holds no
    more hosts than the largest degrees allow, as many of them as the level above holds. The least
    mean is then an assignment of hosts to places in levels, the least maximum a matching.

    Raises UsageError if the degrees do not suffice for any tree.
    """
    check_degrees(degrees)
    if len(degrees) < 2:
        return Bound(0.0, 0.0)
    costs = _costs(delays, degrees, level_sizes(degrees))
    return Bound(_least_mean(costs), _least_largest(costs))


def level_sizes(degrees: Sequence[int]) -> list[int]:
    """Return how many hosts levels 1, 2, … can hold at most; the last stands for all below it.

    They end where a level can hold all hosts. Where degrees are so scarce that none can, they end
    soon after the depth that any tree needs, which weakens the bound but does not break it.
    """
    hosts = len(degrees) - 1
    most = _most_children(degrees)
    sizes = [min(degrees[0], hosts)]
    enough = least_depth(degrees) + SPARE_LEVELS
    while sizes[-1] < hosts and len(sizes) < enough:
        sizes.append(min(int(most[sizes[-1]]), hosts))
    return [*sizes[:-1], hosts]


def least_depth(degrees: Sequence[int]) -> int:
    """Return the hops from the source to the last host if those with most room come first."""
    check_degrees(degrees)
    hosts = len(degrees) - 1
    most = _most_children(degrees)
    depth, placed = 0, 0
    while placed < hosts:
        depth, placed = depth + 1, min(degrees[0] + int(most[placed]), hosts)
    return depth


def _most_children(degrees: Sequence[int]) -> Integers:
    """Return how many children 0, 1, 2 … hosts can have together, the source left out."""
    descending = np.sort(np.asarray(degrees[1:], dtype=np.int64))[::-1]
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(descending)])


def _costs(delays: Floats, degrees: Sequence[int], sizes: Sequence[int]) -> Floats:
    """Return what each place in the levels costs each host: [hosts - 1, places].

    A level costs the least walk of just as many hops; the last one, which stands for all below it,
    that of as many or more. Walks pass only through hosts that may have children.
    """
    forwarding = np.asarray(degrees) > 0
    ways = np.array(delays, dtype=np.float64)
    np.fill_diagonal(ways, np.inf)
    ways[~forwarding] = np.inf
    just = ways[0, 1:]
    at_least = shortest_path(ways, indices=0)[1:]
    links = ways[1:, 1:]
    columns = []
    for level, size in enumerate(sizes):
        if level:
            just = (just[:, None] + links).min(axis=0)
            at_least = (at_least[:, None] + links).min(axis=0)
        last = level == len(sizes) - 1
        columns.append(np.repeat((at_least if last else just)[:, None], size, axis=1))
    return np.concatenate(columns, axis=1)


def _least_mean(costs: Floats) -> float:
    hosts, places = linear_sum_assignment(costs)
    return float(costs[hosts, places].mean())


def _least_largest(costs: Floats) -> float:
    """Find the least delay within which all hosts have a place each."""
    tried = np.unique(costs[np.isfinite(costs)])
    low, high = 0, len(tried) - 1
    while low < high:
        middle = (low + high) // 2
        matched = maximum_bipartite_matching(csr_array(costs <= tried[middle]), perm_type="column")
        if (matched >= 0).all():
            high = middle
        else:
            low = middle + 1
    return float(tried[low])


def check_degrees(degrees: Sequence[int]) -> None:
    """Raise UsageError if no tree can respect these degrees."""
    if len(degrees) > 1 and (degrees[0] < 1 or sum(degrees) < len(degrees) - 1):
        raise UsageError(
            f"{len(degrees) - 1} hosts need as many places, the degrees offer {sum(degrees)}: "
            "raise the degrees"
        )


def compact_tree(delays: Floats, degrees: Sequence[int]) -> list[int]:
    """Grow the tree from the source, always by the host that ends up with the least delay.

    The compact tree heuristic of Shi and Turner for degree-bounded trees of least delay. A host is
    taken only if a place remains for others afterwards. Returns the parent of each host, -1 for
    the source. Raises UsageError if the degrees do not suffice.
    """
    check_degrees(degrees)
    hosts = len(degrees)
    gives = np.asarray(degrees)
    room = gives.copy()
    links = np.asarray(delays, dtype=np.float64)
    parents = np.full(hosts, -1)
    reached = np.full(hosts, np.inf)
    reached[0] = 0.0
    best, through = links[0].copy(), np.zeros(hosts, dtype=np.int64)
    best[0] = np.inf
    places, waiting = int(gives[0]), hosts - 1
    while waiting:
        allowed = best
        # A host without children may not take the last place while others wait.
        if places == 1 and waiting > 1:
            allowed = np.where(gives > 0, best, np.inf)
        chosen = int(allowed.argmin())
        parent = int(through[chosen])
        parents[chosen], reached[chosen] = parent, best[chosen]
        best[chosen] = np.inf
        room[parent] -= 1
        places += int(gives[chosen]) - 1
        waiting -= 1
        if room[chosen] > 0:
            _offer(chosen, reached, links, best, through)
        if room[parent] == 0:
            _withdraw(parent, reached, links, best, through, room)
    return [int(parent) for parent in parents]


def _offer(host: int, reached: Floats, links: Floats, best: Floats, through: Integers) -> None:
    """Let a host with room be the parent of those that gain by it."""
    offered = reached[host] + links[host]
    gains = (offered < best) & np.isinf(reached)
    best[gains] = offered[gains]
    through[gains] = host


def _withdraw(
    full: int,
    reached: Floats,
    links: Floats,
    best: Floats,
    through: Integers,
    room: Integers,
) -> None:
    """Find others for those that would have come to a host without room."""
    lost = np.flatnonzero((through == full) & np.isinf(reached))
    open_ones = np.flatnonzero(np.isfinite(reached) & (room > 0))
    if not len(lost):
        return
    if not len(open_ones):
        best[lost] = np.inf
        return
    offered = reached[open_ones, None] + links[np.ix_(open_ones, lost)]
    chosen = offered.argmin(axis=0)
    best[lost] = offered[chosen, np.arange(len(lost))]
    through[lost] = open_ones[chosen]


class Share(NamedTuple):
    """The best rate of some stripes in bit/s, its share of the fluid bound, and how deep a tree
    then is at least."""

    rate: float
    share: float
    depth: int


def fluid_bound(uplinks: Sequence[float]) -> float:
    """Return the highest rate at which all can receive, in bit/s, were data a fluid.

    The source's uplink is the first; no more than that, and no more than all uplinks together
    give each receiver (Kumar, Liu and Ross, INFOCOM 2007).
    """
    return min(uplinks[0], sum(uplinks) / (len(uplinks) - 1))


def stripes_share(uplinks: Sequence[float], stripes: int = 1) -> Share:
    """Return the best rate of one tree, or of a tree for each of several equal stripes.

    The largest rate at which uplinks hold whole copies of stripes enough for all receivers, and
    the source's holds one of each. Depth is not limited: `depth` says what it is at least if each
    host forwards one stripe only.
    """
    rates = np.asarray(uplinks, dtype=np.float64)
    needed = stripes * (len(rates) - 1)
    bound = fluid_bound(uplinks)
    low, high = 0.0, bound / stripes
    for _ in range(RATE_STEPS):
        middle = (low + high) / 2
        copies = np.floor(rates / middle * (1 + RATE_SLACK))
        if copies[0] >= stripes and copies.sum() >= needed:
            low = middle
        else:
            high = middle
    copies = np.floor(rates / low * (1 + RATE_SLACK)).astype(np.int64)
    return Share(low * stripes, low * stripes / bound, _stripe_depth(copies, stripes))


def _stripe_depth(copies: Integers, stripes: int) -> int:
    """Return how deep the tree of one stripe is at least if all hosts' copies serve one stripe."""
    # Every so many-th in the order of uplinks. What rounding leaves over is the largest one's.
    chosen = np.sort(copies[1:])[::-1][::stripes]
    forwarding = np.zeros(len(copies) - 1, dtype=np.int64)
    forwarding[: len(chosen)] = chosen
    degrees = [int(copies[0]) // stripes, *map(int, forwarding)]
    missing = len(forwarding) - sum(degrees)
    degrees[1] += max(0, missing)
    return least_depth(degrees)
