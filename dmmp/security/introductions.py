"""Introductions: the keys of the hosts that a control message names, behind it under its seal.

Nobody can be spoken to before his static key is known (Noise IK), and hosts learn of each other by
messages; so whoever names a host gives its key along. A wrong one costs a handshake that nobody
answers, no more: who answers shows a certificate for the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages.common import HostRecord
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.schema import Message
from dmmp.types import NO_HOST, NOWHERE, Endpoint, HostId

MOST_INTRODUCED = 64
"""Hosts introduced by one message: it names no more that a receiver would speak to."""

KEY_BYTES = 32
_ENTRY_BYTES = 1 + KEY_BYTES
_LENGTH = slice(20, 24)


def endpoints_in(message: Message) -> Iterator[Endpoint]:
    """List the endpoints that a message names, in the order of its fields; none twice in a row."""
    for each in _values(message):
        if type(each) is HostRecord:
            each = each.endpoint
        if type(each) is Endpoint and each.port and each != NOWHERE:
            yield each


def hosts_in(message: Message) -> Iterator[tuple[Endpoint, HostId]]:
    """List where a message says that hosts are, and which."""
    for each in _values(message):
        if type(each) is HostRecord and each.endpoint.port and each.host != NO_HOST:
            yield each.endpoint, each.host


def _values(message: Message) -> Iterator[object]:
    for name in message.PACKED.names:
        value = getattr(message, name)
        yield from value if type(value) is tuple else (value,)


def introduced(
    datagram: bytes, message: Message, key_of: Callable[[Endpoint], bytes | None]
) -> bytes:
    """Put behind a message's datagram the keys that are known of hosts it names."""
    parts = [datagram]
    told: set[Endpoint] = set()
    for index, endpoint in enumerate(endpoints_in(message)):
        if endpoint in told or index > 0xFF or len(parts) > MOST_INTRODUCED:
            continue
        key = key_of(endpoint)
        if key is not None:
            told.add(endpoint)
            parts.append(bytes((index,)) + key)
    return b"".join(parts)


def split_introductions(plaintext: bytes) -> tuple[bytes, bytes]:
    """Part a message's datagram, by the length in its header, from what stands behind it."""
    if len(plaintext) < HEADER_BYTES:
        raise DecodeError(DecodeReason.TRUNCATED, len(plaintext), "shorter than the header")
    end = HEADER_BYTES + int.from_bytes(plaintext[_LENGTH])
    rest = plaintext[end:]
    if len(rest) % _ENTRY_BYTES or len(rest) > MOST_INTRODUCED * _ENTRY_BYTES:
        raise DecodeError(DecodeReason.TRAILING, end, "no introductions")
    return plaintext[:end], rest


def introductions(message: Message, rest: bytes) -> Iterator[tuple[Endpoint, bytes]]:
    """Read which key is said to be whose."""
    if not rest:
        return
    named = list(endpoints_in(message))
    for at in range(0, len(rest), _ENTRY_BYTES):
        if rest[at] < len(named):
            yield named[rest[at]], rest[at + 1 : at + _ENTRY_BYTES]
