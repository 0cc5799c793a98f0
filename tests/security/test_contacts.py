"""How associations are renewed, replaced and doubted, and when they are forgotten."""

from __future__ import annotations

import pytest

from dmmp.messages import Option
from dmmp.security.association import LIFE, RENEW_AFTER, SEND_UNTIL
from dmmp.security.calls import TRIES
from dmmp.security.contacts import DOUBT_AFTER, SAY_AFTER, SUPERSEDED
from dmmp.security.limits import Limits
from tests.security.association_stage import (
    WALL,
    Network,
    associated,
    at,
    is_kind,
    option_of,
    options,
    pair,
    table,
)

# Renewal.


@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_renewal_under_traffic_loses_nothing(jitter: float) -> None:
    network = pair(delay=0.03, jitter=jitter)
    network.say(1, 2, b"first")
    network.run(1.0)
    network.got(2)
    for number in range(2500):
        network.say(1, 2, b"1 %d" % number)
        network.say(2, 1, b"2 %d" % number)
        network.run(0.2)
    network.run(1.0)
    assert sorted(network.got(2)) == sorted(b"1 %d" % number for number in range(2500))
    assert sorted(network.got(1)) == sorted(b"2 %d" % number for number in range(2500))
    one, two = (network.hosts[at(number)] for number in (1, 2))
    assert one.counters["established"] == 5, "every 120 s"
    # Now and then the response is slower than the next try.
    assert 5 <= one.counters["initiations_sent"] <= 10
    assert two.counters["initiations_sent"] == 0, "the initiator renews, not both"


def test_renewal_when_only_the_responder_speaks() -> None:
    network = associated()
    for number in range(300):
        network.say(2, 1, b"%d" % number)
        network.run(1.0)
    assert len(network.got(1)) == 300
    assert network.hosts[at(1)].counters["established"] == 3
    assert network.hosts[at(2)].counters["initiations_sent"] == 0


def test_on_a_lossy_network_renewal_costs_only_what_the_network_loses() -> None:
    network = pair(3, delay=0.03)
    network.say(1, 2, b"first")
    network.run(2.0)
    network.captured.clear()
    network.got(2)
    network.loss = 0.2
    count = 2000
    for number in range(count):
        network.say(1, 2, b"1 %d" % number)
        network.say(2, 1, b"2 %d" % number)
        network.run(0.3)
    network.run(1.0)
    received = len(network.got(1)) + len(network.got(2))
    assert abs(received / (2 * count) - 0.8) < 0.02


def test_the_old_one_is_accepted_for_ten_seconds_more() -> None:
    network = associated()
    late = network.hosts[at(2)].send(b"late", at(1), network.now)
    later = network.hosts[at(2)].send(b"later", at(1), network.now)
    assert isinstance(late, list) and isinstance(later, list)
    network.run(RENEW_AFTER)
    network.say(1, 2, b"renew")
    network.run(1.0)
    network.say(2, 1, b"over the new one")
    network.run(SUPERSEDED - 2.0)
    network.put(late, at(2))
    network.run(4.0)
    network.put(later, at(2))
    network.run(1.0)
    assert network.got(1) == [b"over the new one", b"late"]
    assert network.hosts[at(1)].counters["unknown_index"] == 1


def test_an_association_that_nobody_uses_is_forgotten_by_both_at_once() -> None:
    network = associated()
    network.run(LIFE - 4.0)
    one, two = (network.hosts[at(number)] for number in (1, 2))
    assert one.sizes()["associations"] == two.sizes()["associations"] == 1
    network.run(2.0)
    assert one.peer(at(2)) is None
    assert two.peer(at(1)) is None
    assert one.next_alarm() is two.next_alarm() is None
    network.say(2, 1, b"anew")
    network.run(0.2)
    assert network.got(1) == [b"anew"]


