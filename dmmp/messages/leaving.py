"""Leave: going in good order.

Later drafts call it Inactive; Decision 1 keeps the name. Slides 20 and 21, -03 §6.5.
"""

from __future__ import annotations

from dmmp.messages.common import HostRecord, LeaveReason, Status, host_record
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import uint8


@message(Option.LEAVE_REPORT)
class LeaveReport(Message):
    """Slide 20. I go, or I go from you; a super node names who takes its place (slide 21)."""

    reason: int = wire(uint8, names=LeaveReason, doc="why it goes", default=LeaveReason.SHUTDOWN)
    replacement: HostRecord = wire(
        host_record, doc="the new leader, or where to go; host 0 = none", default=HostRecord()
    )


@message(Option.LEAVE_RESPONSE)
class LeaveResponse(Message):
    """Slide 20. Noted: the leaving host may go."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
