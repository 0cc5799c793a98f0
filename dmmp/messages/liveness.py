"""Refresh, Probe and Status: who is there, how far, with what capacity.

Behaviour is elsewhere (`roles`). Slide 18, -03 §6.4.
"""

from __future__ import annotations

from dmmp.interest import Interest
from dmmp.messages.common import (
    HostRecord,
    HostState,
    LinkRecord,
    RefreshKind,
    Status,
    host_record,
    host_records,
    interest_records,
    kin_records,
    link_records,
    root_path,
)
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import uint8, uint32, uint64
from dmmp.types import NO_HOST, HostId


@message(Option.REFRESH_REQUEST)
class RefreshRequest(Message):
    """Slide 18, Decision 25. Renew state at a relative; the first to a parent confirms its offer.

    `interest` renews or, with an empty INCLUDE, withdraws interest group by group; groups that are
    not named keep what they had until their hold time.
    """

    kind: int = wire(uint8, names=RefreshKind, doc="what the sender is to the receiver")
    sender: HostRecord = wire(host_record, doc="the sender's present state")
    super_node: HostId = wire(uint32, doc="root of the sender's cluster", default=NO_HOST)
    root_path: tuple[HostId, ...] = wire(
        root_path, doc="ids from the sender's parent up to the source", default=()
    )
    interest: tuple[Interest, ...] = wire(
        interest_records, doc="wanted groups of the sender's subtree", default=()
    )
    links: tuple[LinkRecord, ...] = wire(
        link_records, doc="link state of a super node (Decision 15)", default=()
    )
    successors: tuple[HostRecord, ...] = wire(
        kin_records,
        doc="a super node to the source: its most capable children, one of which takes its place",
        default=(),
    )


@message(Option.REFRESH_RESPONSE)
class RefreshResponse(Message):
    """Slide 18. The receiver's own state in return; NOT_JOINED or UNKNOWN_HOST end the relation."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    sender: HostRecord = wire(host_record, doc="the answering host's present state")
    super_node: HostId = wire(uint32, doc="root of its cluster", default=NO_HOST)
    root_path: tuple[HostId, ...] = wire(
        root_path, doc="ids from the answering host's parent up to the source", default=()
    )
    backups: tuple[HostRecord, ...] = wire(
        host_records, doc="to a child: backup parents (Decision 20)", default=()
    )
    siblings: tuple[HostRecord, ...] = wire(
        kin_records, doc="to a child: others on its level (slide 18)", default=()
    )
    successor: HostRecord = wire(
        host_record,
        doc="to a child of a super node: who takes this host's place (Decision 22); 0 = nobody",
        default=HostRecord(),
    )


@message(Option.PROBE_REQUEST)
class ProbeRequest(Message):
    """Slide 12, Decision 12. Are you there, and how far? A PADDING element makes it of any size."""

    timestamp: int = wire(uint64, doc="opaque to the receiver, returned as it is")


@message(Option.PROBE_RESPONSE)
class ProbeResponse(Message):
    """Slide 12. The timestamp in return, and the answering host's present state."""

    timestamp: int = wire(uint64, doc="copied from the request")
    sender: HostRecord = wire(host_record, doc="the answering host's present state")


@message(Option.STATUS_REPORT)
class StatusReport(Message):
    """Slide 12, -03 §6.4. The subject is active, leaving or inactive."""

    state: int = wire(
        uint8, names=HostState, doc="what the subject is now", default=HostState.ACTIVE
    )
    subject: HostRecord = wire(host_record, doc="the host it is about")


@message(Option.STATUS_RESPONSE)
class StatusResponse(Message):
    """Slide 12. Noted."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
