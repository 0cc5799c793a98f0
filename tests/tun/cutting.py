"""What Linux does with a frame from behind `IFF_VNET_HDR`, slowly and by the book.

Written from virtio 1.2 §5.1.6 and the RFCs, and apart from `dmmp.tun.offload`: nothing of it is
used here. Every header field that the kernel would stumble over is asserted.
"""

from __future__ import annotations

import struct

HEADER_BYTES = 10


def naive_sum(data: bytes) -> int:
    """Add 16-bit words with the carry around; an odd byte is padded (RFC 1071)."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | (data[at + 1] if at + 1 < len(data) else 0)
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(packet: bytes, at: int) -> bytes:
    """Give the pseudo-header of the datagram at `at`."""
    if at == 20:
        return packet[12:20] + struct.pack("!HH", 17, len(packet) - at)
    return packet[8:40] + struct.pack("!II", len(packet) - at, 17)


def is_sound(packet: bytes) -> bool:
    """Tell whether an option-less IP packet holds one whole UDP datagram with right checksums."""
    at = 20 if packet[0] == 0x45 else 40
    if at == 20:
        lengths = struct.unpack_from("!H", packet, 2)[0] == len(packet)
        lengths = lengths and naive_sum(packet[:20]) == 0xFFFF
    else:
        lengths = struct.unpack_from("!H", packet, 4)[0] == len(packet) - 40
    udp_bytes, checksum = struct.unpack_from("!HH", packet, at + 4)
    whole = udp_bytes == len(packet) - at and checksum != 0
    return bool(lengths and whole and naive_sum(pseudo(packet, at) + packet[at:]) == 0xFFFF)


def cut(frame: bytes) -> list[bytes]:
    """Give the packets that programs see when `frame` is written."""
    flags, kind, header, size, start, offset = struct.unpack_from("=BBHHHH", frame)
    packet = frame[HEADER_BYTES:]
    if not frame[:HEADER_BYTES].strip(b"\0"):
        return [packet]
    assert (flags, kind, offset) == (1, 5, 6) and header == start + 8 and size > 0
    assert start == (20 if packet[0] == 0x45 else 40) and len(packet) <= 65535 + start - 20
    # The header is that of one great datagram, and its checksum begun with the pseudo-header.
    assert struct.unpack_from("!H", packet, start + 4)[0] == len(packet) - start
    begun = struct.unpack_from("!H", packet, start + 6)[0]
    assert begun % 0xFFFF == naive_sum(pseudo(packet, start)) % 0xFFFF
    if start == 20:
        assert struct.unpack_from("!H", packet, 2)[0] == len(packet)
        assert naive_sum(packet[:20]) == 0xFFFF
    else:
        assert struct.unpack_from("!H", packet, 4)[0] == len(packet) - 40
    payloads = [packet[at : at + size] for at in range(header, len(packet), size)]
    assert 2 <= len(payloads) <= 64
    return [_segment(packet[:header], number, payload) for number, payload in enumerate(payloads)]


def _segment(header: bytes, number: int, payload: bytes) -> bytes:
    packet = bytearray(header + payload)
    at = len(header) - 8
    if at == 20:
        identification = struct.unpack_from("!H", header, 4)[0] + number & 0xFFFF
        struct.pack_into("!HH", packet, 2, len(packet), identification)
        packet[10:12] = bytes(2)
        struct.pack_into("!H", packet, 10, 0xFFFF - naive_sum(bytes(packet[:20])))
    else:
        struct.pack_into("!H", packet, 4, len(packet) - 40)
    struct.pack_into("!HH", packet, at + 4, len(packet) - at, 0)
    whole = bytes(packet)
    struct.pack_into(
        "!H", packet, at + 6, 0xFFFF - naive_sum(pseudo(whole, at) + whole[at:]) or 0xFFFF
    )
    return bytes(packet)
