"""Pictures of the report, drawn with matplotlib without a screen; each as the bytes of a file.

Colours are those of Okabe and Ito, which people who see fewer colours can tell apart; every series
has a mark and a kind of line of its own besides. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F",
)  # fmt: skip
MARKS = "osD^vPXh"
LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))

WIDTH = 7.0
"""Inches."""

ARC_POINTS = 24
"""Points of a line over the globe."""

GLOBE = "#B8C4CE"

BEYOND = 0.995
"""Quantile up to which a logarithmic axis of a distribution goes; it begins at the opposite one."""

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E6E8",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "svg.hashsalt": "dmmp",
    "svg.fonttype": "path",
}


class Point(NamedTuple):
    """A mean of several runs; `half` the interval around it is not finite if there is none."""

    x: float
    mean: float
    half: float


class Drawing(NamedTuple):
    """A picture as a file: SVG or PNG."""

    kind: str
    octets: bytes


Series = Mapping[str, Sequence[Point]]


def curve(
    series: Series,
    published: Series,
    *,
    order: Sequence[str],
    across: str,
    up: str,
    is_log: bool = False,
) -> Drawing:
    """Draw means with their intervals, and published values as open marks.

    Here and below, a name's place in `order` decides its colour: the same in all pictures.
    """
    with _axes(3.6) as (figure, axes):
        for name, points in series.items():
            number = order.index(name)
            _curve(axes, number, name, points)
            if name in published:
                xs, ys = zip(*((point.x, point.mean) for point in published[name]), strict=True)
                label = f"{name}, published"
                axes.plot(
                    xs, ys, linestyle=":", linewidth=1.0, markersize=6, color=_colour(number),
                    marker=_mark(number), markerfacecolor="white", label=label,
                )  # fmt: skip
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        if is_log:
            _log(axes, series)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        _legend(axes)
        return _svg(figure)


def _curve(axes: Axes, number: int, name: str, points: Sequence[Point]) -> None:
    xs = np.array([point.x for point in points])
    means = np.array([point.mean for point in points])
    halves = np.array([_half(point) for point in points])
    style: Any = {"color": _colour(number), "linestyle": LINES[number // len(COLOURS) % len(LINES)]}
    axes.plot(xs, means, marker=_mark(number), markersize=4.5, linewidth=1.6, label=name, **style)
    axes.fill_between(xs, means - halves, means + halves, color=_colour(number), alpha=0.15, lw=0)


def _log(axes: Axes, series: Series) -> None:
    points = [point for each in series.values() for point in each]
    if points and min(point.x for point in points) > 0:
        axes.set_xscale("log", base=2 if max(point.x for point in points) < 20_000 else 10)
        axes.set_xticks(sorted({point.x for point in points}))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_minor_locator(NullLocator())
    if points and min(point.mean for point in points) > 0:
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)


def _plain_numbers(axis: Axis) -> None:
    """Name 1, 2, 5, 10 and so on of a logarithmic axis, as people write them."""
    low, high = axis.get_view_interval()
    # Over many decades there is no room for more than the tens.
    subs = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_locator(NullLocator())


def _plain(value: float, _: object = None) -> str:
    return f"{value:,.10g}"


def bars(
    groups: Sequence[str],
    series: Series,
    *,
    order: Sequence[str],
    across: str,
    up: str,
) -> Drawing:
    """Draw means as bars with their intervals; `x` of a point is the number of its group."""
    with _axes(3.4) as (figure, axes):
        width = 0.8 / max(1, len(series))
        for place, (name, points) in enumerate(series.items()):
            number = order.index(name)
            offset = (place - (len(series) - 1) / 2) * width
            axes.bar(
                [point.x + offset for point in points],
                [point.mean for point in points],
                width * 0.92,
                yerr=_halves(points),
                color=_colour(number),
                hatch="///" if number >= len(COLOURS) else None,
                edgecolor="white",
                error_kw={"elinewidth": 1.0, "capsize": 2.0, "ecolor": "#333333"},
                label=name,
            )
        _grouped(axes, groups, across, up)
        return _svg(figure)


def dots(
    groups: Sequence[str],
    series: Series,
    *,
    order: Sequence[str],
    across: str,
    up: str,
    is_log: bool = False,
) -> Drawing:
    """Draw means as marks with their intervals, on an axis that need not begin at 0."""
    with _axes(3.4) as (figure, axes):
        width = 0.7 / max(1, len(series))
        for place, (name, points) in enumerate(series.items()):
            number = order.index(name)
            offset = (place - (len(series) - 1) / 2) * width
            axes.errorbar(
                [point.x + offset for point in points],
                [point.mean for point in points],
                yerr=_halves(points),
                color=_colour(number),
                marker=_mark(number),
                markersize=6,
                linestyle="none",
                elinewidth=1.4,
                capsize=3.0,
                label=name,
            )
        axes.set_xlim(-0.5, len(groups) - 0.5)
        for between in range(1, len(groups)):
            axes.axvline(between - 0.5, color="#E3E6E8", linewidth=0.8)
        _grouped(axes, groups, across, up)
        if is_log:
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
        return _svg(figure)


def _grouped(axes: Axes, groups: Sequence[str], across: str, up: str) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    _legend(axes)


def _halves(points: Sequence[Point]) -> list[float]:
    """Return half intervals; NaN draws none, one of no width would look like certainty."""
    return [_half(point) or math.nan for point in points]


def distribution(
    series: Mapping[str, Sequence[float]],
    *,
    order: Sequence[str],
    across: str,
    is_log: bool = False,
) -> Drawing:
    """Draw the share of values up to each value.

    A logarithmic axis leaves out one in two hundred values of the series that reach farthest, at
    each end: single values far away would press all the others together.
    """
    with _axes(3.6) as (figure, axes):
        ends = []
        for name, values in series.items():
            number = order.index(name)
            ordered = np.sort(np.asarray(values, dtype=float))
            ordered = ordered[np.isfinite(ordered)]
            if not len(ordered):
                continue
            shares = np.arange(1, len(ordered) + 1) / len(ordered)
            kept = np.unique(np.linspace(0, len(ordered) - 1, 400).astype(int))
            line = LINES[number // len(COLOURS) % len(LINES)]
            axes.step(
                ordered[kept], shares[kept], where="post", color=_colour(number), label=name,
                linewidth=1.6, linestyle=line, marker=_mark(number), markersize=4.5,
                markevery=(number * 7 % 40, 60),
            )  # fmt: skip
            ends.append(np.quantile(ordered, (1.0 - BEYOND, BEYOND)))
        if is_log:
            axes.set_xscale("log")
            low, high = min(end[0] for end in ends), max(end[1] for end in ends)
            if 0 < low < high:
                axes.set_xlim(low / 1.05, 1.05 * high)
            _plain_numbers(axes.xaxis)
        axes.set_ylim(0, 1.01)
        axes.set_xlabel(across)
        axes.set_ylabel("share of all")
        _legend(axes)
        return _svg(figure)


def tree_on_globe(
    lonlat: NDArray[np.float64],
    parents: Sequence[int],
    backdrop: NDArray[np.float64] | None = None,
) -> Drawing:
    """Draw a tree over the globe: `lonlat` degrees [hosts, 2], `parents` -1 for none.

    Lines are great circles, the darker the nearer to the source. `backdrop` are links of the
    network beneath, [links, 2, 2]: from, to; longitude, latitude.
    """
    with _axes(3.7) as (figure, axes):
        axes.grid(visible=False)
        axes.set_facecolor("#F7F9FA")
        for side in axes.spines.values():
            side.set_visible(False)
        if backdrop is not None:
            lines = [part for a, b in backdrop for part in _split(np.array([a, b]))]
            axes.add_collection(LineCollection(lines, colors=GLOBE, linewidths=0.35))
        depths = depths_of(parents)
        deepest = max(1, *depths)
        shades = matplotlib.colormaps["viridis"]
        # The deep ones first, so that what carries most lies on top.
        for child in sorted(range(len(parents)), key=lambda host: -depths[host]):
            parent = parents[child]
            if parent < 0:
                continue
            arc = _split(great_circle(lonlat[parent], lonlat[child]))
            share = (depths[child] - 1) / deepest
            axes.add_collection(
                LineCollection(
                    arc, colors=[shades(share)], linewidths=1.5 - 1.0 * share, alpha=0.85
                )
            )
        axes.scatter(lonlat[:, 0], lonlat[:, 1], s=5, c="#222222", linewidths=0, zorder=3)
        roots = [host for host, depth in enumerate(depths) if depth == 0 and host in parents]
        axes.scatter(
            lonlat[roots, 0], lonlat[roots, 1], s=110, marker="*", c="#D55E00",
            edgecolors="white", linewidths=0.7, zorder=4,
        )  # fmt: skip
        axes.set_xlim(-180, 180)
        axes.set_ylim(-58, 78)
        axes.set_aspect(1.25)
        axes.set_xticks([])
        axes.set_yticks([])
        shown = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(1, deepest + 1), shades)
        bar = figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.01, aspect=16)
        bar.outline.set_visible(False)
        bar.set_label("hops from the source")
        return _png(figure)


def depths_of(parents: Sequence[int]) -> list[int]:
    """Return hops from the root of each host; of a circle, or below one, all its hosts' number."""
    depths = []
    for host in range(len(parents)):
        depth = 0
        while 0 <= parents[host] < len(parents) and depth < len(parents):
            host, depth = parents[host], depth + 1
        depths.append(depth)
    return depths


