"""Relatives beside parent and children: those asked when the parent fails, and those that ask here.

A parent names its children two backup parents and a few of their siblings (slides 18 and 22,
Decision 20). They are refreshed like a parent, so that their state is known when it is needed; who
is refreshed so knows the other in return, and gives it data on request (Decision 18). What is sent
and when is the roles' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dmmp.messages import DataRequest
from dmmp.messages.common import HostRecord, located
from dmmp.parameters import Parameters
from dmmp.roles.requests import RoundTrip
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

EARLY_HOLD = 0.5
"""Seconds a Data Request waits for the Refresh behind it."""

MOST_EARLY = 32
"""Data Requests that wait for one; older ones give way."""

_NEVER = float("-inf")


@dataclass(slots=True)
class Kin:
    """A relative that the parent named; `path` are the ids from it, itself first, to the source."""

    record: HostRecord
    endpoint: Endpoint
    path: tuple[HostId, ...] = ()
    super_node: HostId = NO_HOST
    heard: Instant = _NEVER
    refreshed: Instant = _NEVER
    """When it was last sent a Refresh."""
    round_trip: RoundTrip = field(default_factory=RoundTrip)

    @property
    def is_known(self) -> bool:
        """Tell whether it has agreed, so that it may be relied on."""
        return self.heard != _NEVER

    def refuses(self) -> None:
        """Rely on it no more, until it has agreed again: it said no, or is another host by now."""
        self.heard, self.path = _NEVER, ()


class Kinship:
    """The named relatives by id, in the order of naming, and the guests: who named this host."""

    def __init__(self, parameters: Parameters) -> None:
        self._most_guests = parameters.guests
        self.named: dict[HostId, Kin] = {}
        self.guests: dict[HostId, tuple[Endpoint, Instant]] = {}
        self._early: list[tuple[DataRequest, Endpoint, Instant]] = []

    def name(self, records: Iterable[HostRecord]) -> list[Kin]:
        """Take these for the named ones, keeping what is known of them; list those that are new."""
        kept: dict[HostId, Kin] = {}
        new: list[Kin] = []
        for record in records:
            held = self.named.get(record.host)
            if held is not None and held.endpoint == record.endpoint:
                kept[record.host] = held
            elif record.host not in kept:
                kept[record.host] = Kin(record, record.endpoint)
                new.append(kept[record.host])
        self.named = kept
        return new

    def at(self, endpoint: Endpoint) -> Kin | None:
        """Find a named relative by where it is."""
        return next((kin for kin in self.named.values() if kin.endpoint == endpoint), None)

    def heard(
        self,
        kin: Kin,
        record: HostRecord,
        path: tuple[HostId, ...],
        super_node: HostId,
        now: Instant,
    ) -> None:
        """Note what a named relative says of itself."""
        kin.record, kin.path = located(record, kin.endpoint), (record.host, *path)
        kin.super_node, kin.heard = super_node, now

    def goes(self, host: HostId, endpoint: Endpoint) -> bool:
        """Forget a host that said from there that it goes; tell if it was a named relative."""
        guest, _ = self.guests.get(host, (None, 0.0))
        if guest == endpoint:
            del self.guests[host]
        kin = self.named.get(host)
        if kin is None or kin.endpoint != endpoint:
            return False
        del self.named[host]
        return True

    def admit(self, host: HostId, endpoint: Endpoint, until: Instant) -> None:
        """Note a host that counts this one among its relatives; the longest unheard gives way."""
        self.guests.pop(host, None)
        while len(self.guests) >= self._most_guests:
            del self.guests[next(iter(self.guests))]
        self.guests[host] = (endpoint, until)

    def present_guests(self, now: Instant) -> list[Endpoint]:
        """List where the guests are."""
        return [endpoint for endpoint, until in self.guests.values() if until > now]

    def is_guest(self, endpoint: Endpoint, now: Instant) -> bool:
        """Tell whether a host at this endpoint counts this one among its relatives."""
        return any(held == endpoint and until > now for held, until in self.guests.values())

    def keep(self, request: DataRequest, sender: Endpoint, now: Instant) -> None:
        """Keep a request that came just ahead of the Refresh that entitles its sender to it."""
        kept = [early for early in self._early if early[2] > now][-MOST_EARLY + 1 :]
        self._early = [*kept, (request, sender, now + EARLY_HOLD)]

    def kept_for(self, sender: Endpoint, now: Instant) -> list[DataRequest]:
        """Give back the requests kept for a host."""
        found = [held for held, who, until in self._early if who == sender and until > now]
        self._early = [early for early in self._early if early[1] != sender]
        return found

    def expire(self, now: Instant) -> None:
        """Forget guests whose hold time is over."""
        for host in [host for host, (_, until) in self.guests.items() if until <= now]:
            del self.guests[host]
