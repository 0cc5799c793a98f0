"""This host's own packets: numbers, headers, bursts, and the announcements of its channels.

Any host may have some (Decision 24). Channel numbers go round from 1 to 65,535 and skip those
in use; a channel idle for `channel_idle` is closed and its number free, but whoever gets the number
goes on counting packets where it stopped. Nothing is numbered, packed or announced that no branch
wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dmmp.forwarding.burst import Octets, boundaries
from dmmp.forwarding.channels import ORIGIN_MASK, Own
from dmmp.forwarding.table import KEY_GROUP
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.messages import encode
from dmmp.messages.data import Heartbeat
from dmmp.messages.header import (
    CHANNEL_MASK,
    EPOCH_SHIFT,
    FLAG_HEARTBEAT,
    HEADER,
    HEADER_BYTES,
    MAXIMUM_PAYLOAD_BYTES,
    VERSION,
)
from dmmp.messages.options import Option, TlvType
from dmmp.messages.schema import Tlv
from dmmp.parameters import Parameters
from dmmp.security.data_guard import DataGuard
from dmmp.security.manifest import signed_beat
from dmmp.security.signing import SIGNATURE_BYTES
from dmmp.types import HostId, Instant, IpAddress, SessionId

Stream = tuple[IpAddress, IpAddress]
"""Group and source address: what a channel carries."""


class Origin:
    """One host id of this host in one session, and its channels."""

    def __init__(self, key: int, parameters: Parameters) -> None:
        self.key = key
        self.channels: dict[Stream, Own] = {}
        self._parameters = parameters
        self._numbers: set[int] = set()
        self._last_number = 0
        # Where numbering goes on: a packet's number never repeats under one key.
        self._goes_on: dict[int, int] = {}

    def open(self, stream: Stream, now: Instant) -> Own | None:
        """Make a channel for a stream; None if there are too many."""
        if len(self.channels) >= self._parameters.channels:
            return None
        if stream[0] == KEY_GROUP:
            number = 0
        else:
            number = self._last_number % CHANNEL_MASK + 1
            while number in self._numbers:
                number = number % CHANNEL_MASK + 1
            self._last_number = number
            self._numbers.add(number)
        first = self._goes_on.get(number, 1)
        channel = self.channels[stream] = Own((self.key, number), *stream, now, first)
        return channel

    def close(self, channel: Own) -> None:
        """Give up a channel and its number."""
        del self.channels[channel.group, channel.source]
        self._numbers.discard(channel.key[1])
        self._goes_on[channel.key[1]] = channel.next_sequence


def announcement(channel: Own, guard: DataGuard | None = None) -> bytes:
    """Make the next heartbeat of a channel (Decision 4), signed if there is a guard."""
    key, number = channel.key
    channel.beats = channel.beats + 1 & SEQUENCE_MASK
    epoch = 0 if guard is None else guard.epochs.get(key, 0)
    beat = Heartbeat(
        session=SessionId(key >> 32),
        source=HostId(key & ORIGIN_MASK),
        sequence=channel.beats,
        tree_version=channel.tree_version,
        reserved=FLAG_HEARTBEAT | epoch << EPOCH_SHIFT | number,
        group=channel.group,
        origin_address=channel.source,
        highest=channel.highest,
        started=int(channel.has_sent),
    )
    return encode(beat) if guard is None else _believable(beat, guard)


def _believable(beat: Heartbeat, guard: DataGuard) -> bytes:
    """Encode a heartbeat with what proves it as its last element; nothing if that cannot be yet."""
    if guard.signer is None:
        return b""
    blank = Tlv(TlvType.SIGNATURE, bytes(SIGNATURE_BYTES))
    content = encode(replace(beat, tlvs=(blank,)))[:-SIGNATURE_BYTES]
    return content + signed_beat(guard.signer, content)


def packed(channel: Own, packets: Sequence[Octets]) -> list[tuple[int, bytes, int]]:
    """Number the packets, put headers before them, lay them into (first, data, stride) bursts."""
    key, number = channel.key
    session, host = key >> 32, key & ORIGIN_MASK
    pack = HEADER.pack
    tree_version, option = channel.tree_version, int(Option.DATA)
    sequence = channel.next_sequence
    parts: list[Octets] = []
    for packet in packets:
        head = pack(VERSION, tree_version, option, session, host, sequence, number, len(packet))
        parts += (head, packet)
        sequence = sequence + 1 & SEQUENCE_MASK
    first = channel.next_sequence
    channel.next_sequence = sequence
    bursts = []
    sizes = [HEADER_BYTES + len(packet) for packet in packets]
    for begin, end in boundaries(sizes):
        data = b"".join(parts[2 * begin : 2 * end])
        bursts.append((first + begin & SEQUENCE_MASK, data, sizes[begin]))
    return bursts


def is_packet(packet: Octets) -> bool:
    """Tell whether this can be the payload of one datagram."""
    return 0 < len(packet) <= MAXIMUM_PAYLOAD_BYTES
