"""A target with the fault that fuzzing is to find: its parser lets a `KeyError` out.

It is not in the registry; tests show with it that a finding is one.
"""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import DecodeError, DecodeReason
from tests.fuzz.target import Target

KINDS = {0: "nothing", 1: "something"}


def parse(data: bytes) -> str:
    """Read a kind; refuse the empty input properly, and an unknown kind not."""
    if not data:
        raise DecodeError(DecodeReason.TRUNCATED, 0)
    return KINDS[data[0] >> 6]


def test_one(data: bytes) -> None:
    """Parse, and expect no more than a `DecodeError`."""
    try:
        parse(data)
    except DecodeError:
        pass


def seeds() -> Iterable[bytes]:
    return (b"\x00", b"\x40 and so on")


TARGET = Target("broken", "lets out a KeyError", test_one, seeds)
