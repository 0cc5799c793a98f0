"""Cases notice what they are there for: each broken variant fails the case of its requirement."""

from __future__ import annotations

import pytest

from dmmp.conformance.case import Case, Feature, Verdict
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.in_process import InProcess
from dmmp.conformance.requirement import Role
from dmmp.conformance.runner import Plan, run_case
from dmmp.conformance.timing import VIRTUAL
from tests.conformance.mutants import GALLERY, Dead, Known, make


@pytest.mark.parametrize(
    "known",
    GALLERY,
    ids=[f"{each.role.value}-{getattr(each.mutant, '__name__', '')}" for each in GALLERY],
)
def test_mutant_is_caught(known: Known) -> None:
    def open_carrier(case: Case, seed: int) -> InProcess:
        return InProcess(known.role, "conformance", VIRTUAL.parameters, seed, make(known.mutant))

    plan = Plan(known.role, open_carrier, VIRTUAL)
    name = known.requirement.rstrip("/")
    cases = [case for case in choose_cases(known.role, [name]) if not case.needs]
    assert cases
    results = [run_case(case, plan) for case in cases]
    reasons = [result.reason for result in results if result.verdict is Verdict.FAILED]
    # What breaks down is no variant of a role, and would be caught by anything.
    assert any("Error: " not in reason for reason in reasons), reasons


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
def test_silence_passes_no_case(role: Role) -> None:
    def open_carrier(case: Case, seed: int) -> InProcess:
        second = Feature.SECOND_RP in case.needs
        parameters = VIRTUAL.parameters
        return InProcess(role, "conformance", parameters, seed, make(Dead), second_rp=second)

    plan = Plan(role, open_carrier, VIRTUAL, strict=True)
    passed = [
        case.id for case in choose_cases(role) if run_case(case, plan).verdict is Verdict.PASSED
    ]
    assert passed == []


def test_there_are_ten_of_them() -> None:
    assert len(GALLERY) >= 10
