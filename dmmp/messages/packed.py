"""The packed twin of a declaration: the same bytes and values as construct's, ten times as fast.

Runs of fixed-size fields become one `struct.Struct`, lists of fixed-size elements one pass of it.
Everything follows from the wire types; a property test holds both equal. Total: whatever the bytes,
a value or `DecodeError`, and nothing is read or allocated beyond a count that was checked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import NamedTuple

import construct

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages.wiretypes import (
    Address,
    AllBut,
    Choice,
    Counted,
    Exactly,
    InvalidValue,
    Octets,
    Record,
    Text,
    WireField,
    build_address,
    parse_address,
    rest,
)

Values = Sequence[object]
Take = Callable[[Values], object]
"""Make an object of the values that `struct` unpacked, all of them flat, one after the other."""

Give = Callable[[object], Values]
"""Give what `struct` is to pack of an object, as flat."""

Parse = Callable[[bytes, int, list[object]], int]
"""Read from an offset on, append the values of one or more fields, return the offset after them."""

Build = Callable[[object], bytes]
"""Build the bytes of one or more fields of an object."""


class Packed:
    """Reads and writes the fields of one record or message class."""

    def __init__(self, declared: Record) -> None:
        self.names = tuple(field.name for field in declared.fields)
        steps = [
            _run(part) if _fixed(part[0].type) else _variable(part[0]) for part in _parts(declared)
        ]
        self._parsers = tuple(step.parse for step in steps)
        self._builders = tuple(step.build for step in steps)

    def parse(self, data: bytes, at: int) -> tuple[list[object], int]:
        """Read the fields' values from offset `at`; return them and the offset after them."""
        values: list[object] = []
        for parse in self._parsers:
            at = parse(data, at, values)
        return values, at

    def build(self, value: object) -> bytes:
        """Build the bytes of an object with these fields; raise `InvalidValue` if one cannot be."""
        try:
            return b"".join([build(value) for build in self._builders])
        except (struct.error, AttributeError, TypeError, ValueError) as error:
            raise InvalidValue(f"{type(value).__name__}: {error}") from error


class _Step(NamedTuple):
    parse: Parse
    build: Build


class _Fixed(NamedTuple):
    """Fields whose sizes never vary: their format, and how an object becomes flat values and back.

    `paths` are the attributes of the flat values, dotted; `addresses` the numbers of those that are
    IP addresses.
    """

    format: str
    paths: tuple[str, ...]
    addresses: tuple[int, ...]
    take: Take


def _parts(declared: Record) -> list[list[WireField]]:
    """Cut the fields into runs of fixed-size ones and single others."""
    parts: list[list[WireField]] = []
    for field in declared.fields:
        if parts and _fixed(field.type) and _fixed(parts[-1][-1].type):
            parts[-1].append(field)
        else:
            parts.append([field])
    return parts


def _fixed(kind: construct.Construct, name: str = "") -> _Fixed | None:
    """Describe a type if its size is fixed; `name` is what a value of it is called above."""
    if isinstance(kind, construct.FormatField):
        return _Fixed(kind.fmtstr[1:], (name,), (), itemgetter(0))
    if isinstance(kind, Address):
        return _Fixed("16s", (name,), (0,), itemgetter(0))
    if isinstance(kind, Record):
        return _fixed_fields(kind.fields, kind.cls, f"{name}." if name else "")
    return None


def _fixed_fields(
    fields: Sequence[WireField], make: Callable[..., object], prefix: str = ""
) -> _Fixed | None:
    formats = ""
    paths: list[str] = []
    addresses: list[int] = []
    nested: list[tuple[int, int, Take]] = []
    for field in fields:
        fixed = _fixed(field.type, prefix + field.name)
        if fixed is None:
            return None
        at = len(paths)
        formats += fixed.format
        paths += fixed.paths
        addresses += [at + number for number in fixed.addresses]
        if isinstance(field.type, Record):
            nested.append((at, len(paths), fixed.take))
    return _Fixed(formats, tuple(paths), tuple(addresses), _taker(make, nested))


