"""Entries, replays, silence and counts: what a role asks of the forwarder and hears from it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dmmp.actions import ANY_ORIGIN, Branch, Replay, Withdraw
from dmmp.forwarding.burst import Outcome, Silent
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import interest
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, HostId
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
    STRANGER,
    WANT,
    burst,
    datagram,
    heartbeat,
    install,
    relay,
    sent,
)


def replay(
    to: Endpoint,
    *,
    origin: HostId = ORIGIN,
    channel: int = CHANNEL,
    base: int = 0,
    bitmap: bytes = b"",
) -> Replay:
    """Make a Replay."""
    return Replay(SESSION, origin, channel, base, bitmap, to)


def packets(*numbers: int) -> bytes:
    """Lay datagrams of these numbers side by side."""
    return b"".join(datagram(number) for number in numbers)


def feed(forwarder: Forwarder, first: int, count: int, now: float) -> None:
    """Forward consecutive packets, one burst each."""
    for number in range(first, first + count):
        forwarder.forward(burst(datagram(number)), now)


def run_until(forwarder: Forwarder, until: float) -> list[tuple[float, Silent]]:
    """Wake the forwarder at its alarms; return what it said of silence, and when."""
    said = []
    while (alarm := forwarder.next_alarm()) is not None and alarm[0] <= until:
        said += [(round(alarm[0], 3), silent) for silent in forwarder.wake(alarm[0])[1]]
    return said


def test_install_sends_the_announcements_to_branches_newly_admitted_and_to_no_other() -> None:
    forwarder = relay(CHILD)
    other = heartbeat(1, channel=8, group=OTHER_GROUP)
    forwarder.forward(burst(other), 0.0)
    outcome = forwarder.apply(install(CHILD, CHILD_2), 1.0)
    assert sent(outcome) == {CHILD_2: heartbeat()}
    assert forwarder.apply(install(CHILD, CHILD_2), 1.0) == Outcome()
    both = Branch(CHILD, (interest(GROUP), interest(OTHER_GROUP)))
    assert sent(forwarder.apply(install(both, CHILD_2), 2.0)) == {CHILD: other}


def test_install_takes_effect_with_the_next_burst() -> None:
    forwarder = relay(CHILD)
    assert set(sent(forwarder.forward(burst(datagram(1)), 1.0))) == {CHILD}
    forwarder.apply(install(CHILD_2), 1.0)
    assert set(sent(forwarder.forward(burst(datagram(2)), 1.0))) == {CHILD_2}
    forwarder.apply(install(CHILD_2, upstream=(OLD_PARENT,)), 1.0)
    assert sent(forwarder.forward(burst(datagram(3)), 1.0)) == {}


def test_withdraw_ends_it_or_uncovers_the_entry_for_any_origin() -> None:
    forwarder = relay(CHILD)
    forwarder.apply(install(CHILD_2, origin=ORIGIN), 0.0)
    uncovered = forwarder.apply(Withdraw(SESSION, ORIGIN), 1.0)
    assert sent(uncovered) == {CHILD: heartbeat()}
    assert set(sent(forwarder.forward(burst(datagram(1)), 1.0))) == {CHILD}
    forwarder.apply(Withdraw(SESSION), 1.0)
    assert forwarder.forward(burst(datagram(2)), 1.0) == Outcome()
    assert forwarder.counters.dropped["no_entry"] == 1


def test_what_passes_while_nobody_wants_it_is_not_lost() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 10, 1.0)
    forwarder.apply(install(), 1.0)
    forwarder.apply(install(CHILD), 5.0)
    feed(forwarder, 501, 10, 5.0)
    assert forwarder.snapshot()["lost"] == 0


def test_a_named_channel_is_replayed_from_base_on_after_its_heartbeat() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 10, 1.0)
    outcome = forwarder.apply(replay(CHILD, base=7), 1.1)
    assert sent(outcome) == {CHILD: heartbeat() + packets(7, 8, 9, 10)}
    assert forwarder.counters.replayed == 4


def test_a_bitmap_brings_what_it_marks_and_is_held() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 10, 1.0)
    forwarder.forward(burst([datagram(n) for n in range(11, 30)]), 1.0)
    outcome = forwarder.apply(replay(CHILD, base=5, bitmap=b"\x81\x80\x00\x01"), 1.1)
    assert sent(outcome) == {CHILD: packets(5, 12, 13)}


def test_a_newcomer_gets_half_a_second_of_all_it_wants_but_nothing_twice() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(heartbeat(1, channel=8)), 0.0)
    forwarder.forward(burst(heartbeat(1, channel=9, group=OTHER_GROUP)), 0.0)
    feed(forwarder, 1, 5, 1.0)
    feed(forwarder, 6, 5, 1.6)
    forwarder.forward(burst([datagram(n, channel=8) for n in (1, 2)]), 1.7)
    forwarder.forward(burst([datagram(n, channel=9) for n in (1, 2)]), 1.7)
    forwarder.apply(install(CHILD, CHILD_2), 1.8)
    feed(forwarder, 11, 5, 1.9)
    newcomer = replay(CHILD_2, origin=ANY_ORIGIN, channel=0)
    expected = heartbeat() + heartbeat(1, channel=8) + packets(6, 7, 8, 9, 10)
    expected += datagram(1, channel=8) + datagram(2, channel=8)
    assert sent(forwarder.apply(newcomer, 2.0)) == {CHILD_2: expected}
    # CHILD had all of it as it came: only the announcements.
    old = replay(CHILD, origin=ANY_ORIGIN, channel=0)
    assert sent(forwarder.apply(old, 2.0)) == {CHILD: heartbeat() + heartbeat(1, channel=8)}


def test_a_newcomer_gets_the_newest_in_order_and_no_more_than_is_sent_at_once() -> None:
    size = len(datagram(1))
    forwarder = relay(CHILD, parameters=replace(Parameters(), replay_bytes=7 * size + 1))
    forwarder.forward(burst(heartbeat(1, channel=8)), 0.0)
    for n in range(20):
        # Two channels in turn; of the second, two packets in each burst.
        forwarder.forward(burst(datagram(n)), 1.0 + n / 100)
        pair = [datagram(2 * n + m, channel=8) for m in (0, 1)]
        forwarder.forward(burst(pair), 1.005 + n / 100)
    forwarder.apply(install(CHILD, CHILD_2), 1.2)
    beats = heartbeat() + heartbeat(1, channel=8)
    expected = packets(18, 19) + b"".join(datagram(n, channel=8) for n in (35, 36, 37, 38, 39))
    outcome = forwarder.apply(replay(CHILD_2, origin=ANY_ORIGIN, channel=0), 1.2)
    assert sent(outcome) == {CHILD_2: beats + expected}
    assert forwarder.counters.replayed == 7
    # Whoever asks for one channel gets no more, either.
    outcome = forwarder.apply(replay(CHILD, base=0), 1.2)
    assert sent(outcome) == {CHILD: heartbeat() + packets(*range(13, 20))}


def test_megabytes_in_the_cache_do_not_flood_a_newcomer() -> None:
    forwarder = relay(CHILD)
    for n in range(100):
        full = [datagram(48 * n + m, bytes(1300)) for m in range(48)]
        forwarder.forward(burst(full), 1.0 + n / 1000)
    forwarder.apply(install(CHILD, CHILD_2), 1.1)
    assert forwarder.snapshot()["tables"]["cache_bytes"] > 6_000_000
    outcome = forwarder.apply(replay(CHILD_2, origin=ANY_ORIGIN), 1.1)
    size = sum(len(transmit.data) for transmit in outcome.transmits) - len(heartbeat())
    assert Parameters().replay_bytes - 1324 < size <= Parameters().replay_bytes
    assert sent(outcome)[CHILD_2].endswith(datagram(4799, bytes(1300)))


def test_what_a_former_parent_repeats_is_not_live_for_a_newcomer() -> None:
    forwarder = relay(CHILD)
    forwarder.apply(install(CHILD, upstream=(PARENT, OLD_PARENT)), 1.0)
    feed(forwarder, 1, 8, 1.0)
    forwarder.apply(install(CHILD, CHILD_2, upstream=(PARENT, OLD_PARENT)), 1.1)
    forwarder.forward(burst(datagram(3), OLD_PARENT), 1.1)
    feed(forwarder, 9, 1, 1.2)
    outcome = forwarder.apply(replay(CHILD_2, origin=ANY_ORIGIN, channel=0), 1.2)
    assert sent(outcome) == {CHILD_2: heartbeat() + packets(*range(1, 9))}


def test_a_branch_that_went_and_came_back_is_a_newcomer() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 5, 1.0)
    forwarder.apply(install(CHILD_2), 1.1)
    feed(forwarder, 6, 5, 1.2)
    forwarder.apply(install(CHILD, CHILD_2), 1.3)
    feed(forwarder, 11, 1, 1.35)
    outcome = forwarder.apply(replay(CHILD, origin=ANY_ORIGIN), 1.4)
    assert sent(outcome)[CHILD] == heartbeat() + packets(*range(1, 11))


def test_all_channels_are_replayed_only_to_branches_that_want_them() -> None:
    forwarder = relay(CHILD, Branch(CHILD_2, (interest(OTHER_GROUP),)))
    feed(forwarder, 1, 5, 1.0)
    for to in (STRANGER, CHILD_2, PARENT):
        assert forwarder.apply(replay(to, origin=ANY_ORIGIN), 1.0) == Outcome()
    assert forwarder.apply(replay(CHILD, channel=99), 1.0) == Outcome()
    assert forwarder.counters.dropped["not_downstream"] == 3
    assert forwarder.counters.dropped["unknown_channel"] == 1


def test_a_newcomer_takes_what_is_replayed_after_the_first_live_packet() -> None:
    parent, child = relay(CHILD), relay(deliver=WANT)
    feed(parent, 1, 50, 1.0)
    got = []
    for number in (60, *range(41, 60), 61):
        for delivery in child.forward(burst(datagram(number)), 1.1).deliveries:
            got.append(bytes(delivery.data))
    assert sorted(got) == [datagram(n) for n in range(41, 62)]
    assert child.snapshot()["lost"] == 0


def test_whoever_the_role_lets_ask_gets_a_named_channel_though_no_branch() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 1, 5, 1.0)
    assert sent(forwarder.apply(replay(STRANGER, base=4), 1.0)) == {
        STRANGER: heartbeat() + packets(4, 5)
    }
    outcome = forwarder.apply(replay(STRANGER, base=1, bitmap=b"\x50"), 1.0)
    assert sent(outcome) == {STRANGER: packets(2, 4)}


def told(forwarder: Forwarder, until: float) -> tuple[float, Silent]:
    """Return the first word of silence, which must be there."""
    return run_until(forwarder, until)[0]


def test_a_steady_flow_that_stops_is_told_of_until_the_hold_times_take_over() -> None:
    forwarder = relay(CHILD)
    for n in range(300):
        assert run_until(forwarder, 1 + n / 100) == []
        feed(forwarder, n, 1, 1 + n / 100)
    said = run_until(forwarder, 60.0)
    assert {silent for _, silent in said} == {Silent(3.99)}
    assert [at for at, _ in said[:7]] == [4.09, 4.19, 4.39, 4.79, 5.59, 6.59, 7.59]
    assert 3.99 + 14 < said[-1][0] < 3.99 + 15
    forwarder.forward(burst(heartbeat(2)), 70.0)
    for n in range(300, 500):
        feed(forwarder, n, 1, 70 + (n - 300) / 100)
    assert told(forwarder, 100.0) == (72.09, Silent(71.99))


def test_one_of_two_flows_that_stops_is_no_silence() -> None:
    forwarder = relay(CHILD)
    forwarder.forward(burst(heartbeat(1, channel=8)), 0.0)
    said = []
    for n in range(1000):
        now = 1 + n / 100
        said += run_until(forwarder, now)
        if n < 300:
            forwarder.forward(burst(datagram(n, channel=8)), now)
        feed(forwarder, n, 1, now)
    assert said == []


def test_a_trickle_is_watched_by_its_heartbeats() -> None:
    forwarder = relay(CHILD)
    beats = 1
    for n in range(20):
        begun = 1.0 + 0.7 * n
        feed(forwarder, n, 1, begun)
        for after in (0.2, 0.6):
            beats += 1
            assert run_until(forwarder, begun + after) == []
            beat = heartbeat(beats, highest=n, started=1)
            forwarder.forward(burst(beat), begun + after)
    # The next one was due 0.8 s after the last.
    last = 1.0 + 0.7 * 19 + 0.6
    at, silent = told(forwarder, 60.0)
    assert at == pytest.approx(last + 0.1 + 1.5 * 0.8)
    assert silent.since == pytest.approx(last - 0.6)


def test_a_flow_that_begins_while_the_next_heartbeat_is_awaited_is_watched_from_then_on() -> None:
    forwarder = relay(CHILD)
    feed(forwarder, 0, 1, 1.0)
    for beat, at in enumerate((1.2, 1.6, 2.4, 4.0, 7.2), start=2):
        assert run_until(forwarder, at) == []
        forwarder.forward(burst(heartbeat(beat, highest=0, started=1)), at)
    # The next heartbeat is due at 12.2: until 14.8 nothing is remarkable but a flow that stops.
    for n in range(60):
        assert run_until(forwarder, 7.5 + n / 100) == []
        feed(forwarder, 1 + n, 1, 7.5 + n / 100)
    assert told(forwarder, 60.0) == (8.19, Silent(8.09))


def test_when_nothing_is_wanted_any_more_silence_is_expected() -> None:
    forwarder = relay(CHILD)
    for n in range(200):
        feed(forwarder, n, 1, 1 + n / 100)
    forwarder.apply(install(), 3.0)
    assert run_until(forwarder, 60.0) == []


def test_a_branch_that_comes_does_not_hide_silence() -> None:
    forwarder = relay(CHILD)
    for n in range(200):
        feed(forwarder, n, 1, 1 + n / 100)
    forwarder.apply(install(CHILD, CHILD_2), 3.05)
    assert told(forwarder, 60.0) == (3.09, Silent(2.99))


def test_a_new_upstream_has_as_long_as_the_old_one() -> None:
    forwarder = relay(CHILD)
    for n in range(200):
        feed(forwarder, n, 1, 1 + n / 100)
    forwarder.apply(install(CHILD, upstream=(OLD_PARENT, PARENT)), 3.08)
    assert told(forwarder, 60.0) == (3.18, Silent(2.99))


def test_a_source_that_idles_is_no_silence_but_a_tail_that_is_missing_is() -> None:
    for highest, told_at in ((199, 3.19 + 0.1 + 1.5 * 0.4), (205, 3.19 + 0.1)):
        forwarder = relay(CHILD)
        for n in range(200):
            feed(forwarder, n, 1, 1 + n / 100)
        # The source's first heartbeat after its last packet, 0.2 s later.
        assert len(run_until(forwarder, 3.18)) == 1
        forwarder.forward(burst(heartbeat(2, highest=highest, started=1)), 3.19)
        # An idle source is missed when its next heartbeat is.
        assert told(forwarder, 60.0)[0] == pytest.approx(told_at)


def test_a_host_that_wakes_late_looks_again_before_it_tells_of_silence() -> None:
    forwarder = relay(CHILD)
    for n in range(200):
        feed(forwarder, n, 1, 1 + n / 100)
        run_until(forwarder, 1 + n / 100)
    alarm = forwarder.next_alarm()
    assert alarm is not None and alarm[0] < 3.1
    # It did not run for half a second; what upstream sent meanwhile is in the socket.
    assert forwarder.wake(3.5)[1] == []
    feed(forwarder, 200, 50, 3.5)
    assert run_until(forwarder, 3.55) == []


def test_a_new_upstream_that_is_dead_as_well_is_told_of_as_quickly() -> None:
    forwarder = relay(CHILD)
    for n in range(200):
        feed(forwarder, n, 1, 1 + n / 100)
    assert len(run_until(forwarder, 4.0)) == 4
    forwarder.apply(install(CHILD, upstream=(OLD_PARENT,)), 4.0)
    assert told(forwarder, 60.0) == (4.1, Silent(2.99))
    forwarder.forward(burst(heartbeat(2), OLD_PARENT), 4.9)
    assert told(forwarder, 60.0) == (5.0, Silent(2.99))


def test_counts_of_a_group_outlive_its_channels_and_are_bounded() -> None:
    forwarder = relay(CHILD, deliver=WANT)
    feed(forwarder, 1, 5, 1.0)
    feed(forwarder, 8, 1, 1.0)
    feed(forwarder, 1, 2, 1.0)
    expected = {
        "data_received": 6,
        "data_forwarded": 6,
        "delivered": 6,
        "duplicates": 2,
        "lost": 2,
        "bytes": 6 * len(datagram(1)),
    }
    before = forwarder.snapshot()
    assert before["groups"] == {str(GROUP): expected}
    counters = forwarder.counters
    assert (counters.data_received, counters.data_forwarded, counters.delivered) == (6, 6, 6)
    assert (before["duplicates"], before["lost"], before["bytes"]) == (2, 2, expected["bytes"])
    run_until(forwarder, 100.0)
    after = forwarder.snapshot()
    assert after["tables"] == {
        "entries": 1,
        "channels": 0,
        "origins": 0,
        "cache_records": 0,
        "cache_bytes": 0,
        "unknown_channels": 0,
        "unknown_bytes": 0,
        "laid_aside": 1,
        "early": 0,
        "unopened": 0,
        "keys": 0,
    }
    assert (after["groups"], after["lost"]) == (before["groups"], 2)


def test_the_counts_of_former_groups_are_bounded() -> None:
    forwarder = relay(CHILD, parameters=replace(Parameters(), channels=3))
    for n in range(1, 10):
        run_until(forwarder, 100.0 * n)
        forwarder.forward(burst(heartbeat(1, group=ip_address(0xEF000000 + n))), 100.0 * n)
    run_until(forwarder, 2000.0)
    assert list(forwarder.snapshot()["groups"]) == ["239.0.0.7", "239.0.0.8", "239.0.0.9"]


def test_a_heartbeat_is_a_sign_of_life() -> None:
    forwarder = relay(CHILD)
    for n in range(200):
        feed(forwarder, n, 1, 1 + n / 100)
    forwarder.forward(burst(heartbeat(2)), 3.05)
    assert told(forwarder, 60.0) == (3.15, Silent(2.99))


def test_a_burst_with_gaps_is_held_by_its_numbers() -> None:
    forwarder = relay(CHILD)
    gaps = [datagram(n) for n in (1, 2, 5, 6, 9)]
    assert sent(forwarder.forward(burst(gaps), 1.0)) == {CHILD: b"".join(gaps)}
    outcome = forwarder.apply(replay(CHILD, base=1, bitmap=b"\x34\x80"), 1.1)
    assert sent(outcome) == {CHILD: packets(6, 9)}
    assert forwarder.snapshot()["lost"] == 4
