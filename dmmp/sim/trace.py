"""What happened, as a digest always and as JSON lines if wanted.

The digest covers every arrival and every reported event, in order. It is the same whether messages
travel as objects or as bytes, and under every hash seed; that is tested.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable

from dmmp.errors import DecodeError
from dmmp.events import Event
from dmmp.messages import Message, decode
from dmmp.messages.header import HEADER, OPTION_AT, OPTION_OFFSET
from dmmp.sim.node import Node
from dmmp.sim.schedule import seconds

Payload = Message | bytes | memoryview
"""What travels: a message as an object, or a datagram."""

_ARRIVAL = struct.Struct("!QHHHI")
_SEQUENCE = struct.Struct("!I").unpack_from
_SEQUENCE_OFFSET = 12
_EVENT_MARK = b"\xff"
_FLUSH_BYTES = 1 << 16


class Trace:
    """Collects the digest; `write`, if given, gets one JSON line for each thing that happens.

    Long runs whose digest nobody reads leave it out: `is_kept` false.
    """

    def __init__(self, write: Callable[[str], None] | None = None, is_kept: bool = True) -> None:
        self.is_kept = is_kept
        self._write = write
        self._hash = hashlib.sha256()
        self._pending = bytearray()

    def arrival(self, at_us: int, sender: Node, receiver: Node, payload: Payload) -> None:
        """Note that something reached a living node."""
        if isinstance(payload, Message):
            option, sequence = payload.OPTION, payload.sequence
        elif len(payload) >= HEADER.size:
            (option,) = OPTION_AT(payload, OPTION_OFFSET)
            (sequence,) = _SEQUENCE(payload, _SEQUENCE_OFFSET)
        else:
            option, sequence = 0xFFFF, len(payload)
        self._pending += _ARRIVAL.pack(at_us, sender.place, receiver.place, option, sequence)
        if len(self._pending) > _FLUSH_BYTES:
            self._flush()
        if self._write is not None:
            self._write(_arrival_line(at_us, sender, receiver, payload))

    def event(self, at_us: int, node: Node, event: Event) -> None:
        """Note what a host reported."""
        if not self.is_kept:
            return
        line = f"{at_us} {node.name} {type(event).__name__} {event}"
        self._pending += _EVENT_MARK + line.encode()
        if self._write is not None:
            what = {"event": type(event).__name__, "text": str(event)}
            self._write(json.dumps({"at": seconds(at_us), "host": node.name, **what}))

    def note(self, text: str) -> None:
        """Put any other text into the digest."""
        self._pending += _EVENT_MARK + text.encode()

    def digest(self) -> str:
        """Return the SHA-256 of everything so far, in hexadecimal."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update(self._pending)
        self._pending.clear()


def as_message(payload: Payload) -> Message | None:
    """Read a payload for people and tools; None if it cannot be read."""
    if isinstance(payload, Message):
        return payload
    try:
        return decode(payload)
    except DecodeError:
        return None


def _arrival_line(at_us: int, sender: Node, receiver: Node, payload: Payload) -> str:
    line: dict[str, object] = {"at": seconds(at_us), "from": sender.name, "to": receiver.name}
    message = as_message(payload)
    if message is None:
        line["message"] = "undecodable"
    else:
        line["message"] = type(message).__name__
        line["fields"] = {
            field.name: _plain(getattr(message, field.name))
            for field in dataclasses.fields(message)
        }
    return json.dumps(line)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return [_plain(element) for element in value]
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return str(value)
