"""Optional elements after the fixed fields: type 16, length 16, value, padded to 4 (Decision 5).

Unknown types with the high bit set are kept but mean nothing; without it the message is refused.
"""

from __future__ import annotations

import struct

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages.options import COMPREHENSION_OPTIONAL, TlvType
from dmmp.messages.schema import Tlv

MAXIMUM_TLVS = 16
"""Elements in one message (Decision 5)."""

_HEAD = struct.Struct("!HH")
_KNOWN = frozenset(int(known) for known in TlvType)


def build_tlvs(tlvs: tuple[Tlv, ...]) -> bytes:
    """Build the bytes of the elements in their order."""
    return b"".join(
        _HEAD.pack(tlv.type, len(tlv.value)) + tlv.value + bytes(-len(tlv.value) % 4)
        for tlv in tlvs
    )


def parse_tlvs(data: bytes, base: int) -> tuple[Tlv, ...]:
    """Read all of `data`, which stands at `base` in its datagram; raise `DecodeError`."""
    found: list[Tlv] = []
    at = 0
    while at < len(data):
        if len(found) == MAXIMUM_TLVS:
            raise DecodeError(DecodeReason.TLV, base + at, f"more than {MAXIMUM_TLVS} elements")
        if len(data) - at < _HEAD.size:
            raise DecodeError(DecodeReason.TRAILING, base + at, "no room for an element's head")
        kind, length = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        end = start + length
        at_next = end + -length % 4
        if at_next > len(data):
            raise DecodeError(DecodeReason.TRUNCATED, base + at, f"element of {length} bytes")
        if any(data[end:at_next]):
            raise DecodeError(DecodeReason.TLV, base + end, "padding is not zero")
        if not kind & COMPREHENSION_OPTIONAL and kind not in _KNOWN:
            raise DecodeError(DecodeReason.TLV, base + at, f"unknown element {kind:#06x}")
        found.append(Tlv(kind, data[start:end]))
        at = at_next
    return tuple(found)
