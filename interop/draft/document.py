"""The draft as a whole: which notes, in which order, with what around them.

The notes stay as they are; what only a draft needs (abstract, introduction, considerations,
references) is beside this file. The order is one in which it can be read.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from interop.draft.markdown import Converter, DraftError, plain

HERE = Path(__file__).resolve().parent
NOTES = HERE.parents[1] / "spec-notes"
NAME = "draft-dmmp-overlay-multicast-00"
TITLE = "Dynamic Mesh-based Overlay Multicast Protocol (DMMP)"
ABSTRACT = (
    "DMMP carries IP multicast between hosts over networks that carry none, by passing packets on "
    "from host to host in UDP datagrams. This document specifies its messages, its procedures and "
    "its security as they are implemented, so that another implementation can take part. It is "
    "assembled from the notes of the reference implementation and is not submitted to the IETF."
)
RFC_URL = "https://www.rfc-editor.org/info/rfc"


class Part(NamedTuple):
    """One section of the top level: its note, its title in the draft, whether it is an appendix."""

    name: str
    title: str
    is_appendix: bool = False


PARTS = (
    Part("introduction", "Introduction"),
    Part("glossary", "Terminology"),
    Part("messages", "Messages"),
    Part("procedures", "Procedures"),
    Part("security", "Security"),
    Part("requirements", "Requirements"),
    Part("security_considerations", "Security Considerations"),
    Part("iana_considerations", "IANA Considerations"),
    Part("state-machines", "State Machines of the Reference Implementation", True),
    Part("minimal-member", "The Least That a Member Does", True),
    Part("vectors", "Test Vectors", True),
    Part("decisions", "Decisions and Their Reasons", True),
    Part("discrepancies", "Differences from the Sources", True),
)


@dataclass(frozen=True, slots=True)
class Draft:
    """The document, and what it was made of."""

    rfc: Element
    titles: tuple[str, ...]
    cited: frozenset[str]

    def text(self) -> str:
        """Give the RFCXML."""
        return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(self.rfc, encoding="unicode")


def source(part: Part) -> str:
    """Read a part's Markdown: of the draft's own, or a note."""
    own = HERE / f"{part.name}.md"
    return (own if own.exists() else NOTES / f"{part.name}.md").read_text(encoding="utf-8")


def build(date: datetime.date) -> Draft:
    """Make the document; raise `DraftError` for what it cannot say, or for a dangling reference."""
    converter = Converter(frozenset(part.name for part in PARTS))
    rfc = Element(
        "rfc",
        {
            "version": "3",
            "ipr": "none",
            "category": "info",
            "submissionType": "independent",
            "docName": NAME,
            "tocInclude": "true",
            "tocDepth": "3",
            "sortRefs": "true",
            "symRefs": "true",
            "{http://www.w3.org/XML/1998/namespace}lang": "en",
        },
    )
    rfc.append(_front(date))
    middle, back = SubElement(rfc, "middle"), SubElement(rfc, "back")
    sections = [(part, converter.sections(part.name, source(part), part.title)) for part in PARTS]
    for part, section in sections:
        if not part.is_appendix:
            middle.append(section)
    references = SubElement(back, "references")
    SubElement(references, "name").text = "References"
    references.extend(list(_references(converter.cited)))
    for part, section in sections:
        if part.is_appendix:
            back.append(section)
    if converter.missing():
        raise DraftError(f"nothing there for {', '.join(sorted(converter.missing()))}")
    titles = tuple(section.findtext("name") or "" for _, section in sections)
    return Draft(rfc, titles, frozenset(converter.cited))


def _front(date: datetime.date) -> Element:
    front = Element("front")
    SubElement(front, "title", abbrev="DMMP").text = TITLE
    SubElement(front, "seriesInfo", name="Internet-Draft", value=NAME)
    author = SubElement(front, "author")
    SubElement(author, "organization").text = "The dmmp authors"
    SubElement(front, "date", year=str(date.year), month=f"{date:%B}", day=str(date.day))
    SubElement(front, "keyword").text = "overlay multicast"
    SubElement(SubElement(front, "abstract"), "t").text = ABSTRACT
    return front


def known_references() -> dict[str, dict[str, Any]]:
    """Read every reference there is, by its anchor."""
    return tomllib.loads((HERE / "references.toml").read_text(encoding="utf-8"))


def _references(cited: set[str]) -> Iterator[Element]:
    """Make the lists of what is cited; raise `DraftError` if one is unknown, or not cited."""
    known = known_references()
    if cited != set(known):
        raise DraftError(f"references.toml and the text differ in {sorted(cited ^ set(known))}")
    for title, is_normative in (("Normative References", True), ("Informative References", False)):
        listed = Element("references")
        SubElement(listed, "name").text = title
        for anchor, entry in known.items():
            if entry["normative"] is is_normative:
                listed.append(_reference(anchor, entry))
        yield listed


def _reference(anchor: str, entry: dict[str, Any]) -> Element:
    number = anchor.removeprefix("RFC").lstrip("0") if anchor.startswith("RFC") else ""
    made = Element("reference", anchor=anchor)
    target = f"{RFC_URL}{number}" if number else entry.get("target", "")
    if target:
        made.set("target", target)
    front = SubElement(made, "front")
    SubElement(front, "title").text = plain(entry["title"])
    for author in entry["authors"]:
        initials, _, surname = author.partition(" ")
        named = {"initials": initials, "surname": surname, "fullname": author}
        SubElement(front, "author", named)
    month, _, year = entry["date"].rpartition(" ")
    SubElement(front, "date", {"month": month, "year": year} if month else {"year": year})
    if entry.get("series"):
        name, _, value = entry["series"].partition(" ")
        SubElement(made, "seriesInfo", name=name, value=value)
    if number:
        SubElement(made, "seriesInfo", name="RFC", value=number)
    return made
