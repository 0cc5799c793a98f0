"""Sealed data: AES-256-GCM once at the origin, opened where it is delivered (Decision 8, slide 23).

Origin, sequence number and reserved word of the header are the nonce, the whole header is
associated data; so relays pass sealed packets on as they are. Who gets the epoch secrets, and when
they change, is in `key_server` and `key_member`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from dmmp.messages.header import HEADER_BYTES
from dmmp.types import Instant

TAG_BYTES = 16

NONCE = slice(8, 20)
"""Where in the header the nonce stands: origin, sequence number, reserved word."""

MOST_EPOCHS = 4
"""Epochs of an origin whose secrets are held: the present one, and former ones for late packets."""

MOST_ORIGINS = 64
"""Origins whose secrets are held; the one installed longest ago goes first."""

KEEP_SECONDS = 2.0
"""So long the secret of a former epoch is held: as long as caches repair."""

MOST_ERASURES = 1024
"""Secrets that wait to be erased."""

MOST_CIPHERS = 1024
"""Ciphers that are kept ready; the rest are derived when they are needed."""

BLOCK_BITS = 20
"""Packets under one key, as a power of two: RFC 9001 §6.6 allows 2^23 for AES-GCM."""

_SEQUENCE = slice(12, 16)
_TOP = slice(12, 14)
"""The sequence number's first 16 bits: while they stay, the block does."""


class DataKeys:
    """Epoch secrets of origins (32 bytes each), and the ciphers that follow from them.

    `key_log` gets a line for each secret, with which captures can be opened: `DMMP_EPOCH`, session,
    origin, epoch (8 bits) and secret, all in hexadecimal.
    """

    def __init__(self) -> None:
        self.key_log: Callable[[str], None] | None = None
        self._erasures: deque[tuple[Instant, int, int]] = deque()
        self._guessed: set[tuple[int, int]] = set()
        self._rejected: dict[tuple[int, int], bytes] = {}
        self._secrets: dict[int, dict[int, bytes]] = {}
        self._ciphers: dict[tuple[int, int, int, int], AESGCM] = {}

    def __len__(self) -> int:
        return sum(len(epochs) for epochs in self._secrets.values())

    def install(
        self, origin_key: int, epoch: int, secret: bytes, now: Instant, certain: bool = True
    ) -> bool:
        """Hold the secret of an origin's epoch (8 bits); of too many the oldest is forgotten.

        Those of former epochs are erased in a while (`KEEP_SECONDS`), by the next call of this or
        of `erase_old`. Not `certain` is a guess: one that was wrong before, or that is about a
        secret already held, is not taken up; tell whether it was.
        """
        self.erase_old(now)
        name = (origin_key, epoch)
        if not certain and (self.has(*name) or self._rejected.get(name) == secret):
            return False
        epochs = self._secrets.pop(origin_key, {})
        self._secrets[origin_key] = epochs
        held = epochs.pop(epoch, None)
        if held is not None and held != secret:
            self._drop_ciphers(origin_key, epoch)
        if held != secret and self.key_log is not None:
            session, origin = origin_key >> 32, origin_key & 0xFFFFFFFF
            self.key_log(f"DMMP_EPOCH {session:08x} {origin:08x} {epoch:02x} {secret.hex()}")
        if certain:
            self._guessed.discard((origin_key, epoch))
            for former in epochs:
                self._erasures.append((now + KEEP_SECONDS, origin_key, former))
            while len(self._erasures) > MOST_ERASURES:
                self.erase(*self._erasures.popleft()[1:])
        else:
            self._guessed.add((origin_key, epoch))
        epochs[epoch] = secret
        if len(epochs) > MOST_EPOCHS:
            self.erase(origin_key, next(iter(epochs)))
        if len(self._secrets) > MOST_ORIGINS:
            oldest = next(iter(self._secrets))
            for each in list(self._secrets[oldest]):
                self.erase(oldest, each)
        return True

    def reject(self, origin_key: int, epoch: int) -> None:
        """Forget a guess that was wrong, and do not make it again."""
        secret = self._secrets.get(origin_key, {}).get(epoch)
        if secret is not None:
            self._rejected[origin_key, epoch] = secret
            if len(self._rejected) > MOST_ERASURES:
                del self._rejected[next(iter(self._rejected))]
        self.erase(origin_key, epoch)

    def erase(self, origin_key: int, epoch: int) -> None:
        """Forget a secret and all that follows from it."""
        epochs = self._secrets.get(origin_key, {})
        epochs.pop(epoch, None)
        self._guessed.discard((origin_key, epoch))
        if not epochs:
            self._secrets.pop(origin_key, None)
        self._drop_ciphers(origin_key, epoch)

    def erase_old(self, now: Instant) -> None:
        """Forget what has been of a former epoch long enough."""
        while self._erasures and self._erasures[0][0] <= now:
            _, origin_key, epoch = self._erasures.popleft()
            if next(reversed(self._secrets.get(origin_key, {0: b""}))) != epoch:
                self.erase(origin_key, epoch)

    def is_certain(self, origin_key: int, epoch: int) -> bool:
        """Tell whether a secret is no guess."""
        return (origin_key, epoch) not in self._guessed

    def make_certain(self, origin_key: int, epoch: int) -> None:
        """Know that a guess was right."""
        self._guessed.discard((origin_key, epoch))

    def has(self, origin_key: int, epoch: int) -> bool:
        """Tell whether this epoch's secret is held."""
        return epoch in self._secrets.get(origin_key, ())

    def cipher(self, origin_key: int, reserved: int, sequence: int) -> AESGCM | None:
        """Return the cipher of a packet, by its header's fields; None without the secret."""
        epoch, channel = reserved >> 16 & 0xFF, reserved & 0xFFFF
        name = (origin_key, epoch, channel, sequence >> BLOCK_BITS)
        cipher = self._ciphers.get(name)
        if cipher is None:
            secret = self._secrets.get(origin_key, {}).get(epoch)
            if secret is None:
                return None
            if len(self._ciphers) >= MOST_CIPHERS:
                del self._ciphers[next(iter(self._ciphers))]
            cipher = self._ciphers[name] = AESGCM(data_key(secret, *name))
        return cipher

    def _drop_ciphers(self, origin_key: int, epoch: int) -> None:
        for name in [name for name in self._ciphers if name[:2] == (origin_key, epoch)]:
            del self._ciphers[name]


