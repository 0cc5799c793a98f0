"""IPv4, IPv6, UDP and ICMP headers, as far as multicast needs them, in plain `struct`.

`parse` is for control packets and tests, `classify` for the data plane. No fragmentation and no
reassembly: fragments of a multicast packet travel as packets of their own.
RFC 791, RFC 8200, RFC 768, RFC 792, RFC 4443; what stays at home is Decision 26.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dmmp.errors import DecodeError, DecodeReason, UsageError
from dmmp.interest import is_carried
from dmmp.types import Endpoint, IpAddress

Buffer = bytes | bytearray | memoryview

PROTOCOL_HOP_BY_HOP = 0
PROTOCOL_ICMP = 1
PROTOCOL_IGMP = 2
PROTOCOL_UDP = 17
PROTOCOL_ICMPV6 = 58

LINK_LOCAL = "link_local"
TTL = "ttl"
NOT_MULTICAST = "not_multicast"
MALFORMED = "malformed"
MEMBERSHIP = "membership"

MLD_TYPES = frozenset((130, 131, 132, 143))
FLOW_CACHE_LIMIT = 4096
"""Entries of a caller's `FlowCache`; a full cache is emptied, which costs its refilling once."""

_ROUTING, _FRAGMENT, _DESTINATION_OPTIONS = 43, 44, 60
_MAX_EXTENSIONS = 8
_ROUTER_ALERT_V4 = 148
_ROUTER_ALERT_V6 = 5
_QUOTE_V4_BYTES = 548
_QUOTE_V6_BYTES = 1232

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")
_GLANCE_V4 = struct.Struct("!BxHxxxxBBxx8s")
_GLANCE_V6 = struct.Struct("!BxxxHBB32s")


@dataclass(frozen=True, slots=True)
class IpPacket:
    """The header of one IP packet; offsets and lengths in bytes from the start of the packet."""

    version: int
    source: IpAddress
    destination: IpAddress
    ttl: int
    protocol: int
    payload_offset: int
    total_length: int
    traffic_class: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    router_alert: bool = False

    @property
    def is_fragment(self) -> bool:
        """Tell whether this is a part of a larger packet."""
        return self.more_fragments or self.fragment_offset > 0


@dataclass(frozen=True, slots=True)
class Classified:
    """What to do with a packet: carry it when `reason` is empty, else drop and count `reason`.

    The reason `membership` is no drop: the packet is for `Membership.receive`.
    """

    reason: str
    source: IpAddress | None = None
    group: IpAddress | None = None


FlowCache = dict[bytes, Classified]

_TTL_EXPIRED = Classified(TTL)
_MALFORMED = Classified(MALFORMED)
_MEMBERSHIP = Classified(MEMBERSHIP)


def checksum(*parts: Buffer) -> int:
    """Compute the internet checksum (RFC 1071) of the parts end to end; all but the last even."""
    total = 0
    for part in parts:
        data = bytes(part) if len(part) % 2 == 0 else bytes(part) + b"\0"
        total += sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: IpAddress, destination: IpAddress, protocol: int, length: int) -> bytes:
    """Build the header that UDP and ICMPv6 checksums cover (RFC 768, RFC 8200 §8.1)."""
    addresses = source.packed + destination.packed
    if source.version == 4:
        return addresses + struct.pack("!BBH", 0, protocol, length)
    return addresses + struct.pack("!II", length, protocol)


def parse(data: Buffer) -> IpPacket:
    """Read the header of a raw IP packet, extension headers included, or raise `DecodeError`.

    The buffer must hold exactly the packet: a TUN gives no padding.
    """
    if not len(data):
        raise DecodeError(DecodeReason.TRUNCATED, 0)
    version = data[0] >> 4
    if version == 4:
        return _parse_v4(memoryview(data))
    if version == 6:
        return _parse_v6(memoryview(data))
    raise DecodeError(DecodeReason.VERSION, 0, f"IP version {version}")


def _parse_v4(data: memoryview) -> IpPacket:
    if len(data) < _IPV4.size:
        raise DecodeError(DecodeReason.TRUNCATED, len(data))
    first, tos, total, _, flags, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
    header = (first & 0x0F) * 4
    if header < _IPV4.size or total < header:
        raise DecodeError(DecodeReason.LENGTH, 0)
    if total != len(data):
        reason = DecodeReason.TRUNCATED if total > len(data) else DecodeReason.TRAILING
        raise DecodeError(reason, min(total, len(data)))
    if checksum(data[:header]):
        raise DecodeError(DecodeReason.CHECKSUM, 10)
    return IpPacket(
        version=4,
        source=IPv4Address(source),
        destination=IPv4Address(destination),
        ttl=ttl,
        protocol=protocol,
        payload_offset=header,
        total_length=total,
        traffic_class=tos,
        dont_fragment=bool(flags & 0x4000),
        more_fragments=bool(flags & 0x2000),
        fragment_offset=(flags & 0x1FFF) * 8,
        router_alert=_alerts_v4(data[_IPV4.size : header]),
    )


