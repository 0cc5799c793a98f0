"""Runners that need no protocol: what running, results and reports are tested with.

Processes of their own import them by name, so they stand in a module.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

from dmmp.lab.case import Case, Measured
from dmmp.lab.check import CheckResult

KILLS_ONCE, KILLS_ALWAYS, RAISES, SLOW = "kills-once", "kills-always", "raises", "slow"


def figures_of(case: Case) -> Measured:
    """Give figures and samples that follow from the case alone."""
    dice = Random(repr(case))
    base = 1.0 + len(case.protocol) / 10
    parents = [-1.0, *(float(dice.randrange(host)) for host in range(1, case.hosts))]
    return Measured(
        {
            "ratio_mean": base + 0.02 * dice.random(),
            "delivery_ratio": 1.0 - 0.01 * dice.random(),
            "control_bytes": 10.0 * case.hosts**0.5 * base,
        },
        {"stretch": [base + dice.random() for _ in range(200)], "parents": parents},
    )


def run(case: Case) -> Measured:
    """Do what the case's protocol is called; anything else gives figures."""
    marks = Path(case.option("marks"))
    if case.protocol == RAISES:
        raise ZeroDivisionError("a case that is wrong")
    if case.protocol == KILLS_ALWAYS:
        os.kill(os.getpid(), signal.SIGKILL)
    if case.protocol == KILLS_ONCE and not (marks / f"died-{case.seed}").exists():
        (marks / f"died-{case.seed}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if case.protocol == SLOW:
        time.sleep(0.3)
    return figures_of(case)


def _good(brief: bool) -> CheckResult:
    return CheckResult(2, "a good one", "1", "as published", True, band="1 to 2", is_brief=brief)


def _bad(brief: bool) -> CheckResult:
    raise ValueError("no such network")


CHECKS = {9: _bad, 2: _good}
