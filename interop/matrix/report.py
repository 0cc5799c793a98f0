"""The matrix for people and for programs: a table of text, a page of HTML, a document of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from interop.matrix.cells import Result, Verdict, scenario_of
from interop.matrix.participants import Pair, Participant

FORMAT: Final = 1
"""Version of the JSON document; raised when what is there changes its meaning."""

SIGNS: Final = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNSUPPORTED: "–"}
COLOURS: Final = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.UNSUPPORTED: "dim"}

STYLE: Final = """
:root { --ink: #1d2429; --quiet: #5b6770; --rule: #d5dadd; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1.5rem; color: var(--ink);
  font: 16px/1.5 "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } p { max-width: 46rem; } .quiet { color: var(--quiet); }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; } thead th { border-bottom: 1.5px solid var(--ink); }
td.verdict { text-align: center; } td.passed { color: #00704f; }
td.failed { color: #b3261e; font-weight: 700; } td.unsupported { color: var(--quiet); }
pre { background: #f4f6f7; padding: .6rem .8rem; overflow-x: auto; font-size: .8rem; }
"""


@dataclass(frozen=True, slots=True)
class Matrix:
    """All results, and who was there."""

    participants: Sequence[Participant]
    scenarios: Sequence[str]
    pairs: Sequence[Pair]
    results: Sequence[Result]
    seconds: float
    registry: str = ""
    """The registry's path, where it is not the usual one."""

    def cell(self, scenario: str, pair: Pair) -> Result | None:
        """Give a cell's result; None if it was not played."""
        for result in self.results:
            if (result.scenario, result.pair) == (scenario, pair.name):
                return result
        return None

    def of_verdict(self, verdict: Verdict) -> list[Result]:
        """List the cells with this verdict."""
        return [result for result in self.results if result.verdict is verdict]

    @property
    def absent(self) -> list[Participant]:
        """Those that could not take part."""
        return [each for each in self.participants if each.absent]

    def summary(self) -> str:
        """Count the cells in one line."""
        counts = Counter(result.verdict for result in self.results)
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
        return f"{len(self.results)} cells in {self.seconds:.0f} s: {told}"


def repeat_line(result: Result, registry: str = "") -> str:
    """Give the command that plays a cell again."""
    names = ",".join(dict.fromkeys((result.core, result.edge)))
    return (
        f"python -m interop.runner{f' --registry {registry}' if registry else ''}"
        f" --only {result.scenario} --participants {names} --pair {result.pair} --keep DIRECTORY"
    )


def table_of(matrix: Matrix) -> Table:
    """Make the table: scenarios down, pairs across, core above edge."""
    table = Table(box=None, pad_edge=False)
    table.add_column("scenario")
    for pair in matrix.pairs:
        table.add_column(f"{pair.core.name}\n+ {pair.edge.name}", justify="center")
    for scenario in matrix.scenarios:
        cells = [_sign(matrix.cell(scenario, pair), pair) for pair in matrix.pairs]
        table.add_row(scenario, *cells)
    return table


def _sign(result: Result | None, pair: Pair) -> Text:
    if result is None:
        return Text(_why_empty(pair), style="dim")
    return Text(SIGNS[result.verdict], style=COLOURS[result.verdict])


def _why_empty(pair: Pair) -> str:
    """Say why a cell has no verdict: somebody is absent, or the matrix was stopped before it."""
    return "absent" if pair.core.absent or pair.edge.absent else ""


def lines_of(matrix: Matrix) -> Iterable[str]:
    """Give what belongs below the table: failures with their reasons, the absent, the sum."""
    for result in matrix.of_verdict(Verdict.FAILED):
        yield f"FAILED {result.scenario} {result.pair}: {'; '.join(result.reasons)}"
        yield f"  again: {repeat_line(result, matrix.registry)}"
    for result in matrix.of_verdict(Verdict.UNSUPPORTED):
        yield f"unsupported {result.scenario} {result.pair}: {'; '.join(result.reasons)}"
    for participant in matrix.absent:
        yield f"absent {participant.name}: {participant.absent}"
    yield matrix.summary()


def to_json(matrix: Matrix) -> dict[str, Any]:
    """Give everything as a document."""
    return {
        "format": FORMAT,
        "seconds": round(matrix.seconds, 1),
        "participants": [
            {
                "name": each.name,
                "title": each.title,
                "roles": list(each.roles),
                "version": each.version,
                "absent": each.absent,
            }
            for each in matrix.participants
        ],
        "scenarios": [
            {"name": name, "says": scenario_of(name).says, "security": scenario_of(name).security}
            for name in matrix.scenarios
        ],
        "cells": [result.to_json() for result in matrix.results],
    }


def to_html(matrix: Matrix) -> str:
    """Make one page that needs nothing else."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8"><title>DMMP interoperability</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{STYLE}</style>",
        "<h1>DMMP interoperability</h1>",
        f"<p>{escape(matrix.summary())}.</p>",
        "<p>The upper name is the rendezvous point, the source, a super node and a member; the "
        "lower one two members and, where it can be one, another super node. Verdicts come from "
        "the bytes that members delivered and from a capture of all that was sent.</p>",
        _html_matrix(matrix),
        "<h2>Participants</h2>",
        _html_participants(matrix),
    ]
    if failed := matrix.of_verdict(Verdict.FAILED):
        parts += ["<h2>What failed</h2>", *(_html_failure(each, matrix) for each in failed)]
    return "\n".join(parts) + "\n</html>\n"


def _html_matrix(matrix: Matrix) -> str:
    head = "".join(
        f'<th scope="col">{escape(pair.core.name)}<br>+ {escape(pair.edge.name)}</th>'
        for pair in matrix.pairs
    )
    rows = []
    for name in matrix.scenarios:
        cells = "".join(_html_cell(matrix.cell(name, pair), pair) for pair in matrix.pairs)
        says = escape(scenario_of(name).says)
        rows.append(f'<tr><th scope="row">{name}</th><td class="quiet">{says}</td>{cells}</tr>')
    return (
        f'<div class="wide"><table><thead><tr><th>scenario</th><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _html_cell(result: Result | None, pair: Pair) -> str:
    if result is None:
        return f'<td class="quiet">{_why_empty(pair)}</td>'
    told = escape("; ".join([*result.reasons, *result.notes, f"{result.seconds:.0f} s"]))
    kind = f"verdict {result.verdict}"
    return f'<td class="{kind}" title="{told}">{SIGNS[result.verdict]} {result.verdict}</td>'


def _html_participants(matrix: Matrix) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(each.name)}</th><td>{escape(each.title)}</td>'
        f"<td>{escape(', '.join(each.roles))}</td>"
        f"<td>{escape(f'absent: {each.absent}' if each.absent else each.version)}</td></tr>"
        for each in matrix.participants
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _html_failure(result: Result, matrix: Matrix) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in result.reasons)
    said = "\n".join(
        f"{name}: {line}" for name, lines in result.last_words.items() for line in lines
    )
    return (
        f"<h3>{escape(result.scenario)}: {escape(result.pair)}</h3><ul>{reasons}</ul>"
        f"<p>Again: <code>{escape(repeat_line(result, matrix.registry))}</code></p>"
        f"<details><summary>last words</summary><pre>{escape(said)}</pre></details>"
    )
