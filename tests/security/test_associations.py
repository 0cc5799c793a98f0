"""Associations between hosts that mean well, on networks that do not always."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import UsageError
from dmmp.messages import Option
from dmmp.security.association import MAXIMUM_PLAINTEXT_BYTES, RENEW_AFTER
from dmmp.security.associations import KEY_WAIT, Associations
from dmmp.security.calls import TRIES
from dmmp.security.handshakes import INITIATION_FILLED
from dmmp.security.limits import Limits
from dmmp.security.outcomes import Unknown
from tests.marks import long
from tests.security.association_stage import (
    WALL,
    Network,
    Shared,
    SimpleParty,
    associated,
    at,
    is_kind,
    options,
    pair,
    party,
    table,
)

# First contact.


def test_one_round_trip_and_the_first_plaintext_is_there() -> None:
    network = pair(delay=0.02)
    network.say(1, 2, b"hello")
    network.run(0.061)
    assert network.got(2) == [b"hello"]
    assert options(network) == [
        Option.HANDSHAKE_INITIATION,
        Option.HANDSHAKE_RESPONSE,
        Option.SEALED,
    ]
    sizes = [len(sent.data) for sent in network.captured]
    assert sizes == [INITIATION_FILLED, 106 + 380, 24 + 5 + 16]
    for number, other in ((1, 2), (2, 1)):
        peer = network.hosts[at(number)].peer(at(other))
        assert peer is not None and peer.static_key == party(other).public


def test_the_credential_is_checked_at_wall_time() -> None:
    one, two = party(1), party(2)
    network = Network()
    network.add(1, table(1, own=one))
    network.add(2, table(2, own=two))
    network.say(1, 2, b"hello")
    network.run(0.1)
    assert one.checked == [pytest.approx(WALL + 100.04)]
    assert two.checked == [pytest.approx(WALL + 100.02)]
    network.hosts[at(2)].set_wall(0.0)
    network.hosts[at(1)].drop(at(2))
    network.say(1, 2, b"again")
    network.run(0.1)
    assert two.checked[1] == pytest.approx(100.12)


def test_what_waits_goes_in_order_when_the_association_is_there() -> None:
    network = pair()
    for number in range(5):
        network.say(1, 2, b"%d" % number)
    network.run(1.0)
    assert network.got(2) == [b"0", b"1", b"2", b"3", b"4"]
    assert options(network).count(Option.HANDSHAKE_INITIATION) == 1


def test_the_responder_waits_for_confirmation() -> None:
    """It may know nobody but a replayed initiation: it sends the response and nothing else."""
    network = pair()
    network.cut = lambda sent: is_kind(sent, Option.SEALED)
    network.say(1, 2, b"lost")
    network.run(0.1)
    two = network.hosts[at(2)]
    assert two.peer(at(1)) is None
    two.introduce(at(1), party(1).public, network.now)
    sent = two.send(b"waits", at(1), network.now)
    assert isinstance(sent, list)
    assert [int.from_bytes(data[2:4], "big") for data, _ in sent] == [0xD0]
    network.cut = lambda sent: False
    network.say(1, 2, b"confirms")
    network.run(0.1)
    assert network.got(2) == [b"confirms"]
    assert network.got(1) == [b"waits"]


def test_nothing_to_say_is_confirmed_with_an_empty_plaintext() -> None:
    network = pair()
    network.say(1, 2, b"x")
    one = network.hosts[at(1)]
    one._waiting.drop(at(2))
    network.run(0.1)
    assert [len(sent.data) for sent in network.captured][2:] == [40]
    assert network.hosts[at(2)].peer(at(1)) is not None
    assert network.got(2) == []


def test_an_unknown_key_is_asked_for_and_then_the_queue_goes_on() -> None:
    network = Network()
    network.hosts[at(1)], network.hosts[at(2)] = table(1), table(2)
    one = network.hosts[at(1)]
    assert one.send(b"first", at(2), network.now) == Unknown(at(2))
    assert one.send(b"second", at(2), network.now) == Unknown(at(2))
    assert one.introduce(at(3), party(3).public, network.now) == []
    network.put(one.introduce(at(2), party(2).public, network.now), at(1))
    network.run(1.0)
    assert network.got(2) == [b"first", b"second"]
    assert one.failed() == []


def test_a_key_that_never_comes_is_not_waited_for_for_ever() -> None:
    network = Network()
    one = network.hosts[at(1)] = table(1)
    one.send(b"first", at(2), network.now)
    network.run(KEY_WAIT - 0.1)
    assert one.failed() == []
    network.run(0.2)
    assert one.failed() == [at(2)]
    assert one.failed() == []
    assert one.counters["queue_dropped"] == 1
    assert one.next_alarm() is None


def test_a_false_key_leads_nowhere_and_a_better_one_helps() -> None:
    """Hearsay may be wrong; the next try takes the key that is known by then."""
    network = Network()
    one, two = network.hosts[at(1)], network.hosts[at(2)] = table(1), table(2)
    one.introduce(at(2), party(3).public, network.now)
    network.say(1, 2, b"first")
    network.run(0.1)
    assert two.counters["mac1"] == 1
    one.introduce(at(2), party(2).public, network.now)
    network.run(1.0)
    assert network.got(2) == [b"first"]


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_keys_of_another_length_are_no_keys(key: bytes) -> None:
    one = table(1)
    assert one.introduce(at(2), key, 0.0) == []
    assert one.counters["hearsay"] == 1
    assert one.send(b"x", at(2), 0.0) == Unknown(at(2))


def test_a_key_of_low_order_leads_nowhere_at_once() -> None:
    one = table(1)
    one.introduce(at(2), bytes(32), 0.0)
    assert one.send(b"x", at(2), 0.0) == []
    assert one.failed() == [at(2)]
    assert one.next_alarm() is None


def test_an_endpoint_with_an_association_keeps_its_key() -> None:
    network = associated()
    one = network.hosts[at(1)]
    assert one.introduce(at(2), party(3).public, network.now) == []
    assert one.counters["hearsay"] == 1
    one.introduce(at(2), party(2).public, network.now)
    assert one.counters["hearsay"] == 1
    network.run(RENEW_AFTER)
    network.say(1, 2, b"renewed")
    network.run(1.0)
    assert network.got(2) == [b"renewed"]
    assert one.counters["established"] == 2


def test_one_secret_for_all_needs_no_introductions() -> None:
    network = Network()
    for number in (1, 2):
        network.hosts[at(number)] = table(number, own=Shared())
    network.say(1, 2, b"hello")
    network.run(0.1)
    network.say(2, 1, b"hello back")
    network.run(0.1)
    assert network.got(2) == [b"hello"]
    assert network.got(1) == [b"hello back"]


def test_too_long_a_plaintext_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError):
        table(1).send(bytes(MAXIMUM_PLAINTEXT_BYTES + 1), at(2), 0.0)
    with pytest.raises(UsageError):
        table(1, own=SimpleParty(b"s" * 32, credential_bytes=1025))


# Tries.


def test_eleven_tries_each_another_then_the_queue_is_dropped() -> None:
    network = pair()
    del network.hosts[at(2)]
    network.say(1, 2, b"one")
    network.say(1, 2, b"two")
    network.run(20.0)
    one = network.hosts[at(1)]
    times = [round(sent.at - 100.0, 3) for sent in network.captured]
    assert times == [*(0.25 * n for n in range(8)), 2.25, 3.25, 5.25]
    assert len(times) == TRIES
    assert len({sent.data[8:12] for sent in network.captured}) == TRIES
    assert len({sent.data[24:56] for sent in network.captured}) == TRIES
    assert one.failed() == [at(2)]
    assert (one.counters["failed"], one.counters["queue_dropped"]) == (1, 2)
    assert one.next_alarm() is None
    assert one.sizes()["calls"] == one.sizes()["queued_bytes"] == 0


def test_a_response_to_any_try_counts() -> None:
    """A round trip of 1.2 s: five tries are out when the answer to the first comes."""
    network = pair(delay=0.6)
    network.say(1, 2, b"far away")
    network.run(5.0)
    assert network.got(2) == [b"far away"]
    one, two = network.hosts[at(1)], network.hosts[at(2)]
    assert one.counters["established"] == two.counters["established"] == 1
    assert one.counters["initiations_sent"] == 5
    assert two.sizes()["half_open"] == 0, "the siblings went with the first"


def test_reordered_tries_are_one_call_all_the_same() -> None:
    for seed in range(30):
        network = pair(seed, delay=0.05, jitter=1.0)
        network.say(1, 2, b"hello")
        network.run(12.0)
        assert network.got(2) == [b"hello"]
        network.say(2, 1, b"back")
        network.run(2.0)
        assert network.got(1) == [b"back"]


def test_a_response_lost_is_made_again_for_the_next_try() -> None:
    network = pair()
    lost = iter([True])
    network.cut = lambda sent: is_kind(sent, Option.HANDSHAKE_RESPONSE) and next(lost, False)
    network.say(1, 2, b"hello")
    network.run(0.5)
    assert network.got(2) == [b"hello"]
    assert options(network).count(Option.HANDSHAKE_RESPONSE) == 2


def test_who_is_refused_hears_nothing() -> None:
    network = Network()
    two = party(2)
    network.add(1)
    network.add(2, table(2, own=two))
    two.refused.add(party(1).public)
    network.say(1, 2, b"hello")
    network.run(10.0)
    assert network.hosts[at(2)].counters["refused"] == TRIES
    assert network.hosts[at(2)].sizes()["timestamps"] == 0
    assert set(options(network)) == {Option.HANDSHAKE_INITIATION}
    assert network.hosts[at(1)].failed() == [at(2)]


def test_a_responder_that_is_refused_gets_nothing() -> None:
    network = Network()
    one = party(1)
    network.add(1, table(1, own=one))
    network.add(2)
    one.refused.add(party(2).public)
    network.say(1, 2, b"secret")
    network.run(10.0)
    assert Option.SEALED not in options(network)
    assert network.hosts[at(1)].counters["refused"] == TRIES


def test_another_prologue_is_another_protocol() -> None:
    """Threat 8: who rewrites a version on the way breaks the handshake."""
    network = Network()
    network.add(1, table(1, own=SimpleParty(b"1" * 32, prologue=b"dmmp 1")))
    network.add(2, table(2, own=SimpleParty(b"2" * 32, prologue=b"dmmp 2")))
    network.say(1, 2, b"hello")
    network.run(10.0)
    assert network.hosts[at(2)].counters["handshake"] == TRIES
    assert set(options(network)) == {Option.HANDSHAKE_INITIATION}


# Both at once.


@pytest.mark.parametrize("gap", [0.0, 0.005, 0.019, 0.0201, 0.03, 0.041, 0.05, 0.07])
@pytest.mark.parametrize("seed", range(4))
def test_both_call_at_once_and_send_over_the_same(gap: float, seed: int) -> None:
    network = pair(seed, delay=0.02)
    # Other keys, so that the hash decides one way and the other.
    network.add(1, table(1, start=10 + seed))
    network.say(1, 2, b"from 1")
    network.run(gap)
    network.say(2, 1, b"from 2")
    network.run(1.0)
    assert (network.got(2), network.got(1)) == ([b"from 1"], [b"from 2"])
    established = [network.hosts[at(number)].counters["established"] for number in (1, 2)]
    assert established == ([2, 2] if gap < network.delay else [1, 1])
    network.captured.clear()
    for number in range(30):
        network.say(1, 2, b"1 %d" % number)
        network.say(2, 1, b"2 %d" % number)
        network.run(1.0)
    assert (len(network.got(2)), len(network.got(1))) == (30, 30)
    for sender in (1, 2):
        used = {sent.data[8:12] for sent in network.captured if sent.sender == at(sender)}
        assert len(used) == 1, "neither end alternates"
    one, two = (network.hosts[at(number)] for number in (1, 2))
    assert one.sizes()["associations"] == two.sizes()["associations"] == 1
    assert one.counters["doubted"] == two.counters["doubted"] == 0


@pytest.mark.parametrize("seed", range(40))
def test_on_a_bad_network_both_talk_in_the_end(seed: int) -> None:
    """Lost, doubled and reordered, both calling; then it gets better, and everything arrives."""
    network = pair(seed, delay=0.01, jitter=0.3)
    network.loss, network.doubling = 0.4, 0.3
    dice = Random(seed)
    for _ in range(8):
        network.say(*dice.choice(((1, 2), (2, 1))), b"try")
        network.run(dice.random() * 2)
    network.loss = network.doubling = network.jitter = 0.0
    network.run(10.0)
    for number in range(6):
        network.say(1, 2, b"1 %d" % number)
        network.say(2, 1, b"2 %d" % number)
        network.run(1.0)
    network.delivered.clear()
    for number in range(20):
        network.say(1, 2, b"1 %d" % number)
        network.say(2, 1, b"2 %d" % number)
        network.run(1.0)
    assert network.got(2) == [b"1 %d" % number for number in range(20)]
    assert network.got(1) == [b"2 %d" % number for number in range(20)]


def test_doubled_datagrams_are_taken_once() -> None:
    network = pair(delay=0.02)
    network.doubling = 1.0
    for number in range(20):
        network.say(1, 2, b"%d" % number)
        network.run(0.1)
    assert network.got(2) == [b"%d" % number for number in range(20)]
    assert network.hosts[at(2)].counters["replayed"] >= 20


def test_several_for_one_are_sealed_at_once_where_nothing_else_is_to_be_done() -> None:
    network = associated()
    one, other = network.hosts[at(1)], network.hosts[at(2)]
    now = network.now
    sealed = one.send_all([b"first", b"second"], at(2), now)
    assert sealed is not None
    got = [other.receive(each, at(1), now).plaintexts for each in sealed]
    assert got == [[b"first"], [b"second"]]
    # Otherwise each goes its own way: with a call first, with a renewal beside it, or not at all.
    assert one.send_all([b"x"], at(3), now) is None
    assert one.send_all([b"x"], at(2), now + RENEW_AFTER + 1.0) is None
    assert one.send_all([b"x", bytes(MAXIMUM_PLAINTEXT_BYTES + 1)], at(2), now) is None


# The rest of the table.


def test_drop_forgets_everything_of_an_endpoint() -> None:
    network = associated()
    two = network.hosts[at(2)]
    network.hosts[at(1)].drop(at(2))
    network.say(1, 2, b"half")
    network.cut = lambda sent: True
    network.run(0.1)
    assert two.sizes()["half_open"] == 1
    for number, other in ((1, 2), (2, 1)):
        network.hosts[at(number)].drop(at(other))
    sizes = network.hosts[at(1)].sizes()
    assert not any(sizes[name] for name in sizes if name not in ("keys", "timestamps"))
    network.run(20.0)
    assert two.sizes()["half_open"] == two.sizes()["alarms"] == 0


def test_the_least_recently_used_goes_when_the_table_is_full() -> None:
    network = Network()
    hub = network.add(1, table(1, limits=Limits(associations=5)))
    for number in range(2, 8):
        network.add(number)
        network.say(number, 1, b"hello")
        network.run(0.2)
        if number > 2:
            network.say(2, 1, b"still here")
            network.run(0.1)
    assert hub.sizes()["associations"] == hub.sizes()["contacts"] == 5
    kept = [number for number in range(2, 8) if hub.peer(at(number)) is not None]
    assert len(kept) == 5 and {2, 7} < set(kept)
    assert hub.counters["evicted"] == 1


def test_the_key_log_opens_both_directions() -> None:
    """Each index with the key of what is addressed to it, as one line an association."""
    lines: list[str] = []
    network = Network()
    network.add(1, table(1, key_log=lines.append))
    network.add(2)
    network.say(1, 2, b"hello")
    network.run(0.1)
    network.say(2, 1, b"hello back")
    network.run(0.1)
    assert len(lines) == 1
    name, *words = lines[0].split()
    assert name == "DMMP_ASSOCIATION"
    keys = {words[at]: bytes.fromhex(words[at + 1]) for at in (0, 2)}
    opened = [
        AESGCM(keys[data[8:12].hex()]).decrypt(
            bytes(4) + data[16:20] + data[12:16], data[24:], data[:24]
        )
        for _, data, _, _ in network.captured
        if data[2:4] == b"\x00\xd3"
    ]
    assert opened == [b"hello", b"hello back"]


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert associated(7).captured == associated(7).captured


# All of it at once.


def soak(seed: int) -> None:
    """Three hosts that restart, forget and talk on a changing network; then it is well again."""
    dice = Random(seed)
    is_shared = dice.random() < 0.4
    limits = Limits(
        initiations=dice.choice((0, 2, 200)),
        # No fewer than the tries of two that call at once over the longest way.
        half_open=dice.choice((8, 1024)),
        associations=dice.choice((4, 1024)),
    )

    def start(number: int, count: int) -> Associations:
        own = Shared() if is_shared else None
        wall = WALL + dice.uniform(-100_000, 100_000)
        return table(number, start=count, own=own, limits=limits, wall=wall)

    network = Network(seed, dice.choice((0.001, 0.02, 0.3)), dice.choice((0, 0.05, 0.5)))
    numbers = (1, 2, 3)
    for number in numbers:
        network.add(number, start(number, 0))
    for step in range(dice.randrange(5, 40)):
        network.loss, network.doubling = dice.choice((0, 0, 0.3, 0.8)), dice.choice((0, 0.3))
        one, two = dice.sample(numbers, 2)
        kind = dice.random()
        if kind < 0.12:
            network.add(one, start(one, step + 1))
        elif kind < 0.16:
            network.hosts[at(one)].drop(at(two))
        else:
            for _ in range(dice.randrange(1, 6)):
                sender, to = dice.sample(numbers, 2)
                network.say(sender, to, b"x")
                network.run(dice.choice((0, 0.01, 0.2, 1)))
        network.run(dice.choice((0.1, 0.5, 3, 20, 70)))
    network.loss = network.doubling = network.jitter = 0.0
    network.run(2.0)
    for round_number in range(50):
        if round_number == 20:
            network.delivered.clear()
        for one, two in itertools.permutations(numbers, 2):
            network.say(one, two, b"%d" % round_number)
        network.run(1.0)
    for number in numbers:
        assert sorted(network.got(number)) == sorted(b"%d" % n for n in range(20, 50) for _ in "ab")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happened_all_talk_in_the_end(seed: int) -> None:
    soak(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(8, 58), *long(range(58, 308))], ids=["some", "hundreds"])
def test_whatever_happened_all_talk_in_the_end_many_times(seeds: range) -> None:
    for seed in seeds:
        soak(seed)
