"""What happens to bursts from the network, each rule by name."""

from __future__ import annotations

import gc
from dataclasses import replace
from ipaddress import ip_address

from dmmp.actions import Branch
from dmmp.forwarding.burst import Burst, Outcome
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import FilterMode, interest
from dmmp.messages import decode
from dmmp.messages.data import DataRequest
from dmmp.parameters import Parameters
from tests.forwarding.build import (
    CHANNEL,
    CHILD,
    CHILD_2,
    GROUP,
    OLD_PARENT,
    ORIGIN,
    OTHER_GROUP,
    PARENT,
    SESSION,
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
    sent,
)

NOTHING = Outcome()
HOLD = Parameters().hold_mesh


def dropped(forwarder: Forwarder) -> dict[str, int]:
    """Return the drops that happened."""
    return {reason: count for reason, count in forwarder.counters.dropped.items() if count}


def many(first: int, count: int) -> list[bytes]:
    """Make consecutive datagrams of one size."""
    return [datagram(n, bytes([n & 0xFF]) * 50) for n in range(first, first + count)]


def test_a_burst_goes_to_every_branch_in_the_memory_it_came_in() -> None:
    forwarder = relay(CHILD, CHILD_2, deliver=WANT)
    data = b"".join(many(1, 48))
    outcome = forwarder.forward(Burst(data, 74, PARENT), 1.0)
    assert [(t.data is data, t.stride, t.to) for t in outcome.transmits] == [
        (True, 74, CHILD),
        (True, 74, CHILD_2),
    ]
    assert [(d.data is data, d.stride, d.group) for d in outcome.deliveries] == [(True, 74, GROUP)]
    counters = forwarder.counters
    assert (counters.data_received, counters.data_forwarded, counters.delivered) == (48, 96, 48)
    assert counters.bytes == len(data)


def test_duplicates_are_cut_out_without_copying() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(many(5, 3)), 1.0)
    data = b"".join(many(1, 10))
    outcome = forwarder.forward(Burst(data, 74, PARENT), 1.0)
    assert sent(outcome) == {CHILD: b"".join(many(1, 4) + many(8, 3))}
    assert all(isinstance(t.data, memoryview) and t.data.obj is data for t in outcome.transmits)
    assert forwarder.counters.duplicates == 3
    assert forwarder.forward(burst(many(1, 10)), 1.0) == NOTHING


def test_only_branches_that_want_group_and_source_get_it() -> None:
    other = (interest(OTHER_GROUP),)
    without = (interest(GROUP, FilterMode.EXCLUDE, [SOURCE]),)
    only = (interest(GROUP, FilterMode.INCLUDE, [SOURCE]),)
    branches = [
        Branch(endpoint(20 + n), interests)
        for n, interests in enumerate([other, without, only, ()])
    ]
    outcome = relay(*branches).forward(burst(many(1, 2)), 1.0)
    assert sent(outcome) == {endpoint(22): b"".join(many(1, 2))}


def test_what_nobody_wants_is_dropped_as_no_members() -> None:
    forwarder = relay(Branch(CHILD, (interest(OTHER_GROUP),)))
    assert forwarder.forward(burst(many(1, 7)), 1.0) == NOTHING
    assert dropped(forwarder) == {"no_members": 7}


def test_data_from_another_sender_is_dropped_as_not_upstream() -> None:
    forwarder = relay(CHILD)
    assert forwarder.forward(burst(many(1, 3), STRANGER), 1.0) == NOTHING
    assert forwarder.forward(burst(many(1, 3), CHILD), 1.0) == NOTHING
    assert dropped(forwarder) == {"not_upstream": 6}
    assert sent(forwarder.forward(burst(many(1, 3)), 1.0)) != {}


def test_a_source_without_upstream_accepts_nothing() -> None:
    forwarder = Forwarder(Parameters())
    forwarder.apply(install(CHILD, upstream=()), 0.0)
    forwarder.forward(burst(heartbeat()), 0.0)
    forwarder.forward(burst(many(1, 3)), 0.0)
    assert dropped(forwarder) == {"not_upstream": 4}


