"""UDP segmentation offload at the TUN: many datagrams of one flow to the kernel in one write.

The kernel takes up to 64 UDP datagrams as one packet with one header, behind a `virtio_net_hdr`
that says where to cut it. Here is what may be joined so, and how it is laid out; pure functions of
bytes. Nothing is joined in which a program could see a difference: all header fields but lengths,
identification and checksums are equal, and only the last payload may be shorter.
virtio 1.2 §5.1.6 and `linux/virtio_net.h`; RFC 768, RFC 791, RFC 8200.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from dmmp.tun.packets import PROTOCOL_UDP, Buffer

NO_OFFLOAD = bytes(10)
"""The `virtio_net_hdr` of a packet that is whole as it is."""

MAXIMUM_SEGMENTS = 64
"""Datagrams in one packet: UDP_MAX_SEGMENTS of Linux up to 6.7; later it is 128."""

MAXIMUM_JOINED_BYTES = 65535
"""Bytes of one packet, headers included: the most that IPv4's total length can say."""

MINIMUM_JOINED = 4
"""Fewer datagrams are written one by one, which takes no longer than to compare and join them."""

_VNET = struct.Struct("=BBHHHH")
_NEEDS_CHECKSUM, _SEGMENT_UDP, _UDP_CHECKSUM_OFFSET = 1, 5, 6
_UDP_BYTES = 8
_IP_BYTES = {4: 20, 6: 40}
_LENGTH, _WORD, _TWO_WORDS = struct.Struct("!H"), struct.Struct("!I"), struct.Struct("!II")
_NO_OPTIONS_V4 = 0x45
_FRAGMENT_AND_PROTOCOL_V4 = 0xBFFF00FF
_KNOWN = 512
"""Shapes and flows remembered: those in use at a time are few."""

Flow = tuple[int, int, bytes]
"""What datagrams that may be joined have in common: the IP header's first words without length and
checksum (IPv4: without identification), then addresses and ports."""

_Head = tuple[int, int, bytes]


class Run(NamedTuple):
    """UDP datagrams of one flow, as whole IP packets that may be joined.

    They begin `stride` bytes apart in `data`; each but the last is `size` bytes long. They are
    alike in everything that `classify` looks at.
    """

    data: memoryview
    stride: int
    size: int
    packets: int
    flow: Flow

    def first(self) -> memoryview:
        """Give the first packet, which can stand for all."""
        return self.data[: self.size]

    def split(self) -> list[memoryview]:
        """Give the packets, without copying."""
        data, stride, size = self.data, self.stride, self.size
        return [data[begin : begin + size] for begin in range(0, len(data), stride)]

    def last_bytes(self) -> int:
        """Tell the length of the last packet."""
        return len(self.data) - (self.packets - 1) * self.stride


