"""Values that several messages share: host records, interest, links, status codes.

All addresses are 16 bytes on the wire (IPv4 mapped), so that every record has one size.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from dmmp.interest import FilterMode, Interest
from dmmp.messages.schema import record, wire
from dmmp.messages.wiretypes import (
    Record,
    WireField,
    address,
    choice,
    counted,
    endpoint,
    uint8,
    uint16,
    uint32,
)
from dmmp.types import NO_HOST, NOWHERE, Endpoint, HostId

MAXIMUM_CANDIDATES = 12
"""Hosts in one candidate list (Decision 13); also children listed in a refusal."""

MAXIMUM_PATH = 64
"""Ancestors in a root path; deeper than that no host is admitted (Decision 17)."""

MAXIMUM_INTEREST = 32
"""Interest records in one message; more go into further messages (Decision 25)."""

MAXIMUM_SOURCES = 16
"""Sources in one interest record; a longer list is widened to every source (Decision 25)."""

MAXIMUM_KIN = 3
"""Siblings named to a child, and successors named by a super node (slides 18 and 21)."""

MAXIMUM_LINKS = 100
"""Links in one link state: as many as there may be super nodes (slide 15)."""


class HostFlag(IntEnum):
    """Bits that say what a host is and offers (slides 9 and 16); unknown ones mean nothing.

    FED: it is in the flow of data already and asks itself for what it lacks (slide 17). ORDINARY:
    no authority lets it be a super node (slide 23). EXCHANGES: an applicant that gains so much that
    a child may make room and go below it; its `delay_us` is what it would have (Decision 75).
    """

    NONE = 0
    SOURCE = 1
    SUPER_NODE = 2
    RELAY_ONLY = 4
    OFFERS = 8
    FED = 16
    ORDINARY = 32
    EXCHANGES = 64


class Status(IntEnum):
    """Result codes of responses; a receiver takes unknown ones as `REFUSED` (Decision 5)."""

    SUCCESS = 0
    REFUSED = 1
    FULL = 2
    LOOP = 3
    UNKNOWN_SESSION = 4
    UNKNOWN_HOST = 5
    NOT_JOINED = 6
    NOT_SUPER_NODE = 7
    DUPLICATE_SOURCE = 8
    NO_SOURCE = 9
    INCAPABLE = 10


class HostState(IntEnum):
    """What a Status Report says of its subject (slide 12, -03 §6.4)."""

    ACTIVE = 0
    LEAVING = 1
    INACTIVE = 2


class LeaveReason(IntEnum):
    """Why a host goes: for good, or only from this parent (slide 20)."""

    SHUTDOWN = 0
    MOVED = 1
    DECLINED = 2
    DISMISSED = 3
    HANDOVER = 4


def is_shutdown(reason: int) -> bool:
    """Tell whether a Leave Report says that its sender goes for good: unknown reasons do."""
    return reason not in (
        LeaveReason.MOVED,
        LeaveReason.DECLINED,
        LeaveReason.DISMISSED,
        LeaveReason.HANDOVER,
    )


class RefreshKind(IntEnum):
    """In which relation the sender of a Refresh stands to the receiver (slide 18)."""

    CHILD = 0
    PARENT = 1
    MESH = 2
    SOURCE = 3
    HOST = 4
    RELATIVE = 5


class Phase(IntEnum):
    """Whether the overlay is being built or joins are late ones (slides 9 and 16)."""

    BUILDING = 0
    RUNNING = 1


class ErrorCode(IntEnum):
    """Why a request was not understood (Decision 5)."""

    UNKNOWN_OPTION = 0
    UNKNOWN_TLV = 1
    UNKNOWN_SESSION = 2
    NOT_ALLOWED = 3


@record
class HostRecord:
    """A host as others know it (slides 13 and 19): 36 bytes."""

    host: HostId = wire(uint32, doc="id within the session", default=NO_HOST)
    endpoint: Endpoint = wire(endpoint, doc="where it receives datagrams", default=NOWHERE)
    flags: int = wire(uint8, names=HostFlag, doc="what the host is and offers", default=0)
    depth: int = wire(uint8, doc="hops below the source; 255 = not joined", default=255)
    out_degree: int = wire(uint16, doc="maximum out-degree", default=0)
    free_slots: int = wire(uint16, doc="free places in its whole subtree (Decision 14)", default=0)
    uptime: int = wire(uint32, doc="seconds since the host was started", default=0)
    delay_us: int = wire(
        uint32, doc="one-way delay from the source, microseconds; 0 = unknown", default=0
    )


def located(host: HostRecord, endpoint: Endpoint) -> HostRecord:
    """Return the record with the endpoint the host was really heard from (Decision 7)."""
    return host if host.endpoint == endpoint else replace(host, endpoint=endpoint)


NOT_JOINED_DEPTH = 255
"""Depth of a host that has no place in the tree yet."""


@record
class LinkRecord:
    """One mesh link in a super node's link state (Decision 15): 8 bytes."""

    neighbour: HostId = wire(uint32, doc="the super node at the other end")
    delay_us: int = wire(uint32, doc="round-trip time, microseconds")


interest_record = Record(
    Interest,
    (
        WireField("group", address, "group address"),
        WireField("mode", choice(uint8, FilterMode), "how the sources are meant", FilterMode),
        WireField("sources", counted(address, MAXIMUM_SOURCES), "source addresses"),
    ),
)
"""Interest on the wire (Decision 25): group 16 bytes, mode 8 bits, count 8 bits, 16 a source."""

host_records = counted(HostRecord.WIRE, MAXIMUM_CANDIDATES)  # type: ignore[attr-defined]
host_record = HostRecord.WIRE  # type: ignore[attr-defined]
kin_records = counted(HostRecord.WIRE, MAXIMUM_KIN)  # type: ignore[attr-defined]
link_records = counted(LinkRecord.WIRE, MAXIMUM_LINKS)  # type: ignore[attr-defined]
root_path = counted(uint32, MAXIMUM_PATH)
interest_records = counted(interest_record, MAXIMUM_INTEREST)
