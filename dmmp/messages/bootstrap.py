"""Subscription, Ping_RP, Source: finding the RP, an identity and the super nodes.

Behaviour is elsewhere (`roles`). Slide 12, -03 §6.1.
"""

from __future__ import annotations

from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    HostRecord,
    Phase,
    Status,
    host_record,
    host_records,
)
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import counted, endpoint, text, uint8, uint32, uint64
from dmmp.types import NO_HOST, NOWHERE, Endpoint, HostId


@message(Option.SUBSCRIPTION_REQUEST)
class SubscriptionRequest(Message):
    """Slide 12, Decision 23. Which RPs serve this name? Any RP stands in for the DNS server."""

    group_name: str = wire(text(64), doc="the session's name, UTF-8")
    domain: str = wire(text(255), doc="domain of the group, may be empty", default="")


@message(Option.SUBSCRIPTION_RESPONSE)
class SubscriptionResponse(Message):
    """Slide 12, Decision 23. The session id (in the header) and the addresses of its RPs."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    lifetime: int = wire(uint32, doc="seconds the answer may be cached", default=0)
    rendezvous_points: tuple[Endpoint, ...] = wire(
        counted(endpoint, 8), doc="RPs of the session; empty = the one that answers", default=()
    )


@message(Option.PING_RP_REQUEST)
class PingRpRequest(Message):
    """-03 §6.1, slide 12. Register (again) at the RP and ask for super nodes."""

    instance: int = wire(uint64, doc="random number of this start of the host: same host, same id")
    host: HostRecord = wire(host_record, doc="what the sender is and offers")
    refused: tuple[HostId, ...] = wire(
        counted(uint32, MAXIMUM_CANDIDATES), doc="super nodes that had no place for it", default=()
    )


@message(Option.PING_RP_RESPONSE)
class PingRpResponse(Message):
    """-03 §6.1, Decision 13. The sender's id and candidates: super nodes, at least one active."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    phase: int = wire(uint8, names=Phase, doc="is the overlay being built?", default=Phase.RUNNING)
    host: HostId = wire(uint32, doc="the id given to the sender", default=NO_HOST)
    observed: Endpoint = wire(endpoint, doc="the address the request came from", default=NOWHERE)
    hosts: int = wire(uint32, doc="hosts registered in the session", default=0)
    super_nodes: tuple[HostRecord, ...] = wire(
        host_records, doc="candidates with uptime and out-degree", default=()
    )


@message(Option.SOURCE_REQUEST)
class SourceRequest(Message):
    """-03 §6.3, slide 16. Where is the source? With flag OFFERS also: take me as a super node."""

    host: HostRecord = wire(host_record, doc="what the sender is and offers")


@message(Option.SOURCE_RESPONSE)
class SourceResponse(Message):
    """-03 §6.3. Success with the source's address, or Failure."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    origin: HostRecord = wire(host_record, doc="the source", default=HostRecord())
