"""Narada: a mesh whose routes carry the stream, mended when hosts fail or the group is in parts."""

from __future__ import annotations

import numpy as np

from dmmp.lab.frame import Data, Deliver, Send
from dmmp.lab.relatives.narada import (
    DEAD_SECONDS,
    EXCHANGE_SECONDS,
    FAN_OUT,
    MOST,
    SILENCE_SECONDS,
    Narada,
    make,
)
from dmmp.lab.relatives.narada_table import Table, Vector
from dmmp.lab.relatives.narada_words import LinkRefused, LinkWanted
from tests.lab.small_arena import SmallArena


def joined(hosts: int = 20, seed: int = 1, until: float = 120.0) -> SmallArena:
    arena = SmallArena(make, hosts, 4, seed)
    arena.run(until)
    return arena


def naradas(arena: SmallArena) -> dict[int, Narada]:
    return {host: role for host, role in arena.roles.items() if isinstance(role, Narada)}


def test_all_get_all_and_the_mesh_keeps_its_fan_out() -> None:
    arena = joined()
    arena.run(150.0, packets_every=0.5)
    arena.run(152.0)
    assert arena.delivery() >= 0.999
    roles = naradas(arena)
    links = [(host, other) for host, role in roles.items() for other in role.neighbours]
    # A link above the fan-out stays until an exchange at which it is old enough to be judged.
    assert len(links) <= FAN_OUT * len(roles)
    assert max(len(role.neighbours) for role in roles.values()) <= FAN_OUT + 1
    assert max(arena.degrees().values()) <= MOST
    assert all((other, host) in links for host, other in links)
    assert all(arena.depth(host) for host in roles if host)
    assert 1.0 < arena.stretch() < 4.0


def test_everybody_knows_everybody() -> None:
    arena = joined()
    for role in naradas(arena).values():
        assert role.table.alive.sum() == len(arena.roles)
        assert np.isfinite(role.table.latency).sum() == len(arena.roles)
        assert role.state_entries >= len(arena.roles)


def test_after_a_failure_everybody_is_served_and_the_dead_are_forgotten() -> None:
    arena = joined()
    arena.run(125.0, packets_every=0.5)
    failed = arena.inner()[0]
    arena.fail(failed)
    arena.run(125.0 + SILENCE_SECONDS + 3 * EXCHANGE_SECONDS, packets_every=0.5)
    assert arena.delivery(after=125.0) < 1.0
    served = arena.now
    arena.run(served + 10.0, packets_every=0.5)
    arena.run(125.0 + DEAD_SECONDS)
    assert arena.delivery(after=served) == 1.0
    assert not any(role.table.alive[failed] for role in naradas(arena).values())


def test_a_host_that_comes_back_is_a_member_again() -> None:
    arena = joined()
    arena.fail(7)
    arena.run(200.0)
    arena.start(7)
    arena.run(260.0)
    assert all(role.table.alive[7] for role in naradas(arena).values())
    arena.run(270.0, packets_every=0.5)
    arena.run(272.0)
    assert arena.delivery() == 1.0


def test_a_group_in_parts_is_mended() -> None:
    arena = joined()
    roles = naradas(arena)
    near = {host for host in roles if host < 10}
    for host, role in roles.items():
        for other in role.neighbours:
            if (host in near) != (other in near):
                role._unlink(other, wanted=False)
    sides = [
        (host in near) != (other in near) for host in roles for other in roles[host].neighbours
    ]
    assert not any(sides)
    # Links between the parts come from repair alone, not from the search for better ones.
    for role in roles.values():
        role._probe = no_probe(role)  # type: ignore[method-assign]
    arena.run(120.0 + DEAD_SECONDS + 2 * EXCHANGE_SECONDS)
    arena.run(arena.now + 5.0, packets_every=0.5)
    arena.run(arena.now + 2.0)
    assert arena.delivery() == 1.0


def no_probe(role: Narada):  # type: ignore[no-untyped-def]
    probe = Narada._probe
    return lambda host, latencies=False: None if latencies else probe(role, host, latencies)


def test_a_packet_from_elsewhere_than_the_next_hop_is_not_taken() -> None:
    arena = joined()
    arena.run(121.0, packets_every=0.1)
    roles = naradas(arena)
    host = next(h for h in roles if h and len(roles[h].neighbours) > 1)
    arena.run(150.0)
    other = next(n for n in roles[host].neighbours if n != roles[host].table.next_hop(0))
    actions = roles[host].receive(Data(9999, 100), other, arena.now)
    assert not [action for action in actions if isinstance(action, Deliver)]
    hop = roles[host].table.next_hop(0)
    assert hop is not None
    actions = roles[host].receive(Data(9999, 100), hop, arena.now)
    assert Deliver(9999) in actions


def test_a_full_host_takes_no_link_that_is_worth_little() -> None:
    arena = joined()
    roles = naradas(arena)
    full = next(role for role in roles.values() if len(role.neighbours) == FAN_OUT)
    stranger = next(h for h in roles if h not in (full.host, *full.neighbours))
    answers = full.receive(LinkWanted(0.0), stranger, arena.now)
    assert answers == [Send(stranger, LinkRefused())]


def test_paths_through_this_host_are_no_ways() -> None:
    table = Table(1, 0.0)
    said = Table(2, 0.0)
    for host in (1, 2, 3):
        table.hear_of(host, 0.0)
        said.hear_of(host, 0.0)
    said.latency[3], said.paths[3, :2] = 0.5, (1, 3)
    vector: Vector = said.vector(1, 0.0)
    table.route({2: vector}, {2: 0.1})
    assert table.next_hop(2) == 2
    assert table.next_hop(3) is None
    said.paths[3, :2] = (4, 3)
    table.route({2: vector}, {2: 0.1})
    assert table.next_hop(3) == 2
    assert table.latency[3] == 0.6


def test_runs_are_equal() -> None:
    one, other = joined(12, seed=3), joined(12, seed=3)
    for arena in (one, other):
        arena.run(125.0, packets_every=0.5)
    assert one.got == other.got
    assert one.octets == other.octets
