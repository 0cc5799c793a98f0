"""Associations under attack: replays, reflections, changes, other addresses (threats 6 to 9)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmmp.messages import Option
from dmmp.messages.header import HEADER, VERSION
from dmmp.security.contacts import HELD
from dmmp.security.cookies import MAC_BYTES, MACS_BYTES, mac1_key, with_macs
from dmmp.security.limits import Limits
from tests.security.association_stage import (
    HANDSHAKE,
    Network,
    Sent,
    Shared,
    asked_for_cookies,
    associated,
    at,
    first,
    insider_initiation,
    option_of,
    pair,
    party,
    silent,
    table,
)

# Replays.


@pytest.mark.parametrize("later", [0.0, 1.0, 60.0])
def test_the_whole_capture_again_changes_nothing(later: float) -> None:
    network = associated()
    network.run(later)
    captured = list(network.captured)
    for sent in captured * 2:
        silent(network.hosts[sent.to], sent.data, sent.sender, network.now)
    network.say(1, 2, b"still there")
    network.run(0.1)
    assert network.got(2) == [b"still there"]


def test_after_a_restart_the_capture_opens_nothing() -> None:
    """The new start knows no timestamps: a replayed initiation gets its response, and no more."""
    network = associated()
    captured = list(network.captured)
    network.add(2, table(2, start=1))
    for sent in captured:
        if sent.to == at(2):
            network.arrive(sent.data, sent.sender, at(2))
    two = network.hosts[at(2)]
    assert two.sizes()["half_open"] == 1
    assert two.sizes()["associations"] == 0
    network.run(15.0)
    assert network.got(2) == []
    assert two.sizes()["half_open"] == 0


def test_an_old_initiation_does_not_touch_a_living_association() -> None:
    """Even if the table of timestamps was flooded and has forgotten this one."""
    network = Network()
    network.add(1)
    network.add(2, table(2, limits=Limits(timestamps=1)))
    network.add(3)
    for number in (1, 3):
        network.say(number, 2, b"hello")
        network.run(0.2)
    old = first(network, Option.HANDSHAKE_INITIATION)
    network.arrive(old.data, at(1), at(2))
    network.run(1.0)
    network.say(1, 2, b"as before")
    network.say(2, 1, b"as before")
    network.run(0.1)
    assert (network.got(2)[-1], network.got(1)) == (b"as before", [b"as before"])
    assert network.hosts[at(2)].counters["established"] == 2


# Reflections.


@pytest.mark.parametrize("is_shared", [False, True])
def test_everything_back_to_its_sender_changes_nothing(is_shared: bool) -> None:
    """With a shared secret both ends have one static key, so its own call opens at the caller."""
    network = Network()
    for number in (1, 2):
        network.add(number, table(number, own=Shared() if is_shared else None))
    kept: list[Sent] = []

    def reflect(sent: Sent) -> bool:
        silent(network.hosts[sent.sender], sent.data, sent.to, network.now)
        kept.append(sent)
        return False

    network.cut = reflect
    network.say(1, 2, b"hello")
    network.run(0.5)
    network.say(2, 1, b"hello back")
    network.run(3.0)
    assert {option_of(sent.data) for sent in kept} == {*HANDSHAKE, Option.SEALED}
    assert (network.got(2), network.got(1)) == ([b"hello"], [b"hello back"])
    reflected = network.hosts[at(1)].counters["reflected"]
    assert reflected == (1 if is_shared else 0)


# Changes.


def changes(data: bytes) -> Iterator[bytes]:
    """Every byte changed, every prefix, a byte more; but mac2, which nobody asked for."""
    end = len(data) - MAC_BYTES if option_of(data) in HANDSHAKE else len(data)
    for place in range(end):
        yield data[:place] + bytes((data[place] ^ 1 << place % 8,)) + data[place + 1 :]
    yield from (data[:size] for size in range(len(data)))
    yield data + b"\0"


def with_fresh_macs(data: bytes, public: bytes) -> Iterator[bytes]:
    """The same from one who knows the receiver's key: only Noise is in the way."""
    for changed in changes(data):
        if len(changed) == len(data) and changed[8:24] == data[8:24]:
            yield with_macs(changed[:-MACS_BYTES], mac1_key(public), None)


def test_changed_initiations_are_met_with_silence() -> None:
    network = pair()
    network.say(1, 2, b"hello")
    sent = first(network, Option.HANDSHAKE_INITIATION)
    two = network.hosts[at(2)]
    for changed in changes(sent.data):
        silent(two, changed, at(1), network.now)
    network.run(0.1)
    assert network.got(2) == [b"hello"]


def test_changed_initiations_with_good_macs_are_met_with_silence() -> None:
    network = Network()
    network.add(1)
    # One token is enough for all of them, so that no cookie is asked for.
    network.add(2, table(2, limits=Limits(initiations=10_000, address_burst=10_000)))
    network.say(1, 2, b"hello")
    sent = first(network, Option.HANDSHAKE_INITIATION)
    two = network.hosts[at(2)]
    for changed in with_fresh_macs(sent.data, party(2).public):
        if changed != sent.data:
            silent(two, changed, at(1), network.now)
    assert two.counters["handshake"] > 500
    network.run(0.1)
    assert network.got(2) == [b"hello"]


