"""Forwarding entries and the channels they govern: who sends, who wants, what a burst's plan is.

Entries are PIM's (S,G) and (*,G): the one of the origin comes before the one of `ANY_ORIGIN`.
Everything is keyed by session and origin, because any host may originate (Decision 24).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from operator import is_

from dmmp.actions import Branch, ForwardingEntry
from dmmp.forwarding.cache import Key
from dmmp.forwarding.channels import ORIGIN_MASK, Announced, Channel
from dmmp.forwarding.pace import Pace
from dmmp.forwarding.versions import Versions
from dmmp.interest import Interest, union
from dmmp.messages.header import VERSION
from dmmp.messages.options import Option
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, Instant, IpAddress

Wants = dict[IpAddress, Interest]
"""Interest by group, so that a channel finds its record at once."""

KEY_GROUP = ip_address("0.0.0.0")
"""What the channel of an origin's key messages has in place of a group: all branches get it."""

Admission = tuple[Endpoint, Channel]
"""A branch, and a channel it did not get before."""


def origin_key(session: int, origin: int) -> int:
    """Make the 64-bit number that names an origin as in the header: session, origin."""
    return session << 32 | origin


class Active:
    """An installed entry, with interest by group; pace and versions outlive a change of it."""

    __slots__ = (
        "branches",
        "changed",
        "deliver",
        "entry",
        "interests",
        "pace",
        "takes_keys",
        "versions",
        "wanted",
        "word",
    )

    def __init__(
        self,
        entry: ForwardingEntry,
        former: Active | None,
        pace: Pace,
        versions: Versions,
        takes_keys: bool = False,
    ) -> None:
        self.entry = entry
        self.takes_keys = takes_keys
        self.pace = pace
        self.versions = versions
        self.word = VERSION << 24 | entry.tree_version << 16 | Option.DATA
        self.interests: dict[Endpoint, tuple[Interest, ...]]
        self.branches: dict[Endpoint, Wants]
        self.changed: list[Endpoint] = []
        """The endpoints whose branch came, went or wants something else than before."""
        if former is None or not self._amend(former):
            self._build(former)
        self.deliver = _by_group(entry.deliver)
        self.wanted = bool(self.deliver) or any(self.branches.values())

    def _build(self, former: Active | None) -> None:
        """Lay out every branch; what it wants as before is what it was."""
        self.interests = {branch.endpoint: branch.interest for branch in self.entry.downstream}
        self.branches = {to: _kept(former, to, wants) for to, wants in self.interests.items()}
        if former is not None:
            self._compare(former, [*former.branches, *self.branches])

    def _amend(self, former: Active) -> bool:
        """Lay out the branches as before, but for a few in a row, or False if more is different.

        That is what differs when one of many children comes, goes or wants something else, and
        endpoints are slow to hash: here only theirs are.
        """
        before, after = former.entry.downstream, self.entry.downstream
        head = _in_common(before, after)
        tail = _in_common(before[head:][::-1], after[head:][::-1])
        gone, came = before[head : len(before) - tail], after[head : len(after) - tail]
        in_place = [one.endpoint for one in gone] == [one.endpoint for one in came]
        if (came and tail and not in_place) or len(former.branches) < len(before):
            return False
        self.interests, self.branches = dict(former.interests), dict(former.branches)
        for one in () if in_place else gone:
            del self.interests[one.endpoint], self.branches[one.endpoint]
        for one in came:
            if one.endpoint in self.branches and not in_place:
                return False
            self.interests[one.endpoint] = one.interest
            self.branches[one.endpoint] = _kept(former, one.endpoint, one.interest)
        self._compare(former, [one.endpoint for one in (*gone, *came)])
        return True

    def _compare(self, former: Active, endpoints: list[Endpoint]) -> None:
        before, after = former.branches, self.branches
        self.changed = [
            to for to in dict.fromkeys(endpoints) if before.get(to) is not after.get(to)
        ]

    def admits(self, endpoint: Endpoint, group: IpAddress, source: IpAddress) -> bool:
        """Tell whether this endpoint is a branch that wants packets from `source` to `group`."""
        wants = self.branches.get(endpoint)
        return wants is not None and _admits(wants, group, source)

    def is_wanted(self, group: IpAddress, source: IpAddress) -> bool:
        """Tell whether any branch wants packets from `source` to `group`."""
        return any(_admits(wants, group, source) for wants in self.branches.values())

    def delivers(self, channel: Channel) -> bool:
        """Tell whether this host's programs want the channel."""
        if channel.group == KEY_GROUP:
            return self.takes_keys
        return _admits(self.deliver, channel.group, channel.source)