def test_both_parents_are_accepted_while_one_is_being_left() -> None:
    forwarder = relay(CHILD)
    forwarder.apply(install(CHILD, upstream=(PARENT, OLD_PARENT)), 0.0)
    assert sent(forwarder.forward(burst(many(1, 3), OLD_PARENT), 1.0)) != {}
    assert forwarder.forward(burst(many(1, 3), PARENT), 1.0) == NOTHING
    assert sent(forwarder.forward(burst(many(4, 3), PARENT), 1.0)) != {}
    assert dropped(forwarder) == {"duplicate": 3}


def test_nothing_goes_back_to_its_sender() -> None:
    forwarder = relay(CHILD, OLD_PARENT)
    forwarder.apply(install(CHILD, OLD_PARENT, upstream=(PARENT, OLD_PARENT)), 0.0)
    assert list(sent(forwarder.forward(burst(many(1, 1), OLD_PARENT), 1.0))) == [CHILD]
    assert list(sent(forwarder.forward(burst(many(2, 1), PARENT), 1.0))) == [CHILD, OLD_PARENT]
    assert list(sent(forwarder.forward(burst(heartbeat(2), OLD_PARENT), 1.0))) == [CHILD]


def test_a_new_entry_takes_any_tree_version_for_one_hold_time_and_newer_ones_for_ever() -> None:
    for present in (TREE, 0, 1, 255):
        forwarder = Forwarder(Parameters())
        forwarder.apply(install(CHILD, tree=present), 0.0)
        forwarder.forward(burst(heartbeat(tree=present)), 0.0)
        for n, now in enumerate((HOLD, HOLD + 0.1)):
            verdicts = []
            for at, step in enumerate((0, 1, 100, -1, -2, -100)):
                one = datagram(10 * n + at, tree=(present + step) % 256)
                verdicts.append(forwarder.forward(burst(one), now) != NOTHING)
            assert verdicts == [True, True, True, *[n == 0] * 3]
        assert dropped(forwarder) == {"stale_tree": 3}


def test_a_version_that_rises_by_three_under_a_flow_costs_nothing() -> None:
    forwarder = relay(CHILD)
    for n in range(100):
        # Three super nodes at once: this host learns of the first and the last.
        now = 2 * HOLD + n / 100
        if n in (50, 51):
            forwarder.apply(install(CHILD, tree=TREE + (1 if n == 50 else 3)), now)
        on_its_way = datagram(n, tree=TREE + max(0, min(3, n - 90)))
        assert sent(forwarder.forward(burst(on_its_way), now)) == {CHILD: on_its_way}
    assert dropped(forwarder) == {}


def test_an_old_version_is_stale_one_hold_time_after_it_was_replaced() -> None:
    forwarder = relay(CHILD)
    start = 2 * HOLD
    forwarder.apply(install(CHILD, tree=TREE + 2), start)
    forwarder.apply(install(CHILD, tree=TREE + 3), start + 1)
    for n, (version, now, is_taken) in enumerate(
        [
            (TREE, start + HOLD, True),
            (TREE - 1, start + HOLD, False),
            (TREE, start + HOLD + 0.1, False),
            (TREE + 1, start + HOLD + 0.1, False),
            (TREE + 2, start + HOLD + 1, True),
            (TREE + 2, start + HOLD + 1.1, False),
            (TREE + 3, start + HOLD + 1.1, True),
        ]
    ):
        outcome = forwarder.forward(burst(datagram(n, tree=version)), now)
        assert (outcome != NOTHING) == is_taken, n


def test_flags_in_the_reserved_word_do_not_make_another_channel() -> None:
    forwarder = relay(CHILD)
    for n, above in enumerate((0, 0x80, 0x02, 0xFE), 1):
        one = datagram(n, channel=above << 24 | CHANNEL)
        assert sent(forwarder.forward(burst(one), 1.0)) == {CHILD: one}
    mixed = [datagram(n, channel=n << 24 & 0xFE000000 | CHANNEL) for n in range(5, 20)]
    assert sent(forwarder.forward(burst(mixed), 1.0)) == {CHILD: b"".join(mixed)}
    assert sent(forwarder.forward(burst(mixed), 1.0)) == {}
    assert dropped(forwarder) == {"duplicate": 15}
    (tables, groups) = (forwarder.snapshot()["tables"], forwarder.snapshot()["groups"])
    assert tables["channels"] == 1 and groups[str(GROUP)]["data_received"] == 19


