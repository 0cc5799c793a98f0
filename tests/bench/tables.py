"""The results as text tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Result

VERDICTS = {True: "reached", False: "[bold]missed[/bold]", None: "not measured"}


def show(console: Console, result: Result) -> None:
    """Print a bench's medians: a line for each case and candidate, with ratios of the first."""
    figures = list(dict.fromkeys((series.figure, series.unit) for series in result.series))
    table = Table(title=f"{result.title} (medians)", title_justify="left")
    table.add_column("case")
    table.add_column("candidate", no_wrap=True)
    for at, (figure, unit) in enumerate(figures):
        table.add_column(f"{figure}, {unit}", justify="right")
        if at == 0:
            table.add_column("least to most", justify="right", no_wrap=True)
            for name in result.references:
                table.add_column(f"of {name}", justify="right")
    rows = list(dict.fromkeys((series.case, series.candidate) for series in result.series))
    last = ""
    for case, candidate in rows:
        if last and case != last:
            table.add_section()
        table.add_row(case if case != last else "", candidate, *_cells(result, case, candidate))
        last = case
    if rows:
        console.print(table)
    for note in result.notes:
        console.print(note)


def _cells(result: Result, case: str, candidate: str) -> list[str]:
    cells = []
    for at, figure in enumerate(dict.fromkeys(series.figure for series in result.series)):
        series = result.find(case, candidate, figure)
        cells.append(number(None if series is None else series.median))
        if at > 0:
            continue
        seen = [] if series is None else series.seen
        cells.append(f"{number(min(seen))} to {number(max(seen))}" if seen else "-")
        for name in result.references:
            cells.append(number(None if series is None else result.ratio(series, name)))
    return cells


def show_goals(console: Console, results: Sequence[Result]) -> None:
    """Print what must be reached, and whether it is."""
    table = Table(title="Goals", title_justify="left")
    for words in ("case", "figure", "must be", "is", ""):
        table.add_column(words)
    for result in results:
        for goal in result.goals:
            value, reached = result.reached(goal)
            of = f" x {goal.reference}" if goal.reference else ""
            table.add_row(
                goal.case,
                f"{goal.candidate}: {goal.figure}",
                f"{goal.sense} {number(goal.bound)}{of}",
                number(value),
                VERDICTS[reached],
            )
    if table.row_count:
        console.print(table)


def number(value: float | None) -> str:
    """Write a figure with three or four digits that count."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
