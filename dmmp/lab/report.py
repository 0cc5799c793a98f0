"""The report: results as one HTML page that needs nothing else, no script and no network.

A directory with `cases.csv` is a study; one whose directories are studies is a report of all of
them. Beside our means with their 95 % intervals stand the rows that others printed.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmmp import __version__
from dmmp.errors import UsageError
from dmmp.lab import pictures
from dmmp.lab.case import Case
from dmmp.lab.metrics import FIGURES
from dmmp.lab.page import (
    Cell,
    definitions,
    interval,
    page,
    paragraphs,
    picture,
    table,
    text,
)
from dmmp.lab.pictures import Drawing, Point
from dmmp.lab.results import CASES, STUDY, Results, key_of, read_checks
from dmmp.lab.statistics import Interval, mean_interval
from dmmp.lab.study import FIELDS, Picture, Place, Published, read_study

MOST_PICTURES = 24
"""Pictures of one study; of one entry of its file, one for each network it ran on."""

SETTING = ("underlay", "uplinks", "churn", "loss")
"""What the rows of one table have in common."""

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
        found = {row.case: row.figures for row in self.results.rows}
        self.seeds = sorted({case.seed for case in found})
        asked = replace(self.study, seeds=tuple(self.seeds)).cases()
        self.missing = sum(case not in found for case in asked)
        self._groups: dict[Case, list[tuple[Case, Mapping[str, float]]]] = defaultdict(list)
        for case in found:
            self._groups[_without_seed(case)].append((case, found[case]))
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

    def mean(self, kind: Case, figure: str) -> Interval | None:
        """Return the mean of a figure over the seeds of a kind of case, if any has it."""
        runs = (figures.get(figure, math.nan) for _, figures in self._groups[kind])
        known = [value for value in runs if math.isfinite(value)]
        return mean_interval(known) if known else None

    def runs(self, kind: Case) -> list[Case]:
        """Return the cases of a kind, by seed."""
        return sorted((case for case, _ in self._groups[kind]), key=lambda case: case.seed)

    def samples(self, case: Case) -> Mapping[str, list[float]]:
        """Return the samples of a case."""
        if self._samples is None:
            self._samples = self.results.samples()
        return self._samples.get(key_of(case), {})

    def figures(self) -> list[str]:
        """Return the figures of the tables: those the study names, or all."""
        known = {name for runs in self._groups.values() for _, each in runs for name in each}
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


def _without_seed(case: Case) -> Case:
    return replace(case, seed=0)


def matches(case: Case, at: Place) -> bool:
    """Tell whether a case has these values."""
    return all(getattr(case, field) == value for field, value in at)


def write_report(directory: Path, target: Path | None = None) -> Path:
    """Write the report of a directory, to `report.html` in it unless told otherwise."""
    path = target or directory / "report.html"
    markup = make_report(directory)
    try:
        path.write_text(markup, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return path


def make_report(directory: Path) -> str:
    """Make the page of one study, or of all studies in the directories of this one."""
    if not directory.is_dir():
        raise UsageError(f"{directory}: is no directory; dmmp lab run makes one")
    if (directory / CASES).is_file():
        folders = [directory]
    else:
        folders = sorted(path.parent for path in directory.glob(f"*/{CASES}"))
    checks = [path for path in (directory, *directory.glob("*/")) if read_checks(path)]
    if not folders and not checks:
        raise UsageError(f"{directory}: has no results; dmmp lab run puts them there")
    found = sorted(map(Measurements, folders), key=lambda each: each.begin)
    sections = [("checks", "External checks", _checks(path)) for path in checks[:1]]
    sections += [(each.study.name, each.study.title, _study(each)) for each in found]
    used = {name for each in found for name in each.figures()}
    used |= {entry.of for each in found for entry in each.study.pictures}
    meant = [(_title(name), what) for name, what in FIGURES.items() if name in used]
    if meant:
        sections.append(("figures", "What the figures mean", definitions(meant)))
    sections.append(("provenance", "Where the numbers come from", _provenance(found)))
    title = found[0].study.title if len(found) == 1 and not checks else "How good the overlay is"
    return page(title, _lead(found), sections)


def _lead(found: Sequence[Measurements]) -> str:
    cases = sum(len(each.results.rows) for each in found)
    return (
        f'<p class="quiet">dmmp {__version__}. {cases:,} runs. Means over seeds with 95 % '
        "intervals by Student's t. The same seed gives every protocol the same network, hosts and "
        "failures. Rows in italics were published by others, with set-ups like ours, not equal "
        "to them.</p>"
    )


def _checks(directory: Path) -> str:
    titles = [text(name) for name in ("", "check", "published", "measured here", "result")]
    rows = []
    for check in read_checks(directory):
        state = check.get("result", "")
        kind = {"passed": "text passed", "FAILED": "text failed"}.get(state, "text")
        cells = [Cell(check.get("number", "")), text(check.get("what", ""))]
        cells += [text(check.get("published", "")), text(check.get("measured", ""))]
        rows.append(([*cells, text(state, kind)], ""))
    intro = (
        "The simulator is held to results that others published, or that follow by definition. "
        "Comparisons below count only as far as these hold; what is reported only does not "
        "reproduce, or cannot be compared number by number."
    )
    return paragraphs(intro) + table(titles, rows)


def _study(each: Measurements) -> str:
    study = each.study
    parts = [paragraphs(study.text), f'<p class="quiet">{_set_up(each)}</p>']
    sources: list[str] = []
    for values, kinds in each.groups(SETTING):
        parts.append(f"<h3>{each.said(values)}</h3>" if each.said(values) else "")
        parts.append(_table(each, values, kinds, sources))
    if sources:
        items = "\n".join(f"<li>{text(source).markup}</li>" for source in sources)
        parts.append(f'<ol class="sources">{items}</ol>')
    drawn = 0
    for entry in study.pictures:
        for caption, drawing in _draw(each, entry):
            if drawn < MOST_PICTURES:
                encoded = base64.b64encode(drawing.octets).decode()
                parts.append(picture(drawing.kind, encoded, caption))
            drawn += 1
    return "\n".join(part for part in parts if part)


def _set_up(each: Measurements) -> str:
    study = each.study
    sizes = " or ".join(f"{size:,}" for size in study.sizes)
    seeds = f"{len(each.seeds)} seed{'' if len(each.seeds) == 1 else 's'}"
    words = f"{sizes} hosts; {seeds}; {study.seconds:g} s measured in each run."
    if each.missing:
        words += f" Not there yet: {each.missing:,} runs."
    return words


def _table(
    each: Measurements, values: Mapping[str, object], kinds: Sequence[Case], sources: list[str]
) -> str:
    """Make the table of one setting, with the published rows under the protocols they are of."""
    names = [name for name in each.figures() if any(each.mean(kind, name) for kind in kinds)]
    many = len({kind.hosts for kind in kinds}) > 1
    titles = [text("protocol"), *([Cell("hosts")] if many else []), *map(_head, names)]
    rows = []
    left = [
        row for row in each.study.references
        if all(values.get(field, value) == value for field, value in row.at if field in values)
    ]  # fmt: skip
    for number, kind in enumerate(kinds):
        cells = [text(kind.protocol, "text name"), *([Cell(f"{kind.hosts:,}")] if many else [])]
        for name in names:
            mean = each.mean(kind, name)
            cells.append(Cell(interval(mean.value, mean.half) if mean else ""))
        rows.append((cells, ""))
        following = kinds[number + 1 :]
        for row in list(left):
            later = any(_is_about(row, other) for other in following)
            if _is_about(row, kind) and not later:
                rows.append((_published_cells(row, names, many, sources), "published"))
                left.remove(row)
    return table(titles, rows)


def _is_about(row: Published, kind: Case) -> bool:
    return matches(kind, row.at)


def _published_cells(
    row: Published, names: Sequence[str], many: bool, sources: list[str]
) -> list[Cell]:
    if row.source not in sources:
        sources.append(row.source)
    mark = f"<sup>{sources.index(row.source) + 1}</sup>"
    cells = [Cell(text(f"{row.label}, published").markup + mark, "text name")]
    if many:
        hosts = dict(row.at).get("hosts")
        cells.append(Cell(f"{hosts:,.0f}" if isinstance(hosts, float) else ""))
    values = dict(row.figures)
    return cells + [Cell(_plain(values[name]) if name in values else "") for name in names]


def _plain(value: float) -> str:
    """Write a published number as it was printed."""
    return f"{value:,.10g}"


def _head(name: str) -> Cell:
    return Cell(text(_title(name)).markup)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _label(name: str) -> str:
    """Return a figure's name for an axis, with the unit that its definition ends in."""
    what = FIGURES.get(name, "")
    return f"{_title(name)} (s)" if what.endswith(", s") else _title(name)


