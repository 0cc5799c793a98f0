"""Every vector, taken apart by tshark: each field with its value, and no byte left over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import construct
import pytest

from dmmp.messages import REGISTRY, decode
from dmmp.messages.common import HostFlag
from dmmp.messages.schema import wire_fields
from dmmp.messages.wiretypes import Counted, Octets, Record, Text
from dmmp.security.peer import Capability
from tests.wireshark.examples import put, vector
from tests.wireshark.tshark import Frame, Shown, dissected, plugin_home, tshark

pytestmark = pytest.mark.namespace

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "messages"
HEADER = (
    "version",
    "tree_version",
    "option",
    "session",
    "source",
    "sequence",
    "reserved",
    "length",
)

ALLOWED = {
    "unasked": "A vector stands alone: no request is ahead of a response.",
    "sent_again": "Two vectors of one message may have the same number.",
    "element_ignored": "One vector has an element that nobody knows.",
}
"""Expert infos that vectors may have, none of them an error."""


class Vector(NamedTuple):
    message: str
    name: str
    data: bytes
    fields: dict[str, Any]


def vectors() -> list[Vector]:
    found = []
    for path in sorted(VECTORS.glob("*.json")):
        document = json.loads(path.read_text())
        for each in document["vectors"]:
            data = bytes.fromhex(each["hex"])
            found.append(Vector(document["message"], each["name"], data, each["fields"]))
    return found


@pytest.fixture(scope="module")
def frames() -> dict[tuple[str, str], Frame]:
    """Take all vectors apart in one run."""
    every = vectors()
    names = [(each.message, each.name) for each in every]
    return dict(zip(names, dissected([each.data for each in every]), strict=True))


def snake(name: str) -> str:
    return "".join("_" + each.lower() if each.isupper() else each for each in name).lstrip("_")


def expected(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """List names and values of the fields that a vector's value is to be shown as, in order."""
    if isinstance(value, dict):
        yield path, None
        for name, each in value.items():
            yield from expected(f"{path}.{name}", each)
    elif isinstance(value, list):
        yield f"{path}.count", len(value)
        for each in value:
            yield from expected(path, each)
    else:
        yield path, value


def meant(shown: Shown, value: Any) -> Any:
    """Read a field as the vector has it: a number, an address, a text, or bytes."""
    if value is None:
        return None
    if isinstance(value, int):
        return int(shown.show, 0)
    if value == shown.value.hex():
        return value
    try:
        address = IPv6Address(shown.show)
    except ValueError:
        return shown.show
    return str(address.ipv4_mapped or address) if ip_address(value) else shown.show


def body_fields(message: Shown, start: str) -> list[Shown]:
    """List what is shown of a message's own fields, lengths of texts and octets left out."""
    own = [each for each in message.everything() if each.name.startswith(start + ".")]
    return [each for each in own if not each.name.endswith(".length")]


@pytest.mark.parametrize("given", vectors(), ids=lambda given: f"{given.message}: {given.name}")
def test_each_field_has_the_vectors_value(
    given: Vector, frames: dict[tuple[str, str], Frame]
) -> None:
    message = frames[given.message, given.name].messages()[0]
    assert [each.name for each in message.below[: len(HEADER)]] == [
        f"dmmp.{name}" for name in HEADER
    ]
    header = {each.name: int(each.show, 0) for each in message.below[: len(HEADER)]}
    for name, value in given.fields["header"].items():
        assert header[f"dmmp.{name}"] == value
    assert header["dmmp.length"] == len(given.data) - 24
    start = f"dmmp.{snake(given.message)}"
    wanted = [
        pair
        for name, value in given.fields["body"].items()
        for pair in expected(f"{start}.{name}", value)
    ]
    shown = body_fields(message, start)
    assert [each.name for each in shown] == [name for name, _ in wanted]
    pairs = list(zip(shown, wanted, strict=True))
    assert [meant(each, value) for each, (_, value) in pairs] == [value for _, value in wanted]
    elements = [each.below for each in message.everything() if each.name == "dmmp.element"]
    told = [
        {"type": int(kind.show, 0), "value": value.value.hex()} for kind, _, value, *_ in elements
    ]
    assert told == given.fields["tlvs"]


@pytest.mark.parametrize("given", vectors(), ids=lambda given: f"{given.message}: {given.name}")
def test_no_byte_is_left_over_and_nothing_is_a_fault(
    given: Vector, frames: dict[tuple[str, str], Frame]
) -> None:
    frame = frames[given.message, given.name]
    assert frame.faults() <= set(ALLOWED)
    names = {each.name for each in frame.everything()}
    assert not names & {"_ws.malformed", "_ws.lua.error", "dmmp.undissected"}
    message = frame.messages()[0]
    begin = message.at
    assert message.size == len(given.data)
    covered = bytearray(len(given.data))
    for each in message.everything():
        if each.name.startswith("dmmp.") and each.value:
            # A count stands for its list, whose elements are shown below it.
            size = 1 if each.name.endswith(".count") else each.size
            covered[each.at - begin : each.at - begin + size] = b"\1" * size
    assert all(covered)


