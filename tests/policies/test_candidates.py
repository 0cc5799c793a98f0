"""Which super nodes a newcomer hears of: at most twelve, near, roomy and random (Decision 13)."""

from __future__ import annotations

from functools import partial
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages.common import HostRecord
from dmmp.policies.candidates import Namings, Shortlist, choose_candidates
from dmmp.types import HostId
from tests.policies.drawn import hosts, ids, record

NEWCOMER = record(1000).endpoint


@given(hosts(), st.integers(1, 12), st.integers(0, 1 << 32), st.data())
def test_at_most_twelve_different_super_nodes(
    super_nodes: list[HostRecord], at_most: int, seed: int, data: st.DataObject
) -> None:
    refused = data.draw(st.lists(st.sampled_from([*ids(super_nodes), 77_777]), max_size=12))
    wanted = [HostId(host) for host in refused]
    chosen = choose_candidates(NEWCOMER, super_nodes, wanted, at_most, Random(seed))
    assert len(chosen) == len(set(ids(chosen))) <= at_most
    assert set(ids(chosen)) <= set(ids(super_nodes))
    # At least one is named whenever there is one (-03 §6.1).
    assert bool(chosen) == bool(super_nodes)


@given(hosts(at_least=1), st.integers(0, 1 << 32))
def test_a_full_super_node_is_named_only_when_none_has_room(
    super_nodes: list[HostRecord], seed: int
) -> None:
    chosen = choose_candidates(NEWCOMER, super_nodes, (), 12, Random(seed))
    if any(host.free_slots for host in super_nodes):
        assert all(host.free_slots for host in chosen)


def test_who_refused_the_newcomer_is_named_again_only_when_no_other_is_left() -> None:
    first, second = record(5), record(6)
    assert ids(choose_candidates(NEWCOMER, [first, second], [first.host], 12, Random(1))) == [6]
    both = [first.host, second.host]
    assert ids(choose_candidates(NEWCOMER, [first, second], both, 12, Random(1))) == [5, 6]
    # Unless the other is full, and who refused has a place now.
    full = record(7, free=0)
    assert ids(choose_candidates(NEWCOMER, [first, full], [first.host], 12, Random(1))) == [5]


def test_the_nearest_by_address_and_the_roomiest_are_always_among_them() -> None:
    near = [record(1000 + number, free=1) for number in range(1, 5)]
    roomy = [record(1 << 16 | number, free=50 + number) for number in range(4)]
    crowd = [record(1 << 17 | number, free=1) for number in range(60)]
    for seed in range(20):
        chosen = choose_candidates(NEWCOMER, crowd + roomy + near, (), 12, Random(seed))
        assert set(ids(near)) <= set(ids(chosen)) and set(ids(roomy)) <= set(ids(chosen))


@given(hosts(), st.integers(1, 12), st.integers(0, 1 << 32), st.data())
def test_who_asks_is_named_to_nobody_but_others(
    super_nodes: list[HostRecord], at_most: int, seed: int, data: st.DataObject
) -> None:
    """A list that is kept for all names the same as one made without the host that asks."""
    me = HostId(data.draw(st.sampled_from([0, *ids(super_nodes)])))
    refused = data.draw(st.lists(st.sampled_from([*ids(super_nodes), 77_777]), max_size=12))
    full = data.draw(st.dictionaries(st.sampled_from(ids(super_nodes) or [0]), st.floats(0, 8)))
    wanted = [HostId(host) for host in refused]
    for levels in (None, lambda named: [full.get(host, 0.0) for host in named]):
        others = [host for host in super_nodes if host.host != me]
        made = choose_candidates(NEWCOMER, others, wanted, at_most, Random(seed), levels)
        kept = Shortlist(super_nodes)
        assert kept.choose(NEWCOMER, wanted, at_most, Random(seed), levels, me) == made


def test_the_random_part_spreads_a_flash_crowd() -> None:
    crowd = [record(1 << 17 | number, free=1) for number in range(60)]
    rng = Random(1)
    named = {
        host for _ in range(200) for host in ids(choose_candidates(NEWCOMER, crowd, (), 12, rng))
    }
    assert len(named) > 50


def test_nobody_is_named_too_often() -> None:
    """A crowd is spread, and past the limit each newcomer gets one name and need not probe it."""
    namings = Namings(rate=12.0)
    few = [record(number, free=5) for number in range(1, 4)]
    named: list[HostId] = []
    for count in range(200):
        now = count / 200
        levels = partial(namings.levels, now=now)
        chosen = choose_candidates(NEWCOMER, few, (), 12, Random(count), levels)
        namings.note([record.host for record in chosen], now)
        if len(chosen) > 1:
            named += [record.host for record in chosen]
        assert chosen
    # The rate, and what may come at once; nobody is left out.
    assert all(named.count(record.host) <= 12 + 4 + 1 for record in few)
    assert namings.level(few[0].host, 60.0) == 0.0
