"""All scenarios, so many times each: an overlay is used again as long as it comes to rest."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from dmmp.demo import PREFIX
from dmmp.demo.overlay import OverlayError
from dmmp.demo.resilience.harms import NOBODY_THERE
from dmmp.demo.resilience.lab import Lab, Shape, opened
from dmmp.demo.resilience.results import is_suspect
from dmmp.demo.resilience.scenarios import Scenario, Times
from dmmp.demo.resilience.structure import draw
from dmmp.demo.resilience.trial import Outcome

Say = Callable[[str], None]

MOST_TREES: Final = 3
"""New overlays for one repetition, when the present tree has nobody to take away."""

TRACES: Final = "resilience"
"""How the directories with the traces of suspect repetitions begin."""


class Campaign:
    """Plays scenarios and keeps the traces of repetitions in which something was not right."""

    def __init__(self, shape: Shape, times: Times, traces: Path | None, say: Say) -> None:
        self._shape = shape
        self._times = times
        self._traces = traces
        self._say = say
        self._stack = ExitStack()
        self._lab: Lab | None = None
        self._directory = Path()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def play(self, scenario: Scenario, repetitions: int) -> Iterator[Outcome]:
        """Play a scenario so often; each outcome comes as soon as it is there."""
        for number in range(repetitions):
            outcome = self._play_once(scenario, number)
            for _ in range(MOST_TREES):
                if NOBODY_THERE not in outcome.problems:
                    break
                self._say("a new overlay, for in the old one there is nobody to take away")
                self._close()
                outcome = self._play_once(scenario, number)
            if is_suspect(outcome, scenario.target):
                self._keep(outcome)
            if outcome.harm == "given up":
                self._close()
            yield outcome

    def _play_once(self, scenario: Scenario, number: int) -> Outcome:
        lab = self._fit_lab()
        try:
            return scenario.play(lab, self._directory, number, self._times)
        except OverlayError as error:
            outcome = Outcome(scenario.name, number, "given up", "", 0, 0.0)
            outcome.problems.append(str(error))
            return outcome

    def _fit_lab(self) -> Lab:
        """Give the overlay there is, if it comes to rest, or a new one."""
        if self._lab is not None:
            if not (wrong := self._lab.settle()):
                return self._lab
            self._say(f"a new overlay, for in the old one {wrong}")
            self._keep_logs(Path(self._traces or self._directory, f"{TRACES}-unfit"), {})
            self._close()
        path = self._stack.enter_context(tempfile.TemporaryDirectory(prefix=_prefix()))
        self._directory = Path(path)
        self._lab = self._stack.enter_context(opened(self._directory, self._shape))
        self._say(f"tree: {draw(self._lab.overlay.parents())}")
        return self._lab

    def _close(self) -> None:
        self._lab = None
        self._stack.close()

    def _keep(self, outcome: Outcome) -> None:
        if self._traces is None:
            return
        path = self._traces / f"{TRACES}-{outcome.scenario}-{outcome.number + 1}"
        found = {
            "scenario": outcome.scenario,
            "harm": outcome.harm,
            "tree": outcome.tree,
            "problems": outcome.problems,
            "figures": outcome.figures,
            "heard": [str(heard) for heard in outcome.heard],
            **outcome.evidence,
        }
        self._keep_logs(path, found)
        self._say(f"traces: {path}")

    def _keep_logs(self, path: Path, found: dict[str, object]) -> None:
        """Copy what the nodes have said, and the documents, one file each."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        for log in self._directory.glob("*.log"):
            shutil.copy(log, path)
        for name in [name for name, value in found.items() if isinstance(value, dict)]:
            (path / f"{name}.json").write_text(json.dumps(found.pop(name), indent=1) + "\n")
        (path / "outcome.json").write_text(json.dumps(found, indent=1) + "\n")


def _prefix() -> str:
    return f"{PREFIX}{os.getpid()}-"


def chosen(names: Sequence[str], scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Choose the scenarios of these names, all without one, in their own order."""
    return [scenario for scenario in scenarios if not names or scenario.name in names]
