"""The Markdown of the notes as RFCXML, version 3 (RFC 7991): sections, lists, tables, references.

It knows what the notes use, and refuses anything else (`DraftError`), so that nothing is lost in
silence. Titles become anchors, links between the notes and mentions of decisions become references
inside the document, mentions of RFCs citations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from markdown_it import MarkdownIt
from markdown_it.token import Token

ARTWORK_COLUMNS = 69
"""Longest line of artwork: 72 columns less the indentation of a section's text."""

WIDE_TABLE = 6
"""Tables of more columns are matrices of short cells: they are drawn as artwork."""

FOLDED = "NOTE: '\\' line wrapping per RFC 8792"

ASCII = {
    "§": "Section ",
    "‖": "||",
    "–": "-",
    "−": "-",
    "→": "->",
    "…": "...",
    "±": "+-",
    "×": "x",
    "µ": "u",
    "≥": ">=",
    "≤": "<=",
    "ö": "oe",
    "ß": "ss",
    "Ü": "Ue",
    "ä": "ae",
}
"""What stands for characters beyond ASCII, which an Internet-Draft's text avoids."""

_MENTION = re.compile(r"\b(?P<rfc>RFC (?P<number>\d{3,5}))|\bDecision (?P<decision>\d+)")
_SLUG = re.compile(r"[^a-z0-9_.-]+")


class DraftError(Exception):
    """The notes have something that the draft cannot say, or name what is not there."""


@dataclass
class Converter:
    """Turns notes into sections; `names` are the notes (without `.md`) that the draft holds.

    What is cited, and what is referred to, is gathered for the caller to check.
    """

    names: frozenset[str]
    cited: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    decisions: set[str] = field(default_factory=set)

    def sections(self, name: str, text: str, title: str = "") -> Element:
        """Convert one note to a section; `title` replaces its own."""
        parser = MarkdownIt("commonmark").enable("table")
        return _Page(self, name).build(parser.parse(text), title)

    def missing(self) -> set[str]:
        """List what is referred to and is nowhere."""
        return self.targets - self.anchors


def slug(title: str) -> str:
    """Make the anchor of a title, as links in the notes have it."""
    return _SLUG.sub("-", plain(title).lower().replace(" ", "-")).strip("-")


def plain(text: str) -> str:
    """Put a text into ASCII; raise `DraftError` for a character without a substitute."""
    for character, substitute in ASCII.items():
        text = text.replace(character, substitute)
    if not text.isascii():
        odd = sorted({character for character in text if not character.isascii()})
        raise DraftError(f"no substitute in ASCII for {odd}")
    return text


