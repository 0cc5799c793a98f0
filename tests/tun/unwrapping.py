"""The datagram in an IP packet, as a receiving kernel would take it out: the inverse of wrapping.

Independent of what builds packets but for the checksum of RFC 1071, which has a test of its own.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from dmmp.tun.packets import PROTOCOL_UDP, checksum, parse, pseudo_header
from dmmp.types import Endpoint

_UDP = struct.Struct("!HHHH")


class Datagram(NamedTuple):
    """A UDP datagram taken out of an IP packet."""

    source: Endpoint
    destination: Endpoint
    payload: bytes


def unwrap_udp(data: bytes | memoryview) -> Datagram:
    """Take the datagram out of a whole UDP-in-IP packet; fail if a kernel would drop it."""
    packet = parse(data)
    assert packet.protocol == PROTOCOL_UDP and not packet.is_fragment
    at = packet.payload_offset
    source_port, port, length, value = _UDP.unpack_from(data, at)
    datagram = bytes(data[at : at + length])
    assert len(datagram) == length >= _UDP.size and value != 0
    pseudo = pseudo_header(packet.source, packet.destination, PROTOCOL_UDP, length)
    assert checksum(pseudo, datagram) == 0
    source = Endpoint(packet.source, source_port)
    return Datagram(source, Endpoint(packet.destination, port), datagram[_UDP.size :])
