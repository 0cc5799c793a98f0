"""The leaf in C passes the conformance cases that it claims (interop/leaf-c/CLAIMS), over UDP."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dmmp.conformance.case import Case, Verdict
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.over_udp import Target
from dmmp.conformance.requirement import Level, Role
from dmmp.conformance.results import failure_lines
from dmmp.conformance.runner import Plan, run_all
from dmmp.conformance.secured_over_udp import opens
from dmmp.conformance.timing import REAL
from tests.leaf.test_among_members import LEAF, build

OUTPUT = "--output lo 239.255.77.1:47701"
JOBS = 16
"""Cases at a time: they wait most of the time."""

TRIES = 3
"""A machine with other work makes timers late; a case that passes at the third try can be."""

SHORT = 5.0
"""Seconds of protocol time: cases that take no longer run every day."""


def claims() -> dict[str, str]:
    """Read CLAIMS: case ids, each with the reason why it is not claimed, or nothing."""
    lines = (LEAF / "CLAIMS").read_text(encoding="utf-8").splitlines()
    told = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {case.removeprefix("-"): reason.strip() for case, _, reason in told}


def claimed() -> list[Case]:
    """List the cases that the leaf claims to pass."""
    return [case for case in choose_cases(Role.MEMBER) if claims().get(case.id) == ""]


def short_ones() -> list[Case]:
    """List of each requirement that is claimed the cases that are over soon."""
    return [case for case in claimed() if case.seconds <= SHORT]


def plan(program: Path) -> Plan:
    """Plan to test this program, started anew for each case."""
    leaf = shlex.quote(str(program))
    plain = f"{leaf} --listen {{listen}} --session {{session}} --rp {{rp}} [--rp {{rp2}}] {OUTPUT}"
    secured = f"{leaf} --listen {{listen}} --session-file {{session_file}}"
    target = Target(Role.MEMBER, "conformance", command=plain)
    opener = opens(target, f"{secured} --credential {{credential}} {OUTPUT}")
    return Plan(Role.MEMBER, opener, REAL, strict=True, tries=TRIES)


def check(cases: list[Case], program: Path) -> None:
    """Run the cases; all of them pass."""
    results = list(run_all(cases, plan(program), JOBS))
    others = [result for result in results if result.verdict is not Verdict.PASSED]
    told = [line for result in others for line in failure_lines(result, "")]
    assert len(results) == len(cases)
    assert not others, "\n".join(told)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the leaf as users build it."""
    return build(tmp_path_factory.mktemp("leaf"))


def test_each_case_is_claimed_or_the_reason_told() -> None:
    known = {case.id: case.requirement.level for case in choose_cases(Role.MEMBER)}
    told = claims()
    assert set(told) <= set(known)
    musts = {name for name, level in known.items() if level is Level.MUST}
    assert musts <= set(told)
    for name in told:
        line = f"-{name} " if told[name] else name
        assert line in (LEAF / "CLAIMS").read_text(encoding="utf-8")
    assert len(claimed()) > len(known) / 3


@pytest.mark.namespace
@pytest.mark.slow
def test_it_passes_the_short_cases_that_it_claims(program: Path) -> None:
    check(short_ones(), program)


@pytest.mark.namespace
@pytest.mark.slow
@pytest.mark.long
def test_it_passes_every_case_that_it_claims(program: Path) -> None:
    check(claimed(), program)
