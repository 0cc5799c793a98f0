"""An input read as a row of decisions, for targets that need more than one datagram.

Past the end every decision is the first choice, so that any bytes are a whole story, and the
shorter the input the simpler the story. Small numbers are drawn from single bytes: the fuzzer
changes one decision at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Feed:
    """Reads one input from its front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """Take so many bytes, fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._data))

    def byte(self) -> int:
        """Take a number of 8 bits."""
        at = self._at
        self._at += 1
        return self._data[at] if at < len(self._data) else 0

    def short(self) -> int:
        """Take a number of 16 bits."""
        return self.byte() << 8 | self.byte()

    def word(self) -> int:
        """Take a number of 32 bits."""
        return self.short() << 16 | self.short()

    def choice(self, options: Sequence[T]) -> T:
        """Choose by one byte."""
        return options[self.byte() % len(options)]

    def number(self, bits: int) -> int:
        """Take a number of so many bits: mostly a small one, from one byte."""
        first = self.byte()
        if first < 0xF0:
            return first & (1 << bits) - 1
        if first < 0xF8:
            # The largest, and those just below.
            return (1 << bits) - 1 - (first & 7)
        return int.from_bytes(self.take(-(-bits // 8)), "big") & (1 << bits) - 1
