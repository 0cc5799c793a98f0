"""Which places are worth moving to."""

from __future__ import annotations

from dmmp.messages.common import HostRecord
from dmmp.parameters import Parameters
from dmmp.policies.nearing import ways
from dmmp.policies.parents import Candidate
from dmmp.types import HostId

PARAMETERS = Parameters()


def candidate(number: int, delay_us: int, round_trip: float | None) -> Candidate:
    return Candidate(HostRecord(host=HostId(number), delay_us=delay_us), round_trip)


def hosts(candidates: list[Candidate], present_us: int) -> list[int]:
    return [way.candidate.record.host for way in ways(candidates, present_us, PARAMETERS)]


def test_a_way_must_be_shorter_by_a_share_and_by_an_amount() -> None:
    near = candidate(1, 40_000, 0.010)
    assert hosts([near], 50_000) == [1]
    assert hosts([near], 46_900) == []
    # 3 % of 100 ms are more than 2 ms.
    assert hosts([candidate(2, 90_000, 0.014)], 100_000) == [] == hosts([], 100_000)
    assert hosts([candidate(2, 90_000, 0.013)], 100_000) == [2]


def test_the_hop_counts_twice_more_since_most_places_are_taken() -> None:
    far, close = candidate(1, 10_000, 0.040), candidate(2, 20_000, 0.024)
    assert hosts([far, close], 100_000) == [2, 1]
    first, second = ways([far, close], 100_000, PARAMETERS)
    assert (first.delay_us, first.hop_us, second.delay_us) == (32_000, 12_000, 30_000)


def test_who_was_not_measured_is_no_way() -> None:
    assert hosts([candidate(1, 10, None)], 100_000) == []


def test_a_child_makes_room_for_a_gain_of_more_than_two_hops() -> None:
    (way,) = ways([candidate(1, 20_000, 0.020)], 60_000, PARAMETERS)
    assert way.displaces(50_001, PARAMETERS) and not way.displaces(50_000, PARAMETERS)
