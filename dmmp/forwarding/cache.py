"""Recent bursts, for newcomers and for repair (Decision 18): bounded by bytes and by time.

Keeps references to the bursts' memory, nothing per packet. It knows sequence numbers and nothing
of headers, branches or interest. Adding and evicting take constant time; a look-up costs what it
examines.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from dmmp.forwarding.burst import MAXIMUM_SEGMENTS, Octets, compact, part
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.types import Instant

Key = tuple[int, int]
"""Channel: origin key and channel number."""

RECORD_BYTES = 256
"""What a record costs besides its burst's memory, so that tiny bursts are bounded too."""

_BLOCK_BITS = 6
_BLOCK_MASK = SEQUENCE_MASK >> _BLOCK_BITS
_HALF = 1 << 31


class Piece(NamedTuple):
    """Packets found, as they came, and when."""

    data: Octets
    stride: int
    at: Instant


class Record(NamedTuple):
    """Consecutive packets of a channel, as they came."""

    key: Key
    first: int
    packets: int
    data: Octets
    stride: int
    at: Instant


class Cache:
    """All channels' recent packets; the oldest go first, whosever they are.

    Records are found by blocks of 64 sequence numbers: a run touches two at most.
    """

    def __init__(self, limit_bytes: int, seconds: float) -> None:
        self.used_bytes = 0
        self._limit_bytes = limit_bytes
        self._seconds = seconds
        self._order: deque[Record] = deque()
        self._blocks: dict[Key, dict[int, list[Record]]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def add(
        self, key: Key, first: int, count: int, data: Octets, stride: int, now: Instant
    ) -> None:
        """Keep `count` (at most 64) consecutive packets from number `first` on."""
        record = Record(key, first, count, compact(data), stride, now)
        blocks = self._blocks.get(key)
        if blocks is None:
            blocks = self._blocks[key] = {}
        block = first >> _BLOCK_BITS
        held = blocks.get(block)
        if held is None:
            blocks[block] = [record]
        else:
            held.append(record)
        last = _last_block(first, count) if count > 1 else block
        if last != block:
            blocks.setdefault(last, []).append(record)
        order = self._order
        order.append(record)
        self.used_bytes += len(data) + RECORD_BYTES
        if self.used_bytes > self._limit_bytes or order[0].at < now - self._seconds:
            self.trim(now)

    def trim(self, now: Instant) -> None:
        """Drop what is too old or too much."""
        order = self._order
        oldest = now - self._seconds
        while order and (order[0].at < oldest or self.used_bytes > self._limit_bytes):
            record = order.popleft()
            self.used_bytes -= len(record.data) + RECORD_BYTES
            self._unlink(record)

    def forget(self, key: Key) -> None:
        """Find nothing of this channel any more; its memory goes with time."""
        self._blocks.pop(key, None)

    def find(self, key: Key, base: int, bitmap: bytes) -> list[Piece]:
        """Find the packets that the bitmap marks: bit n, most significant first, is `base` + n."""
        return self.search(key, base, bitmap)[0]

    def search(self, key: Key, base: int, bitmap: bytes) -> tuple[list[Piece], list[bool]]:
        """Find likewise, and tell for each bit whether it is marked and not here."""
        blocks = self._blocks.get(key, {})
        length = 8 * len(bitmap)
        wanted = [bool(bitmap[n >> 3] >> (7 - (n & 7)) & 1) for n in range(length)]
        pieces: list[Piece] = []
        first_block = base >> _BLOCK_BITS
        for step in range((length >> _BLOCK_BITS) + 2):
            block = (first_block + step) & _BLOCK_MASK
            for record in blocks.get(block, ()):
                if step == 0 or record.first >> _BLOCK_BITS == block:
                    _mark(record, base, wanted, pieces)
        return pieces, wanted

    def since(
        self,
        key: Key,
        base: int | None = None,
        before: int | None = None,
        oldest: Instant = float("-inf"),
    ) -> list[Piece]:
        """Find what is held from number `base` on and before number `before`, in order.

        Records that came earlier than `oldest` are left out.
        """
        found = [
            record
            for block, held in self._blocks.get(key, {}).items()
            for record in held
            if record.at >= oldest and record.first >> _BLOCK_BITS == block
        ]
        if not found:
            return []
        middle = found[0].first if base is None else base
        found.sort(key=lambda record: (record.first - middle + _HALF) & SEQUENCE_MASK)
        pieces: list[Piece] = []
        for record in found:
            begin = 0 if base is None else _behind(record.first, base)
            end = record.packets if before is None else _behind(record.first, before)
            end = min(end, record.packets)
            if begin < end:
                pieces.append(_piece(record, begin, end))
        return pieces

    def _unlink(self, record: Record) -> None:
        blocks = self._blocks.get(record.key)
        if blocks is None:
            return
        for block in {record.first >> _BLOCK_BITS, _last_block(record.first, record.packets)}:
            held = blocks.get(block)
            # Blocks are in the order of the deque, so it can only be the first; it is not there
            # when the channel was forgotten meanwhile.
            if held and held[0] is record:
                del held[0]
                if not held:
                    del blocks[block]
        if not blocks:
            del self._blocks[record.key]


def newest(pieces: list[Piece], limit_bytes: int) -> list[Piece]:
    """Keep the packets that came last, as many as are no more than that; their order stays."""
    kept: dict[int, Piece] = {}
    room = limit_bytes
    for index in sorted(range(len(pieces)), key=lambda index: (pieces[index].at, index))[::-1]:
        data, stride, at = pieces[index]
        size = len(data)
        if size > room:
            # The last packet may be short, so this is the least to leave out.
            without = min(-(-(size - room) // stride), -(-size // stride))
            data = part(data, stride, without, MAXIMUM_SEGMENTS)
        if data:
            kept[index] = Piece(data, stride, at)
        room -= len(data)
        if len(data) < size:
            break
    return [kept[index] for index in sorted(kept)]


def _piece(record: Record, begin: int, end: int) -> Piece:
    return Piece(part(record.data, record.stride, begin, end), record.stride, record.at)


def _last_block(first: int, count: int) -> int:
    return (first + count - 1 & SEQUENCE_MASK) >> _BLOCK_BITS


def _behind(first: int, number: int) -> int:
    """Count the numbers from `first` up to `number`, none if that comes earlier."""
    ahead = (number - first) & SEQUENCE_MASK
    return ahead if ahead < _HALF else 0


def _mark(record: Record, base: int, wanted: list[bool], pieces: list[Piece]) -> None:
    """Append the wanted stretches of a record, and want them no longer."""
    begin = -1
    for at in range(record.packets + 1):
        offset = (record.first + at - base) & SEQUENCE_MASK
        hit = at < record.packets and offset < len(wanted) and wanted[offset]
        if hit:
            wanted[offset] = False
            if begin < 0:
                begin = at
        elif begin >= 0:
            pieces.append(_piece(record, begin, at))
            begin = -1
