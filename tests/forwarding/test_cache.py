"""The cache against a naive list, and its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.burst import split
from dmmp.forwarding.cache import RECORD_BYTES, Cache, Piece

M = 2**32
KEY = (5 << 32 | 77, 3)
OTHER = (5 << 32 | 77, 4)


def packets(first: int, count: int) -> bytes:
    """Make packets of four bytes that say their number."""
    return b"".join(((first + n) % M).to_bytes(4, "big") for n in range(count))


def numbers(pieces: list[Piece]) -> list[int]:
    """Read the numbers of the packets found."""
    return [int.from_bytes(one, "big") for data, stride, _ in pieces for one in split(data, stride)]


runs = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 64), st.floats(0, 0.3), st.booleans()),
    max_size=25,
)


@given(st.sampled_from([0, 63, 1000, M - 200]), runs, st.integers(-50, 400), st.data())
def test_cache_agrees_with_a_list(
    start: int, steps: list[tuple[int, int, float, bool]], offset: int, data: st.DataObject
) -> None:
    cache = Cache(40 * RECORD_BYTES, 2.0)
    naive: list[tuple[int, int, int, float]] = []
    now, here = 0.0, start
    for gap, count, wait, other in steps:
        now += wait
        here += gap
        cache.add(OTHER if other else KEY, here % M, count, packets(here, count), 4, now)
        naive.append((here, count, int(other), now))
        here += count
        while naive and (
            naive[0][3] < now - 2.0
            or sum(4 * n + RECORD_BYTES for _, n, _, _ in naive) > 40 * RECORD_BYTES
        ):
            naive.pop(0)
    held = [(first + n, at) for first, count, other, at in naive if not other for n in range(count)]
    base = start + offset
    before = base + data.draw(st.integers(0, 300))
    oldest = now - data.draw(st.floats(0, 2))
    assert numbers(cache.since(KEY)) == [n % M for n, _ in held]
    assert numbers(cache.since(KEY, base % M)) == [n % M for n, _ in held if n >= base]
    assert numbers(cache.since(KEY, before=before % M, oldest=oldest)) == [
        n % M for n, at in held if n < before and at >= oldest
    ]
    bitmap = data.draw(st.binary(max_size=128))
    marked = {
        base + n for n in range(8 * len(bitmap)) if bitmap[n // 8] & (0x80 >> n % 8) and n >= 0
    }
    assert numbers(cache.find(KEY, base % M, bitmap)) == [n % M for n, _ in held if n in marked]
    assert len(cache) == len(naive)


def test_stragglers_are_found_in_their_place() -> None:
    cache = Cache(1 << 20, 2.0)
    for first, count in ((100, 5), (110, 5), (105, 5)):
        cache.add(KEY, first, count, packets(first, count), 4, 0.0)
    assert numbers(cache.since(KEY)) == list(range(100, 115))


def test_nothing_is_copied_on_the_way_through() -> None:
    cache = Cache(1 << 20, 2.0)
    data = packets(1, 10)
    cache.add(KEY, 1, 10, data, 4, 0.0)
    assert cache.since(KEY)[0][0] is data
    cut = cache.find(KEY, 3, b"\xc0")[0][0]
    assert isinstance(cut, memoryview) and cut.obj is data


def test_old_bursts_go_and_the_table_becomes_empty() -> None:
    cache = Cache(1 << 20, 2.0)
    for n in range(500):
        cache.add((n % 7, 1), 60 * n, 60, packets(60 * n, 60), 4, 0.0)
    cache.trim(2.1)
    assert (len(cache), cache.used_bytes, cache._blocks) == (0, 0, {})


def test_a_forgotten_channel_is_not_found_and_its_memory_goes_with_time() -> None:
    cache = Cache(1 << 20, 2.0)
    cache.add(KEY, 1, 10, packets(1, 10), 4, 0.0)
    cache.forget(KEY)
    cache.add(KEY, 1, 2, packets(1, 2), 4, 1.0)
    assert numbers(cache.since(KEY)) == [1, 2]
    cache.trim(2.5)
    assert numbers(cache.since(KEY)) == [1, 2]
    cache.trim(3.5)
    assert cache.used_bytes == 0


def test_tiny_bursts_are_bounded_too() -> None:
    cache = Cache(1 << 16, 2.0)
    for n in range(10_000):
        cache.add(KEY, n, 1, b"", 1, 0.0)
    assert len(cache) == (1 << 16) // RECORD_BYTES


def test_what_is_held_twice_after_a_restart_is_found_once() -> None:
    cache = Cache(1 << 20, 2.0)
    for _ in range(2):
        cache.add(KEY, 10, 5, packets(10, 5), 4, 0.0)
    assert numbers(cache.find(KEY, 10, b"\xff")) == [10, 11, 12, 13, 14]
