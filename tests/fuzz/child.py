"""`python -m tests.fuzz.child NAME SLOW OPTION ...`: one target under atheris, until a finding.

The options are libFuzzer's. The inputs that took longest go to the folder SLOW, to be measured
where nothing is instrumented. Only `dmmp` is instrumented, so it is imported nowhere before.
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


def watched(test_one: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """Make the same function, which writes the slowest inputs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    slowest: list[tuple[int, int]] = []
    number = 0

    def run(data: bytes) -> None:
        nonlocal number
        begun = time.thread_time_ns()
        test_one(data)
        taken = time.thread_time_ns() - begun
        if len(slowest) < SLOWEST:
            number += 1
            heapq.heappush(slowest, (taken, number))
        elif taken > slowest[0][0]:
            _, place = heapq.heapreplace(slowest, (taken, slowest[0][1]))
            (folder / str(place)).write_bytes(data)

    return run


def main(arguments: list[str]) -> None:
    """Fuzz; atheris ends the process by itself."""
    name, slow, *options = arguments
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["dmmp"]):
        target = load(name)
    atheris.Setup([sys.argv[0], *options], watched(bounded(target.test_one), Path(slow)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
