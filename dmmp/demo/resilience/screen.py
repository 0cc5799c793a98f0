"""The repetitions as lines while they run, and the table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from dmmp.demo.resilience.results import STARVED_MS, Summary, broken, summarise
from dmmp.demo.resilience.scenarios import CALM, SCENARIOS, Target
from dmmp.demo.resilience.trial import Outcome

COLUMNS = (
    *("scenario", "times", "members", "missing, median", "worst", "twice"),
    *("silence ms, median", "p95", "worst", "sender's", "promised", "measured", "kept"),
)


def line_of(outcome: Outcome, repetitions: int) -> str:
    """Write one repetition on a line."""
    below = sum(heard.below for heard in outcome.heard)
    starved = " (starved)" if outcome.sender_gap_ms > STARVED_MS else ""
    figures = "".join(f", {name} {value:g}" for name, value in outcome.figures.items())
    problems = "".join(f"; {problem}" for problem in outcome.problems)
    return (
        f"{outcome.scenario} {outcome.number + 1}/{repetitions}: {outcome.harm}; "
        f"{len(outcome.heard)} members, {below} below; sent {outcome.sent}, "
        f"missing {outcome.missing}, twice {outcome.duplicates}, "
        f"silence {outcome.silence_ms:.0f} ms, sender's {outcome.sender_gap_ms:.0f} ms{starved}"
        f"{figures}{problems}"
    )


def table_of(outcomes: Mapping[str, Sequence[Outcome]]) -> Table:
    """Make the table of all scenarios that were played."""
    table = Table(box=None, pad_edge=False)
    for title in COLUMNS:
        left = title in ("scenario", "promised", "measured", "kept")
        table.add_column(title, justify="left" if left else "right")
    summaries = {name: summarise(name, each) for name, each in outcomes.items() if each}
    for scenario in SCENARIOS:
        if summary := summaries.get(scenario.name):
            table.add_row(*_row(summary, scenario.target, summaries.get(CALM)))
    return table


def _row(summary: Summary, target: Target, calm: Summary | None) -> list[Text]:
    failed = broken(summary, target, calm)
    strictly = broken(summary, target)
    kept = "yes" if not failed else f"NO: {', '.join(failed)}"
    if strictly and not failed:
        kept = "as calm"
    cells = (
        summary.scenario,
        str(summary.repetitions),
        str(summary.judged),
        f"{summary.missing_median:g}",
        str(summary.missing_worst),
        str(summary.duplicates),
        f"{summary.silence_median_ms:.0f}",
        f"{summary.silence_p95_ms:.0f}",
        f"{summary.silence_worst_ms:.0f}",
        f"{summary.sender_gap_ms:.0f}" + (f" ({summary.starved}x)" if summary.starved else ""),
        promise(target),
        measured(summary),
        kept,
    )
    return [Text(cell, style="red" if failed and cell is kept else "") for cell in cells]


def promise(target: Target) -> str:
    """Write down what is promised."""
    parts = []
    if target.missing is not None:
        parts.append("all")
    if target.silence_p95_ms is not None:
        parts.append(f"p95 {target.silence_p95_ms:g} ms")
    if target.silence_worst_ms is not None:
        parts.append(f"{target.silence_worst_ms:g} ms")
    if target.delivered is not None:
        parts.append(f"{100 * target.delivered:g} % in 2 s")
    if target.repairs is not None:
        parts.append(f"repairs {target.repairs:g}")
    if target.healed_seconds is not None:
        parts.append(f"heals in {target.healed_seconds:g} s")
    return ", ".join(parts)


def measured(summary: Summary) -> str:
    """Write down what the other columns do not show."""
    parts = []
    if summary.delivered is not None:
        parts.append(f"{100 * summary.delivered:.5f} % in 2 s")
    if summary.repairs is not None:
        parts.append(f"repairs {summary.repairs:.2f}")
    if summary.healed_seconds is not None:
        parts.append(f"heals in {summary.healed_seconds:.1f} s")
    return ", ".join(parts)
