"""IGMP codec: against packets recorded on Linux 6.18 byte for byte, and against arbitrary bytes."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import DecodeError, DecodeReason
from dmmp.tun import igmp
from dmmp.tun.packets import checksum, parse
from dmmp.tun.reports import (
    Leave,
    MembershipMessage,
    OldReport,
    Query,
    Record,
    RecordType,
    Report,
    code_of,
    code_value,
)
from tests.tun.vectors import Vector, igmp_vectors, named

groups = st.integers(0xE0000000, 0xEFFFFFFF).map(IPv4Address)
addresses = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
octets = st.integers(0, 255)
records = st.builds(
    Record,
    st.sampled_from(RecordType),
    addresses,
    st.lists(addresses, max_size=5).map(tuple),
)
queries = st.builds(
    Query,
    version=st.just(3),
    group=groups | st.just(igmp.NO_GROUP),
    response_code=octets,
    sources=st.lists(addresses, max_size=5).map(tuple),
    suppress=st.booleans(),
    robustness=st.integers(0, 7),
    interval_code=octets,
)
messages: st.SearchStrategy[MembershipMessage] = st.one_of(
    st.builds(Report, st.lists(records, max_size=5).map(tuple)),
    queries,
    st.builds(Query, st.just(2), groups, st.integers(1, 255)),
    st.builds(Query, st.just(1), st.just(igmp.NO_GROUP), st.just(0)),
    st.builds(OldReport, st.sampled_from((1, 2)), groups),
    st.builds(Leave, groups),
)


def _message(vector: Vector) -> MembershipMessage:
    return igmp.decode(vector.packet[parse(vector.packet).payload_offset :])


def _sound() -> list[Vector]:
    return [vector for vector in igmp_vectors() if "bad checksum" not in vector.label]


@pytest.mark.parametrize("vector", _sound(), ids=lambda vector: vector.name)
def test_recorded_packet_is_rebuilt_byte_for_byte(vector: Vector) -> None:
    header = parse(vector.packet)
    message = _message(vector)
    assert igmp.encode(message) == vector.packet[header.payload_offset :]
    if header.router_alert and header.ttl == 1:
        assert isinstance(header.source, IPv4Address)
        identification = int.from_bytes(vector.packet[4:6], "big")
        assert igmp.packet(message, header.source, identification) == vector.packet


@pytest.mark.parametrize(
    "vector", [v for v in igmp_vectors() if v.kind != "injected"], ids=lambda vector: vector.name
)
def test_recorded_packet_means_what_was_written_down(vector: Vector) -> None:
    header = parse(vector.packet)
    assert (str(header.source), str(header.destination)) == vector.addresses
    assert header.ttl == 1 and header.router_alert and header.dont_fragment
    assert header.traffic_class == igmp.INTERNETWORK_CONTROL
    match _message(vector):
        case Report(listed):
            assert vector.kind == "IGMPv3 report"
            seen = [(r.kind.name, str(r.group), tuple(map(str, r.sources))) for r in listed]
            assert seen == vector.records
        case OldReport(version, group):
            assert vector.kind == f"IGMPv{version} report"
            assert str(group) == vector.decoded["group"]
        case Leave(group):
            assert vector.kind == "IGMPv2 leave"
            assert str(group) == vector.decoded["group"]
        case Query(group=group):
            assert vector.kind == "IGMP query"
            assert str(group) == vector.decoded["group"]


def test_all_kinds_of_igmp_were_recorded() -> None:
    kinds = {vector.kind for vector in igmp_vectors()}
    assert {
        "IGMPv1 report",
        "IGMPv2 report",
        "IGMPv2 leave",
        "IGMPv3 report",
        "IGMP query",
    } <= kinds
    assert len(igmp_vectors()) > 80


def test_crafted_bad_checksum_is_refused() -> None:
    vector = named("inject-v3-gq-bad-checksum-01")
    with pytest.raises(DecodeError) as caught:
        _message(vector)
    assert caught.value.reason is DecodeReason.CHECKSUM


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [
        ("inject-igmpv3-general-query-src-10-99-0-1-ra-tt-01", 3, 10),
        ("inject-igmpv2-general-query-max-resp-2-0s-01", 2, 20),
        ("inject-igmpv1-general-query-code-0-01", 1, 0),
    ],
)
def test_query_versions_are_told_by_length_and_code(name: str, version: int, code: int) -> None:
    message = _message(named(name))
    assert isinstance(message, Query)
    assert (message.version, message.response_code, message.group) == (version, code, igmp.NO_GROUP)


@given(messages)
def test_messages_survive_the_wire(message: MembershipMessage) -> None:
    data = igmp.encode(message)
    assert checksum(data) == 0
    assert igmp.decode(data) == message


@given(messages, st.data())
def test_prefixes_are_refused(message: MembershipMessage, data: st.DataObject) -> None:
    whole = igmp.encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    # The checksum is put right, so that lengths alone decide; a cut query may be an older query.
    if len(cut) >= 8:
        cut = cut[:2] + b"\0\0" + cut[4:]
        cut = cut[:2] + checksum(cut).to_bytes(2, "big") + cut[4:]
    if isinstance(message, Query) and len(cut) == 8:
        return
    with pytest.raises(DecodeError):
        igmp.decode(cut)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\x22\0" + tail))
def test_arbitrary_bytes_raise_decode_error_only(data: bytes) -> None:
    fixed = data[:2] + b"\0\0" + data[4:]
    fixed = fixed[:2] + checksum(fixed).to_bytes(2, "big") + fixed[4:]
    for candidate in (data, fixed):
        try:
            igmp.decode(candidate)
        except DecodeError:
            pass


def test_record_count_is_held_against_the_packet() -> None:
    body = bytes.fromhex("2200000000000002 04000000 ef010203")
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    with pytest.raises(DecodeError) as caught:
        igmp.decode(body)
    assert caught.value.reason is DecodeReason.LENGTH


def test_unknown_records_auxiliary_data_and_additional_data_are_skipped() -> None:
    body = bytes.fromhex("2200000000000002 09000000 ef010204 04010000 ef010203 deadbeef cafe")
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    expected = Record(RecordType.CHANGE_TO_EXCLUDE, IPv4Address("239.1.2.3"))
    assert igmp.decode(body) == Report((expected,))


@pytest.mark.parametrize("mantissa_bits", [4, 12])
def test_codes_are_the_largest_not_above(mantissa_bits: int) -> None:
    for value in (0, 1, 10, 127, 128, 129, 255, 1000, 3000, 31743, 31744, 40000):
        code = code_of(value, mantissa_bits)
        assert code_value(code, mantissa_bits) <= max(value, 0)
        if code + 1 < 1 << mantissa_bits + 4:
            assert code_value(code + 1, mantissa_bits) > value


def test_code_of_the_rfc_example() -> None:
    # RFC 9776 §4.1.1: (mant | 0x10) << (exp + 3).
    assert code_value(0x80) == 128
    assert code_value(0xFF) == 31744
    assert code_value(0x8000, 12) == 32768
