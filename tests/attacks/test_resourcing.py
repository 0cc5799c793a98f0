"""Sealed datagrams sent from elsewhere: nothing goes there, nothing leaves where it was (row 9)."""

from __future__ import annotations

import pytest

from dmmp.messages.options import Option
from dmmp.types import Endpoint
from tests.attackers.wire import endpoint
from tests.attacks.stage import Seen, Stage

ELSEWHERE = tuple(endpoint(f"10.200.0.{n}") for n in range(1, 5))
COUNT = 1000


def sealed(stage: Stage) -> list[Seen]:
    return [each for each in stage.world.seen if int.from_bytes(each.data[2:4]) == Option.SEALED]


@pytest.mark.slow
def test_what_is_sent_does_not_follow_whoever_repeats_it_elsewhere() -> None:
    stage = Stage()
    stage.stream(60)
    stage.run(60.0)
    captured = sealed(stage)
    before = stage.standing()
    wrong = _counted(stage, "wrong_address")
    begun = len(stage.world.seen)
    for number in range(COUNT):
        seen = captured[number % len(captured)]
        stage.replay([seen._replace(sender=ELSEWHERE[number % len(ELSEWHERE)])])
        stage.run(0.005)
    stage.stream(60)
    stage.run(30.0)
    assert not [each for each in stage.world.seen[begun:] if each.to in ELSEWHERE]
    assert _counted(stage, "wrong_address") > wrong
    assert stage.standing() == before


@pytest.mark.parametrize("first", [True, False])
def test_not_even_what_never_arrived_from_where_it_came(first: bool) -> None:
    # The attacker is faster: its copy from elsewhere comes before, or instead of, the true one.
    stage = Stage()
    begun = len(stage.world.seen)
    moved = 0
    inject = stage.world.inject
    transmit = stage.world._transmit

    def racing(node: object, to: Endpoint, payload: object, whole_bytes: int = 0) -> None:
        nonlocal moved
        receiver = stage.world.node_at(to)
        assert isinstance(payload, bytes)
        if receiver is not None and payload[3] == Option.SEALED:
            moved += 1
            inject(receiver, ELSEWHERE[moved % len(ELSEWHERE)], payload)
        if first or payload[3] != Option.SEALED:
            transmit(node, to, payload, whole_bytes)  # type: ignore[arg-type]

    stage.world._transmit = racing  # type: ignore[method-assign]
    stage.stream(60)
    stage.run(8.0)
    assert moved > 30
    assert not [each for each in stage.world.seen[begun:] if each.to in ELSEWHERE]
    if first:
        twin = Stage()
        twin.stream(60)
        twin.run(8.0)
        assert stage.standing() == twin.standing()
        assert set(stage.heard().values()) == {60}


def _counted(stage: Stage, name: str) -> int:
    gates = [node.gate for node in (stage.rp, *stage.hosts)]
    return sum(gate.associations.counters[name] for gate in gates if gate is not None)
