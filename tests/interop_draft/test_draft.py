"""The notes as an Internet-Draft: it builds, its checker is content, and nothing is left out.

The rules at the end are those of `idnits` that matter here. Skipped only where markdown-it-py or
xml2rfc are not installed; `pip install -e '.[interop]'` brings them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring, tostring

import pytest

pytest.importorskip("markdown_it", reason="not installed: pip install -e '.[interop]'")

from interop.draft.document import NAME, NOTES, PARTS, Draft, build, known_references, source
from interop.draft.markdown import ARTWORK_COLUMNS, FOLDED, Converter, DraftError

DATE = datetime.date(2026, 11, 26)


@pytest.fixture(scope="module")
def draft() -> Draft:
    return build(DATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the three files; building them takes a quarter of a minute."""
    pytest.importorskip("xml2rfc", reason="not installed: pip install -e '.[interop]'")
    from interop.draft.__main__ import render

    made = tmp_path_factory.mktemp("draft")
    assert render(made, DATE) == ""
    return made


def section(text: str, *names: str) -> Element:
    return Converter(frozenset(["page", *names])).sections("page", text, "Page")


def words(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


# The document.


def test_every_note_is_in_it_and_every_heading(draft: Draft) -> None:
    assert draft.titles == tuple(part.title for part in PARTS)
    notes = {path.stem for path in NOTES.glob("*.md")} - {"README"}
    assert notes <= {part.name for part in PARTS}
    names = [words(name) for name in draft.rfc.iter("name")]
    for part in PARTS:
        headings = re.findall(r"^##+ (.+)$", without_code(source(part)), re.MULTILINE)
        for heading in headings:
            plain = re.sub(r"[`*]", "", heading).replace("§", "Section ")
            assert " ".join(plain.split()) in names, f"{part.name}: {heading}"


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_every_word_of_a_note_is_in_it(draft: Draft) -> None:
    """Not one paragraph is lost on the way: the words of plain paragraphs, in order."""
    whole = words(draft.rfc)
    text = without_code(source(next(part for part in PARTS if part.name == "security")))
    found = 0
    for paragraph in re.split(r"\n\n+", text):
        if re.match(r"[A-Z]", paragraph) and not re.search(r"[`\[*|§‖–]|RFC|<!--", paragraph):
            assert " ".join(paragraph.split()) in whole
            found += 1
    assert found > 10


def test_references_are_cited_and_citations_are_references(draft: Draft) -> None:
    assert draft.cited == set(known_references())
    anchors = {element.get("anchor") for element in draft.rfc.iter() if element.get("anchor")}
    targets = {element.get("target") for element in draft.rfc.iter("xref")}
    assert targets <= anchors
    for entry in known_references().values():
        assert entry["authors"] and re.fullmatch(r"([A-Z][a-z]+ )?\d{4}", entry["date"])


# The conversion.


def test_what_the_notes_use() -> None:
    made = section(
        "# Title\n\nText with `code`, **much** and *some*.\n\n## One thing\n\n- first\n- second\n\n"
        "1. one\n2. two\n\n| a | b |\n| --- | --- |\n| c | d |\n\n```\nfigure\n```\n"
    )
    assert tostring(made, encoding="unicode") == (
        '<section anchor="page"><name>Page</name><t>Text with <tt>code</tt>, '
        "<strong>much</strong> and <em>some</em>.</t>"
        '<section anchor="page-one-thing"><name>One thing</name>'
        "<ul><li><t>first</t></li><li><t>second</t></li></ul>"
        "<ol><li><t>one</t></li><li><t>two</t></li></ol>"
        '<table align="left"><thead><tr><th>a</th><th>b</th></tr></thead>'
        "<tbody><tr><td>c</td><td>d</td></tr></tbody></table>"
        "<sourcecode>figure</sourcecode></section></section>"
    )


def test_sections_nest_as_headings_do() -> None:
    made = section("# T\n\n## A\n\n### B\n\n## C\n")
    assert [one.get("anchor") for one in made.findall("section")] == ["page-a", "page-c"]
    assert made.find("section/section").get("anchor") == "page-b"  # type: ignore[union-attr]


def test_links_and_mentions_become_references() -> None:
    converter = Converter(frozenset(["page", "other"]))
    made = converter.sections(
        "page",
        "# T\n\nSee [there](other.md#a-part), [all](other.md), [here](#x), [file](../a.py), "
        "RFC 2627, Decision 7, `RFC 1`.\n\n## X\n",
        "T",
    )
    assert [xref.get("target") for xref in made.iter("xref")] == [
        "other-a-part",
        "other",
        "page-x",
        "RFC2627",
        "decision-7",
    ]
    assert converter.cited == {"RFC2627"}
    assert converter.missing() == {"other-a-part", "other", "decision-7"}


@pytest.mark.parametrize(
    "text",
    ["> quoted\n", "![picture](a.svg)\n", "a<br>b\n", "a  \nb\n", "snowman ☃\n", "## A\n\n## A\n"],
)
def test_what_a_draft_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(DraftError):
        section(f"# T\n\n{text}")


def test_a_dangling_reference_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(part: object) -> str:
        return "# T\n\n[nowhere](#nowhere) RFC 768\n"

    monkeypatch.setattr("interop.draft.document.source", other)
    with pytest.raises(DraftError, match=r"references\.toml|nowhere"):
        build(DATE)


def test_long_lines_of_figures_are_folded_and_can_be_unfolded() -> None:
    line = "x" * 50 + "   " + "y" * 150 + " \\z"
    made = section(f"# T\n\n```\n{line}\nshort\n```\n").findtext("sourcecode") or ""
    lines = made.split("\n")
    assert lines[:2] == [FOLDED, ""]
    assert max(map(len, lines)) <= ARTWORK_COLUMNS
    unfolded = re.sub(r"\\\n *", "", "\n".join(lines[2:]))
    assert unfolded == f"{line}\nshort"


def test_matrices_are_drawn_and_wide_tables_listed() -> None:
    head = "| in | " + " | ".join(f"State{n}" for n in range(7)) + " |\n" + "| --- " * 8 + "|\n"
    drawn = section(f"# T\n\n{head}| Hello | 1 | 2 | – | ! | 5 | 6 | 7 |\n").findtext("artwork")
    assert drawn is not None
    assert drawn.split("\n")[1] == "Hello   1   2   -   !   5   6   7"
    wide = "| a | b |\n| --- | --- |\n| " + "l" * 40 + " | " + "r" * 40 + " |\n"
    listed = section(f"# T\n\n{wide}").find("dl")
    assert listed is not None and words(listed) == "l" * 40 + "b: " + "r" * 40


# What comes out.


@pytest.mark.slow
def test_the_checker_is_content_and_every_section_is_in_text_and_html(folder: Path) -> None:
    text = (folder / f"{NAME}.txt").read_text(encoding="utf-8")
    html = (folder / f"{NAME}.html").read_text(encoding="utf-8")
    for part in PARTS:
        assert re.search(rf"^(\d+|Appendix [A-Z])\.  {part.title}", text, re.MULTILINE), part
        assert f'id="{part.name}"' in html
    assert html.count("<h2") >= len(PARTS)


@pytest.mark.slow
def test_it_is_valid_by_the_schema_of_rfcxml(folder: Path) -> None:
    """The grammar that xml2rfc brings, RELAX NG of RFC 7991 and its successors."""
    etree = pytest.importorskip("lxml.etree")
    xml2rfc = pytest.importorskip("xml2rfc")
    schema = Path(str(xml2rfc.__file__)).parent / "data" / "v3.rng"
    grammar = etree.RelaxNG(etree.parse(str(schema)))
    document = etree.parse(str(folder / f"{NAME}.xml"))
    assert grammar.validate(document), grammar.error_log
    spoilt = fromstring((folder / f"{NAME}.xml").read_text(encoding="utf-8"))
    spoilt.append(Element("nonsense"))
    assert not grammar.validate(etree.fromstring(tostring(spoilt)))


def lines_of(text: str) -> Iterator[str]:
    return (line for line in text.split("\n") if "\f" not in line)


@pytest.mark.slow
def test_rules_of_idnits(folder: Path) -> None:
    text = (folder / f"{NAME}.txt").read_text(encoding="utf-8")
    assert text.isascii()
    assert max(map(len, lines_of(text))) <= 72
    assert re.fullmatch(r"draft-[a-z0-9-]+-\d\d", NAME) and NAME in text
    abstract = text.split("Abstract")[1].split("Table of Contents")[0]
    assert "[" not in abstract and len(abstract.split()) > 30
    for required in ("Introduction", "Security Considerations", "IANA Considerations"):
        assert re.search(rf"^\d+\.  {required}$", text, re.MULTILINE)
    for kind in ("Normative", "Informative"):
        assert re.search(rf"^\d+\.\d\.  {kind} References$", text, re.MULTILINE)
    assert "BCP 14" in text
    for anchor in known_references():
        assert text.count(f"[{anchor}]") > 1, f"{anchor} is not cited"
