"""`forwarding.burst.cut` against a look at each segment by itself; `split` and `group` as well."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.forwarding.burst import (
    HEAD,
    MAXIMUM_BURST_BYTES,
    MAXIMUM_SEGMENTS,
    Run,
    cut,
    group,
    split,
)
from dmmp.forwarding.runs import listed
from dmmp.messages.header import HEADER_BYTES
from tests.forwarding.build import datagram
from tests.fuzz.target import Target

Segment = tuple[int, int, int, int, bytes]
"""Word, origin key, reserved word, sequence number, and the whole datagram."""

MOST_BYTES = 8192


def naive(data: bytes, stride: int) -> list[Segment | None]:
    """Look at each segment; None is no datagram."""
    found: list[Segment | None] = []
    for at in range(0, len(data), stride):
        segment = data[at : at + stride]
        found.append(None)
        if len(segment) >= HEADER_BYTES:
            word, origin_key, sequence, reserved, length = HEAD.unpack_from(segment)
            if length == len(segment) - HEADER_BYTES:
                found[-1] = word, origin_key, reserved, sequence, segment
    return found


def segments(run: Run) -> list[Segment]:
    """Take a run apart again."""
    numbers, datagrams = listed(run), split(run.data, run.stride)
    assert run.packets == len(numbers) == len(datagrams) <= MAXIMUM_SEGMENTS
    assert len(run.data) <= MAXIMUM_BURST_BYTES and run.first == numbers[0]
    return [
        (run.word, run.origin_key, run.reserved, number, bytes(one))
        for number, one in zip(numbers, datagrams, strict=True)
    ]


def test_one(data: bytes) -> None:
    """Read a stride (16 bits) and a burst."""
    stride, body = int.from_bytes(data[:2], "big"), data[2:]
    runs, malformed = cut(body, stride)
    if stride < HEADER_BYTES or not body:
        assert not runs and malformed == 1
        return
    wanted = naive(body, stride)
    sound = [segment for segment in wanted if segment is not None]
    assert [segment for run in runs for segment in segments(run)] == sound
    assert malformed == len(wanted) - len(sound)
    # As few runs as the kinds of segments allow.
    kinds = [None if segment is None else segment[:3] for segment in wanted]
    changes = sum(
        kind is not None and kind != before
        for before, kind in zip([None, *kinds], kinds, strict=False)
    )
    assert len(runs) <= changes + len(wanted) // MAXIMUM_SEGMENTS
    view, from_view = memoryview(body), cut(memoryview(body), stride)
    assert from_view[1] == malformed and len(from_view[0]) == len(runs)
    pieces = [bytes(one) for one in split(view, stride)]
    assert [bytes(one) for laid in group(pieces) for one in split(*laid)] == pieces


def parse(data: bytes) -> object:
    """Cut alone."""
    return cut(data[2:], int.from_bytes(data[:2], "big"))


def seeds() -> Iterable[bytes]:
    for payload, count in ((b"", 3), (b"12345678", 5), (b"x", 64), (b"y", 70)):
        row = b"".join(datagram(100 + n, payload) for n in range(count))
        yield (HEADER_BYTES + len(payload)).to_bytes(2, "big") + row
    mixed = [datagram(n * n, b"abcd", channel=3 + n // 4) for n in range(12)]
    yield (28).to_bytes(2, "big") + b"".join(mixed) + datagram(200, b"a")
    wrap = b"".join(datagram(n % 2**32, b"abcd") for n in range(2**32 - 3, 2**32 + 3))
    yield (28).to_bytes(2, "big") + wrap
    yield (10).to_bytes(2, "big") + wrap


TARGET = Target(
    "bursts",
    "the runs that cut gives are exactly the datagrams of a burst, in order; it raises nothing",
    test_one,
    seeds,
    parse,
    MOST_BYTES,
)
