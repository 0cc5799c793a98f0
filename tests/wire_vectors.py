"""Vectors of optional elements, and of what nobody may accept: `elements.json`, `refused.json`.

Elements stand behind a Status Report of the example session; what is refused is made of whole
vectors by one change each. Written by `python -m tests.regenerate`. Decision 5, -03 §5.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dmmp.errors import DecodeError
from dmmp.messages import LeaveReport, PingRpResponse, StatusReport, Tlv, TlvType, decode
from dmmp.messages import encode as encoded
from dmmp.messages.tlv import MAXIMUM_TLVS, build_tlvs
from dmmp.types import HostId
from tests.examples import M4, SESSION, TREE
from tests.security.derivations import VERSION

HERE = Path(__file__).resolve().parent / "vectors"
ELEMENTS, REFUSED = HERE / "elements.json", HERE / "refused.json"

EXAMPLES: tuple[tuple[str, Tlv, str], ...] = (
    ("padding of no bytes", Tlv(TlvType.PADDING, b""), "understood"),
    ("padding of three zero bytes", Tlv(TlvType.PADDING, bytes(3)), "understood"),
    ("padding that is not zero", Tlv(TlvType.PADDING, b"\xff\x00\x01\x02"), "understood"),
    ("a host's name", Tlv(TlvType.NAME, b"lab-pc"), "understood"),
    ("a name beyond ASCII", Tlv(TlvType.NAME, "Gerät 7".encode()), "understood"),
    ("a signature", Tlv(TlvType.SIGNATURE, bytes(range(64))), "understood"),
    ("a signature that is too short", Tlv(TlvType.SIGNATURE, bytes(range(63))), "understood"),
    ("unknown, to be ignored", Tlv(0x80FF, b"\x01\x02\x03"), "ignored"),
    ("highest type, to be ignored", Tlv(0xFFFF, b"\x01\x02\x03\x04\x05"), "ignored"),
    ("unknown, to be refused", Tlv(0x0077, b"\x01\x02"), "refused"),
    ("highest type to be refused", Tlv(0x7FFF, b""), "refused"),
)
"""Name, element, and what a receiver does with it that knows the types of today."""


def wire_vectors() -> dict[Path, str]:
    """Make both files."""
    return {
        ELEMENTS: _text("element", "messages.md, Optional elements", "elements", _elements()),
        REFUSED: _text("refused", "messages.md, Header", "vectors", _refused()),
    }


def _text(kind: str, section: str, name: str, rows: Iterator[dict[str, Any]]) -> str:
    content = {"version": VERSION, "kind": kind, "section": section, name: list(rows)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _elements() -> Iterator[dict[str, Any]]:
    for name, tlv, fate in EXAMPLES:
        known = [each.name for each in TlvType if each == tlv.type]
        yield {
            "name": name,
            "type": tlv.type,
            "type_name": known[0] if known else "",
            "value": tlv.value.hex(),
            "hex": build_tlvs((tlv,)).hex(),
            "receiver": fate,
            "datagram": encoded(_report(tlv)).hex(),
        }


def _report(*tlvs: Tlv) -> StatusReport:
    return StatusReport(
        session=SESSION, source=HostId(2), sequence=9, tree_version=TREE, subject=M4, tlvs=tlvs
    )


def _refused() -> Iterator[dict[str, Any]]:
    for name, datagram in _bad():
        try:
            decode(datagram)
        except DecodeError as error:
            yield {
                "name": name,
                "hex": datagram.hex(),
                "reason": error.reason.value,
                "offset": error.offset,
            }
        else:
            raise AssertionError(f"{name} is accepted")


def _bad() -> Iterator[tuple[str, bytes]]:
    whole = encoded(_report())
    yield "nothing", b""
    yield "half a header", whole[:12]
    yield "a header that announces more than there is", whole[:-1]
    yield "one byte behind the end", whole + b"\0"
    yield "version 2", b"\x02" + whole[1:]
    yield "an unassigned option", _patched(whole, 2, "!H", 0x00EF)
    yield "a private option", _patched(whole, 2, "!H", 0x8000)
    yield "a STUN Binding Request (RFC 8489)", bytes.fromhex("000100002112a442") + bytes(12)
    short = _patched(whole[:-1], 20, "!I", len(whole) - 25)
    yield "a body that ends within its last field", short
    tail = encoded(LeaveReport(session=SESSION, source=HostId(4), sequence=1))
    yield "a body of nothing", _patched(tail[:24], 20, "!I", 0)
    candidates = PingRpResponse(session=SESSION, sequence=3, super_nodes=(M4,))
    one = encoded(candidates)
    at = len(one) - len(encoded(PingRpResponse(session=SESSION, sequence=3)))
    count = len(one) - at - 1
    yield "thirteen host records where twelve may stand", _counted(one, count, 13)
    for name, tlv, fate in EXAMPLES:
        if fate == "refused":
            yield f"element {name}", _with(whole, build_tlvs((tlv,)))
    yield "an element's head cut in two", _with(whole, b"\x80\x01")
    yield "an element without its padding", _with(whole, b"\x80\x02\x00\x03abc")
    yield "an element padded with other than zero", _with(whole, b"\x80\x02\x00\x03abc\x01")
    yield "an element longer than the datagram", _with(whole, b"\x80\x02\xff\xff")
    padding = build_tlvs((Tlv(TlvType.PADDING, b""),) * (MAXIMUM_TLVS + 1))
    yield f"{MAXIMUM_TLVS + 1} elements", _with(whole, padding)


def _patched(datagram: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(datagram)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


def _with(whole: bytes, behind: bytes) -> bytes:
    return _patched(whole + behind, 20, "!I", len(whole) - 24 + len(behind))


def _counted(one: bytes, at: int, count: int) -> bytes:
    record = one[at + 1 :]
    made = one[:at] + bytes((count,)) + record * count
    return _patched(made, 20, "!I", len(made) - 24)
