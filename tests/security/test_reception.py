"""What callers cost and what they get: amplification, cookies, floods (threats 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dmmp.messages import Option
from dmmp.messages.header import HEADER, VERSION
from dmmp.security.associations import Associations
from dmmp.security.calls import TRIES
from dmmp.security.cookies import MAC_BYTES, MACS_BYTES, Cookies, mac1_key, with_macs
from dmmp.security.handshakes import INITIATION_FILLED, prefix
from dmmp.security.host import COUNTERS
from dmmp.security.limits import Limits
from dmmp.security.outcomes import Unknown
from dmmp.types import Endpoint
from tests.security.association_stage import (
    HANDSHAKE,
    Network,
    Sent,
    SimpleParty,
    asked_for_cookies,
    associated,
    at,
    first,
    insider_initiation,
    option_of,
    pair,
    party,
    silent,
    state,
    table,
)

# Amplification.


def test_a_response_is_never_longer_than_what_it_answers() -> None:
    two = table(2, own=SimpleParty(b"2" * 32, credential_bytes=715))
    call = insider_initiation(1, two.static_key)
    assert len(call) == INITIATION_FILLED
    silent(two, call, at(1), 0.0)
    assert two.counters["amplifying"] == 1
    # The longest certificate that there can be is within reach of whoever calls.
    longest = table(2, own=SimpleParty(b"2" * 32, credential_bytes=712))
    answer = longest.receive(insider_initiation(1, longest.static_key), at(1), 0.0).datagrams
    assert [len(each.data) for each in answer] == [818]


def test_every_answer_before_proof_is_at_most_as_long_as_what_came() -> None:
    """`Network.arrive` asserts it of each datagram; here of all bytes to an unproven address."""
    for seed in range(10):
        network = Network(seed, jitter=0.3)
        network.add(1)
        network.add(2, table(2, limits=Limits(initiations=seed % 3)))
        network.loss = 0.3
        network.cut = lambda sent: option_of(sent.data) is Option.SEALED
        network.say(1, 2, b"hello")
        network.run(10.0)
        to_2 = sum(len(sent.data) for sent in network.captured if sent.to == at(2))
        to_1 = sum(len(sent.data) for sent in network.captured if sent.to == at(1))
        assert 0 < to_1 <= to_2


def test_a_cookie_brings_no_initiation_forth_at_once() -> None:
    """68 bytes must not make a host send 820; the next try comes when it would have."""
    network = asked_for_cookies()
    network.say(1, 2, b"hello")
    network.run(0.2)
    assert [option_of(sent.data) for sent in network.captured][1:] == [Option.COOKIE_REPLY]
    network.run(0.1)
    calls = [sent.at for sent in network.captured if len(sent.data) == INITIATION_FILLED]
    assert calls == [100.0, 100.25]
    assert network.got(2) == []
    network.run(0.05)
    assert network.got(2) == [b"hello"]


def test_a_cookie_that_comes_late_is_used_soon_but_once() -> None:
    network = asked_for_cookies()
    network.cut = lambda sent: network.now < 103.5
    network.say(1, 2, b"hello")
    network.run(6.0)
    times = [
        round(sent.at - 100.0, 2)
        for sent in network.captured
        if len(sent.data) == INITIATION_FILLED
    ]
    assert times == [*(0.25 * n for n in range(8)), 2.25, 3.25, 5.25, 5.54]
    assert network.got(2) == [b"hello"]


def test_cookies_without_end_bring_no_tries_without_end() -> None:
    """Somebody on the path answers every initiation with a cookie that is good for nothing."""
    network = pair()
    random = Random(1).randbytes

    def answer(sent: Sent) -> bool:
        if option_of(sent.data) is Option.HANDSHAKE_INITIATION:
            reply = Cookies(party(2).public, random).reply(
                sent.data, at(1), int.from_bytes(sent.data[8:12], "big"), network.now
            )
            network.arrive(reply, at(2), at(1))
        return True

    network.say(1, 2, b"x")
    network.cut = answer
    network.run(60.0)
    one = network.hosts[at(1)]
    assert one.counters["cookies_received"] == one.counters["initiations_sent"] - 1
    assert one.counters["initiations_sent"] <= TRIES + 1
    assert one.failed() == [at(2)]


# Floods.


def test_junk_of_every_shape_is_met_with_silence() -> None:
    """Threat 1: no reply, no state."""
    network = associated()
    two = network.hosts[at(2)]
    dice = Random(1)
    before = state(two)
    shapes = [
        b"",
        b"\x01",
        *(prefix(kind) for kind in (*HANDSHAKE, Option.COOKIE_REPLY, Option.SEALED)),
    ]
    for number in range(10_000):
        junk = shapes[number % len(shapes)] + dice.randbytes(dice.choice((0, 16, 60, 592, 1200)))
        sender = at(1) if number % 2 else at(dice.randrange(2, 1 << 16))
        assert two.receive(junk, sender, network.now) == ([], [], None)
    assert state(two) == before


def spoofed(number: int) -> Endpoint:
    return at(number % 60_000 + 1000, port=number % 60_000 + 1)


def flood(
    network: Network, host: Associations, calls: Callable[[int], bytes], rate: int, seconds: float
) -> tuple[int, int]:
    """Let calls come in from ever other addresses; return bytes in and out."""
    came = went = 0
    for number in range(int(rate * seconds)):
        data = calls(number)
        received = host.receive(data, spoofed(number), network.now)
        came += len(data)
        assert len(received.datagrams) <= 1
        went += sum(len(answer.data) for answer in received.datagrams)
        network.run(1 / rate)
    return came, went


def test_a_spoofed_flood_costs_macs_and_a_true_caller_gets_through() -> None:
    """Threat 3: the attacker knows the public key, so mac1 holds, and has no certificate."""
    network = pair()
    two = network.hosts[at(2)]
    key = mac1_key(party(2).public)
    body = bytes(576 - MACS_BYTES)
    head = HEADER.pack(VERSION, 0, Option.HANDSHAKE_INITIATION, 0, 9, 0, 0, 576)

    def call(number: int) -> bytes:
        return with_macs(head + number.to_bytes(8, "big") + body[8:], key, None)

    came, went = flood(network, two, call, rate=1000, seconds=1.5)
    network.say(1, 2, b"let me in")
    begun = network.now
    more = flood(network, two, call, rate=1000, seconds=1.5)
    assert network.got(2) == [b"let me in"]
    sent = next(sent for sent in network.captured if option_of(sent.data) is Option.SEALED)
    assert sent.at - begun < 0.5
    assert 0 < went + more[1] < (came + more[0]) / 8
    assert two.counters["handshake"] <= 202, "so many cost a Noise message, in the first second"
    assert two.sizes()["half_open"] == 0
    assert two.sizes()["timestamps"] == 1


def test_a_spoofed_flood_with_a_certificate_fills_no_table_beyond_its_bound() -> None:
    """An insider from ever other addresses: half-open entries are all it gets, and few."""
    network = Network()
    network.add(1)
    two = network.add(2, table(2, limits=Limits(half_open=40, initiations=1000)))
    call = iter(range(10_000))
    came, went = flood(
        network,
        two,
        lambda number: insider_initiation(3, party(2).public, 1 + next(call), dice=number),
        rate=200,
        seconds=1.0,
    )
    assert two.sizes()["half_open"] == 30, "three quarters; then cookies"
    assert two.counters["cookie_replies_sent"] == 170
    assert went <= came
    network.say(1, 2, b"let me in")
    network.run(1.0)
    assert network.got(2) == [b"let me in"]
    network.run(10.0)
    assert two.sizes()["half_open"] == 0


def test_the_oldest_half_open_entry_goes() -> None:
    network = Network()
    two = network.add(2, table(2, limits=Limits(half_open=4, initiations=10_000)))
    for number in range(10, 30):
        # Each with a cookie of its own, so that they are let in.
        call = insider_initiation(3, party(2).public, 1 + 2 * number, dice=number)
        answer = two.receive(call, at(number), 0.0).datagrams[0].data
        if option_of(answer) is Option.COOKIE_REPLY:
            one = table(number)
            one.introduce(at(2), party(2).public, 0.0)
            sent = one.send(b"x", at(2), 0.0)
            assert isinstance(sent, list)
            reply = two.receive(sent[0].data, at(number), 0.0).datagrams[0].data
            one.receive(reply, at(2), 0.0)
            again = one.wake(0.25)
            assert option_of(two.receive(again[0].data, at(number), 0.25).datagrams[0].data) is (
                Option.HANDSHAKE_RESPONSE
            )
        assert two.sizes()["half_open"] <= 4
    assert two.counters["half_open_evicted"] > 10


def test_one_address_gets_five_at_once_then_it_is_asked_for_a_cookie() -> None:
    two = table(2)
    answers: list[Option] = []
    for number in range(40):
        call = insider_initiation(1, party(2).public, 1 + number, dice=number)
        answers += [option_of(sent.data) for sent in two.receive(call, at(1), 100.0).datagrams]
    assert answers == [Option.HANDSHAKE_RESPONSE] * 5 + [Option.COOKIE_REPLY] * 35


def test_with_a_cookie_too_many_calls_are_dropped() -> None:
    network = asked_for_cookies()
    network.say(1, 2, b"x")
    network.run(0.2)
    one, two = network.hosts[at(1)], network.hosts[at(2)]
    for number in range(12):
        one.drop(at(2))
        sent = one.send(b"%d" % number, at(2), network.now)
        assert isinstance(sent, list)
        two.receive(sent[0].data, at(1), network.now)
    assert two.counters["flooded"] == 7
    assert two.counters["responses_sent"] == 5


def test_a_spoofer_cannot_use_up_an_others_calls() -> None:
    """It empties the bucket of host 1's address; host 1 shows that it is there, and is let in."""
    network = pair()
    two = network.hosts[at(2)]
    for number in range(100):
        call = insider_initiation(3, party(2).public, 1 + number, dice=number)
        two.receive(call, at(1), network.now)
    network.say(1, 2, b"it was not me")
    network.run(0.35)
    assert network.got(2) == [b"it was not me"]
    assert network.hosts[at(1)].counters["cookies_received"] == 1


