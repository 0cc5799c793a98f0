"""Each deliberate mistake is caught by its case, and the true role passes that case."""

from __future__ import annotations

import pytest

from dmmp.conformance.case import Verdict
from dmmp.conformance.requirement import Role
from tests.conformance.broken_roles import BROKEN, Broken


def _name(broken: Broken) -> str:
    return f"{broken.role.value} {broken.name}".replace(" ", "-")


@pytest.mark.parametrize("broken", BROKEN, ids=_name)
def test_a_broken_role_is_caught(broken: Broken) -> None:
    """By the very case that is meant to."""
    result = broken.run()
    assert result.verdict is Verdict.FAILED, f"{broken.caught_by}: {result.verdict} {result.reason}"


@pytest.mark.parametrize("broken", BROKEN, ids=_name)
def test_the_true_role_passes_that_case(broken: Broken) -> None:
    """Otherwise it would be caught by what is wrong anyway."""
    result = broken.run_true()
    assert result.verdict is Verdict.PASSED, f"{broken.caught_by}: {result.reason}"


def test_enough_of_them() -> None:
    """Ten at least, of every role, each with a name of its own."""
    assert len({_name(broken) for broken in BROKEN}) == len(BROKEN) >= 10
    assert {broken.role for broken in BROKEN} == set(Role)
