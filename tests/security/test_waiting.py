"""Plaintexts that wait: in order, within every bound, the oldest out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.security.limits import Limits
from dmmp.security.waiting import Waiting
from tests.security.association_stage import at


def test_they_come_out_in_order_and_once() -> None:
    waiting = Waiting(Limits())
    for number in range(5):
        assert waiting.put(at(1), b"%d" % number) == []
    assert waiting.take(at(1)) == [b"0", b"1", b"2", b"3", b"4"]
    assert waiting.take(at(1)) == []
    assert (len(waiting), waiting.bytes_in_all, waiting.dropped) == (0, 0, 0)


def test_the_oldest_of_an_endpoint_goes() -> None:
    waiting = Waiting(Limits(queued_plaintexts=3, queued_bytes=100))
    for number in range(4):
        waiting.put(at(1), b"%d" % number)
    waiting.put(at(1), b"x" * 99)
    assert waiting.take(at(1)) == [b"3", b"x" * 99]
    assert waiting.dropped == 3


def test_the_oldest_endpoint_goes_and_is_named() -> None:
    waiting = Waiting(Limits(queued_endpoints=2))
    waiting.put(at(1), b"one")
    waiting.put(at(2), b"two")
    assert waiting.put(at(3), b"three") == [at(1)]
    assert at(1) not in waiting
    assert waiting.dropped == 1


def test_too_long_for_any_queue() -> None:
    waiting = Waiting(Limits())
    waiting.put(at(1), b"one")
    assert waiting.put(at(1), bytes((32 << 10) + 1)) == []
    assert waiting.take(at(1)) == [b"one"]
    assert waiting.dropped == 1


@given(puts=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 60)), max_size=80))
def test_no_bound_is_ever_exceeded_and_nothing_is_lost_uncounted(
    puts: list[tuple[int, int]],
) -> None:
    limits = Limits(
        queued_endpoints=4, queued_plaintexts=3, queued_bytes=80, queued_bytes_in_all=150
    )
    waiting = Waiting(limits)
    known: set[int] = set()
    for number, size in puts:
        known.add(number)
        known -= {gone.address.packed[3] for gone in waiting.put(at(number), bytes(size))}
        assert len(waiting) <= 4
        assert waiting.bytes_in_all <= 150
        assert {number for number in range(1, 7) if at(number) in waiting} == known
    left = {number: waiting.take(at(number)) for number in known}
    assert all(len(queue) <= 3 and sum(map(len, queue)) <= 80 for queue in left.values())
    assert sum(map(len, left.values())) + waiting.dropped == len(puts)
    assert waiting.bytes_in_all == 0
