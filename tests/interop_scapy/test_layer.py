"""The scapy layer takes apart and puts together every vector: fields equal, bytes equal.

Skipped only where scapy is not installed; `pip install -e '.[interop]'` brings it.
"""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scapy", reason="scapy is not installed: pip install -e '.[interop]'")

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from interop.scapy.dmmp_layer import BY_NAME, DMMP, MESSAGES, DmmpElement
from tests.wire_vectors import ELEMENTS, HERE, REFUSED

ROOT = HERE.parents[1]
Vector = dict[str, Any]


def stored() -> Iterator[tuple[int, str, Vector]]:
    for path in sorted((HERE / "messages").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for vector in content["vectors"]:
            yield content["option"], content["message"], vector


STORED = list(stored())
every_vector = pytest.mark.parametrize(
    ("option", "name", "vector"),
    STORED,
    ids=[f"{name}-{vector['name']}" for _, name, vector in STORED],
)


def plain(value: Any) -> Any:
    """Make of what scapy read what a vector would say."""
    if isinstance(value, Packet):
        fields = {
            field.name: plain(value.getfieldval(field.name))
            for field in value.fields_desc
            if not field.name.endswith(("_count", "_length"))
        }
        if "address" in fields and "host" in fields:
            fields["endpoint"] = {name: fields.pop(name) for name in ("address", "port")}
        return fields
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value if isinstance(value, str | bytes) else int(value)


def alike(read: Any, said: Any) -> bool:
    """Compare with a vector's value: texts and raw bytes are both text there."""
    if isinstance(said, dict):
        return set(read) == set(said) and all(
            alike(read[name], value) for name, value in said.items()
        )
    if isinstance(said, list):
        if len(read) != len(said):
            return False
        return all(alike(one, other) for one, other in zip(read, said, strict=True))
    if isinstance(read, bytes):
        return bool(read.hex() == said or read == said.encode())
    return bool(read == said)


@every_vector
def test_a_vector_is_taken_apart(option: int, name: str, vector: Vector) -> None:
    datagram = bytes.fromhex(vector["hex"])
    head = DMMP(datagram)
    assert (head.option, head.length) == (option, len(datagram) - 24)
    said = vector["fields"]
    header = {name: head.getfieldval(name) for name in ("session", "source", "sequence")}
    assert header == {name: said["header"][name] for name in header}
    assert head.tree_version == said["header"]["tree_version"]
    word = head.reserved
    if option <= 2:
        word = int(head.flags) << 24 | head.epoch << 16 | head.channel
    assert word == said["header"]["reserved"]
    message = head.payload
    assert type(message) is BY_NAME[name] is MESSAGES[option]
    body: Any = plain(message) if name != "Data" else {"payload": bytes(message.payload)}
    elements = body.pop("tlvs", [])
    assert [(each["type"], each["value"].hex()) for each in elements] == [
        (each["type"], each["value"]) for each in said["tlvs"]
    ]
    assert alike(body, said["body"]), (body, said["body"])
    assert bytes(head) == datagram


@every_vector
def test_a_vector_is_put_together_from_its_fields(option: int, name: str, vector: Vector) -> None:
    """Nothing is left of the bytes it was read from: counts and lengths are made anew."""
    datagram = bytes.fromhex(vector["hex"])
    made = fresh(DMMP(datagram))
    assert made.length is None
    assert bytes(made) == datagram


def fresh(packet: Packet) -> Packet:
    """Make a packet again from what its fields say, counts and lengths left out."""
    fields = {}
    for field in packet.fields_desc:
        value = packet.getfieldval(field.name)
        if field.name == "length" or field.name.endswith(("_count", "_length")) or value is None:
            continue
        if isinstance(value, Packet):
            value = fresh(value)
        elif isinstance(value, list):
            value = [fresh(each) if isinstance(each, Packet) else each for each in value]
        fields[field.name] = value
    made = type(packet)(**fields)
    if isinstance(packet.payload, Raw | IP | IPv6):
        return made / Raw(bytes(packet.payload))
    return made / fresh(packet.payload) if packet.payload else made


def test_the_layer_knows_every_message() -> None:
    assert {(option, name) for option, name, _ in STORED} == {
        (option, name)
        for name, cls in BY_NAME.items()
        for option, other in MESSAGES.items()
        if other is cls
    }


@pytest.mark.parametrize(
    "element",
    json.loads(ELEMENTS.read_text(encoding="utf-8"))["elements"],
    ids=lambda element: str(element["name"]),
)
def test_elements(element: dict[str, Any]) -> None:
    value = bytes.fromhex(element["value"])
    made = DmmpElement(type=element["type"], value=value)
    assert bytes(made).hex() == element["hex"]
    (read,) = DMMP(bytes.fromhex(element["datagram"])).payload.tlvs
    assert (read.type, read.value) == (element["type"], value)


def test_bad_datagrams_can_be_read_and_made() -> None:
    """Nothing raises, whatever comes in UDP; what was read goes out again as it came."""
    for vector in json.loads(REFUSED.read_text(encoding="utf-8"))["vectors"]:
        read_in_udp(bytes.fromhex(vector["hex"]))
    rng = random.Random(1)
    for _, _, vector in STORED:
        datagram = bytearray.fromhex(vector["hex"])
        for _ in range(10):
            datagram[rng.randrange(len(datagram))] = rng.randrange(256)
            read_in_udp(bytes(datagram))
    wrong = DMMP(version=2, length=9) / BY_NAME["JoinRequest"](passes=3)
    assert bytes(wrong)[:1] == b"\x02"
    assert int.from_bytes(bytes(wrong)[20:24]) == 9 != len(bytes(wrong)) - 24


def read_in_udp(datagram: bytes) -> None:
    """Take apart a datagram as scapy meets it: behind UDP, where a fault leaves raw bytes."""
    whole = bytes(UDP(sport=47700, dport=47700) / Raw(datagram))
    read = UDP(whole)
    read.show(dump=True)
    assert bytes(read) == whole


def test_it_is_found_behind_udp_and_answers_are_told() -> None:
    request = IP(dst="192.0.2.1") / UDP() / DMMP(sequence=7) / BY_NAME["PingRpRequest"]()
    read = IP(bytes(request))
    assert (read[UDP].dport, read[DMMP].option) == (47700, 0x20)
    response = DMMP(bytes(DMMP(sequence=7) / BY_NAME["PingRpResponse"]()))
    assert response.answers(read[DMMP]) and response.hashret() == read[DMMP].hashret()
    assert not DMMP(bytes(DMMP(sequence=8) / BY_NAME["PingRpResponse"]())).answers(read[DMMP])
    assert not DMMP(bytes(DMMP(sequence=7) / BY_NAME["JoinResponse"]())).answers(read[DMMP])


def test_data_in_the_clear_shows_the_packet_in_it() -> None:
    inner = IP(dst="239.1.2.3") / UDP(dport=5004) / Raw(b"x")
    head = DMMP(bytes(DMMP(channel=1, sequence=5) / BY_NAME["Data"]() / inner))
    assert (head.channel, head[UDP].dport) == (1, 5004)
    sealed = DMMP(bytes(DMMP(channel=1, flags="SEALED", epoch=3) / BY_NAME["Data"]() / inner))
    assert sealed.epoch == 3 and not sealed.haslayer(UDP)


@pytest.mark.slow
def test_the_package_never_imports_scapy_nor_the_layer_the_package() -> None:
    layer = ROOT / "interop" / "scapy" / "dmmp_layer.py"
    for path in (*sorted((ROOT / "dmmp").rglob("*.py")), layer):
        banned = {"dmmp"} if path == layer else {"scapy", "interop"}
        assert not imported(path) & banned, path


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that ask nobody; the others are at least Python."""
    text = (ROOT / "interop" / "scapy" / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        code = compile(block, "README.md", "exec")
        if "socket.socket(" not in block:
            exec(code, {"__name__": "readme"})