def _taker(make: Callable[..., object], nested: Sequence[tuple[int, int, Take]]) -> Take:
    """Make objects of flat values, some of which are those of records within."""
    if not nested:
        return lambda values: make(*values)
    if len(nested) == 1:
        ((start, end, inner),) = nested
        return lambda values: make(*values[:start], inner(values[start:end]), *values[end:])

    def take(values: Values) -> object:
        whole: list[object] = []
        at = 0
        for start, end, inner in nested:
            whole += values[at:start]
            whole.append(inner(values[start:end]))
            at = end
        return make(*whole, *values[at:])

    return take


_address = lru_cache(maxsize=256)(parse_address)
"""The same few hosts are named again and again, and an address takes twenty times as long to make
as to look up."""


def _reader(fixed: _Fixed) -> Take:
    """Make an object of what `struct` unpacked."""
    addresses, take = fixed.addresses, fixed.take
    if not addresses:
        return take

    def read(values: Values) -> object:
        flat = list(values)
        for at in addresses:
            flat[at] = _address(flat[at])
        return take(flat)

    return read


def _writer(fixed: _Fixed) -> Give:
    """Give what `struct` is to pack of an object."""
    get, addresses = _getter(fixed.paths), fixed.addresses
    if not addresses:
        return get

    def write(value: object) -> Values:
        flat = list(get(value))
        for at in addresses:
            flat[at] = build_address(flat[at])  # type: ignore[arg-type]
        return flat

    return write


def _getter(paths: tuple[str, ...]) -> Give:
    if paths == ("",):
        # An element of a list that is no record.
        return lambda value: (value,)
    get = attrgetter(*paths)
    return get if len(paths) > 1 else lambda value: (get(value),)


def _as_list(*values: object) -> Sequence[object]:
    return values


def _run(fields: Sequence[WireField]) -> _Step:
    """Read and write consecutive fixed-size fields with one `struct.Struct`."""
    fixed = _fixed_fields(fields, _as_list)
    assert fixed is not None
    layout = struct.Struct("!" + fixed.format)
    size = layout.size
    read, write = _reader(fixed), _writer(fixed)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        if at + size > len(data):
            raise _truncated(data, fields[0].name)
        values.extend(read(layout.unpack_from(data, at)))  # type: ignore[arg-type]
        return at + size

    def build(value: object) -> bytes:
        return layout.pack(*write(value))

    return _Step(parse, build)


def _variable(field: WireField) -> _Step:
    """Choose how to read and write a field whose size varies or whose value is checked."""
    kind, name = field.type, field.name
    if isinstance(kind, Counted):
        fixed = _fixed(kind.element)
        return _counted_fixed(kind, name, fixed) if fixed else _counted(kind, name)
    if isinstance(kind, (Text, Octets)):
        return _prefixed(kind, name)
    if isinstance(kind, Choice):
        return _choice(kind, name)
    if kind is rest:
        return _rest(name)
    if isinstance(kind, AllBut):
        return _all_but(kind.behind, name)
    if isinstance(kind, Exactly):
        return _exactly(kind.length, name)
    raise TypeError(f"{name}: no packed form for {kind!r}")


def _count(data: bytes, at: int, at_most: int, name: str) -> int:
    if at >= len(data):
        raise _truncated(data, name)
    count = data[at]
    if count > at_most:
        raise DecodeError(DecodeReason.VALUE, at, f"{name}: {count} elements, at most {at_most}")
    return count


def _counted_fixed(kind: Counted, name: str, fixed: _Fixed) -> _Step:
    """Read and write a list of elements of one size."""
    layout = struct.Struct("!" + fixed.format)
    size, at_most = layout.size, kind.at_most
    read, write, get = _reader(fixed), _writer(fixed), attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        end = at + 1 + _count(data, at, at_most, name) * size
        if end > len(data):
            raise _truncated(data, name)
        values.append(tuple([read(found) for found in layout.iter_unpack(data[at + 1 : end])]))
        return end

    def build(value: object) -> bytes:
        elements = get(value)
        head = _checked_count(len(elements), at_most, name)
        return head + b"".join([layout.pack(*write(element)) for element in elements])

    return _Step(parse, build)


