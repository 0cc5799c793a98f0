"""The seven messages of self-improvement: child X takes the place of its parent P.

G is P's parent, Y another child of P; Join Request and Response are the ordinary ones. -03 §6.8.
"""

from __future__ import annotations

from dmmp.messages.common import HostRecord, Status, host_record
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import uint8


@message(Option.PROMOTION_REQUEST)
class PromotionRequest(Message):
    """-03 §6.8, step 1: X to P. My capacity beats yours by the threshold."""

    applicant: HostRecord = wire(host_record, doc="X")


@message(Option.PROMOTION_ACK)
class PromotionAck(Message):
    """-03 §6.8, step 4: P to X. Yes, with the grandparent to join; or no."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    grandparent: HostRecord = wire(host_record, doc="G, P's parent", default=HostRecord())


@message(Option.PROMOTION_CONFIRM)
class PromotionConfirm(Message):
    """-03 §6.8, step 12: Y to P. I have my place below X."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)


@message(Option.BREAK_REQUEST)
class BreakRequest(Message):
    """-03 §6.8, step 2: P to G. X is to take my place at yours."""

    applicant: HostRecord = wire(host_record, doc="X")


@message(Option.BREAK_RESPONSE)
class BreakResponse(Message):
    """-03 §6.8, step 3: G to P. Agreed, or not; P waits for it, else a loop could form."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)


@message(Option.BREAK_CONFIRM)
class BreakConfirm(Message):
    """-03 §6.8, step 8: between P and G. The old link is gone."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)


@message(Option.JOIN_NOTIFICATION)
class JoinNotification(Message):
    """-03 §6.8, steps 7 and 9: X to P "I have joined G"; P to Y "go to X"."""

    parent: HostRecord = wire(host_record, doc="the new parent")
