"""Every vector: parsed, built, parsed again; cut anywhere, changed anywhere. Decision 5, -03 §5."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages import REGISTRY, Message, decode, encode
from dmmp.messages.header import HEADER_BYTES
from tests.plain import message_from_plain, message_to_plain
from tests.regenerate import ROOT, VECTORS, file_name, generated

Vector = dict[str, Any]


def _stored() -> Iterator[tuple[int, Vector]]:
    for path in sorted(VECTORS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for vector in content["vectors"]:
            yield content["option"], vector


STORED = list(_stored())
every_vector = pytest.mark.parametrize(
    ("option", "vector"),
    STORED,
    ids=[f"{REGISTRY[option].__name__}-{vector['name']}" for option, vector in STORED],
)


def test_generated_files_are_in_step() -> None:
    different = [
        str(path.relative_to(ROOT))
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert not different, "run `python -m tests.regenerate` and look at the difference"


def test_each_message_has_its_vectors_and_no_other_file_lies_there() -> None:
    assert len(REGISTRY) == 45
    stored = {option for option, _ in STORED}
    assert stored == set(REGISTRY)
    names = {path.name for path in VECTORS.iterdir()}
    assert names == {file_name(cls) for cls in REGISTRY.values()}


@every_vector
def test_parse_build_parse(option: int, vector: Vector) -> None:
    datagram = bytes.fromhex(vector["hex"])
    message = decode(datagram)
    assert type(message) is REGISTRY[option]
    assert message_to_plain(message) == vector["fields"]
    built = message_from_plain(option, vector["fields"])
    assert built == message
    assert encode(built) == datagram
    assert decode(memoryview(datagram)) == message


@every_vector
def test_every_prefix_is_refused(option: int, vector: Vector) -> None:
    datagram = bytes.fromhex(vector["hex"])
    for size in range(len(datagram)):
        with pytest.raises(DecodeError) as refused:
            decode(datagram[:size])
        assert refused.value.reason in (DecodeReason.TRUNCATED, DecodeReason.LENGTH)
        assert 0 <= refused.value.offset <= size


@every_vector
def test_prefixes_that_announce_their_length_end_at_a_border(option: int, vector: Vector) -> None:
    """What a liar can cut off without being found out: whole optional elements, data, no more."""
    datagram = bytes.fromhex(vector["hex"])
    whole = decode(datagram)
    elements = sum(4 + len(tlv.value) + -len(tlv.value) % 4 for tlv in whole.tlvs)
    body_end = len(datagram) - elements
    for size in range(HEADER_BYTES, len(datagram)):
        cut = bytearray(datagram[:size])
        struct.pack_into("!I", cut, 20, size - HEADER_BYTES)
        read = _read(bytes(cut))
        if read is None:
            continue
        assert size >= body_end or not type(whole).HAS_TLVS
        assert encode(read) == bytes(cut)
        assert len(read.tlvs) < len(whole.tlvs) or not type(whole).HAS_TLVS


@every_vector
def test_every_changed_byte_gives_a_message_or_a_decode_error(option: int, vector: Vector) -> None:
    datagram = bytearray.fromhex(vector["hex"])
    for at in range(len(datagram)):
        kept = datagram[at]
        for changed in {kept ^ 0x01, kept ^ 0x80, 0x00, 0xFF, (kept + 1) & 0xFF} - {kept}:
            datagram[at] = changed
            read = _read(bytes(datagram))
            if read is not None:
                assert encode(read) == datagram, "one message has one form"
        datagram[at] = kept


def _read(datagram: bytes) -> Message | None:
    try:
        return decode(datagram)
    except DecodeError as error:
        assert isinstance(error.reason, DecodeReason)
        assert 0 <= error.offset <= len(datagram)
        return None
