"""Replays: all that went over any wire, once more, at once, later, and in another epoch (row 7).

Time itself changes some things, so an overlay that was attacked is held against its twin, with the
same dice, that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dmmp.messages.options import Option
from dmmp.parameters import Parameters
from dmmp.security.half_open import HALF_OPEN_SECONDS
from tests.attacks.stage import Seen, Stage, epoch_of
from tests.marks import slow

CHANNEL_IDLE = Parameters().channel_idle
Play = Callable[[Stage], None]


def option(data: bytes) -> int:
    return int.from_bytes(data[2:4])


def outcome(stage: Stage, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Tell all that a replay must not change, or all `but` some of it."""
    gates = [node.gate for node in (stage.rp, *stage.hosts) if node.gate is not None]
    found = {
        "standing": stage.standing(),
        "heard": stage.heard(),
        "failures": stage.world.failures,
        "established": [gate.associations.counters["established"] for gate in gates],
        "half_open": [gate.associations.sizes()["half_open"] for gate in gates],
        "opened": [gate.counters["opened"] for gate in gates],
    }
    return {name: value for name, value in found.items() if name not in but}


def attacked(
    play: Play,
    spacing: float = 0.0,
    of: Callable[[Seen], bool] = lambda _: True,
    but: tuple[str, ...] = (),
) -> None:
    """Play on two stages, replay all on one of them, and see that they stay alike in all `but`."""
    outcomes = []
    for is_attacked in (True, False):
        stage = Stage()
        play(stage)
        seen = [each for each in stage.world.seen if of(each)]
        stage.world.taps = False
        if is_attacked:
            assert stage.replay(seen, spacing) > 100
        stage.run(len(seen) * spacing + HALF_OPEN_SECONDS + 1.0)
        afterwards = outcome(stage, but)
        # And what the source sends then arrives as ever, each packet once.
        heard = stage.heard()
        stage.stream(40)
        assert stage.heard() == {name: count + 40 for name, count in heard.items()}
        outcomes.append((afterwards, outcome(stage, (*but, "opened"))))
    assert outcomes[0] == outcomes[1]
    assert not outcomes[0][1]["failures"]


def test_the_capture_holds_every_kind_that_travels() -> None:
    stage = Stage()
    stage.stream(60)
    assert set(stage.heard().values()) == {60}
    found = {option(each.data) for each in stage.world.seen}
    assert found >= {Option.DATA, Option.SEALED, Option.HOP_SEALED}
    assert found >= {Option.HANDSHAKE_INITIATION, Option.HANDSHAKE_RESPONSE}


@pytest.mark.parametrize(
    ("wait", "spacing"),
    [
        (0.0, 0.0),
        # The last is older than any association.
        *slow((60.0, 0.001), (200.0, 0.001)),
    ],
)
def test_a_replay_changes_nothing(wait: float, spacing: float) -> None:
    def play(stage: Stage) -> None:
        stage.stream(60)
        stage.run(wait)

    # Who has forgotten a channel asks its parent about it, some times a second, whoever sent that.
    attacked(play, spacing, but=("opened",) if wait > CHANNEL_IDLE else ())


@pytest.mark.slow
def test_a_replay_of_another_epoch_changes_nothing() -> None:
    def play(stage: Stage) -> None:
        stage.stream(60)
        epoch = epoch_of(stage.source)
        stage.world.stop(stage.members.pop())
        stage.run(8.0)
        stage.stream(20)
        assert epoch is not None and (epoch_of(stage.source) or 0) > epoch
        assert {epoch_of(member) for member in stage.members} == {epoch_of(stage.source)}

    attacked(play, 0.001)


@pytest.mark.slow
def test_a_long_stream_is_not_delivered_twice_once_it_rests() -> None:
    # Longer than the window that knows what came: what is behind it must stay old, however quiet.
    def play(stage: Stage) -> None:
        stage.stream(6000, gap=0.0005, burst=10)
        stage.run(5.0)

    attacked(play, 0.0002, lambda seen: option(seen.data) <= Option.CREDENTIAL)


@pytest.mark.slow
def test_to_who_has_just_restarted_nothing_old_is_new() -> None:
    def play(stage: Stage) -> None:
        stage.stream(60)
        stage.world.crash(stage.members[0])
        stage.run(20.0)
        stage.world.restart(stage.members[0])
        stage.run(6.0)

    # It has forgotten which heartbeats it knew, so an old one may make it ask for what it lacks.
    attacked(play, 0.001, but=("opened",))
