"""MLD codec: against packets recorded on Linux 6.18 byte for byte, and against arbitrary bytes."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun import mld
from dmmp.tun.packets import PROTOCOL_ICMPV6, checksum, parse, pseudo_header
from dmmp.tun.reports import (
    Leave,
    MembershipMessage,
    OldReport,
    Query,
    Record,
    RecordType,
    Report,
)
from tests.tun.vectors import Vector, mld_vectors, named, recorded

SOURCE = IPv6Address("fe80::2")

groups = st.integers(0xFF << 120, (1 << 128) - 1).map(IPv6Address)
addresses = st.integers(0, (1 << 128) - 1).map(IPv6Address)
records = st.builds(
    Record,
    st.sampled_from(RecordType),
    addresses,
    st.lists(addresses, max_size=5).map(tuple),
)
messages: st.SearchStrategy[MembershipMessage] = st.one_of(
    st.builds(Report, st.lists(records, max_size=5).map(tuple)),
    st.builds(
        Query,
        version=st.just(2),
        group=groups | st.just(mld.NO_GROUP),
        response_code=st.integers(0, 0xFFFF),
        sources=st.lists(addresses, max_size=5).map(tuple),
        suppress=st.booleans(),
        robustness=st.integers(0, 7),
        interval_code=st.integers(0, 255),
    ),
    st.builds(Query, st.just(1), groups | st.just(mld.NO_GROUP), st.integers(0, 0xFFFF)),
    st.builds(OldReport, st.just(1), groups),
    st.builds(Leave, groups),
)


def _message(vector: Vector) -> MembershipMessage:
    header = parse(vector.packet)
    body = vector.packet[header.payload_offset :]
    return mld.decode(body, header.source, header.destination)


@pytest.mark.parametrize("vector", mld_vectors(), ids=lambda vector: vector.name)
def test_recorded_packet_is_rebuilt_byte_for_byte(vector: Vector) -> None:
    header = parse(vector.packet)
    message = _message(vector)
    assert isinstance(header.source, IPv6Address)
    assert isinstance(header.destination, IPv6Address)
    rebuilt = mld.encode(message, header.source, header.destination)
    assert rebuilt == vector.packet[header.payload_offset :]
    padded_otherwise = vector.packet[40:48].hex() == "3a00050200000000"
    if header.router_alert and header.ttl == 1 and not padded_otherwise:
        assert mld.packet(message, header.source) == vector.packet


@pytest.mark.parametrize(
    "vector", [v for v in mld_vectors() if v.kind != "injected"], ids=lambda vector: vector.name
)
def test_recorded_packet_means_what_was_written_down(vector: Vector) -> None:
    header = parse(vector.packet)
    assert (str(header.source), str(header.destination)) == vector.addresses
    assert header.ttl == 1 and header.router_alert
    assert vector.packet[header.payload_offset] == vector.decoded["icmp6"]
    match _message(vector):
        case Report(listed):
            assert vector.kind == "MLDv2 report"
            seen = [(r.kind.name, str(r.group), tuple(map(str, r.sources))) for r in listed]
            assert seen == vector.records
        case OldReport(group=group):
            assert vector.kind == "MLDv1 report"
            assert str(group) == vector.decoded["group"]
        case Leave(group):
            assert vector.kind == "MLDv1 done"
            assert str(group) == vector.decoded["group"]
        case Query(group=group):
            assert vector.kind == "MLD query"
            assert str(group) == vector.decoded["group"]


def test_all_kinds_of_mld_were_recorded() -> None:
    kinds = {vector.kind for vector in mld_vectors()}
    assert {"MLDv1 report", "MLDv1 done", "MLDv2 report", "MLD query", "injected"} <= kinds
    assert len(mld_vectors()) > 50


def test_group_and_source_query_was_read_whole() -> None:
    message = _message(named("inject-mldv2-massq-01"))
    assert message == Query(
        version=2,
        group=IPv6Address("ff3e::4321"),
        response_code=1000,
        sources=(IPv6Address("fd99::77"), IPv6Address("fd99::78")),
        robustness=2,
        interval_code=125,
    )


@pytest.mark.parametrize(
    "vector", [v for v in recorded() if v.kind in ("RS", "NS")], ids=lambda vector: vector.name
)
def test_other_icmpv6_is_refused_by_type(vector: Vector) -> None:
    with pytest.raises(DecodeError) as caught:
        _message(vector)
    assert caught.value.reason is DecodeReason.OPTION


@given(messages)
def test_messages_survive_the_wire(message: MembershipMessage) -> None:
    destination = mld.destination_of(message)
    data = mld.encode(message, SOURCE, destination)
    assert mld.decode(data, SOURCE, destination) == message


@given(messages)
def test_checksum_covers_the_addresses(message: MembershipMessage) -> None:
    data = mld.encode(message, SOURCE, mld.ALL_NODES)
    with pytest.raises(DecodeError) as caught:
        mld.decode(data, IPv6Address("fe80::3"), mld.ALL_NODES)
    assert caught.value.reason is DecodeReason.CHECKSUM


@given(
    st.binary(max_size=120)
    | st.tuples(
        st.sampled_from((mld.QUERY, mld.REPORT_V1, mld.DONE_V1, mld.REPORT_V2)),
        st.binary(max_size=120),
    ).map(lambda pair: bytes((pair[0], 0)) + pair[1])
)
def test_arbitrary_bytes_raise_decode_error_only(data: bytes) -> None:
    fixed = data[:2] + b"\0\0" + data[4:]
    pseudo = pseudo_header(SOURCE, mld.ALL_NODES, PROTOCOL_ICMPV6, len(fixed))
    fixed = fixed[:2] + checksum(pseudo, fixed).to_bytes(2, "big") + fixed[4:]
    for candidate in (data, fixed):
        try:
            mld.decode(candidate, SOURCE, mld.ALL_NODES)
        except DecodeError:
            pass
