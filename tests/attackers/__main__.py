"""`python -m tests.attackers all`: every attack with the full figures; without `all`, a list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.acceptance.lab import REPORT_VARIABLE
from tests.attacks import COUNT_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
FULL = 1_000_000
USAGE = "usage: python -m tests.attackers all [COUNT [pytest's words …]]\n"


def main(arguments: list[str]) -> int:
    """Run them all with COUNT datagrams each, a million unless it is said, and show the figures."""
    if arguments[:1] != ["all"]:
        names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
        sys.stdout.write(USAGE + "attackers: " + ", ".join(names) + "\n")
        return 0 if arguments in ([], ["-h"], ["--help"]) else 2
    count, words = FULL, arguments[1:]
    if words and words[0].isdigit():
        count, words = int(words[0]), words[1:]
    environment = dict(os.environ) | {COUNT_VARIABLE: str(count)}
    report = ROOT / "build" / "attacks.jsonl"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    environment.setdefault(REPORT_VARIABLE, str(report))
    command = [sys.executable, "-m", "pytest", "-v", "--durations=0", "tests/attacks", *words]
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    shown = Path(environment[REPORT_VARIABLE])
    if shown.exists():
        sys.stdout.write(shown.read_text())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
