"""What several relatives share: sizes of fields on the wire, and a memory of packets."""

from __future__ import annotations

from dmmp.messages.header import HEADER_BYTES

HEADER = HEADER_BYTES
ID, ENDPOINT, SEQUENCE, DELAY, COUNT = 4, 6, 4, 4, 2
HOST = ID + ENDPOINT
"""Bytes of a host that can be spoken to: who it is and where."""

WINDOW = 4096


class Seen:
    """Which packets came, the last `WINDOW` numbers of them; what is older counts as seen."""

    __slots__ = ("_bits", "_newest")

    def __init__(self) -> None:
        self._newest, self._bits = -1, 0

    def add(self, number: int) -> bool:
        """Note a packet; tell whether it is new."""
        if number > self._newest:
            self._bits = (self._bits << min(number - self._newest, WINDOW)) | 1
            self._bits &= (1 << WINDOW) - 1
            self._newest = number
            return True
        age = self._newest - number
        if age >= WINDOW or self._bits >> age & 1:
            return False
        self._bits |= 1 << age
        return True
