"""The simulator's loop: pop, call the host, carry out its actions, arm its one alarm again (§4.10).

The driver of simulated hosts, as `runtime/driver.py` is that of real ones: the same roles, the same
forwarder, the same order of work. It decides nothing about the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dmmp.errors import DecodeError, UsageError
from dmmp.forwarding.burst import Burst
from dmmp.interest import Interest, interest
from dmmp.messages import Message, ProbeRequest, decode
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.local import Silence, Start, Stop, Subscribe
from dmmp.parameters import Parameters
from dmmp.roles.role import Host
from dmmp.roles.view import View
from dmmp.security.gate import Gate
from dmmp.sim.addresses import first_endpoint
from dmmp.sim.carrying import (
    DATA_PLANE,
    GROUP,
    MOST_SPINS,
    OPTION,
    PROGRAM,
    SHORTEST_PAYLOAD,
    Arrival,
    Carrying,
)
from dmmp.sim.checks import Bounds
from dmmp.sim.network import PERFECT, Conditions
from dmmp.sim.node import Forwards, Life, Node
from dmmp.sim.schedule import MICROSECONDS, microseconds
from dmmp.sim.topology import Topology
from dmmp.sim.trace import Trace
from dmmp.tun.packets import wrap_udp
from dmmp.types import SELF, Endpoint, Instant, IpAddress

LOOKS_AGAIN = 3
"""Who is found without a sound place in all of so many further looks, has none: in a tree that
still improves (Decision 75) somebody above may be moving at any one of them."""


class World(Carrying):
    """Nodes, the network among them, and the checks; `run_until` lets virtual time pass."""

    def __init__(
        self,
        seed: int,
        topology: Topology,
        conditions: Conditions = PERFECT,
        *,
        parameters: Parameters | None = None,
        bounds: Bounds | None = None,
        wire: bool = False,
        tell_unreachable: bool = False,
        trace: Trace | None = None,
        payload_bytes: int = SHORTEST_PAYLOAD,
    ) -> None:
        super().__init__(
            seed,
            topology,
            conditions,
            parameters=parameters,
            bounds=bounds,
            wire=wire,
            tell_unreachable=tell_unreachable,
            trace=trace,
            payload_bytes=payload_bytes,
        )
        self._schedule.push(MICROSECONDS, self._sweep)

    # What a scenario does.

    def add(
        self,
        name: str,
        kind: str,
        host: Host,
        views: Callable[[Instant], tuple[View, ...]],
        *,
        forwarder: Forwards | None = None,
        gate: Gate | None = None,
        out_degree: int = 0,
        begin: Callable[[int], Life] | None = None,
    ) -> Node:
        """Put a machine somewhere; nothing runs on it before `start`."""
        place = self.network.topology.attach()
        endpoint = first_endpoint(place)
        node = Node(name, kind, place, endpoint, host, views, forwarder, gate, out_degree, begin)
        self.nodes.append(node)
        self._addresses.add(node)
        return node

    def node(self, name: str) -> Node:
        """Find a node by its name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(f"no host is called {name!r}")

    def node_at(self, endpoint: Endpoint) -> Node | None:
        """Find a node by where it receives datagrams."""
        return self._addresses.get(endpoint)

    def start(self, node: Node) -> None:
        """Switch a machine on."""
        node.alive = True
        node.started_us = self.now_us
        self.tally.starts(node, self.now_us)
        self.tell(node, Start())

    def stop(self, node: Node) -> None:
        """Ask a host to leave in good order (slide 20)."""
        if node.alive and node.stopped_us is None:
            node.stopped_us = self.now_us
            self.tell(node, Stop())

    def crash(self, node: Node) -> None:
        """Switch a machine off without a word."""
        if node.alive or node.suspended:
            node.crashed, node.suspended = True, False
            self._remove(node)

    def restart(self, node: Node) -> None:
        """Start a machine that is off: a new instance at the same address, same programs."""
        if node.alive or node.suspended or node.begin is None or node.started_us is None:
            return
        node.renew(node.begin(node.lives))
        self.start(node)
        for group, (record, _) in node.wants.items():
            node.wants[group] = (record, self.now_us)
            self.tell(node, Subscribe(record))

    def suspend(self, node: Node) -> None:
        """Let a machine stand still; what is sent to it meanwhile is lost."""
        if node.alive:
            node.suspended = True
            self._remove(node)

    def resume(self, node: Node) -> None:
        """Let a machine go on with what it knew; its alarms are overdue."""
        if node.suspended:
            node.suspended, node.alive, node.gone_us = False, True, None
            self.tally.resumes(node, self.now_us)
            self.jump(node, 0.0)

    def rebind(self, node: Node) -> None:
        """Give a machine another address: its NAT forgot it."""
        self._addresses.renew(node, self.nodes)

    def jump(self, node: Node, by: float) -> None:
        """Let a machine's clock jump forward, so that its alarms ring early."""
        node.ahead_us += microseconds(by)
        self._arm(node)
        if node.forwarder is not None:
            self._arm_forwarder(node, node.forwarder)

    def subscribe(self, node: Node, record: Interest | None = None) -> None:
        """Let a program on the machine join a group, or leave it with an empty INCLUDE."""
        record = record or interest(GROUP)
        if record.is_none:
            node.wants.pop(record.group, None)
        else:
            node.wants[record.group] = (record, self.now_us)
        self.tally.wishes(node, self.now_us)
        self.tell(node, Subscribe(record))

    def originate(self, node: Node, count: int = 1, group: IpAddress = GROUP) -> None:
        """Let the program on the source's machine send packets, each with the next number."""
        if not node.alive or node.forwarder is None:
            return
        view = node.view(self.now)
        if not view.host:
            return
        packets: list[bytes | memoryview] = []
        for _ in range(count):
            number = len(self.packets)
            payload = number.to_bytes(SHORTEST_PAYLOAD, "big") + self._filling
            packet = wrap_udp(PROGRAM, Endpoint(group, PROGRAM.port), payload)
            self._numbers[packet] = number
            self.packets.append(self.now_us)
            self.tally.sends(self.now_us)
            packets.append(packet)
        now = self._now_at(node)
        outcome = node.forwarder.originate(
            view.session, view.host, view.tree_version, group, PROGRAM.address, packets, now
        )
        self._carry_out(node, outcome)
        self._arm_forwarder(node, node.forwarder)

    def inject(self, node: Node, origin: Endpoint, data: bytes) -> None:
        """Let a datagram from anywhere reach a node."""
        self._schedule.push(self.now_us, (node, node, origin, data))

    # The loop.

    def run_until(self, instant: Instant) -> None:
        """Let virtual time pass."""
        until_us = microseconds(instant)
        pop = self._schedule.pop
        while (popped := pop(until_us)) is not None:
            self.now_us, what = popped
            if isinstance(what, tuple):
                self._arrive(what)
            elif isinstance(what, Node):
                self._wake(what)
            else:
                what()
        self.now_us = until_us

    def finish(
        self, expected: Sequence[int] = (), *, strict: bool = False, safety: bool = False
    ) -> None:
        """Check the result; `expected` are the numbers of the packets that must have been heard.

        Every one of them if `strict`, else at least one; with `safety`, nothing is expected.
        Whoever has no sound place at this moment is looked at again a little later, since it may be
        moving. The digest covers the result.
        """
        if not safety:
            self._judge_result(expected, strict)
        self.checks.sweep(self.now_us)
        for node in self.nodes:
            self.trace.note(f"{node.name} {len(node.heard)}")
            if node.alive:
                self.trace.note(repr(node.all_views(self.now)))

    def _judge_result(self, expected: Sequence[int], strict: bool) -> None:
        self.checks.heard(self.now_us, self.packets, expected, strict)
        unsound = self.checks.places(self.now_us)
        for _ in range(LOOKS_AGAIN if unsound else 0):
            self.run_until(self.now + self.checks.bounds.moving)
            still = {(later.check, later.who) for later in self.checks.places(self.now_us)}
            unsound = [each for each in unsound if (each.check, each.who) in still]
        for failure in unsound:
            self.checks.add(failure)
        self.checks.remains(self.now_us)

    def _arrive(self, arrival: Arrival) -> None:
        node, sender, origin, payload = arrival
        if not node.alive:
            self.network.counts.unheard += 1
            if self.tell_unreachable and not node.suspended:
                self._bounce(node, sender)
            return
        if self._traces:
            self.trace.arrival(self.now_us, sender, node, payload)
        node.received += 1
        now = (self.now_us + node.ahead_us) / MICROSECONDS
        if not isinstance(payload, Message):
            if len(payload) >= HEADER_BYTES and payload[OPTION] in DATA_PLANE:
                self._forward(node, Burst(payload, len(payload), origin), now)
                return
            messages = self._read(node, bytes(payload), origin, now)
        else:
            messages = [payload]
        for message in messages:
            if type(message) is ProbeRequest:
                self.tally.probed(node, self.now_us)
            self._perform(node, node.host.receive(message, origin, now))
        self._arm(node)

    def _forward(self, node: Node, burst: Burst, now: Instant) -> None:
        forwarder = node.forwarder
        if forwarder is not None:
            self._carry_out(node, forwarder.forward(burst, now))
            self._arm_forwarder(node, forwarder)

    def _read(
        self, node: Node, datagram: bytes, sender: Endpoint, now: Instant
    ) -> Sequence[Message]:
        """Read a control message; through the node's gate, if it has one."""
        if node.gate is not None:
            taken = node.gate.receive(datagram, sender, now)
            for data, to in taken.datagrams:
                self._transmit_control(node, to, data)
            for frame in taken.frames:
                self._forward(node, Burst(frame, len(frame), sender, sealed=True), now)
            return taken.messages
        try:
            return [decode(datagram)]
        except DecodeError:
            self.undecodable += 1
            return []

    def _wake(self, node: Node) -> None:
        if node.armed_us != self.now_us:
            return
        node.armed_us = None
        if not node.alive:
            return
        now = self._now_at(node)
        alarm = node.host.next_alarm()
        if alarm is not None and alarm[0] <= now:
            self._perform(node, node.host.wake(now))
        if node.gate is not None and node.alive:
            for data, to in node.gate.wake(now):
                self._transmit_control(node, to, data)
        if node.forwarder is not None and node.alive:
            outcome, silences = node.forwarder.wake(now)
            self._carry_out(node, outcome)
            for silent in silences:
                self._perform(node, node.host.receive(Silence(silent.since), SELF, now))
            self._arm_forwarder(node, node.forwarder)
        self._arm(node)
        self._judge_progress(node)

    def _judge_progress(self, node: Node) -> None:
        """Stop a host that rings again and again at one instant: time would stand still."""
        node.spins = node.spins + 1 if node.armed_us == self.now_us else 0
        if node.spins > MOST_SPINS:
            detail = f"rings without end: {node.host.next_alarm()}"
            self.checks.fail("progress", self.now_us, node.name, detail)
            self._remove(node)

    def _sweep(self) -> None:
        self.checks.sweep(self.now_us)
        self.tally.sweep(self.now_us)
        self._schedule.push(self.now_us + self.sweep_us, self._sweep)
