"""What an HTML page of results is made of: its style, its tables, its numbers. Knows no results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import count
from typing import NamedTuple

CSS = """
:root { --ink: #1d2429; --quiet: #5b6770; --rule: #d5dadd; --tint: #f4f6f7; --link: #0b5f95; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 Georgia, "Times New Roman",
  "DejaVu Serif", serif; }
main, header { max-width: 72rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3rem; } main { padding-bottom: 4rem; }
h1, h2, h3, nav, table, figcaption, .quiet { font-family: "Helvetica Neue", Helvetica, Arial,
  "DejaVu Sans", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 3.5rem 0 .75rem; padding-top: 1rem;
  border-top: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { max-width: 44rem; margin: .6rem 0; } a { color: var(--link); }
.quiet { color: var(--quiet); font-size: .85rem; line-height: 1.5; }
nav ol { columns: 2; padding-left: 1.4rem; font-size: .95rem; } nav li { margin: .15rem 0; }
.wide { overflow-x: auto; margin: .5rem 0 1.25rem; }
table { border-collapse: collapse; font-size: .8rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding: .4rem 0; font-size: 1.03em; }
th, td { padding: .3rem .45rem; text-align: right; vertical-align: baseline;
  border-bottom: 1px solid var(--rule); }
thead th { vertical-align: bottom; font-weight: 600; border-bottom: 1.5px solid var(--ink);
  max-width: 7rem; }
th:first-child, td:first-child { padding-left: .25rem; }
th.text, td.text { text-align: left; max-width: 28rem; }
td.name { font-weight: 600; white-space: nowrap; }
td.figure { white-space: nowrap; }
/* Below the mean, so that tables of a dozen columns fit into the width. */
td .half { color: var(--quiet); font-size: .9em; display: block; }
tr.published td { color: var(--quiet); background: var(--tint); font-style: italic; }
tr.published td.name { font-weight: 400; padding-left: 1.25rem; }
td.passed { color: #00704f; } td.failed { color: #b3261e; font-weight: 700; }
sup { line-height: 0; font-size: .75em; }
ol.sources { font-size: .84rem; color: var(--quiet); padding-left: 1.4rem; }
figure { margin: 1.5rem 0; }
figure img { width: 48rem; max-width: 100%; height: auto; display: block; }
figcaption { color: var(--quiet); font-size: .85rem; max-width: 44rem; margin-top: .35rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: .15rem 1.25rem;
  font-size: .88rem; } dt { font-weight: 600; } dd { margin: 0; }
@media (max-width: 40rem) { nav ol { columns: 1; } dl { display: block; }
  dd { margin: 0 0 .5rem; } }
@media print { h2 { break-before: page; } figure, table { break-inside: avoid; } }
"""


ROUNDING = 1e-9
"""Share of a mean below which its interval comes from the last digits of floats."""


class Cell(NamedTuple):
    """A cell of a table: markup that is escaped already, and the classes it has."""

    markup: str
    kind: str = "figure"


class Numbers:
    """The next numbers of tables and of figures on a page."""

    def __init__(self) -> None:
        self._tables, self._figures = count(1), count(1)

    def table(self, said: str) -> str:
        """Return the caption of the next table."""
        return f"Table {next(self._tables)}. {said}"

    def figure(self, said: str) -> str:
        """Return the caption of the next figure."""
        return f"Figure {next(self._figures)}. {said}"


def text(value: str, kind: str = "text") -> Cell:
    """Make a cell of a text."""
    return Cell(escape(value), kind)


def shown(mean: float, half: float = math.nan) -> str:
    """Write a number with as many places as its interval lets it have, without one four digits."""
    if not math.isfinite(mean):
        return "–"
    if mean == 0:
        return "0"
    size = half if math.isfinite(half) and half > 0 else abs(mean) / 100
    places = max(0, min(6, 1 - math.floor(math.log10(size))))
    if not (math.isfinite(half) and half > 0):
        if abs(mean - round(mean)) <= ROUNDING * abs(mean):
            places = 0
        elif ROUNDING < 1 - mean < 0.01:
            # A share that is not quite one is not to look like one.
            places = min(6, max(places, math.ceil(-math.log10(1 - mean))))
    return f"{mean:,.{places}f}"


def shown_half(half: float) -> str:
    """Write half the width of an interval with two digits."""
    places = max(0, min(6, 1 - math.floor(math.log10(half))))
    return f"{half:,.{places}f}"


def interval(mean: float, half: float) -> str:
    """Write a mean and half the width of its interval as markup."""
    # An interval as narrow as rounding is none.
    if not math.isfinite(half) or half <= ROUNDING * abs(mean):
        return shown(mean)
    return f'{shown(mean, half)} <span class="half">± {shown_half(half)}</span>'


def table(
    titles: Sequence[Cell], rows: Iterable[tuple[Sequence[Cell], str]], caption: str = ""
) -> str:
    """Make a table; each row has its cells and the class of the row."""
    head = "".join(f'<th scope="col" class="{cell.kind}">{cell.markup}</th>' for cell in titles)
    body = "\n".join(
        f'<tr class="{kind}">'
        + "".join(f'<td class="{cell.kind}">{cell.markup}</td>' for cell in cells)
        + "</tr>"
        for cells, kind in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{said}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Make a list of names and what they are."""
    body = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in rows)
    return f"<dl>\n{body}\n</dl>"


def paragraphs(value: str) -> str:
    """Make paragraphs of a text with empty lines between them."""
    parts = (part.strip() for part in value.split("\n\n"))
    return "\n".join(f"<p>{escape(part)}</p>" for part in parts if part)


def picture(kind: str, encoded: str, caption: str) -> str:
    """Make a picture with its caption; `encoded` is the file in base 64."""
    said = escape(caption)
    return (
        f'<figure><img alt="{said}" src="data:image/{kind};base64,{encoded}">'
        f"<figcaption>{said}</figcaption></figure>"
    )


def page(title: str, lead: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Make the page: sections with an anchor, a title and their markup."""
    links = "\n".join(
        f'<li><a href="#{escape(anchor)}">{escape(name)}</a></li>' for anchor, name, _ in sections
    )
    body = "\n".join(
        f'<section id="{escape(anchor)}"><h2>{escape(name)}</h2>\n{markup}\n</section>'
        for anchor, name, markup in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style></head><body>\n"
        f"<header><h1>{escape(title)}</h1>\n{lead}\n<nav><ol>\n{links}\n</ol></nav></header>\n"
        f"<main>\n{body}\n</main></body></html>\n"
    )
