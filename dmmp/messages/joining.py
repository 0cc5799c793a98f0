"""Into a cluster: Cluster for the first build, Join for late comers and rejoins.

Behaviour is elsewhere (`roles`). Slides 9 and 16, -03 §6.3.
"""

from __future__ import annotations

from dmmp.messages.common import HostRecord, Status, host_record, host_records, root_path
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import uint8, uint32
from dmmp.types import NO_HOST, HostId


@message(Option.CLUSTER_REQUEST)
class ClusterRequest(Message):
    """Slide 9, -00 Table 1. Take me as a direct child while the clusters are being built."""

    applicant: HostRecord = wire(host_record, doc="the host that seeks a place")


@message(Option.CLUSTER_RESPONSE)
class ClusterResponse(Message):
    """Slide 9. A place, or a refusal with the super node's children to ask in turn."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    parent: HostRecord = wire(host_record, doc="the super node", default=HostRecord())
    super_node: HostId = wire(uint32, doc="root of the cluster", default=NO_HOST)
    root_path: tuple[HostId, ...] = wire(
        root_path, doc="ids from that host's parent up to the source (Decision 17)", default=()
    )
    children: tuple[HostRecord, ...] = wire(
        host_records, doc="the refuser's children, most free slots first", default=()
    )


@message(Option.JOIN_REQUEST)
class JoinRequest(Message):
    """-03 §6.3, slide 16. A place for the applicant? Passed down with its sequence unchanged."""

    applicant: HostRecord = wire(host_record, doc="the host that seeks a place; answers go to it")
    passes: int = wire(
        uint8, doc="how many more times it may be passed down; 0 = answer yourself", default=0
    )


@message(Option.JOIN_RESPONSE)
class JoinResponse(Message):
    """-03 §6.3. An offer, reserved for a short while; or a refusal with the refuser's children."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    parent: HostRecord = wire(
        host_record, doc="who offers: depth and uptime decide (slide 16)", default=HostRecord()
    )
    super_node: HostId = wire(uint32, doc="root of the cluster", default=NO_HOST)
    root_path: tuple[HostId, ...] = wire(
        root_path, doc="ids from that host's parent up to the source (Decision 17)", default=()
    )
    children: tuple[HostRecord, ...] = wire(
        host_records, doc="the refuser's children, most free slots first", default=()
    )
