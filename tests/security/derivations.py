"""What is hashed, agreed, sealed and signed, step by step: the vectors of `spec-notes/security.md`.

A `Sheet` is a list of steps; each names its operation, what goes in (parts, one behind the other)
and what comes out. Only the primitives compute here, nothing of `dmmp.security`: whether that makes
the same of it is for `test_derivations`. Written by `python -m tests.regenerate`.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from hashlib import blake2s, sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
"""Of the vectors' format; it is raised when a field changes its meaning or goes away."""

Part = str | bytes | tuple[str, bytes]
"""The output of an earlier step by its name, a literal label, or a named value."""


def _x25519(private: bytes, public: bytes) -> bytes:
    own = X25519PrivateKey.from_private_bytes(private)
    return own.exchange(X25519PublicKey.from_public_bytes(public))


OPERATIONS: dict[str, Callable[..., bytes]] = {
    "given": lambda value: value,
    "concatenate": lambda data: data,
    "SHA-256": lambda data: sha256(data).digest(),
    "SHA-256, first 4 bytes": lambda data: sha256(data).digest()[:4],
    "SHA-256, first 16 bytes": lambda data: sha256(data).digest()[:16],
    "base32 of the first 10 bytes of SHA-256, lower case": lambda data: base64.b32encode(
        sha256(data).digest()[:10]
    ).lower(),
    "HMAC-SHA-256": lambda key, data: hmac.digest(key, data, "sha256"),
    "HKDF-Extract": lambda salt, material: hmac.digest(salt, material, "sha256"),
    "HKDF-Expand, 32 bytes": lambda key, info: hmac.digest(key, info + b"\x01", "sha256"),
    "BLAKE2s, keyed, 16 bytes": lambda key, data: blake2s(data, key=key, digest_size=16).digest(),
    "X25519 public key": lambda private: (
        X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    ),
    "X25519": _x25519,
    "Ed25519 public key": lambda seed: (
        Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    ),
    "Ed25519 signature": lambda seed, message: Ed25519PrivateKey.from_private_bytes(seed).sign(
        message
    ),
    "AES-256-GCM": lambda key, nonce, associated, plaintext: AESGCM(key).encrypt(
        nonce, plaintext, associated
    ),
}
"""Every operation by its name; the arguments' names are those of the step's inputs."""


class Sheet:
    """Steps in their order, each with the values that it makes; see the module's docstring."""

    def __init__(self, name: str, section: str, about: str) -> None:
        self.name, self.section, self.about = name, section, about
        self.values: dict[str, bytes] = {}
        self._steps: list[dict[str, Any]] = []

    def given(self, name: str, value: bytes) -> bytes:
        """Add a value that others start from."""
        return self.step(name, "given", value=((name, value),))

    def step(self, name: str, operation: str, **inputs: tuple[Part, ...]) -> bytes:
        """Add a step: compute it from its inputs, and keep its value by its name."""
        assert name not in self.values, name
        parts = {key: [self._part(part) for part in listed] for key, listed in inputs.items()}
        joined = {key: b"".join(value for _, value in listed) for key, listed in parts.items()}
        made = self.values[name] = OPERATIONS[operation](**joined)
        described = {
            key: [{"is": label, "hex": value.hex()} for label, value in listed]
            for key, listed in parts.items()
        }
        inputs_of = {} if operation == "given" else {"inputs": described}
        self._steps.append(
            {"name": name, "operation": operation, **inputs_of, "output": made.hex()}
        )
        return made

    def _part(self, part: Part) -> tuple[str, bytes]:
        if isinstance(part, str):
            return part, self.values[part]
        if isinstance(part, bytes):
            return f'"{part.decode()}"'.replace("\0", "\\0"), part
        return part

    def document(self) -> dict[str, Any]:
        """Give what the vector file says."""
        return {
            "version": VERSION,
            "kind": "derivation",
            "name": self.name,
            "section": self.section,
            "about": self.about,
            "steps": self._steps,
        }


def number(label: str, value: int, size_bytes: int) -> tuple[str, bytes]:
    """Make a part of a number, most significant byte first."""
    return f"{label} = {value}, {size_bytes * 8} bits", value.to_bytes(size_bytes)
