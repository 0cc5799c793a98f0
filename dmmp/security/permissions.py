"""Who may say what: messages held against the certificate of the host that sent them (slide 23).

What a host says of itself is cut down to what its certificate allows; what only a super node, a
source or a rendezvous point may say is dropped from anybody else. What it says of others is
hearsay, which roles verify by speaking to them.
"""

from __future__ import annotations

from dataclasses import replace

from dmmp.errors import AuthenticationError
from dmmp.messages import (
    ClusterResponse,
    JoinRequest,
    KeyLeave,
    KeyRequest,
    KeyResponse,
    PingRpRequest,
    PingRpResponse,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    RenewalResponse,
    SetupRequest,
    SetupResponse,
    SourceRequest,
    SourceResponse,
    SubscriptionResponse,
)
from dmmp.messages.common import HostFlag, HostRecord, RefreshKind, Status
from dmmp.messages.joining import ClusterRequest, JoinResponse
from dmmp.messages.schema import FieldValue, Message
from dmmp.security.peer import Capability, Peer
from dmmp.types import Endpoint

NEEDS: dict[type[Message], Capability] = {
    SubscriptionResponse: Capability.RENDEZVOUS_POINT,
    PingRpResponse: Capability.RENDEZVOUS_POINT,
    SourceResponse: Capability.RENDEZVOUS_POINT,
    RenewalResponse: Capability.AUTHORITY,
    SetupRequest: Capability.SUPER_NODE | Capability.SOURCE,
    # An RP, or whoever else only serves, is not to read what the session carries.
    KeyRequest: Capability.MEMBER,
    KeyLeave: Capability.MEMBER,
    KeyResponse: Capability.SOURCE,
}
"""Messages that only hosts with one of these capabilities may send."""

OWN_RECORD: dict[type[Message], str] = {
    PingRpRequest: "host",
    SourceRequest: "host",
    ClusterRequest: "applicant",
    JoinRequest: "applicant",
    ClusterResponse: "parent",
    JoinResponse: "parent",
    SetupRequest: "sender",
    SetupResponse: "sender",
    RefreshRequest: "sender",
    RefreshResponse: "sender",
    ProbeResponse: "sender",
}
"""Fields in which hosts tell of themselves."""

_MESH_KINDS = (RefreshKind.MESH, RefreshKind.SOURCE)
_MESH = Capability.SUPER_NODE | Capability.SOURCE


def permitted(message: Message, peer: Peer, sender: Endpoint) -> Message:
    """Return the message as its sender may say it; raise `AuthenticationError` if it may not."""
    needed = NEEDS.get(type(message), Capability.NONE)
    if type(message) is RefreshRequest and (message.kind in _MESH_KINDS or message.links):
        needed = _MESH
    if isinstance(message, ClusterResponse | SetupResponse) and message.status == Status.SUCCESS:
        # Anybody may refuse with them, and is to be heard: who asked would go on asking.
        needed = _MESH
    if needed and not needed & peer.capabilities:
        raise AuthenticationError(f"{peer.name} may not send {type(message).__name__}")
    field = OWN_RECORD.get(type(message))
    if field is None:
        return message
    record: HostRecord = getattr(message, field)
    # A Join Request that was passed down tells of the applicant, not of who passed it.
    if type(message) is JoinRequest and record.host != message.source:
        return message
    bounded = within(record, peer)
    if bounded is record:
        return message
    changes: dict[str, FieldValue] = {field: bounded}
    return replace(message, **changes)


def within(record: HostRecord, peer: Peer) -> HostRecord:
    """Cut what a host says of itself down to its certificate; `AuthenticationError` for a lie."""
    flags = record.flags
    if flags & HostFlag.SOURCE and Capability.SOURCE not in peer.capabilities:
        raise AuthenticationError(f"{peer.name} is no source")
    if flags & HostFlag.SUPER_NODE and not peer.capabilities & _MESH:
        raise AuthenticationError(f"{peer.name} is no super node")
    if peer.capabilities & _MESH:
        flags &= ~HostFlag.ORDINARY
    else:
        flags = (flags | HostFlag.ORDINARY) & ~HostFlag.OFFERS
    out_degree = min(record.out_degree, peer.out_degree)
    if (flags, out_degree) == (record.flags, record.out_degree):
        return record
    return replace(record, flags=int(flags), out_degree=out_degree)
