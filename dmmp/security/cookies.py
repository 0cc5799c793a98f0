"""The two macs of the handshake and the cookie, after WireGuard: cheap doubts before dear sums.

mac1 shows that the sender knows whom it calls; mac2 that it receives at the address it sends from.
A cookie is a mac of that address, so the responder keeps nothing. No Noise here.
Sources: the WireGuard paper, section 5.4; RFC 7693.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s, sha256
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import AuthenticationError
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.messages.options import Option
from dmmp.types import Endpoint, Instant

MAC_BYTES = 16
MACS_BYTES = 2 * MAC_BYTES
"""What stands at the end of an initiation and of a response."""

NO_MAC = bytes(MAC_BYTES)
"""mac2 of who has no cookie."""

COOKIE_BYTES = 16
COOKIE_SECONDS = 120.0
"""A cookie's secret is replaced so often (WireGuard); the one before it holds as long again, so
that a cookie is good for 120 s at least."""

_NONCE_BYTES = 12
REPLY_BYTES = HEADER_BYTES + _NONCE_BYTES + COOKIE_BYTES + 16
"""Length of a cookie reply: 68, shorter than anything it may answer."""


def mac(key: bytes, data: bytes | memoryview) -> bytes:
    """Return the keyed hash of 16 bytes (BLAKE2s, RFC 7693): 1.4 us for 600 bytes."""
    return blake2s(data, key=key, digest_size=MAC_BYTES).digest()


def mac1_key(static_public: bytes) -> bytes:
    """Return the key of mac1 on what is sent to the owner of this public key."""
    return sha256(b"dmmp mac1" + static_public).digest()


def _reply_cipher(static_public: bytes) -> AESGCM:
    return AESGCM(sha256(b"dmmp cookie" + static_public).digest())


def with_macs(message: bytes, key: bytes, cookie: bytes | None) -> bytes:
    """Put mac1 and mac2 behind a message; without a cookie mac2 is zero."""
    message += mac(key, message)
    return message + (NO_MAC if cookie is None else mac(cookie, message))


def mac1_of(datagram: bytes) -> bytes:
    """Return the mac1 of an initiation or a response."""
    return datagram[-MACS_BYTES:-MAC_BYTES]


def where(sender: Endpoint) -> bytes:
    """Return what a cookie is a mac of: address and port as they stand in a packet."""
    return sender.address.packed + sender.port.to_bytes(2, "big")


_REPLY_HEAD = HEADER.pack(VERSION, 0, Option.COOKIE_REPLY, 0, 0, 0, 0, REPLY_BYTES - HEADER_BYTES)
_INDEX_AT, _INDEX_END = 12, 16


def _reply_head(index: int) -> bytes:
    return _REPLY_HEAD[:_INDEX_AT] + index.to_bytes(4, "big") + _REPLY_HEAD[_INDEX_END:]


def read_reply(datagram: bytes, static_public: bytes, index: int, mac1: bytes) -> bytes:
    """Return the cookie in the reply that the owner of the public key gave to this mac1.

    Raise `AuthenticationError` if the reply is another's or to something else.
    """
    nonce_end = HEADER_BYTES + _NONCE_BYTES
    if len(datagram) != REPLY_BYTES or datagram[:HEADER_BYTES] != _reply_head(index):
        raise AuthenticationError("no cookie reply")
    try:
        return _reply_cipher(static_public).decrypt(
            datagram[HEADER_BYTES:nonce_end], datagram[nonce_end:], mac1
        )
    except InvalidTag as error:
        raise AuthenticationError("a cookie reply that does not open") from error


class Cookies:
    """What this host asks of callers: mac1 always, mac2 when `Associations` says so.

    The only state is two secrets of 32 bytes. Under a flood all of this is done for each datagram,
    so the keyed hashes are begun once, and datagrams may be views of a buffer.
    """

    def __init__(self, static_public: bytes, random: Callable[[int], bytes]) -> None:
        self.key = mac1_key(static_public)
        self._mac1 = _keyed(self.key)
        self._cipher = _reply_cipher(static_public)
        self._random = random
        self._secret = self._earlier = _keyed(random(32))
        self._since: Instant = float("-inf")

    def mac1_holds(self, datagram: bytes | memoryview) -> bool:
        """Tell whether the sender knows this host's public key; nothing dearer comes before."""
        return compare_digest(
            datagram[-MACS_BYTES:-MAC_BYTES], _digest(self._mac1, datagram[:-MACS_BYTES])
        )

    def mac2_holds(self, datagram: bytes, sender: Endpoint, now: Instant) -> bool:
        """Tell whether the sender has a cookie of this host for the address it sends from."""
        return self.mac2_holds_at(datagram, where(sender), now)

    def mac2_holds_at(self, datagram: bytes | memoryview, place: bytes, now: Instant) -> bool:
        """Tell the same of a sender of whom only `where` is known."""
        given = datagram[-MAC_BYTES:]
        if given == NO_MAC:
            return False
        self._turn(now)
        covered = datagram[:-MAC_BYTES]
        return any(
            compare_digest(given, mac(_digest(secret, place), covered))
            for secret in (self._secret, self._earlier)
        )

    def reply(self, datagram: bytes, sender: Endpoint, index: int, now: Instant) -> bytes:
        """Make the cookie reply to a datagram whose mac1 holds; `index` is its sender's."""
        return self.reply_at(datagram, where(sender), index, now)

    def reply_at(
        self, datagram: bytes | memoryview, place: bytes, index: int, now: Instant
    ) -> bytes:
        """Make the same for a sender of whom only `where` is known."""
        self._turn(now)
        nonce = self._random(_NONCE_BYTES)
        cookie, mac1 = _digest(self._secret, place), datagram[-MACS_BYTES:-MAC_BYTES]
        return _reply_head(index) + nonce + self._cipher.encrypt(nonce, cookie, mac1)

    def _turn(self, now: Instant) -> None:
        """Replace the secret if it is old; one nobody asked for in between is worth nothing."""
        age = now - self._since
        if age < COOKIE_SECONDS:
            return
        fresh = _keyed(self._random(32))
        self._earlier = self._secret if age < 2 * COOKIE_SECONDS else fresh
        self._secret, self._since = fresh, now


def _keyed(key: bytes) -> blake2s:
    return blake2s(key=key, digest_size=MAC_BYTES)


def _digest(begun: blake2s, data: bytes | memoryview) -> bytes:
    """Return the mac of data under the key that a hash was begun with."""
    made = begun.copy()
    made.update(data)
    return made.digest()
