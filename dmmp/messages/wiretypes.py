"""The wire types: what a field of a message can be, each a construct declaration.

Nothing here knows a message. Every type can be looked into (`element`, `at_most`, `fields` …), so
that the packed reader, the tests' strategies, the notes and `dmmp decode` follow from one
declaration. Nothing is compiled: construct's compiled parsers accept truncated input. Decision 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

import construct

from dmmp.errors import DecodeReason
from dmmp.types import Endpoint, IpAddress

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"


class InvalidValue(construct.ConstructError):  # type: ignore[misc]
    """A field holds a value its type does not allow."""

    reason = DecodeReason.VALUE


def parse_address(packed: bytes) -> IpAddress:
    """Read the 16 bytes of an address: IPv4 if IPv4-mapped (RFC 4291 §2.5.5.2), else IPv6."""
    if packed.startswith(_MAPPED_PREFIX):
        return IPv4Address(packed[12:])
    return IPv6Address(packed)


def build_address(value: IpAddress) -> bytes:
    """Build the 16 bytes of an address; a zone index stays behind, it means nothing elsewhere."""
    return value.packed if value.version == 6 else _MAPPED_PREFIX + value.packed


class Address(construct.Adapter):  # type: ignore[misc]
    """An IP address in 16 bytes."""

    def _decode(self, obj: bytes, context: Any, path: Any) -> IpAddress:
        return parse_address(obj)

    def _encode(self, obj: IpAddress, context: Any, path: Any) -> bytes:
        return build_address(obj)


class AtMost(construct.Adapter):  # type: ignore[misc]
    """A count or length that is refused beyond a limit, before anything it counts is read."""

    def __init__(self, integer: construct.FormatField, at_most: int) -> None:
        super().__init__(integer)
        self.at_most = at_most

    def _decode(self, obj: int, context: Any, path: Any) -> int:
        if obj > self.at_most:
            raise InvalidValue(f"{obj} announced, at most {self.at_most} allowed", path=path)
        return obj

    _encode = _decode


class Text(construct.Adapter):  # type: ignore[misc]
    """UTF-8 text: a length byte, then that many bytes."""

    def __init__(self, at_most_bytes: int) -> None:
        super().__init__(construct.Prefixed(AtMost(uint8, at_most_bytes), construct.GreedyBytes))
        self.at_most = at_most_bytes

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        try:
            return obj.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidValue(str(error), path=path) from None

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        return obj.encode("utf-8")


class Octets(construct.Subconstruct):  # type: ignore[misc]
    """Raw bytes: a 16-bit length, then that many bytes."""

    def __init__(self, at_most: int) -> None:
        super().__init__(construct.Prefixed(AtMost(uint16, at_most), construct.GreedyBytes))
        self.at_most = at_most


class AllBut(construct.Construct):  # type: ignore[misc]
    """Raw bytes up to so many before the end of the datagram, which later fields take."""

    def __init__(self, behind: int) -> None:
        super().__init__()
        self.behind = behind

    def _parse(self, stream: Any, context: Any, path: Any) -> bytes:
        left: bytes = stream.read()
        if len(left) < self.behind:
            raise construct.StreamError(f"{len(left)} bytes left", path=path)
        stream.seek(-self.behind, 1)
        return left[: len(left) - self.behind]

    def _build(self, obj: bytes, stream: Any, context: Any, path: Any) -> bytes:
        stream.write(obj)
        return obj


class Counted(construct.Adapter):  # type: ignore[misc]
    """A list: a count byte, then that many elements; a tuple in Python."""

    def __init__(self, element: construct.Construct, at_most: int) -> None:
        super().__init__(construct.PrefixedArray(AtMost(uint8, at_most), element))
        self.element = element
        self.at_most = at_most

    def _decode(self, obj: Sequence[Any], context: Any, path: Any) -> tuple[Any, ...]:
        return tuple(obj)

    def _encode(self, obj: tuple[Any, ...], context: Any, path: Any) -> tuple[Any, ...]:
        return obj


class Choice(construct.Adapter):  # type: ignore[misc]
    """An integer that must be a member of the enumeration, because no default could be assumed."""

    def __init__(self, integer: construct.FormatField, choices: type[IntEnum]) -> None:
        super().__init__(integer)
        self.integer = integer
        self.choices = choices

    def _decode(self, obj: int, context: Any, path: Any) -> IntEnum:
        try:
            return self.choices(obj)
        except ValueError as error:
            raise InvalidValue(str(error), path=path) from None

    def _encode(self, obj: int, context: Any, path: Any) -> int:
        return int(obj)


class WireField(NamedTuple):
    """One field: its name, its type, what it says, and the names its values may have."""

    name: str
    type: construct.Construct
    doc: str = ""
    names: type[IntEnum] | None = None


class Record(construct.Adapter):  # type: ignore[misc]
    """Fields one after the other: parses to instances of `cls`, builds from them."""

    def __init__(self, cls: Callable[..., Any], fields: Sequence[WireField]) -> None:
        super().__init__(construct.Struct(*(field.name / field.type for field in fields)))
        self.cls = cls
        self.fields = tuple(fields)

    def _decode(self, obj: Any, context: Any, path: Any) -> Any:
        return self.cls(**{field.name: obj[field.name] for field in self.fields})

    def _encode(self, obj: Any, context: Any, path: Any) -> Mapping[str, Any]:
        return {field.name: getattr(obj, field.name) for field in self.fields}


Integer = construct.FormatField
"""What every unsigned integer below is."""

Exactly = construct.Bytes
"""What raw bytes of one size are."""

uint8 = construct.Int8ub
uint16 = construct.Int16ub
uint32 = construct.Int32ub
uint64 = construct.Int64ub

address = Address(construct.Bytes(16))
"""16 bytes; IPv4 as IPv4-mapped IPv6 (::ffff:a.b.c.d, RFC 4291 §2.5.5.2)."""

endpoint = Record(
    Endpoint,
    (
        WireField("address", address, "IP address"),
        WireField("port", uint16, "UDP port"),
    ),
)
"""18 bytes: address, port."""

rest = construct.GreedyBytes
"""Raw bytes up to the end of the datagram; only as the last field of a message without elements."""


def text(at_most_bytes: int) -> Text:
    """Declare UTF-8 text: a length byte, then that many bytes."""
    return Text(at_most_bytes)


def counted(element: construct.Construct, at_most: int) -> Counted:
    """Declare a list: a count byte, then that many elements."""
    return Counted(element, at_most)


def octets(at_most: int) -> Octets:
    """Declare raw bytes: a 16-bit length, then that many bytes."""
    return Octets(at_most)


def exactly(size: int) -> construct.Bytes:
    """Declare raw bytes of one size: keys, tags, macs."""
    return construct.Bytes(size)


def all_but(behind: int) -> AllBut:
    """Declare raw bytes up to `behind` before the end; fields of so many bytes come after it."""
    return AllBut(behind)


def choice(integer: construct.FormatField, choices: type[IntEnum]) -> Choice:
    """Declare an integer that must be one of an enumeration's members."""
    return Choice(integer, choices)
