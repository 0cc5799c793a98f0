"""Answering requests (Decision 18): what is here, what comes, and what nobody here has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.actions import Replay
from dmmp.forwarding.answering import LEAST_STORE, MOST_ALLOWANCES, Ages, Allowances
from dmmp.forwarding.burst import Outcome
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.wants import Wants, wanted_of
from dmmp.parameters import Parameters
from dmmp.types import Endpoint
from tests.forwarding.build import (
    CHANNEL,
    CHILD,
    CHILD_2,
    GRANDPARENT,
    GROUP,
    ORIGIN,
    PARENT,
    SESSION,
    SIBLING,
    SOURCE,
    STRANGER,
    TREE,
    WANT,
    burst,
    datagram,
    delivered,
    endpoint,
    heartbeat,
    install,
    relay,
    requests,
    sent,
    woken,
)

PARAMETERS = Parameters()


def ask(
    forwarder: Forwarder, to: Endpoint, *numbers: int, now: float = 2.0, channel: int = CHANNEL
) -> Outcome:
    """Let a host ask for these numbers."""
    base = min(numbers)
    bits = ["1" if base + n in numbers else "0" for n in range(max(numbers) - base + 1)]
    bits += ["0"] * (-len(bits) % 8)
    bitmap = int("".join(bits), 2).to_bytes(len(bits) // 8, "big")
    return forwarder.apply(Replay(SESSION, ORIGIN, channel, base, bitmap, to), now)


def feed(forwarder: Forwarder, *numbers: int, now: float = 1.0) -> Outcome:
    """Let packets come from upstream, one by one; return what became of the last."""
    outcome = Outcome()
    for number in numbers:
        outcome = forwarder.forward(burst(datagram(number)), now)
    return outcome


def test_what_is_here_is_sent_to_who_asked_and_to_nobody_else() -> None:
    forwarder = relay(CHILD, CHILD_2)
    feed(forwarder, 1, 2, 3)
    assert sent(ask(forwarder, CHILD, 1, 3)) == {CHILD: datagram(1) + datagram(3)}
    assert sent(ask(forwarder, STRANGER, 2)) == {STRANGER: datagram(2)}
    assert forwarder.counters.replayed == 3


def test_a_copy_of_a_request_is_not_answered_again_but_a_second_try_is() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 2, 3)
    assert sent(ask(forwarder, CHILD, 2, now=2.0)) != {}
    assert sent(ask(forwarder, CHILD, 2, now=2.01)) == {}
    assert sent(ask(forwarder, CHILD, 3, now=2.01)) != {}
    assert sent(ask(forwarder, CHILD, 2, now=2.04)) != {}


def test_what_this_host_lacks_itself_is_asked_for_once_and_passed_on_when_it_comes() -> None:
    forwarder = relay(CHILD, CHILD_2)
    feed(forwarder, 1, 4)
    assert ask(forwarder, CHILD, 2, 3, now=1.02) == Outcome()
    assert ask(forwarder, CHILD_2, 2, 3, now=1.02) == Outcome()
    assert ask(forwarder, CHILD, 5, now=1.02) == Outcome()
    assert [marked for _, _, marked in woken(forwarder, 1.05)] == [[2, 3]]
    assert sent(feed(forwarder, 2, now=1.1)) == {CHILD: datagram(2), CHILD_2: datagram(2)}


def test_one_who_is_no_branch_waits_for_what_is_missing_or_yet_to_come() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 4)
    assert ask(forwarder, SIBLING, 2, 5, now=1.02) == Outcome()
    assert sent(feed(forwarder, 2, now=1.1)) == {CHILD: datagram(2), SIBLING: datagram(2)}
    both = forwarder.forward(burst([datagram(5), datagram(6)]), 1.2)
    assert sent(both) == {CHILD: datagram(5) + datagram(6), SIBLING: datagram(5)}
    # Once is enough, and so is the time of a cache.
    assert sent(feed(forwarder, 7, now=1.3)) == {CHILD: datagram(7)}
    ask(forwarder, SIBLING, 8, now=1.3)
    assert sent(feed(forwarder, 8, now=3.4)) == {CHILD: datagram(8)}


def test_what_nobody_here_has_is_asked_for_further_up_once_and_goes_only_to_who_asked() -> None:
    forwarder = relay(CHILD, CHILD_2, endpoint(13), deliver=WANT)
    forwarder.apply(install(CHILD, CHILD_2, endpoint(13), deliver=WANT), 0.0)
    feed(forwarder, 100)
    assert requests(ask(forwarder, CHILD, 90, 91, now=1.5)) == [(PARENT, [90, 91])]
    assert requests(ask(forwarder, CHILD_2, 91, now=1.51)) == []
    assert requests(ask(forwarder, CHILD_2, 91, 92, now=1.52)) == [(PARENT, [92])]
    # Not answered for as long as an answer takes: asked again.
    assert requests(ask(forwarder, CHILD, 90, 91, now=1.75)) == [(PARENT, [90, 91])]
    outcome = forwarder.forward(burst([datagram(90), datagram(91), datagram(92)]), 1.8)
    assert sent(outcome) == {
        CHILD: datagram(90) + datagram(91),
        CHILD_2: datagram(91) + datagram(92),
    }
    # This host has it now, too.
    assert delivered(outcome) == datagram(90) + datagram(91) + datagram(92)
    assert sent(ask(forwarder, CHILD_2, 90, now=1.81)) == {CHILD_2: datagram(90)}
    assert forwarder.snapshot()["lost"] == 0


def test_what_the_cache_let_go_of_is_fetched_again_and_not_delivered_twice() -> None:
    forwarder = relay(CHILD, CHILD_2, deliver=WANT, parameters=Parameters(cache_bytes=600))
    feed(forwarder, *range(1, 11))
    assert requests(ask(forwarder, CHILD, 2, 10, now=1.5)) == [(PARENT, [2])]
    outcome = feed(forwarder, 2, now=1.6)
    assert sent(outcome) == {CHILD: datagram(2)} and delivered(outcome) == b""
    assert feed(forwarder, 2, now=1.6) == Outcome()


def test_what_was_fetched_for_others_may_come_from_those_who_repair() -> None:
    forwarder = relay(CHILD)
    forwarder.apply(install(CHILD, CHILD_2, repairers=(GRANDPARENT,)), 0.5)
    feed(forwarder, 100)
    ask(forwarder, CHILD, 90, now=1.5)
    outcome = forwarder.forward(burst([datagram(90), datagram(91)], GRANDPARENT), 1.6)
    assert sent(outcome) == {CHILD: datagram(90)}
    assert forwarder.counters.dropped["not_upstream"] == 1


def test_nothing_is_asked_further_up_that_no_cache_can_hold_or_by_upstream_itself() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 10_000)
    assert requests(ask(forwarder, CHILD, 10, now=1.5)) == []
    assert requests(ask(forwarder, PARENT, 9_990, now=1.5)) == []
    forwarder.apply(install(CHILD, upstream=()), 1.6)
    assert requests(ask(forwarder, CHILD, 9_991, now=1.6)) == []


def test_an_origin_is_asked_for_its_own_packets() -> None:
    forwarder = Forwarder(PARAMETERS)
    forwarder.apply(install(CHILD, upstream=()), 0.0)
    forwarder.originate(SESSION, ORIGIN, TREE, GROUP, SOURCE, [b"payload"] * 5, 1.0)
    outcome = ask(forwarder, CHILD, 2, 9, now=1.5, channel=1)
    assert sent(outcome) == {CHILD: datagram(2, channel=1)}


def test_everything_from_a_number_on_goes_after_the_announcement() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, *range(1, 6))
    outcome = forwarder.apply(Replay(SESSION, ORIGIN, CHANNEL, 4, b"", SIBLING), 1.5)
    assert sent(outcome) == {SIBLING: heartbeat() + datagram(4) + datagram(5)}


def test_a_request_that_crossed_the_packet_is_not_answered() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 3, now=1.0)
    woken(forwarder, 1.02)
    feed(forwarder, 2, now=1.03)
    # The child noticed the same gap, and asked before it could have the packet.
    assert sent(ask(forwarder, CHILD, 2, now=1.04)) == {}
    assert sent(ask(forwarder, CHILD, 2, now=1.14)) == {CHILD: datagram(2)}
    # Who is no branch did not get it.
    assert sent(ask(forwarder, SIBLING, 2, now=1.04)) == {SIBLING: datagram(2)}


def test_how_old_packets_are_when_asked_for_tells_how_far_the_child_is() -> None:
    forwarder = relay(CHILD)
    for n in range(50):
        feed(forwarder, 10 * n, now=1.0 + n)
        ask(forwarder, CHILD, 10 * n, now=1.2 + n)
    feed(forwarder, 502, now=60.0)
    woken(forwarder, 60.02)
    feed(forwarder, 501, now=60.03)
    assert sent(ask(forwarder, CHILD, 501, now=60.2)) == {}
    assert sent(ask(forwarder, CHILD, 501, now=60.25)) == {CHILD: datagram(501)}


def test_the_ages_that_are_remembered_are_bounded() -> None:
    ages = Ages()
    for n in range(2000):
        ages.note(endpoint(n), 0.1)
    assert ages.age(endpoint(0)) is None and ages.age(endpoint(1999)) == 0.1
    ages.note(endpoint(1999), 0.05)
    assert ages.age(endpoint(1999)) == 0.05
    ages.note(endpoint(1999), 0.2)
    assert ages.age(endpoint(1999)) == pytest.approx(0.05 + 0.15 / 16)


def test_those_who_wait_are_bounded() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1)
    for n in range(500):
        ask(forwarder, endpoint(1000 + n), 5, now=1.1)
    assert len(sent(feed(forwarder, 5, now=1.2))) == PARAMETERS.repair_wants + 1
    for n in range(500):
        ask(forwarder, endpoint(1000 + n), 3, now=1.2 + n)
    (channel,) = forwarder._table.announced()
    assert len(channel.answered) <= 64 and len(channel.wants.waiting) <= 2


def test_wants_find_what_was_asked_for_around_the_turn_of_the_numbers() -> None:
    wants = Wants(4, 2.0)
    wants.add(1, 0b1011, CHILD, True, 0.0)
    assert [wants.is_fetched(n % 2**32) for n in range(-3, 3)] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert wants.unasked(2, 0b10111, 0.05, 0.1) == 0b00001
    assert wants.unasked(2, 0b10111, 0.5, 0.1) == 0b10111
    assert wants.take([2**32 - 2, 0], True, 1.0) == [(CHILD, [True, True])]
    assert wants.take([1], True, 1.0) == [(CHILD, [True])]
    assert not wants.waiting
    assert wanted_of(1, 0b1011) == (2**32 - 2, b"\xb0")
    assert wanted_of(9, 0b1100) == (6, b"\xc0")


def test_who_asks_for_everything_again_and_again_gets_what_the_streams_bring_and_a_store() -> None:
    size = len(datagram(1))
    forwarder = relay(CHILD, CHILD_2, parameters=replace(PARAMETERS, repair_store=20 * size))
    for number in range(100):
        forwarder.forward(burst(datagram(number)), 1.0 + number / 100)
        for again in range(5):
            ask(forwarder, CHILD, *range(number + 1), now=1.001 + number / 100 + again / 1000)
    counters = forwarder.counters
    # Not reckoned with the packet that has just come: it came before the first request.
    assert counters.replayed == 20 + 99 // 4
    assert counters.withheld > 4_000
    # Another has an allowance of its own, and who has rested has it again.
    assert sent(ask(forwarder, CHILD_2, 98, 99, now=2.1)) == {CHILD_2: datagram(98) + datagram(99)}
    feed(forwarder, *range(100, 180), now=2.2)
    assert len(sent(ask(forwarder, CHILD, *range(150, 180), now=2.3))[CHILD]) == 20 * size


def test_allowances_are_kept_for_a_bounded_number_of_hosts() -> None:
    allowances = Allowances(1000, 0.5)
    for number in range(2 * MOST_ALLOWANCES):
        allowances.spend(endpoint(number), 600, 0, 0)
    assert len(allowances._left) == MOST_ALLOWANCES
    assert allowances.left(endpoint(2 * MOST_ALLOWANCES - 1), 0, 0) == 400
    assert allowances.left(endpoint(2 * MOST_ALLOWANCES - 1), 1000, 0) == 900
    assert allowances.left(endpoint(0), 0, 0) == allowances.left(endpoint(0), 5000, 0) == 1000


def test_all_together_get_back_a_quarter_of_what_went_to_the_branches_and_four_stores() -> None:
    size = len(datagram(1))
    others = [endpoint(number) for number in range(60, 90)]
    forwarder = relay(CHILD, CHILD_2, parameters=replace(PARAMETERS, repair_store=10 * size))
    feed(forwarder, *range(100), now=1.0)
    replayed = 0
    for again, other in enumerate(others):
        replayed += len(sent(ask(forwarder, other, *range(50, 60), now=1.01 + again / 1000))[other])
        if replayed >= 40 * size:
            break
    assert not sent(ask(forwarder, others[-1], *range(50, 60), now=1.1))
    # A newcomer has all that is kept: it asks for no single packets.
    newcomer = forwarder.apply(Replay(SESSION, ORIGIN, CHANNEL, 91, b"", others[-2]), 1.1)
    assert len(sent(newcomer)[others[-2]]) >= 9 * size
    feed(forwarder, *range(100, 120), now=1.2)
    assert len(sent(ask(forwarder, others[-1], *range(50, 70), now=1.3))[others[-1]]) == 10 * size


def test_nobody_is_sent_more_at_once_than_is_kept_or_a_little() -> None:
    allowances = Allowances(1 << 20, 0.25)
    assert allowances.left(CHILD, 0, 0) == LEAST_STORE
    assert allowances.left(CHILD, 0, 100_000) == 100_000
    assert allowances.left(CHILD, 0, 9 << 20) == 1 << 20
