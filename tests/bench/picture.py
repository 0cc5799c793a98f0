"""The results as one picture: bars by case and candidate, what is best told in bars of each bench.

matplotlib is an extra (`pip install 'dmmp[bench]'`); it is imported before anything is measured,
so that nobody waits for the measurement to learn that it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from dmmp.errors import UsageError
from tests.bench.figures import Result

ENDINGS: Final = (".png", ".svg")
WIDTH, HEIGHT, ROW = 11.0, 1.2, 0.22
"""Inches: the picture's width, what a panel takes besides, and what each bar adds."""


def prepare(path: Path) -> Callable[[Sequence[Result]], None]:
    """Import what draws, or say how to get it; give what draws to the path."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"--picture {path}: end it in {' or '.join(ENDINGS)}")
    try:
        matplotlib = import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot = import_module("matplotlib.pyplot")
    except ImportError:
        raise UsageError(
            "--picture needs matplotlib: .venv/bin/python -m pip install -e '.[bench]'"
        ) from None
    return lambda results: draw(pyplot, path, results)


def draw(pyplot: Any, path: Path, results: Sequence[Result]) -> None:
    """Draw a panel for the first figure of each bench."""
    shown = [result for result in results if result.series]
    if not shown:
        return
    heights = [HEIGHT + ROW * len(_bars(result)) for result in shown]
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=(WIDTH, sum(heights)), height_ratios=heights, squeeze=False
    )
    for panel, result in zip(axes[:, 0], shown, strict=True):
        _panel(pyplot, panel, result)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _bars(result: Result) -> list[tuple[str, str, float]]:
    first = result.series[0].figure
    return [
        (series.case, series.candidate, series.median)
        for series in result.series
        if series.figure == first and series.median is not None
    ]


def _panel(pyplot: Any, panel: Any, result: Result) -> None:
    bars = _bars(result)
    candidates = list(dict.fromkeys(candidate for _, candidate, _ in bars))
    colours = pyplot.get_cmap("tab10").colors
    for at, (_, candidate, value) in enumerate(bars):
        colour = colours[candidates.index(candidate) % len(colours)]
        panel.barh(at, value, color=colour, height=0.8)
        panel.text(value, at, f" {value:,.4g}", va="center", fontsize=7)
    panel.set_yticks(
        range(len(bars)), [f"{case}: {candidate}" for case, candidate, _ in bars], fontsize=7
    )
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.set_title(f"{result.title}: {result.series[0].figure}, {result.series[0].unit}")
