"""Clusters of the NICE family: who is in, how far they are apart, who is the centre, how to split.

Banerjee, Bhattacharjee and Kommareddy, SIGCOMM 2002.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from typing import Final

from dmmp.lab.relatives.words import Row

K: Final = 3
"""Clusters have K to 3 K - 1 members."""

MOST: Final = 3 * K - 1

UNKNOWN: Final = 1.0
"""Seconds of round trip taken for pairs that nobody has measured: far, but not for ever."""

EXHAUSTIVE: Final = 10
"""Members up to which a split tries all halves; there are 336 or fewer then."""

LEAST_HALF: Final = 3 * K // 2
"""Of a cluster that is split."""


class Cluster:
    """A cluster as one of its members knows it.

    `heard` says when each other member was last heard; the leader's word decides who is in it.
    `heirs` are the members in the order in which they are to lead when the leader is dead;
    `elected` is true for a leader who has not yet said that it leads, `votes` are members for whom
    this host leads.
    """

    __slots__ = (
        "above",
        "crew",
        "elected",
        "heard",
        "heirs",
        "leader",
        "members",
        "small_since",
        "table",
        "votes",
    )

    def __init__(self, leader: int, members: Iterable[int], now: float) -> None:
        self.leader = leader
        self.members = set(members) | {leader}
        self.heard = dict.fromkeys(self.members, now)
        self.table: dict[int, Row] = {}
        self.above: tuple[int, ...] = ()
        self.crew: tuple[int, ...] = ()
        self.heirs: tuple[int, ...] = ()
        self.elected = False
        self.votes: set[int] = set()
        self.small_since: float | None = None

    def add(self, host: int, now: float) -> None:
        """Take a member in."""
        self.members.add(host)
        self.heard[host] = now

    def remove(self, host: int) -> None:
        """Forget a member and what it measured."""
        self.members.discard(host)
        self.heard.pop(host, None)
        self.table.pop(host, None)


def distance(table: Mapping[int, Row], first: int, second: int) -> float:
    """Return the round trip between two members in seconds, by the word of either."""
    row = table.get(first)
    if row is not None and second in row:
        return row[second]
    row = table.get(second)
    return row.get(first, UNKNOWN) if row is not None else UNKNOWN


def radius(table: Mapping[int, Row], host: int, members: Iterable[int]) -> float:
    """Return how far the farthest of some members is from one."""
    return max((distance(table, host, other) for other in members if other != host), default=0.0)


def centre(table: Mapping[int, Row], members: Collection[int]) -> int:
    """Return the member that is the least far from its farthest; the lowest number among equals."""
    return min(members, key=lambda host: (radius(table, host, members), host))


def by_radius(table: Mapping[int, Row], members: Collection[int]) -> tuple[int, ...]:
    """Order members from the centre to the edge."""
    return tuple(sorted(members, key=lambda host: (radius(table, host, members), host)))


def split(
    table: Mapping[int, Row], members: Collection[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut a cluster in two such that the larger radius is the least, with neither half too small.

    All halves are tried up to `EXHAUSTIVE` members; larger ones are divided between two members
    that are far apart.
    """
    order = sorted(members)
    least = min(LEAST_HALF, len(order) // 2)
    if len(order) > EXHAUSTIVE:
        return _between_two(table, order)
    apart = {pair: distance(table, *pair) for pair in combinations(order, 2)}
    apart |= {(second, first): far for (first, second), far in apart.items()}

    def reach(half: Collection[int]) -> float:
        return min(max(apart[one, two] for two in half if two != one) for one in half)

    first, *rest = order
    best: tuple[float, tuple[int, ...], tuple[int, ...]] | None = None
    for size in range(least, len(order) - least + 1):
        for chosen in combinations(rest, size - 1):
            half = (first, *chosen)
            other = tuple(host for host in order if host not in half)
            worse = max(reach(half) if size > 1 else 0.0, reach(other) if len(other) > 1 else 0.0)
            if best is None or worse < best[0]:
                best = (worse, half, other)
    assert best is not None
    return best[1], best[2]


def _between_two(
    table: Mapping[int, Row], order: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    one = max(order, key=lambda host: (distance(table, order[0], host), host))
    two = max((host for host in order if host != one), key=lambda h: (distance(table, one, h), h))
    nearer = sorted(
        (host for host in order if host not in (one, two)),
        key=lambda host: (distance(table, one, host) - distance(table, two, host), host),
    )
    half = len(order) // 2
    return (one, *nearer[: half - 1]), (two, *nearer[half - 1 :])
