"""What source and members do alike with the keys of the tree: name, ratchet, derive, seal them.

A node is its level (leaves are 0) and its index there, so that a member knows its ancestors by
arithmetic. Every key is 32 random bytes, therefore HKDF-Expand alone derives from it (RFC 5869
§3.3). The trees themselves are in `key_tree` and `key_path`. RFC 2627 §5.4.
"""

from __future__ import annotations

import hmac
import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import AuthenticationError

DEGREE_BITS = 2
"""Children of a node, as a power of two: degree 4 needs the fewest bytes for one leaving member
among 100 to 10,000 (RFC 2627 §5.4 leaves the degree open)."""

ROOT_LEVEL = 7
"""Level of the root, whatever levels below it are in use."""

MAXIMUM_MEMBERS = 1 << DEGREE_BITS * ROOT_LEVEL
"""16,384: so many leaves can be below the root."""

_LEVEL_SHIFT = 24
_INDEX_MASK = (1 << _LEVEL_SHIFT) - 1
_NONCE = struct.Struct("!4xII")


class EpochSecret(NamedTuple):
    """The secret of an epoch, 32 bytes; the epoch is the full number, 32 bits."""

    epoch: int
    secret: bytes

    def __repr__(self) -> str:
        return f"EpochSecret({self.epoch})"


class TreeKey(NamedTuple):
    """A key and its version."""

    version: int
    key: bytes

    def __repr__(self) -> str:
        return f"TreeKey({self.version})"


def node_at(level: int, index: int) -> int:
    """Number a node: its level in the top byte, so that sorting goes from the leaves up."""
    return level << _LEVEL_SHIFT | index


ROOT = node_at(ROOT_LEVEL, 0)
"""The root is always the same node: the tree grows and shrinks below it."""


def level_of(node: int) -> int:
    """Return the level of a node, 0 for a leaf."""
    return node >> _LEVEL_SHIFT


def index_of(node: int) -> int:
    """Return which node of its level it is, from 0 on."""
    return node & _INDEX_MASK


def is_above(node: int, leaf: int, bits: int = DEGREE_BITS) -> bool:
    """Tell whether a node is the leaf or one of its ancestors."""
    level = level_of(node)
    return level <= ROOT_LEVEL and leaf >> bits * level == index_of(node)


def derived(key: bytes, info: bytes) -> bytes:
    """Derive 32 bytes from a key (HKDF-Expand, RFC 5869 §2.3: one block of SHA-256)."""
    return hmac.digest(key, info + b"\x01", "sha256")


def ratcheted(key: bytes, steps: int) -> bytes:
    """Turn a key forward by so many joins; there is no way back."""
    for _ in range(steps):
        key = derived(key, b"dmmp ratchet")
    return key


def epoch_secret(root: bytes, epoch: int) -> bytes:
    """Derive the secret of an epoch from the root's key in it."""
    return derived(root, b"dmmp epoch" + epoch.to_bytes(4))


def wrap(under: bytes, node: int, version: int, key: bytes) -> bytes:
    """Seal the key of a node (AES-256-GCM, 48 bytes) under another's.

    The nonce is node and version of what is sealed: they name one key for ever, so no nonce serves
    two. They need not be sent a second time, nor a counter remembered over restarts, after which
    every key is another.
    """
    return _cipher(under).encrypt(_NONCE.pack(node, version), key, None)


def unwrap(under: bytes, node: int, version: int, sealed: bytes) -> bytes:
    """Open what `wrap` sealed; raise `AuthenticationError` if it was not sealed so."""
    try:
        return _cipher(under).decrypt(_NONCE.pack(node, version), sealed, None)
    except InvalidTag:
        raise AuthenticationError(f"the seal of key {node:#010x} version {version}") from None


def _cipher(under: bytes) -> AESGCM:
    # A key of its own for sealing: the same key is ratcheted and, at the root, makes secrets.
    return AESGCM(derived(under, b"dmmp wrap"))
