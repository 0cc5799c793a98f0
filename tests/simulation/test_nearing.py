"""Trees that get shorter while they live (Decision 75): how much, at what cost, and who dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from random import Random

import pytest

from dmmp.messages import JoinRequest, Message
from dmmp.messages.common import HostFlag
from dmmp.parameters import Parameters
from dmmp.sim.node import Node
from dmmp.sim.scenario import add_end_host, add_rendezvous_point
from dmmp.sim.topology import topology
from dmmp.sim.world import World
from dmmp.types import Endpoint
from tests.marks import long

MEMBERS, JOINED = 40, 12.0
RATE = 25.0


class Stage(World):
    """A source and members on a plane, a stream, and an eye on who asks to exchange places."""

    def __init__(self, seed: int, parameters: Parameters) -> None:
        place = topology("plane", Random(f"{seed}/topology"))
        super().__init__(seed, place, parameters=parameters)
        self.exchanges: list[tuple[Node, Endpoint]] = []
        self.on_exchange: Callable[[int], object] = lambda number: None
        point = add_rendezvous_point(self, "rp")
        self.start(point)
        points = (point.endpoint,)
        self.source = add_end_host(self, "source", "source", 4, points)
        self.members = [
            add_end_host(self, f"m{number}", "member", 3, points) for number in range(MEMBERS)
        ]
        self.at(0.1, lambda: self.start(self.source))
        for number, member in enumerate(self.members):
            self.at(1.0 + number * 0.25, partial(self.join, member))
        self.run_until(JOINED)

    def join(self, member: Node) -> None:
        self.start(member)
        self.subscribe(member)

    def send(self, node: Node, message: Message, to: Endpoint, whole: bool = False) -> None:
        super().send(node, message, to, whole)
        if isinstance(message, JoinRequest) and message.applicant.flags & HostFlag.EXCHANGES:
            self.exchanges.append((node, to))
            self.on_exchange(len(self.exchanges))

    def stream(self, until: float) -> None:
        for number in range(int((until - self.now) * RATE)):
            self.at(self.now + number / RATE, lambda: self.originate(self.source))
        self.run_until(until + 3.0)

    def ways(self) -> list[float]:
        """List how long data takes to each member, seconds."""
        delay = self.network.topology.delay_us
        found = []
        for member in self.members:
            if member.alive:
                way = member.way_up(MEMBERS + 2)
                assert way[-1] is self.source
                delays = [delay(one.place, other.place) for one, other in pairwise(way)]
                found.append(sum(delays) / 1e6)
        return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


STILL = replace(Parameters(), nearing_look=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *long(2)])
def test_ways_get_shorter_and_nobody_misses_a_packet(seed: int) -> None:
    stages = {name: Stage(seed, each) for name, each in (("still", STILL), ("", Parameters()))}
    for stage in stages.values():
        stage.stream(180.0)
        stage.finish(range(len(stage.packets)), strict=True)
        assert not stage.failures
    assert mean(stages[""].ways()) < 0.9 * mean(stages["still"].ways())
    assert stages[""].exchanges and not stages["still"].exchanges
    # What was found is kept: ways only get shorter, and in the end hardly anybody moves.
    late, way = len(stages[""].exchanges), mean(stages[""].ways())
    stages[""].run_until(600.0)
    settled, shorter = len(stages[""].exchanges), mean(stages[""].ways())
    stages[""].run_until(720.0)
    assert len(stages[""].exchanges) - settled <= max(3, late // 10)
    assert mean(stages[""].ways()) <= shorter <= way


@pytest.mark.slow
@pytest.mark.parametrize("who", ["applicant", "asked"])
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_either_may_die_in_the_middle_of_it(who: str, delay: float) -> None:
    """All others get every packet, and all have a place again."""
    stage = Stage(3, Parameters())

    def strike(number: int) -> None:
        if number in (3, 9):
            applicant, to = stage.exchanges[-1]
            victim = applicant if who == "applicant" else stage.node_at(to)
            assert victim is not None
            stage.at(stage.now + delay, lambda: stage.crash(victim))

    stage.on_exchange = strike
    stage.stream(60.0)
    stage.finish(range(len(stage.packets)), strict=True)
    assert not stage.failures
    assert any(not member.alive for member in stage.members)
    stage.ways()