def test_a_stale_cookie_is_replaced() -> None:
    """The responder restarted, and its secrets with it: what it is shown is no cookie of its."""
    network = asked_for_cookies()
    network.say(1, 2, b"first")
    network.run(0.5)
    network.add(2, table(2, start=1, limits=Limits(initiations=0)))
    network.hosts[at(1)].drop(at(2))
    network.say(1, 2, b"second")
    network.run(0.5)
    assert network.got(2) == [b"first", b"second"]
    assert network.hosts[at(2)].counters["mac2"] == 1


def test_a_cookie_may_also_answer_a_response() -> None:
    """This implementation asks for none there, but others may, as WireGuard does."""
    network = pair(delay=0.02)
    network.say(1, 2, b"hello")
    network.run(0.03)
    response = first(network, Option.HANDSHAKE_RESPONSE)
    cookies = Cookies(party(1).public, Random(5).randbytes)
    index = int.from_bytes(response.data[8:12], "big")
    reply = cookies.reply(response.data, at(2), index, network.now)
    two = network.hosts[at(2)]
    silent(two, reply, at(3), network.now)
    two.receive(reply, at(1), network.now)
    assert two.counters["cookies_received"] == 1
    network.cut = lambda sent: option_of(sent.data) is Option.SEALED
    network.hosts[at(1)].drop(at(2))
    network.say(1, 2, b"again")
    network.run(0.1)
    last = [sent for sent in network.captured if option_of(sent.data) is Option.HANDSHAKE_RESPONSE][
        -1
    ]
    assert cookies.mac2_holds(last.data, at(2), network.now)


