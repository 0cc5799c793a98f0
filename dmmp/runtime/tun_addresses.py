"""Addresses for the TUN as `--tun-address` gives them.

Only reading; which addresses a host may have is the device's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from dmmp.errors import UsageError

TunAddresses = tuple[IPv4Interface | None, IPv6Interface | None]


def parse_tun_addresses(texts: Sequence[str]) -> TunAddresses | None:
    """Read `ADDRESS/LENGTH`, one for each IP version at most; none at all is None."""
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    for text in texts:
        try:
            made = ip_interface(text)
        except ValueError:
            raise UsageError(
                f"--tun-address {text!r}: write an address with its length, like 198.18.0.5/15"
            ) from None
        if "/" not in text:
            raise UsageError(f"--tun-address {text}: its length is missing, like {text}/24")
        if isinstance(made, IPv4Interface) and ipv4 is None:
            ipv4 = made
        elif isinstance(made, IPv6Interface) and ipv6 is None:
            ipv6 = made
        else:
            raise UsageError("--tun-address: one IPv4 and one IPv6 address at most")
    return (ipv4, ipv6) if texts else None
