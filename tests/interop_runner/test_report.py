"""The matrix as text, page and document."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser

import pytest
from rich.console import Console

from interop.matrix.cells import Result, Verdict
from interop.matrix.participants import Pair, Participant
from interop.matrix.report import Matrix, to_html, to_json
from interop.runner import main, parse_arguments, show

CORE = Participant("ours", "ours <&>", ("rp", "source", "super-node", "member"), ("true",))
LEAF = Participant("leaf", "a leaf", ("member",), ("true",), version="1.2")
GONE = Participant("gone", "gone", ("member",), ("true",), absent="no <tag>")


def matrix() -> Matrix:
    results = [
        Result("join", "ours", "ours", Verdict.PASSED, seconds=12.3),
        Result("join", "ours", "leaf", Verdict.UNSUPPORTED, ("leaf as member",)),
        Result(
            "leave",
            "ours",
            "leaf",
            Verdict.FAILED,
            ("m1 lacks <2> datagrams",),
            last_words={"m1": ["<good bye>"]},
        ),
    ]
    pairs = [Pair(CORE, CORE), Pair(CORE, LEAF), Pair(CORE, GONE)]
    return Matrix([CORE, LEAF, GONE], ["join", "leave"], pairs, results, 33.3, "my.toml")


class Page(HTMLParser):
    """Counts the elements, and sees that each is closed and none loads anything."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "td" and (kind := dict(attrs).get("class")) and "verdict" in kind:
            self.cells.append(kind.removeprefix("verdict "))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_text_has_a_sign_for_each_cell_and_a_reason_for_each_failure() -> None:
    out = io.StringIO()
    show(Console(file=out, width=120), matrix())
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["join", "✓", "–", "absent"] in lines
    assert ["leave", "✗", "absent"] in lines
    text = out.getvalue()
    assert "FAILED leave ours+leaf: m1 lacks <2> datagrams" in text
    assert "--registry my.toml --only leave --participants ours,leaf --pair ours+leaf" in text
    assert "absent gone: no <tag>" in text
    assert "3 cells in 33 s: 1 passed, 1 failed, 1 unsupported" in text


def test_the_page_needs_nothing_else_and_hides_nothing() -> None:
    page = Page()
    page.feed(to_html(matrix()))
    assert page.open == []
    assert sorted(page.cells) == ["failed", "passed", "unsupported"]
    assert page.text.count("absent") == 3
    for text in ("m1 lacks <2> datagrams", "m1: <good bye>", "absent: no <tag>", "ours <&>", "1.2"):
        assert text in page.text


def test_the_document_can_be_read_again() -> None:
    document = json.loads(json.dumps(to_json(matrix())))
    assert document["format"] == 1
    assert [cell["verdict"] for cell in document["cells"]] == ["passed", "unsupported", "failed"]
    assert document["cells"][2]["reasons"] == ["m1 lacks <2> datagrams"]
    assert [each["absent"] for each in document["participants"]] == ["", "", "no <tag>"]
    assert [each["name"] for each in document["scenarios"]] == ["join", "leave"]


def test_the_line_that_repeats_a_cell_is_one_that_the_command_takes() -> None:
    options = parse_arguments(
        ["--only", "leave", "--participants", "ours,leaf", "--pair", "ours+leaf", "--keep", "there"]
    )
    assert (options.only, options.participants) == (["leave"], ["ours", "leaf"])
    assert (options.pair, str(options.keep)) == (["ours+leaf"], "there")


def test_the_list_names_scenarios_and_participants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    told = capsys.readouterr().out
    assert {"parent-death", "long-run", "leaf-c"} <= set(told.split())