def test_own_packets_that_come_back_are_dropped_as_own() -> None:
    forwarder = relay(CHILD)
    forwarder.originate(SESSION, ORIGIN, TREE, OTHER_GROUP, SOURCE, [b"x"], 1.0)
    forwarder.forward(burst(many(1, 3)), 1.0)
    forwarder.forward(burst(heartbeat(9)), 1.0)
    assert dropped(forwarder) == {"no_members": 1, "own": 4}


def test_without_an_entry_all_is_dropped_as_no_entry() -> None:
    forwarder = Forwarder(Parameters())
    forwarder.forward(burst(many(1, 3)), 1.0)
    forwarder.forward(burst(heartbeat()), 1.0)
    assert dropped(forwarder) == {"no_entry": 4}


def test_the_entry_of_an_origin_comes_before_the_one_for_any() -> None:
    forwarder = relay(CHILD)
    forwarder.apply(install(CHILD_2, upstream=(OLD_PARENT,), origin=ORIGIN), 0.0)
    assert forwarder.forward(burst(many(1, 1), PARENT), 1.0) == NOTHING
    assert list(sent(forwarder.forward(burst(many(1, 1), OLD_PARENT), 1.0))) == [CHILD_2]


def test_bytes_that_are_no_datagrams_are_dropped_as_malformed() -> None:
    forwarder = relay(CHILD)
    wrong_length = datagram(1)[:-1]
    for data, stride in (
        (b"", 10),
        (b"x" * 10, 10),
        (wrong_length, len(wrong_length)),
        (datagram(1), 0),
        (datagram(1), 23),
        (datagram(1, version=2), 31),
        (datagram(1, option=0x10), 31),
        (datagram(1, channel=0), 31),
        (datagram(1, origin=0), 31),
        (heartbeat(2)[:-1], 60),
    ):
        assert forwarder.forward(Burst(data, stride, PARENT), 1.0) == NOTHING
    assert dropped(forwarder) == {"malformed": 10}


def test_one_bad_datagram_does_not_cost_the_rest_of_its_burst() -> None:
    forwarder = relay(CHILD)
    good = many(1, 3)
    outcome = forwarder.forward(burst([good[0], b"\xff" * 74, good[1], good[2]]), 1.0)
    assert sent(outcome) == {CHILD: b"".join(good)}
    assert dropped(forwarder) == {"malformed": 1}


def test_a_burst_of_several_flows_is_cut_into_them() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(heartbeat(channel=4, group=OTHER_GROUP)), 0.0)
    mixed = [datagram(1), datagram(2), datagram(1, channel=4), datagram(3)]
    outcome = forwarder.forward(burst(mixed), 1.0)
    assert sent(outcome) == {CHILD: mixed[0] + mixed[1] + mixed[3]}
    assert dropped(forwarder) == {"no_members": 1}


def test_a_heartbeat_makes_a_channel_known_and_goes_on_verbatim() -> None:
    forwarder = relay(CHILD, Branch(CHILD_2, (interest(OTHER_GROUP),)))
    beat = heartbeat(2, highest=5, started=1)
    assert sent(forwarder.forward(burst(beat), 1.0)) == {CHILD: beat}
    other = heartbeat(channel=9, group=OTHER_GROUP)
    assert sent(forwarder.forward(burst(other), 1.0)) == {CHILD_2: other}


def test_a_burst_of_heartbeats_is_taken_one_by_one() -> None:
    forwarder = relay(CHILD)
    beats = [heartbeat(2), heartbeat(3), heartbeat(1, channel=8)]
    assert sent(forwarder.forward(burst(beats), 1.0)) == {CHILD: b"".join(beats)}
    assert forwarder.snapshot()["heartbeats_received"] == 4


