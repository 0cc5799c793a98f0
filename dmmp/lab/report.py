"""The report: results as one HTML page that needs nothing else, no script and no network.

A directory with `cases.csv` is a study; one whose directories are studies is a report of all of
them. Beside our means with their 95 % intervals stand the rows that others printed; before them,
which goals are reached and which external checks hold.

The text of a study may name its own figures, which are put in when the page is made:
`{{dmmp ratio_mean uplinks=d4}}`. A paragraph of which one is not there is left out.
"""

from __future__ import annotations

import base64
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmmp import __version__
from dmmp.errors import UsageError
from dmmp.lab import pictures
from dmmp.lab.case import Case
from dmmp.lab.judged import checks_section, goals_section
from dmmp.lab.measurements import PLURALS, Measurements, matches
from dmmp.lab.metrics import FIGURES
from dmmp.lab.page import (
    Cell,
    Numbers,
    definitions,
    interval,
    page,
    paragraphs,
    picture,
    shown,
    table,
    text,
)
from dmmp.lab.pictures import Drawing, Point
from dmmp.lab.results import CASES, CheckTable
from dmmp.lab.study import FIELDS, Picture, Published

MOST_PICTURES = 24
"""Pictures of one study; of one entry of its file, one for each network it ran on."""

SETTING = ("underlay", "uplinks", "churn", "loss")
"""What the rows of one table have in common."""

GROWING = (
    "control_bytes", "control_packets", "member_control_bytes", "core_control_bytes",
    "source_control_bytes", "state_entries", "state_entries_max", "member_state_entries",
    "core_state_entries", "stretch_p50", "depth_mean",
)  # fmt: skip
"""Figures of which it is said how they grow with the group, where a study has three sizes."""

METHOD = """
DMMP is run as it is: the roles and forwarders of this package, in virtual time, with every packet
of the stream and every message of control, unless a study says that arrays stand for the stream.
The others are written from their papers, and play the same stream under the same failures. Trees
called static or central are made at once from all delays. Delays are measured ones, or those of
shortest ways through a graph of routers; there are no queues, unless a study says that uplinks are
a bound. Control is counted at the hosts that send it, IP and UDP headers included.

Each table and figure says how many hosts and seeds it comes from, how many seconds were measured
after everybody had joined, and at which commit. A mean over seeds has its 95 % interval by
Student's t; a run on its own has none. The same seed gives every protocol the same network, hosts
and failures. Rows in italics were published by others, with set-ups like ours, not equal to them.
"""

_PLACE = re.compile(r"\{\{([^{}]*)\}\}")


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
    tables = map(CheckTable, (directory, *sorted(directory.glob("*/"))))
    checks = [each for each in tables if each.rows]
    if not folders and not checks:
        raise UsageError(f"{directory}: has no results; dmmp lab run puts them there")
    found = sorted(map(Measurements, folders), key=lambda each: each.begin)
    numbers = Numbers()
    sections = [("goals", "Goals", markup) for markup in (goals_section(found, numbers),) if markup]
    sections += [
        ("checks", "External checks", checks_section(each, numbers)) for each in checks[:1]
    ]
    sections += [(each.study.name, each.study.title, _study(each, numbers)) for each in found]
    sections.insert(0, ("method", "How it was measured", paragraphs(METHOD)))
    used = {name for each in found for name in each.figures()}
    used |= {entry.of for each in found for entry in each.study.pictures}
    meant = [(_title(name), what) for name, what in FIGURES.items() if name in used]
    if meant:
        sections.append(("figures", "What the figures mean", definitions(meant)))
    sections.append(("provenance", "Where the numbers come from", _provenance(found, numbers)))
    title = found[0].study.title if len(found) == 1 and not checks else "How good the overlay is"
    return page(title, _lead(found), sections)


def _lead(found: Sequence[Measurements]) -> str:
    cases = sum(len(each.results.rows) for each in found)
    return f'<p class="quiet">dmmp {__version__}, {cases:,} runs.</p>'


