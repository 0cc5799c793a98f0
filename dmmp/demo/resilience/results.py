"""Many repetitions in one line: medians, worst cases, and whether what was promised was kept.

Pure: outcomes in, figures out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from dmmp.demo.resilience import loss, partition
from dmmp.demo.resilience.scenarios import Scenario, Target
from dmmp.demo.resilience.trial import Outcome

STARVED_MS: Final = 50.0
"""A sender that paused for longer was not given the processor, nor were others: ms."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of all repetitions of a scenario.

    `missing_…` are packets a member missed in a repetition. Silences are those of the members that
    were below what was taken away, or of all when nothing was; `silence_worst_ms` is of all.
    """

    scenario: str
    repetitions: int
    judged: int
    missing_median: float
    missing_worst: int
    duplicates: int
    silence_median_ms: float
    silence_p95_ms: float
    silence_worst_ms: float
    sender_gap_ms: float
    starved: int
    delivered: float | None
    repairs: float | None
    healed_seconds: float | None
    problems: tuple[str, ...]


def summarise(scenario: str, outcomes: Sequence[Outcome]) -> Summary:
    """Sum up the repetitions of a scenario, at least one."""
    heard = [each for outcome in outcomes for each in outcome.heard]
    harmed = [each.silence_ms for each in heard if each.below]
    silences = harmed or [each.silence_ms for each in heard]
    missing = [each.missing for each in heard]
    gaps = [outcome.sender_gap_ms for outcome in outcomes]
    return Summary(
        scenario=scenario,
        repetitions=len(outcomes),
        judged=len(heard),
        missing_median=median(missing or [0]),
        missing_worst=max(missing, default=0),
        duplicates=sum(outcome.duplicates for outcome in outcomes),
        silence_median_ms=round(median(silences or [0]), 1),
        silence_p95_ms=percentile(silences, 0.95),
        silence_worst_ms=max((each.silence_ms for each in heard), default=0.0),
        sender_gap_ms=max(gaps, default=0.0),
        starved=sum(gap > STARVED_MS for gap in gaps),
        delivered=_ratio(outcomes, "in_time", "wanted"),
        repairs=_ratio(outcomes, loss.REPAIRED, loss.LOST),
        healed_seconds=_most(outcomes, partition.HEALED),
        problems=tuple(dict.fromkeys(p for outcome in outcomes for p in outcome.problems)),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that a share of the values does not exceed (nearest rank)."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def broken(summary: Summary, target: Target, calm: Summary | None = None) -> list[str]:
    """List which promises were not kept.

    A machine that pauses by itself for longer than a bound cannot keep it; then the bound is what
    happened when nothing happened, in the `calm` run.
    """
    worst_allowed = target.silence_worst_ms
    if worst_allowed is not None and calm is not None:
        worst_allowed = max(worst_allowed, calm.silence_worst_ms)
    checks = (
        ("missing", summary.missing_worst, target.missing),
        ("twice", summary.duplicates, 0),
        ("silence p95", summary.silence_p95_ms, target.silence_p95_ms),
        ("silence", summary.silence_worst_ms, worst_allowed),
        ("repairs", summary.repairs, target.repairs),
        ("healing", summary.healed_seconds, target.healed_seconds),
    )
    found = [
        name
        for name, measured, most in checks
        if most is not None and measured is not None and measured > most
    ]
    if target.delivered is not None and (summary.delivered or 0.0) < target.delivered:
        found.append("delivered")
    return found + (["see below"] if summary.problems else [])


def is_suspect(outcome: Outcome, target: Target) -> bool:
    """Tell whether a repetition is worth keeping its traces, because something was not right."""
    bound = target.silence_p95_ms or target.silence_worst_ms or math.inf
    healing = outcome.figures.get(partition.HEALED, 0.0)
    return bool(
        outcome.missing
        or outcome.duplicates
        or outcome.problems
        or outcome.silence_ms > bound
        or healing > (target.healed_seconds or math.inf)
    )


def to_json(scenario: Scenario, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Make a document of a scenario's repetitions."""
    summary = summarise(scenario.name, outcomes)
    names = ("number", "harm", "tree", "sent", "sender_gap_ms", "figures", "problems")
    return {
        **{name: getattr(summary, name) for name in Summary.__slots__},
        "broken": broken(summary, scenario.target),
        "outcomes": [
            {name: getattr(outcome, name) for name in names}
            | {
                "heard": [
                    {name: getattr(heard, name) for name in heard.__slots__}
                    for heard in outcome.heard
                ]
            }
            for outcome in outcomes
        ],
    }


def _ratio(outcomes: Sequence[Outcome], part: str, whole: str) -> float | None:
    total = sum(outcome.figures.get(whole, 0) for outcome in outcomes)
    return sum(outcome.figures.get(part, 0) for outcome in outcomes) / total if total else None


def _most(outcomes: Sequence[Outcome], figure: str) -> float | None:
    return max((o.figures[figure] for o in outcomes if figure in o.figures), default=None)
