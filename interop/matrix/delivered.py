"""What members delivered, held against the stream byte by byte. Pure: bytes in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from interop.endpoint.stream import DATAGRAM_BYTES, HEADER, filling


class Delivered(NamedTuple):
    """One member's file: the stream's numbers in the order of delivery, and what is no part of it.

    `foreign` counts pieces that nobody sent; a last piece that is cut short is `foreign` too.
    """

    numbers: tuple[int, ...]
    foreign: int

    @property
    def last(self) -> int:
        """The highest number; -1 if there is none."""
        return max(self.numbers, default=-1)

    def missing(self, first: int, last: int) -> int:
        """Count the numbers from `first` to `last` that are not there."""
        return len(set(range(first, last + 1)) - set(self.numbers))

    @property
    def repeated(self) -> int:
        """Count what came again."""
        return sum(count - 1 for count in Counter(self.numbers).values())


def read_delivered(content: bytes) -> Delivered:
    """Take a member's file apart."""
    numbers: list[int] = []
    foreign = 0
    for number, piece in _pieces(content):
        if piece == filling(number):
            numbers.append(number)
        else:
            foreign += 1
    return Delivered(tuple(numbers), foreign)


def _pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(content), DATAGRAM_BYTES):
        piece = content[at : at + DATAGRAM_BYTES]
        number = HEADER.unpack_from(piece)[0] if len(piece) >= HEADER.size else 0
        yield number, piece[HEADER.size :]


def last_number(content: bytes) -> int:
    """Give the number of the last whole datagram of a file, cheaply; -1 if there is none."""
    whole = len(content) // DATAGRAM_BYTES
    if not whole:
        return -1
    return int(HEADER.unpack_from(content, (whole - 1) * DATAGRAM_BYTES)[0])