def _study(each: Measurements, numbers: Numbers) -> str:
    study = each.study
    parts = [paragraphs(told(each, study.text)), f'<p class="quiet">{_set_up(each)}</p>']
    sources: list[str] = []
    for values, kinds in each.groups(SETTING):
        parts.append(f"<h3>{each.said(values)}</h3>" if each.said(values) else "")
        caption = numbers.table(f"{study.title}: {each.ran(kinds)}.")
        parts.append(_table(each, values, kinds, sources, caption))
        parts.append(_growth(each, kinds, numbers))
    if sources:
        items = "\n".join(f"<li>{text(source).markup}</li>" for source in sources)
        parts.append(f'<ol class="sources">{items}</ol>')
    drawn = 0
    for entry in study.pictures:
        for caption, drawing in _draw(each, entry):
            if drawn < MOST_PICTURES:
                encoded = base64.b64encode(drawing.octets).decode()
                parts.append(picture(drawing.kind, encoded, numbers.figure(caption)))
            drawn += 1
    return "\n".join(part for part in parts if part)


def told(each: Measurements, said: str) -> str:
    """Put figures into a text where it names them; a paragraph without one of them is left out.

    `{{dmmp ratio_mean uplinks=d4}}` is the mean over seeds of what has these values.
    """
    kept = []
    for paragraph in said.split("\n\n"):
        # Every other part is what stood in braces.
        parts = _PLACE.split(paragraph)
        parts[1::2] = [_named(each, place) for place in parts[1::2]]
        if all(parts[1::2]):
            kept.append("".join(parts))
    return "\n\n".join(kept)


def _named(each: Measurements, place: str) -> str:
    """Return the figure that a place in a text names, or nothing."""
    protocol, figure, *where = [*place.split(), *([""] * (2 - len(place.split())))]
    wanted = dict(word.partition("=")[::2] for word in where)
    for kind in each.kinds:
        fields = {name: str(getattr(kind, name, "")) for name in wanted}
        if kind.protocol == protocol and fields == wanted:
            mean = each.mean(kind, figure)
            if mean is not None:
                return shown(mean.value, mean.half)
    return ""


def _growth(each: Measurements, kinds: Sequence[Case], numbers: Numbers) -> str:
    """Say how figures grow with the group, where there are sizes enough."""
    names = [name for name in each.figures() if name in GROWING]
    rows = []
    for protocol in dict.fromkeys(kind.protocol for kind in kinds):
        ours = [kind for kind in kinds if kind.protocol == protocol]
        found = [each.growth(ours, name) for name in names]
        if any(found):
            cells = [Cell(interval(one.value, one.half) if one else "") for one in found]
            rows.append(([text(protocol, "text name"), *cells], ""))
    if not rows:
        return ""
    caption = numbers.table("Growth with the group: b of hosts^b, with its 95 % interval.")
    return table([text("protocol"), *map(_head, names)], rows, caption)


def _set_up(each: Measurements) -> str:
    study = each.study
    sizes = " or ".join(f"{size:,}" for size in study.sizes)
    seeds = f"{len(each.seeds)} seed{'' if len(each.seeds) == 1 else 's'}"
    words = f"{sizes} hosts; {seeds}; {study.seconds:g} s measured in each run."
    if each.missing:
        runs = "run is" if each.missing == 1 else "runs are"
        words += f" Of these seeds {each.missing:,} {runs} not there."
    return words


def _table(
    each: Measurements,
    values: Mapping[str, object],
    kinds: Sequence[Case],
    sources: list[str],
    caption: str,
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
    return table(titles, rows, caption)


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
            # How many hosts is part of what was run.
            setting = {field: value for field, value in values.items() if field != "hosts"}
            yield f"{title}: {each.said(setting)} ({each.ran(kinds)}).", drawing


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
    known = {getattr(kind, entry.over) for kind in kinds if each.mean(kind, entry.of)}
    named = [group for group in getattr(each.study, PLURALS[entry.over]) if group in known]
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


def _provenance(found: Iterable[Measurements], numbers: Numbers) -> str:
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
    said = numbers.table("Commits, versions and dates of all runs.")
    return table(titles, rows, said) + f'<p class="quiet">{note}</p>'
