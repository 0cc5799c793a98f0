"""Hostile bursts: `forward` raises nothing and nothing grows beyond its bound.

Most come from the true parent, because a stranger's go no further than the first check.
"""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path
from random import Random
from resource import getpagesize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.actions import ANY_ORIGIN, Replay
from dmmp.forwarding.answering import MOST_ANSWERED
from dmmp.forwarding.burst import Burst, _layout
from dmmp.forwarding.cache import RECORD_BYTES
from dmmp.forwarding.channels import MOST_PLANS
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.unknown import MAXIMUM_UNKNOWN
from dmmp.forwarding.window import WINDOW
from dmmp.interest import interest
from dmmp.messages.header import HEADER_BYTES
from dmmp.parameters import Parameters
from dmmp.types import NOWHERE, SELF, HostId
from tests.forwarding.build import (
    CHILD,
    CHILD_2,
    GROUP,
    ORIGIN,
    OTHER_GROUP,
    PARENT,
    SESSION,
    SIBLING,
    SOURCE,
    STRANGER,
    TREE,
    WANT,
    burst,
    datagram,
    heartbeat,
    install,
    relay,
)

PARAMETERS = Parameters(
    channels=32,
    cache_bytes=1 << 16,
    unknown_bytes=1 << 16,
    ordered_bytes=1 << 16,
    repair_stretches=8,
    repair_wants=8,
)
SENDERS = (PARENT, PARENT, PARENT, PARENT, CHILD, STRANGER, NOWHERE, SELF, SIBLING)


def hostile(rng: Random, recent: list[int]) -> Burst:
    """Make a burst: random bytes, or datagrams near the truth with some bytes changed."""
    sender = rng.choice(SENDERS)
    if rng.random() < 0.1:
        size = rng.choice((0, 1, 23, 24, 25, 500))
        return Burst(rng.randbytes(size), rng.choice((-1, 0, 1, 23, 24, 100, 10_000)), sender)
    count = rng.choice((1, 1, 1, 2, 5, 48, 64, 70))
    payload = rng.randbytes(rng.choice((0, 1, 37, 200)))
    first = recent[0] = (
        recent[0] + rng.choice((1, 1, 1, 0, -3, 70, 5000, 1 << 20, 1 << 31))
    ) % 2**32
    channel = rng.choice((1, 2, 3, 3, 3, rng.randrange(1 << 16)))
    origin = rng.choice((int(ORIGIN), int(ORIGIN), 78, 0))
    datagrams = []
    for n in range(count):
        if rng.random() < 0.05:
            one = heartbeat(
                rng.randrange(1 << 32),
                channel=channel,
                origin=HostId(origin),
                group=rng.choice((GROUP, OTHER_GROUP)),
                highest=rng.randrange(1 << 32),
                started=rng.randrange(2),
            )
        else:
            one = datagram((first + n) % 2**32, payload, channel=channel, origin=origin)
        datagrams.append(one)
    data = bytearray(b"".join(datagrams))
    if rng.random() < 0.4:
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            at = at if rng.random() < 0.5 else at % HEADER_BYTES
            data[at] = rng.randrange(256)
    if rng.random() < 0.1:
        del data[rng.randrange(1, len(data)) :]
    whole = bytes(data)
    return Burst(whole if rng.random() < 0.5 else memoryview(whole), len(datagrams[0]), sender)


def check_bounds(forwarder: Forwarder) -> None:
    """Compare every table with its bound."""
    tables = forwarder.snapshot()["tables"]
    # Beside those of others: one own channel of each of the two hosts that originate.
    assert tables["channels"] <= PARAMETERS.channels + 2
    assert tables["origins"] <= PARAMETERS.sessions
    assert tables["cache_bytes"] <= PARAMETERS.cache_bytes
    assert tables["cache_records"] <= PARAMETERS.cache_bytes // RECORD_BYTES
    assert tables["unknown_channels"] <= MAXIMUM_UNKNOWN
    assert tables["unknown_bytes"] <= PARAMETERS.unknown_bytes
    assert len(forwarder._alarms) <= MAXIMUM_UNKNOWN + 3 * PARAMETERS.channels + 4
    assert forwarder._room.used_bytes <= PARAMETERS.ordered_bytes + (1 << 16)
    assert len(forwarder._round_trips) <= 4
    assert sum(map(len, forwarder._cache._blocks.values())) <= 2 * len(forwarder._cache)
    for channel in forwarder._table.announced():
        assert channel.window.missing.bit_length() <= WINDOW
        assert len(channel.gaps.stretches) <= PARAMETERS.repair_stretches
        assert not channel.window.passed
        assert len(channel.wants.waiting) <= PARAMETERS.repair_wants
        assert len(channel.answered) <= MOST_ANSWERED
        assert len(channel.plans) <= MOST_PLANS and len(channel.live_from) <= 2