def test_what_a_receiver_refuses_is_an_error() -> None:
    every = json.loads((VECTORS.parent / "refused.json").read_text())["vectors"]
    found = dissected([bytes.fromhex(each["hex"]) for each in every])
    for each, frame in zip(every, found, strict=True):
        if not each["hex"] or each["reason"] == "stun":
            assert not frame.messages(), each["name"]
        else:
            assert frame.has_error(), each["name"]
    assert not any(frame.has_error() for frame in dissected([each.data for each in vectors()]))


def test_an_element_is_an_error_only_if_it_must_be_understood() -> None:
    every = json.loads((VECTORS.parent / "elements.json").read_text())["elements"]
    found = dissected([bytes.fromhex(each["datagram"]) for each in every])
    for each, frame in zip(every, found, strict=True):
        assert frame.texts("dmmp.element.type") == [f"0x{each['type']:04x}"]
        assert frame.has_error() == (each["receiver"] == "refused"), each["name"]


def beyond_and_within() -> Iterator[tuple[str, str, bytes, bytes]]:
    """List each limit of a message's field: its name, its fault, and datagrams beyond and at it."""
    kinds = {Counted: "list_bound", Text: "text_bound", Octets: "octets_bound"}
    for path in sorted(VECTORS.glob("*.json")):
        data = bytes.fromhex(json.loads(path.read_text())["vectors"][0]["hex"])
        message = decode(data)
        body = b""
        for field in wire_fields(type(message)):
            kind = kinds.get(type(field.type))
            count_bytes = 2 if isinstance(field.type, Octets) else 1
            if kind and field.type.at_most < 256**count_bytes - 1:
                numbers = (field.type.at_most + 1, field.type.at_most)
                beyond, within = (body + number.to_bytes(count_bytes) for number in numbers)
                heads = (data[:20] + len(each).to_bytes(4) for each in (beyond, within))
                name = f"{path.stem}.{field.name}: {field.type.at_most}"
                yield name, kind, next(heads) + beyond, next(heads) + within
            body += field.type.build(getattr(message, field.name))


def test_limits_are_those_of_the_code() -> None:
    every = list(beyond_and_within())
    assert len(every) > 20
    beyond = dissected([each for _, _, each, _ in every])
    within = dissected([each for *_, each in every])
    for (name, kind, *_), above, at in zip(every, beyond, within, strict=True):
        assert kind in above.faults(), name
        assert kind not in at.faults(), name
        assert "truncated" in at.faults(), name


def schema_fields(path: str, declared: construct.Construct) -> Iterator[str]:
    """Name the fields of Wireshark that a declaration of the code is to have."""
    if isinstance(declared, Record):
        yield path
        for field in declared.fields:
            yield from schema_fields(f"{path}.{field.name}", field.type)
    elif isinstance(declared, Counted):
        yield f"{path}.count"
        yield from schema_fields(path, declared.element)
    elif isinstance(declared, Text | Octets):
        yield from (path, f"{path}.length")
    else:
        yield path


def test_the_dissector_has_the_fields_that_the_code_declares(tmp_path: Path) -> None:
    home = plugin_home(tmp_path)
    lines = [line.split("\t") for line in tshark("-G", "fields", environment=home).splitlines()]
    there = {words[2] for words in lines if words[0] == "F" and words[2].startswith("dmmp.")}
    wanted = set()
    for message in REGISTRY.values():
        start = f"dmmp.{snake(message.__name__)}"
        for field in wire_fields(message):
            wanted |= set(schema_fields(f"{start}.{field.name}", field.type))
    assert wanted <= there
    of_messages = {f"dmmp.{snake(message.__name__)}" for message in REGISTRY.values()}
    of_payloads = {"ciphertext", "plaintext", "tag", "signature", "manifest"}
    extra = {
        name
        for name in there - wanted
        if ".".join(name.split(".")[:2]) in of_messages and name.split(".")[2] not in of_payloads
    }
    assert not extra

    values = [line.split("\t") for line in tshark("-G", "values", environment=home).splitlines()]
    names = {
        (words[1], int(words[2], 0)): words[3]
        for words in values
        if words[0] == "V" and words[1].startswith("dmmp.")
    }
    for message in REGISTRY.values():
        assert names["dmmp.option", message.OPTION] == message.__name__
        for field in wire_fields(message):
            check_names(f"dmmp.{snake(message.__name__)}.{field.name}", field.names, names)


def test_flags_have_the_names_of_the_code() -> None:
    join, credential = vector("join_request"), vector("credential")
    grant = credential.rindex(bytes.fromhex("0101ff04")) + 5
    every = [(put(join, 46, bytes((flag,))), flag.name, "flags") for flag in HostFlag]
    every += [
        (put(credential, grant, bit.to_bytes(4)), str(bit.name), "dmmp.grant.capabilities")
        for bit in Capability
    ]
    for (_, name, field), frame in zip(every, dissected([each[0] for each in every]), strict=True):
        (label,) = [each.label for each in frame.everything() if each.name.endswith(f"{field}")][
            -1:
        ]
        assert label.endswith(f"({name})")
        assert "flags_unknown" not in frame.faults()


def check_names(
    path: str, enumeration: type[IntEnum] | None, names: dict[tuple[str, int], str]
) -> None:
    """Compare the names of a field's values with those of the code."""
    found = {value: name for (field, value), name in names.items() if field == path}
    assert found == ({} if enumeration is None else {each.value: each.name for each in enumeration})