def test_nothing_is_sent_over_one_that_is_too_old() -> None:
    """Renewal was impossible for a minute; then what is sent waits for the handshake."""
    network = associated()
    network.run(RENEW_AFTER - 4.0)
    network.cut = lambda sent: True
    for _ in range(57):
        network.say(1, 2, b"lost")
        network.run(1.0)
    network.captured.clear()
    network.cut = lambda sent: False
    network.say(1, 2, b"waits")
    network.run(5.0)
    assert Option.SEALED in options(network)
    assert network.got(2)[-1] == b"waits"


# Silence.


def test_a_responder_that_restarted_is_found_out() -> None:
    network = associated()
    network.add(2, table(2, start=1))
    for number in range(8):
        network.say(1, 2, b"%d" % number)
        network.run(0.5)
    assert network.got(2)[-2:] == [b"6", b"7"]
    assert network.got(2) == []
    one = network.hosts[at(1)]
    assert one.counters["doubted"] == 1
    assert network.hosts[at(2)].counters["unknown_index"] <= 6
    calls = [sent.at for sent in network.captured if is_kind(sent, Option.HANDSHAKE_INITIATION)]
    assert calls[1] - 103.0 == pytest.approx(DOUBT_AFTER, abs=0.01)


def test_one_that_restarted_and_speaks_first_is_known_at_once() -> None:
    for restarted, other in ((1, 2), (2, 1)):
        network = associated()
        network.add(restarted, table(restarted, start=1))
        network.say(restarted, other, b"I am new")
        network.run(0.1)
        assert network.got(other) == [b"I am new"]
        network.say(other, restarted, b"I see")
        network.run(0.1)
        assert network.got(restarted) == [b"I see"]


def test_a_clock_that_was_put_back_over_a_restart_does_no_harm() -> None:
    """The timestamps of another start are another row."""
    network = associated()
    network.add(1, table(1, start=1, wall=WALL - 86_400))
    network.say(1, 2, b"yesterday")
    network.run(0.1)
    assert network.got(2) == [b"yesterday"]


def test_a_clock_that_is_put_back_meanwhile_does_no_harm() -> None:
    network = associated()
    network.hosts[at(1)].set_wall(WALL - 86_400)
    network.hosts[at(1)].drop(at(2))
    network.say(1, 2, b"again")
    network.run(0.1)
    assert network.got(2) == [b"again"]


def test_one_that_never_answers_is_called_ever_more_seldom() -> None:
    network = associated()
    network.cut = lambda sent: sent.sender == at(2)
    network.captured.clear()
    for _ in range(100):
        network.say(1, 2, b"are you there")
        network.run(1.0)
    calls = [sent.at for sent in network.captured if is_kind(sent, Option.HANDSHAKE_INITIATION)]
    one = network.hosts[at(1)]
    assert one.counters["doubted"] == 8, "after 2, 6, 14, 30, 46, 62, 78 and 94 s"
    assert len(calls) <= TRIES * 8
    assert one.peer(at(2)) is not None
    assert one.failed() == []
    assert len(network.got(2)) == 100, "meanwhile it is sent to as before"


def test_who_only_listens_is_not_doubted() -> None:
    network = associated()
    network.captured.clear()
    for number in range(60):
        network.say(1, 2, b"%d" % number)
        network.run(0.3)
    network.run(2.0)
    assert network.hosts[at(1)].counters["doubted"] == 0
    answers = [sent for sent in network.captured if sent.sender == at(2)]
    assert {len(sent.data) for sent in answers} == {40}
    assert 15 <= len(answers) <= 20, "one a second"
    assert len([sent for sent in network.captured if sent.sender == at(1)]) == 60


def test_who_answers_says_nothing_more() -> None:
    network = associated()
    network.captured.clear()
    for _ in range(30):
        network.say(1, 2, b"question")
        network.run(0.05)
        network.say(2, 1, b"answer")
        network.run(1.5)
    # The last word is owed an answer, too, but nobody answers an empty plaintext.
    empty = [sent for sent in network.captured if len(sent.data) == 40]
    assert all(sent.sender == at(1) for sent in empty)
    assert len(network.got(1)) == len(network.got(2)) == 30


