"""Vectors by name, and what is done to their bytes: the material of planted faults."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from dmmp.messages.header import HEADER_BYTES
from dmmp.security.data_keys import DataKeys, data_key

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "messages"
LENGTH = slice(20, 24)

INDEX, KEY = 0xB2B2B2B2, data_key(bytes(32), 0, 0, 0, 0)
"""An association made up for these tests: what is sealed for this index opens with this key.

The key is one of data, because their ciphers are to be had without the library that makes them.
"""

ASSOCIATION_LINE = f"DMMP_ASSOCIATION {INDEX:08x} {KEY.hex()} 00000001 {bytes(32).hex()}\n"


@functools.cache
def vector(file: str, number: int = 0) -> bytes:
    """Give the bytes of a vector: its file's name, and its number there."""
    document = json.loads((VECTORS / f"{file}.json").read_text())
    return bytes.fromhex(document["vectors"][number]["hex"])


def put(data: bytes, at: int, new: bytes) -> bytes:
    """Write over some bytes."""
    return data[:at] + new + data[at + len(new) :]


def measured(data: bytes) -> bytes:
    """Make the length in the header right."""
    return put(data, LENGTH.start, (len(data) - HEADER_BYTES).to_bytes(4))


def with_bytes(data: bytes, more: bytes) -> bytes:
    """Add bytes at the end, and to the length in the header."""
    return measured(data + more)


def without_bytes(data: bytes, count: int) -> bytes:
    """Take bytes from the end, and from the length in the header."""
    return measured(data[:-count])


def element(kind: int, value: bytes = b"", padding: bytes | None = None) -> bytes:
    """Build an optional element."""
    end = bytes(-len(value) % 4) if padding is None else padding
    return kind.to_bytes(2) + len(value).to_bytes(2) + value + end


def data(flags: int, payload: bytes, channel: int = 1, epoch: int = 0) -> bytes:
    """Build a Data of the vectors' session and source."""
    head = put(vector("data"), 16, bytes((flags, epoch)) + channel.to_bytes(2))
    return measured(head[:HEADER_BYTES] + payload)


def sealed(option: int, plaintext: bytes, counter: int = 7) -> bytes:
    """Seal something for `INDEX` (security.md, "Sealed")."""
    halves = (counter & 0xFFFFFFFF).to_bytes(4) + (counter >> 32).to_bytes(4)
    head = bytes((1, 0)) + option.to_bytes(2) + bytes(4) + INDEX.to_bytes(4) + halves
    head += (len(plaintext) + 16).to_bytes(4)
    keys = DataKeys()
    keys.install(0, 0, bytes(32), 0.0)
    cipher = keys.cipher(0, 0, 0)
    assert cipher is not None
    return head + cipher.encrypt(bytes(4) + counter.to_bytes(8), plaintext, head)


def introductions(numbers: Sequence[int]) -> bytes:
    """Build introductions of these endpoints of a message."""
    return b"".join(bytes((number,)) + bytes(range(32)) for number in numbers)
