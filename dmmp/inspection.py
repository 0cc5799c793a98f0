"""What a datagram says, field by field: the substance of `dmmp decode`, and of the notes' examples.

It follows the declarations, so it knows every message there is, and agrees with `decode` on what
is well-formed. No IO and no rendering: plain rows. Captures are read in `captures`.
-03 §5, Decision 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dmmp.captures import Captured, packets_of_capture
from dmmp.errors import DecodeError
from dmmp.messages import REGISTRY, decode
from dmmp.messages.common import HostFlag
from dmmp.messages.header import DECLARED
from dmmp.messages.options import COMPREHENSION_OPTIONAL, Option, TlvType
from dmmp.messages.schema import Message
from dmmp.messages.wiretypes import (
    Address,
    AllBut,
    Choice,
    Counted,
    Exactly,
    Integer,
    Octets,
    Record,
    Text,
    WireField,
    parse_address,
    rest,
    uint8,
    uint16,
)
from dmmp.tun import packets

HEADER_DOCS = {
    "version": "protocol version, 1",
    "tree_version": "raised by the RP for every new tree",
    "option": "which message this is",
    "session": "made by the RP; never 0x2112A442",
    "source": "in data the origin, in control the sender",
    "sequence": "a response repeats its request's",
    "reserved": "in data: flags 8, key epoch 8, channel 16 bits",
    "length": "bytes after the header",
}
"""What the header's fields say (-03 §5, Decisions 2 to 8)."""


_BITS = (HostFlag,)
"""Names of single bits, of which a value may have several."""

_TLV_NAMES = {int(known): known.name for known in TlvType}


class Row(NamedTuple):
    """One field: where it stands, its bytes, its path like `super_nodes[0].depth`, what it says."""

    offset: int
    octets: str
    field: str
    value: str
    doc: str


class Description(NamedTuple):
    """A datagram: the message's name or "", a line about it, its rows, and why it is none if so.

    `fault` is exactly what `decode` raises; the rows are then those read before it, and the rest.
    """

    name: str
    summary: str
    rows: tuple[Row, ...]
    fault: DecodeError | None


class OptionRow(NamedTuple):
    """One line of `dmmp decode --list`."""

    code: int
    option: str
    message: str
    meaning: str
    section: str


class _Short(Exception):
    """There is not enough left for the field."""


def describe(datagram: bytes) -> Description:
    """Describe one datagram, well-formed or not; never raises."""
    fault: DecodeError | None = None
    try:
        decode(datagram)
    except DecodeError as error:
        fault = error
    option = int.from_bytes(datagram[2:4], "big") if len(datagram) >= 4 else -1
    cls = REGISTRY.get(option)
    rows: list[Row] = []
    try:
        rows.extend(_rows(datagram, cls))
    except _Short:
        pass
    at = rows[-1].offset + len(rows[-1].octets) // 2 if rows else 0
    if at < len(datagram):
        rows.append(Row(at, datagram[at:].hex(), "", "not read", ""))
    name = cls.__name__ if cls is not None and not _is_other(fault) else ""
    return Description(name, _summary(name, datagram, fault), tuple(rows), fault)


def option_table() -> tuple[OptionRow, ...]:
    """List every message: option code and name, class, what it means, where it comes from."""
    return tuple(
        OptionRow(code, Option(code).name, cls.__name__, *_citation_and_meaning(cls))
        for code, cls in sorted(REGISTRY.items())
    )


def _citation_and_meaning(cls: type[Message]) -> tuple[str, str]:
    """Split a docstring's first paragraph, `section. What it says`, into meaning and section."""
    paragraph = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
    separator = ": " if paragraph.startswith("-03 §6.8, step") else ". "
    section, _, meaning = paragraph.partition(separator)
    return meaning, section


def _is_other(fault: DecodeError | None) -> bool:
    return fault is not None and fault.reason.value in ("stun", "version")


def _summary(name: str, datagram: bytes, fault: DecodeError | None) -> str:
    if fault is not None:
        return f"{name or 'not a message'}: {fault}"
    message = decode(datagram)
    return (
        f"{name} of session {message.session:#010x}, sequence {message.sequence}, "
        f"{'origin' if message.OPTION <= Option.CREDENTIAL else 'sender'} {message.source}, "
        f"{len(datagram)} bytes"
    )


def _rows(data: bytes, cls: type[Message] | None) -> Iterator[Row]:
    at = 0
    for field in DECLARED.subcons:
        found = WireField(field.name, field.subcon, HEADER_DOCS[field.name])
        row = next(_walk(data, at, field.name, found))
        yield _named_header(row, cls)
        at += field.sizeof()
    if cls is None:
        return
    for field in cls.BODY.fields:
        for row in _walk(data, at, field.name, field):
            yield row
            at = row.offset + len(row.octets) // 2
    if cls.HAS_TLVS:
        yield from _tlv_rows(data, at)


