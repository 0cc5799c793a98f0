"""The notes say what the code does: tables, names, limits, decisions, links. Decision 5."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from dmmp.interest import FilterMode
from dmmp.messages import (
    REGISTRY,
    CookieReply,
    Data,
    HandshakeInitiation,
    HandshakeResponse,
    HopSealed,
    Sealed,
    TlvType,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    MAXIMUM_INTEREST,
    MAXIMUM_LINKS,
    MAXIMUM_PATH,
    MAXIMUM_SOURCES,
    ErrorCode,
    HostFlag,
    HostState,
    LeaveReason,
    Phase,
    RefreshKind,
    Status,
)
from dmmp.messages.data import MAXIMUM_BITMAP_BYTES
from dmmp.messages.tlv import MAXIMUM_TLVS
from dmmp.messages.wiretypes import Choice, Counted, Record
from tests.message_tables import blocks, names_in
from tests.regenerate import MESSAGES, ROOT

NOTES = ROOT / "spec-notes"
TEXT = MESSAGES.read_text(encoding="utf-8")
DECISIONS = (NOTES / "decisions.md").read_text(encoding="utf-8")
NOT_SENT = "Not sent by this implementation so far"
MADE_AS_BYTES = (Data, HandshakeInitiation, HandshakeResponse, CookieReply, Sealed, HopSealed)
"""What the forwarder and the associations send without making an object of it."""
NAMED = (Status, HostFlag, Phase, HostState, LeaveReason, RefreshKind, FilterMode, ErrorCode)


def test_every_table_has_its_place_once() -> None:
    assert sorted(names_in(TEXT)) == sorted(blocks())


def test_every_message_says_who_when_and_how_surely() -> None:
    """Prose by hand stands behind each table: sender, receiver, phase, reliability."""
    for cls in REGISTRY.values():
        prose = TEXT.split(f"<!-- end: {cls.__name__} -->")[1].split("\n#")[0]
        for word in ("**Sender**", "**Receiver**", "**Phase**", "**Reliability**"):
            assert word in prose, f"{cls.__name__}: {word}"


def test_what_nothing_here_sends_is_marked() -> None:
    """Both ways: a mark that is out of date misleads as much as one that is missing."""
    sending = "".join(
        path.read_text(encoding="utf-8")
        for part in ("roles", "forwarding", "security")
        for path in sorted((ROOT / "dmmp" / part).glob("*.py"))
    )
    for name in (cls.__name__ for cls in REGISTRY.values() if cls not in MADE_AS_BYTES):
        is_sent = re.search(rf"(make|answer|offer)\(\s*{name},|\b{name}\(", sending)
        prose = TEXT.split(f"<!-- end: {name} -->")[1].split("\n#")[0].lstrip()
        assert bool(is_sent) is not prose.startswith(NOT_SENT), name


def test_every_field_has_a_meaning() -> None:
    def check(record: Record, path: str) -> None:
        for field in record.fields:
            assert field.doc, f"{path}.{field.name} has no doc"
            kind = field.type.element if isinstance(field.type, Counted) else field.type
            if isinstance(kind, Record):
                check(kind, f"{path}.{field.name}")
            if isinstance(kind, Choice):
                assert field.names is kind.choices

    for cls in REGISTRY.values():
        check(cls.BODY, cls.__name__)


@pytest.mark.parametrize("names", NAMED, ids=lambda names: names.__name__)
def test_every_named_value_is_explained(names: type[IntEnum]) -> None:
    """All of them, in order, and no other."""
    table = re.split(rf"\*\*{names.__name__}\*\*[.,]", TEXT)[1].split("\n\n")[1]
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| .+ \|$", table, re.MULTILINE)
    members = [(member.value, name) for name, member in names.__members__.items()]
    assert [(int(value), name) for value, name in rows] == members


def test_every_enumeration_that_a_field_uses_is_among_them() -> None:
    used = {field.names for cls in REGISTRY.values() for field in cls.BODY.fields if field.names}
    assert used <= set(NAMED)


def test_elements_are_listed() -> None:
    rows = re.findall(r"^\| `(0x[0-9a-f]{4})` \| ([A-Z]+) \|", TEXT, re.MULTILINE)
    assert [(int(code, 16), name) for code, name in rows] == [(t.value, t.name) for t in TlvType]


@pytest.mark.parametrize(
    ("what", "most"),
    [
        ("HostRecords in a list", MAXIMUM_CANDIDATES),
        ("ids in a root path", MAXIMUM_PATH),
        ("Interest records in a message", MAXIMUM_INTEREST),
        ("sources in an Interest", MAXIMUM_SOURCES),
        ("links in a Refresh", MAXIMUM_LINKS),
        ("bitmap of a DataRequest", MAXIMUM_BITMAP_BYTES),
        ("elements", MAXIMUM_TLVS),
    ],
)
def test_limits(what: str, most: int) -> None:
    found = re.search(rf"^\| {what} \| (\d+)", TEXT, re.MULTILINE)
    assert found is not None
    assert int(found[1]) == most


def _sources() -> list[Path]:
    kinds = ("dmmp/**/*.py", "tests/**/*.py", "interop/**/*.py", "spec-notes/*.md")
    return [path for kind in kinds for path in sorted(ROOT.glob(kind))]


def test_every_cited_decision_is_written_down() -> None:
    headings = [
        int(found) for found in re.findall(r"^### Decision (\d+):", DECISIONS, re.MULTILINE)
    ]
    assert headings == list(range(1, len(headings) + 1))
    assert len(headings) >= 28
    for path in _sources():
        text = path.read_text(encoding="utf-8")
        for cited in re.findall(r"\bDecision (\d+)", text):
            assert int(cited) in headings, f"{path.relative_to(ROOT)} cites Decision {cited}"


def test_every_decision_has_a_reason() -> None:
    for part in re.split(r"^### ", DECISIONS, flags=re.MULTILINE)[1:]:
        assert "*Why:*" in part, part.splitlines()[0]


DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(NOTES.glob("*.md")),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_markdown_has_one_title_and_no_broken_link(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = path if not name else path.parent / name
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_cited_test_is_there(path: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)", path.read_text(encoding="utf-8")):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
