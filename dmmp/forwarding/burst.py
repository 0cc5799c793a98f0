"""The units of the data plane: bursts in, transmits and deliveries out, never single packets.

A burst is consecutive datagrams of one sender in one buffer at a fixed stride; only the last may be
shorter. That is what the kernel's UDP GRO and GSO give and take. The rules of grouping and cutting
are here and nowhere else; nothing here decides where a packet goes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.local import LocalMessage
from dmmp.types import Endpoint, Instant, IpAddress

MAXIMUM_SEGMENTS = 64
"""Segments in one burst: the kernel's limit for UDP_SEGMENT."""

MAXIMUM_BURST_BYTES = 65507
"""Bytes in one burst: the kernel's limit for one send."""

Octets = bytes | memoryview
"""Memory that nobody writes to any more."""


class Burst(NamedTuple):
    """Received datagrams of one sender: `data` holds them `stride` bytes apart.

    `sealed` tells that they came sealed by that host (Decision 74).
    """

    data: bytes | memoryview
    stride: int
    sender: Endpoint
    sealed: bool = False


class Transmit(NamedTuple):
    """Datagrams to send: like a burst, with the receiver in place of the sender."""

    data: bytes | memoryview
    stride: int
    to: Endpoint


class Delivery(NamedTuple):
    """Datagrams of one channel for this host's programs: a burst, headers included."""

    data: bytes | memoryview
    stride: int
    group: IpAddress


@dataclass(frozen=True, slots=True)
class Silent:
    """A steady flow from upstream stopped at `since` (Decision 11)."""

    since: Instant


@dataclass(slots=True)
class Outcome:
    """What the forwarder wants done, in order; `notes` are for the host."""

    transmits: list[Transmit] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    notes: list[LocalMessage] = field(default_factory=list)


class Run(NamedTuple):
    """Segments that differ in nothing but sequence number and payload: what one decision covers.

    `word` is the header's first word (version, tree version, option), `origin_key` its session and
    source in one number, as read from the wire. `numbers` lists the sequence numbers unless they
    simply count up from `first`; then it is empty.
    """

    data: Octets
    stride: int
    packets: int
    word: int
    origin_key: int
    reserved: int
    first: int
    numbers: tuple[int, ...] = ()


HEAD = struct.Struct("!IQIII")
"""The header as the data plane reads it: word, origin key, sequence, reserved, length."""


_TAIL = struct.Struct("!II")
_WORD_BITS = 64
_NUMBERS = 1 << 32


def split(data: Octets, stride: int) -> list[memoryview]:
    """Cut a burst into its datagrams, without copying."""
    view = memoryview(data)
    return [view[at : at + stride] for at in range(0, len(view), stride)]


def group(datagrams: Sequence[Octets]) -> list[tuple[bytes, int]]:
    """Lay datagrams back to back as (data, stride), in their order; the inverse of `split`."""
    sizes = [len(datagram) for datagram in datagrams]
    return [(b"".join(datagrams[begin:end]), sizes[begin]) for begin, end in boundaries(sizes)]


