"""The duplicate window against a naive set, and each of its rules by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.window import FIRST_LOST, OUTAGE, RESTART, RESTART_QUIET, WINDOW, Window

M = 2**32


class Naive:
    """A set of everything that came; numbers do not wrap."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.start = 0

    def take(self, number: int) -> str:
        if not self.seen:
            self.start = number
        elif number in self.seen:
            return "old" if max(self.seen) - number >= WINDOW else "duplicate"
        elif max(self.seen) - number >= WINDOW:
            return "old"
        self.seen.add(number)
        return "new"

    @property
    def lost(self) -> int:
        return max(self.seen) - self.start + 1 - sum(n >= self.start for n in self.seen)


def take(window: Window, first: int, count: int, now: float = 0.0) -> list[int]:
    """Put a burst into the window as the forwarder does; return the new numbers."""
    if window.admit(first % M, count, now):
        return list(range(first, first + count))
    numbers = [(first + n) % M for n in range(count)]
    fresh = window.sift(numbers, now).fresh
    return [first + at for begin, end in fresh for at in range(begin, end)]


bursts = st.lists(
    st.tuples(
        st.one_of(st.integers(-20, 20), st.integers(-WINDOW - 20, WINDOW - 20)), st.integers(1, 64)
    ),
    max_size=30,
)


