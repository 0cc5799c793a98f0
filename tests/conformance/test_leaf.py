"""A member of out-degree 0 fails no case: what is about its children is unsupported."""

from __future__ import annotations

import pytest

from dmmp.conformance.case import Verdict
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.requirement import Role
from dmmp.conformance.runner import Result, in_process, run_case

NEEDED = (
    *("4/62", "4/71", "7/10", "7/36", "7/43", "7/44", "7/45", "7/50", "7/51", "7/53", "7/55"),
    *("8/14", "8/15", "8/16", "8/17", "8/27", "10/43"),
)
"""Some of what a leaf is tested for: its place, its parent's death, and what it misses."""


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    monkeypatch.setattr("dmmp.conformance.in_process.OUT_DEGREE", 0)
    plan = in_process(Role.MEMBER, strict=True)
    return {case.id: run_case(case, plan) for case in choose_cases(Role.MEMBER)}


def test_a_leaf_fails_nothing(results: dict[str, Result]) -> None:
    failed = {name: each.reason for name, each in results.items() if each.verdict is Verdict.FAILED}
    assert not failed
    unsupported = {each.reason for each in results.values() if each.verdict is Verdict.UNSUPPORTED}
    assert unsupported == {"it says that it takes no children: out-degree 0"}


def test_what_needs_no_children_is_tested(results: dict[str, Result]) -> None:
    for name, result in results.items():
        if name.partition(":")[0] in NEEDED:
            assert result.verdict is Verdict.PASSED, name
