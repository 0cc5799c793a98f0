"""Who counts for more (slide 19), who is a leaf (slide 9), and the mesh's share (Decision 31)."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages.common import HostRecord
from dmmp.policies.capacity import by_capacity, is_leaf, mesh_share
from tests.policies.drawn import PARAMETERS, hosts, ids, record


def test_out_degree_decides_and_uptime_among_equals() -> None:
    found = [record(3, 4, uptime=5), record(1, 8, uptime=0), record(2, 4, uptime=9)]
    assert ids(sorted(found, key=by_capacity)) == [1, 2, 3]


@given(hosts(), st.randoms(use_true_random=False))
def test_every_host_ranks_alike(found: list[HostRecord], rng: Random) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)
    assert sorted(found, key=by_capacity) == sorted(shuffled, key=by_capacity)


def test_below_two_it_is_a_leaf() -> None:
    assert [is_leaf(record(1, degree), PARAMETERS.leaf_below) for degree in range(4)] == [
        True,
        True,
        False,
        False,
    ]


@given(st.integers(0, 65535))
def test_half_serves_the_mesh_and_the_cluster_never_less(out_degree: int) -> None:
    share = mesh_share(out_degree)
    assert 0 <= share <= out_degree - share <= share + 1
