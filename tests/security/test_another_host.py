"""A message that names another host where one was known: its process has started again."""

from __future__ import annotations

import pytest

from dmmp.messages import Option, ProbeRequest, RefreshResponse, encode
from dmmp.messages.common import HostRecord, Status
from dmmp.messages.schema import Message
from dmmp.security.contacts import DOUBT_MOST
from dmmp.security.gate import Gate
from dmmp.security.outcomes import Unknown
from dmmp.types import HostId, SessionId
from tests.security.association_stage import Network, associated, at, is_kind, table

DELAY = 0.02
LATER = DOUBT_MOST + 1.0


def suspect(network: Network) -> int:
    """Let 1 hear that another process is where 2 was; count the calls that it begins."""
    calls = network.hosts[at(1)].suspect(at(2), network.now) or []
    network.put(calls, at(1))
    return len(calls)


def restarted() -> Network:
    """Make hosts 1 and 2 that were associated until 2 started again."""
    network = associated()
    network.add(2, table(2, start=1))
    return network


def test_one_that_is_suspected_gets_what_is_said_to_it_after_one_handshake() -> None:
    network = restarted()
    assert suspect(network) == 1
    network.say(1, 2, b"are you there?")
    network.run(3 * DELAY + 0.001)
    assert network.got(2) == [b"are you there?"]
    network.say(1, 2, b"good")
    network.run(DELAY + 0.001)
    assert network.got(2) == [b"good"], "once: there is no doubt any more"
    one = network.hosts[at(1)]
    assert (one.counters["suspected"], one.counters["doubted"]) == (1, 0)


def test_one_that_is_suspected_and_lives_hears_on() -> None:
    network = associated()
    network.cut = lambda sent: len(sent.data) > 200
    assert suspect(network) == 1
    network.say(1, 2, b"are you there?")
    network.run(DELAY + 0.001)
    assert network.got(2) == [b"are you there?"], "whether or not it answers the call"
    network.say(2, 1, b"yes")
    network.run(10.0)
    assert network.got(1) == [b"yes"]
    network.say(1, 2, b"good")
    network.run(1.0)
    assert network.got(2) == [b"good"]
    assert network.hosts[at(1)].sizes()["queued_bytes"] == 0


def test_what_a_living_suspect_has_got_is_not_said_again_after_what_is_newer() -> None:
    network = associated()
    # The call is slow: it takes a cookie, or a second try.
    network.cut = lambda sent: is_kind(sent, Option.HANDSHAKE_INITIATION) and network.now < 103.2
    assert suspect(network) == 1
    network.say(1, 2, b"older")
    network.run(DELAY + 0.001)
    network.say(2, 1, b"yes")
    network.run(DELAY + 0.001)
    network.say(1, 2, b"newer")
    network.run(5.0)
    assert network.got(2) == [b"older", b"newer"]
    assert network.hosts[at(2)].counters["established"] == 2, "the call was answered in the end"


def test_nobody_is_called_on_hearsay_more_often_than_every_sixteen_seconds() -> None:
    network = associated()
    one = network.hosts[at(1)]
    calls = 0
    for _ in range(100):
        calls += suspect(network)
        network.run(1.0)
        network.say(2, 1, b"here")
    assert calls == one.counters["suspected"] == 7
    assert one.suspect(at(3), network.now) is None, "nobody is known there"


def record(host: int, number: int) -> HostRecord:
    """Describe a host with this id at the endpoint of this number."""
    return HostRecord(HostId(host), at(number), depth=1)


class Scene:
    """Hosts 1 and 2 and 3 behind gates; 1 knows 2 by its id, 20, and 3 tells 1 of others."""

    def __init__(self) -> None:
        self.network = associated()
        self.network.add(3)
        self.network.say(3, 1, b"first")
        self.network.run(2.5)
        self.gate = Gate(self.network.hosts[at(1)])
        probe = ProbeRequest(session=SessionId(5), source=HostId(20), timestamp=0)
        self.tell(2, probe)

    def tell(self, number: int, message: Message) -> None:
        """Let 1 get a message, and send what comes of it."""
        network = self.network
        sent = network.hosts[at(number)].send(encode(message), at(1), network.now)
        assert not isinstance(sent, Unknown)
        for datagram in sent:
            taken = self.gate.receive(datagram.data, at(number), network.now)
            assert taken.messages == [message]
            network.put(taken.datagrams, at(1))

    def name(self, *records: HostRecord) -> int:
        """Let 3 name hosts to 1; count the calls that this makes it begin."""
        one = self.network.hosts[at(1)]
        before = one.counters["suspected"]
        answer = RefreshResponse(
            session=SessionId(5),
            source=HostId(30),
            status=Status.SUCCESS,
            sender=record(30, 3),
            super_node=HostId(0),
            backups=records,
        )
        self.tell(3, answer)
        return one.counters["suspected"] - before


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_who_is_named_as_another_host_is_called(scene: Scene) -> None:
    assert scene.name(record(20, 2)) == 0
    assert scene.name(record(21, 2)) == 1


def test_who_was_named_so_before_is_not_called_again(scene: Scene) -> None:
    assert scene.name(record(21, 2)) == 1
    scene.network.run(LATER)
    assert scene.name(record(20, 2)) == 0, "somebody who has not heard of the new one"
    assert scene.name(record(21, 2)) == 0


def test_who_starts_again_twice_in_a_short_time_is_called_when_it_may_be(scene: Scene) -> None:
    assert scene.name(record(21, 2)) == 1
    assert scene.name(record(22, 2)) == 0
    scene.network.run(LATER)
    assert scene.name(record(22, 2)) == 1


def test_what_a_host_believes_of_its_own_address_makes_nobody_call(scene: Scene) -> None:
    assert scene.name(record(30, 2)) == 0


def test_who_is_nobodys_and_who_is_nowhere_is_not_called(scene: Scene) -> None:
    assert scene.name(record(0, 2)) == 0
    assert scene.name(HostRecord(HostId(21))) == 0
    assert scene.name(record(21, 7)) == 0