def test_changed_responses_are_met_with_silence() -> None:
    network = pair(delay=0.02)
    network.say(1, 2, b"hello")
    network.run(0.03)
    sent = first(network, Option.HANDSHAKE_RESPONSE)
    one = network.hosts[at(1)]
    for changed in (*changes(sent.data), *with_fresh_macs(sent.data, party(1).public)):
        if changed[:-MAC_BYTES] != sent.data[:-MAC_BYTES]:
            silent(one, changed, at(2), network.now)
    network.run(0.1)
    assert network.got(2) == [b"hello"]


def test_changed_sealed_datagrams_are_met_with_silence() -> None:
    network = associated()
    sealed = network.hosts[at(1)].send(b"a control message", at(2), network.now)
    assert isinstance(sealed, list)
    two = network.hosts[at(2)]
    for changed in changes(sealed[0].data):
        silent(two, changed, at(1), network.now)
    assert two.receive(sealed[0].data, at(1), network.now).plaintexts == [b"a control message"]


def test_changed_cookie_replies_are_met_with_silence() -> None:
    network = asked_for_cookies()
    network.cut = lambda sent: option_of(sent.data) is Option.COOKIE_REPLY
    network.say(1, 2, b"hello")
    network.run(0.1)
    reply = first(network, Option.COOKIE_REPLY)
    one = network.hosts[at(1)]
    for changed in changes(reply.data):
        silent(one, changed, at(2), network.now)
    network.cut = lambda sent: False
    one.receive(reply.data, at(2), network.now)
    network.run(0.5)
    assert network.got(2) == [b"hello"]


@given(
    kind=st.sampled_from([*HANDSHAKE, Option.COOKIE_REPLY, Option.SEALED]),
    body=st.binary(max_size=1300),
    words=st.tuples(*[st.integers(0, (1 << 32) - 1)] * 4),
    has_mac=st.booleans(),
)
@settings(max_examples=200)
def test_noise_is_met_with_silence(
    kind: Option, body: bytes, words: tuple[int, int, int, int], has_mac: bool
) -> None:
    host = table(2)
    data = HEADER.pack(VERSION, 0, kind, 0, *words) + body
    if has_mac:
        data = with_macs(data, mac1_key(host.static_key), None)
    silent(host, data, at(1), 0.0)


@given(data=st.binary(max_size=700))
def test_anything_is_met_with_silence(data: bytes) -> None:
    silent(table(2), data, at(1), 0.0)


# Other addresses.


def test_nothing_counts_from_another_address() -> None:
    """Threat 9: a session is not moved, and nothing goes to the new address."""
    network = pair(delay=0.02)
    network.say(1, 2, b"hello")
    network.run(0.03)
    response = first(network, Option.HANDSHAKE_RESPONSE)
    for other in (at(3), at(2, port=1)):
        silent(network.hosts[at(1)], response.data, other, network.now)
    network.run(1.0)
    sealed = network.hosts[at(1)].send(b"moved", at(2), network.now)
    assert isinstance(sealed, list)
    for other in (at(3), at(1, port=1)):
        silent(network.hosts[at(2)], sealed[0].data, other, network.now)
    assert network.hosts[at(2)].counters["wrong_address"] == 2
    assert network.hosts[at(2)].receive(sealed[0].data, at(1), network.now).plaintexts


def test_an_endpoint_is_not_taken_from_who_was_just_heard() -> None:
    """Host 3 is on the path and has a certificate, but it is not host 1."""
    network = associated()
    two = network.hosts[at(2)]
    network.say(1, 2, b"here")
    network.run(0.1)
    silent_but_known = insider_initiation(3, party(2).public, timestamp=5)
    assert two.receive(silent_but_known, at(1), network.now) == ([], [], None)
    assert two.counters["usurping"] == 1
    peer = two.peer(at(1))
    assert peer is not None and peer.static_key == party(1).public


def test_nor_from_who_just_answered() -> None:
    network = pair()
    network.say(1, 2, b"hello")
    network.run(0.1)
    one = network.hosts[at(1)]
    assert one.receive(insider_initiation(3, party(1).public), at(2), network.now).datagrams == []
    assert one.counters["usurping"] == 1


def test_nor_by_a_call_from_before() -> None:
    network = pair(delay=0.02)
    two = network.hosts[at(2)]
    three = table(3)
    three.introduce(at(2), party(2).public, network.now)
    call = three.send(b"I am 3", at(2), network.now)
    assert isinstance(call, list)
    answer = two.receive(call[0].data, at(1), network.now).datagrams[0].data
    confirmation = three.receive(answer, at(2), network.now).datagrams[0].data
    network.say(1, 2, b"I am 1")
    network.run(0.1)
    assert two.receive(confirmation, at(1), network.now) == ([], [], None)
    assert two.counters["usurping"] == 1
    assert network.got(2) == [b"I am 1"]


def test_an_address_that_was_left_may_be_given_to_another() -> None:
    network = associated()
    network.run(HELD)
    network.hosts[at(1)] = table(3)
    network.hosts[at(1)].introduce(at(2), party(2).public, network.now)
    network.say(1, 2, b"I am 3")
    network.run(0.1)
    peer = network.hosts[at(2)].peer(at(1))
    assert peer is not None and peer.static_key == party(3).public
    assert network.hosts[at(2)].sizes()["associations"] == 1
