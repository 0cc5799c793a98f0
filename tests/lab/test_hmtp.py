"""HMTP: one tree, joined from the root, without circles."""

from __future__ import annotations

from dmmp.lab.frame import Send
from dmmp.lab.relatives.hmtp import (
    ANSWER_SECONDS,
    GRACE_SECONDS,
    Attach,
    Hmtp,
    Leave,
    Path,
    Refuse,
    make,
)
from tests.lab.small_arena import SmallArena

DEGREE = 4


def joined(hosts: int = 40, seed: int = 1, until: float = 60.0) -> SmallArena:
    arena = SmallArena(make, hosts, DEGREE, seed)
    arena.run(until)
    return arena


def test_all_get_all_within_their_degrees() -> None:
    arena = joined()
    arena.run(90.0, packets_every=0.5)
    arena.run(92.0)
    assert arena.delivery() == 1.0
    assert max(arena.degrees().values()) <= DEGREE
    assert max(arena.depth(host) for host in arena.roles) > 2
    assert 1.0 < arena.stretch() < 4.0


def test_after_a_failure_everybody_is_served_within_the_grace() -> None:
    arena = joined()
    arena.run(70.0, packets_every=0.5)
    failed = arena.inner()[0]
    arena.fail(failed)
    arena.run(70.0 + GRACE_SECONDS + 5 * ANSWER_SECONDS, packets_every=0.5)
    assert arena.delivery(after=70.0) < 1.0
    served = arena.now
    arena.run(served + 10.0, packets_every=0.5)
    arena.run(served + 12.0)
    assert arena.delivery(after=served) == 1.0


def test_a_host_that_comes_back_is_served() -> None:
    arena = joined()
    failed = arena.inner()[0]
    arena.fail(failed)
    arena.run(63.0)
    arena.start(failed)
    arena.run(90.0)
    arena.run(100.0, packets_every=0.5)
    arena.run(102.0)
    assert failed in arena.roles
    assert arena.delivery() == 1.0


def test_runs_are_equal() -> None:
    one, other = joined(seed=3), joined(seed=3)
    for arena in (one, other):
        arena.run(65.0, packets_every=0.5)
    assert one.got == other.got
    assert one.octets == other.octets
    assert one.got != joined(seed=4).got


def test_a_host_on_the_root_path_is_no_child() -> None:
    arena = joined()
    roles = {host: role for host, role in arena.roles.items() if isinstance(role, Hmtp)}
    deep = max(roles.values(), key=lambda role: len(role.root_path))
    assert len(deep.root_path) > 3
    answers = deep.receive(Attach(), deep.root_path[1], arena.now)
    assert [a.message for a in answers if isinstance(a, Send)] == [Refuse()]


def test_a_circle_is_left_when_the_path_tells_it() -> None:
    arena = joined()
    host = arena.inner()[0]
    arena.run(61.0, packets_every=0.5)
    role = arena.roles[host]
    assert isinstance(role, Hmtp) and role.parent is not None
    answers = role.receive(Path((0, host, role.parent)), role.parent, arena.now)
    assert next(a.message for a in answers if isinstance(a, Send)) == Leave()
    assert role.root_path == ()
