"""One declaration per message: a dataclass whose fields carry their wire type.

The only clever file of the package. `wire(type)` attaches a wire type to a field; `@record` and
`@message` make a frozen, slotted dataclass of the class and, from the same fields in the same
order, its declaration (`WIRE`, `BODY`: construct) and the packed twin that does the work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar, TypeVar, dataclass_transform

import construct

from dmmp.messages.packed import Packed
from dmmp.messages.wiretypes import Record, WireField
from dmmp.types import NO_HOST, NO_SESSION, HostId, SessionId

_WIRE = "wire"
_T = TypeVar("_T")

FieldValue = Any
"""The value of some field of some message: what its declaration says, which types cannot follow."""


def wire(
    declaration: construct.Construct,
    *,
    doc: str = "",
    names: type[IntEnum] | None = None,
    **field_options: Any,
) -> Any:
    """Declare a field: its wire type, what it says (for the notes and `dmmp decode`), its default.

    `names` gives the values that have a name; others are read all the same (Decision 5).
    """
    metadata = {_WIRE: declaration, "doc": doc, "names": names}
    return dataclasses.field(metadata=metadata, **field_options)


def wire_fields(cls: type) -> tuple[WireField, ...]:
    """List the fields of a record or message that travel in its body, in wire order."""
    return tuple(
        WireField(field.name, field.metadata[_WIRE], field.metadata["doc"], field.metadata["names"])
        for field in dataclasses.fields(cls)
        if _WIRE in field.metadata
    )


@dataclass_transform(frozen_default=True, field_specifiers=(wire,))
def record(cls: type[_T]) -> type[_T]:
    """Make a frozen dataclass with a wire form in `cls.WIRE`, for use inside messages."""
    made = dataclasses.dataclass(frozen=True, slots=True)(cls)
    made.WIRE = Record(made, wire_fields(made))  # type: ignore[attr-defined]
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
    BODY: ClassVar[Record]
    PACKED: ClassVar[Packed]
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
        made.BODY = Record(made, wire_fields(made))
        made.PACKED = Packed(made.BODY)
        return made  # type: ignore[no-any-return]

    return decorate
