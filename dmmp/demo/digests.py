"""Comparing what was sent with what was received, by the digests that the programs write.

Only reads values; the programs themselves are in `programs`, which loads nothing of the package.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dmmp.demo.programs import DIGEST_BYTES


class Comparison(NamedTuple):
    """How one receiver's datagrams compare with a reference, both given as lists of digests."""

    reference_count: int
    received_count: int
    missing_before: int
    missing_within: int
    missing_after: int
    unexpected: int
    duplicates: int
    in_order: bool

    @property
    def is_identical(self) -> bool:
        """Whether every datagram came, once, in order, and no other."""
        return self == (self.reference_count, self.reference_count, 0, 0, 0, 0, 0, True)


def compare_digests(reference: bytes, received: bytes) -> Comparison:
    """Compare two digest files' contents; missing ones are told apart by the first and last hit."""
    places: dict[bytes, list[int]] = {}
    expected = list(split_digests(reference))
    for place in range(len(expected) - 1, -1, -1):
        places.setdefault(expected[place], []).append(place)
    hits: list[int] = []
    unexpected = duplicates = count = 0
    for digest in split_digests(received):
        count += 1
        free = places.get(digest)
        if free:
            hits.append(free.pop())
        elif free is None:
            unexpected += 1
        else:
            duplicates += 1
    first, last = (min(hits), max(hits)) if hits else (len(expected), len(expected) - 1)
    return Comparison(
        reference_count=len(expected),
        received_count=count,
        missing_before=first,
        missing_within=last - first + 1 - len(hits),
        missing_after=len(expected) - 1 - last,
        unexpected=unexpected,
        duplicates=duplicates,
        in_order=hits == sorted(hits),
    )


def split_digests(content: bytes) -> Iterable[bytes]:
    """Cut a digest file's content into digests."""
    return (content[start : start + DIGEST_BYTES] for start in range(0, len(content), DIGEST_BYTES))
