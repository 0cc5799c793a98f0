"""Uplinks as a bound on what DMMP's hosts send."""

from __future__ import annotations

from dmmp.lab.arena import QUEUE_SECONDS
from dmmp.lab.case import Case
from dmmp.lab.overlay import Run, Seen
from dmmp.messages import ProbeRequest


def limited(rate: float) -> tuple[Run, Seen]:
    options = (("limited", "yes"),)
    made = Run(
        Case(protocol="dmmp", underlay="inet3000", hosts=4, uplinks="d4", seed=1, options=options)
    )
    world = made.world
    assert isinstance(world, Seen)
    world.limit([rate] * 4)
    return made, world


def test_what_a_host_sends_goes_out_bit_by_bit() -> None:
    made, world = limited(8_000.0)
    first, second = made.hosts[1], made.hosts[2]
    second.alive = True
    for number in range(3):
        world.send(first, ProbeRequest(sequence=number, timestamp=0), second.endpoint)
    way = world.network.topology.delay_us(first.place, second.place) / 1e6
    # 28 bytes of IP and UDP and 32 of the message, a millisecond each.
    for number in range(1, 4):
        world.run_until(way + number * 0.060 - 0.001)
        assert second.received == number - 1
        world.run_until(way + number * 0.060 + 0.001)
        assert second.received == number


def test_what_would_wait_for_too_long_is_dropped() -> None:
    made, world = limited(8_000.0)
    first, second = made.hosts[1], made.hosts[2]
    for number in range(100):
        world.send(first, ProbeRequest(sequence=number, timestamp=0), second.endpoint)
    fit = int(QUEUE_SECONDS * 1_000 / 60) + 1
    assert world.network.counts.lost == 100 - fit
