"""Topologies: the same for the same seed, symmetric, never zero."""

from __future__ import annotations

from random import Random

import pytest

from dmmp.errors import UsageError
from dmmp.sim.topology import Uniform, topology

PLACES = 40


@pytest.mark.parametrize("name", ["uniform", "plane", "transit-stub"])
def test_delays_are_symmetric_and_repeatable(name: str) -> None:
    """Whole microseconds, above zero, no more than a tenth of a second."""
    one, two = topology(name, Random(3)), topology(name, Random(3))
    assert [one.attach() for _ in range(PLACES)] == list(range(PLACES))
    assert [two.attach() for _ in range(PLACES)] == list(range(PLACES))
    for first in range(PLACES):
        for second in range(first):
            delay = one.delay_us(first, second)
            assert isinstance(delay, int)
            assert 0 < delay < 150_000
            assert delay == one.delay_us(second, first) == two.delay_us(first, second)


@pytest.mark.parametrize("name", ["plane", "transit-stub"])
def test_another_seed_gives_another_internet(name: str) -> None:
    """Else twenty seeds would test one."""
    one, two = topology(name, Random(3)), topology(name, Random(4))
    for made in (one, two):
        made.attach(), made.attach()
    assert one.delay_us(0, 1) != two.delay_us(0, 1)


def test_single_delays_can_be_set() -> None:
    """For transcripts, where one host must be nearer than another."""
    made = Uniform(10_000)
    made.attach(), made.attach()
    made.set_delay(1, 0, 500)
    assert made.delay_us(0, 1) == made.delay_us(1, 0) == 500


def test_an_unknown_name_is_refused() -> None:
    """With the names there are."""
    with pytest.raises(UsageError, match="transit-stub"):
        topology("star", Random(1))