def boundaries(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Say which datagrams of these sizes make one burst each, as (begin, end), in order.

    A burst ends when it is full, before a datagram longer than its first, after a shorter one.
    """
    begin = 0
    total = 0
    for at, size in enumerate(sizes):
        joins = at > begin and 0 < size <= sizes[begin] and sizes[at - 1] == sizes[begin]
        if joins and at - begin < MAXIMUM_SEGMENTS and total + size <= MAXIMUM_BURST_BYTES:
            total += size
            continue
        if at > begin:
            yield begin, at
        begin, total = at, size
    if sizes:
        yield begin, len(sizes)


def part(data: Octets, stride: int, begin: int, end: int) -> Octets:
    """Take the segments from `begin` up to `end` of a burst, without copying."""
    if begin == 0 and end * stride >= len(data):
        return data
    return memoryview(data)[begin * stride : end * stride]


def compact(data: Octets) -> Octets:
    """Copy `data` if it is the lesser part of its buffer, so that keeping it keeps no more.

    Without this a peer could pin 64 KiB of memory with every small segment it repeats.
    """
    if isinstance(data, memoryview) and 2 * len(data) < memoryview(data.obj).nbytes:
        return bytes(data)
    return data


def cut(data: Octets, stride: int) -> tuple[list[Run], int]:
    """Cut a burst into maximal uniform runs; also count the segments that are no datagrams.

    Whatever the bytes are, this raises nothing. A bad segment never costs its neighbours.
    """
    size = len(data)
    if stride < HEADER_BYTES or size == 0:
        return [], 1
    count = -(-size // stride)
    if 1 < count <= MAXIMUM_SEGMENTS and size <= MAXIMUM_BURST_BYTES:
        run = _uniform(data, stride, count)
        if run is not None:
            return [run], 0
    return _cut_slowly(data, stride, count)


@lru_cache(maxsize=512)
def _layout(stride: int, count: int) -> struct.Struct:
    # One unpack for all headers; more fields than one a header would cost more than all the rest.
    between = f"{HEADER_BYTES}s{stride - HEADER_BYTES}x"
    return struct.Struct(between * (count - 1) + f"{HEADER_BYTES}s")


@lru_cache(maxsize=MAXIMUM_SEGMENTS)
def _counting(count: int) -> tuple[int, int]:
    # As one large number, words that count up are the first of them times this, plus that.
    times = sum(1 << _WORD_BITS * at for at in range(count))
    plus = sum(at << _WORD_BITS * (count - 1 - at) for at in range(count))
    return times, plus


def _uniform(data: Octets, stride: int, count: int) -> Run | None:
    """Return the whole burst as one run if that is what it is.

    All headers are compared at once, by their three words of 64 bits: the first and the last are
    the same in all, but for the length of the last datagram; the middle one, origin and sequence
    number, counts up. A look at each field of each header takes twice as long (48 segments: 4 µs).
    """
    last_bytes = len(data) - (count - 1) * stride
    if last_bytes < HEADER_BYTES:
        return None
    words = memoryview(b"".join(_layout(stride, count).unpack_from(data))).cast("Q")
    firsts, tails = words[0::3].tobytes(), words[2::3].tobytes()
    word, origin_key, first, reserved, length = HEAD.unpack_from(data)
    if (
        length != stride - HEADER_BYTES
        or tails[-8:] != _TAIL.pack(reserved, last_bytes - HEADER_BYTES)
        or tails[:-8] != tails[:8] * (count - 1)
        or firsts != firsts[:8] * count
    ):
        return None
    middles = words[1::3].tobytes()
    times, plus = _counting(count)
    numbers: tuple[int, ...] = ()
    # Past the largest number the sum would carry into the origin.
    counting = first + count <= _NUMBERS
    if not counting or int.from_bytes(middles) != int.from_bytes(middles[:8]) * times + plus:
        origin = middles[:4]
        if any(middles[at : at + 4] != origin for at in range(0, len(middles), 8)):
            return None
        numbers = struct.unpack("!" + "4xI" * count, middles)
    return Run(data, stride, count, word, origin_key, reserved, first, numbers)


def _cut_slowly(data: Octets, stride: int, count: int) -> tuple[list[Run], int]:
    runs: list[Run] = []
    malformed = 0
    size = len(data)
    most = max(1, min(MAXIMUM_SEGMENTS, MAXIMUM_BURST_BYTES // stride))
    begin = 0
    alike: tuple[int, int, int] | None = None
    numbers: list[int] = []
    for at in range(count + 1):
        offset = at * stride
        kind: tuple[int, int, int] | None = None
        sequence = 0
        if at < count:
            length = min(stride, size - offset)
            if length >= HEADER_BYTES:
                word, origin_key, sequence, reserved, payload = HEAD.unpack_from(data, offset)
                if payload == length - HEADER_BYTES:
                    kind = (word, origin_key, reserved)
            malformed += kind is None
        if numbers and (kind != alike or len(numbers) == most):
            assert alike is not None
            runs.append(_run(part(data, stride, begin, at), stride, alike, numbers))
            numbers = []
        if kind is not None:
            if not numbers:
                begin, alike = at, kind
            numbers.append(sequence)
    return runs, malformed


def _run(data: Octets, stride: int, kind: tuple[int, int, int], numbers: list[int]) -> Run:
    word, origin_key, reserved = kind
    first, count = numbers[0], len(numbers)
    counting = numbers == list(range(first, first + count))
    listed = () if counting else tuple(numbers)
    return Run(data, stride, count, word, origin_key, reserved, first, listed)
