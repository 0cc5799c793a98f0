"""Addresses of the TUN interface and the scope of multicast groups.

Pure functions of numbers and addresses; the device only installs what they give (Decision 26).
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from dmmp.errors import UsageError
from dmmp.types import IpAddress

TUN_NETWORK_V4 = IPv4Network("198.18.0.0/15")
"""RFC 2544's benchmarking range: VPNs use 100.64.0.0/10 and LANs the RFC 1918 ranges."""

TUN_NETWORK_V6 = IPv6Network("fd64:6d6d:7000::/40")
"""An RFC 4193 prefix that spells "dmmp" after fd-; 24 bits of the session select the /64."""

SSM_GROUPS_V4 = IPv4Network("232.0.0.0/8")

_INDEX_MASK = 0x1FFFF
_AWAY = 0x10080


def default_addresses(session_id: int, host_id: int) -> tuple[IPv4Interface, IPv6Interface]:
    """Give the interface addresses of a host that was not told any.

    IPv4: 198.18.0.0/15 with the low 17 bits of the host id. That range belongs to no real network
    and is used by neither VPNs (100.64/10) nor LANs (RFC 1918). An id that would end in .0 or .255,
    or be 198.18.0.1, which the querier speaks from, moves to the other half of the range.
    IPv6: fd64:6d6d:70ss:ssss::/64 from the session, interface identifier from session and host.
    """
    if not 0 < host_id < 1 << 32 or not 0 <= session_id < 1 << 32:
        raise UsageError("a host id is 1 to 4294967295, a session id 0 to 4294967295")
    index = host_id & _INDEX_MASK
    if index & 0xFF in (0, 0xFF) or index == 1:
        index ^= _AWAY
    ipv4 = IPv4Interface((int(TUN_NETWORK_V4.network_address) + index, TUN_NETWORK_V4.prefixlen))
    network = int(TUN_NETWORK_V6.network_address) | (session_id & 0xFFFFFF) << 64
    ipv6 = IPv6Interface((network | session_id << 32 | host_id, 64))
    return ipv4, ipv6


def querier_address(interface: IPv4Interface) -> IPv4Address:
    """Give the lowest address of the subnet that is not the host's own.

    A host drops packets from its own address, so the querier cannot speak from that (RFC 1122).
    """
    network = interface.network
    if network.prefixlen > 30:
        return IPv4Address(int(interface.ip) ^ 1)
    lowest = network.network_address + 1
    return lowest if lowest != interface.ip else lowest + 1


def is_source_specific(group: IpAddress) -> bool:
    """Tell whether `group` is in 232.0.0.0/8 or ff3x::/32 (RFC 4607 §1)."""
    if isinstance(group, IPv6Address):
        packed = group.packed
        return packed[0] == 0xFF and packed[1] >> 4 == 3 and packed[2:4] == b"\0\0"
    return group in SSM_GROUPS_V4
