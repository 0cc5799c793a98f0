"""A group as `--group` names it: an address that is carried, and perhaps a port.

Only reading and checking; the sockets are in `interface`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from dmmp.errors import UsageError
from dmmp.interest import is_carried
from dmmp.types import Endpoint, IpAddress


class Group(NamedTuple):
    """A group to carry, and its UDP port; None is every port."""

    address: IpAddress
    port: int | None = None

    def __str__(self) -> str:
        return str(self.address) if self.port is None else str(Endpoint(self.address, self.port))


def parse_group(text: str) -> Group:
    """Read `GROUP[:PORT]` or `[V6]:PORT`; raise `UsageError` unless it is carried multicast."""
    host, port = _split_group(text)
    try:
        address = ip_address(host)
    except ValueError:
        raise UsageError(
            f"--group {text!r} is no address; write for example 239.1.2.3 or 239.1.2.3:5004"
        ) from None
    if not address.is_multicast:
        raise UsageError(
            f"--group {address} is not multicast; "
            "groups are 224.0.1.0 to 239.255.255.255 and ff00::/8"
        )
    if not is_carried(address):
        raise UsageError(
            f"--group {address} is link-local and never leaves its link; use one like 239.1.2.3"
        )
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"--group {text}: a port is 1 to 65535")
    return Group(address, port)


def _split_group(text: str) -> tuple[str, int | None]:
    text = text.strip()
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not port.isdecimal():
        raise UsageError(f"--group {text!r}: {port!r} is no port; write 239.1.2.3:5004")
    return host, int(port) if port else None