def _alerts_v4(options: memoryview) -> bool:
    """Look for a router alert; options that cannot be read hide what follows them (RFC 2113)."""
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2:
            return False
        if options[at] == _ROUTER_ALERT_V4:
            return at + options[at + 1] <= len(options)
        at += options[at + 1]
    return False


def _parse_v6(data: memoryview) -> IpPacket:
    if len(data) < _IPV6.size:
        raise DecodeError(DecodeReason.TRUNCATED, len(data))
    first, length, protocol, ttl, source, destination = _IPV6.unpack_from(data)
    total = _IPV6.size + length
    if total != len(data):
        reason = DecodeReason.TRUNCATED if total > len(data) else DecodeReason.TRAILING
        raise DecodeError(reason, min(total, len(data)))
    at, alert, more, offset = _IPV6.size, False, False, 0
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in (PROTOCOL_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS):
            break
        if at + 8 > total:
            raise DecodeError(DecodeReason.TRUNCATED, at)
        size = 8 if protocol == _FRAGMENT else (data[at + 1] + 1) * 8
        if at + size > total:
            raise DecodeError(DecodeReason.LENGTH, at + 1)
        if protocol == PROTOCOL_HOP_BY_HOP:
            if at != _IPV6.size:
                raise DecodeError(DecodeReason.VALUE, at, "hop-by-hop options not first")
            alert = _alerts_v6(data[at + 2 : at + size], at + 2)
        if protocol == _FRAGMENT:
            (word,) = struct.unpack_from("!H", data, at + 2)
            more, offset = bool(word & 1), word & 0xFFF8
        protocol, at = data[at], at + size
        if offset:
            break
    else:
        raise DecodeError(DecodeReason.VALUE, at, "too many extension headers")
    return IpPacket(
        version=6,
        source=IPv6Address(source),
        destination=IPv6Address(destination),
        ttl=ttl,
        protocol=protocol,
        payload_offset=at,
        total_length=total,
        traffic_class=first >> 20 & 0xFF,
        dont_fragment=True,
        more_fragments=more,
        fragment_offset=offset,
        router_alert=alert,
    )


def _alerts_v6(options: memoryview, offset: int) -> bool:
    """Look for a router alert among options that may be padded by Pad1 or PadN (RFC 2711)."""
    at, alert = 0, False
    while at < len(options):
        if options[at] == 0:
            at += 1
            continue
        if at + 2 > len(options) or at + 2 + options[at + 1] > len(options):
            raise DecodeError(DecodeReason.LENGTH, offset + at)
        alert = alert or (options[at] == _ROUTER_ALERT_V6 and options[at + 1] == 2)
        at += 2 + options[at + 1]
    return alert


def _flow_reason(source: IpAddress, group: IpAddress) -> str:
    # Link-local sources mean nothing elsewhere (RFC 4291 §2.5.6, RFC 3927 §7; Decision 26).
    if not group.is_multicast:
        return NOT_MULTICAST
    if not is_carried(group) or source.is_link_local:
        return LINK_LOCAL
    if source.is_multicast or source.is_unspecified or source.is_loopback:
        return MALFORMED
    return MALFORMED if int(source) == 0xFFFFFFFF else ""


def classify(packet: Buffer, flows: FlowCache) -> Classified:
    """Decide what becomes of a raw packet, without reading more of it than that takes.

    `flows` is the caller's, starts empty and is kept under `FLOW_CACHE_LIMIT` here; only it makes
    this cheap, because addresses become objects once per flow. Checksums are left to the kernel.
    Never raises. Packets from the overlay must pass it as well as those of the host: it is what
    keeps a peer from injecting unicast.
    """
    try:
        first, length, ttl, protocol, key = _GLANCE_V4.unpack_from(packet)
    except struct.error:
        return _MALFORMED
    if 0x45 <= first <= 0x4F:
        if length != len(packet) or length < (first & 0x0F) << 2:
            return _MALFORMED
        if protocol == PROTOCOL_IGMP:
            return _MEMBERSHIP
    elif first >> 4 == 6 and len(packet) >= _IPV6.size:
        _, length, protocol, ttl, key = _GLANCE_V6.unpack_from(packet)
        if length + _IPV6.size != len(packet):
            return _MALFORMED
        if protocol in (PROTOCOL_HOP_BY_HOP, PROTOCOL_ICMPV6) and (found := _icmpv6(packet)):
            return found
    else:
        return _MALFORMED
    flow = flows.get(key)
    if flow is None:
        flow = _new_flow(key, flows)
    return flow if ttl > 1 or flow.reason == NOT_MULTICAST else _TTL_EXPIRED


def _icmpv6(packet: Buffer) -> Classified | None:
    """Find MLD behind its hop-by-hop header; None is "an ordinary packet"."""
    try:
        header = parse(packet)
    except DecodeError:
        return _MALFORMED
    at = header.payload_offset
    if header.protocol != PROTOCOL_ICMPV6 or header.fragment_offset or at >= len(packet):
        return None
    return _MEMBERSHIP if packet[at] in MLD_TYPES else None


