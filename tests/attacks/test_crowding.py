"""One member says a hundred times what it may: others are heard as if it said nothing (row 12).

Latency is counted in messages that a host handles before another's: time would be this machine's.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from dmmp.forwarding.burst import Burst
from dmmp.messages import DataRequest, JoinRequest, Message, PingRpRequest, ProbeRequest
from dmmp.messages.common import HostRecord
from dmmp.roles.role import Input
from dmmp.runtime.driver import CONTROL_BUDGET, Driver
from dmmp.security.budgets import Kind
from dmmp.types import Endpoint, Instant
from tests.attacks.loopback import Node, session
from tests.attacks.stage import Stage
from tests.attacks.test_forged_messages import Scene
from tests.marks import slow

HUNDREDFOLD = 100 * int(Kind.CONTROL.value.messages)
BURST = int(Kind.CONTROL.value.messages * Kind.CONTROL.value.seconds)

LOUD: dict[str, Message] = {
    "joins": JoinRequest(applicant=HostRecord(out_degree=2)),
    "probes": ProbeRequest(timestamp=1),
    "registrations": PingRpRequest(host=HostRecord(), instance=9),
    "data requests": DataRequest(origin=0, channel=0, base=0),  # type: ignore[arg-type]
}


class Handled:
    """Counts what a host handles, by who said it."""

    def __init__(self, host: object) -> None:
        self.senders: list[Endpoint] = []
        receive = host.receive  # type: ignore[attr-defined]

        def note(message: Input, sender: Endpoint, now: Instant) -> object:
            self.senders.append(sender)
            return receive(message, sender, now)

        host.receive = note  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["data requests", "joins", *slow("probes", "registrations")])
@pytest.mark.parametrize("victim", ["relay", *slow("rp", "source")])
def test_no_more_is_handled_of_one_than_it_may_say(name: str, victim: str) -> None:
    scene = Scene()
    node = scene.stage.world.node(victim)
    handled = Handled(node.host)
    message = LOUD[name]
    rate = Kind.REQUESTS.value if name == "data requests" else Kind.CONTROL.value
    seconds = 4
    for _ in range(seconds * 50):
        for _ in range(HUNDREDFOLD // 50):
            scene.say(message, node)
        scene.stage.run(0.02)
    said = handled.senders.count(scene.eve.endpoint)
    assert (node.gate is not None and node.gate.counters["over_budget"] > 0) or rate.messages > 900
    assert said <= rate.messages * (rate.seconds + seconds) + 1
    # Everybody else was heard, and the stream goes on.
    heard = scene.stage.heard()
    scene.stage.stream(20)
    assert scene.stage.heard() == {member: count + 20 for member, count in heard.items()}


@pytest.mark.slow
def test_others_join_beside_it() -> None:
    stage_quiet, scene = Stage(), Scene()
    times = []
    for stage, loud in ((stage_quiet, None), (scene.stage, scene)):
        late = [stage.add(f"late{n}", "member", 2) for n in range(4)]
        begun = stage.world.now
        for host in late:
            stage.join(host)
        for _ in range(150):
            if loud is not None:
                for message in LOUD.values():
                    for _ in range(HUNDREDFOLD // 200):
                        for victim in (stage.rp, stage.relay, stage.source):
                            loud.say(message, victim)
            stage.run(0.02)
        assert all(host.view(stage.world.now).parent for host in late)
        times.append(max((host.admitted_us or 0) / 1e6 - begun for host in late))
    assert times[1] <= 1.5 * times[0] + 0.1


@pytest.mark.slow
def test_a_drivers_queue_is_not_the_loud_ones() -> None:
    """Sealed, so it gets into the queue: but each turn hears the others within the budget."""

    async def main() -> None:
        async with session() as running:
            relay, member, source = running.relay, running.member, running.source
            order: list[Endpoint] = []
            receive = relay.keyed.receive

            def note(message: Input, sender: Endpoint, now: Instant) -> object:
                order.append(sender)
                return receive(message, sender, now)

            relay.keyed.receive = note  # type: ignore[method-assign, assignment]
            view = relay.view
            loud = [burst(member, relay.driver, view.session) for _ in range(2000)]
            other = burst(source, relay.driver, view.session)
            order.clear()
            relay.driver.take([*loud, other])
            for _ in range(2001 // CONTROL_BUDGET + 10):
                await asyncio.sleep(0)
            at = order.index(source.driver.socket.local)
            assert at <= BURST + 10
            assert order.count(member.driver.socket.local) <= BURST + 10

    asyncio.run(main())


def burst(sender: Node, to: Driver, session_id: int) -> Burst:
    """Seal a probe."""
    gate = sender.driver.gate
    assert gate is not None
    message = ProbeRequest(
        session=session_id,  # type: ignore[arg-type]
        source=sender.view.host,
        timestamp=Random(1).getrandbits(30),
    )
    (sealed,) = gate.send(message, to.socket.local, to.clock())
    return Burst(sealed.data, len(sealed.data), sender.driver.socket.local)