def data_key(secret: bytes, origin_key: int, epoch: int, channel: int, block: int) -> bytes:
    """Derive the key of 2^20 sequence numbers of a channel (HKDF-Expand, RFC 5869; 32 bytes)."""
    info = b"dmmp data" + origin_key.to_bytes(8) + bytes((epoch,))
    info += channel.to_bytes(2) + block.to_bytes(2)
    return HKDFExpand(hashes.SHA256(), 32, info).derive(secret)


def sealed(cipher: AESGCM, head: bytes, payload: bytes | memoryview) -> bytes:
    """Seal one packet: the header as it goes out, ciphertext and tag behind it."""
    return head + cipher.encrypt(head[NONCE], payload, head)


def opened(
    keys: DataKeys, origin_key: int, reserved: int, data: bytes | memoryview, stride: int, tail: int
) -> bytes | None:
    """Open a burst whose segments differ in sequence number only; headers stay in front.

    `tail` bytes behind each tag do not belong to the ciphertext. The segments of the result are
    `TAG_BYTES + tail` shorter. None if a tag does not hold, or the key is not there.
    """
    whole = (len(data) - 1) // stride
    last = len(data) - whole * stride
    if min(last, stride) < HEADER_BYTES + TAG_BYTES + tail:
        return None
    parts = [
        *(_layout(stride, whole, tail).unpack_from(data) if whole else ()),
        *_layout(last, 1, tail).unpack_from(data, whole * stride),
    ]
    top = decrypt = None
    try:
        for at in range(0, len(parts), 2):
            head = parts[at]
            if head[_TOP] != top:
                top = head[_TOP]
                cipher = keys.cipher(origin_key, reserved, int.from_bytes(head[_SEQUENCE]))
                if cipher is None:
                    return None
                decrypt = cipher.decrypt
            assert decrypt is not None
            parts[at + 1] = decrypt(head[NONCE], parts[at + 1], head)
    except InvalidTag:
        return None
    return b"".join(parts)


@lru_cache(maxsize=256)
def _layout(stride: int, count: int, tail: int) -> Struct:
    # Cut at once into headers and sealed payloads: a slice for each takes three times as long.
    return Struct(f"{HEADER_BYTES}s{stride - HEADER_BYTES - tail}s{tail}x" * count)
