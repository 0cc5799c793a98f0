"""The search on one path (RFC 8899): never above what the path carries, within a step of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.parameters import Parameters
from dmmp.policies.path_mtu import BASE_MTU, OVERHEAD_BYTES, PathSearch, sizes_of_use

PARAMETERS = Parameters()
ROUND_TRIP = 0.02
HOUR = 3600.0
DEFAULT, JUMBO = 1404, 8924
"""What hosts send with the usual MTU of a TUN, and with one of 8900."""


class Path:
    """A path that carries datagrams of so many bytes, and the search on it, in virtual time."""

    def __init__(self, fits: int, largest: int = JUMBO, version: int = 4, seed: int = 1) -> None:
        self.fits = fits
        self.now = 0.0
        self.rng = Random(seed)
        self.loss = 0.0
        self.search = PathSearch(version, largest, PARAMETERS, Random(seed), 0.0)
        self.probed: list[int] = []
        self.hints = False

    def step(self) -> int:
        """Let time pass to the next probe, and its answer come if there is one."""
        self.now = max(self.now, self.search.next_at)
        size = self.search.act(self.now)
        if not size:
            return 0
        self.probed.append(size)
        if size <= self.fits and self.rng.random() >= self.loss:
            self.now += ROUND_TRIP
            self.search.answered(size, ROUND_TRIP, self.now)
        elif self.hints:
            self.now += ROUND_TRIP
            self.search.hint(self.fits, self.now)
        return size

    def settle(self) -> list[int]:
        """Search until it ends; return the sizes probed."""
        before = len(self.probed)
        for _ in range(200):
            if self.search.is_settled:
                break
            self.step()
        assert self.search.is_settled
        return self.probed[before:]

    def pass_time(self, seconds: float) -> list[int]:
        """Let so much time pass; return the sizes probed meanwhile."""
        before, end = len(self.probed), self.now + seconds
        while self.search.next_at <= end:
            self.step()
        self.now = max(self.now, end)
        return self.probed[before:]


def best(version: int, largest: int, fits: int) -> int:
    """Return the largest size of use that fits."""
    return max(size for size in sizes_of_use(version, largest) if size <= fits)


@given(
    fits=st.integers(1232, 65507),
    largest=st.integers(100, 65507),
    version=st.sampled_from((4, 6)),
    hints=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_finds_the_largest_size_of_use_that_fits(
    fits: int, largest: int, version: int, hints: bool, seed: int
) -> None:
    path = Path(fits, largest, version, seed)
    path.hints = hints
    probed = path.settle()
    assert path.search.known == best(version, largest, fits) <= fits
    assert max(probed) <= max(largest + 3, path.search.base)
    assert len(probed) <= 20


@given(
    changes=st.lists(st.integers(1232, 9000), min_size=1, max_size=4),
    loss=st.floats(0, 0.9),
    seed=st.integers(0, 999),
)
def test_losses_and_changes_make_it_lower_for_a_while_and_never_too_high(
    changes: list[int], loss: float, seed: int
) -> None:
    path = Path(9000, seed=seed)
    for fits in changes:
        path.fits, path.loss = fits, loss
        path.pass_time(300.0)
        path.loss = 0.0
        # The next confirmation finds what the path does not carry any more.
        path.pass_time(2 * PARAMETERS.path_mtu_confirm)
        assert path.search.known <= fits
    path.pass_time(2 * PARAMETERS.path_mtu_raise)
    assert path.search.known == best(4, JUMBO, path.fits)


@pytest.mark.parametrize("version", [4, 6])
def test_sizes_of_use(version: int) -> None:
    overhead = OVERHEAD_BYTES[version]
    base = BASE_MTU[version] - overhead
    assert sizes_of_use(version, 500) == (base,)
    for largest in (DEFAULT, 1405, JUMBO):
        sizes = sizes_of_use(version, largest)
        assert list(sizes) == sorted(set(sizes)) and sizes[0] == base
        assert largest <= sizes[-1] < largest + 4
        # Elements are padded to four bytes, so that a probe can have exactly these sizes.
        assert all(size % 4 == 0 for size in sizes)
    assert {1500 - overhead, 1420 - overhead, 4352 - overhead} <= set(sizes_of_use(version, JUMBO))


def test_a_path_that_carries_all_costs_two_probes() -> None:
    assert Path(9000, DEFAULT).settle() == [1172, DEFAULT]
    assert Path(9000, JUMBO, 6).settle() == [1232, JUMBO]


def test_a_jumbo_host_on_ethernet_tries_what_is_usual_next() -> None:
    path = Path(1472)
    assert path.settle()[:5] == [1172, *[JUMBO] * PARAMETERS.path_mtu_tries, 1472]
    assert path.search.known == 1472


def test_what_the_network_says_saves_the_waiting() -> None:
    def seconds(hints: bool) -> float:
        path = Path(1380)
        path.hints = hints
        path.settle()
        assert path.search.known == 1372
        return path.now

    assert seconds(hints=True) < seconds(hints=False) / 3


def test_a_forged_hint_costs_a_few_probes_and_nothing_else() -> None:
    path = Path(9000)
    path.settle()
    path.now += 10.0
    path.search.hint(1300, path.now)
    assert path.search.known == 1172
    assert len(path.settle()) <= 4
    assert path.search.known == JUMBO
    # At once again: now it is only looked at.
    path.search.hint(1300, path.now)
    assert path.search.known == JUMBO
    assert path.pass_time(PARAMETERS.path_mtu_doubt + 1.0) == [JUMBO]
    path.pass_time(3.0)
    for nonsense in (1, 60, 1100, JUMBO, 65535):
        path.search.hint(nonsense, path.now)
        assert path.search.known == JUMBO and path.pass_time(0.1) == []


def test_its_own_interface_is_believed() -> None:
    path = Path(1472)
    path.step()
    assert path.search.act(path.now) == JUMBO
    path.search.refused(path.now)
    assert path.search.act(path.now) == 1472


def test_a_black_hole_is_found_by_the_confirmation() -> None:
    path = Path(9000)
    path.settle()
    path.fits = 1400
    path.pass_time(1.5 * PARAMETERS.path_mtu_confirm + 10.0)
    assert path.search.known == best(4, JUMBO, 1400)


def test_a_black_hole_is_found_at_once_where_packets_are_missed() -> None:
    path = Path(9000)
    path.settle()
    path.pass_time(5.0)
    path.fits = 1400
    path.search.doubt(path.now)
    path.pass_time(1.1 * PARAMETERS.path_mtu_wait_least)
    assert path.search.known <= 1400


def test_a_lost_confirmation_costs_two_round_trips_in_fragments() -> None:
    path = Path(9000)
    path.settle()
    path.pass_time(5.0)
    path.fits = 0
    path.search.doubt(path.now)
    assert path.step() == JUMBO
    path.fits = 9000
    assert [path.step(), path.step()] == [1172, JUMBO]
    assert path.search.known == JUMBO and path.search.is_settled


def test_doubts_are_followed_now_and_then_only() -> None:
    path = Path(9000)
    path.settle()
    begun, probes = path.now, 0
    while path.now < begun + 20.0:
        path.search.doubt(path.now)
        probes += len(path.pass_time(0.01))
    assert 5 <= probes <= 20.0 / PARAMETERS.path_mtu_doubt + 1


def test_a_settled_path_costs_a_probe_in_half_a_minute() -> None:
    path = Path(9000)
    path.settle()
    probed = path.pass_time(HOUR)
    assert set(probed) == {JUMBO}
    assert len(probed) <= HOUR / (0.8 * PARAMETERS.path_mtu_confirm) + 1


def test_larger_sizes_are_tried_again_after_ten_minutes() -> None:
    path = Path(1472)
    path.settle()
    path.fits = 9000
    assert set(path.pass_time(PARAMETERS.path_mtu_raise - 60.0)) == {1472}
    path.pass_time(120.0)
    assert path.search.known == JUMBO


def test_a_host_that_does_not_answer_is_no_narrow_path() -> None:
    path = Path(0)
    path.pass_time(5.0)
    assert path.search.known == 0 and not path.search.is_settled
    quiet = path.pass_time(600.0)
    assert len(quiet) <= 3 * 600 / (0.8 * PARAMETERS.path_mtu_again)
    path.fits = 9000
    path.pass_time(1.3 * PARAMETERS.path_mtu_again)
    assert path.search.known == JUMBO


def test_a_host_that_stood_still_gets_its_size_back() -> None:
    path = Path(9000)
    path.settle()
    path.fits = 0
    path.search.doubt(path.now + 10.0)
    path.pass_time(10.4)
    path.fits = 9000
    path.pass_time(1.5 * PARAMETERS.path_mtu_again)
    assert path.search.known == JUMBO


def test_an_answer_that_comes_late_counts() -> None:
    path = Path(1472)
    path.settle()
    path.search.answered(JUMBO, 3.0, path.now)
    assert path.search.known == JUMBO and path.search.is_settled


def test_more_is_wanted_later() -> None:
    path = Path(9000, DEFAULT)
    path.settle()
    path.search.grow(JUMBO, path.now)
    assert not path.search.is_settled
    assert path.settle() == [JUMBO]
