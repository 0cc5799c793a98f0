"""The queues of receivers: order, bounds, fairness, limits and paces, all in virtual time."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.outgoing import (
    AGAIN,
    CREDIT,
    MOST_QUEUES,
    PACED_SECONDS,
    QUEUE_BYTES,
    QUEUE_SECONDS,
    SPREAD,
    TOTAL_BYTES,
    Outgoing,
)
from dmmp.types import Endpoint
from tests.forwarding.build import CHILD, CHILD_2, SIBLING, endpoint

WIRE_EXTRA = 28
PACKET = 972
"""With the headers below it a packet of a thousand bytes."""


class Way:
    """Sends what the queues give, as a socket would; receivers in `full` have no room."""

    def __init__(self, outgoing: Outgoing) -> None:
        self.outgoing = outgoing
        self.now = 0.0
        self.full: set[Endpoint] = set()
        self.sent: list[tuple[float, Endpoint, bytes]] = []

    def flush(self) -> None:
        while (transmit := self.outgoing.next(self.now)) is not None:
            data, _, to = transmit
            assert self.outgoing.next(self.now) == transmit
            if to in self.full:
                self.outgoing.done(len(data), self.now)
                continue
            self.sent.append((self.now, to, bytes(data)))
            self.outgoing.done(0, self.now)

    def put(self, data: bytes, stride: int, to: Endpoint, blocked: bool = False) -> None:
        self.outgoing.put(data, stride, to, self.now, blocked)
        self.flush()

    def run(self, until: float) -> None:
        """Come back whenever something is due."""
        while (due := self.outgoing.due()) is not None and due <= until:
            assert due > self.now, "it would come back again and again"
            self.now = due
            self.flush()
        self.now = until

    def received(self, to: Endpoint, since: float = 0.0) -> bytes:
        return b"".join(data for at, each, data in self.sent if each == to and at >= since)


def burst(first: int, count: int, size: int = PACKET) -> bytes:
    return b"".join((first + n).to_bytes(4, "big") * (size // 4) for n in range(count))


def numbers(data: bytes, size: int = PACKET) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), size)]


def test_nobody_is_held_until_the_way_is_full() -> None:
    outgoing = Outgoing()
    assert not outgoing.held and not outgoing.is_limited
    assert outgoing.next(1.0) is None and outgoing.due() is None


def test_what_found_no_room_goes_out_in_order_and_its_receiver_is_let_go() -> None:
    way = Way(Outgoing())
    way.full = {CHILD}
    way.put(burst(0, 3), PACKET, CHILD, blocked=True)
    way.put(burst(3, 2), PACKET, CHILD)
    way.run(0.05)
    assert not way.sent and set(way.outgoing.held) == {CHILD}
    way.full = set()
    way.run(0.06)
    assert numbers(way.received(CHILD)) == [0, 1, 2, 3, 4]
    assert not way.outgoing.held and way.outgoing.due() is None and way.outgoing.dropped == 0


def test_one_whose_way_is_full_holds_nobody_up() -> None:
    way = Way(Outgoing())
    way.full = {CHILD}
    for number in range(50):
        way.put(burst(number, 1), PACKET, CHILD, blocked=not number)
        # The other was held once as well.
        way.put(burst(number, 1), PACKET, CHILD_2, blocked=not number)
        way.run(way.now + 2 * AGAIN)
        assert numbers(way.received(CHILD_2)) == list(range(number + 1))
    assert way.outgoing.queues(way.now)[CHILD].waiting == 50 * PACKET


def test_part_of_a_burst_may_find_room() -> None:
    way = Way(Outgoing())
    way.put(burst(0, 5), PACKET, CHILD, blocked=True)
    way.now += AGAIN
    assert way.outgoing.next(way.now) is not None
    way.outgoing.done(2 * PACKET, way.now)
    way.run(0.1)
    assert numbers(way.received(CHILD)) == [3, 4]


def test_what_waits_too_long_is_dropped_the_oldest_first() -> None:
    way = Way(Outgoing())
    way.full = {CHILD}
    for number in range(100):
        way.put(burst(2 * number, 2), PACKET, CHILD, blocked=not number)
        way.run((number + 1) / 100)
    way.full = set()
    way.run(1.01)
    arrived = numbers(way.received(CHILD))
    assert arrived == list(range(arrived[0], 200))
    assert QUEUE_SECONDS - 0.02 <= (200 - arrived[0]) / 200 <= QUEUE_SECONDS + 0.02
    assert way.outgoing.dropped == arrived[0] == way.outgoing.queues(1.1)[CHILD].dropped


def test_the_bytes_that_wait_are_bounded() -> None:
    outgoing = Outgoing()
    large = bytes(60_000)
    for _ in range(2 * QUEUE_BYTES // len(large)):
        outgoing.put(large, 1000, CHILD, 0.0, blocked=True)
    held = outgoing.queues(0.0)[CHILD].waiting
    assert QUEUE_BYTES - len(large) < held <= QUEUE_BYTES
    for number in range(TOTAL_BYTES // QUEUE_BYTES + 3):
        for _ in range(QUEUE_BYTES // len(large)):
            outgoing.put(large, 1000, endpoint(1000 + number), 0.0, blocked=True)
    assert sum(each.waiting for each in outgoing.queues(0.0).values()) <= TOTAL_BYTES
    way = Way(outgoing)
    way.run(1.0)
    assert outgoing.due() is None and not outgoing.held


def test_receivers_are_bounded_and_those_that_nothing_waits_for_make_room() -> None:
    outgoing = Outgoing()
    for number in range(MOST_QUEUES):
        outgoing.lost(endpoint(number), 0.0)
    for number in range(MOST_QUEUES, 2 * MOST_QUEUES):
        outgoing.put(b"x", 1, endpoint(number), 1.0)
        assert len(outgoing.held) == MOST_QUEUES
    assert outgoing.dropped == 0
    outgoing.put(b"x", 1, CHILD, 1.0)
    outgoing.lost(CHILD, 1.0)
    assert outgoing.dropped == 1 and CHILD not in outgoing.held
    for number in range(2 * MOST_QUEUES):
        outgoing.put(bytes(QUEUE_BYTES + 1), 1000, endpoint(number), 1.0)
    assert len(outgoing.queues(1.0)) <= 2 * MOST_QUEUES
    way = Way(outgoing)
    way.now = 1.0
    way.flush()
    assert outgoing.due() is None and not outgoing.held
    way.put(b"x", 1, CHILD, blocked=True)
    way.run(2.0)
    assert way.received(CHILD) == b"x"


@pytest.mark.parametrize("rate", [2e4, 1e6, 1e7])
def test_a_limit_holds_and_is_reached(rate: float) -> None:
    way = Way(Outgoing(rate))
    number = 0
    while way.now < 3.0:
        # Twice as much as may go.
        count = max(1, round(rate * 0.01 / 1000))
        way.put(burst(number, count), PACKET, CHILD)
        number += count
        way.run(way.now + count * 1000 / rate / 2)
    packets = sum(len(data) // PACKET for *_, data in way.sent)
    allowed = rate * 3.0 / 1000
    assert 0.97 * allowed - 2 <= packets <= allowed * 1.03 + CREDIT * rate / 1000 + 3
    assert way.outgoing.dropped > 0.4 * number - QUEUE_SECONDS * rate / 1000 - 3


def test_a_limit_is_shared_fairly_whatever_the_sizes_of_packets_and_bursts() -> None:
    way = Way(Outgoing(1e6))
    wants = {CHILD: (60, PACKET), CHILD_2: (1, PACKET), SIBLING: (48, 172)}
    modest = endpoint(77)
    while way.now < 4.0:
        for to, (count, size) in wants.items():
            for at in range(max(1, 60_000 // (count * size))):
                way.outgoing.put(burst(at, count, size), size, to, way.now)
        way.outgoing.put(burst(0, 1), PACKET, modest, way.now)
        way.flush()
        way.run(way.now + 0.02)
    share: dict[Endpoint, float] = defaultdict(float)
    for since, to, data in way.sent:
        size = wants.get(to, (1, PACKET))[1]
        share[to] += len(data) * (1 + WIRE_EXTRA / size) if since >= 1.0 else 0.0
    # Who wants less than a fair share has all of it; the others have the same.
    assert share[modest] == pytest.approx(3.0 / 0.02 * 1000, rel=0.05)
    rest = (3e6 - share[modest]) / 3
    for to in wants:
        assert share[to] == pytest.approx(rest, rel=0.05)


def test_what_goes_past_the_queues_counts_towards_the_limit() -> None:
    way = Way(Outgoing(1e5))
    for _ in range(50):
        way.outgoing.spend(PACKET, CHILD, 0.0)
    way.put(burst(0, 1), PACKET, CHILD_2)
    assert not way.sent
    way.outgoing = Outgoing(1e5)
    for _ in range(10):
        way.outgoing.spend(PACKET, CHILD, 0.0)
    way.put(burst(0, 1), PACKET, CHILD_2)
    way.run(0.2)
    assert [at for at, *_ in way.sent] == [pytest.approx(0.1 - CREDIT)]


def stream(way: Way, to: Endpoint, begin: float, end: float, packets: int, pause: float) -> None:
    """Put bursts of so many packets, so often, as long as the receiver is held."""
    number = round(begin / pause)
    while number * pause < end:
        way.run(number * pause)
        if to in way.outgoing.held:
            way.put(burst(number * packets, packets), PACKET, to)
        else:
            way.sent.append((way.now, to, burst(number * packets, packets)))
        number += 1


def largest_rush(way: Way, to: Endpoint, since: float, seconds: float) -> int:
    """Return the most bytes that went out within such a time."""
    sent = [(at, len(data)) for at, each, data in way.sent if each == to and at >= since]
    return max(sum(size for at, size in sent if begin <= at < begin + seconds) for begin, _ in sent)


def test_bursts_to_one_that_lost_packets_are_spread_and_nobody_elses() -> None:
    way = Way(Outgoing())
    way.outgoing.lost(CHILD, 0.0)
    # Ten packets each 40 ms are 243,000 bytes a second.
    stream(way, CHILD, 0.0, 2.0, 10, 0.04)
    assert largest_rush(way, CHILD, 0.0, 0.01) >= 10 * PACKET
    assert largest_rush(way, CHILD, 1.0, 0.01) <= 6 * PACKET
    way.run(2.1)
    assert numbers(way.received(CHILD)) == list(range(500))
    assert way.outgoing.dropped == 0 and CHILD_2 not in way.outgoing.held


def test_a_pace_never_holds_a_burst_up_for_long() -> None:
    way = Way(Outgoing())
    way.outgoing.lost(CHILD, 0.0)
    stream(way, CHILD, 0.0, 2.0, 1, 0.04)
    begun = 2.0
    way.run(begun)
    # Sixty times what the stream brings: a picture after a still.
    way.put(burst(0, 60), PACKET, CHILD)
    way.run(begun + 1.0)
    last = max(at for at, *_ in way.sent)
    assert begun + SPREAD / 2 < last <= begun + SPREAD + 0.001


def test_a_smooth_stream_is_not_held_up_by_its_pace() -> None:
    way = Way(Outgoing())
    way.outgoing.lost(CHILD, 0.0)
    for number in range(1000):
        way.run(number / 500)
        way.put(burst(number, 1), PACKET, CHILD)
        assert way.sent[-1][0] == way.now and len(way.sent) == number + 1


def test_a_pace_ends_some_time_after_the_last_loss() -> None:
    way = Way(Outgoing())
    way.outgoing.lost(CHILD, 0.0)
    stream(way, CHILD, 0.0, 1.0, 10, 0.04)
    assert way.outgoing.queues(1.0)[CHILD].paced
    stream(way, CHILD, 1.0, PACED_SECONDS + 1.0, 10, 0.04)
    assert CHILD not in way.outgoing.held
    way.outgoing.lost(CHILD, way.now)
    assert CHILD in way.outgoing.held


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "blocked", "full", "room", "lost"]),
            st.integers(0, 2),
            st.integers(1, 64),
            st.floats(0, 0.1),
        ),
        max_size=40,
    ),
    st.sampled_from([None, 1e4, 1e6]),
)
def test_each_packet_is_sent_or_dropped_once_and_in_order(
    steps: list[tuple[str, int, int, float]], rate: float | None
) -> None:
    way = Way(Outgoing(rate))
    given_in: dict[Endpoint, int] = defaultdict(int)
    for what, which, count, pause in steps:
        to = endpoint(which)
        if what in ("put", "blocked"):
            way.put(burst(given_in[to], count, 40), 40, to, what == "blocked")
            given_in[to] += count
        elif what == "lost":
            way.outgoing.lost(to, way.now)
        else:
            (way.full.add if what == "full" else way.full.discard)(to)
        way.run(way.now + pause)
    way.run(way.now + 2 * QUEUE_SECONDS + 40.0)
    assert way.outgoing.due() is None
    assert not any(each.waiting for each in way.outgoing.queues(way.now).values())
    dropped = 0
    for to, count in given_in.items():
        arrived = numbers(way.received(to), 40)
        assert arrived == sorted(set(arrived)) and set(arrived) <= set(range(count))
        lacks = way.outgoing.queues(way.now).get(to)
        assert count - len(arrived) == (0 if lacks is None else lacks.dropped)
        dropped += count - len(arrived)
    assert dropped == way.outgoing.dropped
