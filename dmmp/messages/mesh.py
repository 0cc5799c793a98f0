"""Setup: into the overlay core, and between its members.

Link state travels in Refresh, not here (Decision 15). Slides 9 and 12.
"""

from __future__ import annotations

from dmmp.messages.common import HostRecord, Status, host_record, host_records
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import uint8


@message(Option.SETUP_REQUEST)
class SetupRequest(Message):
    """Slide 9. From the source: you are a super node. From a super node: we share the mesh."""

    sender: HostRecord = wire(host_record, doc="the source (flag SOURCE) or a super node")
    members: tuple[HostRecord, ...] = wire(
        host_records, doc="super nodes to set up with; more follow in Status Reports", default=()
    )


@message(Option.SETUP_RESPONSE)
class SetupResponse(Message):
    """Slide 9. Accepted, or INCAPABLE; the round trip is the first measure of the link."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    sender: HostRecord = wire(host_record, doc="who answers", default=HostRecord())
