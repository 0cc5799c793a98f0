"""The states of hosts, each with the fields that mean something in it (slides 14-20, -03 §6).

Idle, Locating, Registering come first, whatever the role. A member probes, asks, confirms, is
joined, or waits; a super node offers itself before it asks. The source is rooted. Leaving and
Gone end every life.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dmmp.messages import JoinNotification, JoinRequest, PromotionRequest
from dmmp.messages.common import HostRecord
from dmmp.policies.parents import Candidate
from dmmp.roles.relatives import Child
from dmmp.types import Endpoint, HostId

NOBODY = HostRecord()
"""No host: the record that names none."""


class LeavingStep(Enum):
    """What a leaving host waits for, in this order (slides 20 and 21)."""

    ELECTION = "the heir to have become a super node"
    CHILDREN = "the other children to have other parents"
    HEIR = "the heir to have its own place"
    GOODBYE = "the last answers"


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent: what it said of itself, where it is, the ids from it up to the source."""

    record: HostRecord
    endpoint: Endpoint
    path: tuple[HostId, ...]
    super_node: HostId
    backups: tuple[HostRecord, ...] = ()
    siblings: tuple[HostRecord, ...] = ()
    successor: HostRecord = NOBODY


@dataclass(frozen=True, slots=True)
class Offer:
    """A place that was offered and is reserved for a short while."""

    candidate: Candidate
    super_node: HostId
    path: tuple[HostId, ...]


# The part a host has in a promotion, beside its state (-03 §6.8); one at a time.


@dataclass(frozen=True, slots=True)
class Climbing:
    """X: has asked its parent P for its place; `below` is P as the child that it is to be.

    `offer` is the place at G, P's parent, once it is taken up.
    """

    parent: HostId
    endpoint: Endpoint
    asked: int
    agreed: bool = False
    grandparent: HostRecord | None = None
    found: Offer | None = None
    below: Child | None = None
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Yielding:
    """P: gives its place at G to X; `offer` is its own place below X, once it is taken up.

    `doubted`: the flow stopped meanwhile, so that X may have got the place and died.
    """

    applicant: HostRecord
    request: PromotionRequest
    grandparent: Endpoint
    agreed: bool = False
    doubted: bool = False
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Exchanging:
    """G: takes X for its child in place of P as soon as X confirms."""

    child: HostId
    endpoint: Endpoint
    applicant: HostRecord
    agreed: bool = True
    offer: None = None


@dataclass(frozen=True, slots=True)
class Following:
    """Y: goes from P, which told it to, to X if that has room."""

    told: JoinNotification
    former: Endpoint
    asked: int
    agreed: bool = True
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Nearing:
    """X: asks `candidate` for a place with a shorter way; `offer` is that, once it is taken up."""

    asked: int
    candidate: Candidate
    agreed: bool = False
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Displacing:
    """C: has sent its child away to make room for the applicant, who asked with `request`."""

    child: HostId
    endpoint: Endpoint
    applicant: HostRecord
    request: JoinRequest
    agreed: bool = True
    offer: None = None


Part = Climbing | Yielding | Exchanging | Following | Nearing | Displacing


@dataclass(frozen=True, slots=True)
class Idle:
    """Not started."""


@dataclass(frozen=True, slots=True)
class Locating:
    """Asking an RP for the session (Decision 23)."""


@dataclass(frozen=True, slots=True)
class Registering:
    """Asking the RP for an identity (-03 §6.1)."""


@dataclass(frozen=True, slots=True)
class Probing:
    """Measures the round trip to candidates (Decision 12): the least of each, in seconds.

    `previous` still serves it, if any.
    """

    candidates: tuple[HostRecord, ...]
    building: bool
    round_trips: tuple[float | None, ...]
    rounds_left: int
    waiting: int = 0
    previous: Parent | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """Has asked for a place and collects offers; `previous` still serves it, if any."""

    candidates: tuple[Candidate, ...]
    asked: frozenset[int] = frozenset()
    tried: frozenset[Endpoint] = frozenset()
    offers: tuple[Offer, ...] = ()
    building: bool = False
    previous: Parent | None = None


@dataclass(frozen=True, slots=True)
class Confirming:
    """Takes up an offer; `others` are next if it fails, `previous` serves until it succeeds.

    `then` are the candidates to ask when none of them confirms: backups need no asking.
    """

    offer: Offer
    others: tuple[Offer, ...] = ()
    previous: Parent | None = None
    moving: bool = False
    then: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """Has a parent; data is still accepted from `retiring` for a moment."""

    parent: Parent
    retiring: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Found no place; tries again at the alarm."""

    previous: Parent | None = None


@dataclass(frozen=True, slots=True)
class Offering:
    """Registered as willing; waits for the source's Setup Request."""


@dataclass(frozen=True, slots=True)
class Rooted:
    """Is the root of the mesh."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Is on its way out (slide 20): `parent` and it still serve those below that have not moved.

    `heir` is the child elected to take its place, if any; `step` says what is waited for:
    the heir's election, the other children's moves, the heir's own, the last answers.
    """

    waiting_for: frozenset[Endpoint] = frozenset()
    parent: Parent | None = None
    heir: HostRecord = NOBODY
    step: LeavingStep = LeavingStep.GOODBYE


@dataclass(frozen=True, slots=True)
class Gone:
    """Has left; answers nothing any more."""