def great_circle(
    begin: NDArray[np.float64], end: NDArray[np.float64], points: int = ARC_POINTS
) -> NDArray[np.float64]:
    """Return the shortest line between two places on the globe, degrees, [points, 2]."""
    first, last = _unit(begin), _unit(end)
    angle = math.acos(max(-1.0, min(1.0, float(first @ last))))
    shares = np.linspace(0.0, 1.0, points)[:, None]
    if math.sin(angle) < 1e-9:
        return np.asarray(begin + shares * (end - begin))
    way = np.sin((1 - shares) * angle) * first + np.sin(shares * angle) * last
    way /= np.linalg.norm(way, axis=1)[:, None]
    longitudes = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    return np.column_stack([longitudes, np.degrees(np.arcsin(way[:, 2]))])


def _unit(place: NDArray[np.float64]) -> NDArray[np.float64]:
    longitude, latitude = np.radians(place)
    flat = math.cos(latitude)
    return np.array([flat * math.cos(longitude), flat * math.sin(longitude), math.sin(latitude)])


def _split(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut a line where it leaves the map on one side and comes back on the other."""
    cuts = np.flatnonzero(np.abs(np.diff(line[:, 0])) > 180) + 1
    return [part for part in np.split(line, cuts) if len(part) > 1]


def _half(point: Point) -> float:
    return point.half if math.isfinite(point.half) else 0.0


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _mark(number: int) -> str:
    return MARKS[number % len(MARKS)]


def _legend(axes: Axes) -> None:
    """Put the names beside the axes, where they hide nothing."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.4)


@contextmanager
def _axes(height: float) -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots()


def _svg(figure: Figure) -> Drawing:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return Drawing("svg+xml", file.getvalue())


def _png(figure: Figure) -> Drawing:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return Drawing("png", file.getvalue())
