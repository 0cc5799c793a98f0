"""Opens and binds the UDP socket of a node, with room for bursts in its buffers."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

from dmmp.errors import UsageError
from dmmp.types import DEFAULT_PORT, Endpoint

SEND_BUFFER_BYTES = 4 << 20
"""The default of some 200 KiB is full after a burst to a few children."""

RECEIVE_BUFFER_BYTES = 16 << 20
"""Two seconds of 80 Mbit/s, for machines so busy that we do not run for so long: with 4 MiB, 17
nodes on two overloaded cores lost a tenth of a stream, with this nothing (measured)."""

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33


def bind(listen: Endpoint | None) -> socket.socket:
    """Open and bind a UDP socket, or raise `UsageError` with the cure.

    None is "the usual port if it is free, else any". The IPv6 wildcard takes IPv4 too, and is the
    IPv4 one where the kernel has no IPv6.
    """
    if listen is not None:
        return _bound(listen)
    wildcard = ip_address("::")
    try:
        return _bound(Endpoint(wildcard, DEFAULT_PORT))
    except UsageError:
        return _bound(Endpoint(wildcard, 0))


def _bound(listen: Endpoint) -> socket.socket:
    version6 = listen.address.version == 6
    try:
        made = socket.socket(socket.AF_INET6 if version6 else socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        if version6 and listen.address.is_unspecified:
            return _bound(Endpoint(ip_address("0.0.0.0"), listen.port))
        raise UsageError(f"--listen {listen}: {error.strerror}; use an IPv4 address") from None
    try:
        made.setblocking(False)
        if version6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        _enlarge(made)
        made.bind((str(listen.address), listen.port))
    except OSError as error:
        made.close()
        raise UsageError(_why_not(listen, error)) from None
    return made


def _why_not(listen: Endpoint, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"--listen {listen}: port {listen.port} is taken; choose another with --listen, "
            f"or find its owner with: ss -lunp sport = :{listen.port}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--listen {listen}: not an address of this machine; see: ip address"
    if error.errno == errno.EACCES:
        return f"--listen {listen}: ports below 1024 need root; choose a higher one"
    return f"--listen {listen}: {error.strerror}"


def _enlarge(opened: socket.socket) -> None:
    for forced, plain, size in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER_BYTES),
    ):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, size)
        except OSError:
            # Without CAP_NET_ADMIN the kernel gives up to net.core.rmem_max; `doctor` tells.
            opened.setsockopt(socket.SOL_SOCKET, plain, size)