def test_a_heartbeat_that_is_not_newer_goes_no_further() -> None:
    forwarder = relay(CHILD)
    assert forwarder.forward(burst(heartbeat(7)), 1.0) != NOTHING
    assert forwarder.forward(burst(heartbeat(7)), 1.0) == NOTHING
    assert forwarder.forward(burst(heartbeat(6)), 1.0) == NOTHING
    assert dropped(forwarder) == {"old_heartbeat": 2}


def test_after_a_silence_any_heartbeat_is_believed_so_that_a_restart_is_heard() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(heartbeat(700)), 1.0)
    assert forwarder.forward(burst(heartbeat(1)), 10.9) == NOTHING
    assert forwarder.forward(burst(heartbeat(1)), 11.1) != NOTHING


def test_heartbeats_pass_the_same_checks_as_data() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(heartbeat(2), STRANGER), 1.0)
    forwarder.forward(burst(heartbeat(2, tree=TREE - 2)), HOLD + 1)
    assert dropped(forwarder) == {"not_upstream": 1, "stale_tree": 1}


def test_the_loss_of_a_tail_is_known_from_a_heartbeat() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(many(1, 5)), 1.0)
    forwarder.forward(burst(many(8, 3)), 1.0)
    assert forwarder.snapshot()["lost"] == 2
    forwarder.forward(burst(heartbeat(2, highest=14, started=1)), 1.5)
    assert forwarder.snapshot()["lost"] == 6
    forwarder.forward(burst(many(11, 4)), 1.6)
    assert forwarder.snapshot()["lost"] == 2


def test_a_number_given_to_another_stream_brings_nothing_of_the_old_one() -> None:
    forwarder = relay(CHILD, Branch(CHILD_2, (interest(OTHER_GROUP),)))
    forwarder.forward(burst(many(100, 5)), 1.0)
    forwarder.forward(burst(heartbeat(2, group=OTHER_GROUP)), 2.0)
    assert sent(forwarder.forward(burst(many(100, 5)), 2.0)) == {CHILD_2: b"".join(many(100, 5))}
    groups = forwarder.snapshot()["groups"]
    assert set(groups) == {str(GROUP), str(OTHER_GROUP)}


def test_data_of_an_unknown_channel_waits_and_asks_until_it_is_known() -> None:
    forwarder = relay(CHILD)
    ahead = [datagram(n, channel=9) for n in range(40, 44)]
    outcome = forwarder.forward(burst(ahead[:2]), 1.0)
    (request,) = outcome.transmits
    assert request.to == PARENT
    message = decode(request.data)
    assert isinstance(message, DataRequest)
    assert (message.session, message.origin, message.channel) == (SESSION, ORIGIN, 9)
    assert (message.base, message.bitmap) == (40, b"\0")
    assert forwarder.forward(burst(ahead[2:3]), 1.09) == NOTHING
    assert len(forwarder.forward(burst(ahead[3:]), 1.11).transmits) == 1
    beat = heartbeat(5, channel=9)
    assert sent(forwarder.forward(burst(beat), 1.2)) == {CHILD: beat + b"".join(ahead)}
    assert forwarder.wake(9.0)[0] == NOTHING and dropped(forwarder) == {}


def test_data_whose_announcement_does_not_come_is_dropped_as_unknown_channel() -> None:
    forwarder = relay(CHILD)
    ahead = [datagram(n, channel=9) for n in range(4)]
    forwarder.forward(burst(ahead), 1.0)
    assert forwarder.next_alarm() == (3.0, "UNKNOWN")
    forwarder.wake(3.0)
    assert dropped(forwarder) == {"unknown_channel": 4}
    assert len(forwarder.forward(burst(ahead), 3.1).transmits) == 1
    forwarder.wake(5.1)
    assert forwarder.snapshot()["tables"]["unknown_bytes"] == 0


def test_what_waits_is_bounded_in_bytes_and_in_channels() -> None:
    forwarder = relay(CHILD, parameters=replace(Parameters(), unknown_bytes=10_000))
    asked = 0
    for n in range(1000):
        outcome = forwarder.forward(burst(datagram(n, bytes(500), channel=9)), 1.0)
        asked += len(outcome.transmits)
    assert asked == 1
    tables = forwarder.snapshot()["tables"]
    assert 9_000 < tables["unknown_bytes"] <= 10_000
    forwarder = relay(CHILD)
    for n in range(10, 1000):
        asked += len(forwarder.forward(burst(datagram(1, channel=n)), 1.0).transmits)
    assert asked == 1 + 64


