"""The external checks that need no protocol."""

from __future__ import annotations

import numpy as np
import pytest

from dmmp.lab.checks_static import (
    CHECKS,
    check_lossy_tree,
    check_multicast_cost,
    check_star,
    lossy_delivery,
    multicast_exponent,
    unrepaired_delivery,
)
from dmmp.lab.underlays import underlay


def test_checks_have_their_numbers() -> None:
    assert CHECKS.keys() == {1, 2, 13}


def test_multicast_cost_grows_slower_than_the_group() -> None:
    found = multicast_exponent("waxman-1024", (1,), sources=4)
    assert 0.7 < found.value < 0.9
    assert found.low < found.value < found.high


def test_lossy_trees_deliver_what_the_formula_says() -> None:
    made = underlay("waxman-1024", 1, 100)
    got, should, error = lossy_delivery(made, 0.1, 2)
    assert 0 < error < 0.01
    assert got == pytest.approx(should, abs=4 * error)
    assert 0.5 < should < 0.8


def test_failures_cost_what_the_formula_says() -> None:
    got, should, error = unrepaired_delivery(3, 2.0, 300.0, 1)
    assert should == pytest.approx(0.98)
    assert got == pytest.approx(np.exp(-0.02), abs=4 * error)


@pytest.mark.slow
def test_check_13_passes() -> None:
    told = check_lossy_tree()
    assert told.number == 13 and told.passed and not told.reported_only


@pytest.mark.slow
def test_check_2_passes() -> None:
    told = check_star()
    assert told.passed and "2047 copies" in told.measured


@pytest.mark.slow
def test_check_1_passes() -> None:
    told = check_multicast_cost()
    assert told.passed and "world" in told.measured


@pytest.mark.slow
@pytest.mark.parametrize("number", CHECKS)
def test_brief_checks_say_so_and_pass(number: int) -> None:
    told = CHECKS[number](brief=True)
    assert told.passed and told.is_brief and told.band, told
