"""A whole group around one key tree, and what a coalition of its members could ever work out.

Every renewal is recorded, as an attacker would. `Group.readable` is the attacker: it knows what its
members were given, all that was ever sent, and how everything is derived. RFC 2627 §5.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from dmmp.errors import AuthenticationError
from dmmp.messages.keys import KeyRenewal, PathKey, Rekey
from dmmp.security.key_path import KeyPath
from dmmp.security.key_tree import KeyTree
from dmmp.security.key_wrap import DEGREE_BITS, ROOT, epoch_secret, ratcheted, unwrap


class Group:
    """A tree, the members' own paths, and the history of both."""

    def __init__(self, seed: int, bits: int = DEGREE_BITS, first_epoch: int = 1) -> None:
        self.rng = Random(seed)
        self.tree = KeyTree(self.rng.randbytes, first_epoch, bits)
        self.bits = bits
        self.paths: dict[str, KeyPath] = {}
        """Members that are present."""
        self.given: dict[str, tuple[PathKey, ...]] = {}
        """What each was given when it joined, present or not."""
        self.present: dict[int, set[str]] = {}
        """Who was there, by epoch."""
        self.secrets: dict[int, bytes] = {}
        self.sent: dict[int, tuple[KeyRenewal, ...]] = {}
        self._count = 0

    def change(self, leaving: Iterable[str] = (), joining: int = 0, renew: bool = False) -> Rekey:
        """Begin an epoch; return what the others are told, in one part, without telling them."""
        gone = [self.paths.pop(name).leaf for name in leaving]
        change = self.tree.change(gone, joining, renew)
        epoch = self.tree.epoch
        for leaf in change.leaves:
            name = f"m{self._count}"
            self._count += 1
            self.given[name] = self.tree.path(leaf)
            self.paths[name] = KeyPath(leaf, epoch, self.given[name], self.bits)
        self.present[epoch] = set(self.paths)
        self.secrets[epoch] = self.tree.secret.secret
        self.sent[epoch] = change.renewals
        return Rekey(epoch=epoch, renewals=change.renewals)

    def random_change(self, most: int) -> Rekey:
        """Let some leave and some come, at random."""
        kind = self.rng.randrange(4)
        leaving: list[str] = []
        if kind != 0 and self.paths:
            count = min(len(self.paths), self.rng.randrange(1, most))
            leaving = self.rng.sample(sorted(self.paths), count)
        joining = 0 if kind == 1 else self.rng.randrange(1, most)
        return self.change(leaving, joining, renew=kind == 3 and self.rng.random() < 0.2)

    def follow(self, rekey: Rekey) -> None:
        """Tell every member; with joins alone there is nothing to tell, and the ratchet leads."""
        for path in self.paths.values():
            if rekey.renewals:
                path.apply(rekey)
            else:
                path.advance(rekey.epoch)

    def agree(self) -> bool:
        """Tell whether every member that is present has the present epoch's secret."""
        secret = self.tree.secret
        return all(
            path.epoch == secret.epoch and path.secret(secret.epoch) == secret
            for path in self.paths.values()
        )

    def readable(self, names: Iterable[str]) -> set[int]:
        """Return the epochs that these, present or not, can read if they put all together."""
        known: dict[int, dict[int, bytes]] = {}
        for name in names:
            for key in self.given[name]:
                known.setdefault(key.node, {})[key.version] = key.key
        vain: set[tuple[int, ...]] = set()
        while sum(self._break_open(epoch, known, vain) for epoch in self.sent):
            pass
        roots = known.get(ROOT, {})
        return {
            epoch
            for epoch, secret in self.secrets.items()
            if any(
                epoch_secret(ratcheted(root, epoch - version), epoch) == secret
                for version, root in roots.items()
                if version <= epoch
            )
        }

    def _break_open(
        self, epoch: int, known: dict[int, dict[int, bytes]], vain: set[tuple[int, ...]]
    ) -> bool:
        """Open what can be; of a node's keys the newest that the ratchet leads on from will do.

        All that is known is true: where a key was renewed since, older ones lead nowhere either.
        """
        progress = False
        for renewal in self.sent[epoch]:
            if epoch in known.get(renewal.node, {}):
                continue
            for wrap in renewal.wraps:
                keys = known.get(wrap.under, {})
                version = max((held for held in keys if held <= wrap.version), default=-1)
                attempt = (epoch, renewal.node, wrap.under, version)
                if version < 0 or attempt in vain:
                    continue
                under = ratcheted(keys[version], wrap.version - version)
                try:
                    opened = unwrap(under, renewal.node, epoch, wrap.sealed)
                except AuthenticationError:
                    vain.add(attempt)
                    continue
                keys[wrap.version] = under
                known.setdefault(renewal.node, {})[epoch] = opened
                progress = True
        return progress
