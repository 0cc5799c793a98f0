"""Messages as plain JSON values and back, by their wire types: for vectors and transcripts.

Addresses are text, endpoints and records objects, bytes hexadecimal text, numbers numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import construct

from dmmp.messages import REGISTRY, Message, Tlv
from dmmp.messages.wiretypes import Address, AllBut, Choice, Counted, Octets, Record, Text, rest

RAW = (Octets, AllBut, construct.Bytes)

HEADER_FIELDS = ("session", "source", "sequence", "tree_version", "reserved")


def to_plain(value: Any, kind: construct.Construct) -> Any:
    """Turn a value of a wire type into what JSON can say."""
    if isinstance(kind, Address):
        return str(value)
    if isinstance(kind, Counted):
        return [to_plain(element, kind.element) for element in value]
    if isinstance(kind, Record):
        return {
            field.name: to_plain(getattr(value, field.name), field.type) for field in kind.fields
        }
    if isinstance(kind, RAW) or kind is rest:
        return value.hex()
    if isinstance(kind, Text):
        return value
    return int(value)


def from_plain(value: Any, kind: construct.Construct) -> Any:
    """Turn what JSON said into a value of a wire type."""
    if isinstance(kind, Address):
        return ip_address(value)
    if isinstance(kind, Counted):
        return tuple(from_plain(element, kind.element) for element in value)
    if isinstance(kind, Record):
        return kind.cls(
            **{field.name: from_plain(value[field.name], field.type) for field in kind.fields}
        )
    if isinstance(kind, RAW) or kind is rest:
        return bytes.fromhex(value)
    if isinstance(kind, Choice):
        return kind.choices(value)
    return value


def message_to_plain(message: Message) -> dict[str, Any]:
    """Turn a message into header, body and optional elements as plain values."""
    return {
        "header": {name: int(getattr(message, name)) for name in HEADER_FIELDS},
        "body": to_plain(message, message.BODY),
        "tlvs": [{"type": tlv.type, "value": tlv.value.hex()} for tlv in message.tlvs],
    }


def message_from_plain(option: int, plain: Mapping[str, Any]) -> Message:
    """Make a message of what `message_to_plain` gave."""
    cls = REGISTRY[option]
    body = {
        field.name: from_plain(plain["body"][field.name], field.type) for field in cls.BODY.fields
    }
    tlvs = tuple(Tlv(tlv["type"], bytes.fromhex(tlv["value"])) for tlv in plain["tlvs"])
    return cls(**plain["header"], tlvs=tlvs, **body)
