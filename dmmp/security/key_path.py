"""A member's keys: its own, those above it, the root of each epoch that it still can read.

Follows the source's tree by what Rekeys say and, over joins, by ratchets of its own. Lost, repeated
and disordered parts do no harm: a seal is kept until the key that opens it is there. When to ask
the source, and when to forget, is the business of `key_member`. RFC 2627 §5.4, slide 23.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dmmp.errors import AuthenticationError, DecodeError, DecodeReason
from dmmp.messages.keys import KeyWrap, PathKey, Rekey
from dmmp.security.key_wrap import (
    DEGREE_BITS,
    ROOT,
    EpochSecret,
    TreeKey,
    epoch_secret,
    is_above,
    level_of,
    node_at,
    ratcheted,
    unwrap,
)

MOST_AHEAD = 255
"""Epochs that are tried ahead of the newest known root: the wire tells 256 apart (Decision 8)."""

MOST_STEPS = 4096
"""Ratchets for one Rekey, 4 ms of work. A key is turned once for each batch of joins below its node
and renewed by each leave there, so at most as often as there are leaves: 4^6 below the largest node
that seals. The root is turned at most 600 times in the ten minutes that it lasts."""

MOST_ROOTS = 8
"""Roots that are held: the newest, and those of the 2 s before; changes are a second apart."""

MOST_PENDING = 8
"""Epochs of which seals wait for their key; the oldest go first. Of each at most seven wait."""


@dataclass(slots=True)
class _Waiting:
    """A seal, and the version of its key it was tried with in vain."""

    wrap: KeyWrap
    tried: int = -1


class KeyPath:
    """The keys of leaf number `leaf`, as a KeyResponse of `epoch` gave them.

    Raises `DecodeError` unless they are a path from the leaf to the root of that epoch.
    """

    def __init__(
        self, leaf: int, epoch: int, keys: Sequence[PathKey], bits: int = DEGREE_BITS
    ) -> None:
        nodes = [key.node for key in keys]
        if (
            nodes != sorted(set(nodes))
            or not nodes
            or (nodes[0], nodes[-1]) != (node_at(0, leaf), ROOT)
            or not all(is_above(node, leaf, bits) for node in nodes)
        ):
            raise _refused("no path from a leaf to the root")
        if any(key.version > epoch for key in keys) or keys[-1].version != epoch:
            raise _refused("a root of another epoch, or a later key")
        self.leaf = leaf
        self._bits = bits
        self._keys = {key.node: TreeKey(key.version, key.key) for key in keys[:-1]}
        self._roots = {epoch: keys[-1].key}
        self._ahead: list[bytes] = [keys[-1].key]
        """The newest root, and what joins make of it."""
        self._secrets: dict[int, bytes] = {}
        self._waiting: dict[int, dict[int, _Waiting]] = {}

    @property
    def epoch(self) -> int:
        """Return the newest epoch that is certain."""
        return max(self._roots)

    @property
    def oldest(self) -> int:
        """Return the oldest epoch that can be read."""
        return min(self._roots)

    def secret(self, epoch: int) -> EpochSecret | None:
        """Return the secret that an epoch has if joins alone led there from the last known root.

        That is certain up to `epoch`; later ones are worth a try, and `advance` makes them certain.
        None for epochs before the oldest kept one, and for those too far ahead.
        """
        base = max((held for held in self._roots if held <= epoch), default=None)
        if base is None or epoch - base > MOST_AHEAD:
            return None
        found = self._secrets.get(epoch)
        if found is None:
            found = self._secrets[epoch] = epoch_secret(self._root(base, epoch), epoch)
        return EpochSecret(epoch, found)

    def advance(self, epoch: int) -> bool:
        """Know for certain that joins alone led to an epoch; tell whether it is reached now."""
        newest = self.epoch
        if epoch <= newest or epoch - newest > MOST_STEPS:
            return epoch == newest
        self._add_root(epoch, self._root(newest, epoch))
        return True

    def apply(self, rekey: Rekey) -> bool:
        """Take one part of a Rekey; tell whether a root became known by it.

        The caller knows that it is the source's. Raise `DecodeError` for what no source says, and
        `AuthenticationError` for a seal that does not hold under the very key it names.
        """
        if rekey.part >= rekey.parts:
            raise _refused("a part beyond the last")
        if rekey.epoch <= self.oldest:
            return False
        self._gather(rekey)
        if len(self._waiting) > MOST_PENDING:
            del self._waiting[min(self._waiting)]
        before = self.epoch, len(self._roots)
        self._open_waiting()
        return (self.epoch, len(self._roots)) != before

    def forget_before(self, epoch: int) -> None:
        """Erase what opens earlier epochs, but never the newest root."""
        newest = self.epoch
        self._roots = {
            held: root for held, root in self._roots.items() if held >= epoch or held == newest
        }
        self._secrets.clear()

    def follow(self, earlier: KeyPath) -> None:
        """Take over from the path before this one what opens the epochs before this one's."""
        for held, root in earlier._roots.items():
            if held < self.epoch:
                self._roots[held] = root
        self._limit_roots()

    def _root(self, base: int, epoch: int) -> bytes:
        if base != self.epoch:
            return ratcheted(self._roots[base], epoch - base)
        # Epoch numbers of junk come in any order: no step of this ratchet is made twice.
        while len(self._ahead) <= min(epoch - base, MOST_AHEAD):
            self._ahead.append(ratcheted(self._ahead[-1], 1))
        made = min(epoch - base, MOST_AHEAD)
        return ratcheted(self._ahead[made], epoch - base - made)

    def _add_root(self, epoch: int, root: bytes) -> None:
        self._roots[epoch] = root
        if epoch == self.epoch:
            self._ahead = [root]
        self._secrets.clear()
        self._limit_roots()

    def _limit_roots(self) -> None:
        while len(self._roots) > MOST_ROOTS:
            del self._roots[self.oldest]

    def _gather(self, rekey: Rekey) -> None:
        """Note the seals that are for this leaf: of each node at most one, below which it is."""
        for renewal in rekey.renewals:
            if not is_above(renewal.node, self.leaf, self._bits):
                continue
            for wrap in renewal.wraps:
                if level_of(wrap.under) >= level_of(renewal.node):
                    raise _refused("a key sealed under one that is not below it")
                if is_above(wrap.under, self.leaf, self._bits):
                    waiting = self._waiting.setdefault(rekey.epoch, {})
                    waiting.setdefault(renewal.node, _Waiting(wrap))

    def _open_waiting(self) -> None:
        """Open what can be: by epochs and from the leaves up, so once is enough."""
        steps = MOST_STEPS
        for epoch in sorted(self._waiting):
            waiting = self._waiting[epoch]
            for node in sorted(waiting):
                if self._is_stale(epoch, node, waiting[node].wrap):
                    del waiting[node]
                    continue
                steps -= self._open(epoch, node, waiting, steps)
            if not waiting:
                del self._waiting[epoch]

    def _is_stale(self, epoch: int, node: int, wrap: KeyWrap) -> bool:
        """Tell whether a seal is of no use any more: known, or its key has been turned forward."""
        if node == ROOT:
            known = epoch in self._roots or epoch < self.oldest
        else:
            known = node in self._keys and self._keys[node].version >= epoch
        return known or (wrap.under in self._keys and self._keys[wrap.under].version > wrap.version)

    def _open(self, epoch: int, node: int, waiting: dict[int, _Waiting], most_steps: int) -> int:
        """Try to open one seal; return how many ratchets that took."""
        held = waiting[node]
        under = self._keys.get(held.wrap.under)
        if under is None or held.tried == under.version:
            return 0
        steps = held.wrap.version - under.version
        if steps > most_steps:
            return 0
        turned = ratcheted(under.key, steps)
        try:
            key = unwrap(turned, node, epoch, held.wrap.sealed)
        except AuthenticationError:
            if steps == 0:
                del waiting[node]
                raise
            # It was renewed in between: that Rekey is missing so far.
            held.tried = under.version
            return steps
        del waiting[node]
        self._keys[held.wrap.under] = TreeKey(held.wrap.version, turned)
        if node != ROOT:
            self._keys[node] = TreeKey(epoch, key)
        else:
            self._add_root(epoch, key)
            if epoch == self.epoch:
                self._forget_above(held.wrap.under)
        return steps

    def _forget_above(self, top: int) -> None:
        """Erase the keys of levels that are no more: the root stands right above this node."""
        for node in [each for each in self._keys if each > top]:
            del self._keys[node]


def _refused(detail: str) -> DecodeError:
    return DecodeError(DecodeReason.VALUE, 0, f"group key: {detail}")
