"""Self-improvement in whole trees: no packet lost, whatever message or host is (-03 §6.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from dmmp.parameters import Parameters
from dmmp.policies.promotion import by_out_degree
from dmmp.sim.node import Node
from dmmp.sim.scenario import add_end_host, add_rendezvous_point
from tests.simulation.improvement import Stage, build, play

BEFORE = 27.0
"""Just before the first promotion of the small tree."""

MESSAGES = 60
"""Control messages of the whole session from the first step to the last answer."""

AFTER = {"x": "s", "p": "x", "y": "x", "y2": "x", "c": "x"}
"""Who is whose child in the end."""


def disturbed(number: int, lose: bool, crash: str = "", full: bool = False) -> Stage:
    """Play the promotion; at one message lose it, or switch a host off just before it goes out."""
    world = build(full)

    def act(at: int) -> bool:
        if at == number and crash:
            world.crash(world.node(crash))
        return not (at == number and lose)

    world.act = act
    world.run_until(BEFORE)
    return world


def verdict(world: Stage, number: int, expected: range) -> None:
    """Fail with what does not hold, and at which message."""
    world.finish(expected, strict=True)
    assert not world.failures, (number, world.said[number], [str(f) for f in world.failures])


def test_a_capable_late_comer_climbs() -> None:
    """Everybody hears every packet, once: the checks of the world look at each delivery."""
    world = build()
    world.run_until(BEFORE)
    play(world, 6.0)
    verdict(world, 0, range(len(world.packets)))
    assert {name: world.parent(name) for name in AFTER} == AFTER
    assert [name for _, name in world.promotions.taken] == ["x"]
    assert world.checks.longest_cycle_us < 200_000, "P and X feed each other for a moment only"


def test_only_as_many_follow_as_there_is_room_for() -> None:
    """The more capable of the two; the other stays with P."""
    world = build(full=True)
    world.run_until(BEFORE)
    play(world, 6.0)
    verdict(world, 0, range(len(world.packets)))
    assert {name: world.parent(name) for name in AFTER} == {**AFTER, "y2": "p"}
    assert len(world.node("x").downstream) == world.node("x").out_degree


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_any_one_message_may_be_lost(full: bool) -> None:
    """The promotion is late at worst, and no packet is missed."""
    kinds = set()
    for number in range(MESSAGES):
        world = disturbed(number, lose=True, full=full)
        play(world, 4.0, rate=20)
        verdict(world, number, range(len(world.packets)))
        assert (world.parent("x"), world.parent("p")) == ("s", "x"), world.said[number]
        kinds.add(world.said[number][2])
    assert {"PromotionRequest", "PromotionAck", "PromotionConfirm"} <= kinds
    assert {"BreakRequest", "BreakResponse", "BreakConfirm", "JoinNotification"} <= kinds
    assert {"JoinRequest", "JoinResponse", "RefreshRequest", "RefreshResponse"} <= kinds


@pytest.mark.slow
@pytest.mark.parametrize("who", ["x", "p", "y", "s"])
def test_anyone_may_die_at_any_message(who: str) -> None:
    """The others have parents and hear again; loops and overfull hosts the checks would find."""
    for number in range(0, MESSAGES, 2):
        world = disturbed(number, lose=False, crash=who)
        world.run_until(world.now + 60.0)
        first = len(world.packets)
        play(world, 3.0)
        verdict(world, number, range(first, len(world.packets)))


@pytest.mark.parametrize(("who", "number"), [("x", 10), ("x", 16), ("p", 5), ("p", 9), ("s", 8)])
def test_one_may_die_at_the_worst_moments(who: str, number: int) -> None:
    """A few of the above, for every day."""
    world = disturbed(number, lose=False, crash=who)
    world.run_until(world.now + 60.0)
    first = len(world.packets)
    play(world, 3.0)
    verdict(world, number, range(first, len(world.packets)))


def crowd(seed: int) -> Stage:
    """Sixty members, the less capable the earlier: everybody has reason to climb."""
    world = Stage(seed, replace(Parameters(), nearing_look=0.0))
    point = add_rendezvous_point(world, "rp")
    world.start(point)
    for name, kind, degree in (("source", "source", 2), ("s", "super-node", 6)):
        world.start(add_end_host(world, name, kind, degree, (point.endpoint,)))
    rng = Random(seed)
    for number in range(60):
        degree = (2, 3, 6, 10, 16)[number // 12]
        node = add_end_host(world, f"m{number}", "member", degree, (point.endpoint,))
        world.at(3.0 + 0.5 * number + 0.2 * rng.random(), _starter(world, node))
    return world


def _starter(world: Stage, node: Node) -> Callable[[], None]:
    def start() -> None:
        world.start(node)
        world.subscribe(node)

    return start


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_of_promotions_is_impossible(seed: int) -> None:
    """Each host takes part once in a cool-down, all of them few times, in the end nobody."""
    world = crowd(seed)
    world.run_until(40.0)
    play(world, 60.0, rate=10)
    world.run_until(400.0)
    verdict(world, 0, range(len(world.packets)))
    taken = world.promotions.taken
    assert len(taken) >= 5, "the tree invites it"
    calm = 0.8 * world.parameters.promotion_calm
    for host, times in world.agreed.items():
        for first, second in pairwise(times):
            assert second - first >= calm, (host, first, second)
    assert all(at < 250.0 for at, _ in taken)
    for node in world.nodes:
        if node.kind == "member":
            assert_no_reason(world, node)


def assert_no_reason(world: Stage, node: Node) -> None:
    """Nobody is left who could and should climb."""
    view = node.view(world.now)
    assert view.parent is not None
    above = world.node_at(view.parent.endpoint)
    assert above is not None
    parent = above.view(world.now)
    if parent.role != "member" or len(view.children) >= view.out_degree:
        return
    mine = next(record for record in parent.children if record.host == view.host)
    assert not by_out_degree(mine, view.parent, world.parameters), (node.name, above.name)
