"""Hypothesis strategies for every message, derived from the wire types: nothing here names a field.

`messages()` draws any message, `messages(JoinRequest)` one of a class; `values(kind)` anything of a
wire type. What is drawn can be encoded and comes back equal from `decode` (Decision 2).
"""

from __future__ import annotations

import functools
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import construct
from hypothesis import strategies as st

from dmmp.messages import REGISTRY, Message, Tlv, TlvType
from dmmp.messages.wiretypes import (
    Address,
    AllBut,
    Choice,
    Counted,
    Octets,
    Record,
    Text,
    WireField,
    rest,
)
from dmmp.types import STUN_MAGIC, Endpoint, IpAddress

INTEGER_BITS = {"B": 8, "H": 16, "I": 32, "L": 32, "Q": 64}
FEW_BYTES = 80
"""Longest raw bytes drawn: longer ones find nothing more and cost time."""


def integers(bits: int) -> st.SearchStrategy[int]:
    """Draw an unsigned integer, its limits more often than chance would."""
    most = (1 << bits) - 1
    return st.one_of(st.integers(0, most), st.sampled_from((0, 1, most)))


def addresses() -> st.SearchStrategy[IpAddress]:
    """Draw an address, never an IPv4-mapped one: on the wire that is the IPv4 address."""
    six = st.builds(IPv6Address, integers(128)).filter(lambda drawn: drawn.ipv4_mapped is None)
    return st.one_of(st.builds(IPv4Address, integers(32)), six)


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Draw an address and a port."""
    return st.builds(Endpoint, addresses(), integers(16))


def texts(at_most_bytes: int) -> st.SearchStrategy[str]:
    """Draw text that fits into so many bytes of UTF-8, or fills them."""
    drawn = st.text(st.characters(codec="utf-8"), max_size=min(at_most_bytes // 4, 20))
    return st.one_of(drawn, st.sampled_from(("x" * at_most_bytes, "ü" * (at_most_bytes // 2))))


def values(kind: construct.Construct) -> st.SearchStrategy[Any]:
    """Draw a value of a wire type."""
    if isinstance(kind, construct.FormatField):
        return integers(INTEGER_BITS[kind.fmtstr[1:]])
    if isinstance(kind, Address):
        return addresses()
    if isinstance(kind, Choice):
        return st.sampled_from(list(kind.choices))
    if isinstance(kind, Text):
        return texts(kind.at_most)
    if isinstance(kind, Octets):
        return st.binary(max_size=kind.at_most)
    if isinstance(kind, Counted):
        few = min(kind.at_most, 4)
        drawn = st.lists(values(kind.element), max_size=few)
        return st.one_of(drawn, full_lists(kind)).map(tuple)
    if isinstance(kind, Record):
        return st.builds(kind.cls, **{field.name: field_values(field) for field in kind.fields})
    if isinstance(kind, construct.Bytes):
        return st.binary(min_size=kind.length, max_size=kind.length)
    if kind is rest or isinstance(kind, AllBut):
        return st.binary(max_size=FEW_BYTES)
    raise TypeError(f"no strategy for {kind!r}")


def full_lists(kind: Counted) -> st.SearchStrategy[list[Any]]:
    """Draw a list of the greatest length, its elements alike: the limit, without the cost of it."""
    return values(kind.element).map(lambda element: [element] * kind.at_most)


def field_values(field: WireField) -> st.SearchStrategy[Any]:
    """Draw a value of a field, a named one as often as any."""
    if field.names is None or isinstance(field.type, Choice):
        return values(field.type)
    return st.one_of(named(field.names), values(field.type))


def named(names: type[IntEnum]) -> st.SearchStrategy[int]:
    """Draw a value that has a name."""
    return st.sampled_from([int(member) for member in names])


def tlvs() -> st.SearchStrategy[tuple[Tlv, ...]]:
    """Draw optional elements: known ones, and unknown ones that may be ignored."""
    kinds = st.one_of(
        st.sampled_from([int(known) for known in TlvType]), st.integers(0x8000, 0xFFFF)
    )
    return st.lists(st.builds(Tlv, kinds, st.binary(max_size=FEW_BYTES)), max_size=3).map(tuple)


def headers(cls: type[Message]) -> dict[str, st.SearchStrategy[Any]]:
    """Draw what stands in the header, and the optional elements where there may be any."""
    return {
        "session": integers(32).filter(lambda session: session != STUN_MAGIC),
        "source": integers(32),
        "sequence": integers(32),
        "tree_version": integers(8),
        "reserved": integers(32),
        "tlvs": tlvs() if cls.HAS_TLVS else st.just(()),
    }


def messages(*classes: type[Message]) -> st.SearchStrategy[Message]:
    """Draw a message of one of the classes, of any class if none is named."""
    return _messages(tuple(int(cls.OPTION) for cls in classes))


@functools.cache
def _messages(options: tuple[int, ...]) -> st.SearchStrategy[Message]:
    """Draw as `messages` does, by the same strategy each time.

    Hypothesis examines each one that it has not seen, which takes longer than to draw from it.
    """
    return st.one_of([_messages_of(REGISTRY[option]) for option in options or REGISTRY])


def _messages_of(cls: type[Message]) -> st.SearchStrategy[Message]:
    fields = {field.name: field_values(field) for field in cls.BODY.fields}
    return st.builds(cls, **headers(cls), **fields)
