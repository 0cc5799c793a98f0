"""The two datagrams of a handshake, whole: header, Noise message, payload, macs.

Only bytes: who may be answered, and what is remembered, is `associations`' business. The same
bytes are declared for tools in `messages.security`. Slide 23.
"""

from __future__ import annotations

from struct import Struct, error
from typing import NamedTuple

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.messages.options import Option
from dmmp.security.cookies import MACS_BYTES, with_macs
from dmmp.security.noise import (
    KEY_BYTES,
    SEALED_STATIC_BYTES,
    TAG_BYTES,
    Initiator,
    KeyPair,
    Keys,
    Responder,
)

INITIATION_LEAST = 600
"""A shorter initiation is not looked at: the response, with a certificate, would be longer."""

INITIATION_FILLED = 820
"""Initiations are filled up to so many bytes, so that the longest certificate of the other end
(712 bytes) leaves the response shorter."""

MAXIMUM_CREDENTIAL_BYTES = 1024
"""Longest credential (design 2.2: check order, length first)."""

_SAID = Struct("!QQH")
_LENGTH = Struct("!H")
_WORDS = Struct("!II").unpack_from
_SOURCE_OFFSET = 8
_INITIATION_FIXED = HEADER_BYTES + KEY_BYTES + SEALED_STATIC_BYTES + TAG_BYTES + MACS_BYTES
_RESPONSE_FIXED = HEADER_BYTES + KEY_BYTES + _LENGTH.size + TAG_BYTES + MACS_BYTES

INITIATION_MOST = _INITIATION_FIXED + _SAID.size + MAXIMUM_CREDENTIAL_BYTES
RESPONSE_LEAST = _RESPONSE_FIXED
RESPONSE_MOST = _RESPONSE_FIXED + MAXIMUM_CREDENTIAL_BYTES

PREFIX_BYTES = 8


def prefix(option: Option) -> bytes:
    """Return the first 8 bytes of every datagram of this option: session and tree version are 0."""
    return HEADER.pack(VERSION, 0, option, 0, 0, 0, 0, 0)[:PREFIX_BYTES]


def indexes(datagram: bytes | memoryview) -> tuple[int, int]:
    """Return `source` and `sequence` of a datagram that has a header."""
    source, sequence = _WORDS(datagram, _SOURCE_OFFSET)
    return source, sequence


class Said(NamedTuple):
    """What an initiator says of itself: when (microseconds since 1970), which start of it, who."""

    timestamp: int
    instance: int
    credential: bytes


def response_bytes(credential: bytes) -> int:
    """Return how long a response with this credential is."""
    return _RESPONSE_FIXED + len(credential)


def write_initiation(
    noise: Initiator, index: int, said: Said, mac1_key: bytes, cookie: bytes | None
) -> bytes:
    """Make an initiation; raise `AuthenticationError` if the responder's key is none."""
    payload = _SAID.pack(said.timestamp, said.instance, len(said.credential)) + said.credential
    payload = payload.ljust(INITIATION_FILLED - _INITIATION_FIXED, b"\0")
    length = _INITIATION_FIXED - HEADER_BYTES + len(payload)
    head = HEADER.pack(VERSION, 0, Option.HANDSHAKE_INITIATION, 0, index, 0, 0, length)
    return with_macs(head + noise.write(payload), mac1_key, cookie)


def read_initiation(datagram: bytes, noise: Responder) -> Said:
    """Read an initiation whose mac1 holds; `noise.remote` is then its sender's static key.

    Raise `AuthenticationError` if it does not open, another `DecodeError` if it says nonsense.
    """
    payload = noise.read(datagram[HEADER_BYTES:-MACS_BYTES])
    try:
        timestamp, instance, length = _SAID.unpack_from(payload)
    except error as fault:
        raise DecodeError(DecodeReason.TRUNCATED, HEADER_BYTES, "initiation") from fault
    end = _SAID.size + length
    if length > MAXIMUM_CREDENTIAL_BYTES or end > len(payload):
        raise DecodeError(DecodeReason.LENGTH, HEADER_BYTES, "credential")
    if any(payload[end:]):
        raise DecodeError(DecodeReason.TRAILING, HEADER_BYTES, "padding")
    return Said(timestamp, instance, payload[_SAID.size : end])


def write_response(
    noise: Responder,
    indexes: tuple[int, int],
    credential: bytes,
    ephemeral: KeyPair,
    mac1_key: bytes,
    cookie: bytes | None,
) -> tuple[bytes, Keys]:
    """Make the response from the first of the indexes to the second, and the keys now agreed.

    Raise `AuthenticationError` if the initiator's ephemeral key is none.
    """
    message, keys = noise.write(_LENGTH.pack(len(credential)) + credential, ephemeral)
    length = len(message) + MACS_BYTES
    head = HEADER.pack(VERSION, 0, Option.HANDSHAKE_RESPONSE, 0, *indexes, 0, length)
    return with_macs(head + message, mac1_key, cookie), keys


def read_response(datagram: bytes, noise: Initiator) -> tuple[bytes, Keys]:
    """Read a response whose mac1 holds: its sender's credential, and the keys now agreed.

    Raise `AuthenticationError` if it does not open, another `DecodeError` if it says nonsense.
    """
    payload, keys = noise.read(datagram[HEADER_BYTES:-MACS_BYTES])
    credential = payload[_LENGTH.size :]
    if payload[: _LENGTH.size] != _LENGTH.pack(len(credential)):
        raise DecodeError(DecodeReason.LENGTH, HEADER_BYTES, "credential")
    return credential, keys
