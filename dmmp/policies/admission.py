"""What to answer an applicant: a place, a refusal, or passing its request down (slide 16)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dmmp.types import HostId


class Verdict(Enum):
    """The three answers, and the loop that forbids all of them (Decision 17)."""

    ADMIT = "a place here"
    PASS_DOWN = "to children with places below them"
    REFUSE = "full"
    LOOP = "the applicant is above this host"


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who asks, and what this host knows about it."""

    host: HostId
    has_place: bool
    may_pass: bool


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What the decision may look at: ids up to the source, places, free places below."""

    me: HostId
    root_path: tuple[HostId, ...]
    free_here: int
    free_below: int
    longest_path: int


def admit_first(applicant: Applicant, view: ClusterView) -> Verdict:
    """Admit while there is room, then pass down, then refuse (slide 16, Decisions 14 and 17)."""
    if applicant.host == view.me or applicant.host in view.root_path:
        return Verdict.LOOP
    if len(view.root_path) + 1 >= view.longest_path:
        return Verdict.REFUSE
    if applicant.has_place or view.free_here > 0:
        return Verdict.ADMIT
    if applicant.may_pass and view.free_below > 0:
        return Verdict.PASS_DOWN
    return Verdict.REFUSE
