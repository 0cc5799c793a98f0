"""The querier fed packets and time: what it says changed is what it holds, within its bounds.

An input is a row of steps: how long to wait, then a report made of small choices, a packet as it
is, or a wake.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

from dmmp.interest import Interest
from dmmp.tun import igmp, mld
from dmmp.tun.membership import (
    InterestChanged,
    Membership,
    MembershipAction,
    QuerierParameters,
    TransmitQuery,
)
from dmmp.tun.packets import parse
from dmmp.tun.reports import Leave, MembershipMessage, OldReport, Query, Record, RecordType, Report
from dmmp.types import IpAddress
from tests.fuzz.feed import Feed
from tests.fuzz.seeds import recorded_packets
from tests.fuzz.target import Target

PARAMETERS = QuerierParameters(
    max_groups_count=6, max_sources_count=4, max_pairs_count=10, max_reports_per_second=40
)
INTERFACE = IPv4Interface("198.18.0.9/15")
HOSTS = (IPv4Address("198.18.0.9"), IPv4Address("0.0.0.0"), IPv4Address("192.0.2.9"))
LINK_LOCAL = IPv6Address("fe80::2")
GROUPS: dict[int, tuple[IpAddress, ...]] = {
    4: tuple(
        IPv4Address(text)
        for text in (*(f"239.1.2.{n}" for n in range(1, 9)), "232.1.1.1", "224.0.0.5", "10.0.0.1")
    ),
    6: tuple(
        IPv6Address(text)
        for text in (*(f"ff15::{n}" for n in range(1, 9)), "ff35::1", "ff02::5", "2001:db8::1")
    ),
}
SOURCES: dict[int, tuple[IpAddress, ...]] = {
    4: tuple(IPv4Address(f"10.0.0.{n}") for n in range(1, 9)),
    6: tuple(IPv6Address(f"2001:db8::{n}") for n in range(1, 9)),
}
WAITS = (0.0, 0.001, 0.1, 1.0, 2.0, 30.0, 61.0, 100.0)
MOST_STEPS = 64


def drawn(feed: Feed) -> bytes:
    """Make a membership packet of small choices."""
    kind = feed.byte()
    version = 6 if kind & 1 else 4
    message: MembershipMessage
    if kind & 6 == 2:
        message = OldReport(1 + (kind >> 3 & 1 if version == 4 else 0), group(feed, version))
    elif kind & 6 == 4:
        message = Leave(group(feed, version))
    elif kind & 6 == 6:
        message = Query(3 if version == 4 else 2, group(feed, version), 10, sources(feed, version))
    else:
        message = Report(tuple(record(feed, version) for _ in range(1 + (kind >> 3 & 3))))
    if version == 4:
        return igmp.packet(message, HOSTS[0] if kind < 0xE0 else feed.choice(HOSTS))
    return mld.packet(message, LINK_LOCAL)


def group(feed: Feed, version: int) -> IpAddress:
    return feed.choice(GROUPS[version])


def record(feed: Feed, version: int) -> Record:
    return Record(RecordType(1 + feed.byte() % 6), group(feed, version), sources(feed, version))


def sources(feed: Feed, version: int) -> tuple[IpAddress, ...]:
    return tuple(feed.choice(SOURCES[version]) for _ in range(feed.byte() % 7))


def step(feed: Feed, machine: Membership, now: float) -> list[MembershipAction]:
    """Take one step of the input."""
    kind = feed.byte() % 8
    if kind == 0:
        return machine.wake(now)
    if kind == 1:
        return machine.receive(feed.take(feed.byte()), now)
    return machine.receive(drawn(feed), now)


def test_one(data: bytes) -> None:
    """Run a story, holding what the actions say against what the machine says."""
    feed, now = Feed(data), 100.0
    machine = Membership(INTERFACE, now, PARAMETERS)
    told: dict[IpAddress, Interest] = {}
    for _ in range(MOST_STEPS):
        if not feed:
            break
        now += feed.choice(WAITS)
        perform(step(feed, machine, now), told)
        check(machine, told)
    alarms = 0
    while told and (alarm := machine.next_alarm()) is not None:
        alarms += 1
        assert alarms < 1000, "memberships that nobody renews do not end"
        now = max(now, alarm[0])
        perform(machine.wake(now), told)
        check(machine, told)
        following = machine.next_alarm()
        assert following is not None and following[0] > now, "an alarm that fires for ever"
    assert machine._pair_count == 0


def perform(actions: list[MembershipAction], told: dict[IpAddress, Interest]) -> None:
    """Believe the changes; read the queries."""
    for action in actions:
        if isinstance(action, InterestChanged):
            changed = action.interest
            assert told.get(changed.group) != changed, "a change that is none"
            assert changed.group in told or not changed.is_none, "an end without a beginning"
            told[changed.group] = changed
            if changed.is_none:
                del told[changed.group]
            continue
        assert isinstance(action, TransmitQuery)
        header = parse(action.packet)
        body = action.packet[header.payload_offset :]
        if header.version == 4:
            assert isinstance(igmp.decode(body), Query)
        else:
            assert isinstance(mld.decode(body, header.source, header.destination), Query)


def check(machine: Membership, told: dict[IpAddress, Interest]) -> None:
    """Compare what was told with what is held, and the tables with their bounds."""
    held = {interest.group: interest for interest in machine.interests}
    assert held == told
    assert len(held) <= PARAMETERS.max_groups_count
    pairs = [len(interest.sources) for interest in held.values()]
    assert max(pairs, default=0) <= PARAMETERS.max_sources_count
    assert sum(pairs) <= PARAMETERS.max_pairs_count
    assert len(machine.drops) < 16


def seeds() -> Iterable[bytes]:
    for packet in recorded_packets():
        if len(packet) < 256:
            yield bytes((0, 1, len(packet))) + packet
    # Joins, leaves and time: a group each, all groups, both families, old and new.
    yield bytes((0, 2, 0, 4, 1, 0))
    yield b"".join(bytes((1, 2, 0x18, 4, n, 0, 5, n, 2, 0, 1, 3, n, 0, 4, n, 0)) for n in range(9))
    yield b"".join(bytes((2, 2, 1, 4, n, 3, 0, 1, 2, 3, 0)) for n in range(9))
    yield bytes((0, 2, 2, 3, 1, 2, 4, 3, 6, 0, 7, 0))
    yield bytes((0, 2, 10, 3, 1, 2, 4, 3, 1, 2, 0, 2, 3, 0, 5, 0))


TARGET = Target(
    "membership",
    "Membership.receive and wake raise nothing, tell every change, keep every bound, and end",
    test_one,
    seeds,
    most_bytes=1024,
)
