"""What a bench found: figures by case and candidate, one for each round, and what they must reach.

Candidates of one round ran within seconds of each other, so ratios are taken round by round and
the median is told: the machine's frequency and its neighbours are then the same for both.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

LEAST: Final = "at least"
MOST: Final = "at most"


@dataclass(slots=True)
class Series:
    """The figures of one candidate in one case, in the order of the rounds; None: it failed."""

    case: str
    candidate: str
    figure: str
    unit: str
    values: list[float | None] = field(default_factory=list)

    @property
    def seen(self) -> list[float]:
        """The figures that there are."""
        return [value for value in self.values if value is not None]

    @property
    def median(self) -> float | None:
        """The median, or None if no round gave a figure."""
        return statistics.median(self.seen) if self.seen else None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median must reach: itself, or as a ratio to the reference's of the same round."""

    case: str
    candidate: str
    figure: str
    sense: str
    bound: float
    reference: str | None = None


@dataclass(slots=True)
class Result:
    """Everything one bench found. `references` are candidates that ratios are told to."""

    name: str
    title: str
    references: tuple[str, ...] = ()
    series: list[Series] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, case: str, candidate: str, unit: str, figure: str, value: float | None) -> None:
        """Add the figure of one more round."""
        found = self.find(case, candidate, figure)
        if found is None:
            found = Series(case, candidate, figure, unit)
            self.series.append(found)
        found.values.append(value)

    def find(self, case: str, candidate: str, figure: str) -> Series | None:
        """Find a series."""
        for series in self.series:
            if (series.case, series.candidate, series.figure) == (case, candidate, figure):
                return series
        return None

    def ratio(self, series: Series, reference: str) -> float | None:
        """Give the median of the rounds' ratios to another candidate; None if there are none."""
        other = self.find(series.case, reference, series.figure)
        if other is None or other is series:
            return None
        ratios = [
            mine / theirs
            for mine, theirs in zip(series.values, other.values, strict=False)
            if mine is not None and theirs
        ]
        return statistics.median(ratios) if ratios else None

    def reached(self, goal: Goal) -> tuple[float | None, bool | None]:
        """Give the value that a goal is about, and whether it is reached; None: not measured."""
        series = self.find(goal.case, goal.candidate, goal.figure)
        if series is None:
            return None, None
        value = series.median if goal.reference is None else self.ratio(series, goal.reference)
        if value is None:
            return None, None
        return value, value >= goal.bound if goal.sense == LEAST else value <= goal.bound

    def to_json(self) -> dict[str, Any]:
        """Make a document of it; the names are stable."""
        return {
            "name": self.name,
            "title": self.title,
            "series": [self._series_json(series) for series in self.series],
            "goals": [self._goal_json(goal) for goal in self.goals],
            "notes": self.notes,
        }

    def _series_json(self, series: Series) -> dict[str, Any]:
        ratios = {name: self.ratio(series, name) for name in self.references}
        return {
            "case": series.case,
            "candidate": series.candidate,
            "figure": series.figure,
            "unit": series.unit,
            "values": series.values,
            "median": series.median,
            "ratios": {name: ratio for name, ratio in ratios.items() if ratio is not None},
        }

    def _goal_json(self, goal: Goal) -> dict[str, Any]:
        value, reached = self.reached(goal)
        return {
            "case": goal.case,
            "candidate": goal.candidate,
            "figure": goal.figure,
            "reference": goal.reference,
            "sense": goal.sense,
            "bound": goal.bound,
            "value": value,
            "reached": reached,
        }


def missed(results: Iterable[Result]) -> list[Goal]:
    """List the goals that were measured and are not reached."""
    return [goal for result in results for goal in result.goals if result.reached(goal)[1] is False]
