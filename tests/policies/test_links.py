"""The mesh's links and the tree that all super nodes compute from them (Decision 15)."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dmmp.policies.links import UNKNOWN_DELAY_US, choose_links, core_tree
from dmmp.types import HostId
from tests.policies.drawn import PARAMETERS

SOURCE = HostId(1)

State = dict[HostId, dict[HostId, int]]


@st.composite
def meshes(draw: st.DrawFn) -> tuple[dict[HostId, int], State]:
    """Draw capacities of the source (id 1) and others, and the links they announce."""
    others = [HostId(2 + number) for number in range(draw(st.integers(0, 15)))]
    caps = {host: draw(st.integers(0, 5)) for host in (SOURCE, *others)}
    # Some links lead to hosts that are gone.
    ends = st.sampled_from([SOURCE, *others, HostId(99)])
    state: State = {
        host: draw(st.dictionaries(ends, st.integers(0, 300_000), max_size=5)) for host in others
    }
    return caps, state


def root_of(host: HostId, parents: dict[HostId, HostId]) -> HostId:
    """Climb to the root; a cycle fails."""
    seen = set()
    while host in parents:
        assert host not in seen, "a cycle"
        seen.add(host)
        host = parents[host]
    return host


@given(meshes())
def test_no_cap_is_exceeded_and_every_path_leads_to_the_source(
    mesh: tuple[dict[HostId, int], State],
) -> None:
    caps, state = mesh
    parents, _ = core_tree(SOURCE, caps, state)
    for host, cap in caps.items():
        assert sum(1 for parent in parents.values() if parent == host) <= cap
    assert SOURCE not in parents
    assert all(root_of(host, parents) == SOURCE for host in parents)
    assert set(parents) <= set(caps)


@given(meshes())
def test_everybody_hangs_in_the_tree_whenever_the_room_suffices(
    mesh: tuple[dict[HostId, int], State],
) -> None:
    caps, state = mesh
    parents, _ = core_tree(SOURCE, caps, state)
    if caps[SOURCE] and sum(caps.values()) >= len(caps) - 1:
        assert set(parents) == set(caps) - {SOURCE}


@given(meshes(), st.randoms(use_true_random=False))
def test_every_super_node_computes_the_same_tree_whatever_it_heard_first(
    mesh: tuple[dict[HostId, int], State], rng: Random
) -> None:
    caps, state = mesh

    def shuffled(held: dict) -> dict:  # type: ignore[type-arg]
        keys = list(held)
        rng.shuffle(keys)
        return {key: held[key] for key in keys}

    other = {host: shuffled(links) for host, links in shuffled(state).items()}
    assert core_tree(SOURCE, caps, state) == core_tree(SOURCE, shuffled(caps), other)


def test_with_room_for_all_it_is_the_shortest_path_tree() -> None:
    caps = {HostId(host): 9 for host in (1, 2, 3, 4)}
    state: State = {
        HostId(2): {SOURCE: 10},
        HostId(3): {SOURCE: 50, HostId(2): 20},
        HostId(4): {HostId(3): 5, SOURCE: 100},
    }
    assert core_tree(SOURCE, caps, state)[0] == {2: 1, 3: 2, 4: 3}


def test_a_full_source_sends_the_farther_one_on() -> None:
    caps = {SOURCE: 1, HostId(2): 2, HostId(3): 2}
    state: State = {HostId(2): {SOURCE: 10}, HostId(3): {SOURCE: 20}}
    assert core_tree(SOURCE, caps, state)[0] == {2: 1, 3: 2}


def test_two_ends_that_measured_differently_still_agree() -> None:
    caps = {HostId(host): 9 for host in (1, 2, 3)}
    state: State = {
        HostId(2): {SOURCE: 10, HostId(3): 1},
        HostId(3): {SOURCE: 30, HostId(2): 100},
    }
    # The smaller id's word counts: 10 + 1 is shorter than 30.
    assert core_tree(SOURCE, caps, state)[0][HostId(3)] == 2


@given(
    st.integers(2, 60),
    st.dictionaries(st.integers(1, 60).map(HostId), st.integers(0, 300_000), max_size=40),
    st.integers(0, 1 << 32),
)
def test_links_are_the_nearest_the_source_one_random_and_one_that_leads_there(
    me: int, measured: dict[HostId, int], seed: int
) -> None:
    measured.pop(HostId(me), None)
    links = choose_links(HostId(me), SOURCE, measured, PARAMETERS, Random(seed))
    nearest = sorted(measured, key=lambda host: (measured[host], host))[: PARAMETERS.mesh_links]
    assert set(nearest) <= set(links) <= set(measured)
    assert len(links) == len(set(links))
    assert len(links) <= PARAMETERS.mesh_links + PARAMETERS.mesh_random_links + 1
    assert SOURCE in links or SOURCE not in measured
    anchors = [host for host in measured if host == SOURCE or host < me]
    assert not anchors or any(host in anchors for host in links)


def test_those_on_the_way_from_the_source_are_among_the_links() -> None:
    """One of them is the parent on the shortest way, however many are nearer."""
    near = {HostId(number): 10 + number for number in range(3, 30)}
    measured = {SOURCE: 1000, HostId(40): 400, HostId(41): 500, **near}
    from_source = {HostId(40): 590, HostId(41): 510, **dict.fromkeys(near, 1000)}
    links = choose_links(HostId(2), SOURCE, measured, PARAMETERS, Random(1), (), from_source)
    assert {40, 41} <= set(links)
    # Of one that was not measured here nobody knows whether it is on the way.
    del measured[HostId(40)]
    assert 40 not in choose_links(
        HostId(2), SOURCE, measured, PARAMETERS, Random(1), (), from_source
    )


def test_what_is_held_stays_while_it_is_good_enough() -> None:
    measured = {HostId(number): number for number in range(10, 40)}
    held = [HostId(13), HostId(17), HostId(18)]
    links = choose_links(HostId(2), SOURCE, measured, PARAMETERS, Random(1), held)
    # The nearest two, then those held that are among the first eight: 18 is the ninth.
    assert PARAMETERS.mesh_links == 4 and {10, 11, 13, 17} <= set(links)
    assert 12 not in links


def test_a_way_is_as_long_as_its_links() -> None:
    caps = {HostId(host): 1 for host in (1, 2, 3, 4)}
    state: State = {HostId(2): {SOURCE: 10, HostId(3): 5}, HostId(3): {HostId(2): 9}}
    parents, ways = core_tree(SOURCE, caps, state)
    assert parents == {2: 1, 3: 2, 4: 3}
    # The smaller id's word counts; whoever has no link is a second away.
    assert ways == {1: 0, 2: 10, 3: 15, 4: 15 + UNKNOWN_DELAY_US}


@given(st.lists(st.integers(2, 1000), min_size=1, max_size=30, unique=True), st.integers(0, 99))
def test_the_mesh_is_connected_by_construction(numbers: list[int], seed: int) -> None:
    rng = Random(seed)
    members = [SOURCE, *(HostId(number) for number in numbers)]
    links = {
        me: choose_links(
            me,
            SOURCE,
            {other: rng.randrange(100_000) for other in members if other != me},
            PARAMETERS,
            rng,
        )
        for me in members[1:]
    }
    reached, grown = {SOURCE}, True
    while grown:
        more = {me for me, held in links.items() if me in reached or reached & set(held)}
        more |= {other for me in more for other in links[me]}
        grown, reached = not more <= reached, reached | more
    assert reached == set(members)
