"""Nemo: a crew takes the packets in turn, so that a failure costs a share of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from dmmp.lab.arena import Arena
from dmmp.lab.frame import Action, Data, Send
from dmmp.lab.relatives.hierarchy import ELECTED
from dmmp.lab.relatives.nemo import CREW, Crew, Flow, Nemo
from dmmp.lab.relatives.words import Join, Roster
from tests.lab.test_nice import figures, played


def nemos(run: Arena) -> list[Nemo]:
    return [host for host in run.relatives if isinstance(host, Nemo)]


def test_everything_comes_once_by_the_whole_crew() -> None:
    run = played("nemo")
    got = figures(run)
    assert got["delivery_ratio"] >= 0.999
    assert got["duplicates_share"] <= 0.01
    assert got["handed_twice"] == 0.0
    # Co-leaders forward too: more hosts do than in NICE.
    assert got["non_forwarders"] < figures(played("nice"))["non_forwarders"] - 0.1


def test_leaders_have_crews_of_their_members() -> None:
    for nemo in nemos(played("nemo", 2)):
        for layer, cluster in enumerate(nemo.layers):
            if nemo.leads(layer):
                assert len(cluster.crew) == min(CREW, len(cluster.members)) - 1
                assert set(cluster.crew) <= cluster.members - {nemo.host}


@pytest.mark.slow
def test_crews_carry_the_stream_through_failures() -> None:
    got = figures(played("nemo", churn="nemo-high", seconds=120.0))
    other = figures(played("nice+nack", churn="nemo-high", seconds=120.0))
    assert got["delivery_ratio"] > 0.95
    assert got["delivery_ratio"] > other["delivery_ratio"]


def test_a_case_repeats() -> None:
    one, two = (played("nemo", churn="nemo-high", seconds=20.0) for _ in range(2))
    assert figures(one) == figures(two)
    assert one.events == two.events


def member(host: int, *rosters: Roster) -> Nemo:
    """Return a host that is in these clusters, by the words of their leaders."""
    nemo = Nemo(host, 0, Random(1), CREW)
    nemo.wake(0.0)
    for roster in rosters:
        nemo.receive(roster, roster.leader, 1.0)
    return nemo


def roster(
    layer: int,
    leader: int,
    *hosts: int,
    above: tuple[int, ...] = (),
    crew: tuple[int, ...] = (),
) -> Roster:
    return Roster(layer, leader, hosts, {}, above, crew, 1.0)


def leader_in_two(host: int = 5) -> Nemo:
    """Return a host that leads 6 and 7, and is with 20, 30 and the leader 40 in the layer above;
    all of them have told it their crews."""
    nemo = member(host, roster(0, 9, host, 6, 7, 9, above=(40, 9)))
    nemo.lost(9, 1.5)
    nemo.receive(roster(1, 40, host, 20, 30, 40, above=(50, 40), crew=(20, 30)), 40, 2.0)
    for peer in (20, 30, 40):
        nemo.receive(Crew(0, (peer + 1, peer + 2)), peer, 2.5)
    return nemo


def flow(number: int, layer: int, up: bool) -> Flow:
    return Flow(Data(number, 100), layer, up, number, 1)


def hops(actions: Sequence[Action]) -> dict[int, tuple[int, bool]]:
    """Return to whom packets go, with what is asked of them."""
    return {
        each.to: (each.message.layer, each.message.up)
        for each in actions
        if isinstance(each, Send) and isinstance(each.message, Flow)
    }


def words(actions: Sequence[Action]) -> dict[int, Crew]:
    return {
        each.to: each.message
        for each in actions
        if isinstance(each, Send) and isinstance(each.message, Crew)
    }


def test_the_whole_crew_gets_its_turn_whichever_packets_come_here() -> None:
    nemo = leader_in_two()
    # Every third packet comes by this host, as it does where it is one of three co-leaders.
    got = [set(hops(nemo.receive(flow(3 * k, -1, True), 6, 3.0 + k))) for k in range(3)]
    assert [len(each & {40, 41, 42}) for each in got] == [1, 1, 1]
    assert set.union(*got) >= {40, 41, 42}


def test_a_crew_is_told_at_once_what_has_changed_above() -> None:
    nemo = leader_in_two()
    due = nemo.next_alarm()
    assert due is not None and due < 3.0
    while (due := nemo.next_alarm()) is not None and due < 3.0:
        nemo.wake(due)
    changed = nemo.receive(roster(1, 40, 5, 20, 40, 60, above=(50, 40), crew=(20, 60)), 40, 3.0)
    told = words(changed)
    # Who is new above hears of the crew, the others know it.
    assert set(told) == {6, 7, 60}
    assert dict(told[6].upper) == {20: (21, 22), 40: (41, 42), 60: ()}
    # What goes farther up goes by the whole crew above, not by its leader alone.
    assert set(told[6].onward) == {40, 20, 60}
    assert nemo.receive(roster(1, 40, 5, 20, 40, 60, above=(50, 40), crew=(20, 60)), 40, 3.1)
    assert not words(nemo.receive(Crew(0, (41, 42)), 40, 3.2))


def test_a_new_leader_tells_of_its_crew_when_it_has_found_its_place() -> None:
    nemo = member(5, roster(0, 9, 5, 6, 7, 9, above=(40, 9)))
    nemo.lost(9, 1.5)
    while (due := nemo.next_alarm()) is not None and due < 2.0:
        assert not words(nemo.wake(due))
    told = words(nemo.receive(roster(1, 40, 5, 20, 40, above=(50, 40)), 40, 2.0))
    assert set(told) == {6, 7, 20, 40}


def test_those_above_feed_the_crew_of_a_leader_that_is_dead_until_it_is_replaced() -> None:
    nemo = leader_in_two()
    nemo.lost(20, 4.0)
    taken = [set(hops(nemo.receive(flow(k, -1, True), 6, 4.0 + k / 10))) for k in (1, 2)]
    assert all(len(each & {20, 21, 22}) == 1 and 20 not in each for each in taken)
    assert set.union(*taken) >= {21, 22}
    # One of the crew has taken the place: it is sent to as a member, once.
    nemo.receive(roster(1, 40, 5, 21, 30, 40, above=(50, 40), crew=(30,)), 40, 5.0)
    assert len(set(hops(nemo.receive(flow(3, -1, True), 6, 5.1))) & {20, 21, 22}) == 1


def test_a_crew_that_nobody_leads_is_not_fed_for_ever() -> None:
    nemo = leader_in_two()
    nemo.lost(20, 4.0)
    while (due := nemo.next_alarm()) is not None and due < 4.0 + ELECTED + 2.0:
        nemo.wake(due)
    assert not set(hops(nemo.receive(flow(1, -1, True), 6, 4.0 + ELECTED + 2.0))) & {20, 21, 22}


def co_leader(host: int, *crew: int) -> Nemo:
    """Return a co-leader of 9, who is with 20 and the leader 40 in the layer above."""
    nemo = member(host, roster(0, 9, 9, 8, 6, 7, above=(40, 9, 20), crew=crew))
    word = Crew(0, crew, ((20, (21, 22)), (40, (41, 42))), (40, 20))
    nemo.receive(word, 9, 2.0)
    return nemo


def test_the_first_of_the_crew_leads_next_though_another_is_nearer_to_the_centre() -> None:
    near, far = 0.01, 0.05
    table = {8: {6: near, 7: near, 9: near}, 6: {7: far, 9: far}, 7: {9: far}}
    before = roster(0, 3, 9, 8, 6, 7, above=(40, 3), crew=(6, 7))._replace(table=table)
    nemo, words = member(9, before), list[Roster]()
    nemo.lost(3, 1.5)
    while (due := nemo.next_alarm()) is not None and due < 2.0:
        said = [each.message for each in nemo.wake(due) if isinstance(each, Send)]
        words += [word for word in said if isinstance(word, Roster)]
    assert words and words[0].hosts == (6, 7, 8, 9)


def test_an_heir_asks_for_the_place_in_the_layer_above_at_once() -> None:
    nemo = co_leader(6, 6, 7)
    nemo.receive(roster(0, 9, 6, 7, 9, 8, above=(40, 9, 20), crew=(6, 7)), 9, 2.5)
    joins = nemo.lost(9, 3.0)
    assert Send(40, Join(1, 6)) in joins
    assert Send(20, Join(1, 6)) in joins


def test_a_co_leader_sends_to_the_crew_of_a_dead_host_above_in_its_place() -> None:
    nemo = co_leader(6, 6, 7)
    nemo.lost(20, 2.5)
    taken = [set(hops(nemo.receive(flow(k, -1, True), 8, 2.6 + k))) for k in range(2)]
    assert [20 in each for each in taken] == [False, False]
    assert [len(each & {21, 22}) for each in taken] == [1, 1]


@pytest.mark.parametrize("host", [6, 7])
def test_a_crew_carries_what_comes_from_below_above_when_its_leader_is_dead(host: int) -> None:
    nemo = co_leader(host, 6, 7)
    before = hops(nemo.receive(flow(1, -1, True), 8, 2.5))
    nemo.receive(roster(0, 9, 6, 7, 9, 8, above=(40, 9, 20), crew=(6, 7)), 9, 2.6)
    nemo.lost(9, 3.0)
    after = hops(nemo.receive(flow(2, -1, True), 8, 3.1))
    for sends in (before, after):
        assert {to // 10 for to in sends if to >= 20} == {2, 4}
        assert [up for _, up in sends.values()].count(True) == 1
    # One that is dead there too is stood in for by its own crew.
    nemo.lost(20, 3.2)
    assert {to // 10 for to in hops(nemo.receive(flow(3, -1, True), 8, 3.3)) if to > 20} == {2, 4}


def test_a_co_leader_at_the_top_does_not_send_to_its_leader_what_it_has() -> None:
    top = member(6, roster(0, 9, 6, 7, 9, 8, crew=(6, 7)))
    assert hops(top.receive(flow(1, -1, True), 8, 2.5)) == {}
    # Where something lies above, the leader is to carry it there.
    lower = member(6, roster(0, 9, 6, 7, 9, 8, above=(40, 9), crew=(6, 7)))
    assert hops(lower.receive(flow(1, -1, True), 8, 2.5)) == {9: (-1, True)}


def test_who_was_a_co_leader_is_none_of_its_own_crew() -> None:
    nemo = co_leader(6, 6, 7)
    nemo.receive(roster(0, 9, 6, 7, 9, 8, above=(40, 9, 20), crew=(6, 7)), 9, 2.5)
    nemo.lost(9, 3.0)
    while (due := nemo.next_alarm()) is not None and due < 3.5:
        nemo.wake(due)
    assert nemo.layers[0].leader == 6
    assert nemo.layers[0].crew == (7, 8)


def test_a_co_leader_carries_above_itself_what_it_sends_to_its_cluster() -> None:
    sends = hops(co_leader(6, 6, 7).originate(Data(1, 100), 2.5))
    assert {to // 10 for to in sends if to >= 20} == {2, 4}
    assert not any(up for to, (_, up) in sends.items() if to < 20)


def test_who_is_no_co_leader_any_more_carries_nothing_by_what_it_was_told_then() -> None:
    nemo = co_leader(6, 6, 7)
    nemo.receive(roster(0, 9, 9, 6, 7, 8, above=(40, 9), crew=(7, 8)), 9, 2.5)
    assert hops(nemo.receive(flow(1, -1, True), 8, 2.6)) == {9: (-1, True)}
    up = [to for to, (_, up) in hops(nemo.originate(Data(2, 100), 2.7)).items() if up]
    assert len(up) == 1 and up[0] in (7, 8, 9)


def test_nothing_is_to_be_carried_above_the_topmost_cluster() -> None:
    top = member(8, roster(0, 9, 6, 7, 9, 8, crew=(6, 7)))
    assert hops(top.originate(Data(1, 100), 2.5)) == dict.fromkeys((6, 7, 9), (-1, False))
