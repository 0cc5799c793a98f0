"""The tables of `spec-notes/messages.md`, made from the message classes: one truth for both.

The prose around them is written by hand; a table stands between `<!-- generated: NAME -->` and
`<!-- end: NAME -->`. Written by `python -m tests.regenerate`, compared by the fast tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import construct

from dmmp.inspection import HEADER_DOCS, describe, option_table
from dmmp.messages import REGISTRY, Message, encode
from dmmp.messages.common import HostRecord, LinkRecord, interest_record
from dmmp.messages.header import DECLARED, HEADER_BYTES
from dmmp.messages.wiretypes import (
    Address,
    AllBut,
    Choice,
    Counted,
    Octets,
    Record,
    Text,
    WireField,
    endpoint,
    rest,
)
from tests.examples import examples

WORKED_EXAMPLE = "announcement of channel 1"
"""The example that is taken apart byte by byte."""

_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def fill(text: str) -> str:
    """Put the present tables into a text with markers; an unknown name is a `KeyError`."""
    made = blocks()
    return _BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


def names_in(text: str) -> list[str]:
    """List the tables that a text asks for."""
    return [found[1] for found in _BLOCK.findall(text)]


def blocks() -> dict[str, str]:
    """Make every table by its name."""
    made = {
        "header": _header_table(),
        "options": _options_table(),
        "endpoint": _fields_table(endpoint, 0),
        "HostRecord": _fields_table(_wire(HostRecord), 0),
        "LinkRecord": _fields_table(_wire(LinkRecord), 0),
        "Interest": _fields_table(interest_record, 0),
        "example": _example(),
    }
    for cls in REGISTRY.values():
        made[cls.__name__] = _message_block(cls)
    return made


def _wire(cls: type) -> Record:
    found = cls.WIRE  # type: ignore[attr-defined]
    assert isinstance(found, Record)
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _header_table() -> str:
    rows = []
    at = 0
    for field in DECLARED.subcons:
        size = field.sizeof()
        rows.append((str(at), field.name, str(size * 8), HEADER_DOCS[field.name]))
        at += size
    return _table(("offset", "field", "bits", "meaning"), rows)


def _options_table() -> str:
    rows = (
        (f"`{row.code:#06x}`", f"[{row.message}](#{row.message.lower()})", row.section, row.meaning)
        for row in option_table()
    )
    return _table(("option", "message", "section", "meaning"), rows)


def _message_block(cls: type[Message]) -> str:
    """Make what the class says of itself: its docstring and its fields."""
    lines = [line.strip() for line in (cls.__doc__ or "").strip().splitlines()]
    section = "\n".join([f"Option `{cls.OPTION:#06x}`. {lines[0]}", *lines[1:]])
    elements = "" if cls.HAS_TLVS else "\n\nNo optional elements follow."
    return f"{section}\n\n{_fields_table(cls.BODY, HEADER_BYTES)}{elements}"


def _fields_table(record: Record, first: int) -> str:
    """Make one row a field; offsets as long as they are fixed, then `+`: after what precedes."""
    rows = []
    at: int | None = first
    for field in record.fields:
        size = _size(field.type)
        bits = "varies" if size is None else str(size * 8)
        rows.append(("+" if at is None else str(at), field.name, bits, _kind(field), field.doc))
        at = None if at is None or size is None else at + size
    return _table(("offset", "field", "bits", "type", "meaning"), rows)


def _size(kind: construct.Construct) -> int | None:
    try:
        return int(kind.sizeof())
    except construct.SizeofError:
        return None


def _kind(field: WireField) -> str:
    named = f", {field.names.__name__}" if field.names is not None else ""
    return type_name(field.type) + named


def type_name(kind: construct.Construct) -> str:
    """Name a wire type as the notes do."""
    if isinstance(kind, construct.FormatField):
        return f"uint{kind.length * 8}"
    if isinstance(kind, Address):
        return "address"
    if isinstance(kind, Choice):
        return f"{type_name(kind.integer)}, no other than"
    if isinstance(kind, Record):
        return "endpoint" if kind is endpoint else str(getattr(kind.cls, "__name__", ""))
    if isinstance(kind, Counted):
        return f"list of {type_name(kind.element)}, at most {kind.at_most}"
    if isinstance(kind, Text):
        return f"text, at most {kind.at_most} bytes"
    if isinstance(kind, Octets):
        return f"octets, at most {kind.at_most}"
    if isinstance(kind, construct.Bytes):
        return f"{kind.length} bytes"
    if isinstance(kind, AllBut):
        return f"all but the last {kind.behind} bytes"
    if kind is rest:
        return "all that is left"
    raise TypeError(f"no name for {kind!r}")


def _example() -> str:
    """Take one vector apart."""
    datagram = encode(dict(examples())[WORKED_EXAMPLE])
    found = describe(datagram)
    rows = [
        (str(row.offset), f"`{row.octets}`", row.field, row.value.replace("|", "\\|"))
        for row in found.rows
    ]
    lines = [datagram[at : at + 16].hex(" ") for at in range(0, len(datagram), 16)]
    dump = "\n".join(["```", *lines, "```"])
    return f"{found.summary}:\n\n{dump}\n\n{_table(('offset', 'bytes', 'field', 'value'), rows)}"
