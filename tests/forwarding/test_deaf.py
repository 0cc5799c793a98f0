"""Hosts whose parent keeps back everything from the beginning: relatives tell (Decision 71)."""

from __future__ import annotations

from random import Random

import pytest

from dmmp.forwarding.burst import Outcome
from dmmp.messages.local import Withholding
from tests.forwarding.guards import Guards, by_manifest, by_tag, give_keys
from tests.forwarding.overlay import Host, Links, Overlay


class Muted(Overlay):
    """An overlay in which one host sends nothing to its children."""

    mute: Host | None = None

    def carry_out(self, host: Host, outcome: Outcome) -> None:
        if host is self.mute:
            outcome.transmits[:] = [each for each in outcome.transmits if each.to == host.parent]
        super().carry_out(host, outcome)


def below_a_mute(guards: Guards | None) -> tuple[Muted, Host, Host]:
    """Make an honest relay with a child, and a mute one with a newcomer that knows that child."""
    overlay = Muted(Random(1), Links(), guards=guards)
    honest, mute = overlay.add(1, overlay.source), overlay.add(2, overlay.source)
    relative = overlay.add(3, honest)
    overlay.mute = mute
    give_keys(overlay)
    overlay.stream(20, 0.02, settle=0.1)
    newcomer = overlay.add(4, mute)
    newcomer.repairers = (relative.at,)
    overlay.install(newcomer)
    give_keys(overlay)
    return overlay, newcomer, mute


def test_who_never_hears_anything_asks_its_relatives_and_finds_out_that_its_parent_withholds() -> (
    None
):
    overlay, newcomer, mute = below_a_mute(by_manifest)
    begun = overlay.now
    for _ in range(400):
        overlay.originate()
        overlay.run(overlay.now + 0.02)
    blamed = [
        note for host, note in overlay.notes if host is newcomer and isinstance(note, Withholding)
    ]
    assert blamed and {note.upstream for note in blamed} == {mute.at}
    # 2 s until it asks, and what comes then is ahead of what it knows.
    assert newcomer.got and min(newcomer.got) < 20 + 50 * (overlay.now - begun)
    assert sorted(set(newcomer.got)) == sorted(newcomer.got)


@pytest.mark.parametrize("guards", [None, by_tag])
def test_nobody_is_asked_where_anybody_could_say_anything(guards: Guards | None) -> None:
    overlay, newcomer, _ = below_a_mute(guards)
    for _ in range(400):
        overlay.originate()
        overlay.run(overlay.now + 0.02)
    assert newcomer.got == [] and not newcomer.forwarder.counters.requests


def test_where_there_is_nothing_to_hear_it_is_asked_ever_more_seldom() -> None:
    overlay = Overlay(Random(1), Links(), guards=by_manifest)
    relative, parent = overlay.add(1, overlay.source), overlay.add(2, overlay.source)
    newcomer = overlay.add(3, parent)
    newcomer.repairers = (relative.at,)
    overlay.install(newcomer)
    overlay.run(overlay.now + 600.0)
    assert 10 <= newcomer.forwarder.counters.requests <= 30
