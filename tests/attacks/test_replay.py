"""Replays: all that went over any wire, once more, at once, later, and in another epoch (row 7)."""

from __future__ import annotations

from collections import Counter

import pytest

from dmmp.messages.options import Option
from tests.attacks.stage import Stage, epoch_of


def option(data: bytes) -> int:
    return int.from_bytes(data[2:4])


def played(stage: Stage, packets: int = 60) -> Counter[str]:
    """Let the source send; return who had how much."""
    stage.stream(packets)
    heard = Counter(stage.heard())
    assert all(count >= packets for count in heard.values()), heard
    return heard


def test_the_capture_holds_every_kind_that_travels() -> None:
    stage = Stage()
    played(stage)
    found = {option(each.data) for each in stage.world.seen}
    assert found >= {Option.DATA, Option.HEARTBEAT, Option.CREDENTIAL, Option.SEALED}
    assert found >= {Option.HANDSHAKE_INITIATION, Option.HANDSHAKE_RESPONSE}


@pytest.mark.parametrize("wait", [0.0, 60.0, 200.0])
def test_a_replay_changes_nothing(wait: float) -> None:
    stage = Stage()
    heard = played(stage)
    stage.run(wait)
    captured, before = list(stage.world.seen), stage.standing()
    stage.world.taps = False
    assert stage.replay(captured) > 500
    stage.run(3.0)
    assert stage.standing() == before
    assert Counter(stage.heard()) == heard and not stage.world.failures
    # And what the source sends afterwards arrives as ever, each once.
    stage.stream(40)
    assert Counter(stage.heard()) == heard + Counter(dict.fromkeys(heard, 40))
    assert not stage.world.failures


def test_a_replay_of_another_epoch_changes_nothing() -> None:
    stage = Stage()
    played(stage)
    captured, epoch = list(stage.world.seen), epoch_of(stage.source)
    stage.world.stop(stage.members.pop())
    stage.run(8.0)
    stage.stream(20)
    assert epoch is not None and (epoch_of(stage.source) or 0) > epoch
    assert {epoch_of(member) for member in stage.members} == {epoch_of(stage.source)}
    before, heard = stage.standing(), stage.heard()
    stage.world.taps = False
    stage.replay(captured, spacing=0.001)
    stage.run(len(captured) * 0.001 + 3.0)
    assert stage.standing() == before
    assert stage.heard() == heard and not stage.world.failures


def test_a_long_stream_is_not_delivered_twice_once_it_rests() -> None:
    # Longer than the window that knows what came: what is behind it must stay old, however quiet.
    stage = Stage(members=2)
    stage.stream(6000, gap=0.0005, burst=10)
    heard = stage.heard()
    data = [each for each in stage.world.seen if option(each.data) <= Option.CREDENTIAL]
    stage.world.taps = False
    stage.run(5.0)
    stage.replay(data, spacing=0.0002)
    stage.run(len(data) * 0.0002 + 3.0)
    assert stage.heard() == heard and not stage.world.failures


def test_to_who_has_just_restarted_nothing_old_is_new() -> None:
    stage = Stage()
    played(stage)
    captured = list(stage.world.seen)
    victim = stage.members[0]
    stage.world.crash(victim)
    stage.run(20.0)
    stage.world.restart(victim)
    stage.run(6.0)
    before, established = stage.standing(), _established(stage)
    heard = stage.heard()
    stage.world.taps = False
    stage.replay(each for each in captured if each.to == victim.endpoint)
    stage.run(3.0)
    assert stage.standing() == before and _established(stage) == established
    assert stage.heard() == heard and not stage.world.failures


def _established(stage: Stage) -> int:
    counters = [node.gate.associations.counters for node in stage.hosts if node.gate is not None]
    return sum(counter["established"] for counter in counters)
