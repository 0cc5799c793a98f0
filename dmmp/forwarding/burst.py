"""The units of the data plane: bursts in, transmits and deliveries out, never single packets.

A burst is consecutive datagrams of one sender in one buffer at a fixed stride; only the last may be
shorter. That is what the kernel's UDP GRO and GSO give and take, and what every part here handles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dmmp.types import Endpoint, Instant, IpAddress

MAXIMUM_SEGMENTS = 64
"""Segments in one burst: the kernel's limit for UDP_SEGMENT."""

MAXIMUM_BURST_BYTES = 65507
"""Bytes in one burst: the kernel's limit for one send."""


class Burst(NamedTuple):
    """Received datagrams of one sender: `data` holds them `stride` bytes apart."""

    data: bytes | memoryview
    stride: int
    sender: Endpoint


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
    """What the forwarder wants done, in order."""

    transmits: list[Transmit] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