def _draw(each: Measurements, entry: Picture) -> Iterator[tuple[str, Drawing]]:
    """Give the pictures of one entry, one for each setting it is not about."""
    varied = {entry.over}
    fields = [field for field in FIELDS if field != "protocol" and field not in varied]
    if entry.kind == "map":
        fields.insert(0, "protocol")
    draw = _DRAW[entry.kind]
    for values, kinds in each.groups(fields, entry.at):
        drawing = draw(each, entry, kinds)
        if drawing is not None:
            title = entry.title or _title(entry.of)
            yield f"{title}: {each.said(values)}", drawing


def _curve(each: Measurements, entry: Picture, kinds: Sequence[Case]) -> Drawing | None:
    series: dict[str, list[Point]] = defaultdict(list)
    published: dict[str, list[Point]] = defaultdict(list)
    for kind in kinds:
        mean = each.mean(kind, entry.of)
        if mean is None:
            continue
        at = float(getattr(kind, entry.over))
        series[kind.protocol].append(Point(at, mean.value, mean.half))
        for row in each.study.references:
            if (
                _is_about(row, kind)
                and entry.over in dict(row.at)
                and entry.of in dict(row.figures)
            ):
                point = Point(at, dict(row.figures)[entry.of], math.nan)
                published[kind.protocol].append(point)
    if not series:
        return None
    ordered = {name: sorted(points) for name, points in series.items()}
    return pictures.curve(
        ordered,
        published,
        order=each.order,
        across=entry.over,
        up=_label(entry.of),
        is_log=entry.is_log,
    )


