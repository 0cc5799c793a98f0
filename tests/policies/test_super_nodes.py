"""How many super nodes, and which (slides 9, 13 and 15, Decision 14)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages.common import HostFlag, HostRecord
from dmmp.policies.capacity import by_capacity, mesh_share
from dmmp.policies.links import core_tree
from dmmp.policies.super_nodes import choose, wanted_count
from dmmp.types import HostId
from tests.policies.drawn import PARAMETERS, hosts, ids, record

SOURCE = HostId(1 << 20)


def test_a_tenth_of_the_hosts_at_most_one_hundred_and_at_least_one() -> None:
    counts = {hosts: wanted_count(hosts, PARAMETERS) for hosts in (0, 1, 19, 110, 1000, 50_000)}
    assert counts == {0: 1, 1: 1, 19: 1, 110: 11, 1000: 100, 50_000: 100}


def test_the_most_capable_are_chosen() -> None:
    found = [record(number, out_degree=2 + number % 7) for number in range(1, 31)]
    chosen = choose(found, [], 30, 8, PARAMETERS)
    assert chosen == sorted(found, key=by_capacity)[:3]


def test_a_leaf_is_not_chosen_unless_it_offers_itself() -> None:
    leaf = record(1, out_degree=1)
    assert choose([leaf], [], 10, 4, PARAMETERS) == []
    offering = replace(leaf, flags=HostFlag.OFFERS)
    assert choose([offering], [], 10, 4, PARAMETERS) == [offering]


def test_a_host_that_offers_itself_is_welcome_beyond_the_share() -> None:
    present = [record(1, 8)]
    offering = record(2, 2, flags=HostFlag.OFFERS)
    assert choose([record(3, 8), offering], present, 10, 4, PARAMETERS) == [offering]


@given(hosts(), st.data(), st.integers(0, 500), st.integers(0, 8))
def test_never_more_than_the_capable_can_feed(
    found: list[HostRecord], data: st.DataObject, session: int, source_out_degree: int
) -> None:
    split = data.draw(st.integers(0, len(found)))
    # Those present were chosen by the same rule, one after the other.
    present = choose(found[:split], [], session, source_out_degree, PARAMETERS)
    chosen = choose(found, present, session, source_out_degree, PARAMETERS)
    assert not set(ids(chosen)) & set(ids(present))
    members = [*present, *chosen]
    assert len(members) == len(set(ids(members))) <= PARAMETERS.super_nodes_most
    places = source_out_degree + sum(mesh_share(host.out_degree) for host in members)
    assert len(members) <= places
    # And a tree really takes all of them in.
    caps = {host.host: mesh_share(host.out_degree) for host in members}
    assert set(core_tree(SOURCE, {**caps, SOURCE: source_out_degree}, {})[0]) == set(caps)


@given(hosts(), st.integers(0, 500), st.integers(0, 8), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_registration(
    found: list[HostRecord], session: int, source_out_degree: int, rng: Random
) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)
    first = choose(found, [], session, source_out_degree, PARAMETERS)
    assert first == choose(shuffled, [], session, source_out_degree, PARAMETERS)