class _Page:
    """One note on its way into sections."""

    def __init__(self, whole: Converter, name: str) -> None:
        self.whole, self.name = whole, name
        self.root = Element("section", anchor=self._anchor(name))
        self.open: list[tuple[int, Element]] = [(1, self.root)]

    def build(self, tokens: Sequence[Token], title: str) -> Element:
        stream = _Stream(tokens)
        while (token := stream.peek()) is not None:
            if token.type == "heading_open":
                self._heading(stream, title)
            else:
                self._block(stream, self.open[-1][1])
        if self.root.find("name") is None:
            named = Element("name")
            named.text = title
            self.root.insert(0, named)
        return self.root

    def _anchor(self, anchor: str) -> str:
        if anchor in self.whole.anchors:
            raise DraftError(f"two sections have the anchor {anchor}")
        self.whole.anchors.add(anchor)
        return anchor

    def _heading(self, stream: _Stream, title: str) -> None:
        level = int(stream.take().tag[1:])
        text = stream.take().content
        stream.take()
        if level == 1:
            self.open = [(1, self.root)]
            SubElement(self.root, "name").text = plain(title or _unmarked(text))
            return
        while self.open[-1][0] >= level:
            self.open.pop()
        decision = re.match(r"Decision (\d+):", text)
        anchor = f"decision-{decision[1]}" if decision else f"{self.name}-{slug(text)}"
        section = SubElement(self.open[-1][1], "section", anchor=self._anchor(anchor))
        SubElement(section, "name").text = plain(_unmarked(text))
        self.open.append((level, section))

    def _block(self, stream: _Stream, into: Element) -> None:
        token = stream.take()
        if token.type == "paragraph_open":
            self._inline(stream.take(), SubElement(into, "t"))
            stream.take()
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            self._list(stream, into, "ul" if token.type.startswith("bullet") else "ol")
        elif token.type == "table_open":
            self._table(stream, into)
        elif token.type in ("fence", "code_block"):
            _artwork(into, token.content, "sourcecode", token.info)
        elif token.type != "html_block" or not token.content.startswith("<!--"):
            raise DraftError(f"{self.name}: no place for {token.type}: {token.content[:60]!r}")

    def _list(self, stream: _Stream, into: Element, tag: str) -> None:
        made = SubElement(into, tag)
        while stream.take().type == "list_item_open":
            item = SubElement(made, "li")
            while (inner := stream.peek()) is not None and inner.type != "list_item_close":
                self._block(stream, item)
            stream.take()

    def _table(self, stream: _Stream, into: Element) -> None:
        rows: list[tuple[str, list[Token]]] = []
        while (token := stream.take()).type != "table_close":
            if token.type == "tr_open":
                rows.append(("td", []))
            elif token.type == "inline":
                rows[-1][1].append(token)
            elif token.type == "th_open":
                rows[-1] = ("th", rows[-1][1])
        if len(rows[0][1]) > WIDE_TABLE:
            _artwork(into, _matrix([[cell.content for cell in cells] for _, cells in rows]))
            return
        if _least_width(rows) > ARTWORK_COLUMNS:
            self._listed(rows, into)
            return
        table = SubElement(into, "table", align="left")
        head, body = SubElement(table, "thead"), SubElement(table, "tbody")
        for tag, cells in rows:
            row = SubElement(head if tag == "th" else body, "tr")
            for cell in cells:
                self._inline(cell, SubElement(row, tag))

    def _listed(self, rows: Sequence[tuple[str, list[Token]]], into: Element) -> None:
        """Make a list of what is too wide for a table: of each row, what stands under each head."""
        made = SubElement(into, "dl")
        (_, heads), *others = rows
        for _, cells in others:
            self._inline(cells[0], SubElement(made, "dt"))
            parts = SubElement(SubElement(made, "dd"), "ul", spacing="compact")
            for head, cell in zip(heads[1:], cells[1:], strict=True):
                item = SubElement(parts, "li")
                self._inline(head, SubElement(item, "em"))
                _append(item, ": ")
                self._inline(cell, item)

    # Text within a line.

    def _inline(self, token: Token, into: Element) -> None:
        open_elements = [into]
        for child in token.children or []:
            top = open_elements[-1]
            if child.type == "text":
                self._text(child.content, top)
            elif child.type == "softbreak":
                _append(top, "\n")
            elif child.type == "code_inline":
                SubElement(top, "tt").text = plain(child.content)
            elif child.type in ("strong_open", "em_open"):
                open_elements.append(SubElement(top, child.tag))
            elif child.type == "link_open":
                open_elements.append(self._link(str(child.attrGet("href")), top))
            elif child.type in ("strong_close", "em_close", "link_close"):
                open_elements.pop()
            else:
                raise DraftError(f"{self.name}: no place for {child.type}: {child.content!r}")

    def _link(self, href: str, into: Element) -> Element:
        if href.startswith("https://"):
            return SubElement(into, "eref", target=href)
        if href.startswith("ref:"):
            self.whole.cited.add(href.removeprefix("ref:"))
            return SubElement(into, "xref", target=href.removeprefix("ref:"))
        path, _, title = href.partition("#")
        name = path.removesuffix(".md") or self.name
        if name not in self.whole.names:
            # Of a file of the repository that is not in the draft the name remains.
            return SubElement(into, "em")
        target = f"{name}-{slug(title)}" if title else name
        self.whole.targets.add(target)
        return SubElement(into, "xref", target=target, format="default")

    def _text(self, text: str, into: Element) -> None:
        if into.tag in ("xref", "eref", "tt"):
            _append(into, plain(text))
            return
        at = 0
        for found in _MENTION.finditer(text):
            _append(into, plain(text[at : found.start()]))
            at = found.end()
            if found["rfc"]:
                anchor = f"RFC{int(found['number']):04d}"
                self.whole.cited.add(anchor)
                SubElement(into, "xref", target=anchor)
            else:
                target = f"decision-{found['decision']}"
                self.whole.targets.add(target)
                made = SubElement(into, "xref", target=target, format="none")
                made.text = found[0]
        _append(into, plain(text[at:]))


class _Stream:
    """Tokens, taken one after the other."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens: Iterator[Token] = iter(tokens)
        self._next = next(self._tokens, None)

    def peek(self) -> Token | None:
        return self._next

    def take(self) -> Token:
        taken = self._next
        if taken is None:
            raise DraftError("the page ends too soon")
        self._next = next(self._tokens, None)
        return taken


def _append(into: Element, text: str) -> None:
    """Put text behind what an element holds so far."""
    if len(into):
        into[-1].tail = (into[-1].tail or "") + text
    else:
        into.text = (into.text or "") + text


def _unmarked(text: str) -> str:
    return re.sub(r"[`*]", "", text)


def _least_width(rows: Sequence[tuple[str, list[Token]]]) -> int:
    """Tell how wide a table is at least: in each column its longest word, and the borders."""
    columns = zip(*([cell.content for cell in cells] for _, cells in rows), strict=True)
    words = (
        max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns
    )
    return sum(width + 3 for width in words) + 1


def _matrix(rows: Sequence[Sequence[str]]) -> str:
    """Draw a table of short cells: the head cut to three letters, the first column whole."""
    head = [rows[0][0], *(cell[:3] for cell in rows[0][1:])]
    cells = [head, *([_unmarked(cell) for cell in row] for row in rows[1:])]
    first = max(len(row[0]) for row in cells)
    lines = [f"{row[0]:<{first}}" + "".join(f"{cell:>4}" for cell in row[1:]) for row in cells]
    legend = ", ".join(f"{cell[:3]} = {cell}" for cell in rows[0][1:])
    return "\n".join([*lines, "", *_wrapped(legend)]) + "\n"


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= ARTWORK_COLUMNS:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _artwork(into: Element, text: str, tag: str = "artwork", kind: str = "") -> None:
    made = SubElement(into, tag)
    if tag == "sourcecode" and kind:
        made.set("type", kind)
    lines = plain(text).rstrip("\n").split("\n")
    if any(len(line) > ARTWORK_COLUMNS for line in lines):
        lines = [FOLDED, "", *(part for line in lines for part in _fold(line))]
    made.text = "\n".join(lines)


def _fold(line: str) -> Iterator[str]:
    """Fold one line by the single backslash strategy of RFC 8792."""
    while len(line) > ARTWORK_COLUMNS:
        at = ARTWORK_COLUMNS - 1
        # The next line must not begin with a space, which would be lost.
        while at > 1 and line[at] == " ":
            at -= 1
        yield line[:at] + "\\"
        line = line[at:]
    yield line
