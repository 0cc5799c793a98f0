"""Delivery in order (Decision 18): who waits, how long, and for what not."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.cache import RECORD_BYTES
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.ordered import Order, Room
from dmmp.forwarding.window import Window
from dmmp.parameters import Parameters
from tests.forwarding.build import (
    CHILD,
    WANT,
    burst,
    datagram,
    delivered,
    heartbeat,
    install,
    sent,
)
from tests.forwarding.overlay import Links, Overlay

DELAY = 0.2


def member(parameters: Parameters | None = None) -> Forwarder:
    """Make a host whose programs get their packets in order, and that has a branch."""
    forwarder = Forwarder(parameters or Parameters(), ordered=DELAY)
    forwarder.apply(install(CHILD, deliver=WANT), 0.0)
    forwarder.forward(burst(heartbeat()), 0.0)
    return forwarder


def take(forwarder: Forwarder, *numbers: int, now: float) -> bytes:
    """Let packets come, one by one; return what was delivered."""
    return b"".join(delivered(forwarder.forward(burst(datagram(n)), now)) for n in numbers)


def packets(*numbers: int) -> bytes:
    """Lay datagrams of these numbers side by side."""
    return b"".join(map(datagram, numbers))


def wake(forwarder: Forwarder, until: float) -> list[tuple[float, bytes]]:
    """Wake a forwarder at its alarms; list what it delivers, and when."""
    found = []
    while (alarm := forwarder.next_alarm()) is not None and alarm[0] <= until:
        if data := delivered(forwarder.wake(alarm[0])[0]):
            found.append((round(alarm[0], 4), data))
    return found


def test_what_is_in_order_goes_at_once_in_the_memory_it_came_in() -> None:
    forwarder = member()
    data = packets(1, 2, 3)
    (delivery,) = forwarder.forward(burst([datagram(n) for n in (1, 2, 3)]), 1.0).deliveries
    assert bytes(delivery.data) == data
    assert take(forwarder, 4, now=1.1) == datagram(4)
    assert forwarder.counters.delivered == 4


def test_behind_a_gap_packets_wait_until_it_is_filled() -> None:
    forwarder = member()
    assert take(forwarder, 1, 3, 5, 6, now=1.0) == datagram(1)
    assert take(forwarder, 2, now=1.05) == packets(2, 3)
    assert take(forwarder, 4, now=1.1) == packets(4, 5, 6)
    assert wake(forwarder, 1.5) == [] and forwarder.counters.delivered == 6


def test_branches_do_not_wait() -> None:
    forwarder = member()
    take(forwarder, 1, now=1.0)
    assert sent(forwarder.forward(burst(datagram(3)), 1.0)) == {CHILD: datagram(3)}


def test_after_the_delay_the_gap_is_skipped_and_what_comes_then_is_late() -> None:
    forwarder = member()
    take(forwarder, 1, now=1.0)
    take(forwarder, 3, 4, now=1.01)
    take(forwarder, 7, now=1.1)
    assert wake(forwarder, 1.25) == [(1.21, packets(3, 4))]
    assert wake(forwarder, 1.4) == [(1.3, packets(7))]
    outcome = forwarder.forward(burst(datagram(2)), 1.4)
    assert sent(outcome) == {CHILD: datagram(2)} and delivered(outcome) == b""
    counts = forwarder.snapshot()
    assert (counts["late"], counts["delivered"], counts["lost"]) == (1, 4, 2)


def test_a_burst_that_is_partly_late_is_cut() -> None:
    forwarder = member()
    take(forwarder, 1, 5, now=1.0)
    assert wake(forwarder, 1.3) == [(1.2, datagram(5))]
    late = forwarder.forward(burst([datagram(n) for n in (3, 4, 5, 6)]), 1.3)
    assert delivered(late) == datagram(6)
    assert forwarder.counters.late == 2


def test_nobody_waits_for_what_cannot_come() -> None:
    forwarder = member()
    take(forwarder, 1, 2, now=1.0)
    forwarder.apply(install(), 1.1)
    forwarder.apply(install(CHILD, deliver=WANT), 3.0)
    assert take(forwarder, 100, 101, now=3.0) == packets(100, 101)
    # So too where programs come to it while branches have it already.
    forwarder.apply(install(CHILD), 3.1)
    assert take(forwarder, 102, 103, now=3.2) == b""
    forwarder.apply(install(CHILD, deliver=WANT), 3.3)
    assert take(forwarder, 104, now=3.4) == datagram(104)


def test_an_origin_that_begins_anew_is_followed() -> None:
    forwarder = member()
    take(forwarder, 1_000_000, 1_000_002, now=1.0)
    assert take(forwarder, 5_000_000, now=1.1) == packets(1_000_002, 5_000_000)


def test_what_waits_is_bounded_in_bytes() -> None:
    size = len(datagram(1)) + RECORD_BYTES
    forwarder = member(Parameters(ordered_bytes=10 * size))
    assert take(forwarder, 1, *range(3, 13), now=1.0) == datagram(1)
    assert take(forwarder, 13, now=1.0) == datagram(3) + packets(*range(4, 14))


def test_a_channel_that_goes_takes_what_waits_along() -> None:
    forwarder = member()
    take(forwarder, 1, 3, now=1.0)
    forwarder.forward(burst(heartbeat(2, source=CHILD.address)), 1.1)
    assert forwarder._room.used_bytes == 0
    assert wake(forwarder, 9.0) == []


@given(st.integers(0, 1 << 30))
def test_whatever_the_order_none_is_lost_doubled_or_out_of_order(seed: int) -> None:
    rng = Random(seed)
    window, room = Window(), Room(1 << 20)
    order = Order(window, DELAY, room)
    numbers = list(range(100))
    lost = set(rng.sample(numbers[1:], 5))
    sequence = sorted(
        (number for number in numbers if number not in lost),
        key=lambda number: number + (rng.randrange(8) if number else 0),
    )
    got: list[int] = []
    held = 0
    for step, number in enumerate(sequence):
        now = step / 100
        for data, _ in order.release(now) if (order.due() or 99.0) <= now else []:
            got.append(int(bytes(data)))
        if window.admit(number, 1, now) or window.sift([number], now).fresh:
            held += 1
            for data, _ in order.take(number, 1, b"%d" % number, 3, now):
                got.append(int(bytes(data)))
    got += [int(bytes(data)) for data, _ in order.release(99.0)]
    assert got == sorted(set(got))
    assert len(got) + order.late == held == 95
    assert room.used_bytes == 0 and order.due() is None


def test_over_bad_links_programs_get_everything_in_order() -> None:
    overlay = Overlay(Random(1), Links(0.03, delay=0.005, jitter=0.02), ordered=1.5)
    host = overlay.add(2, overlay.add(1, overlay.source))
    overlay.stream(400, 0.005)
    assert host.got == list(range(1, 402))
