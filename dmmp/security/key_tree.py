"""The source's tree of keys: who leaves makes fresh keys, who joins turns keys forward.

A leaf is a member, its number is its place for as long as it stays. The tree grows and shrinks just
below the root: a level more is one node above all others, so no leaf is renumbered. Who the members
are, and when it all happens, is the business of `key_server`. RFC 2627 §5.4, slide 23.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from dmmp.errors import UsageError
from dmmp.messages.keys import KEY_BYTES, KeyRenewal, KeyWrap, PathKey
from dmmp.security.key_wrap import (
    DEGREE_BITS,
    ROOT,
    ROOT_LEVEL,
    EpochSecret,
    TreeKey,
    epoch_secret,
    index_of,
    level_of,
    node_at,
    ratcheted,
    wrap,
)


class Change(NamedTuple):
    """One new epoch: the leaves of those who joined, and what the others must be told, if anything.

    `renewals` go from the leaves up, so that whoever reads them in order can open each at once.
    """

    leaves: tuple[int, ...]
    renewals: tuple[KeyRenewal, ...]


class KeyTree:
    """The keys of all nodes below which there are members, and of the root.

    The version of a fresh key is the epoch, each ratchet adds one. Every change touches the root,
    so its version always is the epoch; and as no other changes more often, a version is never used
    twice, even if a node was empty in between. `epoch` is the first; 0 means "none" on the wire.
    """

    def __init__(
        self, random_bytes: Callable[[int], bytes], epoch: int = 1, bits: int = DEGREE_BITS
    ) -> None:
        if not 0 < epoch < 1 << 32:
            raise UsageError(f"{epoch} is no epoch")
        self.epoch = self.renewed = epoch
        """The present epoch, and the last one that began with a fresh root."""
        self.height = 1
        """Levels in use below the root: its children are on level `height` - 1."""
        self._random = random_bytes
        self._bits = bits
        self._keys = {ROOT: TreeKey(epoch, random_bytes(KEY_BYTES))}
        self._free: list[int] = []
        self._next_leaf = 0

    def __len__(self) -> int:
        return self._next_leaf - len(self._free)

    @property
    def capacity(self) -> int:
        """Return how many members there can be."""
        return 1 << self._bits * ROOT_LEVEL

    @property
    def secret(self) -> EpochSecret:
        """Return the present epoch's secret."""
        return EpochSecret(self.epoch, epoch_secret(self._keys[ROOT].key, self.epoch))

    def path(self, leaf: int) -> tuple[PathKey, ...]:
        """Return a member's keys, from its own up to the root."""
        nodes = [node_at(0, leaf), *self._above(leaf)]
        return tuple(PathKey(node, *self._keys[node]) for node in nodes)

    def change(self, leaving: Iterable[int] = (), joining: int = 0, renew: bool = False) -> Change:
        """Begin a new epoch: leaves go, others come; with `renew` the root is fresh in any case.

        Raise `UsageError` for leaves that are nobody's and for more members than there can be.
        """
        gone = list(leaving)
        if any(node_at(0, leaf) not in self._keys for leaf in gone) or len(set(gone)) < len(gone):
            raise UsageError("a leaf is left that nobody has")
        if len(self) - len(gone) + joining > self.capacity:
            raise UsageError(f"there can be {self.capacity} members")
        self.epoch += 1
        stale = self._remove(gone)
        leaves = tuple(self._take_leaf(stale) for _ in range(joining))
        created = self._settle(leaves, stale)
        if gone or stale or renew:
            stale.add(ROOT)
            self.renewed = self.epoch
        else:
            self._ratchet(ROOT)
        for node in stale:
            self._keys[node] = self._fresh()
        return Change(leaves, tuple(self._renewals(sorted(stale), created)))

    def _remove(self, gone: list[int]) -> set[int]:
        """Take leaves away; return the nodes above them below which there still is somebody."""
        stale: set[int] = set()
        below = {node_at(0, leaf) for leaf in gone}
        for node in below:
            del self._keys[node]
        for leaf in gone:
            heappush(self._free, leaf)
        for _ in range(1, self.height):
            below = {self._parent(node) for node in below}
            for node in below:
                if any(child in self._keys for child in self._children(node)):
                    stale.add(node)
                else:
                    del self._keys[node]
        self._shrink(stale)
        return stale

    def _shrink(self, stale: set[int]) -> None:
        """Take levels away that have but one node: it is above everybody, as the root is."""
        while self.height > 1:
            tops = [node for node in self._children(ROOT) if node in self._keys]
            if any(index_of(node) for node in tops):
                return
            for node in tops:
                del self._keys[node]
                stale.discard(node)
            self.height -= 1

    def _take_leaf(self, stale: set[int]) -> int:
        """Give the lowest free leaf, so that the tree stays dense; grow if there is none."""
        if self._free:
            leaf = heappop(self._free)
        else:
            leaf = self._next_leaf
            self._next_leaf += 1
        while leaf >> self._bits * self.height:
            above_all = node_at(self.height, 0)
            self.height += 1
            if any(child in self._keys for child in self._children(above_all)):
                # Who was there before has no key of it yet: all of them must be told of one.
                self._keys[above_all] = self._fresh()
                stale.add(above_all)
        return leaf

    def _settle(self, leaves: tuple[int, ...], stale: set[int]) -> set[int]:
        """Make the joiners' keys and turn forward what they may know only from now on.

        Return the nodes below which there are joiners only: nobody needs a wrap under their keys.
        """
        created: set[int] = set()
        turned: set[int] = set(stale)
        for leaf in leaves:
            for node in (node_at(0, leaf), *self._above(leaf)):
                if node not in self._keys:
                    self._keys[node] = self._fresh()
                    created.add(node)
                elif node not in created and node not in turned and node != ROOT:
                    self._ratchet(node)
                    turned.add(node)
        return created

    def _renewals(self, nodes: list[int], created: set[int]) -> Iterator[KeyRenewal]:
        for node in nodes:
            key = self._keys[node].key
            wraps = []
            for child in self._children(node):
                held = None if child in created else self._keys.get(child)
                if held is not None:
                    sealed = wrap(held.key, node, self.epoch, key)
                    wraps.append(KeyWrap(child, held.version, sealed))
            if wraps:
                yield KeyRenewal(node, tuple(wraps))

    def _fresh(self) -> TreeKey:
        return TreeKey(self.epoch, self._random(KEY_BYTES))

    def _ratchet(self, node: int) -> None:
        version, key = self._keys[node]
        self._keys[node] = TreeKey(version + 1, ratcheted(key, 1))

    def _parent(self, node: int) -> int:
        level = level_of(node) + 1
        return node_at(level, index_of(node) >> self._bits) if level < self.height else ROOT

    def _children(self, node: int) -> range:
        level = self.height - 1 if node == ROOT else level_of(node) - 1
        first = node_at(level, index_of(node) << self._bits)
        return range(first, first + (1 << self._bits))

    def _above(self, leaf: int) -> list[int]:
        levels = range(1, self.height)
        return [*(node_at(level, leaf >> self._bits * level) for level in levels), ROOT]
