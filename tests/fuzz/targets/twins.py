"""The packed twin of every message body against its construct declaration (Decision 5).

The first byte chooses the message, the rest is its body. Both read the same values from the same
bytes and stop at the same place, or both refuse for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import construct

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages import REGISTRY
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.schema import Message
from dmmp.messages.wiretypes import InvalidValue
from tests.fuzz.seeds import message_vectors
from tests.fuzz.target import Target

CLASSES = tuple(REGISTRY[option] for option in sorted(REGISTRY))

Found = tuple[list[object], int] | DecodeReason


def declared(cls: type[Message], body: bytes) -> Found:
    """Read by the declaration."""
    stream = BytesIO(body)
    try:
        parsed = cls.BODY.parse_stream(stream)
    except InvalidValue:
        return DecodeReason.VALUE
    except construct.StreamError:
        return DecodeReason.TRUNCATED
    return [getattr(parsed, name) for name in cls.PACKED.names], stream.tell()


def packed(cls: type[Message], body: bytes) -> Found:
    """Read by the packed twin."""
    try:
        return cls.PACKED.parse(body, 0)
    except DecodeError as error:
        assert 0 <= error.offset <= len(body), error.offset
        return error.reason


def test_one(data: bytes) -> None:
    if data:
        cls, body = CLASSES[data[0] % len(CLASSES)], data[1:]
        assert packed(cls, body) == declared(cls, body), cls.__name__


def parse(data: bytes) -> object:
    """Read by the packed twin alone."""
    return packed(CLASSES[data[0] % len(CLASSES)], data[1:]) if data else None


def seeds() -> Iterable[bytes]:
    for datagram in message_vectors():
        cls = REGISTRY[int.from_bytes(datagram[2:4], "big")]
        yield bytes((CLASSES.index(cls),)) + datagram[HEADER_BYTES:]


TARGET = Target(
    "twins",
    "packed reader and construct declaration read the same, or refuse for the same reason",
    test_one,
    seeds,
    parse,
)
