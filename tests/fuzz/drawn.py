"""Messages made of a feed's decisions, by their declarations: always well-formed, mostly relevant.

A role refuses noise at the first check; what tests it are messages that name hosts it knows, in an
order nobody sends. Integers are mostly small, addresses and ids mostly of the few in `World`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

import construct

from dmmp.messages.schema import Message
from dmmp.messages.wiretypes import (
    Address,
    AllBut,
    Choice,
    Counted,
    Octets,
    Record,
    Text,
    WireField,
    parse_address,
    rest,
)
from dmmp.types import STUN_MAGIC, Endpoint, HostId, IpAddress, SessionId
from tests.fuzz.feed import Feed

MOST_ELEMENTS = 6
"""Elements of a list, but for one choice in 16: then as many as the declaration allows."""

GROUPS = tuple(ip_address(text) for text in ("239.1.2.3", "232.1.1.1", "ff1e::1234", "10.0.0.1"))


class World(NamedTuple):
    """What messages may name: hosts by their endpoints, whose ids are their places, the session."""

    hosts: Sequence[Endpoint]
    session: SessionId


def message(feed: Feed, cls: type[Message], world: World, sequence: int, source: int) -> Message:
    """Make a message of a class; in one of 16 of another session or with a tree version."""
    odd = feed.byte()
    fields = {field.name: value(feed, field, world) for field in cls.BODY.fields}
    session = SessionId(feed.word()) if odd >= 0xF8 else world.session
    return cls(
        # A datagram with that session would be one of STUN (Decision 3).
        session=world.session if session == STUN_MAGIC else session,
        source=HostId(source if odd < 0xF0 else feed.number(32)),
        sequence=sequence,
        tree_version=0 if odd < 0x80 else feed.number(8),
        reserved=0 if odd < 0xE8 else feed.number(32),
        **fields,  # type: ignore[arg-type]
    )


def value(feed: Feed, field: WireField, world: World) -> object:
    """Make the value of a field."""
    kind = field.type
    if isinstance(kind, construct.FormatField):
        return integer(feed, field, kind.length)
    if isinstance(kind, Address):
        return address(feed, world)
    if isinstance(kind, Choice):
        return feed.choice(tuple(kind.choices))
    if isinstance(kind, Record):
        return record(feed, kind, world)
    if isinstance(kind, Counted):
        return counted(feed, kind, world)
    if isinstance(kind, Text):
        return "demo" if feed.byte() < 0xC0 else "x" * min(feed.byte(), kind.at_most)
    if isinstance(kind, Octets):
        return feed.take(min(feed.byte(), kind.at_most))
    if kind is rest or isinstance(kind, AllBut):
        return feed.take(feed.byte())
    assert isinstance(kind, construct.Bytes), kind
    return feed.take(kind.length).ljust(kind.length, b"\0")


def integer(feed: Feed, field: WireField, size: int) -> int:
    """Make a number; where it has names, mostly one that has."""
    if field.names is not None:
        number = feed.byte()
        members = tuple(field.names)
        return int(members[number % len(members)]) if number < 0xF0 else feed.number(8 * size)
    return feed.number(8 * size)


def address(feed: Feed, world: World) -> IpAddress:
    """Choose an address of the world, or make one of 16 bytes."""
    number = feed.byte()
    if number < 0xC0:
        return world.hosts[number % len(world.hosts)].address
    if number < 0xF8:
        return GROUPS[number % len(GROUPS)]
    return parse_address(feed.take(16).ljust(16, b"\0"))


def record(feed: Feed, kind: Record, world: World) -> object:
    """Make a record; of a host mostly one whose id and endpoint belong together."""
    made = kind.cls(*[value(feed, field, world) for field in kind.fields])
    if hasattr(made, "endpoint") and hasattr(made, "host") and feed.byte() < 0xE0:
        number = made.host % len(world.hosts)
        fields = {field.name: getattr(made, field.name) for field in kind.fields}
        fields |= {"host": HostId(number), "endpoint": world.hosts[number]}
        return kind.cls(**fields)
    return made


def counted(feed: Feed, kind: Counted, world: World) -> tuple[object, ...]:
    """Make a list, mostly a short one."""
    number = feed.byte()
    count = number % MOST_ELEMENTS if number < 0xF0 else kind.at_most
    element = WireField("", kind.element)
    return tuple(value(feed, element, world) for _ in range(min(count, kind.at_most)))
