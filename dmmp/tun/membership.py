"""The querier of the TUN: learns from its host's IGMP and MLD reports what the host wants.

Sans-IO, like a role: `receive`, `wake`, `next_alarm`. A TUN has exactly one host and its kernel
merges all programs, so a leave takes effect at once, without the last-member queries and delays of
a shared link; there is no election, and queries of others are ignored.
RFC 9776 §6-7 (IGMPv3), RFC 9777 §7-8 (MLDv2), RFC 4604 (source-specific groups).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from dmmp.errors import DecodeError, ParameterError
from dmmp.interest import FilterMode, Interest, interest, is_carried
from dmmp.tun import igmp, mld
from dmmp.tun.addresses import is_source_specific, querier_address
from dmmp.tun.packets import PROTOCOL_ICMPV6, PROTOCOL_IGMP, Buffer, IpPacket, parse
from dmmp.tun.reports import (
    Leave,
    MembershipMessage,
    OldReport,
    Query,
    Record,
    RecordType,
    Report,
    code_of,
)
from dmmp.types import Instant, IpAddress

_INCLUDES = (RecordType.MODE_IS_INCLUDE, RecordType.ALLOW_NEW_SOURCES)
_EXCLUDES = (RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE)
_MLD_RESPONSE_MANTISSA_BITS = 12


@dataclass(frozen=True, slots=True)
class QuerierParameters:
    """Timers and bounds of the querier. Seconds unless the name says otherwise.

    The draft has no host side, so the figures are ours: short, because a TUN has one host and costs
    nothing; each field names the section that defines it.
    """

    robustness: int = 2
    """RFC 9776 §8.1: how often a report is repeated, and so how many may be lost."""
    query_interval: float = 30.0
    """RFC 9776 §8.2: seconds between general queries; the RFC's 125 is for shared links."""
    response_interval: float = 1.0
    """RFC 9776 §8.3: within which the host answers a general query; the RFC's 10 spreads bursts."""
    startup_interval: float = 1.0
    """RFC 9776 §8.6: between the first two general queries, by which we learn earlier joins."""
    last_member_interval: float = 1.0
    """RFC 9776 §8.8: within which the host answers a query about one group."""
    max_groups_count: int = 1024
    """RFC 9776 §10 leaves bounds to us: groups at one time."""
    max_sources_count: int = 64
    """Sources of one group; Linux allows a socket 10 (igmp_max_msf)."""
    max_pairs_count: int = 10_000
    """Sources of all groups together."""
    max_reports_per_second: int = 200
    """Reports read per second, and at once; those beyond are dropped unread."""

    def __post_init__(self) -> None:
        """Refuse what the wire cannot say or a timer cannot mean."""
        if not 1 <= self.robustness <= 7:
            raise ParameterError("robustness is 1 to 7 (RFC 9776 §4.1.6)")
        if not 0 < self.response_interval < self.query_interval:
            raise ParameterError("the response interval is shorter than the query interval")

    @property
    def hold_time(self) -> float:
        """Give the time a membership lives unrenewed (RFC 9776 §8.4, §8.13)."""
        return self.robustness * self.query_interval + self.response_interval

    @property
    def last_member_time(self) -> float:
        """Give the time a source in doubt has left (RFC 9776 §8.10)."""
        return self.robustness * self.last_member_interval


DEFAULTS = QuerierParameters()


@dataclass(frozen=True, slots=True)
class TransmitQuery:
    """Write this IP packet to the TUN."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class InterestChanged:
    """The host's interest in one group is now this; `interest.is_none` is a leave."""

    interest: Interest


MembershipAction = TransmitQuery | InterestChanged


