"""The table of children: places, reservations, and what each subtree wants (Decisions 14, 25)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from dmmp.interest import FilterMode, Interest, interest, no_interest, union
from dmmp.messages.common import HostRecord
from dmmp.roles.relatives import Child, Children
from dmmp.types import HostId
from tests.roles.stage import PARAMETERS, at

GROUPS = tuple(ip_address(f"239.1.2.{number}") for number in range(1, 5))
HOLD = PARAMETERS.hold_cluster


def record(number: int, free: int = 2) -> HostRecord:
    """Describe the child with this number."""
    return HostRecord(host=HostId(number), endpoint=at(number), out_degree=2, free_slots=free)


def with_child(number: int = 9, mesh: bool = False) -> tuple[Children, Child]:
    """Make a table with one child."""
    children = Children(PARAMETERS)
    children.confirm(record(number), at(number), mesh, HOLD)
    return children, children.confirmed[HostId(number)]


def test_a_reservation_takes_a_place_until_it_lapses() -> None:
    children = Children(PARAMETERS)
    children.reserve(HostId(9), False, 10.0)
    assert children.taken(False, 10.0) == 1 and children.taken(True, 10.0) == 0
    late = 10.0 + PARAMETERS.reservation_hold
    assert children.taken(False, late) == 0
    assert not children.has_reserved(HostId(9), False, late)


def test_a_confirmed_reservation_is_not_counted_twice() -> None:
    children = Children(PARAMETERS)
    children.reserve(HostId(9), False, 10.0)
    children.confirm(record(9), at(9), False, 25.0)
    assert children.taken(False, 10.0) == 1
    # Nor when the child asks once more.
    children.reserve(HostId(9), False, 10.0)
    assert children.taken(False, 10.0) == 1


def test_a_place_promised_in_the_mesh_is_none_in_the_cluster() -> None:
    children = Children(PARAMETERS)
    children.reserve(HostId(9), True, 10.0)
    assert children.has_reserved(HostId(9), True, 10.0)
    assert not children.has_reserved(HostId(9), False, 10.0)


def test_a_child_of_the_cluster_that_was_promised_a_mesh_place_takes_both() -> None:
    children, _ = with_child(9, mesh=False)
    children.reserve(HostId(9), True, 10.0)
    assert (children.taken(False, 10.0), children.taken(True, 10.0)) == (1, 1)
    children.confirm(record(9), at(9), True, 40.0)
    assert (children.taken(False, 10.0), children.taken(True, 10.0)) == (0, 1)


def test_reservations_are_bounded_and_lapsed_ones_make_room() -> None:
    children = Children(PARAMETERS)
    for number in range(2 * PARAMETERS.children):
        children.reserve(HostId(1 + number), False, 10.0)
    assert len(children.reserved) == PARAMETERS.children
    late = 10.0 + PARAMETERS.reservation_hold
    children.reserve(HostId(9999), False, late)
    assert children.has_reserved(HostId(9999), False, late) and len(children.reserved) == 1


def test_an_older_request_about_the_same_group_changes_nothing() -> None:
    children, child = with_child()
    assert children.note_interest(child, (interest(GROUPS[0]),), 5, HOLD)
    assert children.note_interest(child, (no_interest(GROUPS[0]),), 6, HOLD)
    assert not children.note_interest(child, (interest(GROUPS[0]),), 5, HOLD)
    assert child.wants() == ()


def test_sequence_numbers_go_round() -> None:
    children, child = with_child()
    last = (1 << 32) - 1
    children.note_interest(child, (interest(GROUPS[0]),), last, HOLD)
    assert children.note_interest(child, (no_interest(GROUPS[0]),), 0, HOLD)
    assert child.wants() == ()


def test_groups_that_are_not_named_keep_what_they_had_until_their_hold_time() -> None:
    children, child = with_child()
    children.note_interest(child, (interest(GROUPS[0]),), 1, 15.0)
    children.note_interest(child, (interest(GROUPS[1]),), 2, 20.0)
    assert [wanted.group for wanted in child.wants()] == [GROUPS[0], GROUPS[1]]
    assert not children.expire_interest(14.9)
    assert children.expire_interest(15.0)
    assert [wanted.group for wanted in child.wants()] == [GROUPS[1]]


def test_a_withdrawn_wish_lapses_without_any_change() -> None:
    children, child = with_child()
    children.note_interest(child, (interest(GROUPS[0]),), 1, 15.0)
    children.note_interest(child, (no_interest(GROUPS[0]),), 2, 15.0)
    assert not children.expire_interest(16.0) and not child.wishes


def test_one_child_cannot_fill_the_memory_with_groups() -> None:
    children, child = with_child()
    for number in range(PARAMETERS.groups + 50):
        group = ip_address(0xEF000000 + number)
        children.note_interest(child, (interest(group),), number, HOLD)
    assert len(child.wishes) == PARAMETERS.groups
    # What it has it may still change.
    first = ip_address(0xEF000000)
    assert children.note_interest(child, (no_interest(first),), 5000, HOLD)


def test_a_branch_is_made_anew_only_when_it_changed() -> None:
    children, child = with_child()
    children.note_interest(child, (interest(GROUPS[0]),), 1, HOLD)
    (before,) = children.branches()
    children.confirm(record(9, free=0), at(9), False, 2 * HOLD)
    children.note_interest(child, (interest(GROUPS[0]),), 2, HOLD)
    assert children.branches()[0] is before
    # It moved: data goes to the new address.
    children.confirm(record(9), at(10), False, 2 * HOLD)
    assert children.branches()[0].endpoint == at(10)


def test_free_places_below_are_those_of_the_cluster() -> None:
    children, _ = with_child(9)
    children.confirm(record(10, free=5), at(10), False, HOLD)
    children.confirm(record(11, free=7), at(11), True, HOLD)
    assert children.free_below() == 7
    assert [child.record.host for child in children.most_spare(False, 3)] == [10, 9]


def test_a_refusal_lists_the_roomiest_first_with_the_address_they_are_seen_at() -> None:
    children = Children(PARAMETERS)
    elsewhere = replace(record(9, free=1), endpoint=at(200))
    children.confirm(elsewhere, at(9), False, HOLD)
    children.confirm(record(10, free=5), at(10), False, HOLD)
    listed = children.records(False, 12)
    assert [(child.host, child.endpoint) for child in listed] == [(10, at(10)), (9, at(9))]


changes = st.tuples(
    st.integers(1, 3),
    st.sampled_from(GROUPS),
    st.sampled_from((no_interest, interest)),
    st.booleans(),
)


@given(st.lists(changes, max_size=30))
def test_the_union_always_equals_what_the_children_said_last(
    said: list[tuple[int, object, object, bool]],
) -> None:
    children = Children(PARAMETERS)
    model: dict[tuple[int, object], Interest] = {}
    for sequence, (number, group, make, leaves) in enumerate(said, start=1):
        if leaves:
            children.remove(HostId(number))
            model = {key: held for key, held in model.items() if key[0] != number}
            continue
        children.confirm(record(number), at(number), False, 1e9)
        wanted = make(group)  # type: ignore[operator]
        children.note_interest(children.confirmed[HostId(number)], (wanted,), sequence, 1e9)
        model[number, group] = wanted
    assert union(children.interest()) == union(model.values())
    assert all(record.mode is FilterMode.EXCLUDE for record in union(children.interest()))


def test_a_table_says_when_the_first_child_or_wish_has_to_be_renewed() -> None:
    """Nobody looks at it before (Decision 10)."""
    table = Children(PARAMETERS)
    assert table.lapse_next() == inf
    table.confirm(record(3), at(3), False, 40.0)
    table.confirm(record(4), at(4), False, 30.0)
    assert table.lapse_next() == 30.0
    wish = Interest(GROUPS[0], FilterMode.EXCLUDE, ())
    table.note_interest(table.confirmed[HostId(3)], (wish,), 1, 20.0)
    assert table.lapse_next() == 20.0
