"""Small words for runs and their numbers: what is taken of a run, and in which pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log1p
from random import Random

from dmmp.forwarding.burst import Run, part
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.messages.header import HOP_SEALED_FLAGS


def listed(run: Run) -> tuple[int, ...]:
    """List a run's sequence numbers."""
    if run.numbers:
        return run.numbers
    return tuple(number & SEQUENCE_MASK for number in range(run.first, run.first + run.packets))


def cut_out(run: Run, begin: int, end: int) -> Run:
    """Take the segments from `begin` up to `end` of a run, without copying."""
    numbers = listed(run)[begin:end]
    piece = part(run.data, run.stride, begin, end)
    return run._replace(data=piece, packets=end - begin, first=numbers[0], numbers=numbers)


def consecutive(
    ranges: Sequence[tuple[int, int]], numbers: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Cut index ranges where the numbers do not count up: the cache holds consecutive ones."""
    for begin, end in ranges:
        while begin < end:
            stop = begin + 1
            while stop < end and numbers[stop] == numbers[stop - 1] + 1 & SEQUENCE_MASK:
                stop += 1
            yield begin, stop
            begin = stop


def spans(marks: Sequence[bool]) -> list[tuple[int, int]]:
    """List the index ranges (begin, end) in which all marks are set."""
    found: list[tuple[int, int]] = []
    for at, mark in enumerate(marks):
        if mark and found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        elif mark:
            found.append((at, at + 1))
    return found


def drawn(rng: Random, share: float, count: int) -> Iterator[int]:
    """Draw each of `count` indices with the same probability, by the distances between them."""
    if share >= 1:
        yield from range(count)
        return
    at = -1
    while (at := at + 1 + int(log1p(-rng.random()) / log1p(-share))) < count:
        yield at


def is_signed(run: Run) -> bool:
    """Tell whether a run goes from host to host sealed: all but plain data does (Decision 74)."""
    return bool(run.word & 0xFFFF or run.reserved & HOP_SEALED_FLAGS)