@given(st.sampled_from([1000, M // 2 - 100, M - 3000, M - 1, 2 * M - 10]), bursts)
def test_window_agrees_with_a_set(start: int, steps: list[tuple[int, int]]) -> None:
    window, naive = Window(), Naive()
    here = start + 10 * WINDOW
    for step, count in steps:
        first = here + step
        duplicates = old = 0
        expected = []
        for number in range(first, first + count):
            verdict = naive.take(number)
            if verdict == "new":
                expected.append(number)
            duplicates += verdict == "duplicate"
            old += verdict == "old"
        if not window.admit(first % M, count, 0.0):
            sifted = window.sift([(first + n) % M for n in range(count)], 0.0)
            assert (sifted.duplicates, sifted.old) == (duplicates, old)
            found = [first + at for begin, end in sifted.fresh for at in range(begin, end)]
            assert found == expected
        else:
            assert expected == list(range(first, first + count))
        assert window.lost == naive.lost
        assert window.highest == max(naive.seen) % M
        here = max(here, first + count - 1)


def test_a_consecutive_burst_is_admitted_at_once() -> None:
    window = Window()
    assert window.admit(M - 10, 20, 0.0) and window.admit(10, 64, 0.0)
    assert (window.highest, window.lost) == (73, 0)


def test_a_burst_that_is_not_all_ahead_changes_nothing_until_sifted() -> None:
    window = Window()
    window.admit(1, 10, 0.0)
    assert not window.admit(8, 10, 1.0)
    assert (window.highest, window.accepted_at) == (10, 0.0)
    assert window.sift(range(8, 18), 1.0) == ([(3, 10)], 3, 0)


def test_lost_are_the_gaps_and_a_straggler_takes_one_back() -> None:
    window = Window()
    window.admit(1, 1, 0.0)
    window.admit(5, 1, 0.0)
    assert window.lost == 3
    assert take(window, 3, 1) == [3]
    assert window.lost == 2
    assert take(window, 3, 1) == []
    assert window.lost == 2


def test_what_came_before_the_first_packet_is_new_but_never_lost() -> None:
    window = Window()
    window.admit(1000, 1, 0.0)
    assert take(window, 990, 11) == list(range(990, 1000))
    assert window.lost == 0


def test_an_outage_longer_than_the_window_counts_as_lost_and_goes_on() -> None:
    window = Window()
    window.admit(1, 1, 0.0)
    assert take(window, 2 + OUTAGE - 1, 3) == [OUTAGE + 1, OUTAGE + 2, OUTAGE + 3]
    assert window.lost == OUTAGE - 1
    assert take(window, OUTAGE, 1) == [OUTAGE]
    assert window.lost == OUTAGE - 2


def test_a_jump_beyond_any_outage_restarts_the_window_and_counts_nothing() -> None:
    window = Window()
    window.admit(1, 1, 0.0)
    assert take(window, OUTAGE + 2, 5) == list(range(OUTAGE + 2, OUTAGE + 7))
    assert window.lost == 0


def test_an_old_number_is_dropped_as_old() -> None:
    window = Window()
    window.admit(WINDOW + 5, 1, 0.0)
    assert window.sift([5, 6], 9.0) == ([(1, 2)], 0, 1)


def test_old_packets_in_a_row_after_a_pause_restart_the_window() -> None:
    window = Window()
    window.admit(1_000_000, 100, 0.0)
    fresh, duplicates, old = window.sift(range(1, 65), RESTART_QUIET)
    assert (fresh, duplicates, old) == ([(RESTART - 1, 64)], 0, RESTART - 1)
    assert (window.highest, window.lost) == (64, 0)
    assert window.admit(65, 10, RESTART_QUIET)


def test_old_packets_beside_a_live_flow_restart_nothing() -> None:
    window = Window()
    window.admit(1_000_000, 100, 0.0)
    assert window.sift(range(1, 1000), RESTART_QUIET / 2).fresh == []
    assert window.admit(1_000_100, 1, 0.2)


def test_old_packets_must_come_in_a_row() -> None:
    window = Window()
    window.admit(1_000_000, 100, 0.0)
    for number in range(1, 4 * RESTART, RESTART - 1):
        assert window.sift(range(number, number + RESTART - 1), 5.0).fresh == []
        assert window.sift([1_000_050], 5.0).duplicates == 1


def test_a_pause_is_no_loss_but_what_came_stays_known() -> None:
    window = Window()
    window.admit(1, 10, 0.0)
    window.pause()
    assert window.admit(501, 1, 1.0)
    assert window.lost == 0
    assert take(window, 5, 1) == []
    assert take(window, 300, 1) == [300]
    assert window.lost == 0
    window.admit(503, 1, 1.0)
    assert window.lost == 1


def test_after_a_pause_an_announcement_tells_where_the_numbers_go_on() -> None:
    window = Window()
    window.admit(1, 10, 0.0)
    window.pause()
    window.go_on_after(20)
    window.go_on_after(30)
    assert (window.highest, window.lost, window.passed) == (20, 0, [])
    assert take(window, 5, 1) == []
    assert take(window, 15, 1) == [15]
    assert [window.tail(n) for n in (20, 21, 20 + FIRST_LOST + 1)] == [0, 1, 0]
    window.admit(23, 1, 1.0)
    assert (window.lost, window.passed) == (2, [(21, 2)])


def test_an_announcement_from_long_before_the_end_of_the_pause_costs_nothing() -> None:
    for first in (20 + FIRST_LOST + 2, 21 + WINDOW, 20 + 2 * OUTAGE):
        window = Window()
        window.admit(1, 10, 0.0)
        window.pause()
        window.go_on_after(20)
        assert window.admit(first, 1, 1.0)
        assert (window.lost, window.passed) == (0, [])
        window.admit(first + 2, 1, 1.0)
        assert window.passed == [(first + 1, 1)]


def test_the_tail_is_what_was_announced_and_did_not_come() -> None:
    window = Window()
    assert window.tail(50) == 0
    window.admit(1, 10, 0.0)
    assert [window.tail(n) for n in (5, 10, 13)] == [0, 0, 3]
    window.pause()
    assert window.tail(13) == 0


def test_the_window_stays_small_whatever_comes() -> None:
    window = Window()
    for number in range(1, 200_000, 997):
        window.admit(number, 1, 0.0)
    assert max(window.missing, window.unseen).bit_length() <= WINDOW


def test_what_is_passed_over_is_noted_for_repair() -> None:
    window = Window()
    for number in (10, 13, 14, 10_000):
        window.admit(number, 1, 0.0)
    assert window.passed == [(11, 2), (10_000 - WINDOW, WINDOW)]
    window.passed.clear()
    window.pause()
    window.admit(10_100, 1, 0.0)
    window.admit(5_000_000, 1, 0.0)
    assert window.passed == []


def test_what_is_expected_is_missing_and_welcome_once() -> None:
    window = Window()
    window.expect(5)
    assert not window.begun and window.passed == []
    window.admit(1, 10, 0.0)
    window.expect(10)
    window.expect(9)
    assert (window.highest, window.passed) == (10, [])
    window.expect(13)
    assert (window.highest, window.lost, window.passed) == (13, 3, [(11, 3)])
    assert not window.admit(11, 3, 0.0)
    assert take(window, 11, 3) == [11, 12, 13]
    assert window.lost == 0
    assert take(window, 11, 4) == [14]


def test_missing_ones_are_read_as_bits() -> None:
    window = Window()
    window.admit(100, 1, 0.0)
    window.admit(103, 1, 0.0)
    window.admit(105, 1, 0.0)
    assert window.missing_in(101, 5) == 0b11010
    assert window.missing_in(102, 2) == 0b10
    assert window.missing_in(105 - 2 * WINDOW, 5) == 0
    assert [window.is_missing(number) for number in (99, 101, 103, 104, 106)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_late_beginning_goes_not_behind_what_is_known_to_have_been_sent() -> None:
    window = Window()
    window.begin_after(100)
    window.expect(130)
    assert window.begin_late(100, 120)
    assert (window.highest, window.passed) == (130, [(101, 30)])
    assert window.begin_late(130, 150)
    assert (window.highest, window.missing) == (130, (1 << 30) - 1)
    assert window.begin_late(140, 150)
    assert window.highest == 140
