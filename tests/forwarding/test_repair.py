"""Asking for what is missing (Decision 18): when, of whom, and what is taken in answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from dmmp.forwarding.burst import Outcome, Silent
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.repair import Gaps, RoundTrips, bitmap_of, target_of
from dmmp.forwarding.window import WINDOW, Window
from dmmp.messages.local import Withholding
from dmmp.parameters import Parameters
from dmmp.types import Endpoint
from tests.forwarding.build import (
    CHILD,
    CHILD_2,
    GRANDPARENT,
    OLD_PARENT,
    PARENT,
    SIBLING,
    STRANGER,
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

REPAIRERS = (GRANDPARENT, SIBLING)
PARAMETERS = Parameters()


def member(
    *branches: Endpoint,
    upstream: tuple[Endpoint, ...] = (PARENT,),
    repairers: tuple[Endpoint, ...] = REPAIRERS,
    patience: float = 0.0,
    parameters: Parameters = PARAMETERS,
) -> Forwarder:
    """Make a host with programs that want GROUP, and with relatives."""
    forwarder = Forwarder(parameters)
    entry = install(
        *branches, deliver=WANT, upstream=upstream, repairers=repairers, patience=patience
    )
    forwarder.apply(install(*branches, deliver=WANT), 0.0)
    forwarder.forward(burst(heartbeat()), 0.0)
    forwarder.apply(entry, 0.0)
    return forwarder


def take(forwarder: Forwarder, *numbers: int, now: float = 1.0, sender: Endpoint = PARENT) -> bytes:
    """Let packets come, one by one; return what was delivered."""
    outcomes = [forwarder.forward(burst(datagram(n), sender), now) for n in numbers]
    return b"".join(map(delivered, outcomes))


def test_a_gap_is_asked_for_after_a_moment_with_one_bitmap() -> None:
    forwarder = member()
    take(forwarder, 1, 2, 5, 9)
    assert woken(forwarder, 1.05) == [(1.01, PARENT, [3, 4, 6, 7, 8])]


def test_packets_that_only_overtook_each_other_are_not_asked_for() -> None:
    forwarder = member()
    take(forwarder, 1, 3)
    take(forwarder, 2, now=1.009)
    assert woken(forwarder, 9.0) == [] and forwarder.snapshot()["lost"] == 0


def test_upstream_is_asked_and_later_each_who_repairs_in_turn_until_the_caches_forgot() -> None:
    forwarder = member()
    take(forwarder, 1, 3)
    asked = woken(forwarder, 9.0)
    assert [to for _, to, _ in asked] == [PARENT] * 4 + [SIBLING, PARENT, GRANDPARENT]
    waits = [later[0] - one[0] for one, later in pairwise(asked)]
    # From the third miss on the way is thought to be longer than guessed.
    assert waits == pytest.approx([0.1, 0.15, 0.225, 0.5, 0.5, 0.5])
    assert all(marked == [2] for _, _, marked in asked)
    counts = forwarder.snapshot()
    assert (counts["lost"], counts["given_up"], counts["repaired"]) == (1, 1, 0)


def test_what_was_asked_for_and_comes_goes_to_all_who_want_it() -> None:
    forwarder = member(CHILD, CHILD_2)
    take(forwarder, 1, 4)
    woken(forwarder, 1.02)
    outcome = forwarder.forward(burst(datagram(2)), 1.03)
    assert sent(outcome) == {CHILD: datagram(2), CHILD_2: datagram(2)}
    assert delivered(outcome) == datagram(2)
    counts = forwarder.snapshot()
    assert (counts["repaired"], counts["lost"], counts["given_up"]) == (1, 1, 0)
    # Only the other one is asked for again.
    assert [marked for _, _, marked in woken(forwarder, 1.15)] == [[3]]


def test_one_who_repairs_is_believed_only_what_is_missing_and_was_asked_for() -> None:
    forwarder = member(CHILD, SIBLING)
    take(forwarder, 1, 4)
    assert take(forwarder, 2, 3, 4, 5, sender=SIBLING) == b""
    assert forwarder.counters.dropped["not_upstream"] == 4
    woken(forwarder, 1.02)
    assert take(forwarder, 2, 3, sender=STRANGER) == b""
    outcome = forwarder.forward(burst([datagram(n) for n in range(1, 6)], SIBLING), 1.03)
    assert delivered(outcome) == datagram(2) + datagram(3)
    assert sent(outcome) == {CHILD: datagram(2) + datagram(3)}
    assert forwarder.counters.dropped["not_upstream"] == 4 + 2 + 3
    # What the parent sends after that is here, and goes nowhere.
    assert forwarder.forward(burst([datagram(2), datagram(3)]), 1.04) == Outcome()
    assert forwarder.snapshot()["lost"] == 0


def test_the_announcements_of_one_who_repairs_are_not_taken() -> None:
    forwarder = member(CHILD)
    assert forwarder.forward(burst(heartbeat(9), SIBLING), 1.0) == Outcome()
    assert forwarder.counters.dropped["not_upstream"] == 1


def test_what_comes_from_others_hides_no_silence_of_upstream() -> None:
    forwarder = member()
    for n in range(100):
        take(forwarder, 2 * n, now=1 + n / 100)
        woken(forwarder, 1 + n / 100)
    take(forwarder, *range(1, 199, 2), now=2.05, sender=GRANDPARENT)
    assert forwarder.counters.repaired > 80
    said: list[Silent] = []
    while (alarm := forwarder.next_alarm()) is not None and not said:
        said += forwarder.wake(alarm[0])[1]
    assert said[0].since == 1.99 and alarm is not None and alarm[0] < 2.1


def test_without_upstream_those_who_repair_are_asked_at_once() -> None:
    forwarder = member(CHILD)
    take(forwarder, 1, 4)
    forwarder.apply(install(CHILD, deliver=WANT, upstream=(), repairers=REPAIRERS), 1.001)
    assert [to for _, to, _ in woken(forwarder, 1.2)] == [GRANDPARENT, SIBLING]
    outcome = forwarder.forward(burst([datagram(2), datagram(3)], GRANDPARENT), 1.3)
    assert sent(outcome) == {CHILD: datagram(2) + datagram(3)}


def test_with_nobody_to_ask_it_waits_for_somebody() -> None:
    forwarder = member(upstream=(), repairers=())
    forwarder.apply(install(deliver=WANT), 0.5)
    take(forwarder, 1, 4)
    forwarder.apply(install(deliver=WANT, upstream=()), 1.0)
    assert woken(forwarder, 1.2) == []
    outcome = forwarder.apply(install(deliver=WANT, upstream=(OLD_PARENT,)), 1.2)
    assert requests(outcome) == [(OLD_PARENT, 5), (OLD_PARENT, [2, 3])]


def test_a_new_upstream_is_asked_for_all_that_follows_and_for_what_is_missing() -> None:
    forwarder = member(CHILD)
    take(forwarder, 1, 2, 5)
    woken(forwarder, 1.4)
    outcome = forwarder.apply(install(CHILD, deliver=WANT, upstream=(OLD_PARENT, PARENT)), 1.41)
    assert requests(outcome) == [(OLD_PARENT, 6), (OLD_PARENT, [3, 4])]
    # It repeats what is here, or is ahead: both are all right.
    assert take(forwarder, 2, 3, 4, 5, sender=OLD_PARENT, now=1.42) == datagram(3) + datagram(4)
    assert take(forwarder, 6, 8, sender=OLD_PARENT, now=1.43) == datagram(6) + datagram(8)
    assert [(to, marked) for _, to, marked in woken(forwarder, 1.45)] == [(OLD_PARENT, [7])]


def test_the_same_upstream_first_is_no_new_one() -> None:
    forwarder = member(CHILD)
    take(forwarder, 1, 2)
    entry = install(CHILD, CHILD_2, deliver=WANT, upstream=(PARENT, OLD_PARENT))
    assert requests(forwarder.apply(entry, 1.1)) == []


def test_what_nobody_wants_is_not_asked_for() -> None:
    forwarder = relay()
    take(forwarder, 1, 5)
    assert woken(forwarder, 9.0) == []
    forwarder = member()
    take(forwarder, 1, 5)
    forwarder.apply(install(), 1.001)
    assert woken(forwarder, 9.0) == []


def test_the_loss_of_the_last_packets_is_seen_by_a_heartbeat() -> None:
    forwarder = member(CHILD)
    take(forwarder, 1, 2)
    forwarder.forward(burst(heartbeat(2, highest=5, started=1)), 1.2)
    # They may be right behind it.
    take(forwarder, 3, now=1.205)
    assert woken(forwarder, 1.25) == [(1.21, PARENT, [4, 5])]
    assert forwarder.snapshot()["lost"] == 2
    outcome = forwarder.forward(burst([datagram(4), datagram(5)]), 1.26)
    assert delivered(outcome) == datagram(4) + datagram(5)
    assert sent(outcome) == {CHILD: datagram(4) + datagram(5)}
    assert take(forwarder, 6, now=1.27) == datagram(6)
    assert forwarder.snapshot()["lost"] == 0 and woken(forwarder, 9.0) == []


def test_the_very_first_packets_are_missed_too_if_their_announcement_came() -> None:
    forwarder = member(CHILD)
    take(forwarder, 3)
    assert woken(forwarder, 1.05) == [(1.01, PARENT, [1, 2])]
    forwarder = member(CHILD)
    forwarder.forward(burst(heartbeat(2, highest=2, started=1)), 1.0)
    assert woken(forwarder, 1.05) == [(1.01, PARENT, [1, 2])]
    # A newcomer is told where the numbers are, and has missed nothing.
    forwarder = Forwarder(PARAMETERS)
    forwarder.apply(install(deliver=WANT), 0.0)
    forwarder.forward(burst(heartbeat(2, highest=2, started=1)), 1.0)
    take(forwarder, 4)
    assert woken(forwarder, 9.0) == [] and forwarder.snapshot()["lost"] == 0


def test_the_first_that_comes_may_be_one_that_was_announced_and_asked_for() -> None:
    forwarder = member(CHILD)
    forwarder.forward(burst(heartbeat(2, highest=7, started=1)), 1.0)
    assert woken(forwarder, 1.02) == [(1.01, PARENT, list(range(1, 8)))]
    forwarder.forward(burst(heartbeat(3, highest=14, started=1)), 1.25)
    assert (1.26, PARENT, list(range(8, 15))) in woken(forwarder, 1.27)
    # Answers come in any order, and no later number is taken for the first there is.
    assert take(forwarder, 8, 11, 8, now=1.28) == datagram(8) + datagram(11)
    assert forwarder.snapshot()["lost"] == 12
    moved = forwarder.apply(install(CHILD, deliver=WANT, upstream=(OLD_PARENT,)), 1.3)
    asked = [marked for to, marked in requests(moved) if to == OLD_PARENT and marked != 15]
    assert asked == [[*range(1, 8), 9, 10, 12, 13, 14]]


def test_upstream_is_blamed_when_nothing_at_all_comes_of_what_it_announces() -> None:
    forwarder = member(CHILD)
    take(forwarder, 1, 2, 3)
    notes = []

    def pass_time(until: float) -> None:
        while (alarm := forwarder.next_alarm()) is not None and alarm[0] <= until:
            notes.extend(forwarder.wake(alarm[0])[0].notes)

    for beat, highest in ((2, 10), (3, 60)):
        forwarder.forward(burst(heartbeat(beat, highest=highest, started=1)), 5.0 * beat)
        pass_time(5.0 * beat + 4.0)
    assert notes == [Withholding(PARENT, 1), Withholding(PARENT, 2)]
    # One packet of them is enough: what is lost is not withheld.
    forwarder.forward(burst(heartbeat(4, highest=90, started=1)), 20.0)
    take(forwarder, 91, now=20.1)
    pass_time(24.0)
    assert len(notes) == 2
    forwarder.forward(burst(heartbeat(5, highest=99, started=1)), 25.0)
    pass_time(29.0)
    assert notes[2:] == [Withholding(PARENT, 1)]


def test_what_an_earlier_life_of_the_origin_lacked_is_forgotten() -> None:
    window = Window()
    window.begin_after(0)
    gaps = Gaps(window, PARAMETERS)
    gaps.note(8, 7, 1.0, 0.0)
    gaps.note(15, 7, 1.25, 0.0)
    gaps.note(9, 2, 1.5, 0.0)
    assert [(stretch.first, stretch.count) for stretch in gaps.stretches] == [(9, 2)]


@pytest.mark.parametrize("beat", [2, 3])
def test_the_first_packet_after_a_pause_is_missed_too_if_nothing_came_between(beat: int) -> None:
    forwarder = member()
    take(forwarder, 1, 2)
    forwarder.forward(burst(heartbeat(2, highest=2, started=1)), 1.2)
    forwarder.apply(install(), 2.0)
    forwarder.apply(install(deliver=WANT), 3.0)
    # As upstream greets whoever wants it again: with its last heartbeat, or with a later one.
    forwarder.forward(burst(heartbeat(beat, highest=2, started=1)), 3.01)
    take(forwarder, 4, now=4.0)
    assert woken(forwarder, 4.02) == [(4.01, PARENT, [3])]


def test_what_came_while_nobody_wanted_it_is_not_asked_for() -> None:
    forwarder = member()
    take(forwarder, 1, 2)
    forwarder.forward(burst(heartbeat(2, highest=2, started=1)), 1.2)
    forwarder.apply(install(), 2.0)
    forwarder.apply(install(deliver=WANT), 3.0)
    forwarder.forward(burst(heartbeat(3, highest=900, started=1)), 3.01)
    take(forwarder, 901, now=4.0)
    assert woken(forwarder, 9.0) == [] and forwarder.snapshot()["lost"] == 0


def test_the_role_may_know_that_upstream_is_far() -> None:
    forwarder = member(patience=0.9)
    take(forwarder, 1, 3)
    assert [at for at, _, _ in woken(forwarder, 1.5)] == [1.01, 1.31]


def test_the_wait_for_an_answer_follows_the_first_answers() -> None:
    forwarder = member()
    for n in range(40):
        now = 1.0 + n / 10
        take(forwarder, 2 * n, now=now)
        woken(forwarder, now + 0.015)
        if n:
            take(forwarder, 2 * n - 1, now=now + 0.03)
    assert forwarder.snapshot()["lost"] == 0
    take(forwarder, 80, now=9.0)
    first, second = [at for at, _, _ in woken(forwarder, 9.09)][:2]
    # It took 0.02 s each time.
    assert second - first == pytest.approx(1.5 * 0.02 + PARAMETERS.reorder_wait, abs=0.001)


def test_a_long_gap_is_asked_for_in_full_but_not_all_at_once() -> None:
    forwarder = member()
    take(forwarder, 1, 3002)
    asked: set[int] = set()
    per_moment: dict[tuple[float, Endpoint], int] = {}
    for at, to, marked in woken(forwarder, 1.5):
        assert isinstance(marked, list)
        asked.update(marked)
        per_moment[at, to] = per_moment.get((at, to), 0) + len(marked)
    assert asked == set(range(2, 3002))
    assert max(per_moment.values()) <= PARAMETERS.repair_numbers


def test_after_an_outage_longer_than_the_window_the_rest_is_asked_for() -> None:
    forwarder = member()
    take(forwarder, 1, 10_000)
    asked = {
        n for _, _, marked in woken(forwarder, 1.9) if isinstance(marked, list) for n in marked
    }
    assert asked == set(range(10_000 - WINDOW + 1, 10_000))


def test_gaps_are_bounded_and_nothing_is_forgotten() -> None:
    parameters = replace(PARAMETERS, repair_stretches=4, reorder_wait=0.001)
    forwarder = member(parameters=parameters)
    for n in range(200):
        take(forwarder, 2 * n, now=1.0 + n / 1000)
    (channel,) = forwarder._table.announced()
    assert len(channel.gaps.stretches) <= 4
    asked = {
        n for _, _, marked in woken(forwarder, 2.0) if isinstance(marked, list) for n in marked
    }
    assert asked == set(range(1, 398, 2))


def test_a_window_begun_anew_is_not_asked_about() -> None:
    forwarder = member()
    take(forwarder, 1_000_000, 1_000_005)
    for n in range(1, 100):
        take(forwarder, n, now=2.0 + n / 1000)
    assert forwarder.forward(burst(datagram(100)), 2.2).deliveries
    assert [marked for at, _, marked in woken(forwarder, 9.0) if at > 2.1] == []


def test_whom_to_ask_after_so_many_tries() -> None:
    above, others = (PARENT, OLD_PARENT), (SIBLING, PARENT, GRANDPARENT)
    assert {target_of(n, False, above, others) for n in range(6)} == {PARENT}
    turn = [target_of(n, True, above, others) for n in range(6)]
    assert turn == [SIBLING, PARENT, SIBLING, PARENT, GRANDPARENT, PARENT]
    assert [target_of(n, False, (), others[:1]) for n in range(2)] == [SIBLING, SIBLING]
    assert target_of(0, True, (), ()) is None


def test_bitmaps_begin_with_the_first_that_is_missing() -> None:
    window = Window()
    window.admit(1, 1, 0.0)
    for number in (9, 2000, 2003):
        window.admit(number, 1, 0.0)
    gaps = Gaps(window, PARAMETERS)
    for first, count in window.passed:
        gaps.note(first, count, 0.0, 0.0)
    window.sift([2, 4, 1999], 0.0)
    wanted = gaps.wanted([(stretch, gaps.lacking(stretch)) for stretch in gaps.due(0.0)])
    assert (wanted[0].base, wanted[0].bitmap[:1]) == (3, b"\xbc")
    assert len(wanted) == 3 and all(len(one.bitmap) <= 128 for one in wanted)
    assert bitmap_of(0b101, 3) == b"\xa0"


def test_round_trips_of_second_tries_do_not_count() -> None:
    window = Window()
    window.admit(1, 1, 0.0)
    window.admit(4, 1, 0.0)
    gaps = Gaps(window, PARAMETERS)
    gaps.note(2, 2, 0.0, 0.0)
    (stretch,) = gaps.stretches
    stretch.tries, stretch.target, stretch.asked_at = 1, PARENT, 1.0
    assert gaps.fill(2, 1, GRANDPARENT, 1.5) == (1, 0.0)
    assert gaps.fill(2, 1, PARENT, 1.5) == (1, 0.5)
    assert gaps.fill(3, 1, PARENT, 1.7) == (1, 0.0)
    stretch.tries, stretch.measured = 2, False
    assert gaps.fill(3, 1, PARENT, 1.7) == (1, 0.0)


def test_a_way_longer_than_the_first_guess_is_found_out() -> None:
    trips = RoundTrips(PARAMETERS)
    assert trips.wait(PARENT) == PARAMETERS.repair_first
    for _ in range(2):
        trips.missed(PARENT)
    assert trips.wait(PARENT) == 2 * PARAMETERS.repair_first
    trips.measure(PARENT, 0.18)
    assert trips.usual(PARENT) == 0.18
    assert trips.wait(PARENT) == pytest.approx(1.5 * 0.18 + PARAMETERS.reorder_wait)


def test_neither_late_packets_nor_late_answers_move_the_wait_far() -> None:
    trips = RoundTrips(PARAMETERS)
    for n in range(200):
        trips.measure(PARENT, 0.001 if n % 10 == 0 else 0.4 if n % 10 == 5 else 0.1)
    assert 0.08 < (trips.usual(PARENT) or 0) < 0.15
    trips = RoundTrips(PARAMETERS)
    trips.measure(PARENT, 0.001)
    for _ in range(20):
        trips.measure(PARENT, 0.1)
    assert trips.usual(PARENT) == 0.1


def test_the_hosts_that_are_measured_are_bounded() -> None:
    trips = RoundTrips(PARAMETERS)
    for n in range(1000):
        trips.measure(endpoint(n), 0.1)
        trips.missed(endpoint(5000 + n))
    assert len(trips) <= 128


def test_gaps_wait_as_long_as_packets_were_late_of_late() -> None:
    gaps = Gaps(Window(), PARAMETERS)
    assert gaps.wait(0.0) == PARAMETERS.reorder_wait
    gaps.note_late(0.009, 1.0)
    gaps.note_late(0.001, 1.1)
    assert gaps.wait(2.0) == pytest.approx(0.0135)
    assert gaps.wait(7.0) == PARAMETERS.reorder_wait
    gaps.note_late(5.0, 8.0)
    assert gaps.wait(8.0) == pytest.approx(5 * PARAMETERS.reorder_wait)
