"""`inspection.describe`, behind `dmmp decode`: rows that cover the datagram, and never raises."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import DecodeError
from dmmp.inspection import describe
from dmmp.messages import decode
from tests.fuzz.seeds import message_vectors
from tests.fuzz.target import Target


def test_one(data: bytes) -> None:
    """Describe, and compare with what `decode` says and with the bytes."""
    found = describe(data)
    try:
        decode(data)
    except DecodeError as error:
        assert str(found.fault) == str(error)
    else:
        assert found.fault is None and found.name
    assert "".join(row.octets for row in found.rows) == data.hex()
    at = 0
    for row in found.rows:
        assert row.offset == at
        at += len(row.octets) // 2


def seeds() -> Iterable[bytes]:
    return message_vectors()


TARGET = Target(
    "describing",
    "describe raises nothing, agrees with decode, and its rows are the datagram's bytes in order",
    test_one,
    seeds,
)
