"""Messages as lines for people: names in place of ids and addresses, only what is not the default.

`Cast` knows who is who. Nothing here is protocol; a transcript must read like the draft's figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import IntEnum

from dmmp.interest import FilterMode, Interest
from dmmp.messages import Data, Message
from dmmp.messages.common import (
    NOT_JOINED_DEPTH,
    HostFlag,
    HostRecord,
    HostState,
    LeaveReason,
    LinkRecord,
    Phase,
    RefreshKind,
    Status,
)
from dmmp.messages.header import CHANNEL_MASK
from dmmp.sim.node import Node
from dmmp.sim.world import World
from dmmp.types import NO_HOST, Endpoint

HEADER_FIELDS = frozenset(field.name for field in dataclasses.fields(Message))

HIDDEN = frozenset(("instance", "timestamp", "uptime", "observed", "delay_us", "lifetime"))
"""Fields that say nothing to a reader, or the same in every line."""

IDS = frozenset(("host", "super_node", "neighbour", "root_path", "refused", "origin"))
"""Fields that hold ids of hosts."""

ENUMERATIONS: dict[tuple[str, str], type[IntEnum]] = {
    ("*", "status"): Status,
    ("*", "phase"): Phase,
    ("RefreshRequest", "kind"): RefreshKind,
    ("LeaveReport", "reason"): LeaveReason,
    ("StatusReport", "state"): HostState,
}


class Cast:
    """Who is who in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def by_id(self, host: int) -> str:
        """Name the host with this id; `?` for one nobody has."""
        if host == NO_HOST:
            return "-"
        for node in self._world.nodes:
            if node.forwarder is not None and node.view(self._world.now).host == host:
                return node.name
        return "?"

    def by_endpoint(self, endpoint: Endpoint) -> str:
        """Name the host at this endpoint."""
        node = self._world.node_at(endpoint)
        return "-" if node is None else node.name

    def line(self, at: float, sender: Node, receiver: Node, message: Message) -> str:
        """Write one message that arrived."""
        shown = numbered(message) if isinstance(message, Data) else self.fields(message)
        line = f"{at:9.3f}  {sender.name} -> {receiver.name}  {type(message).__name__}"
        return f"{line}  {shown}" if shown else line

    def fields(self, message: Message) -> str:
        """Write the fields of a message that differ from their defaults."""
        return " ".join(self._fields(message, type(message).__name__))

    def _fields(self, value: Message | HostRecord, owner: str) -> Iterable[str]:
        for field in dataclasses.fields(value):
            if field.name in HIDDEN or (isinstance(value, Message) and field.name in HEADER_FIELDS):
                continue
            held = getattr(value, field.name)
            enumeration = ENUMERATIONS.get((owner, field.name)) or ENUMERATIONS.get(
                ("*", field.name)
            )
            if enumeration is not None:
                yield _symbol(enumeration, int(held))
            elif held != field.default and held not in ((), b""):
                yield f"{field.name}={self._value(field.name, held)}"

    def _value(self, name: str, value: object) -> str:
        if isinstance(value, HostRecord):
            return self.record(value)
        if isinstance(value, LinkRecord):
            return self.by_id(value.neighbour)
        if isinstance(value, Interest):
            return wish(value)
        if isinstance(value, Endpoint):
            return self.by_endpoint(value)
        if isinstance(value, tuple):
            return "[" + ", ".join(self._value(name, element) for element in value) + "]"
        if name in IDS and isinstance(value, int):
            return self.by_id(value)
        if isinstance(value, bytes):
            return value.hex()
        return str(value)

    def record(self, record: HostRecord) -> str:
        """Write what a host says of itself: name, depth, free places of its subtree, out-degree."""
        name = self.by_id(record.host)
        if name in "-?":
            name = self.by_endpoint(record.endpoint)
        depth = "" if record.depth == NOT_JOINED_DEPTH else f"depth {record.depth}, "
        flags = "".join(
            f", {flag.name.lower().replace('_', ' ')}"
            for flag in HostFlag
            if flag.name and record.flags & flag and flag is not HostFlag.RELAY_ONLY
        )
        return f"{name}({depth}{record.free_slots} free, degree {record.out_degree}{flags})"

    def header(self, sender: Node, receiver: Node, datagram: bytes) -> Iterable[str]:
        """Write the six words of a datagram's header (-03 §5)."""
        words = [datagram[at : at + 4].hex() for at in range(0, 24, 4)]
        yield f"{sender.name} -> {receiver.name}, {len(datagram)} bytes"
        yield f"  version, tree version, option  {words[0][:2]} {words[0][2:4]} {words[0][4:]}"
        names = ("session id", "source id", "sequence number", "reserved", "payload data length")
        for name, word in zip(names, words[1:], strict=True):
            yield f"  {name:30} {word}"


def numbered(message: Data) -> str:
    """Write a data packet: its numbers stand in the header, its bytes say nothing to a reader."""
    channel = message.reserved & CHANNEL_MASK
    return f"channel={channel} sequence={message.sequence} {len(message.payload)} bytes"


def wish(record: Interest) -> str:
    """Write interest in a group."""
    if record.mode is FilterMode.EXCLUDE and not record.sources:
        return str(record.group)
    sources = ",".join(str(source) for source in record.sources)
    return f"{record.group} {record.mode.name.lower()} {{{sources}}}"


def _symbol(enumeration: type[IntEnum], value: int) -> str:
    try:
        return enumeration(value).name
    except ValueError:
        return f"{enumeration.__name__}({value})"
