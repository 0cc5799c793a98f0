"""Inputs on disk: the corpus of each target, which is kept, and its findings.

A corpus is small, a file an input, named by its hash: as few inputs as reach every line and step
from line to line that is known to be reached. Files are bytes and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import FrameType

from tests.fuzz.target import Target

FOLDER = Path(__file__).parent
CORPORA = FOLDER / "corpus"
FINDINGS = FOLDER / "findings"

MOST_INPUTS = 40
"""Inputs in one corpus; the fuzzer finds the rest again in seconds."""

MOST_BYTES = 1024
"""Longest input that is kept."""

PACKAGE = f"{FOLDER.parent.parent}/dmmp/"

Step = tuple[str, int, int]
"""A file, and two lines that were run one after the other."""


def name_of(data: bytes) -> str:
    """Name an input by its hash."""
    return sha256(data).hexdigest()[:12]


def read(folder: Path) -> list[bytes]:
    """Read all inputs of a folder, in the order of their names; none if there is none."""
    if not folder.is_dir():
        return []
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]


def kept(name: str) -> list[bytes]:
    """Read a target's corpus."""
    return read(CORPORA / name)


def write(folder: Path, inputs: Iterable[bytes]) -> None:
    """Write inputs into a folder, under the names of their hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / name_of(data)).write_bytes(data)


def replace(name: str, inputs: Iterable[bytes]) -> None:
    """Make these a target's corpus."""
    folder = CORPORA / name
    for path in folder.iterdir() if folder.is_dir() else ():
        path.unlink()
    write(folder, inputs)


def steps(run: Callable[[bytes], object], data: bytes) -> set[Step]:
    """Run one input; list the steps it takes in the package."""
    taken: set[Step] = set()
    before = 0

    def trace_lines(frame: FrameType, event: str, _: object) -> object:
        nonlocal before
        line = frame.f_lineno
        taken.add((frame.f_code.co_filename, before, line))
        before = line
        return trace_lines

    def trace_calls(frame: FrameType, event: str, _: object) -> object:
        return trace_lines if frame.f_code.co_filename.startswith(PACKAGE) else None

    former = sys.gettrace()
    sys.settrace(trace_calls)  # type: ignore[arg-type]
    try:
        run(data)
    except Exception:
        # A finding is not for the corpus, but it must not stop this.
        return set()
    finally:
        sys.settrace(former)
    return taken


def minimised(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Choose few inputs that take all steps that all of them take, short ones first."""
    known = sorted({data for data in inputs if len(data) <= MOST_BYTES}, key=lambda d: (len(d), d))
    left = [(data, steps(target.test_one, data)) for data in known]
    chosen: list[bytes] = []
    while left and len(chosen) < MOST_INPUTS:
        data, best = max(left, key=lambda pair: len(pair[1]))
        if not best:
            break
        chosen.append(data)
        left = [(other, taken - best) for other, taken in left if other != data]
    return chosen