def _new_flow(key: bytes, flows: FlowCache) -> Classified:
    half = len(key) // 2
    kind = IPv4Address if half == 4 else IPv6Address
    source, group = kind(key[:half]), kind(key[half:])
    flow = Classified(_flow_reason(source, group), source, group)
    if len(flows) >= FLOW_CACHE_LIMIT:
        flows.clear()
    flows[key] = flow
    return flow


def ip_packet(
    source: IpAddress,
    destination: IpAddress,
    protocol: int,
    payload: Buffer,
    ttl: int = 64,
    *,
    traffic_class: int = 0,
    options: bytes = b"",
    identification: int = 0,
) -> bytes:
    """Build an IP packet, Don't-Fragment set.

    `options` are whole words for IPv4 and, for IPv6, a whole hop-by-hop header without its first
    byte, which this function writes.
    """
    if source.version == 4:
        first = 0x45 + len(options) // 4
        total = _IPV4.size + len(options) + len(payload)
        addresses = source.packed, destination.packed
        words = (first, traffic_class, total, identification, 0x4000, ttl, protocol)
        header = _IPV4.pack(*words, 0, *addresses) + options
        header = _IPV4.pack(*words, checksum(header), *addresses) + options
        return header + payload
    extension = bytes((protocol,)) + options if options else b""
    following = PROTOCOL_HOP_BY_HOP if options else protocol
    length = len(extension) + len(payload)
    first = 6 << 28 | traffic_class << 20
    addresses = source.packed, destination.packed
    return _IPV6.pack(first, length, following, ttl, *addresses) + extension + payload


def wrap_udp(source: Endpoint, destination: Endpoint, payload: Buffer, ttl: int = 64) -> bytes:
    """Build the IP packet that would have carried `payload`; both ends of one IP version."""
    length = _UDP.size + len(payload)
    if length > 0xFFFF - _IPV4.size:
        raise UsageError(f"{len(payload)} bytes do not fit into a UDP datagram")
    pseudo = pseudo_header(source.address, destination.address, PROTOCOL_UDP, length)
    header = _UDP.pack(source.port, destination.port, length, 0)
    # A sum of zero would mean "none" (RFC 768).
    value = checksum(pseudo, header, payload) or 0xFFFF
    datagram = header[:6] + struct.pack("!H", value) + payload
    return ip_packet(source.address, destination.address, PROTOCOL_UDP, datagram, ttl)


def too_big(data: Buffer, mtu: int, router: IpAddress) -> bytes | None:
    """Build the ICMP answer to a packet larger than `mtu` bytes, or None if it must have none.

    Type 3 code 4 for IPv4 (RFC 1191), Packet Too Big for IPv6. RFC 4443 §2.4(e) allows the latter
    for multicast. RFC 1122 §3.2.2 forbids the former, lest every receiver's router answer one
    sender; here the one router and the sender are the same machine, so exactly one answer goes to
    the program that can use it, and Linux senders, which set Don't-Fragment, learn the size.
    A packet without Don't-Fragment is answered too: nothing here fragments, and silence would be
    a black hole. `router` is an address of the TUN that is not the host's.
    Never about ICMP errors, later fragments or packets from no single host (RFC 1122 §3.2.2).
    """
    try:
        packet = parse(data)
    except DecodeError:
        return None
    source, at = packet.source, packet.payload_offset
    if source.is_multicast or source.is_unspecified or packet.fragment_offset:
        return None
    if source.version != router.version or _is_icmp_error(packet, data[at : at + 1]):
        return None
    if packet.version == 4:
        quote = bytes(data[:_QUOTE_V4_BYTES])
        head = struct.pack("!BBHHH", 3, 4, 0, 0, min(mtu, 0xFFFF))
        body = head[:2] + struct.pack("!H", checksum(head, quote)) + head[4:] + quote
        return ip_packet(router, source, PROTOCOL_ICMP, body, traffic_class=0xC0)
    quote = bytes(data[:_QUOTE_V6_BYTES])
    head = struct.pack("!BBHI", 2, 0, 0, mtu)
    pseudo = pseudo_header(router, source, PROTOCOL_ICMPV6, len(head) + len(quote))
    body = head[:2] + struct.pack("!H", checksum(pseudo, head, quote)) + head[4:] + quote
    return ip_packet(router, source, PROTOCOL_ICMPV6, body, ttl=255)


def _is_icmp_error(packet: IpPacket, kind: Buffer) -> bool:
    """Take everything but the known queries for an error, and an empty message too."""
    if packet.protocol == PROTOCOL_ICMP:
        return not kind or kind[0] in (3, 4, 5, 11, 12)
    return packet.protocol == PROTOCOL_ICMPV6 and (not kind or kind[0] < 128 or kind[0] == 137)
