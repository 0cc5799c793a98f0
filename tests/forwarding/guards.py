"""Guards for the forwarder's tests: a certified source, and hosts that check what it signed."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from dmmp.actions import InstallKey
from dmmp.errors import AuthenticationError
from dmmp.security.data_guard import DataGuard
from dmmp.security.peer import EVERY_CAPABILITY, Capability, Peer
from dmmp.security.signing import Signer
from tests.forwarding.build import ORIGIN, SESSION
from tests.forwarding.overlay import Host, Overlay

SIGNER = Signer(bytes(range(32)))
OTHER_SIGNER = Signer(bytes(range(1, 33)))
SECRET = b"e" * 32
CERTIFICATE = b"the source's certificate"
_PEERS = {
    CERTIFICATE: (SIGNER.public, EVERY_CAPABILITY, 1),
    b"another source's": (OTHER_SIGNER.public, EVERY_CAPABILITY, 2),
    b"a member's": (OTHER_SIGNER.public, Capability.MEMBER, 3),
}


def check(certificate: bytes, at: float) -> Peer:
    """Stand in for an authority."""
    if certificate not in _PEERS:
        raise AuthenticationError("no such certificate")
    key, capabilities, serial = _PEERS[certificate]
    groups = (ip_address("239.1.2.3"),)
    return Peer(key[:16], "host", capabilities, 8, 10**9, groups, key, key, serial, 1e12)


def by_manifest(is_source: bool, delivers: bool = True) -> DataGuard:
    """Make a guard of a session with certificates."""
    own = (SIGNER, CERTIFICATE) if is_source else (None, b"")
    return DataGuard(check, 0.0, *own, delivers=delivers)


def by_tag(is_source: bool) -> DataGuard:
    """Make a guard of a session with a shared secret."""
    return DataGuard(None, 0.0, SIGNER, anybody=check(CERTIFICATE, 0.0))


def give_keys(overlay: Overlay, epoch: int = 1, secret: bytes = SECRET) -> None:
    """Let every host know the epoch's secret, the source last."""
    for host in reversed(list(overlay.hosts.values())):
        give_key(overlay, host, epoch, secret)


def give_key(overlay: Overlay, host: Host, epoch: int = 1, secret: bytes = SECRET) -> None:
    """Let one host know it."""
    action = InstallKey(SESSION, ORIGIN, epoch, secret, host.parent is None)
    overlay.carry_out(host, host.forwarder.apply(action, overlay.now))


Guards = Callable[[bool], DataGuard]
