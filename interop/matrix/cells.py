"""Cells of the matrix: each is played in a process of its own, several side by side."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from dmmp.demo.internet import InternetError
from interop.matrix.participants import Pair
from interop.matrix.scenarios import NAMES, SCENARIOS, Scenario
from interop.matrix.stage import Broken, Stage, Unsupported

PREFIX: Final = "dmmp-interop-"


class Verdict(StrEnum):
    """The three values of a cell."""

    PASSED = "passed"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one scenario with one pair."""

    scenario: str
    core: str
    edge: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What happened in particular: who was killed, how many packets were lost."""

    seconds: float = 0.0
    last_words: dict[str, list[str]] = field(default_factory=dict)
    """Of a cell that failed: the end of what each participant printed."""

    @property
    def pair(self) -> str:
        """The pair in one word."""
        return f"{self.core}+{self.edge}"

    def to_json(self) -> dict[str, Any]:
        """Give it as a document."""
        return asdict(self)


def scenario_of(name: str) -> Scenario:
    """Give a scenario by its name."""
    return SCENARIOS[NAMES.index(name)]


def play_cell(name: str, pair: Pair, keep: Path | None = None) -> Result:
    """Play a scenario with a pair; `keep` takes capture, logs and deliveries if it fails."""
    scenario, begun = scenario_of(name), time.monotonic()
    words: dict[str, list[str]] = {}
    notes: list[str] = []
    verdict, reasons = Verdict.FAILED, []
    # The path of UNIX sockets in it must be short (unix(7)).
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path:
        directory = Path(path)
        try:
            with Stage(pair, name, scenario.security, scenario.version, directory) as stage:
                try:
                    scenario.play(stage)
                    reasons = scenario.judge(stage.end())
                    verdict = Verdict.FAILED if reasons else Verdict.PASSED
                finally:
                    words, notes = stage.last_words(), stage.notes
        except Unsupported as who:
            verdict, reasons = Verdict.UNSUPPORTED, [str(who)]
        except Broken as error:
            reasons = [str(error)]
        except (InternetError, OSError) as error:
            reasons = [f"it could not be played: {error}"]
        if verdict is Verdict.FAILED and keep is not None:
            # Neither sockets, which cannot be copied, nor credentials, which should not be.
            left_out = shutil.ignore_patterns("*.sock", "authority")
            kept = keep / f"{name}-{pair.name}"
            shutil.copytree(directory, kept, ignore=left_out, dirs_exist_ok=True)
    return Result(
        name,
        pair.core.name,
        pair.edge.name,
        verdict,
        tuple(reasons),
        tuple(notes),
        round(time.monotonic() - begun, 1),
        words if verdict is Verdict.FAILED else {},
    )


def play_all(
    names: Sequence[str], pairs: Sequence[Pair], jobs: int, keep: Path | None = None
) -> Iterator[Result]:
    """Play every scenario with every pair, so many at a time; yield results as they come."""
    cells = [(name, pair) for name in names for pair in pairs]
    cells.sort(key=lambda cell: -scenario_of(cell[0]).seconds)
    # Forked processes would share what this one has open; each builds networks of its own.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = [pool.submit(play_cell, name, pair, keep) for name, pair in cells]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
