"""A tree made better step by step: the nearest to the optimum that is worked out here.

The sum of all delays is the sum, over the tree's hops, of the hop's delay times the hosts below it.
Every step takes the best of three changes that respect the degrees, until none helps: a host and
all below it go to a parent with room, two such branches change places, two hosts change places and
each takes the other's children.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmmp.lab.bounds import compact_tree
from dmmp.lab.routes import Floats, Integers

MOST_STEPS = 5_000
LEAST_GAIN = 1e-9
"""Seconds of the sum of delays; less is taken for rounding."""


class _Tree(NamedTuple):
    """A tree and what the changes need to know of it; all [hosts], `within` [hosts, hosts]."""

    parents: Integers
    reached: Floats
    below: Floats
    children: Integers
    within: NDArray[np.bool_]


def searched_tree(delays: Floats, degrees: Sequence[int]) -> list[int]:
    """Improve the compact tree until no single change makes the mean delay less.

    Takes seconds at 500 hosts. Returns parents, -1 for the source; raises UsageError as
    `compact_tree` does.
    """
    return improved(delays, degrees, compact_tree(delays, degrees))


def improved(delays: Floats, degrees: Sequence[int], parents: Sequence[int]) -> list[int]:
    """Improve a tree in which everybody has a place and nobody exceeds a degree."""
    links = np.asarray(delays, dtype=np.float64)
    room = np.asarray(degrees)
    above = np.array(parents, dtype=np.int64)
    for _ in range(MOST_STEPS):
        tree = _look_at(links, above)
        options = [_move(tree, links, room), _swap(tree, links), _exchange(tree, links, room)]
        gain, change = max(options, key=lambda option: option[0])
        if gain < LEAST_GAIN:
            break
        above = change
    return [int(parent) for parent in above]


def _look_at(links: Floats, parents: Integers) -> _Tree:
    hosts = len(parents)
    within = np.eye(hosts, dtype=np.bool_)
    reached = np.zeros(hosts)
    order = [0]
    under: list[list[int]] = [[] for _ in range(hosts)]
    for host in range(1, hosts):
        under[parents[host]].append(host)
    for host in order:
        for child in under[host]:
            reached[child] = reached[host] + links[host, child]
        order.extend(under[host])
    for host in reversed(order[1:]):
        within[parents[host]] |= within[host]
    children = np.bincount(parents[1:], minlength=hosts)
    return _Tree(parents, reached, within.sum(axis=1).astype(np.float64), children, within)


def _best(gains: Floats) -> tuple[float, int, int]:
    first, second = divmod(int(gains.argmax()), gains.shape[1])
    return float(gains[first, second]), first, second


def _move(tree: _Tree, links: Floats, room: Integers) -> tuple[float, Integers]:
    """Put a branch below another parent that has room."""
    arrival = tree.reached[:, None] + links
    gains = tree.below[:, None] * (tree.reached[:, None] - arrival.T)
    gains[tree.within] = -np.inf
    gains[:, tree.children >= room] = -np.inf
    gains[0] = -np.inf
    gain, branch, parent = _best(gains)
    changed = tree.parents.copy()
    changed[branch] = parent
    return gain, changed


def _swap(tree: _Tree, links: Floats) -> tuple[float, Integers]:
    """Let two branches change places, none of which is within the other."""
    above = tree.parents
    # What each branch costs in the other's place: [branch, other].
    there = tree.below[:, None] * (tree.reached[above][None, :] + links[above].T)
    here = tree.below * tree.reached
    gains = here[:, None] + here[None, :] - there - there.T
    gains[tree.within | tree.within.T] = -np.inf
    gains[0], gains[:, 0] = -np.inf, -np.inf
    gain, one, other = _best(gains)
    changed = above.copy()
    changed[one], changed[other] = above[other], above[one]
    return gain, changed


def _exchange(tree: _Tree, links: Floats, room: Integers) -> tuple[float, Integers]:
    """Let two hosts change places in the tree; the source stays."""
    above = tree.parents
    # What a host costs in a place, the hops to the children there included: [place, host].
    cost = tree.below[:, None] * links[above]
    order = np.argsort(above[1:], kind="stable") + 1
    first = np.unique(above[order], return_index=True)[1]
    cost[above[order][first]] += np.add.reduceat(
        tree.below[order, None] * links[:, order].T, first, axis=0
    )
    own = np.diag(cost)
    gains = own[:, None] + own[None, :] - cost - cost.T
    fits = tree.children[:, None] <= room[None, :]
    gains[~(fits & fits.T)] = -np.inf
    hosts = np.arange(1, len(above))
    # A parent and its child share a hop, which these sums would count twice.
    gains[above[1:], hosts] = gains[hosts, above[1:]] = -np.inf
    gains[0], gains[:, 0] = -np.inf, -np.inf
    gain, one, other = _best(gains)
    changed = above.copy()
    changed[above == one], changed[above == other] = other, one
    changed[one], changed[other] = above[other], above[one]
    return gain, changed
