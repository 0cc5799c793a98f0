"""Telling data from control in what a socket brings, by the option alone (Decision 4).

And what goes out plain from what goes sealed (Decision 74).
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from dmmp.forwarding.burst import Burst, Octets, Transmit, group, split
from dmmp.messages.header import OPTION_OFFSET
from dmmp.messages.options import LAST_DATA_OPTION, Option
from dmmp.security.gate import Gate, goes_sealed
from dmmp.types import Endpoint, Instant

_DATA_END = OPTION_OFFSET + 2
_HOP_SEALED = Option.HOP_SEALED.to_bytes(2)
_RECEIVER = itemgetter(1)


def is_data(burst: Burst) -> bool:
    """Tell whether every segment is data or a heartbeat, by the option alone (Decision 4)."""
    data, stride = burst.data, burst.stride
    if len(data) < _DATA_END:
        return False
    if len(data) <= stride:
        return data[OPTION_OFFSET] == 0 and data[OPTION_OFFSET + 1] <= LAST_DATA_OPTION
    high, low = data[OPTION_OFFSET::stride], data[OPTION_OFFSET + 1 :: stride]
    return not any(high) and max(low) <= LAST_DATA_OPTION


def is_hop_sealed(burst: Burst) -> bool:
    """Tell whether a single datagram holds a sealed one of the forwarder's."""
    data = burst.data
    return len(data) >= _DATA_END and data[OPTION_OFFSET:_DATA_END] == _HOP_SEALED


def pieces(burst: Burst) -> list[Burst]:
    """Cut a burst into stretches of data and single other datagrams, in their order."""
    data, stride, sender = burst[:3]
    size = len(data)
    if size <= stride:
        return [burst]
    count = -(-size // stride)
    high = bytes(data[OPTION_OFFSET::stride]).ljust(count, b"\xff")
    low = bytes(data[OPTION_OFFSET + 1 :: stride]).ljust(count, b"\xff")
    is_last_other = high[-1] != 0 or low[-1] > LAST_DATA_OPTION
    if is_last_other and not any(high[:-1]) and max(low[:-1]) <= LAST_DATA_OPTION:
        # What the kernel makes of a burst and the shorter manifest behind it.
        last = size - (size - 1) % stride - 1
        return [Burst(data[:last], stride, sender), Burst(data[last:], stride, sender)]
    found: list[Burst] = []
    begin = 0
    for at in range(count):
        if high[at] == 0 and low[at] <= LAST_DATA_OPTION:
            continue
        if begin < at:
            found.append(Burst(data[begin * stride : at * stride], stride, sender))
        found.append(Burst(data[at * stride : (at + 1) * stride], stride, sender))
        begin = at + 1
    if begin < count:
        found.append(Burst(data[begin * stride :], stride, sender))
    return found


def sealed_where_due(gate: Gate, transmits: list[Transmit], now: Instant) -> list[Transmit]:
    """Seal what does not go as plain data does; for each receiver all keeps its order.

    What is sealed for one goes together: a send that wakes a receiver costs more than its bytes.
    """
    found: list[Transmit] = []
    waiting: dict[Endpoint, list[bytes]] = {}
    seen: tuple[Octets, int] | None = None
    frames: list[bytes] = []
    for transmit in transmits:
        data, stride, to = transmit
        if seen is None or data is not seen[0] or stride != seen[1]:
            # The same goes to all children, one after the other: it is looked at once.
            seen = data, stride
            frames = [bytes(each) for each in split(data, stride)] if goes_sealed(data) else []
        if frames:
            waiting.setdefault(to, []).extend(frames)
            continue
        if waiting and to in waiting:
            found += _sealed(gate, waiting.pop(to), to, now)
        found.append(transmit)
    for to, held in waiting.items():
        found += _sealed(gate, held, to, now)
    return found


def _sealed(gate: Gate, frames: list[bytes], to: Endpoint, now: Instant) -> list[Transmit]:
    """Seal what goes to one; what that takes may go to others, as who is asked for its key."""
    whole = gate.associations.send_all(frames, to, now)
    if whole is not None:
        return [Transmit(*each, to) for each in group(whole)]
    datagrams = [datagram for frame in frames for datagram in gate.send_datagram(frame, to, now)]
    return [
        Transmit(*each, receiver)
        for receiver, held in groupby(datagrams, _RECEIVER)
        for each in group([data for data, _ in held])
    ]
