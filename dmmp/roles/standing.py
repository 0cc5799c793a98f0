"""What a host keeps whatever its role: identity, open requests, children, its programs' wishes.

`Become` hands this over as a whole, so that a change of role disturbs nobody below.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random
from typing import TypeVar

from dmmp.actions import Send
from dmmp.alarms import Alarms
from dmmp.interest import Interest, union
from dmmp.messages.common import NOT_JOINED_DEPTH, HostFlag, HostRecord
from dmmp.messages.schema import FieldValue, Message
from dmmp.parameters import Parameters
from dmmp.roles.kin import Kinship
from dmmp.roles.points import Points
from dmmp.roles.relatives import Children
from dmmp.roles.requests import Requests
from dmmp.types import (
    NO_HOST,
    NO_SESSION,
    NOWHERE,
    Endpoint,
    HostId,
    Instant,
    IpAddress,
    SessionId,
)

M = TypeVar("M", bound=Message)


class Alarm(Enum):
    """Why a host's role wants to be woken."""

    RETRY = "When to send a request again or give it up (Decision 9)."
    LOCATE = "When to look for the RP again, or to try another beside it (Decision 21)."
    REGISTER = "When to renew the registration at the RP (Decision 21)."
    SWEEP = "When to look for children and wishes whose hold time is over (Decision 10)."
    PROBES = "When to send the next round of probes (Decision 12)."
    PROBES_DONE = "When to stop waiting for answers to probes (Decision 12)."
    OFFERS_DONE = "When to choose among the offers of a place (slide 16)."
    JOIN_AGAIN = "When to seek a place again (-03 §6.3)."
    REFRESH = "When to renew the place at the parent (Decision 10)."
    ROOM = "When to tell the parent that room below came or went (Decision 14)."
    RETIRE = "When to stop accepting data from the parent before (Decision 16)."
    ADMIT = "When to answer the collected Cluster Requests (slide 9)."
    CHOOSE = "When to choose super nodes (slide 9)."
    MESH = "When to send link state to the mesh (Decision 10)."
    REBUILD = "When to compute the core tree: link state has settled (Decision 15)."
    IMPROVE = "When to compare oneself with the parent (-03 §6.8)."
    NEARER = "When to look at other places (Decision 75)."
    LOOKED = "When to compare the places that were looked at (Decision 75)."
    PROMOTION = "When to give up a promotion that is under way (-03 §6.8)."
    LEAVE = "When to go on with leaving, answered or not (slide 20)."
    CLAIM = "When to take the place of a dead super node, as its named successor (Decision 22)."


MOST_FREE = 0xFFFF
"""Free places that a record can tell of."""

MOST_DISTRUSTED = 16
"""Hosts that are distrusted at one time."""


@dataclass(frozen=True, slots=True)
class HostSetup:
    """What a host is told at its start; `instance` is a random 64-bit number of this start.

    `ordinary` says that its certificate does not let it be a super node (slide 23).
    """

    session_name: str
    rendezvous_points: tuple[Endpoint, ...]
    out_degree: int
    instance: int
    name: str = ""
    relay_only: bool = False
    ordinary: bool = False


class Standing:
    """See the module's docstring."""

    def __init__(self, setup: HostSetup, parameters: Parameters, rng: Random) -> None:
        self.setup = setup
        self.parameters = parameters
        self.rng = rng
        self.alarms = Alarms()
        self.requests = Requests(parameters, rng, partial(self.alarms.stop, Alarm.RETRY))
        self.children = Children(parameters)
        self.kinship = Kinship(parameters)
        self.wanted: dict[IpAddress, Interest] = {}
        self.distrusted: dict[HostId, Instant] = {}
        self.session: SessionId = NO_SESSION
        self.host: HostId = NO_HOST
        self.observed: Endpoint = NOWHERE
        self.tree_version = 0
        self.started: Instant = 0.0
        self.points = Points(setup.rendezvous_points)
        self.hosts = 0
        self.is_fed = False
        """Whether it ever had a parent: then its forwarder knows what it lacks (slide 17)."""
        self.super_nodes: tuple[HostRecord, ...] = ()
        self.calm_until: Instant = 0.0

    @property
    def rendezvous_silent(self) -> bool:
        """Tell whether no RP answers."""
        return self.points.all_silent()

    def registrars(self) -> list[Endpoint]:
        """List the RPs that must hear when this host goes (Decision 21)."""
        return [point.endpoint for point in self.points.registrars()] if self.host else []

    def make(self, cls: type[M], **fields: FieldValue) -> M:
        """Make a message of this host in its session."""
        return self._made(cls, self.requests.number(), fields)

    def answer(self, cls: type[M], request: Message, **fields: FieldValue) -> M:
        """Make the response to a request: it copies the sequence number (Decision 6)."""
        return self._made(cls, request.sequence, fields)

    def _made(self, cls: type[M], sequence: int, fields: dict[str, FieldValue]) -> M:
        return cls(
            session=self.session,
            source=self.host,
            sequence=sequence,
            tree_version=self.tree_version,
            **fields,
        )

    def ask(
        self,
        message: Message,
        to: Endpoint,
        now: Instant,
        tries: int = 0,
        any_sender: bool = False,
        wait: float = 0.0,
        backoff: float = 2.0,
    ) -> Send:
        """Open a request and arm its retransmission; 0 for `tries`, `wait` = as Decision 9 says."""
        tries = tries or self.parameters.retry_tries
        send, sequence, again = self.requests.open(
            message, to, now, tries, any_sender, wait, backoff
        )
        self.alarms.set(Alarm.RETRY, again, sequence)
        return send

    def record(
        self,
        now: Instant,
        flags: int = 0,
        depth: int | None = None,
        free: int = 0,
        delay_us: int = 0,
    ) -> HostRecord:
        """Describe this host to others."""
        if self.setup.relay_only:
            flags |= HostFlag.RELAY_ONLY
        if self.setup.ordinary:
            flags |= HostFlag.ORDINARY
        return HostRecord(
            host=self.host,
            endpoint=self.observed,
            flags=int(flags),
            depth=NOT_JOINED_DEPTH if depth is None else depth,
            out_degree=min(self.setup.out_degree, 0xFFFF),
            free_slots=min(free, MOST_FREE),
            uptime=max(0, int(now - self.started)),
            delay_us=delay_us,
        )

    def distrust(self, host: HostId, now: Instant) -> None:
        """Have nothing from a host for a while; of too many, those distrusted longest are forgiven.

        Not for good: who can forge addresses can make an honest host look like this.
        """
        self.distrusted.pop(host, None)
        self.distrusted[host] = now + self.parameters.distrust
        if len(self.distrusted) > MOST_DISTRUSTED:
            del self.distrusted[next(iter(self.distrusted))]

    def forgive(self, now: Instant) -> None:
        """Forget whom was distrusted long enough."""
        for host in [host for host, until in self.distrusted.items() if until <= now]:
            del self.distrusted[host]

    def wants(self) -> tuple[Interest, ...]:
        """Return what this host's own programs want."""
        return tuple(self.wanted.values())

    def subtree_wants(self) -> dict[IpAddress, Interest]:
        """Return the union of its own wishes and its children's, by group (Decision 25)."""
        merged = union([*self.wanted.values(), *self.children.interest()])
        return {record.group: record for record in merged}
