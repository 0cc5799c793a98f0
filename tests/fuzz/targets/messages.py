"""`messages.decode` of any datagram: the same bytes again when encoded, or `DecodeError`."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages import REGISTRY, decode, encode
from dmmp.messages.header import HEADER_BYTES
from tests.fuzz.drawn import World, message
from tests.fuzz.feed import Feed
from tests.fuzz.seeds import message_vectors
from tests.fuzz.target import Target
from tests.roles.stage import RP, SESSION

MOST_BYTES = 12_000
"""The longest lists that a message may have."""


def parse(datagram: bytes) -> DecodeReason | None:
    """Decode; tell why it was refused."""
    try:
        decode(datagram)
    except DecodeError as error:
        return error.reason
    return None


def test_one(data: bytes) -> None:
    """Decode as it came and, if that was all that was wrong, with the length that there is."""
    if check(data) is DecodeReason.LENGTH:
        check(data[:20] + (len(data) - HEADER_BYTES).to_bytes(4, "big") + data[HEADER_BYTES:])


def check(datagram: bytes) -> DecodeReason | None:
    """Decode and encode again; tell why it was refused."""
    try:
        message = decode(datagram)
    except DecodeError as error:
        assert 0 <= error.offset <= len(datagram), error.offset
        return error.reason
    assert encode(message) == datagram
    assert decode(memoryview(datagram)) == message
    hash(message)
    return None


def seeds() -> Iterable[bytes]:
    yield from message_vectors()
    # As long as a message of the class can be: every list is full.
    for cls in REGISTRY.values():
        feed = Feed(bytes(1) + bytes((0xF9,)) * (1 << 15))
        yield encode(message(feed, cls, World((RP,), SESSION), 1, 1))


TARGET = Target(
    "messages",
    "decode gives a message that encodes to the same bytes, or DecodeError",
    test_one,
    seeds,
    parse,
    MOST_BYTES,
)