def _named_header(row: Row, cls: type[Message] | None) -> Row:
    number = int(row.octets, 16)
    if row.field == "option":
        return row._replace(value=f"{number:#06x} ({cls.__name__ if cls else 'unknown'})")
    if row.field == "session":
        return row._replace(value=f"{number:#010x}")
    if row.field == "reserved" and cls is not None and cls.OPTION <= Option.CREDENTIAL:
        flags, epoch, channel = number >> 24, number >> 16 & 0xFF, number & 0xFFFF
        return row._replace(value=f"flags {flags:#04x}, key epoch {epoch}, channel {channel}")
    return row


def _walk(data: bytes, at: int, path: str, field: WireField) -> Iterator[Row]:
    """Yield the rows of one field; raise `_Short` where the bytes end."""
    kind, doc = field.type, field.doc
    if isinstance(kind, (Integer, Choice)):
        size = (kind.integer if isinstance(kind, Choice) else kind).length
        number = int.from_bytes(_take(data, at, size), "big")
        yield _row(data, at, size, path, _number(number, field), doc)
    elif isinstance(kind, Address):
        yield _row(data, at, 16, path, str(parse_address(_take(data, at, 16))), doc)
    elif isinstance(kind, Record):
        for part in kind.fields:
            for row in _walk(data, at, f"{path}.{part.name}", part):
                yield row
                at = row.offset + len(row.octets) // 2
    elif isinstance(kind, Counted):
        yield from _list_rows(data, at, path, field)
    elif isinstance(kind, (Text, Octets)):
        yield _prefixed_row(data, at, path, field)
    elif isinstance(kind, (AllBut, Exactly)):
        size = kind.length if isinstance(kind, Exactly) else max(0, len(data) - at - kind.behind)
        yield _row(data, at, size, path, _take(data, at, size).hex() or "empty", doc)
    elif kind is rest:
        yield _row(data, at, len(data) - at, path, inner_line(data[at:]), doc)


def _list_rows(data: bytes, at: int, path: str, field: WireField) -> Iterator[Row]:
    kind = field.type
    count = _take(data, at, 1)[0]
    yield _row(data, at, 1, f"{path}.count", str(count), f"{field.doc}; at most {kind.at_most}")
    if count > kind.at_most:
        raise _Short
    at += 1
    for index in range(count):
        element = WireField(
            path, kind.element, "" if isinstance(kind.element, Record) else field.doc
        )
        for row in _walk(data, at, f"{path}[{index}]", element):
            yield row
            at = row.offset + len(row.octets) // 2


def _prefixed_row(data: bytes, at: int, path: str, field: WireField) -> Row:
    kind = field.type
    head = (uint8 if isinstance(kind, Text) else uint16).length
    length = int.from_bytes(_take(data, at, head), "big")
    if length > kind.at_most:
        raise _Short
    found = _take(data, at + head, length)
    value = repr(found.decode("utf-8", "replace")) if isinstance(kind, Text) else found.hex()
    return _row(data, at, head + length, path, value or "empty", field.doc)


def _tlv_rows(data: bytes, at: int) -> Iterator[Row]:
    index = 0
    while at < len(data):
        kind = int.from_bytes(_take(data, at, 2), "big")
        length = int.from_bytes(_take(data, at + 2, 2), "big")
        value = _take(data, at + 4, length)
        size = 4 + length + -length % 4
        _take(data, at, size)
        if kind in _TLV_NAMES:
            name = _TLV_NAMES[kind]
        else:
            name = "unknown, ignored" if kind & COMPREHENSION_OPTIONAL else "unknown, refused"
        shown = (
            repr(value.decode("utf-8", "replace")) if kind == TlvType.NAME else f"{length} bytes"
        )
        yield _row(data, at, size, f"tlvs[{index}]", f"{kind:#06x} ({name}): {shown}", "")
        at, index = at + size, index + 1


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise _Short
    return data[at : at + size]


def _row(data: bytes, at: int, size: int, path: str, value: str, doc: str) -> Row:
    return Row(at, data[at : at + size].hex(), path, value, doc)


def _number(number: int, field: WireField) -> str:
    if field.names is None:
        return str(number)
    if field.names in _BITS and number:
        known = [member.name for member in field.names if member & number]
        return f"{number} ({' + '.join(known) or 'unknown'})"
    named = {int(member): member.name for member in field.names}
    return f"{number} ({named.get(number, 'unknown')})"


def inner_line(packet: bytes) -> str:
    """Say in one line what the IP packet inside a data packet is."""
    try:
        found = packets.parse(packet)
    except DecodeError as error:
        return f"{len(packet)} bytes, no IP packet: {error}"
    line = f"IPv{found.version} {found.source} > {found.destination}, ttl {found.ttl}"
    if found.is_fragment:
        return f"{line}, fragment at {found.fragment_offset}, {len(packet)} bytes"
    if found.protocol == packets.PROTOCOL_UDP and len(packet) >= found.payload_offset + 8:
        ports = packet[found.payload_offset : found.payload_offset + 4]
        source, destination = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
        return f"{line}, UDP {source} > {destination}, {len(packet)} bytes"
    return f"{line}, protocol {found.protocol}, {len(packet)} bytes"


__all__ = [
    "Captured",
    "Description",
    "OptionRow",
    "Row",
    "describe",
    "inner_line",
    "option_table",
    "packets_of_capture",
]