def test_unknown_data_that_nobody_can_want_does_not_wait() -> None:
    forwarder = relay()
    assert forwarder.forward(burst(datagram(1, channel=9)), 1.0) == NOTHING
    assert dropped(forwarder) == {"no_members": 1}


def test_the_channels_of_others_are_bounded() -> None:
    forwarder = relay(CHILD, parameters=replace(Parameters(), channels=10))
    for n in range(1, 40):
        forwarder.forward(burst(heartbeat(1, channel=n, group=ip_address(0xEF000000 + n))), 0.0)
    assert dropped(forwarder) == {"channels_full": 29, "old_heartbeat": 1}
    assert CHANNEL <= 10
    # They are forgotten when nothing tells of them any more, and then there is room.
    now = 0.0
    while (alarm := forwarder.next_alarm()) is not None:
        assert alarm[0] > now
        now = alarm[0]
        forwarder.wake(now)
    assert 15.0 < now < 30.0
    assert sent(forwarder.forward(burst(heartbeat(1, channel=50)), now)) != {}


def test_a_restarted_origin_is_heard_again() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(many(1_000_000, 60)), 1.0)
    got = b""
    for n in range(1, 201):
        got += sent(forwarder.forward(burst(many(n, 1)), 2.0 + n / 1000)).get(CHILD, b"")
    assert len(got) // 74 == 200 - 31
    assert dropped(forwarder) == {"old": 31}


def test_whatever_arrives_is_counted_once() -> None:
    forwarder = relay(CHILD, deliver=WANT)
    for first, count in ((1, 40), (20, 40), (100, 10), (60, 64), (90, 20)):
        forwarder.forward(burst(many(first, count)), 1.0)
    forwarder.forward(burst(many(1, 10), STRANGER), 1.0)
    counters = forwarder.counters
    assert counters.data_received + sum(counters.dropped.values()) == 40 + 40 + 10 + 64 + 20 + 10
    assert counters.data_received == len(set(range(1, 60)) | set(range(60, 124)))
    assert forwarder.snapshot()["lost"] == 0


def test_delivery_is_by_this_hosts_interest_alone() -> None:
    forwarder = relay(CHILD, deliver=(interest(OTHER_GROUP),))
    assert delivered(forwarder.forward(burst(many(1, 2)), 1.0)) == b""
    forwarder.apply(install(deliver=WANT), 1.0)
    assert delivered(forwarder.forward(burst(many(3, 2)), 1.0)) == b"".join(many(3, 2))


def test_a_channel_forgotten_and_heard_of_again_delivers_nothing_twice() -> None:
    """Who was asleep forgets its channels when it wakes; the last packets may come again then."""
    forwarder = relay(CHILD)
    forwarder.forward(burst(heartbeat(1)), 1.0)
    assert sent(forwarder.forward(burst([datagram(n) for n in (1, 2, 3)]), 1.0))
    while (alarm := forwarder.next_alarm()) is not None:
        forwarder.wake(alarm[0])
    assert forwarder.snapshot()["tables"]["channels"] == 0
    forwarder.forward(burst(heartbeat(2)), 90.0)
    repeated = forwarder.forward(burst([datagram(n) for n in (2, 3, 4)]), 90.0)
    assert sent(repeated) == {CHILD: datagram(4)}


def test_the_collector_has_nothing_to_do_while_bursts_pass() -> None:
    forwarder = relay(CHILD, endpoint(70), endpoint(71))
    bursts = [burst([datagram(8 * n + m) for m in range(8)]) for n in range(6000)]

    def collections() -> int:
        return sum(generation["collections"] for generation in gc.get_stats())

    before = collections()
    # The cache holds two seconds, and what grows no more costs no collection.
    for n, each in enumerate(bursts):
        if n == 2000:
            before = collections()
        forwarder.forward(each, 1.0 + n / 500)
    assert forwarder.counters.data_forwarded == 3 * 8 * 6000
    assert collections() - before <= 3