class Table:
    """The entries, and the channels by origin key and number."""

    def __init__(self, parameters: Parameters, takes_keys: bool = False) -> None:
        self.takes_keys = takes_keys
        self.channels: dict[Key, Channel] = {}
        self.entries: dict[int, Active] = {}
        self._announced_count = 0
        self._parameters = parameters

    def resolve(self, key: int) -> Active | None:
        """Find the entry for an origin: its own, or the one for any."""
        return self.entries.get(key) or self.entries.get(key & ~ORIGIN_MASK)

    def in_session(self, session: int) -> Iterator[Channel]:
        """Go through the channels of a session."""
        for key, channel in self.channels.items():
            if key[0] >> 32 == session:
                yield channel

    def announced(self) -> list[Announced]:
        """List the channels of other hosts."""
        return [channel for channel in self.channels.values() if isinstance(channel, Announced)]

    def has_room(self) -> bool:
        """Tell whether one more channel of another host may be known."""
        return self._announced_count < self._parameters.channels

    def remove(self, channel: Channel) -> None:
        """Forget a channel."""
        del self.channels[channel.key]
        self._announced_count -= isinstance(channel, Announced)

    def add(self, channel: Channel) -> None:
        """Take in a channel that is not there."""
        self.channels[channel.key] = channel
        self._announced_count += isinstance(channel, Announced)
        active = self.resolve(channel.key[0])
        _govern(channel, active, _all_endpoints(channel, active))

    def install(self, entry: ForwardingEntry, now: Instant) -> list[Admission]:
        """Put an entry in force; list the (branch, channel) pairs that it newly admits."""
        key = origin_key(entry.session, entry.origin)
        former = self.entries.get(key)
        if former is not None and former.entry == entry:
            return []
        if former is None:
            pace = Pace(self._parameters)
            versions = Versions(entry.tree_version, self._parameters.hold_mesh, now)
        else:
            pace, versions = former.pace, former.versions
            versions.change(entry.tree_version, now)
        pace.patience = entry.patience
        active = self.entries[key] = Active(entry, former, pace, versions, self.takes_keys)
        changed: list[Endpoint] | None = None
        if former is not None:
            changed = active.changed
            if not active.wanted or not entry.upstream:
                # Upstream will stop, and rightly, or there is none. Where less is wanted, but
                # something, a needless probe is better than a failure overlooked.
                pace.reset()
            if former.entry.upstream[:1] != entry.upstream[:1]:
                pace.alive(now)
        admissions: list[Admission] = []
        for channel in self.in_session(entry.session):
            if self.resolve(channel.key[0]) is active:
                endpoints = _all_endpoints(channel, active) if changed is None else changed
                admissions += _govern(channel, active, endpoints)
        return admissions

    def withdraw(self, session: int, origin: int) -> list[Admission]:
        """Remove an entry; list what the one behind it newly admits."""
        gone = self.entries.pop(origin_key(session, origin), None)
        admissions: list[Admission] = []
        if gone is not None:
            gone.pace.reset()
            for channel in self.in_session(session):
                active = self.resolve(channel.key[0])
                admissions += _govern(channel, active, _all_endpoints(channel, active))
        return admissions


def _by_group(interests: tuple[Interest, ...]) -> Wants:
    return {record.group: record for record in union(interests)}


def _in_common(first: tuple[Branch, ...], second: tuple[Branch, ...]) -> int:
    """Count the branches at the beginning that are the same objects."""
    same = list(map(is_, first, second))
    return same.index(False) if False in same else len(same)


def _kept(former: Active | None, to: Endpoint, interests: tuple[Interest, ...]) -> Wants:
    if former is not None and former.interests.get(to) == interests:
        return former.branches[to]
    return _by_group(interests)


def _admits(wants: Wants, group: IpAddress, source: IpAddress) -> bool:
    if group == KEY_GROUP:
        return True
    record = wants.get(group)
    return record is not None and record.admits(source)


def _all_endpoints(channel: Channel, active: Active | None) -> list[Endpoint]:
    branches = () if active is None else active.branches
    return list(dict.fromkeys([*channel.wanting, *branches]))


def _govern(channel: Channel, active: Active | None, endpoints: list[Endpoint]) -> list[Admission]:
    """Bring a channel in line with its entry, as far as these endpoints go."""
    admissions: list[Admission] = []
    for endpoint in endpoints:
        wants = active is not None and active.admits(endpoint, channel.group, channel.source)
        if wants and endpoint not in channel.wanting:
            channel.wanting[endpoint] = None
            admissions.append((endpoint, channel))
        elif not wants:
            channel.wanting.pop(endpoint, None)
            channel.live_from.pop(endpoint, None)
    channel.delivers = active is not None and active.delivers(channel)
    channel.replan()
    if not channel.wanting and not channel.delivers:
        channel.pause()
    return admissions
