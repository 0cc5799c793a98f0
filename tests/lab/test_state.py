"""What hosts remember is counted where it is kept, and for each role."""

from __future__ import annotations

import sys

import pytest

from dmmp.lab import overlay
from dmmp.lab.case import Case
from dmmp.lab.metrics import FIGURES
from dmmp.lab.state import bytes_of, state_figures
from dmmp.parameters import Parameters
from dmmp.roles.states import Joined


def test_bytes_are_those_of_everything_within_reach_once() -> None:
    inner = [1000001, 1000002]
    sizes = sum(map(sys.getsizeof, (inner, *inner)))

    assert bytes_of(inner) == sizes
    assert bytes_of([inner, inner]) == sys.getsizeof([0, 0]) + sizes


def test_what_all_hosts_share_counts_for_none() -> None:
    shared = (Parameters(), Joined, sys, test_what_all_hosts_share_counts_for_none)

    assert bytes_of(shared) == sys.getsizeof(shared)


@pytest.mark.slow
def test_each_role_has_its_figures() -> None:
    case = Case("dmmp", "transit-stub-10100", 48, 1)
    made = overlay.Run(case)
    made.join(20.0)
    made.world.run_until(60.0)

    found = state_figures(made.hosts, made.point, made.world.now)

    assert found.keys() <= FIGURES.keys()
    assert found["point_state_entries"] >= 48, "it knows every host"
    assert 0 < found["member_state_entries"] < found["core_state_entries"]
    assert found["core_state_entries"] <= found["state_entries_max"]
    for role in ("member", "core", "source", "point"):
        assert found[f"{role}_state_bytes"] > 1000


@pytest.mark.slow
def test_a_settled_run_tells_them() -> None:
    case = Case(
        "dmmp", "transit-stub-10100", 16, 1, seconds=5.0,
        options=(("joining", "5"), ("settling", "20")),
    )  # fmt: skip
    measured = overlay.run(case)

    assert measured.figures["source_state_bytes"] > measured.figures["member_state_bytes"] / 2
    assert len(measured.samples["state"]) == 15
