"""The querier in virtual time: recorded reports, each rule of the state tables, and bounds."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import ParameterError
from dmmp.interest import FilterMode, Interest, interest, no_interest
from dmmp.tun import igmp, mld
from dmmp.tun.membership import (
    DEFAULTS,
    InterestChanged,
    Membership,
    MembershipAction,
    QuerierParameters,
    TransmitQuery,
)
from dmmp.tun.packets import parse
from dmmp.tun.reports import (
    Leave,
    MembershipMessage,
    OldReport,
    Query,
    Record,
    RecordType,
    Report,
)
from dmmp.types import IpAddress
from tests.tun.vectors import named, recorded

HOME = IPv4Interface("10.99.0.2/24")
IN, EX = FilterMode.INCLUDE, FilterMode.EXCLUDE
HOLD = DEFAULTS.hold_time


def _ips(text: str) -> tuple[IpAddress, ...]:
    return tuple(ip_address(word) for word in text.split())


def _wish(group: str, mode: FilterMode = EX, sources: str = "") -> Interest:
    return interest(ip_address(group), mode, _ips(sources))


def _packet(message: MembershipMessage, six: bool = False) -> bytes:
    if six:
        return mld.packet(message, IPv6Address("fe80::2"))
    return igmp.packet(message, IPv4Address("10.99.0.2"))


def _report(kind: RecordType, group: str, sources: str = "") -> bytes:
    address = ip_address(group)
    return _packet(Report((Record(kind, address, _ips(sources)),)), address.version == 6)


def _started(parameters: QuerierParameters = DEFAULTS) -> Membership:
    membership = Membership(HOME, 0.0, parameters)
    membership.wake(0.0)
    return membership


def _changes(actions: list[MembershipAction]) -> list[Interest]:
    return [action.interest for action in actions if isinstance(action, InterestChanged)]


def _queries(actions: list[MembershipAction]) -> list[bytes]:
    return [action.packet for action in actions if isinstance(action, TransmitQuery)]


def _asked(packet: bytes) -> Query:
    header = parse(packet)
    body = packet[header.payload_offset :]
    if header.version == 4:
        message = igmp.decode(body)
    else:
        message = mld.decode(body, header.source, header.destination)
    assert isinstance(message, Query)
    return message


def test_start_asks_both_families_twice_then_at_the_interval() -> None:
    membership = Membership(HOME, 5.0)
    times = []
    for _ in range(4):
        alarm = membership.next_alarm()
        assert alarm is not None and alarm[1] == "general query"
        packets = _queries(membership.wake(alarm[0]))
        assert [packet[0] >> 4 for packet in packets] == [4, 6]
        times.append(alarm[0])
    assert times == [5.0, 6.0, 36.0, 66.0]
    assert membership.wake(67.0) == []


def test_general_queries_have_the_recorded_bytes() -> None:
    # The crafted queries that Linux answered: response 1 s, robustness 2, interval 125 s.
    parameters = QuerierParameters(query_interval=125.0)
    four, six = _queries(Membership(HOME, 0.0, parameters).wake(0.0))
    assert four == named("inject-igmpv3-general-query-src-10-99-0-1-ra-tt-01").packet
    assert six == named("inject-mldv2-gq-from-fe80-1-hop1-ra-mrd-1s-01").packet


def test_without_an_ipv4_address_only_mld_is_asked() -> None:
    membership = Membership(None, 0.0)
    assert [packet[0] >> 4 for packet in _queries(membership.wake(0.0))] == [6]
    assert _changes(membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.1.2.3"), 0.0))


RECORDED = [
    ("linux-host-igmpv3-report-01", [_wish("239.1.2.3")]),
    ("linux-host-igmpv3-report-03", [_wish("232.1.1.1", IN, "10.99.0.77")]),
    ("linux-host-igmpv3-report-09", [_wish("239.9.9.9", EX, "10.99.0.66")]),
    (
        "linux-host-igmpv3-report-11",
        [
            _wish("239.9.9.9", EX, "10.99.0.66"),
            _wish("232.1.1.1", IN, "10.99.0.78"),
            _wish("239.1.2.3"),
        ],
    ),
    ("linux-host-igmpv2-report-01", [_wish("239.1.2.3")]),
    ("linux-host-igmpv2-report-07", []),
    ("linux-host-igmpv1-report-02", [_wish("239.1.2.3")]),
    ("linux-host-mldv2-report-01", [_wish("ff15::1234")]),
    ("linux-host-mldv2-report-03", [_wish("ff3e::4321", IN, "fd99::77")]),
    ("linux-host-mldv2-report-05", [_wish("ff15::9999", EX, "fd99::66")]),
    ("linux-host-mldv1-report-01", [_wish("ff15::1234")]),
    ("linux-host-mldv1-report-03", []),
]


@pytest.mark.parametrize(("name", "expected"), RECORDED)
def test_recorded_reports_become_interest(name: str, expected: list[Interest]) -> None:
    membership = _started()
    assert _changes(membership.receive(named(name).packet, 1.0)) == expected
    assert list(membership.interests) == expected
    assert membership.receive(named(name).packet, 1.1) == []


@pytest.mark.parametrize(
    ("join", "leave"),
    [
        ("linux-host-igmpv3-report-01", "linux-host-igmpv3-report-18"),
        ("linux-host-igmpv2-report-02", "linux-host-igmpv2-leave-01"),
        ("linux-host-igmpv3-report-03", "linux-host-igmpv3-report-07"),
        ("linux-host-mldv1-report-04", "linux-host-mldv1-done-01"),
        ("linux-host-mldv2-report-10", "linux-host-mldv2-report-12"),
    ],
)
def test_recorded_leaves_take_effect_at_once(join: str, leave: str) -> None:
    membership = _started()
    (joined,) = _changes(membership.receive(named(join).packet, 1.0))
    assert membership.receive(named(leave).packet, 1.5) == [
        InterestChanged(no_interest(joined.group))
    ]
    assert membership.interests == ()
    assert membership.receive(named(leave).packet, 1.6) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("inject-to-ex-239-5-5-7-ttl5-01", "ttl"),
        ("inject-off-subnet-01", "source"),
        ("inject-v3-gq-01", "query"),
        ("inject-v3-gq-bad-checksum-01", "malformed"),
        ("linux-host-rs-01", "malformed"),
        ("linux-host-mldv2-report-14", "source"),
        ("linux-host-igmpv2-report-07", "source_specific"),
        ("frr-pimd-8-4-4-igmpv3-report-01", "link_local"),
    ],
)
def test_recorded_packets_that_count_for_nothing(name: str, reason: str) -> None:
    home = IPv4Interface("10.97.0.2/24") if "off" in name or "frr" in name else HOME
    membership = Membership(home, 0.0)
    assert membership.receive(named(name).packet, 0.0) == []
    assert set(membership.drops) == {reason}


def test_mld_without_router_alert_or_with_another_hop_limit_is_refused() -> None:
    membership = _started()
    packet = bytearray(_report(RecordType.CHANGE_TO_EXCLUDE, "ff15::1"))
    packet[7] = 2
    assert membership.receive(packet, 0.0) == []
    packet[7] = 1
    packet[42] = 1  # The router alert becomes padding.
    assert membership.receive(packet, 0.0) == []
    assert membership.drops == {"ttl": 1, "router_alert": 1}


A, B, X = "10.0.0.1", "10.0.0.2", "10.0.0.3"
INC_A, EXC_X = (RecordType.ALLOW_NEW_SOURCES, A), (RecordType.CHANGE_TO_EXCLUDE, X)
TABLE = [
    (INC_A, (RecordType.MODE_IS_INCLUDE, B), IN, f"{A} {B}"),
    (INC_A, (RecordType.MODE_IS_EXCLUDE, B), EX, B),
    (INC_A, (RecordType.ALLOW_NEW_SOURCES, B), IN, f"{A} {B}"),
    (INC_A, (RecordType.BLOCK_OLD_SOURCES, B), IN, A),
    (INC_A, (RecordType.BLOCK_OLD_SOURCES, A), IN, ""),
    (INC_A, (RecordType.CHANGE_TO_EXCLUDE, A), EX, A),
    (INC_A, (RecordType.CHANGE_TO_INCLUDE, B), IN, f"{A} {B}"),
    (INC_A, (RecordType.CHANGE_TO_INCLUDE, ""), IN, ""),
    (EXC_X, (RecordType.MODE_IS_INCLUDE, A), EX, X),
    (EXC_X, (RecordType.MODE_IS_INCLUDE, X), EX, ""),
    (EXC_X, (RecordType.MODE_IS_EXCLUDE, B), EX, B),
    (EXC_X, (RecordType.ALLOW_NEW_SOURCES, X), EX, ""),
    (EXC_X, (RecordType.BLOCK_OLD_SOURCES, A), EX, f"{A} {X}"),
    (EXC_X, (RecordType.CHANGE_TO_EXCLUDE, ""), EX, ""),
    (EXC_X, (RecordType.CHANGE_TO_INCLUDE, A), IN, A),
    (EXC_X, (RecordType.CHANGE_TO_INCLUDE, ""), IN, ""),
]


@pytest.mark.parametrize(("held", "heard", "mode", "sources"), TABLE)
def test_state_table(
    held: tuple[RecordType, str], heard: tuple[RecordType, str], mode: FilterMode, sources: str
) -> None:
    membership = _started()
    membership.receive(_report(held[0], "239.1.1.1", held[1]), 1.0)
    before = membership.interests
    actions = membership.receive(_report(heard[0], "239.1.1.1", heard[1]), 2.0)
    after = _wish("239.1.1.1", mode, sources)
    assert membership.interests == (() if after.is_none else (after,))
    assert _changes(actions) == ([] if before == (after,) else [after])


def test_sources_missing_from_a_change_to_include_are_asked_for_and_then_let_go() -> None:
    membership = _started()
    group = "239.1.1.1"
    membership.wake(1.0)
    membership.receive(_report(RecordType.ALLOW_NEW_SOURCES, group, f"{A} {B}"), 1.0)
    actions = membership.receive(_report(RecordType.CHANGE_TO_INCLUDE, group, X), 2.0)
    assert _changes(actions) == [_wish(group, IN, f"{A} {B} {X}")]
    (query,) = _queries(actions)
    assert str(parse(query).destination) == group
    assert (str(_asked(query).group), _asked(query).sources) == (group, _ips(f"{A} {B}"))
    membership.receive(_report(RecordType.MODE_IS_INCLUDE, group, B), 2.5)
    assert membership.next_alarm() == (2.0 + DEFAULTS.last_member_time, "membership ends")
    assert _changes(membership.wake(4.0)) == [_wish(group, IN, f"{B} {X}")]


def test_unrenewed_state_expires() -> None:
    membership = _started(QuerierParameters(query_interval=1e6))
    hold = QuerierParameters(query_interval=1e6).hold_time
    membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.1.1.1"), 10.0)
    membership.receive(_report(RecordType.ALLOW_NEW_SOURCES, "ff3e::1", "fd00::1"), 20.0)
    membership.receive(_report(RecordType.MODE_IS_EXCLUDE, "239.1.1.1"), 30.0)
    ends: list[tuple[float, Interest]] = []
    while (alarm := membership.next_alarm()) is not None and membership.interests:
        ends += [(alarm[0], change) for change in _changes(membership.wake(alarm[0]))]
    assert ends == [
        (20.0 + hold, no_interest(ip_address("ff3e::1"))),
        (30.0 + hold, no_interest(ip_address("239.1.1.1"))),
    ]


def test_exclude_falls_back_to_the_sources_named_since() -> None:
    membership = _started()
    membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.1.1.1"), 1.0)
    membership.receive(_report(RecordType.MODE_IS_INCLUDE, "239.1.1.1", A), 2.0)
    assert membership.interests == (_wish("239.1.1.1"),)
    assert _changes(membership.wake(1.0 + HOLD)) == [_wish("239.1.1.1", IN, A)]
    assert _changes(membership.wake(2.0 + HOLD)) == [no_interest(ip_address("239.1.1.1"))]


def test_answers_to_general_queries_keep_a_membership_alive() -> None:
    membership = _started()
    join = _report(RecordType.CHANGE_TO_EXCLUDE, "239.1.1.1")
    membership.receive(join, 0.0)
    now = 0.0
    while now < 10 * HOLD:
        alarm = membership.next_alarm()
        assert alarm is not None and alarm[1] == "general query"
        now = alarm[0]
        assert _changes(membership.wake(now)) == []
        answer = _report(RecordType.MODE_IS_EXCLUDE, "239.1.1.1")
        assert membership.receive(answer, now + DEFAULTS.response_interval) == []


def test_old_hosts_limit_what_records_mean() -> None:
    membership = _started()
    group = ip_address("239.1.1.1")
    membership.receive(_packet(OldReport(2, group)), 0.0)
    membership.receive(_report(RecordType.BLOCK_OLD_SOURCES, "239.1.1.1", A), 1.0)
    membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.1.1.1", A), 1.0)
    assert membership.interests == (_wish("239.1.1.1"),)
    membership.receive(_packet(OldReport(1, group)), 2.0)
    assert membership.receive(_packet(Leave(group)), 3.0) == []
    assert membership.receive(_report(RecordType.CHANGE_TO_INCLUDE, "239.1.1.1"), 3.0) == []
    # The older host's timer has run out, the membership was renewed.
    membership.receive(_report(RecordType.MODE_IS_EXCLUDE, "239.1.1.1"), 10.0)
    assert _changes(membership.receive(_packet(Leave(group)), 2.0 + HOLD)) == [no_interest(group)]


def test_mld_version_1_knows_leaving() -> None:
    membership = _started()
    group = ip_address("ff15::1")
    membership.receive(_packet(OldReport(1, group), six=True), 0.0)
    membership.receive(_report(RecordType.BLOCK_OLD_SOURCES, "ff15::1", "fd00::1"), 0.5)
    assert membership.interests == (_wish("ff15::1"),)
    assert _changes(membership.receive(_packet(Leave(group), six=True), 1.0)) == [
        no_interest(group)
    ]


@pytest.mark.parametrize("group", ["232.1.1.1", "ff3e::1"])
def test_source_specific_groups_have_no_other_joins(group: str) -> None:
    membership = _started()
    address = ip_address(group)
    for message in (
        OldReport(1, address),
        Report((Record(RecordType.MODE_IS_EXCLUDE, address),)),
        Report((Record(RecordType.CHANGE_TO_EXCLUDE, address),)),
    ):
        assert membership.receive(_packet(message, address.version == 6), 1.0) == []
    assert membership.drops == {"source_specific": 3}


@pytest.mark.parametrize("group", ["224.0.0.251", "ff01::1", "ff02::fb", "ff12::1", "ff00::1"])
def test_groups_of_the_link_are_not_carried(group: str) -> None:
    membership = _started()
    assert membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, group), 1.0) == []
    assert membership.drops == {"link_local": 1}


def test_groups_are_bounded() -> None:
    membership = _started(QuerierParameters(max_groups_count=3))
    for number in range(5):
        membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, f"239.0.0.{number}"), 1.0)
    assert len(membership.interests) == 3 and membership.drops == {"groups": 2}
    membership.receive(_report(RecordType.CHANGE_TO_INCLUDE, "239.0.0.0"), 1.0)
    assert _changes(membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.0.0.9"), 1.0))


def test_sources_and_pairs_are_bounded() -> None:
    membership = _started(QuerierParameters(max_sources_count=3, max_pairs_count=5))
    many = " ".join(f"10.0.0.{number}" for number in range(1, 9))
    membership.receive(_report(RecordType.ALLOW_NEW_SOURCES, "239.0.0.1", many), 1.0)
    membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.0.0.2", many), 1.0)
    assert [len(record.sources) for record in membership.interests] == [3, 2]
    assert membership.drops == {"sources": 5 + 6}
    membership.receive(_report(RecordType.ALLOW_NEW_SOURCES, "239.0.0.3", many), 1.0)
    assert len(membership.interests) == 2
    # Room is given back, whichever way the sources went.
    membership.receive(_report(RecordType.CHANGE_TO_INCLUDE, "239.0.0.1"), 1.0)
    membership.receive(_report(RecordType.ALLOW_NEW_SOURCES, "239.0.0.3", many), 1.0)
    assert [len(record.sources) for record in membership.interests] == [2, 3]


def test_reports_are_bounded_per_second_and_what_was_lost_is_asked_for() -> None:
    membership = _started(QuerierParameters(max_reports_per_second=10))
    membership.wake(1.0)
    join = _report(RecordType.CHANGE_TO_EXCLUDE, "239.0.0.1")
    for _ in range(15):
        membership.receive(join, 10.0)
    assert membership.drops == {"rate": 5}
    assert membership.next_alarm() == (11.0, "general query")
    assert membership.receive(_report(RecordType.CHANGE_TO_EXCLUDE, "239.0.0.2"), 10.5)


@pytest.mark.parametrize("fields", [{"robustness": 0}, {"response_interval": 40.0}])
def test_contradicting_parameters_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        QuerierParameters(**fields)  # type: ignore[arg-type]


groups4 = st.integers(0, 5).map(lambda number: IPv4Address(0xEF000001 + number))
groups6 = st.integers(0, 5).map(lambda number: IPv6Address((0xFF1E << 112) + number))
sources4 = st.integers(1, 6).map(lambda number: IPv4Address(0x0A000000 + number))
sources6 = st.integers(1, 6).map(lambda number: IPv6Address((0xFD00 << 112) + number))


def _reports(
    groups: st.SearchStrategy[IpAddress], sources: st.SearchStrategy[IpAddress]
) -> st.SearchStrategy[MembershipMessage]:
    records = st.builds(
        Record, st.sampled_from(RecordType), groups, st.lists(sources, max_size=4).map(tuple)
    )
    return st.one_of(
        st.builds(Report, st.lists(records, max_size=3).map(tuple)),
        st.builds(OldReport, st.just(1), groups),
        st.builds(Leave, groups),
    )


packets = st.one_of(
    _reports(groups4, sources4).map(_packet),
    st.builds(OldReport, st.just(2), groups4).map(_packet),
    _reports(groups6, sources6).map(lambda message: _packet(message, six=True)),
    st.binary(max_size=60),
    st.sampled_from([vector.packet for vector in recorded()]),
)


@given(st.lists(st.tuples(packets, st.floats(0, 50)), max_size=30))
def test_any_reports_keep_the_bounds_and_changes_add_up(steps: list[tuple[bytes, float]]) -> None:
    parameters = QuerierParameters(max_groups_count=4, max_sources_count=3, max_pairs_count=6)
    membership = Membership(HOME, 0.0, parameters)
    told: dict[IpAddress, Interest] = {}
    now = 0.0
    for packet, pause in steps:
        now += pause
        actions = membership.receive(packet, now) + membership.wake(now)
        for change in _changes(actions):
            assert told.get(change.group, no_interest(change.group)) != change
            told[change.group] = change
        held = membership.interests
        assert {record.group: record for record in held} == {
            group: record for group, record in told.items() if not record.is_none
        }
        assert len(held) <= 4
        assert all(len(record.sources) <= 3 for record in held)
        assert sum(len(record.sources) for record in held) <= 6
        alarm = membership.next_alarm()
        assert alarm is not None and alarm[0] > now
    # Without further reports everything ends, each alarm later than the one before.
    alarms = [now]
    while membership.interests:
        alarm = membership.next_alarm()
        assert alarm is not None
        membership.wake(alarm[0])
        alarms.append(alarm[0])
    assert all(first < second for first, second in pairwise(alarms))
    assert alarms[-1] <= now + 2 * HOLD
