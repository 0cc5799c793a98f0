"""Optional elements: `parse_tlvs` of any bytes gives what builds the same bytes, or refuses."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import DecodeError
from dmmp.messages.schema import Tlv
from dmmp.messages.tlv import MAXIMUM_TLVS, build_tlvs, parse_tlvs
from tests.fuzz.target import Target

BASE = 24


def parse(data: bytes) -> tuple[Tlv, ...] | None:
    """Parse; None if refused."""
    try:
        return parse_tlvs(data, BASE)
    except DecodeError as error:
        assert BASE <= error.offset <= BASE + len(data), error.offset
    return None


def test_one(data: bytes) -> None:
    found = parse(data)
    if found is not None:
        assert len(found) <= MAXIMUM_TLVS
        assert build_tlvs(found) == data


def seeds() -> Iterable[bytes]:
    name, padding = Tlv(0x8002, b"demo host"), Tlv(0x8001, bytes(5))
    unknown = Tlv(0x9ABC, b"\1\2\3\4")
    yield build_tlvs((name,))
    yield build_tlvs((padding, name, unknown))
    yield build_tlvs((unknown,) * MAXIMUM_TLVS)
    yield build_tlvs((Tlv(0x1234, b"refused"),))


TARGET = Target(
    "tlvs",
    "parse_tlvs gives elements that build the same bytes, or DecodeError",
    test_one,
    seeds,
    parse,
)
