"""Noise_IK_25519_AESGCM_SHA256: the handshake that makes two pairs of keys out of four.

The pattern of WireGuard: the initiator knows whom it calls, one round trip, no answer to who does
not know the responder's key. Written after The Noise Protocol Framework, revision 34, and nothing
of it that is not needed here. No datagrams, no policy. Sources: slide 23, RFC 7748, RFC 5869.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import AuthenticationError

KEY_BYTES = 32
"""Length of every key here, X25519 or AES-256."""

TAG_BYTES = 16
"""What AES-GCM adds to a plaintext."""

SEALED_STATIC_BYTES = KEY_BYTES + TAG_BYTES

_NAME = b"Noise_IK_25519_AESGCM_SHA256"
_START = _NAME.ljust(32, b"\0")

pack_nonce = Struct("!4xQ").pack
"""Nonce of AESGCM in Noise (section 12.4 of it): 32 zero bits, then the counter, big-endian."""


class KeyPair:
    """An X25519 private key of 32 bytes and its public one."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        self._secret = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._secret.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Return the secret shared with the owner of the public key.

        Raise `AuthenticationError` for the few keys with which everybody shares it (RFC 7748 §6.1).
        """
        try:
            return self._secret.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise AuthenticationError("a public key of low order or wrong length") from error


class Keys(NamedTuple):
    """What a finished handshake gives: 32 bytes for each direction, and the hash of all of it."""

    send: bytes
    receive: bytes
    transcript: bytes


def _derive(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF of two outputs (RFC 5869), as Noise section 4.3 has it."""
    extracted = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    return first, hmac.digest(extracted, first + b"\x02", "sha256")


class _Symmetric:
    """The symmetric state (Noise section 5.2): chaining key, hash, present cipher and counter."""

    __slots__ = ("_cipher", "_counter", "chaining_key", "transcript")

    def __init__(self, prologue: bytes, responder: bytes) -> None:
        self.chaining_key = _START
        self.transcript = sha256(sha256(_START + prologue).digest() + responder).digest()
        self._cipher: AESGCM | None = None
        self._counter = 0

    def copy(self) -> _Symmetric:
        """Make another with the same content, which bad bytes may spoil."""
        made = object.__new__(_Symmetric)
        made.chaining_key, made.transcript = self.chaining_key, self.transcript
        made._cipher, made._counter = self._cipher, self._counter
        return made

    def mix_hash(self, data: bytes) -> None:
        self.transcript = sha256(self.transcript + data).digest()

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, key = _derive(self.chaining_key, material)
        self._cipher, self._counter = AESGCM(key), 0

    def encrypt(self, plaintext: bytes) -> bytes:
        assert self._cipher is not None
        sealed = self._cipher.encrypt(pack_nonce(self._counter), plaintext, self.transcript)
        self._counter += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        assert self._cipher is not None
        try:
            plaintext = self._cipher.decrypt(pack_nonce(self._counter), sealed, self.transcript)
        except InvalidTag as error:
            raise AuthenticationError("a handshake message that does not open") from error
        self._counter += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        return _derive(self.chaining_key, b"")


class Initiator:
    """The end that calls; it knows the responder's static key."""

    __slots__ = ("_ephemeral", "_remote", "_static", "_symmetric")

    def __init__(self, static: KeyPair, remote: bytes, prologue: bytes, ephemeral: KeyPair) -> None:
        self._static, self._remote, self._ephemeral = static, remote, ephemeral
        self._symmetric = _Symmetric(prologue, remote)

    def write(self, payload: bytes) -> bytes:
        """Make the first message, `e, es, s, ss`: 32 + 48 bytes and the sealed payload.

        Raise `AuthenticationError` if the responder's key is none.
        """
        symmetric = self._symmetric
        symmetric.mix_hash(self._ephemeral.public)
        symmetric.mix_key(self._ephemeral.exchange(self._remote))
        sealed_static = symmetric.encrypt(self._static.public)
        symmetric.mix_key(self._static.exchange(self._remote))
        return self._ephemeral.public + sealed_static + symmetric.encrypt(payload)

    def read(self, message: bytes) -> tuple[bytes, Keys]:
        """Read the second message, `e, ee, se`: its payload, and the keys that are now agreed.

        Raise `AuthenticationError` for any other bytes; the true answer can still be read then.
        """
        symmetric = self._symmetric.copy()
        remote = message[:KEY_BYTES]
        symmetric.mix_hash(remote)
        symmetric.mix_key(self._ephemeral.exchange(remote))
        symmetric.mix_key(self._static.exchange(remote))
        payload = symmetric.decrypt(message[KEY_BYTES:])
        send, receive = symmetric.split()
        return payload, Keys(send, receive, symmetric.transcript)


class Responder:
    """The end that is called; it learns the initiator's static key, `remote`, from `read`."""

    __slots__ = ("_remote_ephemeral", "_static", "_symmetric", "remote")

    def __init__(self, static: KeyPair, prologue: bytes) -> None:
        self._static = static
        self._symmetric = _Symmetric(prologue, static.public)
        self._remote_ephemeral = self.remote = b""

    def read(self, message: bytes) -> bytes:
        """Read the first message and return its payload.

        Raise `AuthenticationError` for anything that was not made for this host.
        """
        symmetric = self._symmetric
        ephemeral = message[:KEY_BYTES]
        symmetric.mix_hash(ephemeral)
        symmetric.mix_key(self._static.exchange(ephemeral))
        sealed_end = KEY_BYTES + SEALED_STATIC_BYTES
        self.remote = symmetric.decrypt(message[KEY_BYTES:sealed_end])
        symmetric.mix_key(self._static.exchange(self.remote))
        self._remote_ephemeral = ephemeral
        return symmetric.decrypt(message[sealed_end:])

    def write(self, payload: bytes, ephemeral: KeyPair) -> tuple[bytes, Keys]:
        """Make the second message, 32 bytes and the sealed payload, and the keys now agreed.

        Only after `read`. Raise `AuthenticationError` if the initiator's ephemeral key is none.
        """
        symmetric = self._symmetric
        symmetric.mix_hash(ephemeral.public)
        symmetric.mix_key(ephemeral.exchange(self._remote_ephemeral))
        symmetric.mix_key(ephemeral.exchange(self.remote))
        message = ephemeral.public + symmetric.encrypt(payload)
        receive, send = symmetric.split()
        return message, Keys(send, receive, symmetric.transcript)