def _grouped(each: Measurements, entry: Picture, kinds: Sequence[Case]) -> Drawing | None:
    named = getattr(each.study, PLURALS[entry.over])
    series: dict[str, list[Point]] = defaultdict(list)
    for kind in kinds:
        mean = each.mean(kind, entry.of)
        group = getattr(kind, entry.over)
        if mean is not None and group in named:
            series[kind.protocol].append(Point(float(named.index(group)), mean.value, mean.half))
    if not series:
        return None
    groups = [f"{group:,}" if isinstance(group, int) else str(group) for group in named]
    up = _label(entry.of)
    if entry.kind == "bars":
        return pictures.bars(groups, series, order=each.order, across=entry.over, up=up)
    return pictures.dots(
        groups, series, order=each.order, across=entry.over, up=up, is_log=entry.is_log
    )


def _distribution(each: Measurements, entry: Picture, kinds: Sequence[Case]) -> Drawing | None:
    series = {}
    for kind in kinds:
        runs = (each.samples(case).get(entry.of, ()) for case in each.runs(kind))
        if values := [value for run in runs for value in run]:
            series[kind.protocol] = values
    if not series:
        return None
    return pictures.distribution(
        series, order=each.order, across=_label(entry.of), is_log=entry.is_log
    )


def _map(each: Measurements, entry: Picture, kinds: Sequence[Case]) -> Drawing | None:
    """Draw the tree of the first seed that has one, where hosts have places on the globe."""
    from dmmp.lab.underlays import underlay

    for case in each.runs(kinds[0]):
        parents = [int(parent) for parent in each.samples(case).get(entry.of, ())]
        if len(parents) != case.hosts:
            continue
        lonlat = underlay(case.underlay, case.seed, case.hosts).lonlat
        if lonlat is not None:
            return pictures.tree_on_globe(lonlat, parents, _cables())
    return None


def _cables() -> NDArray[np.float64]:
    """Return the links of the world's backbone, degrees, [links, 2, 2]."""
    from dmmp.lab.underlays import DATA

    with np.load(DATA / "topohub_backbone_world.npz") as archive:
        lonlat: NDArray[np.float64] = archive["lonlat"].astype(np.float64)
        edges = archive["edges"].astype(np.int64)
    cables: NDArray[np.float64] = lonlat[edges]
    return cables


_DRAW = {
    "curve": _curve,
    "bars": _grouped,
    "dots": _grouped,
    "cdf": _distribution,
    "map": _map,
}


def _provenance(found: Iterable[Measurements]) -> str:
    titles = [text(name) for name in ("study", "commit", "versions", "when")]
    titles += [Cell("runs"), Cell("time of all runs")]
    rows = []
    for each in found:
        origins = [row.provenance for row in each.results.rows]
        took = sum(float(origin.get("took") or 0) for origin in origins)
        days = sorted({origin.get("date", "")[:10] for origin in origins})
        versions = {
            f"dmmp {origin.get('version')}, Python {origin.get('python')}, "
            f"NumPy {origin.get('numpy')}"
            for origin in origins
        }
        commits = sorted({origin.get("commit") or "unknown" for origin in origins})
        when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""
        cells = [text(each.study.name), text(", ".join(commits)), text("; ".join(sorted(versions)))]
        cells += [text(when), Cell(f"{len(origins):,}"), Cell(f"{took / 60:,.1f} min")]
        rows.append((cells, ""))
    note = (
        "A + after a commit means that files were changed since. To repeat a study: dmmp lab run "
        "STUDY, then dmmp lab report DIR; docs/laboratory.md explains."
    )
    return table(titles, rows) + f'<p class="quiet">{note}</p>'
