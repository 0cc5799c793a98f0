"""One target's run from outside: a process under atheris, then the measurement of its parser.

What a run finds new stays in its scratch folder, unless asked to be kept; a finding's input goes
to `tests/fuzz/findings`. Nothing here prints.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import corpus
from tests.fuzz.measure import Measured
from tests.fuzz.registry import load
from tests.fuzz.target import MEMORY_LIMIT_BYTES, TIME_LIMIT

ROOT = Path(__file__).resolve().parent.parent.parent

TIMEOUT = 900
"""Seconds of the clock after which libFuzzer ends an input; `running.HANGS_AFTER` comes before."""

MEMORY_MB = 1024
"""What the process may hold in all, so that a leak is a finding."""

_DONE = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
_COVERAGE = re.compile(r"\bcov: (\d+)")
_TRACEBACK = re.compile(r"=== Uncaught Python exception: ===\n(.*?)(?=\n==\d+==|\nINFO|\Z)", re.S)
_KINDS = ("crash-", "timeout-", "oom-", "slow-unit-", "leak-")


class Options(NamedTuple):
    """How to run: executions, libFuzzer's seed (0: another each time), seconds at most (0: any)."""

    runs: int
    seed: int = 0
    keep: bool = False
    seconds: int = 0


class Result(NamedTuple):
    """What came of one target: executions, a second of processor time, and inputs that were new.

    `covered` counts what libFuzzer calls edges. `findings` are files, each with what happened.
    """

    name: str
    runs: int
    rate: float
    new_inputs: int
    covered: int
    measured: Measured | None
    findings: tuple[tuple[Path, str], ...]
    failure: str = ""

    @property
    def is_clean(self) -> bool:
        """Tell whether all runs were made and nothing was found."""
        return not self.findings and not self.failure


def run(name: str, options: Options) -> Result:
    """Fuzz one target."""
    target = load(name)
    with tempfile.TemporaryDirectory(prefix=f"dmmp-fuzz-{target.name}-") as made:
        scratch = Path(made)
        for folder in ("new", "slow", "found", "begin"):
            (scratch / folder).mkdir()
        corpus.write(scratch / "begin", [*target.seeds(), *corpus.kept(target.name)])
        begun = time.monotonic()
        ended = _fuzz(name, target.most_bytes, options, scratch)
        rate = _rate(scratch, time.monotonic() - begun, ended.stdout)
        found = _collected(target.name, scratch / "found", _what_happened(ended.stdout))
        failure = ""
        if ended.returncode and not found:
            failure = ended.stdout[-2000:]
        measured = None
        if target.parse is not None and not found:
            measured = _measure(name, scratch)
            found += _beyond(target.name, measured, scratch)
        new = corpus.read(scratch / "new")
        if options.keep and not found:
            inputs = [*target.seeds(), *corpus.kept(target.name), *new]
            corpus.replace(target.name, corpus.minimised(target, inputs))
    covered = _COVERAGE.findall(ended.stdout)
    edges = int(covered[-1]) if covered else 0
    runs = _runs(ended.stdout)
    return Result(target.name, runs, rate, len(new), edges, measured, tuple(found), failure)


def _runs(output: str) -> int:
    done = _DONE.search(output)
    return int(done[1]) if done else 0


def _rate(scratch: Path, seconds: float, output: str) -> float:
    """Take runs a second of the process' own time; of a short run, of the clock's."""
    progress = scratch / "progress"
    if progress.exists():
        runs, own_seconds = progress.read_text().split()
        return float(runs) / float(own_seconds)
    return _runs(output) / seconds


def _fuzz(
    name: str, most_bytes: int, options: Options, scratch: Path
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(scratch)]
    command += [f"-runs={options.runs}", f"-seed={options.seed}", f"-max_len={most_bytes}"]
    command += [f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
    command += [f"-max_total_time={options.seconds}"]
    command += [f"-artifact_prefix={scratch / 'found'}/", "-verbosity=1", "-report_slow_units=3600"]
    command += [str(scratch / "new"), str(scratch / "begin")]
    return _ran(command)


def _ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _what_happened(output: str) -> str:
    """Take the traceback's last lines out of atheris' output, or what libFuzzer says."""
    if found := _TRACEBACK.search(output):
        return "\n".join(found[1].strip().splitlines()[-12:])
    errors = [line for line in output.splitlines() if "ERROR" in line or "SUMMARY" in line]
    return "\n".join(errors) or output[-500:]


def _collected(name: str, folder: Path, what: str) -> list[tuple[Path, str]]:
    """Keep the inputs of findings under `NAME-HASH`."""
    kept = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(_KINDS):
            kept.append((_kept(name, path.read_bytes()), what))
    return kept


def _kept(name: str, data: bytes) -> Path:
    corpus.FINDINGS.mkdir(exist_ok=True)
    path = corpus.FINDINGS / f"{name}-{corpus.name_of(data)}"
    path.write_bytes(data)
    return path


def _measure(name: str, scratch: Path) -> Measured:
    folders = [str(scratch / folder) for folder in ("begin", "new", "slow")]
    ended = _ran([sys.executable, "-m", "tests.fuzz.measure", name, *folders])
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        raise RuntimeError(f"measuring {name} failed:\n{ended.stdout[-2000:]}")
    found: Measured = json.loads(lines[-1])
    return found


def _beyond(name: str, measured: Measured, scratch: Path) -> list[tuple[Path, str]]:
    """Make findings of what takes longer or more memory than a parser may."""
    by_name = {
        corpus.name_of(data): data
        for folder in ("begin", "new", "slow")
        for data in corpus.read(scratch / folder)
    }
    found = []
    if measured["seconds"] > TIME_LIMIT:
        what = f"takes {1e3 * measured['seconds']:.2f} ms, at most {1e3 * TIME_LIMIT:g} ms"
        found.append((_kept(name, by_name[measured["slowest"]]), what))
    if measured["bytes"] > MEMORY_LIMIT_BYTES:
        what = f"takes {measured['bytes'] >> 10} kB of memory, at most {MEMORY_LIMIT_BYTES >> 10}"
        found.append((_kept(name, by_name[measured["largest"]]), what))
    return found