def _counted(kind: Counted, name: str) -> _Step:
    """Read and write a list of records whose sizes vary."""
    record = kind.element
    if not isinstance(record, Record):
        raise TypeError(f"{name}: no packed form for a list of {record!r}")
    packed, make = Packed(record), record.cls
    at_most, get = kind.at_most, attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        count = _count(data, at, at_most, name)
        at += 1
        found = []
        for _ in range(count):
            parts, at = packed.parse(data, at)
            found.append(make(*parts))
        values.append(tuple(found))
        return at

    def build(value: object) -> bytes:
        elements = get(value)
        head = _checked_count(len(elements), at_most, name)
        return head + b"".join([packed.build(element) for element in elements])

    return _Step(parse, build)


def _prefixed(kind: Text | Octets, name: str) -> _Step:
    """Read and write text (length byte, UTF-8) and octets (16-bit length)."""
    is_text = isinstance(kind, Text)
    head_bytes, at_most, get = (1 if is_text else 2), kind.at_most, attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        start = at + head_bytes
        if start > len(data):
            raise _truncated(data, name)
        length = int.from_bytes(data[at:start], "big")
        if length > at_most:
            raise DecodeError(DecodeReason.VALUE, at, f"{name}: {length} bytes, at most {at_most}")
        end = start + length
        if end > len(data):
            raise _truncated(data, name)
        found = data[start:end]
        try:
            values.append(found.decode("utf-8") if is_text else found)
        except UnicodeDecodeError as error:
            raise DecodeError(
                DecodeReason.VALUE, start + error.start, f"{name}: not UTF-8"
            ) from None
        return end

    def build(value: object) -> bytes:
        held = get(value)
        found = held.encode("utf-8") if is_text else bytes(held)
        if len(found) > at_most:
            raise InvalidValue(f"{name}: {len(found)} bytes, at most {at_most}")
        return len(found).to_bytes(head_bytes, "big") + found

    return _Step(parse, build)


def _choice(kind: Choice, name: str) -> _Step:
    """Read and write an integer that must be a member of an enumeration."""
    layout = struct.Struct("!" + kind.integer.fmtstr[1:])
    members: dict[int, object] = {int(member): member for member in kind.choices}
    get = attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        if at + layout.size > len(data):
            raise _truncated(data, name)
        (found,) = layout.unpack_from(data, at)
        if found not in members:
            raise DecodeError(DecodeReason.VALUE, at, f"{name}: {found} means nothing")
        values.append(members[found])
        return at + layout.size

    return _Step(parse, lambda value: layout.pack(get(value)))


def _rest(name: str) -> _Step:
    """Read and write all that is left of the datagram."""
    get = attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        values.append(data[at:])
        return len(data)

    return _Step(parse, lambda value: bytes(get(value)))


def _exactly(size: int, name: str) -> _Step:
    """Read and write raw bytes of one size."""
    get = attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        if at + size > len(data):
            raise _truncated(data, name)
        values.append(data[at : at + size])
        return at + size

    def build(value: object) -> bytes:
        found = bytes(get(value))
        if len(found) != size:
            raise InvalidValue(f"{name}: {len(found)} bytes, not {size}")
        return found

    return _Step(parse, build)


def _all_but(behind: int, name: str) -> _Step:
    """Read and write what is left of the datagram but so many bytes."""
    get = attrgetter(name)

    def parse(data: bytes, at: int, values: list[object]) -> int:
        end = len(data) - behind
        if end < at:
            raise _truncated(data, name)
        values.append(data[at:end])
        return end

    return _Step(parse, lambda value: bytes(get(value)))


def _checked_count(count: int, at_most: int, name: str) -> bytes:
    if count > at_most:
        raise InvalidValue(f"{name}: {count} elements, at most {at_most}")
    return count.to_bytes(1, "big")


def _truncated(data: bytes, name: str) -> DecodeError:
    return DecodeError(DecodeReason.TRUNCATED, len(data), f"within or before {name}")