@dataclass(slots=True)
class _Group:
    """State of one group: RFC 9776 §6.2, with `requested` for A and X, `excluded` for Y."""

    group: IpAddress
    mode: FilterMode = FilterMode.INCLUDE
    until: Instant = 0.0
    requested: dict[IpAddress, Instant] = field(default_factory=dict)
    excluded: set[IpAddress] = field(default_factory=set)
    older_until: dict[int, Instant] = field(default_factory=dict)
    """Until when a host of an older version is remembered, per version (RFC 9776 §7.3.2)."""

    @property
    def interest(self) -> Interest:
        if self.mode is FilterMode.EXCLUDE:
            return interest(self.group, FilterMode.EXCLUDE, self.excluded)
        return interest(self.group, FilterMode.INCLUDE, self.requested)

    @property
    def source_count(self) -> int:
        return len(self.requested) + len(self.excluded)

    def older_version(self, now: Instant) -> int | None:
        """Give the oldest version heard of late: 1 or 2 (MLD: 1), None when all are current."""
        return min((v for v, until in self.older_until.items() if until > now), default=None)

    def next_expiry(self) -> Instant:
        times = list(self.requested.values())
        if self.mode is FilterMode.EXCLUDE:
            times.append(self.until)
        return min(times)

    def expire(self, now: Instant) -> None:
        """Let go of what was not renewed; EXCLUDE falls back to INCLUDE (RFC 9776 §6.5)."""
        self.requested = {s: until for s, until in self.requested.items() if until > now}
        if self.mode is FilterMode.EXCLUDE and self.until <= now:
            self.mode = FilterMode.INCLUDE
            self.excluded.clear()


