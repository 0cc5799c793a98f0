"""Whether another place is worth moving to: how much shorter the way from the source gets.

Among delays as they are in the Internet, hosts that each move to the shortest way that a few others
offer, and take another's place where there is none, come within some 30 % of what no tree can beat;
without taking places they stay at 60 % (Decision 75).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dmmp.parameters import Parameters
from dmmp.policies.parents import Candidate


class Way(NamedTuple):
    """A place below a candidate: the delay from the source there, and that of the last hop, µs."""

    candidate: Candidate
    delay_us: int
    hop_us: int

    def displaces(self, present_us: int, parameters: Parameters) -> bool:
        """Tell whether it is worth another host's detour: a child of the candidate that makes room
        and goes below the newcomer has at most two such hops more."""
        return present_us - self.delay_us > parameters.nearing_hops * self.hop_us


def ways(candidates: Sequence[Candidate], present_us: int, parameters: Parameters) -> list[Way]:
    """List the ways that are shorter than the present one by enough, the one worth most first.

    That is what it saves less the detour of a child that makes room: most places are taken.
    """
    least = max(parameters.nearing_ratio * present_us, parameters.nearing_least * 1e6)
    found = [
        Way(each, each.record.delay_us + hop_us, hop_us)
        for each in candidates
        if each.round_trip is not None
        for hop_us in [max(1, int(each.round_trip * 5e5))]
    ]
    found = [way for way in found if present_us - way.delay_us > least]
    return sorted(found, key=lambda way: (way.delay_us + 2 * way.hop_us, way.candidate.record.host))
