"""Grouping and cutting of bursts: properties, and each rule by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.burst import (
    MAXIMUM_BURST_BYTES,
    MAXIMUM_SEGMENTS,
    boundaries,
    compact,
    cut,
    group,
    split,
)
from tests.forwarding.build import datagram

some_bytes = st.binary(min_size=1, max_size=6)
kinds = st.tuples(st.sampled_from([77, 78]), st.sampled_from([3, 4]), st.sampled_from([10, 11]))


@given(st.lists(some_bytes, max_size=200))
def test_split_is_the_inverse_of_group(datagrams: list[bytes]) -> None:
    bursts = group(datagrams)
    assert [bytes(one) for data, stride in bursts for one in split(data, stride)] == datagrams
    for data, stride in bursts:
        sizes = [len(one) for one in split(data, stride)]
        assert len(sizes) <= MAXIMUM_SEGMENTS
        assert set(sizes[:-1]) <= {stride} and 0 < sizes[-1] <= stride


@given(st.lists(st.integers(24, 40_000), max_size=80))
def test_no_group_is_more_than_one_send_takes(sizes: list[int]) -> None:
    found = list(boundaries(sizes))
    assert [at for begin, end in found for at in range(begin, end)] == list(range(len(sizes)))
    assert all(sum(sizes[begin:end]) <= MAXIMUM_BURST_BYTES for begin, end in found)


@given(st.integers(24, 60_000), st.integers(1, 200))
def test_equal_datagrams_fill_their_bursts(size: int, count: int) -> None:
    most = min(MAXIMUM_SEGMENTS, MAXIMUM_BURST_BYTES // size)
    assert len(list(boundaries([size] * count))) == -(-count // most)


@given(
    st.integers(0, 0xFFFFFFFF), st.integers(2, MAXIMUM_SEGMENTS), st.integers(0, 30), st.booleans()
)
def test_a_uniform_burst_is_one_run(first: int, count: int, last: int, as_view: bool) -> None:
    datagrams = [datagram((first + n) % 2**32, bytes(30)) for n in range(count - 1)]
    datagrams.append(datagram((first + count - 1) % 2**32, bytes(last)))
    data = b"".join(datagrams)
    (run,), malformed = cut(memoryview(data) if as_view else data, 54)
    assert malformed == 0
    assert (bytes(run.data), run.stride, run.packets, run.first) == (data, 54, count, first)
    wraps = first + count > 2**32
    assert run.numbers == (tuple((first + n) % 2**32 for n in range(count)) if wraps else ())


def test_a_number_that_would_carry_into_the_origin_parts_two_runs() -> None:
    """Origin and number as one are 64 bits that count up here, and yet these are two origins."""
    last = datagram(2**32 - 1, bytes(6), origin=77)
    runs, malformed = cut(last + datagram(0, bytes(6), origin=78), 30)
    assert malformed == 0
    assert [(run.packets, run.first) for run in runs] == [(1, 2**32 - 1), (1, 0)]


@given(st.lists(st.tuples(kinds, st.integers(0, 5), st.booleans()), min_size=1, max_size=150))
def test_a_mixed_burst_is_cut_into_maximal_uniform_runs(
    segments: list[tuple[tuple[int, int, int], int, bool]],
) -> None:
    datagrams = [
        datagram(number, bytes(6), origin=origin, channel=channel, tree=tree)
        if good
        else b"\x01" * 30
        for (origin, channel, tree), number, good in segments
    ]
    runs, malformed = cut(b"".join(datagrams), 30)
    assert malformed == sum(not good for _, _, good in segments)
    pieces = [bytes(piece) for run in runs for piece in split(run.data, run.stride)]
    assert pieces == [one for one, (_, _, good) in zip(datagrams, segments, strict=True) if good]
    expected = 0
    length = 0
    before = None
    for kind, _, good in segments:
        if good and (kind != before or length == MAXIMUM_SEGMENTS):
            expected += 1
            length = 0
        before = kind if good else None
        length += 1
    assert len(runs) == expected


@given(st.binary(max_size=300), st.integers(-3, 120))
def test_cut_takes_any_bytes(data: bytes, stride: int) -> None:
    runs, malformed = cut(data, stride)
    segments = -(-len(data) // stride) if stride >= 24 and data else 1
    assert sum(run.packets for run in runs) + malformed == segments


def test_a_wrong_length_costs_that_segment_only() -> None:
    good, bad = datagram(1, bytes(6)), datagram(2, bytes(6))[:-7] + bytes(7)
    bad = bad[:20] + b"\0\0\0\7" + bad[24:]
    runs, malformed = cut(good + bad + datagram(3, bytes(6)), 30)
    assert malformed == 1
    assert [run.first for run in runs] == [1, 3]


def test_a_last_segment_shorter_than_a_header_is_malformed() -> None:
    runs, malformed = cut(datagram(1, bytes(6)) + datagram(2, bytes(6)) + b"short", 30)
    assert malformed == 1
    assert [(run.first, run.packets) for run in runs] == [(1, 2)]


def test_a_small_part_of_a_big_buffer_is_copied_to_be_kept() -> None:
    buffer = bytes(1000)
    assert isinstance(compact(memoryview(buffer)[:400]), bytes)
    most = memoryview(buffer)[:600]
    assert compact(most) is most
    assert compact(buffer) is buffer