class Membership:
    """What the programs of this host have joined, as their kernel reports it on the TUN.

    `ipv4` is the interface's own address, or None while it has none: then no IGMP query is sent and
    reports from any address count. The first `wake`, due at once, asks both families.
    """

    def __init__(
        self,
        ipv4: IPv4Interface | None,
        now: Instant,
        parameters: QuerierParameters = DEFAULTS,
    ) -> None:
        self.parameters = parameters
        self.drops: dict[str, int] = {}
        self._ipv4 = ipv4
        self._groups: dict[IpAddress, _Group] = {}
        self._pair_count = 0
        self._next_query: Instant = now
        self._query_count = 0
        self._allowance = float(parameters.max_reports_per_second)
        self._allowance_at = now
        self._next_expiry: Instant | None = None

    @property
    def interests(self) -> tuple[Interest, ...]:
        """Give everything wanted now, one record per group, in the order of joining."""
        return tuple(group.interest for group in self._groups.values())

    def receive(self, packet: Buffer, now: Instant) -> list[MembershipAction]:
        """Take one raw IP packet read from the TUN; drop and count what is no valid report."""
        if not self._allow(now):
            # What was lost is asked for again, soon instead of at the next interval.
            self._next_query = min(self._next_query, now + self.parameters.startup_interval)
            return self._drop("rate")
        try:
            header = parse(packet)
            message = self._decode(packet, header)
        except DecodeError:
            return self._drop("malformed")
        if message is None:
            return self._drop("not_membership")
        if isinstance(message, Query):
            return self._drop("query")
        if refused := self._refusal(header):
            return self._drop(refused)
        if isinstance(message, Report):
            return self._apply(message.records, now)
        return self._apply_old(message, now)

    def wake(self, now: Instant) -> list[MembershipAction]:
        """Do what is due: general queries, and the end of memberships nobody renewed."""
        actions: list[MembershipAction] = []
        expiry = self._expiry()
        if expiry is not None and expiry <= now:
            for group in list(self._groups.values()):
                if group.next_expiry() <= now:
                    before, pairs = group.interest, group.source_count
                    group.expire(now)
                    actions += self._settle(group, before, pairs)
        if self._next_query <= now:
            actions += self._ask(igmp.NO_GROUP) + self._ask(mld.NO_GROUP)
            self._query_count += 1
            starting = self._query_count < self.parameters.robustness
            interval = (
                self.parameters.startup_interval if starting else self.parameters.query_interval
            )
            self._next_query = now + interval
        return actions

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Tell when `wake` has something to do, and what."""
        expiry = self._expiry()
        if expiry is not None and expiry < self._next_query:
            return expiry, "membership ends"
        return self._next_query, "general query"

    def _expiry(self) -> Instant | None:
        if self._next_expiry is None and self._groups:
            self._next_expiry = min(group.next_expiry() for group in self._groups.values())
        return self._next_expiry

    def _allow(self, now: Instant) -> bool:
        limit = float(self.parameters.max_reports_per_second)
        elapsed = max(0.0, now - self._allowance_at)
        self._allowance = min(limit, self._allowance + elapsed * limit)
        self._allowance_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _drop(self, reason: str) -> list[MembershipAction]:
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return []

    @staticmethod
    def _decode(packet: Buffer, header: IpPacket) -> MembershipMessage | None:
        body = memoryview(packet)[header.payload_offset :]
        if header.is_fragment:
            return None
        if header.version == 4 and header.protocol == PROTOCOL_IGMP:
            return igmp.decode(body)
        if header.version == 6 and header.protocol == PROTOCOL_ICMPV6:
            return mld.decode(body, header.source, header.destination)
        return None

    def _refusal(self, header: IpPacket) -> str:
        """Name what is wrong with the header of a report (RFC 9776 §4.2.14, RFC 9777 §5.2.13)."""
        if header.ttl != 1:
            return "ttl"
        if isinstance(header.source, IPv4Address):
            unset = header.source.is_unspecified or self._ipv4 is None
            if not unset and self._ipv4 is not None and header.source not in self._ipv4.network:
                return "source"
            return ""
        if not header.source.is_link_local:
            return "source"
        return "" if header.router_alert else "router_alert"

    def _apply_old(self, message: OldReport | Leave, now: Instant) -> list[MembershipAction]:
        """Take an older message for the record it means (RFC 9776 §7.3.2)."""
        group = message.group
        if is_source_specific(group):
            return self._drop("source_specific")
        if isinstance(message, Leave):
            return self._apply((Record(RecordType.CHANGE_TO_INCLUDE, group),), now)
        actions = self._apply((Record(RecordType.MODE_IS_EXCLUDE, group),), now)
        if state := self._groups.get(group):
            state.older_until[message.version] = now + self.parameters.hold_time
        return actions

    def _apply(self, records: Iterable[Record], now: Instant) -> list[MembershipAction]:
        actions: list[MembershipAction] = []
        for record in records:
            if refused := self._unwanted(record):
                self._drop(refused)
                continue
            state = self._groups.get(record.group) or _Group(record.group)
            before, pairs = state.interest, state.source_count
            capacity = self.parameters.max_pairs_count - (self._pair_count - pairs)
            capacity = min(capacity, self.parameters.max_sources_count)
            understood = self._as_understood(state, record, now)
            asked = self._update(state, understood, now, capacity)
            # One report may hold several records of a group; each is a change of its own.
            actions += self._settle(state, before, pairs)
            if asked:
                actions += self._ask(record.group, asked)
        return actions

    def _unwanted(self, record: Record) -> str:
        """Name why a record is ignored, or give ""."""
        if not is_carried(record.group):
            return "link_local"
        if record.kind in _EXCLUDES and is_source_specific(record.group):
            return "source_specific"
        if record.group not in self._groups:
            if record.kind is RecordType.BLOCK_OLD_SOURCES:
                return "unknown_group"
            if record.kind not in _EXCLUDES and not record.sources:
                return "unknown_group"
            if len(self._groups) >= self.parameters.max_groups_count:
                return "groups"
        return ""

    def _as_understood(self, state: _Group, record: Record, now: Instant) -> Record:
        """Read a record as the oldest host of the group allows (RFC 9776 §7.3.2)."""
        older = state.older_version(now)
        if older is None:
            return record
        nothing = Record(RecordType.ALLOW_NEW_SOURCES, record.group)
        if record.kind is RecordType.BLOCK_OLD_SOURCES:
            return nothing
        if record.kind is RecordType.CHANGE_TO_INCLUDE and older == 1 and record.group.version == 4:
            # IGMPv1 knows no leave; its memberships end by time alone.
            return nothing
        if record.kind is RecordType.CHANGE_TO_EXCLUDE:
            return Record(record.kind, record.group)
        return record

    def _update(
        self, state: _Group, record: Record, now: Instant, capacity: int
    ) -> tuple[IpAddress, ...]:
        """Change the state of a group by the tables of RFC 9776 §6.4, for a single host.

        `capacity` bounds its sources. Give those to ask about: which the record leaves in doubt.
        """
        until = now + self.parameters.hold_time
        sources = record.sources
        if record.kind in _EXCLUDES:
            state.mode, state.until = FilterMode.EXCLUDE, until
            state.requested.clear()
            state.excluded.clear()
            state.excluded.update(self._fitting(state, sources, capacity))
        elif record.kind is RecordType.BLOCK_OLD_SOURCES:
            for source in sources:
                state.requested.pop(source, None)
            if state.mode is FilterMode.EXCLUDE:
                state.excluded.update(self._fitting(state, sources, capacity))
        elif record.kind in _INCLUDES:
            # IS_IN in EXCLUDE mode does not end it (§6.4.1): it may answer a query about sources.
            state.excluded.difference_update(sources)
            self._request(state, sources, until, capacity)
        else:
            return self._to_include(state, sources, now, capacity)
        return ()

    def _to_include(
        self, state: _Group, sources: tuple[IpAddress, ...], now: Instant, capacity: int
    ) -> tuple[IpAddress, ...]:
        """Apply TO_IN, which may come in several records when it has many sources (§4.2.16).

        An empty one ends everything. Otherwise sources of before that are missing may stand in
        another record: they are asked for and have the last-member time to be named again.
        """
        until = now + self.parameters.hold_time
        if state.mode is FilterMode.EXCLUDE or not sources:
            state.mode = FilterMode.INCLUDE
            state.excluded.clear()
            state.requested.clear()
        doubtful = tuple(source for source in state.requested if source not in sources)
        for source in doubtful:
            limit = now + self.parameters.last_member_time
            state.requested[source] = min(state.requested[source], limit)
        self._request(state, sources, until, capacity)
        return doubtful

    def _request(
        self, state: _Group, sources: tuple[IpAddress, ...], until: Instant, capacity: int
    ) -> None:
        for source in sources:
            if source in state.requested:
                state.requested[source] = until
        for source in self._fitting(state, sources, capacity):
            state.requested[source] = until

    def _fitting(
        self, state: _Group, sources: tuple[IpAddress, ...], capacity: int
    ) -> list[IpAddress]:
        """Give those of `sources` that the group has not and has room for; count the others."""
        added = [
            source
            for source in dict.fromkeys(sources)
            if source not in state.requested and source not in state.excluded
        ]
        room = max(capacity - state.source_count, 0)
        if len(added) > room:
            self.drops["sources"] = self.drops.get("sources", 0) + len(added) - room
        return added[:room]

    def _settle(self, state: _Group, before: Interest, pairs: int) -> list[MembershipAction]:
        """Keep or forget a changed group; tell if its interest is another now."""
        self._pair_count += state.source_count - pairs
        self._next_expiry = None
        after = state.interest
        if after.is_none:
            self._groups.pop(state.group, None)
        else:
            self._groups[state.group] = state
        return [] if after == before else [InterestChanged(after)]

    def _ask(self, group: IpAddress, sources: tuple[IpAddress, ...] = ()) -> list[MembershipAction]:
        """Build a query in the current version: general, of a group, or of sources of a group."""
        parameters = self.parameters
        general = not group.is_multicast
        response = parameters.response_interval if general else parameters.last_member_interval
        interval_code = code_of(round(parameters.query_interval))
        if isinstance(group, IPv4Address):
            if self._ipv4 is None:
                return []
            code = code_of(round(response * 10))
            query = Query(3, group, code, sources, False, parameters.robustness, interval_code)
            return [TransmitQuery(igmp.packet(query, querier_address(self._ipv4)))]
        code = code_of(round(response * 1000), _MLD_RESPONSE_MANTISSA_BITS)
        query = Query(2, group, code, sources, False, parameters.robustness, interval_code)
        return [TransmitQuery(mld.packet(query))]
