"""Key logs: what opens a capture again, for analysis, as SSLKEYLOGFILE does for TLS.

Each line of a log names what it opens: `DMMP_ASSOCIATION index key index key`, each index with the
key for what is addressed to it, and `DMMP_EPOCH session origin epoch secret`, all hexadecimal.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import DecodeError, UsageError
from dmmp.messages.header import (
    CHANNEL_MASK,
    FLAG_HEARTBEAT,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER_BYTES,
    read_header,
)
from dmmp.messages.options import Option
from dmmp.security.association import is_forwarders
from dmmp.security.data_keys import DataKeys, opened
from dmmp.security.introductions import split_introductions
from dmmp.security.signing import SIGNATURE_BYTES

ASSOCIATION, EPOCH = "DMMP_ASSOCIATION", "DMMP_EPOCH"

MOST_KEYS = 100_000
"""Lines of a log that are read; further ones are too many for any capture."""


class KeyLog:
    """The keys of a log; `opened` gives what stands under a seal."""

    def __init__(self, text: str) -> None:
        self._associations: dict[int, AESGCM] = {}
        self._data = DataKeys()
        self._epochs: dict[tuple[int, int], list[bytes]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if number > MOST_KEYS:
                raise UsageError(f"a key log of more than {MOST_KEYS} lines")
            try:
                self._take(line.split())
            except (ValueError, IndexError):
                raise UsageError(f"line {number} of the key log is none that dmmp writes") from None

    def _take(self, words: list[str]) -> None:
        if not words or words[0].startswith("#"):
            return
        if words[0] == ASSOCIATION:
            _, *rest = words
            for index, key in ((rest[0], rest[1]), (rest[2], rest[3])):
                self._associations[int(index, 16)] = AESGCM(bytes.fromhex(key))
        elif words[0] == EPOCH:
            _, session, origin, epoch, secret = words
            name = (int(session, 16) << 32 | int(origin, 16), int(epoch, 16) & 0xFF)
            # Eight bits come round again; each secret of theirs is tried.
            self._epochs.setdefault(name, []).append(bytes.fromhex(secret))
        else:
            raise ValueError(words[0])

    def opened(self, datagram: bytes) -> bytes | None:
        """Open a datagram: a control message, or data with its header in front; None if it cannot.

        What is not sealed at all is none of it.
        """
        try:
            header = read_header(datagram)
        except DecodeError:
            return None
        if header.option in (Option.SEALED, Option.HOP_SEALED):
            found = self._control(datagram, header.source, header.sequence, header.reserved)
            if found is not None and is_forwarders(found):
                return self.opened(found) or found
            return found
        sealed = header.option == Option.DATA and header.reserved & FLAG_SEALED
        if not sealed or header.reserved & (FLAG_MANIFEST | FLAG_HEARTBEAT):
            return None
        key = header.session << 32 | header.source
        epoch = header.reserved >> 16 & 0xFF
        tail = SIGNATURE_BYTES if header.reserved & FLAG_SIGNED else 0
        for secret in self._epochs.get((key, epoch), ()):
            self._data.install(key, epoch, secret, 0.0)
            plain = opened(self._data, key, header.reserved, datagram, len(datagram), tail)
            if plain is not None:
                return _as_data(plain, header.reserved & CHANNEL_MASK)
        return None

    def _control(self, datagram: bytes, index: int, low: int, high: int) -> bytes | None:
        cipher = self._associations.get(index)
        if cipher is None:
            return None
        nonce = bytes(4) + (high << 32 | low).to_bytes(8)
        try:
            plain = cipher.decrypt(nonce, datagram[HEADER_BYTES:], datagram[:HEADER_BYTES])
            return plain if is_forwarders(plain) else split_introductions(plain)[0]
        except (InvalidTag, DecodeError):
            return None


def _as_data(plain: bytes, channel: int) -> bytes:
    """Give an opened packet as it would have been sent without security."""
    size = (len(plain) - HEADER_BYTES).to_bytes(4)
    return plain[:16] + channel.to_bytes(4) + size + plain[HEADER_BYTES:]
