"""The vectors as others get them: by the schema, complete, and no two of a name. Decision 5."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from dmmp.errors import DecodeError
from dmmp.messages import TlvType, decode
from dmmp.messages.tlv import parse_tlvs
from tests.security.derivations import OPERATIONS, VERSION
from tests.wire_vectors import ELEMENTS, HERE, REFUSED

SCHEMA = json.loads((HERE / "schema.json").read_text(encoding="utf-8"))
OTHERS = {"schema.json", "igmp_mld.json"}
FILES = [path for path in sorted(HERE.rglob("*.json")) if path.name not in OTHERS]
VALIDATOR = Draft202012Validator(SCHEMA)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$defs"]["version"] == {"const": VERSION}
    assert set(SCHEMA["$defs"]["step"]["properties"]["operation"]["enum"]) == set(OPERATIONS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_follows_the_schema_and_names_things_once(path: Path) -> None:
    content = read(path)
    VALIDATOR.validate(content)
    (listed,) = (value for value in content.values() if isinstance(value, list))
    names = [each["name"] for each in listed]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.update(version=2),
        lambda file: file.pop("option"),
        lambda file: file["vectors"][0].update(hex="0"),
        lambda file: file["vectors"][0].update(hex="AB"),
        lambda file: file["vectors"][0]["fields"]["header"].update(sequence=1 << 32),
        lambda file: file["vectors"][0]["fields"].pop("tlvs"),
        lambda file: file.update(comment="any other name"),
    ],
)
def test_the_schema_notices(spoil: Any) -> None:
    content = copy.deepcopy(read(HERE / "messages" / "join_request.json"))
    VALIDATOR.validate(content)
    spoil(content)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(content)


@pytest.mark.parametrize("element", read(ELEMENTS)["elements"], ids=lambda e: str(e["name"]))
def test_elements(element: dict[str, Any]) -> None:
    octets, datagram = bytes.fromhex(element["hex"]), bytes.fromhex(element["datagram"])
    value = bytes.fromhex(element["value"])
    assert datagram.endswith(octets) and not len(octets) % 4
    assert octets[:4] == element["type"].to_bytes(2) + len(value).to_bytes(2)
    assert octets[4:] == value + bytes(len(octets) - 4 - len(value))
    if element["receiver"] == "refused":
        with pytest.raises(DecodeError):
            decode(datagram)
        return
    (held,) = decode(datagram).tlvs
    assert (held,) == parse_tlvs(octets, 0)
    assert (held.type, held.value) == (element["type"], value)


def test_every_kind_of_element_and_every_fate_has_a_vector() -> None:
    listed = read(ELEMENTS)["elements"]
    assert {each["type_name"] for each in listed} == {"", *(known.name for known in TlvType)}
    assert {each["receiver"] for each in listed} == {"understood", "ignored", "refused"}


@pytest.mark.parametrize("vector", read(REFUSED)["vectors"], ids=lambda v: str(v["name"]))
def test_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(bytes.fromhex(vector["hex"]))
    assert refused.value.reason.value == vector["reason"]
    assert refused.value.offset == vector["offset"]


def test_every_reason_to_refuse_bytes_has_a_vector() -> None:
    """But for checksums and seals, of which `decode` knows nothing."""
    allowed = SCHEMA["$defs"]["refusedFile"]["properties"]["vectors"]["items"]["properties"]
    assert {each["reason"] for each in read(REFUSED)["vectors"]} == set(allowed["reason"]["enum"])
