"""A member with a valid credential that speaks in others' names: nobody else's state changes.

All message types, thousands of each, to every host of a small overlay; and what they would do if
gates let them through (row 11).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from dmmp.messages import LeaveReport, PingRpRequest, RefreshRequest, SetupRequest, StatusReport
from dmmp.messages.common import HostRecord, HostState, LeaveReason, RefreshKind
from dmmp.messages.schema import Message
from dmmp.security.gate import MOST_IDS
from dmmp.sim.carrying import GROUP
from dmmp.sim.node import Node
from dmmp.types import HostId
from tests.attackers.message_forger import CLASSES, MessageForger, Person
from tests.attacks.stage import Stage
from tests.marks import slow

ROUNDS = 4
QUICK = CLASSES[::6]


def person(stage: Stage, node: Node) -> Person:
    view = node.view(stage.world.now)
    return Person(view.host, node.endpoint)


class Scene:
    """An overlay with a member, Eve, that says what it likes; `others` is what must not change."""

    def __init__(self, seed: int = 1) -> None:
        self.stage = Stage(seed)
        # Until everybody has refreshed its parent once, and knows the tree version.
        self.stage.run(12.0)
        self.eve = self.stage.members.pop()
        self.victims = [self.stage.rp, *self.stage.hosts]
        self.people = [person(self.stage, node) for node in self.stage.hosts]
        self.me = person(self.stage, self.eve)
        session = self.stage.source.view(self.stage.world.now).session
        self.forger = MessageForger(Random(seed), session, self.me, self.people, [GROUP], "sim")

    def say(self, message: Message, to: Node) -> None:
        """Send a message from Eve, under Eve's seal."""
        self.stage.world.send(self.eve, message, to.endpoint)

    def others(self) -> dict[str, Any]:
        """Tell how things stand without what Eve may change: its own place."""
        found = {}
        for name, standing in self.stage.standing().items():
            if name == self.eve.name:
                continue
            parts = list(standing)
            parts[7] = [child for child in parts[7] if child[0] != self.me.host]
            # How many hosts the RP counts; the epoch, which comings and goings end.
            parts[12:] = ()
            found[name] = tuple(parts)
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def flood(scene: Scene, cls: type[Message], count: int) -> None:
    """Say so many forgeries to everybody, no faster than budgets allow."""
    for _ in range(count):
        for victim in scene.victims:
            scene.say(scene.forger.forge(cls), victim)
        scene.stage.run(0.03)
    scene.stage.run(4.0)


@pytest.mark.parametrize(
    "cls",
    [*QUICK, *slow(*(cls for cls in CLASSES if cls not in QUICK))],
    ids=lambda cls: cls.__name__,
)
def test_no_message_changes_anything_of_others(scene: Scene, cls: type[Message]) -> None:
    before = scene.others()
    heard = scene.stage.heard()
    flood(scene, cls, 15)
    assert scene.others() == before
    # Data in the right form under a seal is no data.
    assert scene.stage.heard() == heard
    scene.stage.stream(20)
    assert scene.stage.heard() == {name: count + 20 for name, count in heard.items()}
    assert not scene.stage.world.failures


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 2 + ROUNDS))
def test_nor_do_all_of_them_together(seed: int) -> None:
    scene = Scene(seed)
    before = scene.others()
    dice = Random(seed)
    for _ in range(1500):
        scene.say(scene.forger.forge(dice.choice(CLASSES)), dice.choice(scene.victims))
        scene.stage.run(0.02)
    scene.stage.run(5.0)
    assert scene.others() == before
    heard = scene.stage.heard()
    scene.stage.stream(20)
    assert scene.stage.heard() == {name: count + 20 for name, count in heard.items()}


def pointed(scene: Scene) -> list[tuple[Message, Node]]:
    """Make the forgeries that would hurt most: each names a real relation of others."""
    stage, now = scene.stage, scene.stage.world.now
    top = stage.relay
    child = next(node for node in stage.members if _parent(node, now) == top.view(now).host)
    theirs, above, first = (person(stage, node) for node in (child, top, stage.source))
    own = HostRecord(theirs.host, theirs.endpoint)
    gone = HostRecord(above.host, above.endpoint)
    refresh = RefreshRequest(kind=RefreshKind.CHILD, sender=own, source=theirs.host)
    made: list[tuple[Message, Node]] = [
        (LeaveReport(source=theirs.host, reason=LeaveReason.SHUTDOWN), top),
        (LeaveReport(source=theirs.host, reason=LeaveReason.MOVED), stage.rp),
        (LeaveReport(source=above.host, reason=LeaveReason.DISMISSED), child),
        (StatusReport(source=first.host, state=HostState.INACTIVE, subject=gone), stage.rp),
        (StatusReport(source=scene.me.host, state=HostState.INACTIVE, subject=gone), stage.source),
        (refresh, top),
        (replace(refresh, source=above.host, kind=RefreshKind.PARENT), child),
        (SetupRequest(source=first.host, sender=own), child),
        (PingRpRequest(source=theirs.host, instance=5, host=own), stage.rp),
    ]
    session = scene.forger.session
    return [(replace(each, session=session, sequence=77), node) for each, node in made]


def _parent(node: Node, now: float) -> HostId | None:
    parent = node.view(now).parent
    return None if parent is None else parent.host


def test_pointed_forgeries_are_turned_away_by_the_gate(scene: Scene) -> None:
    before = scene.others()
    for message, victim in pointed(scene):
        assert victim.gate is not None
        counted = dict(victim.gate.counters)
        scene.say(message, victim)
        scene.stage.run(1.0)
        if message.source != scene.me.host:
            turned_away = sum(
                victim.gate.counters[name] - counted[name]
                for name in ("impersonating", "forbidden")
            )
            assert turned_away == 1, message
    scene.stage.run(20.0)
    assert scene.others() == before


def test_without_the_gate_the_same_forgeries_do_harm(scene: Scene) -> None:
    # Else the tests above would show nothing.
    message, victim = pointed(scene)[1]
    child = next(each for each in scene.people if each.host == message.source)
    now = scene.stage.world.now
    before = victim.view(now).hosts
    victim.host.receive(message, child.endpoint, now)
    assert victim.view(now).hosts == before - 1


def test_a_member_cannot_keep_ids_that_are_still_to_be_given(scene: Scene) -> None:
    stage = scene.stage
    last = max(each.host for each in [*scene.people, scene.me])
    for ahead in range(1, 40):
        for victim in (stage.rp, stage.relay, stage.source):
            scene.say(
                RefreshRequest(
                    session=scene.forger.session,
                    source=HostId(last + ahead),
                    sequence=ahead,
                    kind=RefreshKind.RELATIVE,
                    sender=HostRecord(),
                ),
                victim,
            )
        stage.run(0.05)
    newcomers = [stage.add(f"late{number}", "member", 2) for number in range(5)]
    for newcomer in newcomers:
        stage.join(newcomer)
    stage.run(8.0)
    views = [newcomer.view(stage.world.now) for newcomer in newcomers]
    assert all(view.parent is not None for view in views)
    assert {view.host for view in views} <= set(range(last + 1, last + 40))
    assert MOST_IDS < 39