def test_every_table_is_bounded_whatever_others_make_this_host_do() -> None:
    limits = Limits(keys=10, queued_endpoints=8, queued_bytes_in_all=400, associations=3, cookies=2)
    host = table(1, limits=limits)
    for number in range(2, 200):
        if number % 3:
            host.introduce(at(number), party(number % 7 + 2).public, 0.0)
        sent = host.send(bytes(100), at(number), 0.0)
        assert sent == Unknown(at(number)) or isinstance(sent, list)
        sizes = host.sizes()
        assert sizes["keys"] <= 10
        assert sizes["queued_endpoints"] <= 8
        assert sizes["queued_bytes"] <= 400
        assert sizes["calls"] <= 8
        assert sizes["alarms"] <= 16
    host.wake(1000.0)
    for _ in range(6):
        host.wake(1000.0)
    assert len(host.failed()) <= 8


def test_calls_that_lost_their_queue_are_given_up() -> None:
    host = table(1, limits=Limits(queued_endpoints=1))
    for number in (2, 3):
        host.introduce(at(number), party(number).public, 0.0)
        host.send(b"x", at(number), 0.0)
    assert host.sizes()["calls"] == 1
    assert [sent.to for sent in host.wake(0.25)] == [at(3)]


def test_an_insider_with_keys_of_low_order_gets_nothing() -> None:
    """Its ephemeral key makes a shared secret that everybody knows: refused before any state."""
    two = table(2)
    weak = bytes(32)
    message = weak + bytes(560 - len(weak) - MACS_BYTES + 16)
    head = HEADER.pack(VERSION, 0, Option.HANDSHAKE_INITIATION, 0, 9, 0, 0, len(message) + 32)
    silent(two, with_macs(head + message, mac1_key(two.static_key), None), at(1), 0.0)
    assert two.counters["handshake"] == 1


def test_no_timestamp_is_kept_of_who_is_refused() -> None:
    two = table(2)
    call = insider_initiation(1, two.static_key, 1 << 63, credential=b"another's certificate")
    silent(two, call, at(1), 0.0)
    assert two.counters["refused"] == 1
    assert two.sizes()["timestamps"] == 0


def test_a_timestamp_must_be_greater_than_the_last_of_that_start() -> None:
    two = table(2)
    for timestamp, is_answered in ((10, True), (10, False), (9, False), (11, True)):
        call = insider_initiation(1, two.static_key, timestamp, dice=timestamp)
        received = two.receive(call, at(1), 0.0)
        assert bool(received.datagrams) is is_answered
    assert two.counters["replayed"] == 2


def test_reasons_have_fixed_names() -> None:
    network = associated()
    for sent in network.captured:
        network.hosts[sent.to].receive(sent.data[:40], at(9), network.now)
    for host in network.hosts.values():
        assert tuple(host.counters) == COUNTERS


def test_mac2_is_looked_at_only_by_who_asks_for_it() -> None:
    """As in WireGuard: else a cookie of before a restart would shut its holder out."""
    network = pair()
    network.say(1, 2, b"hello")
    sent = first(network, Option.HANDSHAKE_INITIATION)
    assert sent.data[-MAC_BYTES:] == bytes(MAC_BYTES)
    changed = sent.data[:-1] + b"\x01"
    received = network.hosts[at(2)].receive(changed, at(1), network.now)
    assert option_of(received.datagrams[0].data) is Option.HANDSHAKE_RESPONSE
