"""Scribe: the routes of Pastry towards the topic's root, and Pastry itself."""

from __future__ import annotations

from random import Random

from dmmp.alarms import Alarms
from dmmp.lab.frame import Action, Send
from dmmp.lab.relatives.pastry import (
    HOP_TRIES,
    Announce,
    Pastry,
    PastryAlarm,
    Routed,
    apart,
    digit,
    place,
    shared_digits,
)
from dmmp.lab.relatives.scribe import PARENT_SECONDS, Scribe, Subscribe, make
from tests.lab.small_arena import SmallArena


def joined(hosts: int = 60, seed: int = 1, until: float = 60.0) -> SmallArena:
    arena = SmallArena(make, hosts, 4, seed)
    arena.run(until)
    return arena


def scribes(arena: SmallArena) -> dict[int, Scribe]:
    return {host: role for host, role in arena.roles.items() if isinstance(role, Scribe)}


def nearest_to_topic(arena: SmallArena) -> int:
    roles = scribes(arena)
    return min(roles, key=lambda host: apart(roles[host].pastry.place, roles[host].key))


def test_places_on_the_ring() -> None:
    assert shared_digits(0xABC0 << 48, 0xABD0 << 48) == 2
    assert digit(0xABC0 << 48, 2) == 0xC
    assert apart(2, (1 << 64) - 3) == 5
    assert place("a") == place("a") != place("b")


def test_every_route_ends_at_the_host_nearest_to_the_key() -> None:
    roles = scribes(joined())
    places = {host: role.pastry.place for host, role in roles.items()}
    for start in roles:
        key = place(f"key of {start}")
        at, hops = start, 0
        while (hop := roles[at].pastry.next_hop(key)) is not None:
            at, hops = hop, hops + 1
        assert at == min(places, key=lambda host: apart(places[host], key))
        assert hops <= 4


def test_all_get_all_once() -> None:
    arena = joined()
    arena.run(90.0, packets_every=0.5)
    arena.run(92.0)
    assert arena.delivery() == 1.0
    assert arena.duplicates() == 0
    root = nearest_to_topic(arena)
    assert arena.roles[root].parent == 0
    assert all(arena.depth(host) for host in arena.roles if host)


def test_after_an_inner_failure_everybody_is_served_within_six_seconds() -> None:
    arena = joined()
    arena.run(70.0, packets_every=0.5)
    root = nearest_to_topic(arena)
    arena.fail(next(host for host in arena.inner() if host != root))
    arena.run(70.0 + PARENT_SECONDS + 3.0, packets_every=0.5)
    assert arena.delivery(after=70.0) < 1.0
    served = arena.now
    arena.run(served + 10.0, packets_every=0.5)
    arena.run(served + 12.0)
    assert arena.delivery(after=served) == 1.0


def test_after_the_roots_failure_there_is_another() -> None:
    arena = joined()
    arena.run(70.0, packets_every=0.5)
    arena.fail(nearest_to_topic(arena))
    arena.run(70.0 + 2 * PARENT_SECONDS + 4.0, packets_every=0.5)
    served = arena.now
    arena.run(served + 10.0, packets_every=0.5)
    arena.run(served + 12.0)
    assert arena.delivery(after=served) == 1.0
    assert arena.roles[nearest_to_topic(arena)].parent == 0


def test_runs_are_equal() -> None:
    one, other = joined(seed=3), joined(seed=3)
    for arena in (one, other):
        arena.run(65.0, packets_every=0.5)
    assert one.got == other.got
    assert one.octets == other.octets


def test_a_crowd_that_comes_at_once_finds_its_places() -> None:
    arena = SmallArena(make, 60, 4, joining=1.0)
    arena.run(30.0)
    arena.run(40.0, packets_every=0.5)
    arena.run(42.0)
    assert arena.delivery() == 1.0
    assert arena.duplicates() == 0
    roles = scribes(arena)
    places = {host: role.pastry.place for host, role in roles.items()}
    # Everybody knows who is next to it on the ring.
    order = sorted(places, key=lambda host: places[host])
    for left, right in zip(order, order[1:] + order[:1], strict=True):
        assert right in roles[left].pastry.leaves
        assert left in roles[right].pastry.leaves


def test_a_hop_that_is_not_acknowledged_is_repeated_and_then_gone_round() -> None:
    out: list[Action] = []
    alarms = Alarms()
    pastry = Pastry(0, 1, [], Random("alone"), out, alarms)
    pastry.start(0.0)
    for host in range(1, 21):
        pastry.receive(Announce(0.01 * host), host, 0.1)
    key = next(place(f"key {k}") for k in range(99) if pastry.next_hop(place(f"key {k}")))
    hop = pastry.next_hop(key)
    out.clear()
    assert pastry.route(key, Subscribe(0), 0.2)
    while alarms.is_set(PastryAlarm.HOP, 1):
        due = alarms.next()
        assert due is not None
        alarm = alarms.due(due[0])
        assert alarm is not None and isinstance(alarm[0], PastryAlarm)
        pastry.ring(alarm[0], alarm[1], due[0])
    hops = [a.to for a in out if isinstance(a, Send) and isinstance(a.message, Routed)]
    assert hops[:HOP_TRIES] == [hop] * HOP_TRIES
    assert hop not in hops[HOP_TRIES:]
    assert hop not in pastry.round_trips
