"""Telling data from control in what a socket brings, by the option alone (Decision 4)."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.forwarding.burst import Burst
from dmmp.messages.header import OPTION_OFFSET
from dmmp.messages.options import Option

LAST_DATA_OPTION = Option.CREDENTIAL
"""Options up to this one are the forwarder's: data, heartbeats and certificates of origins."""

_DATA_END = OPTION_OFFSET + 2


def is_data(burst: Burst) -> bool:
    """Tell whether every segment is data or a heartbeat, by the option alone (Decision 4)."""
    data, stride = burst.data, burst.stride
    if len(data) < _DATA_END:
        return False
    if len(data) <= stride:
        return data[OPTION_OFFSET] == 0 and data[OPTION_OFFSET + 1] <= LAST_DATA_OPTION
    high, low = data[OPTION_OFFSET::stride], data[OPTION_OFFSET + 1 :: stride]
    return not any(high) and max(low) <= LAST_DATA_OPTION


def segments(burst: Burst) -> Iterable[Burst]:
    """Cut a burst into its datagrams."""
    data, stride, sender = burst
    if len(data) <= stride:
        return (burst,)
    return [Burst(data[at : at + stride], stride, sender) for at in range(0, len(data), stride)]
