"""`python -m tests.fuzz.child NAME FOLDER OPTION ...`: one target under atheris, until a finding.

The options are libFuzzer's. The inputs that took longest go to `slow` in the folder, to be measured
where nothing is instrumented, and the processor time so far to `progress`. Only `dmmp` is
instrumented, so it is imported nowhere before.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.fuzz.registry import load
from tests.fuzz.running import bounded

SLOWEST = 24
"""Inputs that are remembered as slow; some only met the garbage collector."""

PROGRESS_RUNS = 1024
"""Runs between two notes of the time."""


def watched(test_one: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """Make the same function, which writes the slowest inputs and the time into a folder."""
    slowest: list[tuple[int, int]] = []
    runs = 0

    def run(data: bytes) -> None:
        nonlocal runs
        begun = time.thread_time_ns()
        test_one(data)
        taken = time.thread_time_ns() - begun
        runs += 1
        if len(slowest) < SLOWEST:
            heapq.heappush(slowest, (taken, runs))
        elif taken > slowest[0][0]:
            _, place = heapq.heapreplace(slowest, (taken, slowest[0][1]))
            (folder / "slow" / str(place)).write_bytes(data)
        if runs % PROGRESS_RUNS == 0:
            (folder / "progress").write_text(f"{runs} {time.process_time()}")

    return run


def main(arguments: list[str]) -> None:
    """Fuzz; atheris ends the process by itself."""
    name, folder, *options = arguments
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["dmmp"]):
        target = load(name)
    atheris.Setup([sys.argv[0], *options], watched(bounded(target.test_one), Path(folder)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
