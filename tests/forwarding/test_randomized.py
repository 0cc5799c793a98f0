"""Randomized forwarding with triggered requests (slide 22, Decision 19)."""

from __future__ import annotations

from random import Random

import pytest

from dmmp.errors import ParameterError
from dmmp.forwarding.burst import Outcome
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.runs import drawn
from dmmp.parameters import Parameters
from dmmp.types import Endpoint
from tests.forwarding.build import (
    CHILD,
    GRANDPARENT,
    GROUP,
    ORIGIN,
    PARENT,
    SESSION,
    SIBLING,
    SOURCE,
    TREE,
    WANT,
    burst,
    datagram,
    delivered,
    endpoint,
    heartbeat,
    install,
    sent,
    woken,
)

RELATIVES = (GRANDPARENT, SIBLING, endpoint(31), endpoint(32), endpoint(33))


def member(
    share: float, *branches: Endpoint, upstream: tuple[Endpoint, ...] = (PARENT,), seed: int = 1
) -> Forwarder:
    """Make a host that sends this share of packets to relatives by lot."""
    forwarder = Forwarder(Parameters(random_forward=share), rng=Random(seed))
    forwarder.apply(install(*branches, deliver=WANT, upstream=upstream, repairers=RELATIVES), 0.0)
    forwarder.forward(burst(heartbeat()), 0.0)
    return forwarder


def many(first: int, count: int) -> list[bytes]:
    """Make consecutive datagrams."""
    return [datagram(n) for n in range(first, first + count)]


def test_it_is_off_unless_asked_for() -> None:
    forwarder = member(0.0, CHILD)
    for n in range(100):
        assert set(sent(forwarder.forward(burst(many(1 + 50 * n, 50)), 1.0))) == {CHILD}
    assert forwarder.counters.scattered == 0


def test_a_share_of_the_packets_goes_to_a_few_relatives() -> None:
    forwarder = member(0.01, CHILD)
    per_relative = dict.fromkeys(RELATIVES, 0)
    for n in range(400):
        outcome = forwarder.forward(burst(many(1 + 50 * n, 50)), 1.0)
        for to, data in sent(outcome).items():
            if to != CHILD:
                per_relative[to] += len(data) // len(datagram(1))
    total = sum(per_relative.values())
    assert total == forwarder.counters.scattered
    assert 3 * 130 < total < 3 * 270
    assert min(per_relative.values()) > total / 10


def test_what_is_known_already_is_not_scattered_nor_sent_back_or_twice() -> None:
    forwarder = member(1.0, CHILD, SIBLING)
    first = forwarder.forward(burst(many(1, 2)), 1.0)
    assert [transmit.to for transmit in first.transmits].count(SIBLING) == 1
    assert forwarder.forward(burst(many(1, 2)), 1.0) == Outcome()
    outcome = forwarder.forward(burst(datagram(3), GRANDPARENT), 1.0)
    assert GRANDPARENT not in sent(outcome)


def test_own_packets_are_scattered_too() -> None:
    forwarder = member(1.0, CHILD, upstream=())
    outcome = forwarder.originate(SESSION, ORIGIN, TREE, GROUP, SOURCE, [b"payload"], 1.0)
    assert sum(transmit.to in RELATIVES for transmit in outcome.transmits) == 3


def test_a_packet_that_is_ahead_is_taken_and_its_sender_asked_for_those_before_it() -> None:
    forwarder = member(0.01, CHILD)
    forwarder.forward(burst(datagram(1)), 1.0)
    outcome = forwarder.forward(burst(datagram(4), SIBLING), 1.0)
    assert delivered(outcome) == datagram(4) and sent(outcome)[CHILD] == datagram(4)
    asked = woken(forwarder, 1.35)
    assert asked[0] == (1.01, SIBLING, [2, 3])
    assert [to for _, to, _ in asked[1:]] == [PARENT, PARENT]


def test_without_the_option_a_packet_that_is_ahead_is_not_taken() -> None:
    forwarder = member(0.0, CHILD)
    forwarder.forward(burst(datagram(1)), 1.0)
    assert forwarder.forward(burst(datagram(4), SIBLING), 1.0) == Outcome()


def test_what_is_far_ahead_or_from_strangers_is_not_taken() -> None:
    forwarder = member(0.01, CHILD)
    assert forwarder.forward(burst(datagram(1), SIBLING), 1.0) == Outcome()
    forwarder.forward(burst(datagram(1)), 1.0)
    assert forwarder.forward(burst(datagram(1026), SIBLING), 1.0) == Outcome()
    assert forwarder.forward(burst(datagram(2), endpoint(77)), 1.0) == Outcome()
    assert forwarder.counters.dropped["not_upstream"] == 3


def test_lots_are_drawn_with_the_same_chance_for_each() -> None:
    rng = Random(3)
    hits = [0] * 20
    for _ in range(5000):
        for at in drawn(rng, 0.1, 20):
            hits[at] += 1
    assert all(400 < hit < 600 for hit in hits)
    assert list(drawn(rng, 1.0, 3)) == [0, 1, 2]
    assert list(drawn(rng, 0.5, 0)) == []


def test_the_same_dice_fall_the_same_way() -> None:
    def play(seed: int) -> list[Outcome]:
        forwarder = member(0.1, CHILD, seed=seed)
        return [forwarder.forward(burst(many(1 + 10 * n, 10)), 1.0) for n in range(20)]

    assert play(5) == play(5) != play(6)


def test_a_share_is_a_probability() -> None:
    for share, reason in ((-0.1, "negative"), (1.1, "probability")):
        with pytest.raises(ParameterError, match=reason):
            Parameters(random_forward=share)
