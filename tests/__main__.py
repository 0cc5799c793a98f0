"""`python -m tests`: the checks and the fast tests; `python -m tests all`: everything.

`python -m tests long` runs what takes hours and is in neither: all seeds, all modes, all sizes.
`python -m tests regenerate` writes the files that follow from the code.
Each step is named, timed and, when it fails, the last one: later steps would only bury its message.
Nothing here knows what is tested; the markers and settings are in `pyproject.toml`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable

USAGE = "usage: python -m tests [all | long | regenerate]"

Step = tuple[str, list[str]]

CHECKS: list[Step] = [
    ("format", [PYTHON, "-m", "ruff", "format", "--check", "."]),
    ("lint", [PYTHON, "-m", "ruff", "check", "."]),
    ("types", [PYTHON, "-m", "mypy"]),
    ("tidy", [PYTHON, "-m", "pytest", "-q", "tests/test_tidy.py"]),
]

FAST = "not slow and not namespace"
FAST_TESTS = ["--ignore=tests/test_tidy.py", "-m", FAST]


def fast_tests() -> list[str]:
    """Give the command for the fast tests: one worker a core, two at least."""
    workers = str(max(2, os.cpu_count() or 1))
    return [PYTHON, "-m", "pytest", "-q", "-n", workers, *FAST_TESTS]


def slow_tests(marks: str = "slow and not namespace and not long") -> list[str]:
    """Give the command for the long ones that need no device: as many at a time as the fast."""
    workers = str(max(2, os.cpu_count() or 1))
    return [PYTHON, "-m", "pytest", "-v", "-n", workers, "-m", marks]


def namespace_tests(marks: str = "namespace and not long") -> list[str]:
    """Give the command for the rest: one at a time, because they measure and share the machine.

    Without root the tests that need devices get a user namespace of their own.
    """
    command = [PYTHON, "-m", "pytest", "-v", "--durations=15", "-m", marks]
    if os.geteuid() != 0:
        return [PYTHON, "-m", "dmmp.demo.user_namespace", *command]
    return command


def run(steps: list[Step]) -> int:
    """Run the steps in order; stop at the first that fails and give its exit code."""
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    for name, command in steps:
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        seconds = time.monotonic() - begun
        if code != 0:
            print(f"== {name} FAILED after {seconds:.1f} s; again with:", flush=True)
            print(f"   {shlex.join(command)}", flush=True)
            return code if code > 0 else 128 - code
        print(f"== {name}: {seconds:.1f} s", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    """Choose the steps by the command's only argument."""
    steps = [*CHECKS, ("fast tests", fast_tests())]
    everything: list[Step] = [
        *steps,
        ("slow tests", slow_tests()),
        ("namespace tests", namespace_tests()),
    ]
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        print("\n".join(f"  {name}: {shlex.join(command)}" for name, command in everything))
        print("`all` runs them all, no argument all but the last two; `long` what takes hours.")
        return 0
    if arguments == ["all"]:
        steps = everything
    elif arguments == ["long"]:
        steps = [
            ("long tests", slow_tests("long and not namespace")),
            ("long namespace tests", namespace_tests("long and namespace")),
        ]
    elif arguments == ["regenerate"]:
        steps = [("regenerate", [PYTHON, "-m", "tests.regenerate"])]
    elif arguments:
        print(USAGE, file=sys.stderr)
        return 2
    return run(steps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
