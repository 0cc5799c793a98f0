"""`python -m tests`: the checks and the fast tests; `python -m tests all`: everything.

`python -m tests long` runs what takes hours and is in neither: all seeds, all modes, all sizes.
`python -m tests regenerate` writes the files that follow from the code.
Each step is named, timed and, when it fails, the last one: later steps would only bury its message.
A step that needs no watching runs beside the others; what it has to say comes when they are done.
Nothing here knows what is tested; the markers and settings are in `pyproject.toml`.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable

USAGE = "usage: python -m tests [all | long | regenerate]"

BYTECODE = ROOT / "build" / "bytecode"
"""Where Python keeps what it has compiled. Hundreds of processes are started, each would compile
all it imports; and the folders of the code stay as they are, whoever runs the tests."""

AT_A_TIME = 3
"""Namespace tests that wait for each other's processes more than for a processor."""

LOWEST = 19
"""Of nice(2): what runs beside a step takes what that leaves of the processors."""


PATIENCE = 20.0
"""Seconds in which such a step ends when asked to."""


class Step(NamedTuple):
    """A command with a name; `beside` lets the next steps begin meanwhile."""

    name: str
    command: list[str]
    beside: bool = False


FORMAT = Step("format", [PYTHON, "-m", "ruff", "format", "--check", "."])
LINT = Step("lint", [PYTHON, "-m", "ruff", "check", "."])
TYPES = Step("types", [PYTHON, "-m", "mypy"], beside=True)
TIDY = Step("tidy", [PYTHON, "-m", "pytest", "-q", "tests/test_tidy.py"])

FAST = "not slow and not namespace"
FAST_TESTS = ["--ignore=tests/test_tidy.py", "-m", FAST]


def workers() -> str:
    """Tell how many tests run at a time: one a core, two at least."""
    return str(max(2, os.cpu_count() or 1))


def fast_tests() -> Step:
    """Give the step for the fast tests."""
    return Step("fast tests", [PYTHON, "-m", "pytest", "-q", "-n", workers(), *FAST_TESTS])


def slow_tests(marks: str = "slow and not namespace and not long", beside: bool = True) -> Step:
    """Give the step for the long ones that need no device: they only calculate."""
    command = [PYTHON, "-m", "pytest", "-q", "--durations=15", "-m", marks]
    # They differ much in length: who has nothing left takes from the other's.
    command += ["-n", workers(), "--dist", "worksteal"]
    return Step("slow tests" if beside else "long tests", command, beside)


def namespace_tests(name: str, marks: str, *words: str) -> Step:
    """Give a step for some of the rest.

    Without root the tests that need devices get a user namespace of their own.
    """
    command = [PYTHON, "-m", "pytest", "-v", "--durations=15", *words, "-m", marks]
    if os.geteuid() != 0:
        command = [PYTHON, "-m", "dmmp.demo.user_namespace", *command]
    return Step(name, command)


def quick_steps() -> list[Step]:
    """Give the steps of a quick look."""
    return [FORMAT, LINT, TYPES, TIDY, fast_tests()]


def all_steps() -> list[Step]:
    """Give all steps.

    The namespace tests wait most of their time, so the slow ones run beside them, at a priority
    that leaves them undisturbed. Those that measure come one at a time, and first: they also remove
    what killed runs have left, which several could not do at the same moment.
    """
    return [
        *quick_steps(),
        slow_tests(),
        namespace_tests("namespace tests, alone", "namespace and alone and not long"),
        namespace_tests(
            "namespace tests",
            "namespace and not alone and not long",
            *("-n", str(AT_A_TIME), "--dist", "loadfile", "--no-loadscope-reorder"),
        ),
    ]


def long_steps() -> list[Step]:
    """Give the steps that take hours."""
    return [
        slow_tests("long and not namespace", beside=False),
        namespace_tests("long namespace tests", "long and namespace"),
    ]


class Running:
    """A step that runs beside others, at the lowest priority; what it says goes to a file."""

    def __init__(self, step: Step, environment: dict[str, str], output: IO[bytes]) -> None:
        self.step = step
        self.begun = time.monotonic()
        self.seconds = 0.0
        self._output = output
        self._process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, LOWEST)
        # Where the kernel shares out by sessions first, nice(2) counts only within one: sched(7).
        with suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(LOWEST))
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        self._process.wait()
        self.seconds = time.monotonic() - self.begun

    def has_ended(self) -> bool:
        """Tell whether it has."""
        return not self._waiting.is_alive()

    def finish(self) -> int:
        """Wait for its end, show what it said, and give its exit code."""
        self._waiting.join()
        self._output.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(self._output.read())
        return self._process.returncode

    def close(self) -> None:
        """End it, if it has not ended: in order, so that it ends what it has started itself."""
        for number in (signal.SIGINT, signal.SIGKILL):
            if not self.has_ended():
                os.killpg(self._process.pid, number)
                self._waiting.join(PATIENCE)


def told(step: Step, code: int, seconds: float) -> int:
    """Print how a step went; give the exit code for all."""
    if code == 0:
        print(f"== {step.name}: {seconds:.1f} s", flush=True)
        return 0
    print(f"== {step.name} FAILED after {seconds:.1f} s; again with:", flush=True)
    print(f"   {shlex.join(step.command)}", flush=True)
    return code if code > 0 else 128 - code


def run(steps: Sequence[Step]) -> int:
    """Run the steps in order; stop at the first that fails and give its exit code."""
    environment = dict(os.environ, PYTHONPYCACHEPREFIX=os.fspath(BYTECODE))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.monotonic()
    beside: list[Running] = []
    with ExitStack() as stack:
        for step in steps:
            if step.beside:
                print(f"== {step.name}: begun, beside what follows", flush=True)
                output = stack.enter_context(tempfile.TemporaryFile())
                beside.append(Running(step, environment, output))
                stack.callback(beside[-1].close)
                continue
            print(f"== {step.name}", flush=True)
            since = time.monotonic()
            code = subprocess.run(step.command, cwd=ROOT, env=environment).returncode
            if code := told(step, code, time.monotonic() - since):
                return code
            # What has ended meanwhile is told now: it may have failed.
            if code := finished([each for each in beside if each.has_ended()], beside):
                return code
        if code := finished(list(beside), beside):
            return code
    print(f"== all passed: {time.monotonic() - begun:.0f} s", flush=True)
    return 0


def finished(some: Sequence[Running], beside: list[Running]) -> int:
    """Wait for some of those that run beside the others, and tell how each went."""
    for running in some:
        print(f"== {running.step.name}", flush=True)
        if code := told(running.step, running.finish(), running.seconds):
            return code
        beside.remove(running)
    return 0


def main(arguments: list[str]) -> int:
    """Choose the steps by the command's only argument."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        print("\n".join(f"  {step.name}: {shlex.join(step.command)}" for step in all_steps()))
        print("`all` runs them all, no argument those to the fast tests; `long` what takes hours.")
        return 0
    choices: dict[tuple[str, ...], Callable[[], list[Step]]] = {
        (): quick_steps,
        ("all",): all_steps,
        ("long",): long_steps,
        ("regenerate",): lambda: [Step("regenerate", [PYTHON, "-m", "tests.regenerate"])],
    }
    if tuple(arguments) not in choices:
        print(USAGE, file=sys.stderr)
        return 2
    return run(choices[tuple(arguments)]())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
