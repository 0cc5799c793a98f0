"""Programs under measurement: built from C on the spot, started in a host, asked for their counts.

Processor time is the kernel's exact account of a process, user and kernel mode, to the nanosecond
(clock_getcpuclockid(3)); it includes what the kernel does for others while it runs in its name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dmmp.demo.internet import Host
from dmmp.errors import UsageError

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = Path(__file__).resolve().parent / "programs"
READY: Final = "ready"
END_POLL: Final = 2.0
END_PATIENCE: Final = 10.0
_CPUCLOCK_SCHED: Final = 2

Report = dict[str, Any]


def build(name: str, directory: Path) -> str:
    """Compile one of our small programs, and give its path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UsageError("no C compiler for the programs to compare with: apt-get install gcc")
    made = directory / name
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(made), str(PROGRAMS / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or "no word").splitlines()[0]
        raise UsageError(f"{' '.join(command)}: {said} (apt-get install libc6-dev)")
    return str(made)


class Running:
    """A program at work in a host; it has said that it is ready, if it is one that says so."""

    def __init__(
        self,
        host: Host,
        command: Sequence[str],
        *,
        processor: int | None = None,
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        places = [os.fspath(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        path = {"PYTHONPATH": os.pathsep.join(places)}
        self.command = command
        self.process = host.popen(
            *command,
            standard_error=subprocess.PIPE,
            environment=path | dict(environment or {}),
        )
        if processor is not None:
            os.sched_setaffinity(self.process.pid, {processor})
        self.said = self._line() if ready else ""
        if ready and self.said != READY:
            self.process.kill()
            raise UsageError(self._failure())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _failure(self) -> str:
        assert self.process.stderr is not None
        lines = self.process.stderr.read().strip().splitlines()
        words = " ".join(Path(word).name for word in self.command[:4])
        return f"{words}: {lines[-1] if lines else 'it ended without a word'}"

    def processor_seconds(self) -> float:
        """Tell how much processor time it has used, user and kernel."""
        return processor_seconds(self.process.pid)

    def wait(self) -> Report:
        """Wait until it ends by itself; give what it wrote last."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().strip().splitlines()
        code = self.process.wait()
        if code != 0 or not lines:
            raise UsageError(self._failure())
        report: Report = json.loads(lines[-1])
        return report

    def finish(self) -> Report:
        """End it; give what it wrote last."""
        deadline = time.monotonic() + END_PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            # Again and again: a signal just before the program waits for data does not wake it.
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(END_POLL)
            except subprocess.TimeoutExpired:
                continue
        return self.wait()


def processor_seconds(process: int) -> float:
    """Read a process's processor time, all its threads'."""
    return time.clock_gettime(~process << 3 | _CPUCLOCK_SCHED)


def total_seconds(processes: Iterable[int]) -> float:
    """Add up the processor time of those that still live."""
    total = 0.0
    for process in processes:
        try:
            total += processor_seconds(process)
        except OSError:
            continue
    return total


def python(module: str, *words: str) -> list[str]:
    """Give the command line of one of our modules."""
    return [sys.executable, "-m", module, *words]


def processors() -> tuple[int, int | None]:
    """Choose the processor for what is measured, and the one for what is around it, if any."""
    available = sorted(os.sched_getaffinity(0))
    return available[-1], available[0] if len(available) > 1 else None
