"""One declaration per message: a dataclass whose fields carry their wire type.

The only clever file of the package. `wire(type)` attaches a construct declaration to a field;
`@record` and `@message` make a frozen, slotted dataclass of the class and, from the same fields in
the same order, a construct `Struct` that parses to it and builds from it. Nothing is compiled:
construct's compiled parsers accept truncated input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any, ClassVar, TypeVar, dataclass_transform

import construct

from dmmp.errors import DecodeReason
from dmmp.types import NO_HOST, NO_SESSION, Endpoint, HostId, IpAddress, SessionId

_WIRE = "wire"
_T = TypeVar("_T")
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"


class InvalidValue(construct.ConstructError):  # type: ignore[misc]
    """A field holds a value its type does not allow; becomes a `DecodeError` at the frame."""

    reason = DecodeReason.VALUE


def wire(declaration: construct.Construct, *, doc: str = "", **field_options: Any) -> Any:
    """Declare a field: its wire type, what it says (for the notes and `dmmp decode`), its default."""
    return dataclasses.field(metadata={_WIRE: declaration, "doc": doc}, **field_options)


class Record(construct.Adapter):  # type: ignore[misc]
    """The construct of a dataclass made by `record`: parses to instances, builds from them."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.names = [field.name for field in wire_fields(cls)]
        super().__init__(
            construct.Struct(
                *(field.name / field.metadata[_WIRE] for field in wire_fields(cls))
            )
        )

    def _decode(self, obj: Any, context: Any, path: Any) -> Any:
        return self.cls(**{name: obj[name] for name in self.names})

    def _encode(self, obj: Any, context: Any, path: Any) -> Any:
        return {name: getattr(obj, name) for name in self.names}


def wire_fields(cls: type) -> list[dataclasses.Field[Any]]:
    """List the fields of a record or message that travel in its body, in wire order."""
    return [field for field in dataclasses.fields(cls) if _WIRE in field.metadata]


def declaration(field: dataclasses.Field[Any]) -> construct.Construct:
    """Return the construct declaration that a field was given."""
    return field.metadata[_WIRE]


@dataclass_transform(frozen_default=True, field_specifiers=(wire,))
def record(cls: type[_T]) -> type[_T]:
    """Make a frozen dataclass with a wire form in `cls.WIRE`, for use inside messages."""
    made = dataclasses.dataclass(frozen=True, slots=True)(cls)
    made.WIRE = Record(made)  # type: ignore[attr-defined]
    return made


@dataclasses.dataclass(frozen=True, slots=True)
class Tlv:
    """An optional element after the fixed fields (Decision 5); types >= 0x8000 may be ignored."""

    type: int
    value: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What every message carries in the 24-byte header (-03 §5), and its optional elements.

    `source` names the sender in control messages and the origin in data (Decision 7); `sequence`
    matches a response to its request (Decision 6).
    """

    OPTION: ClassVar[int] = -1
    BODY: ClassVar[construct.Construct]
    HAS_TLVS: ClassVar[bool] = True

    session: SessionId = NO_SESSION
    source: HostId = NO_HOST
    sequence: int = 0
    tree_version: int = 0
    reserved: int = 0
    tlvs: tuple[Tlv, ...] = ()


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(wire,))
def message(option: int, *, tlvs: bool = True) -> Callable[[type[_T]], type[_T]]:
    """Make a message class of the decorated one: frozen, keyword-only, with its option and body."""

    def decorate(cls: type[_T]) -> type[_T]:
        made: Any = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.OPTION = option
        made.HAS_TLVS = tlvs
        made.BODY = Record(made)
        return made  # type: ignore[no-any-return]

    return decorate


class _Address(construct.Adapter):  # type: ignore[misc]
    def _decode(self, obj: bytes, context: Any, path: Any) -> IpAddress:
        address = IPv6Address(obj)
        return address.ipv4_mapped or address

    def _encode(self, obj: IpAddress, context: Any, path: Any) -> bytes:
        return obj.packed if obj.version == 6 else _MAPPED_PREFIX + obj.packed


class _Endpoint(construct.Adapter):  # type: ignore[misc]
    def _decode(self, obj: Any, context: Any, path: Any) -> Endpoint:
        return Endpoint(obj.address, obj.port)

    def _encode(self, obj: Endpoint, context: Any, path: Any) -> Any:
        return {"address": obj.address, "port": obj.port}


class _Bounded(construct.Adapter):  # type: ignore[misc]
    """A tuple of at most `at_most` elements; more is refused in both directions."""

    def __init__(self, subcon: construct.Construct, at_most: int) -> None:
        super().__init__(subcon)
        self.at_most = at_most

    def _decode(self, obj: Any, context: Any, path: Any) -> Any:
        if len(obj) > self.at_most:
            raise InvalidValue(f"more than {self.at_most} elements", path=path)
        return obj if isinstance(obj, (bytes, str)) else tuple(obj)

    def _encode(self, obj: Any, context: Any, path: Any) -> Any:
        if len(obj) > self.at_most:
            raise InvalidValue(f"more than {self.at_most} elements", path=path)
        return obj


class _Choice(construct.Adapter):  # type: ignore[misc]
    """An integer that must be a member of the enumeration, because no default could be assumed."""

    def __init__(self, subcon: construct.Construct, choices: Callable[[int], Any]) -> None:
        super().__init__(subcon)
        self.choices = choices

    def _decode(self, obj: int, context: Any, path: Any) -> Any:
        try:
            return self.choices(obj)
        except ValueError as error:
            raise InvalidValue(str(error), path=path) from None

    def _encode(self, obj: int, context: Any, path: Any) -> int:
        return int(obj)


uint8 = construct.Int8ub
uint16 = construct.Int16ub
uint32 = construct.Int32ub
uint64 = construct.Int64ub
address = _Address(construct.Bytes(16))
"""16 bytes; IPv4 as IPv4-mapped IPv6 (::ffff:a.b.c.d, RFC 4291 §2.5.5.2)."""

endpoint = _Endpoint(construct.Struct("address" / address, "port" / uint16))
"""18 bytes: address, port."""


def text(at_most_bytes: int) -> construct.Construct:
    """Declare UTF-8 text: a length byte, then that many bytes."""
    return _Bounded(construct.PascalString(uint8, "utf8"), at_most_bytes)


def counted(element: construct.Construct, at_most: int) -> construct.Construct:
    """Declare a list: a count byte, then that many elements."""
    return _Bounded(construct.PrefixedArray(uint8, element), at_most)


def octets(at_most: int) -> construct.Construct:
    """Declare raw bytes: a 16-bit length, then that many bytes."""
    return _Bounded(construct.Prefixed(uint16, construct.GreedyBytes), at_most)


def choice(integer: construct.Construct, choices: Callable[[int], Any]) -> construct.Construct:
    """Declare an integer that must be one of an enumeration's members."""
    return _Choice(integer, choices)
