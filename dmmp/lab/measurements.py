"""The results of one study as tables, pictures and goals want them: by kind of case, over seeds.

A kind is a case without its seed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dmmp.lab.case import Case
from dmmp.lab.metrics import FIGURES
from dmmp.lab.results import STUDY, Results, Row, key_of
from dmmp.lab.statistics import Interval, growth_exponent, mean_interval
from dmmp.lab.study import Place, read_study

LEAST_SIZES = 3
"""Sizes of the group from which on it is said how a figure grows."""

_WORDS = {
    "loss": "{:g} % lost",
    "uplinks": "uplinks {}",
    "churn": "churn {}",
    "hosts": "{:,} hosts",
}


class Measurements:
    """The results of one study, as tables and pictures want them."""

    def __init__(self, directory: Path) -> None:
        self.study = read_study(directory / STUDY)
        self.results = Results(directory)
        found = {row.case for row in self.results.rows}
        self.seeds = sorted({case.seed for case in found})
        asked = replace(self.study, seeds=tuple(self.seeds)).cases()
        self.missing = sum(case not in found for case in asked)
        self._groups: dict[Case, dict[int, Row]] = defaultdict(dict)
        for row in self.results.rows:
            self._groups[_without_seed(row.case)][row.case.seed] = row
        others = sorted({case.protocol for case in found}.difference(self.study.protocols))
        self.order = [*self.study.protocols, *others]
        self.kinds = sorted(
            self._groups, key=lambda case: (self.order.index(case.protocol), case.hosts)
        )
        self._samples: dict[str, dict[str, list[float]]] | None = None

    @property
    def begin(self) -> str:
        """When the first result came: studies are told in the order in which they ran."""
        return min((row.provenance.get("date", "") for row in self.results.rows), default="")

    def values(self, kind: Case, figure: str) -> dict[int, float]:
        """Return a figure of a kind of case by seed, where it is a number."""
        runs = {seed: row.figures.get(figure, math.nan) for seed, row in self._runs(kind).items()}
        return {seed: value for seed, value in runs.items() if math.isfinite(value)}

    def mean(self, kind: Case, figure: str) -> Interval | None:
        """Return the mean of a figure over the seeds of a kind of case, if any has it."""
        known = list(self.values(kind, figure).values())
        return mean_interval(known) if known else None

    def growth(self, kinds: Iterable[Case], figure: str) -> Interval | None:
        """Return the exponent with which a figure grows over the sizes of these kinds of case.

        None if there are fewer than three sizes, or a value that is not above 0.
        """
        points = [
            (float(kind.hosts), value)
            for kind in kinds
            for value in self.values(kind, figure).values()
        ]
        sizes, values = [size for size, _ in points], [value for _, value in points]
        if len(set(sizes)) < LEAST_SIZES or min(values) <= 0:
            return None
        return growth_exponent(sizes, values)

    def runs(self, kind: Case) -> list[Case]:
        """Return the cases of a kind, by seed."""
        return [self._runs(kind)[seed].case for seed in sorted(self._runs(kind))]

    def origins(self, kinds: Iterable[Case]) -> list[Mapping[str, str]]:
        """Return where the runs of these kinds come from."""
        return [row.provenance for kind in kinds for row in self._runs(kind).values()]

    def ran(self, kinds: Sequence[Case]) -> str:
        """Say what was run for a table or a picture: hosts, seeds, time, commit."""
        sizes = _listed(sorted({kind.hosts for kind in kinds}))
        counts = sorted({len(self._runs(kind)) for kind in kinds})
        seeds = " to ".join(dict.fromkeys((str(counts[0]), str(counts[-1]))))
        commits = sorted({origin.get("commit") or "unknown" for origin in self.origins(kinds)})
        return (
            f"{sizes} hosts; {seeds} seed{'' if counts[-1] == 1 else 's'}; "
            f"{_listed(sorted({kind.seconds for kind in kinds}))} s; "
            f"commit{'' if len(commits) == 1 else 's'} {', '.join(commits)}"
        )

    def _runs(self, kind: Case) -> dict[int, Row]:
        return self._groups.get(kind, {})

    def samples(self, case: Case) -> Mapping[str, list[float]]:
        """Return the samples of a case."""
        if self._samples is None:
            self._samples = self.results.samples()
        return self._samples.get(key_of(case), {})

    def figures(self) -> list[str]:
        """Return the figures of the tables: those the study names, or all."""
        known = {name for row in self.results.rows for name in row.figures}
        if self.study.figures:
            return [name for name in self.study.figures if name in known]
        return [name for name in FIGURES if name in known] + sorted(known.difference(FIGURES))

    def groups(
        self, fields: Sequence[str], at: Place = ()
    ) -> Iterator[tuple[dict[str, object], list[Case]]]:
        """Give kinds of cases that agree in some fields, with the values of these."""
        found: dict[tuple[object, ...], list[Case]] = defaultdict(list)
        for kind in self.kinds:
            if matches(kind, at):
                found[tuple(getattr(kind, field) for field in fields)].append(kind)
        for values in sorted(found, key=lambda values: self._order(fields, values)):
            yield dict(zip(fields, values, strict=True)), found[values]

    def _order(self, fields: Sequence[str], values: Sequence[object]) -> list[int]:
        """Say where values stand in the study: tables come in the order of its file."""
        places = []
        for field, value in zip(fields, values, strict=True):
            named = getattr(self.study, PLURALS[field])
            places.append(named.index(value) if value in named else len(named))
        return places

    def said(self, values: Mapping[str, object]) -> str:
        """Put a setting in words, without what a study leaves as it is everywhere."""
        words = []
        for field, value in values.items():
            if field == "churn" and value == "none" and len(self.study.churn) == 1:
                continue
            if field == "loss" and value == 0 and len(self.study.loss) == 1:
                continue
            if field == "loss" and isinstance(value, float):
                value = 100 * value
            words.append(_WORDS.get(field, "{}").format(value))
        return ", ".join(words)


PLURALS = {
    "protocol": "protocols",
    "underlay": "underlays",
    "hosts": "sizes",
    "uplinks": "uplinks",
    "churn": "churn",
    "loss": "loss",
}
"""The fields of a case and those of a study."""


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,g}" if value < 1e6 else f"{value:,.0f}" for value in values)


def _without_seed(case: Case) -> Case:
    return replace(case, seed=0)


def matches(case: Case, at: Place) -> bool:
    """Tell whether a case has these values."""
    return all(getattr(case, field) == value for field, value in at)