def pieces(data: Buffer, stride: int, skip: int) -> list[Run | memoryview]:
    """Sort the packets of a burst, `stride` bytes apart, each behind `skip` bytes: runs and others.

    In their order, none left out, none copied; whatever the bytes are, this raises nothing.
    """
    view = memoryview(data)
    count = -(-len(view) // stride)
    if count < MINIMUM_JOINED:
        return [view[begin + skip : begin + stride] for begin in range(0, len(view), stride)]
    whole = alike(view, stride, skip)
    if whole is not None:
        return [whole]
    found: list[Run | memoryview] = []
    for begin, end in _boundaries(view, stride, skip, count):
        part = view[begin * stride : end * stride]
        run = alike(part, stride, skip) if end - begin >= MINIMUM_JOINED else None
        if run is not None:
            found.append(run)
        else:
            found += [part[at + skip : at + stride] for at in range(0, len(part), stride)]
    return found


def _boundaries(view: memoryview, stride: int, skip: int, count: int) -> Iterator[tuple[int, int]]:
    """Say where the flow changes in a mixed burst, as (begin, end): programs that take turns."""
    data = view.tobytes()
    # IPv4: TTL and protocol, addresses and ports; IPv6: the same in one.
    first, second = ((8, 10), (12, 24)) if data[skip] >> 4 == 4 else ((6, 44), (0, 0))
    previous = b"", b""
    begin = 0
    for at in range(count):
        start = at * stride + skip
        mark = (
            data[start + first[0] : start + first[1]],
            data[start + second[0] : start + second[1]],
        )
        if at > begin and (mark != previous or at - begin == MAXIMUM_SEGMENTS):
            yield begin, at
            begin = at
        previous = mark
    yield begin, count


def alike(data: Buffer, stride: int, skip: int) -> Run | None:
    """Make one run of all packets of a burst, or None if they are not what a run is.

    That is UDP datagrams of one flow, as long as their headers say, all but the last equally
    long. Their UDP checksums are not verified, which would take longer than to write them: damage
    on a link showed in the checksum of the overlay's own datagram.
    """
    view = memoryview(data)[skip:]
    count = -(-len(view) // stride) if stride > skip else 0
    last = len(view) - (count - 1) * stride
    size = stride - skip if count > 1 else last
    if not 0 < count <= MAXIMUM_SEGMENTS or last > size:
        return None
    version = view[0] >> 4
    header = _IP_BYTES.get(version, size) + _UDP_BYTES
    # The kernel cannot be told of a datagram without payload.
    if last <= header or (count - 1) * (size - header) + last > MAXIMUM_JOINED_BYTES:
        return None
    fields = _layout(version, stride, count).unpack_from(view)
    head, others = fields[:3], count - 1
    if (
        fields[0:-4:4].count(head[0]) != others
        or fields[1:-4:4].count(head[1]) != others
        or fields[2:-4:4].count(head[2]) != others
        # No checksum (RFC 768), or none where one must be (RFC 8200 §8.1): the kernel shall see it.
        or 0 in fields[3::4]
    ):
        return None
    flow = _flow(version, size, last, head, fields[-4:-1])
    # The other IPv4 headers differ from the first in nothing that their sums could protect.
    if flow is None or (version == 4 and int.from_bytes(view[:20]) % 0xFFFF):
        return None
    return Run(view, stride, size, count, flow)


@lru_cache(maxsize=_KNOWN)
def _layout(version: int, stride: int, count: int) -> struct.Struct:
    # One unpack for all headers, four fields each: two words, then addresses with ports and UDP
    # length, then the UDP checksum.
    fields = "I2xI2x14sH" if version == 4 else "II38sH"
    between = f"{fields}{stride - struct.calcsize('!' + fields)}x"
    return struct.Struct("!" + between * (count - 1) + fields)


@lru_cache(maxsize=_KNOWN)
def _flow(version: int, size: int, last: int, head: _Head, tail: _Head) -> Flow | None:
    """Check the first header, and that the last one is the same but for the lengths."""
    first, second, ends = head
    udp = size - _IP_BYTES[version]
    if version == 4:
        sound = first >> 24 == _NO_OPTIONS_V4 and first & 0xFFFF == size
        sound = sound and second & _FRAGMENT_AND_PROTOCOL_V4 == PROTOCOL_UDP
        flow = first >> 16, second, ends[:-2]
        final = first - size + last, second
    else:
        sound = second >> 8 == udp << 8 | PROTOCOL_UDP
        flow = first, second & 0xFF, ends[:-2]
        final = first, second - (size - last << 16)
    sound = sound and ends[-2:] == _LENGTH.pack(udp)
    sound = sound and tail == (*final, ends[:-2] + _LENGTH.pack(udp - size + last))
    return flow if sound else None


def groups(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Say which consecutive runs go to the kernel in one write each, in their order."""
    group: list[Run] = []
    packets = total = 0
    for run in runs:
        more = _payload_bytes(run)
        if group:
            begun = group[0]
            if (
                run.flow == begun.flow
                and run.size == begun.size == group[-1].last_bytes()
                and packets + run.packets <= MAXIMUM_SEGMENTS
                and total + more <= MAXIMUM_JOINED_BYTES - _header_bytes(begun)
            ):
                group.append(run)
                packets += run.packets
                total += more
                continue
            yield group
        group, packets, total = [run], run.packets, more
    if group:
        yield group


def _header_bytes(run: Run) -> int:
    return _IP_BYTES[run.data[0] >> 4] + _UDP_BYTES


def _payload_bytes(run: Run) -> int:
    return (run.packets - 1) * run.size + run.last_bytes() - run.packets * _header_bytes(run)


def gather(group: Sequence[Run]) -> list[Buffer]:
    """Lay out a group for one `writev`, without copying payloads."""
    begun = group[0]
    flow, size = begun.flow, begun.size
    header = _header_bytes(begun)
    parts: list[Buffer] = [b""]
    for data, stride, _, _, _ in group:
        parts += [data[begin + header : begin + size] for begin in range(0, len(data), stride)]
    before, after, sum_ = _template(flow, size, sum(map(len, parts)))
    if header == _IP_BYTES[6] + _UDP_BYTES:
        parts[0] = before
    else:
        # The kernel counts the identification up from that of the first datagram.
        identification = begun.data[4:6]
        rest = 0xFFFF - (sum_ + int.from_bytes(identification)) % 0xFFFF
        parts[0] = b"".join((before, identification, after[:4], _LENGTH.pack(rest), after[4:]))
    return parts


@lru_cache(maxsize=_KNOWN)
def _template(flow: Flow, size: int, payload: int) -> tuple[bytes, bytes, int]:
    """Make what goes before `payload` bytes to be cut into datagrams in packets of `size` bytes.

    For IPv4 in two pieces, between which the identification belongs, and the sum of the rest of
    the header, whose checksum belongs after four bytes of the second. For IPv6 all is in the
    first. In place of the UDP checksum is what the kernel completes it from: the sum of the
    pseudo-header (RFC 768, RFC 8200 §8.1).
    """
    first, second, ends = flow
    addresses = ends[:-4]
    ip = _IP_BYTES[4 if len(addresses) == 8 else 6]
    header, udp = ip + _UDP_BYTES, _UDP_BYTES + payload
    vnet = _VNET.pack(
        _NEEDS_CHECKSUM, _SEGMENT_UDP, header, size - header, ip, _UDP_CHECKSUM_OFFSET
    )
    partial = (int.from_bytes(addresses) + PROTOCOL_UDP + udp) % 0xFFFF
    last = ends + struct.pack("!HH", udp, partial)
    if ip == _IP_BYTES[6]:
        return vnet + _TWO_WORDS.pack(first, udp << 16 | PROTOCOL_UDP << 8 | second) + last, b"", 0
    start, middle = struct.pack("!HH", first, ip + udp), _WORD.pack(second)
    return vnet + start, middle + last, int.from_bytes(start + middle + addresses) % 0xFFFF
