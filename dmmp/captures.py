"""Captures (pcap and pcapng) as a stream of UDP datagrams, for `dmmp decode` and for tests.

A reader only, of bytes that someone else read: Ethernet, Linux cooked, raw IP and BSD loopback
frames; IPv4 and IPv6 without reassembly. Total: packets, then the end or `DecodeError`.
What DMMP looks like in a capture: -03 §5, Decision 28.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.types import STUN_MAGIC, Endpoint, IpAddress

_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
_RESOLUTION_OPTION = 9
_IPV4_TYPE, _IPV6_TYPE = 0x0800, 0x86DD
_VLAN_TYPES = (0x8100, 0x88A8)
_UDP, _IPV6_EXTENSIONS = 17, (0, 43, 60)
_EXTENSIONS_MOST = 8


class Captured(NamedTuple):
    """One datagram: its frame's number from 1, when (seconds since 1970), between whom, its bytes.

    A frame may hold several: the kernel shows a batch of equal datagrams as one (UDP GSO, GRO).
    """

    number: int
    time: float
    source: Endpoint
    destination: Endpoint
    payload: bytes


class _Frame(NamedTuple):
    time: float
    link: int
    data: bytes


def packets_of_capture(data: bytes, port: int | None = None) -> Iterator[Captured]:
    """Yield the datagrams of a capture in order; raise `DecodeError` where it cannot be read on.

    With `port` those from or to it, without those that look like DMMP: version and length fit.
    """
    if data[:4] in _PCAP_MAGICS:
        frames = _pcap_frames(data)
    elif data[:4] == b"\x0a\x0d\x0d\x0a":
        frames = _pcapng_frames(data)
    else:
        raise DecodeError(DecodeReason.VERSION, 0, "neither pcap nor pcapng")
    for number, frame in enumerate(frames, start=1):
        found = _udp_of_frame(frame)
        if found is None:
            continue
        source, destination, payload = found
        if port is not None and port not in (source.port, destination.port):
            continue
        for part in _split(payload):
            if port is not None or _looks_like_dmmp(part):
                yield Captured(number, frame.time, source, destination, part)


def _looks_like_dmmp(payload: bytes) -> bool:
    return _announced(payload, 0) == len(payload)


def _announced(payload: bytes, at: int) -> int:
    """Give the length of the DMMP datagram that begins here, 0 if none does."""
    if at + HEADER_BYTES > len(payload):
        return 0
    version, _, _, session, _, _, _, length = HEADER.unpack_from(payload, at)
    if version != VERSION or session == STUN_MAGIC:
        return 0
    return HEADER_BYTES + int(length)


def _split(payload: bytes) -> list[bytes]:
    """Cut a batch into its datagrams, if they fill it exactly; else leave it whole."""
    parts: list[bytes] = []
    at = 0
    while at < len(payload):
        size = _announced(payload, at)
        if size == 0 or at + size > len(payload):
            return [payload]
        parts.append(payload[at : at + size])
        at += size
    return parts or [payload]


def _pcap_frames(data: bytes) -> Iterator[_Frame]:
    order, unit = _PCAP_MAGICS[data[:4]]
    if len(data) < 24:
        raise DecodeError(DecodeReason.TRUNCATED, len(data), "the capture's header")
    (link,) = struct.unpack_from(order + "I", data, 20)
    head = struct.Struct(order + "IIII")
    at = 24
    while at < len(data):
        if at + head.size > len(data):
            raise DecodeError(DecodeReason.TRUNCATED, len(data), "a frame's header")
        seconds, fraction, captured, _ = head.unpack_from(data, at)
        at += head.size
        if at + captured > len(data):
            raise DecodeError(DecodeReason.TRUNCATED, len(data), f"a frame of {captured} bytes")
        yield _Frame(seconds + fraction * unit, link & 0x0FFFFFFF, data[at : at + captured])
        at += captured


def _pcapng_frames(data: bytes) -> Iterator[_Frame]:
    order, at = "<", 0
    links: list[tuple[int, float]] = []
    while at < len(data):
        if at + 12 > len(data):
            raise DecodeError(DecodeReason.TRUNCATED, len(data), "a block's header")
        (kind,) = struct.unpack_from(order + "I", data, at)
        if kind == _SECTION:
            order, links = _section_order(data, at), []
        (size,) = struct.unpack_from(order + "I", data, at + 4)
        if size < 12 or size % 4:
            raise DecodeError(DecodeReason.LENGTH, at + 4, f"a block of {size} bytes")
        if at + size > len(data):
            raise DecodeError(DecodeReason.TRUNCATED, len(data), f"a block of {size} bytes")
        body = data[at + 8 : at + size - 4]
        if kind == _INTERFACE:
            links.append(_interface(body, order, at))
        elif kind in (_ENHANCED, _SIMPLE):
            yield _frame_of_block(body, kind, order, links, at)
        at += size


def _section_order(data: bytes, at: int) -> str:
    for order in "<>":
        if struct.unpack_from(order + "I", data, at + 8)[0] == _BYTE_ORDER:
            return order
    raise DecodeError(DecodeReason.VALUE, at + 8, "byte order of a section")


def _interface(body: bytes, order: str, block_at: int) -> tuple[int, float]:
    """Read link type and clock unit of an interface."""
    if len(body) < 8:
        raise DecodeError(DecodeReason.TRUNCATED, block_at, "an interface's description")
    (link,) = struct.unpack_from(order + "H", body)
    unit, at = 1e-6, 8
    while at + 4 <= len(body):
        option, length = struct.unpack_from(order + "HH", body, at)
        if option == 0:
            break
        if option == _RESOLUTION_OPTION and length == 1 and at + 4 < len(body):
            power = body[at + 4]
            unit = 2.0 ** -(power & 0x7F) if power & 0x80 else 10.0**-power
        at += 4 + length + -length % 4
    return link, unit


def _frame_of_block(
    body: bytes, kind: int, order: str, links: list[tuple[int, float]], block_at: int
) -> _Frame:
    head = struct.Struct(order + ("IIIII" if kind == _ENHANCED else "I"))
    if len(body) < head.size:
        raise DecodeError(DecodeReason.TRUNCATED, block_at, "a packet block")
    if kind == _ENHANCED:
        interface, high, low, captured, _ = head.unpack_from(body)
    else:
        interface, high, low = 0, 0, 0
        captured = min(head.unpack_from(body)[0], len(body) - head.size)
    if interface >= len(links):
        raise DecodeError(DecodeReason.VALUE, block_at + 8, f"interface {interface} not described")
    if head.size + captured > len(body):
        raise DecodeError(DecodeReason.LENGTH, block_at, f"a frame of {captured} bytes")
    link, unit = links[interface]
    return _Frame((high << 32 | low) * unit, link, body[head.size : head.size + captured])


def _ethernet(data: bytes) -> bytes:
    at = 12
    while int.from_bytes(data[at : at + 2], "big") in _VLAN_TYPES:
        at += 4
    return _by_type(data, at, at + 2)


def _by_type(data: bytes, type_at: int, at: int) -> bytes:
    kind = int.from_bytes(data[type_at : type_at + 2], "big")
    return data[at:] if kind in (_IPV4_TYPE, _IPV6_TYPE) else b""


_IP_OF_LINK: dict[int, Callable[[bytes], bytes]] = {
    0: lambda data: data[4:],
    1: _ethernet,
    12: lambda data: data,
    14: lambda data: data,
    101: lambda data: data,
    108: lambda data: data[4:],
    113: lambda data: _by_type(data, 14, 16),
    228: lambda data: data,
    229: lambda data: data,
    276: lambda data: _by_type(data, 0, 20),
}
"""Link type to what takes the IP packet out of a frame; of other links nothing is read."""


def _udp_of_frame(frame: _Frame) -> tuple[Endpoint, Endpoint, bytes] | None:
    """Find a whole UDP datagram in a frame; None for anything else, fragments too."""
    take = _IP_OF_LINK.get(frame.link)
    packet = take(frame.data) if take is not None else b""
    if not packet:
        return None
    if packet[0] >> 4 == 4:
        return _udp_of_ipv4(packet)
    return _udp_of_ipv6(packet) if packet[0] >> 4 == 6 else None


def _udp_of_ipv4(packet: bytes) -> tuple[Endpoint, Endpoint, bytes] | None:
    at = (packet[0] & 0x0F) * 4
    if at < 20 or len(packet) < at or packet[9] != _UDP:
        return None
    if int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    return _udp(packet, at, IPv4Address(packet[12:16]), IPv4Address(packet[16:20]))


def _udp_of_ipv6(packet: bytes) -> tuple[Endpoint, Endpoint, bytes] | None:
    if len(packet) < 40:
        return None
    kind, at = packet[6], 40
    for _ in range(_EXTENSIONS_MOST):
        if kind not in _IPV6_EXTENSIONS or at + 8 > len(packet):
            break
        kind, at = packet[at], at + (packet[at + 1] + 1) * 8
    if kind != _UDP:
        return None
    return _udp(packet, at, IPv6Address(packet[8:24]), IPv6Address(packet[24:40]))


def _udp(
    packet: bytes, at: int, source: IpAddress, destination: IpAddress
) -> tuple[Endpoint, Endpoint, bytes] | None:
    if at + 8 > len(packet):
        return None
    source_port, destination_port, length = struct.unpack_from("!HHH", packet, at)
    # A batch on its way to the card may carry length 0; a cut frame has less than it says.
    end = at + length if length >= 8 else len(packet)
    payload = packet[at + 8 : end]
    return Endpoint(source, source_port), Endpoint(destination, destination_port), payload