def resident_bytes() -> int:
    """Tell how much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def attack(seed: int, bursts: int, share: float = 0.0, ordered: float | None = None) -> Forwarder:
    """Send so many hostile bursts, and everything else in between."""
    rng = Random(seed)
    parameters = replace(PARAMETERS, random_forward=share)
    forwarder = Forwarder(parameters, ordered=ordered, rng=Random(seed))
    forwarder.apply(install(CHILD, CHILD_2, deliver=WANT, repairers=(SIBLING,)), 0.0)
    forwarder.forward(burst(heartbeat()), 0.0)
    recent = [1]
    now = 0.0
    for n in range(bursts):
        now += rng.choice((0.0, 0.0001, 0.01))
        outcome = forwarder.forward(hostile(rng, recent), now)
        assert all(transmit.to != NOWHERE for transmit in outcome.transmits)
        if n % 50 == 0:
            forwarder.wake(now)
            bitmap = rng.randbytes(rng.choice((0, 1, 128)))
            origin = rng.choice((ANY_ORIGIN, ORIGIN))
            base = (recent[0] + rng.choice((-900, -50, 0, 50, 1 << 31))) % 2**32
            to = rng.choice((CHILD, SIBLING, STRANGER))
            forwarder.apply(Replay(SESSION, origin, 3, base, bitmap, to), now)
            if rng.random() < 0.1:
                upstream = rng.choice(((PARENT,), (SIBLING, PARENT), (PARENT, SIBLING)))
                branches = (CHILD, CHILD_2)
                entry = install(*branches, deliver=WANT, upstream=upstream, repairers=(SIBLING,))
                forwarder.apply(entry, now)
            forwarder.originate(
                SESSION, HostId(rng.choice((78, 4000))), TREE, GROUP, SOURCE, [b"x"], now
            )
        if n % 1000 == 0:
            check_bounds(forwarder)
    check_bounds(forwarder)
    assert forwarder.counters.data_received > bursts // 10
    return forwarder


@pytest.mark.slow
def test_hostile_bursts_raise_nothing_and_nothing_grows() -> None:
    gc.collect()
    tracemalloc.start()
    try:
        forwarder = attack(1, 4_000)
        _layout.cache_clear()
        # What Python keeps ready for new tuples counts as held until it is collected.
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tables = forwarder.snapshot()["tables"]
    assert tables["cache_bytes"] > PARAMETERS.cache_bytes // 2
    assert held < 2 * (PARAMETERS.cache_bytes + PARAMETERS.unknown_bytes)


@pytest.mark.parametrize(("share", "ordered"), [(0.1, None), (0.0, 0.05), (1.0, 10.0)])
def test_hostile_bursts_meet_every_option(share: float, ordered: float | None) -> None:
    attack(9, 2_000, share, ordered)


@pytest.mark.long
@pytest.mark.slow
def test_a_million_hostile_bursts_raise_nothing_and_nothing_grows() -> None:
    attack(2, 50_000)
    before = resident_bytes()
    # All are kept until the end, so that what they hold counts.
    forwarders = [attack(seed, 237_500) for seed in range(3, 7)]
    # Each holds its bounded tables; nine bytes for each burst would be more than this.
    assert resident_bytes() - before < len(forwarders) << 21


@given(st.binary(max_size=200), st.integers(-5, 250), st.sampled_from(SENDERS))
def test_any_bytes_are_counted_and_raise_nothing(data: bytes, stride: int, sender: object) -> None:
    forwarder = relay(CHILD)
    assert isinstance(sender, type(PARENT))
    assert not forwarder.forward(Burst(data, stride, sender), 1.0).transmits
    assert sum(forwarder.counters.dropped.values()) > 0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4))
def test_a_mutated_heartbeat_raises_nothing(changes: list[tuple[int, int]]) -> None:
    forwarder = relay(CHILD, deliver=(interest(GROUP),))
    beat = bytearray(heartbeat(2))
    for at, value in changes:
        beat[at] = value
    forwarder.forward(burst(bytes(beat)), 1.0)
    forwarder.forward(burst(datagram(1)), 1.0)
