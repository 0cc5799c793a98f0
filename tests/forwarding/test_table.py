"""The forwarding table: an entry that differs little from the one before is laid out alike."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dmmp.actions import Branch, ForwardingEntry
from dmmp.forwarding.pace import Pace
from dmmp.forwarding.table import Active
from dmmp.forwarding.versions import Versions
from dmmp.interest import Interest, interest
from dmmp.parameters import Parameters
from tests.forwarding.build import GROUP, OTHER_GROUP, PARENT, SESSION, endpoint

WISHES: tuple[tuple[Interest, ...], ...] = (
    (),
    (interest(GROUP),),
    (interest(GROUP), interest(OTHER_GROUP)),
)


def active(entry: ForwardingEntry, former: Active | None) -> Active:
    """Put an entry in force."""
    parameters = Parameters()
    return Active(entry, former, Pace(parameters), Versions(0, parameters.hold_mesh, 0.0))


def changed(branches: list[Branch], rng: Random) -> list[Branch]:
    """Change a list of branches as roles do: one comes, goes, moves or wants something else."""
    after = list(branches)
    for _ in range(rng.choice((1, 1, 1, 2))):
        at = rng.randrange(len(after) + 1)
        kind = rng.randrange(6)
        wants = rng.choice(WISHES)
        # Few endpoints, so that some come twice: a host that was started again has the old one.
        if at == len(after) or kind == 0:
            after.append(Branch(endpoint(rng.randrange(8)), wants))
        elif kind == 1:
            del after[at]
        elif kind == 2:
            after[at] = replace(after[at], interest=wants)
        elif kind == 3:
            after[at] = replace(after[at], endpoint=endpoint(rng.randrange(8)))
        elif kind == 4:
            after[at] = Branch(endpoint(int(after[at].endpoint.address) & 0xFF), wants)
        else:
            after.insert(at, Branch(endpoint(rng.randrange(8)), wants))
    return after


def expected_changes(former: Active, built: Active) -> set[object]:
    """Name the endpoints whose branch came, went or wants something else."""
    both = {*former.interests, *built.interests}
    return {to for to in both if former.interests.get(to) != built.interests.get(to)}


@pytest.mark.parametrize("seed", range(40))
def test_an_entry_laid_out_from_the_one_before_equals_one_laid_out_anew(seed: int) -> None:
    rng = Random(seed)
    entry = ForwardingEntry(SESSION, upstream=(PARENT,))
    former = active(entry, None)
    for _ in range(60):
        branches = changed(list(former.entry.downstream), rng)
        entry = replace(entry, downstream=tuple(branches))
        built, anew = active(entry, former), active(entry, None)
        # The order counts, too: by it the copies of a packet are sent.
        assert list(built.branches.items()) == list(anew.branches.items())
        assert list(built.interests.items()) == list(anew.interests.items())
        assert built.wanted == anew.wanted
        assert set(built.changed) == expected_changes(former, built)
        assert len(set(built.changed)) == len(built.changed)
        former = built


def test_one_of_many_that_goes_changes_nothing_about_the_others() -> None:
    branches = [Branch(endpoint(number), (interest(GROUP),)) for number in range(50)]
    former = active(ForwardingEntry(SESSION, downstream=tuple(branches)), None)
    left = [branch for branch in branches if branch.endpoint != endpoint(7)]
    built = active(ForwardingEntry(SESSION, downstream=tuple(left)), former)
    assert built.changed == [endpoint(7)]
    assert all(built.branches[b.endpoint] is former.branches[b.endpoint] for b in left)