def test_silence_is_noticed_without_another_word() -> None:
    network = associated()
    network.add(2, table(2, start=1))
    for _ in range(3):
        network.say(1, 2, b"lost")
    network.run(DOUBT_AFTER + 0.2)
    assert network.hosts[at(2)].peer(at(1)) is not None


def test_two_unanswered_are_not_enough() -> None:
    network = associated()
    network.cut = lambda sent: sent.sender == at(2)
    network.say(1, 2, b"one")
    network.run(SAY_AFTER)
    network.say(1, 2, b"two")
    network.run(60.0)
    assert network.hosts[at(1)].counters["doubted"] == 0


def test_one_that_was_replaced_is_doubted_no_more() -> None:
    network = associated()
    network.add(2, table(2, start=1))
    for _ in range(3):
        network.say(1, 2, b"lost")
    network.run(DOUBT_AFTER / 2)
    network.say(2, 1, b"I am new")
    network.run(DOUBT_AFTER)
    one = network.hosts[at(1)]
    assert (one.counters["doubted"], one.counters["established"]) == (0, 2)


def test_after_a_doubt_it_takes_three_more_to_doubt_again() -> None:
    network = associated()
    network.cut = lambda sent: sent.sender == at(2)
    one = network.hosts[at(1)]
    for expected, plaintexts in ((1, 3), (1, 2), (2, 1)):
        for _ in range(plaintexts):
            network.say(1, 2, b"are you there")
        network.run(30.0)
        assert one.counters["doubted"] == expected


def test_towards_its_end_it_is_not_sent_over_but_still_accepted() -> None:
    """What was sent at the last moment arrives when the other end would send nothing any more."""
    network = associated()
    network.run(SEND_UNTIL - 3.04)
    sent = network.hosts[at(2)].send(b"just in time", at(1), network.now)
    assert isinstance(sent, list) and option_of(sent[0].data) is Option.SEALED
    network.run(1.0)
    waits = network.hosts[at(2)].send(b"waits", at(1), network.now)
    assert isinstance(waits, list)
    assert option_of(waits[0].data) is Option.HANDSHAKE_INITIATION
    one = network.hosts[at(1)]
    assert one.receive(sent[0].data, at(2), network.now).plaintexts == [b"just in time"]
    network.put(waits, at(2))
    network.run(0.2)
    assert network.got(1) == [b"waits"]


def test_after_180_seconds_nothing_is_accepted_even_before_the_alarm() -> None:
    network = associated()
    sent = network.hosts[at(2)].send(b"too late", at(1), network.now)
    assert isinstance(sent, list)
    received = network.hosts[at(1)].receive(sent[0].data, at(2), 100.0 + LIFE)
    assert received == ([], [], None)
    assert network.hosts[at(1)].counters["unknown_index"] == 1


def test_the_responder_does_not_call_because_it_hears_something() -> None:
    network = associated()
    network.run(SEND_UNTIL - 3.1)
    network.cut = lambda sent: not is_kind(sent, Option.SEALED)
    network.delay = 1.0
    network.say(1, 2, b"late")
    network.run(3.0)
    assert network.got(2) == [b"late"]
    assert network.hosts[at(2)].counters["initiations_sent"] == 0


def test_hearing_counts_as_use() -> None:
    network = Network(delay=0.01)
    hub = network.add(1, table(1, limits=Limits(associations=3)))
    for number in (2, 3, 4):
        network.add(number)
        network.say(number, 1, b"hello")
        network.run(0.05)
    network.say(2, 1, b"still here")
    network.run(0.05)
    network.add(5)
    network.say(5, 1, b"hello")
    network.run(0.05)
    assert [number for number in range(2, 6) if hub.peer(at(number)) is not None] == [2, 4, 5]
