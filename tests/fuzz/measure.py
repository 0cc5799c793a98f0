"""`python -m tests.fuzz.measure NAME FOLDER ...`: what a parser needs for the inputs of folders.

A process of its own, not instrumented, because instrumented code takes several times as long. It
prints JSON: the most processor time, the most memory, and for which inputs.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from tests.fuzz import corpus
from tests.fuzz.registry import load

TRIES = 7
"""The least of so many counts: what is more was the machine's."""


class Measured(TypedDict):
    """The largest of all inputs: seconds and bytes, and the names of the inputs."""

    seconds: float
    slowest: str
    bytes: int
    largest: str


def seconds_of(parse: Callable[[bytes], object], data: bytes) -> float:
    """Take the least processor time of several tries."""
    found = float("inf")
    for _ in range(TRIES):
        begun = time.thread_time_ns()
        parse(data)
        found = min(found, (time.thread_time_ns() - begun) / 1e9)
    return found


def bytes_of(parse: Callable[[bytes], object], data: bytes) -> int:
    """Take the most memory that is held at one time, beside what was before."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    parse(data)
    _, peak = tracemalloc.get_traced_memory()
    return peak - before


def measured(parse: Callable[[bytes], object], inputs: list[bytes]) -> Measured:
    """Measure all inputs, each after a first run that fills caches."""
    found = Measured(seconds=0.0, slowest="", bytes=0, largest="")
    for data in inputs:
        parse(data)
        taken = seconds_of(parse, data)
        if taken > found["seconds"]:
            found["seconds"], found["slowest"] = taken, corpus.name_of(data)
    gc.collect()
    tracemalloc.start()
    for data in inputs:
        parse(data)
        held = bytes_of(parse, data)
        if held > found["bytes"]:
            found["bytes"], found["largest"] = held, corpus.name_of(data)
    tracemalloc.stop()
    return found


def main(arguments: list[str]) -> None:
    """Measure the inputs of the folders; say nothing of a target without a parser."""
    target = load(arguments[0])
    inputs = [data for folder in arguments[1:] for data in corpus.read(Path(folder))]
    if target.parse is not None:
        sys.stdout.write(json.dumps(measured(target.parse, inputs)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
