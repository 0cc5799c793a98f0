"""The arena: what is counted, and that a case always gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from dmmp.errors import UsageError
from dmmp.lab.arena import Arena, arena, rows_of
from dmmp.lab.case import Case
from dmmp.lab.failures import CHURNS, JOINS, SETTLED, Change, Plan
from dmmp.lab.frame import HEADERS, Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.star import REFRESH, Here
from dmmp.lab.score import WINDOW

DELAY = 0.02


def even(hosts: int, delay: float = DELAY) -> list[list[float]]:
    return [[0.0 if a == b else delay for b in range(hosts)] for a in range(hosts)]


class Line:
    """Host k sends on to host k + 1; what goes wrong is an attribute of the class."""

    copies = 1

    def __init__(self, host: int, hosts: int) -> None:
        self._next = host + 1 if host + 1 < hosts else None
        self.parent: int | None = None

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        assert isinstance(message, Data)
        self.parent = sender
        return self.originate(message, now)

    def wake(self, now: float) -> Sequence[Action]:
        return []

    def next_alarm(self) -> float | None:
        return None

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        on = [] if self._next is None else [Send(self._next, data)] * self.copies
        return [Deliver(data.number), *on]

    @property
    def children(self) -> Sequence[int]:
        return [] if self._next is None else [self._next]

    @property
    def state_entries(self) -> int:
        return len(self.children)


class Twice(Line):
    copies = 2


def line(
    hosts: int,
    kind: type[Line] = Line,
    delay: float = DELAY,
    changes: Sequence[Change] = (),
    *,
    loss: float = 0.0,
    limits: Sequence[float] | None = None,
) -> Arena:
    def make(
        host: int, source: int, meet: Sequence[int], degree: int, rng: Random, case: Case
    ) -> Relative:
        return kind(host, case.hosts)

    first = [Change(0.0, host, True) for host in range(hosts)]
    plan = Plan([*first, *changes], 0.0, 10.0, 60.0)
    case = Case("line", "even", hosts, 1, loss=loss, seconds=50.0)
    return Arena(case, make, even(hosts, delay), plan, limits=limits)


def figures(run: Arena) -> dict[str, float]:
    return run.play().measured(run.delays).figures


def test_a_line_is_measured_hop_by_hop() -> None:
    run = line(4)
    got = figures(run)
    assert got["delivery_ratio"] == got["connectivity"] == 1.0
    assert got["delay_mean"] == pytest.approx(2 * DELAY)
    assert got["stretch_max"] == pytest.approx(3.0)
    assert got["non_forwarders"] == 0.25
    assert got["out_degree_max"] == pytest.approx(1.0, abs=0.01)
    assert got["duplicates_per_packet"] == got["control_bytes"] == got["parent_changes"] == 0.0
    assert run.score.parents() == [-1, 0, 1, 2]


def test_what_comes_twice_is_counted_at_every_host() -> None:
    # Two copies to the first, each sent on twice by it, and so on: 1 + 3 + 7 too many.
    assert figures(line(4, Twice))["duplicates_per_packet"] == pytest.approx(11.0, abs=0.1)


def test_what_comes_late_is_lost_and_a_duplicate() -> None:
    got = figures(line(3, delay=WINDOW - 0.1))
    assert got["delivery_ratio"] == pytest.approx(0.5)
    assert got["duplicates_per_packet"] == pytest.approx(1.0, abs=0.1)


def test_who_is_down_is_not_counted_and_who_starves_is() -> None:
    at_the_end = figures(line(3, changes=[Change(30.0, 2, False)]))
    assert at_the_end["delivery_ratio"] == 1.0
    in_the_middle = line(3, changes=[Change(30.0, 1, False), Change(40.0, 1, True)])
    got = figures(in_the_middle)
    assert 0.85 < got["delivery_ratio"] < 0.9
    assert got["connectivity"] < 1.0
    # The same parent came back: nobody recovered by another one.
    assert in_the_middle.score.recoveries == []
    assert in_the_middle.score.joins[-1] == pytest.approx(DELAY, abs=0.1)


def test_loss_is_that_of_the_case() -> None:
    got = figures(line(3, loss=0.1))
    assert got["delivery_ratio"] == pytest.approx((0.9 + 0.81) / 2, abs=0.03)


def test_a_limited_uplink_queues_and_drops() -> None:
    packet = 8 * (100 + HEADERS)
    fast = figures(line(2, limits=[20.0 * packet] * 2))
    assert fast["delivery_ratio"] == 1.0
    assert fast["delay_mean"] == pytest.approx(DELAY + 0.05)
    slow = figures(line(2, limits=[5.0 * packet] * 2))
    assert slow["delivery_ratio"] == pytest.approx(0.5, abs=0.05)


def test_the_star_says_what_it_costs() -> None:
    run = arena(Case("star", "even", 20, 1, seconds=60.0), even(20))
    got = figures(run)
    assert got["delivery_ratio"] == 1.0
    assert got["stretch_max"] == pytest.approx(1.0)
    assert got["out_degree_max"] == pytest.approx(19.0, rel=0.02)
    assert got["control_bytes"] == pytest.approx(
        0.95 * (Here().octets + HEADERS) / REFRESH, rel=0.1
    )


def test_the_same_case_gives_the_same_and_another_seed_does_not() -> None:
    def outcome(seed: int) -> tuple[dict[str, float], int]:
        case = Case("nice+nack", "even", 24, seed, churn="nemo-high", loss=0.01, seconds=20.0)
        run = arena(case, even(24))
        return figures(run), run.events

    assert outcome(1) == outcome(1)
    assert outcome(1) != outcome(2)


@pytest.mark.parametrize("name", sorted(CHURNS))
def test_a_churn_is_a_list_that_makes_sense(name: str) -> None:
    plan = CHURNS[name](3, 60, 1800.0)
    assert plan == CHURNS[name](3, 60, 1800.0)
    assert plan.changes == sorted(plan.changes)
    up = [False] * 60
    for time, host, comes in plan.changes:
        assert up[host] != comes
        up[host] = comes
        assert comes or time >= SETTLED
        assert comes or host
    assert up[0]
    if name != "flash":
        assert sum(change.time <= JOINS for change in plan.changes) == 60
    if name not in ("none", "flash"):
        assert sum(change.time > SETTLED for change in plan.changes) > 5


def test_a_small_group_has_the_failures_of_a_large_one() -> None:
    small, large = CHURNS["nemo-high"](1, 10, 300.0), CHURNS["nemo-high"](1, 40, 300.0)
    later = [change for change in large.changes if change.host < 10 and change.time > SETTLED]
    assert [change for change in small.changes if change.time > SETTLED] == later


def test_mean_times_are_those_published() -> None:
    plan = CHURNS["nemo-high"](1, 400, 3000.0)
    late = [change for change in plan.changes if change.time > SETTLED + 1000.0]
    fails = sum(not change.up for change in late)
    # In the long run each host fails once in 300 + 120 s.
    assert fails == pytest.approx(399 * 2000.0 / 420.0, rel=0.1)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="no protocol 'nise'"):
        arena(Case("nise", "even", 4, 1), even(4))
    with pytest.raises(UsageError, match="no churn"):
        arena(Case("star", "even", 4, 1, churn="storm"), even(4))


def test_large_matrices_are_looked_up_alike() -> None:
    small = np.arange(9.0).reshape(3, 3)
    large = np.zeros((1501, 1501))
    large[3, 5] = 0.25
    assert rows_of(small)[1][2] == 5.0
    assert rows_of(large)[3][5] == 0.25
