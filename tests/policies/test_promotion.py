"""When a child is so much more capable than its parent that they change places (slide 19)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from dmmp.errors import ParameterError
from dmmp.messages.common import HostRecord
from dmmp.policies.promotion import THRESHOLDS, by_out_degree
from tests.policies.drawn import PARAMETERS, hosts, record

SETTLED = int(PARAMETERS.promotion_uptime)


def beats(child: int, parent: int, child_uptime: int = SETTLED, parent_uptime: int = 100) -> bool:
    """Ask about two hosts of these out-degrees and uptimes."""
    return by_out_degree(
        record(1, child, uptime=child_uptime), record(2, parent, uptime=parent_uptime), PARAMETERS
    )


def test_twice_the_out_degree_is_enough() -> None:
    assert beats(8, 4)
    assert beats(9, 4)


def test_less_than_the_margin_more_never_is() -> None:
    assert not beats(2, 1)
    assert not beats(4, 4)
    assert not beats(5, 4, child_uptime=10_000)
    assert not beats(2, 8, child_uptime=10_000)


def test_in_between_the_longer_uptime_decides() -> None:
    assert beats(6, 4, child_uptime=101)
    assert not beats(6, 4, child_uptime=100)


def test_who_has_just_come_does_not_count() -> None:
    assert not beats(64, 1, child_uptime=SETTLED - 1)


@pytest.mark.parametrize("name", THRESHOLDS)
@given(hosts(at_least=2, at_most=2))
def test_never_both_ways(name: str, found: list[HostRecord]) -> None:
    """Or two hosts would change places for ever."""
    first, second = (replace(host, uptime=host.uptime * SETTLED) for host in found)
    rule = THRESHOLDS[name]
    assert not (rule(first, second, PARAMETERS) and rule(second, first, PARAMETERS))


def test_a_threshold_that_lets_equals_change_places_is_refused() -> None:
    with pytest.raises(ParameterError):
        replace(PARAMETERS, promotion_margin=0)
