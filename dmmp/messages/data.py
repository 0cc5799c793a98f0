"""Data and what belongs to it: heartbeats and requests for missing packets (Decisions 4, 8 and 18).

Data itself is never a message object on the data plane; the class here is for tools and vectors.
"""

from __future__ import annotations

from dmmp.messages.common import ErrorCode
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import address, octets, rest, text, uint8, uint16, uint32
from dmmp.types import HostId, IpAddress

MAXIMUM_CERTIFICATE_BYTES = 1024
"""Longest certificate, DER (Decision 66)."""

MAXIMUM_BITMAP_BYTES = 128
"""Longest bitmap of a data request: 1,024 sequence numbers (Decision 18)."""


@message(Option.DATA, tlvs=False)
class Data(Message):
    """-03 §5, Decision 8. One IP packet of the channel that the reserved word names."""

    payload: bytes = wire(rest, doc="a whole IPv4 or IPv6 packet")


@message(Option.HEARTBEAT)
class Heartbeat(Message):
    """Decisions 4 and 8. Announces a channel and the highest sequence sent in it.

    Like data it names the origin in `source` and the channel in `reserved`, and relays pass it on
    as it is. `sequence` counts the channel's heartbeats, apart from its data.
    """

    group: IpAddress = wire(address, doc="group the channel carries")
    origin_address: IpAddress = wire(address, doc="source address of its IP packets")
    highest: int = wire(uint32, doc="sequence number of the newest data packet")
    started: int = wire(
        uint8, doc="0 = nothing sent yet: `highest` is the number before the first; 1 = it was sent"
    )


@message(Option.CREDENTIAL)
class Credential(Message):
    """Decision 67. The certificate of an origin, ahead of what it signed.

    Like data it names the origin in `source`, comes from upstream, and is passed on as it is.
    """

    certificate: bytes = wire(octets(MAXIMUM_CERTIFICATE_BYTES), doc="X.509, DER")


@message(Option.DATA_REQUEST)
class DataRequest(Message):
    """Slide 17, Decision 18. Send me again what the bitmap marks, or what you hold.

    Bit n of the bitmap (most significant first) stands for sequence `base` + n. With an empty
    bitmap the request is for everything held from `base` on; with origin 0 for all channels that
    the sender is interested in, whatever `base` says.
    """

    origin: HostId = wire(uint32, doc="origin of the channel; 0 = every channel")
    channel: int = wire(uint16, doc="channel number")
    base: int = wire(uint32, doc="first sequence number meant")
    bitmap: bytes = wire(octets(MAXIMUM_BITMAP_BYTES), doc="missing ones", default=b"")


@message(Option.ERROR)
class Error(Message):
    """Decision 5. The request with this sequence number was not understood or not allowed."""

    code: int = wire(uint8, names=ErrorCode, doc="why it was not understood")
    option: int = wire(uint16, doc="option of the offending message")
    offset: int = wire(uint16, doc="byte offset of the fault in it")
    text: str = wire(text(128), doc="for people", default="")
