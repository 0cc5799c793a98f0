"""This host's own packets: numbers, bursts, announcements."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dmmp.actions import Branch, Replay
from dmmp.forwarding.burst import Octets, Outcome, split
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.origination import Origin
from dmmp.interest import interest
from dmmp.messages import decode
from dmmp.messages.data import Data, Heartbeat
from dmmp.messages.header import FLAG_HEARTBEAT
from dmmp.parameters import Parameters
from dmmp.types import HostId
from tests.forwarding.build import (
    CHILD,
    CHILD_2,
    GROUP,
    ORIGIN,
    OTHER_GROUP,
    PARENT,
    SESSION,
    SOURCE,
    TREE,
    burst,
    heartbeat,
    install,
    sent,
)


def source(parameters: Parameters | None = None) -> Forwarder:
    """Make the forwarder of a source whose two branches want GROUP."""
    forwarder = Forwarder(parameters or Parameters())
    forwarder.apply(install(CHILD, CHILD_2, upstream=()), 0.0)
    return forwarder


def send(forwarder: Forwarder, packets: list[Octets], now: float) -> Outcome:
    """Originate to GROUP."""
    return forwarder.originate(SESSION, ORIGIN, TREE, GROUP, SOURCE, packets, now)


def beats(outcome: Outcome) -> list[Heartbeat]:
    """Decode the heartbeats sent to CHILD."""
    messages = [decode(transmit.data) for transmit in outcome.transmits if transmit.to == CHILD]
    return [message for message in messages if isinstance(message, Heartbeat)]


def test_the_first_data_of_a_channel_follows_its_announcement_to_every_branch() -> None:
    outcome = send(source(), [b"one packet"], 1.0)
    assert [transmit.to for transmit in outcome.transmits] == [CHILD, CHILD_2, CHILD, CHILD_2]
    beat, data = (decode(outcome.transmits[n].data) for n in (0, 2))
    assert isinstance(beat, Heartbeat) and isinstance(data, Data)
    assert (beat.group, beat.origin_address, beat.started) == (GROUP, SOURCE, 0)
    assert (data.session, data.source, data.tree_version) == (SESSION, ORIGIN, TREE)
    assert (data.sequence, data.payload) == (1, b"one packet")
    assert (data.reserved, beat.reserved) == (1, FLAG_HEARTBEAT | 1)
    assert not outcome.deliveries


def test_packets_are_numbered_and_laid_into_full_bursts() -> None:
    forwarder = source()
    send(forwarder, [b"first"], 1.0)
    packets: list[Octets] = [bytes([n]) * 100 for n in range(70)]
    packets += [memoryview(b"short"), bytes(200), bytes(200)]
    outcome = send(forwarder, packets, 1.1)
    to_child = [transmit for transmit in outcome.transmits if transmit.to == CHILD]
    assert [-(-len(t.data) // t.stride) for t in to_child] == [64, 7, 2]
    datagrams = [decode(one) for t in to_child for one in split(t.data, t.stride)]
    assert [message.sequence for message in datagrams] == list(range(2, 75))
    assert [message.payload for message in datagrams if isinstance(message, Data)] == packets
    other = [transmit.data for transmit in outcome.transmits if transmit.to == CHILD_2]
    assert all(a.data is b for a, b in zip(to_child, other, strict=True))
    assert forwarder.counters.originated == 74
    assert forwarder.counters.data_forwarded == 148


def test_without_an_interested_branch_nothing_is_numbered_or_sent() -> None:
    forwarder = source()
    forwarder.apply(install(Branch(CHILD, (interest(OTHER_GROUP),)), upstream=()), 0.0)
    assert send(forwarder, [b"x"] * 9, 1.0) == Outcome()
    assert forwarder.next_alarm() is None
    forwarder.apply(install(CHILD, upstream=()), 1.0)
    first = decode(send(forwarder, [b"y"], 2.0).transmits[-1].data)
    assert first.sequence == 1
    forwarder.apply(install(upstream=()), 3.0)
    send(forwarder, [b"z"] * 5, 4.1)
    forwarder.apply(install(CHILD, upstream=()), 5.0)
    assert decode(send(forwarder, [b"y"], 5.0).transmits[-1].data).sequence == 2
    assert forwarder.counters.dropped["no_members"] == 14


def test_what_is_sent_just_after_the_last_branch_went_is_kept_for_one_that_comes_back() -> None:
    """Who was the only receiver says goodbye to a parent that it takes for dead."""
    forwarder = source()
    forwarder.apply(install(CHILD, upstream=()), 1.0)
    send(forwarder, [b"y"], 2.0)
    forwarder.apply(install(upstream=()), 2.5)
    assert not send(forwarder, [b"a", b"b"], 3.0).transmits
    forwarder.apply(install(CHILD_2, upstream=()), 3.5)
    outcome = forwarder.apply(Replay(SESSION, ORIGIN, 1, 2, b"", CHILD_2), 3.5)
    data = b"".join(bytes(each.data) for each in outcome.transmits if each.to == CHILD_2)
    assert data.count(b"a") >= 1 and data.endswith(b"b")
    assert decode(send(forwarder, [b"c"], 3.6).transmits[-1].data).sequence == 4
    assert forwarder.counters.dropped["no_members"] == 0


def test_heartbeats_come_now_and_then_with_data_and_after_it_soon_and_ever_more_seldom() -> None:
    forwarder = source()
    times = []
    for step in range(800):
        now = step / 20
        alarm = forwarder.next_alarm()
        if now < 15.95:
            send(forwarder, [b"x"], now)
        if alarm is not None and alarm[0] <= now:
            times += [now] * len(beats(forwarder.wake(now)[0]))
    assert times[:3] == [5.0, 10.0, 15.0]
    # The last packet went at 15.9; the steps here are 0.05 long.
    expected = [16.1, 16.5, 17.3, 18.9, 22.1, 27.1, 32.1, 37.1]
    assert times[3:] == pytest.approx(expected, abs=0.06)


def test_the_heartbeats_of_an_idle_channel_bear_the_version_in_force() -> None:
    forwarder = source()
    send(forwarder, [b"x"], 1.0)
    forwarder.apply(install(CHILD, CHILD_2, upstream=(), tree=TREE + 3), 1.5)
    (beat,) = beats(forwarder.wake(2.0)[0])
    assert (beat.tree_version, beat.highest) == (TREE + 3, 1)


def test_a_heartbeat_tells_the_highest_number_sent() -> None:
    forwarder = source()
    send(forwarder, [b"x"] * 30, 0.0)
    (beat,) = beats(forwarder.wake(1.0)[0])
    assert (beat.highest, beat.started, beat.sequence) == (30, 1, 2)


def test_data_after_a_pause_brings_the_next_heartbeat_forward() -> None:
    forwarder = source()
    send(forwarder, [b"x"], 0.0)
    forwarder.wake(1.0)
    forwarder.wake(2.0)
    assert forwarder.next_alarm() == (2.8, "HEARTBEAT")
    send(forwarder, [b"x"], 2.5)
    assert forwarder.next_alarm() == (2.7, "HEARTBEAT")


def test_each_stream_has_its_channel_by_first_use() -> None:
    forwarder = source()
    forwarder.apply(
        install(Branch(CHILD, (interest(GROUP), interest(OTHER_GROUP))), upstream=()), 0.0
    )
    numbers = []
    for group, address in ((GROUP, 1), (OTHER_GROUP, 1), (GROUP, 2), (GROUP, 1)):
        outcome = forwarder.originate(
            SESSION, ORIGIN, TREE, group, ip_address(0x0A000000 + address), [b"x"], 1.0
        )
        last = decode(outcome.transmits[-1].data)
        numbers.append((last.reserved, last.sequence))
    assert numbers == [(1, 1), (2, 1), (3, 1), (1, 2)]


def test_an_idle_channel_is_closed_and_a_new_one_gets_another_number() -> None:
    forwarder = source(replace(Parameters(), channels=1))
    send(forwarder, [b"x"], 0.0)
    now = 0.0
    while (alarm := forwarder.next_alarm()) is not None:
        now = alarm[0]
        forwarder.wake(now)
    assert 60.0 <= now < 75.0
    assert forwarder.snapshot()["originated"] == 1
    assert decode(send(forwarder, [b"y"], now).transmits[-1].data).reserved == 2


def test_an_origin_has_at_most_so_many_channels() -> None:
    forwarder = source(replace(Parameters(), channels=3))
    for n in range(5):
        address = ip_address(0x0A000000 + n)
        forwarder.originate(SESSION, ORIGIN, TREE, GROUP, address, [b"x", b"y"], 1.0)
    assert forwarder.counters.dropped["channels_full"] == 4
    assert forwarder.counters.originated == 6


def test_a_packet_too_long_for_a_datagram_is_malformed_and_costs_no_number() -> None:
    forwarder = source()
    outcome = send(forwarder, [b"a", b"", bytes(65_484), b"b"], 1.0)
    (transmit,) = [t for t in outcome.transmits[2:] if t.to == CHILD]
    assert [decode(one).sequence for one in split(transmit.data, transmit.stride)] == [1, 2]
    assert forwarder.counters.dropped["malformed"] == 2


def test_a_member_may_originate_up_its_tree_by_an_entry_of_its_own() -> None:
    forwarder = Forwarder(Parameters())
    forwarder.apply(install(CHILD), 0.0)
    me = HostId(4000)
    forwarder.apply(install(PARENT, CHILD, origin=me, upstream=()), 0.0)
    outcome = forwarder.originate(SESSION, me, TREE, GROUP, SOURCE, [b"x"], 1.0)
    assert {transmit.to for transmit in outcome.transmits} == {PARENT, CHILD}
    forwarder.forward(burst(heartbeat()), 1.0)
    assert forwarder.counters.heartbeats_received == 1


def test_a_branch_added_later_gets_the_announcement_at_once() -> None:
    forwarder = source()
    forwarder.apply(install(CHILD, upstream=()), 0.0)
    announced = send(forwarder, [b"x"], 1.0).transmits[0].data
    outcome = forwarder.apply(install(CHILD, CHILD_2, upstream=()), 2.0)
    assert sent(outcome) == {CHILD_2: announced}


def test_a_channel_forged_in_this_hosts_name_gives_way_to_its_own() -> None:
    forwarder = Forwarder(replace(Parameters(), channels=1))
    forwarder.apply(install(CHILD), 0.0)
    forwarder.forward(burst(heartbeat(1, channel=1, group=OTHER_GROUP)), 0.0)
    assert len(beats(send(forwarder, [b"x"], 1.0))) == 1
    assert sent(forwarder.forward(burst(heartbeat(1, origin=HostId(78))), 1.0)) != {}
    assert forwarder.snapshot()["tables"]["channels"] == 2


def test_channel_numbers_go_round_and_skip_those_in_use() -> None:
    origin = Origin(5 << 32 | 77, Parameters())
    kept = origin.open((GROUP, SOURCE), 0.0)
    assert kept is not None and kept.key[1] == 1
    numbers = []
    for _ in range(65_536):
        channel = origin.open((OTHER_GROUP, SOURCE), 0.0)
        assert channel is not None
        numbers.append(channel.key[1])
        origin.close(channel)
    assert numbers == [*range(2, 65_536), 2, 3]
