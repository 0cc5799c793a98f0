"""Carries out what simulated hosts want: messages, data, entries, alarms (§4.10).

The state of a world, and the half of its driver that hosts act through; what happens to them, and
when, is in `world`. Control travels as objects, with `wire` as bytes through the codec, and sealed
through the gates of hosts that have one; data is always bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from random import Random

from dmmp.actions import (
    Action,
    ForwarderAction,
    Install,
    PathMtu,
    Report,
    Send,
    Withdraw,
)
from dmmp.errors import UsageError
from dmmp.events import Admitted, ChildAdded, Event, Left, PeerViolation
from dmmp.forwarding.burst import Outcome, Transmit, split
from dmmp.messages import Message, encode
from dmmp.messages.header import HEADER_BYTES, OPTION_OFFSET
from dmmp.messages.local import Unreachable
from dmmp.parameters import Parameters
from dmmp.policies.path_mtu import overhead_bytes
from dmmp.roles.role import Input
from dmmp.security.gate import goes_sealed
from dmmp.sim.addresses import Addresses
from dmmp.sim.checks import Bounds, Checks, Failure
from dmmp.sim.network import PERFECT, Conditions, Network
from dmmp.sim.node import Forwards, Node
from dmmp.sim.schedule import MICROSECONDS, Schedule, microseconds, seconds
from dmmp.sim.sizes import size_of
from dmmp.sim.tally import Tally
from dmmp.sim.topology import Topology
from dmmp.sim.trace import Payload, Trace
from dmmp.types import SELF, Endpoint, Instant

GROUP = IPv4Address("239.1.2.3")
"""The group the simulated programs use."""

PROGRAM = Endpoint(IPv4Address("192.0.2.1"), 5004)
"""Source address and port of the packets that the simulated program sends (RFC 5737)."""

MOST_SPINS = 1_000
"""Wakes of one host at one instant; more is a livelock."""

SHORTEST_PAYLOAD = 8
"""Bytes of the number that each simulated packet carries; more is filled up."""

_DATA = b"\x00\x00"
DATA_PLANE = (_DATA, b"\x00\x01", b"\x00\x02")
"""Options of data, heartbeats and credentials: what the forwarder takes."""

OPTION = slice(OPTION_OFFSET, OPTION_OFFSET + 2)

Arrival = tuple[Node, Node, Endpoint, Payload]
"""What reaches a node: receiver, sender, where from, a datagram or a message as an object."""


class Carrying:
    """Nodes, the network among them, and what was seen; `World` adds scenarios and time."""

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
        self.seed = seed
        self.parameters = parameters or Parameters()
        self.network = Network(topology, self.random("network"), conditions)
        self.trace = trace or Trace()
        self._traces = self.trace.is_kept
        self.wire = wire
        self.tell_unreachable = tell_unreachable
        self.now_us = 0
        self.nodes: list[Node] = []
        self.packets: list[int] = []
        """When each packet was sent by the source's program, by number."""
        self.checks = Checks(self.nodes, self.parameters, bounds or Bounds.of(self.parameters))
        self.tally = Tally(self.nodes, self.packets)
        self.undecodable = 0
        self.sweep_us = MICROSECONDS
        """How often the checks among all nodes run."""
        self._filling = bytes(max(payload_bytes - SHORTEST_PAYLOAD, 0))
        self._addresses = Addresses(topology)
        self._numbers: dict[bytes, int] = {}
        # A node first: a wake; a tuple: an arrival; else something to call.
        self._schedule: Schedule[Arrival | Node | Callable[[], None]] = Schedule()

    def random(self, *purpose: object) -> Random:
        """Make the generator of one entity and purpose; no two share their draws (§4.6)."""
        return Random("/".join(str(part) for part in (self.seed, *purpose)))

    @property
    def now(self) -> Instant:
        """Return the virtual time in seconds."""
        return seconds(self.now_us)

    @property
    def failures(self) -> list[Failure]:
        """Return what the checks found so far."""
        return self.checks.failures

    def at(self, instant: Instant, function: Callable[[], None]) -> None:
        """Have something done at an instant to come."""
        self._schedule.push(max(self.now_us, microseconds(instant)), function)

    def tell(self, node: Node, message: Input) -> None:
        """Give a machine a local input, if it is on."""
        if node.alive:
            self._perform(node, node.host.receive(message, SELF, self._now_at(node)))
            self._arm(node)

    def _now_at(self, node: Node) -> Instant:
        return (self.now_us + node.ahead_us) / MICROSECONDS

    def _arm(self, node: Node) -> None:
        """Arm the node's one timer for its host's next alarm, if that is earlier."""
        if node.alive:
            alarm = node.host.next_alarm()
            if alarm is not None:
                self._arm_at(node, alarm[0])
            if node.gate is not None and (due := node.gate.next_alarm()) is not None:
                self._arm_at(node, due[0])

    def _arm_forwarder(self, node: Node, forwarder: Forwards) -> None:
        """Arm it for the forwarder's next alarm: only its own calls change that."""
        if node.alive:
            alarm = forwarder.next_alarm()
            if alarm is not None:
                self._arm_at(node, alarm[0])

    def _arm_at(self, node: Node, at: Instant) -> None:
        armed_us = node.armed_us
        # A timer that rings too early finds nothing due and is armed again: cheaper than moving it.
        if armed_us is not None and at * MICROSECONDS - node.ahead_us >= armed_us:
            return
        at_us = max(microseconds(at) - node.ahead_us, self.now_us)
        if armed_us is None or at_us < armed_us:
            node.armed_us = at_us
            self._schedule.push(at_us, node)

    # Carrying out actions.

    def _perform(self, node: Node, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.send(node, action.message, action.to, action.whole)
            elif isinstance(action, Report):
                self._report(node, action.event)
            elif isinstance(action, ForwarderAction):
                self._apply(node, action)
            elif not isinstance(action, PathMtu):
                self.checks.fail("contract", self.now_us, node.name, f"cannot do {action}")

    def send(self, node: Node, message: Message, to: Endpoint, whole: bool = False) -> None:
        """Send one control message from a node's address, whatever its host thinks of it."""
        payload: Payload = message
        if node.gate is not None:
            for data, receiver in node.gate.send(message, to, self._now_at(node), whole):
                self._transmit_control(node, receiver, data, whole)
            return
        try:
            if self.wire:
                payload = encode(message)
            size = len(payload) if isinstance(payload, bytes) else size_of(message)
        except UsageError as error:
            self.checks.fail("contract", self.now_us, node.name, str(error))
            return
        node.sent += 1
        node.sent_bytes += size
        self.network.counts.sent_bytes += size
        self._transmit(node, to, payload, size + overhead_bytes(to) if whole else 0)

    def _transmit_control(self, node: Node, to: Endpoint, data: bytes, whole: bool = False) -> None:
        """Send a sealed control message."""
        node.sent += 1
        node.sent_bytes += len(data)
        self.network.counts.sent_bytes += len(data)
        self._transmit(node, to, data, len(data) + overhead_bytes(to) if whole else 0)

    def _transmit_sealed(self, node: Node, to: Endpoint, data: bytes, is_data: bool) -> None:
        """Send what the forwarder wants sent sealed; what was waiting is counted with it."""
        if not is_data:
            self._transmit_control(node, to, data)
            return
        node.sent_data_bytes += len(data)
        self.network.counts.sent_bytes += len(data)
        self._transmit(node, to, data)

    def _transmit(self, node: Node, to: Endpoint, payload: Payload, whole_bytes: int = 0) -> None:
        route = node.routes.get(id(to)) or self._addresses.find_route(node, to)
        _, receiver, delay_us = route
        network = self.network
        if receiver is None:
            network.counts.sent += 1
            network.counts.unheard += 1
        elif network.is_plain:
            network.counts.sent += 1
            self._schedule.push(self.now_us + delay_us, (receiver, node, node.endpoint, payload))
        else:
            for copy_us in network.carry(node.place, receiver.place, whole_bytes):
                self._schedule.push(self.now_us + copy_us, (receiver, node, node.endpoint, payload))

    def _apply(self, node: Node, action: ForwarderAction) -> None:
        if node.forwarder is None:
            self.checks.fail("contract", self.now_us, node.name, "installs but never forwards data")
            return
        if isinstance(action, Install):
            entry = action.entry
            node.entries[entry.session, entry.origin] = entry
        elif isinstance(action, Withdraw):
            node.entries.pop((action.session, action.origin), None)
        if isinstance(action, Install | Withdraw):
            self._note_links(node)
            self.checks.after_install(node, self.now_us)
        self._carry_out(node, node.forwarder.apply(action, self._now_at(node)))
        self._arm_forwarder(node, node.forwarder)

    def _note_links(self, node: Node) -> None:
        entry = node.entry
        if entry is None:
            node.upstream, node.downstream = (), {}
            return
        find = self._addresses.get
        above = (find(endpoint) for endpoint in entry.upstream)
        node.upstream = tuple(found for found in above if found is not None)
        node.downstream = {
            int(branch.endpoint.address): find(branch.endpoint) for branch in entry.downstream
        }

    def _carry_out(self, node: Node, outcome: Outcome) -> None:
        for transmit in outcome.transmits:
            self._transmit_burst(node, transmit)
        for delivery in outcome.deliveries:
            data, stride = delivery.data, delivery.stride
            for at in range(0, len(data), stride):
                self._deliver(node, bytes(data[at + HEADER_BYTES : at + stride]))
        for note in outcome.notes:
            self.tell(node, note)

    def _transmit_burst(self, node: Node, transmit: Transmit) -> None:
        data, stride, to = transmit
        size = len(data)
        if node.gate is not None and goes_sealed(data):
            now = self._now_at(node)
            for segment in split(data, stride):
                for sealed, receiver in node.gate.send_datagram(bytes(segment), to, now):
                    self._transmit_sealed(node, receiver, sealed, data[OPTION] == _DATA)
            return
        self.network.counts.sent_bytes += size
        if data[OPTION] == _DATA:
            node.sent_data_bytes += size
        else:
            node.sent += 1
            node.sent_bytes += size
        if size <= stride and type(data) is bytes:
            self._transmit(node, to, data)
            return
        for at in range(0, size, stride):
            self._transmit(node, to, bytes(data[at : at + stride]))

    def _deliver(self, node: Node, packet: bytes) -> None:
        number = self._numbers.get(packet)
        now_us = self.now_us
        if number is None or not node.wants or not node.heard.add(number):
            self.checks.after_delivery(node, number, now_us)
        if number is not None:
            self.tally.delivers(node, number, now_us)
        if node.heard_us is None:
            node.heard_us = now_us

    def _report(self, node: Node, event: Event) -> None:
        self.trace.event(self.now_us, node, event)
        if isinstance(event, Admitted):
            if node.admitted_us is None:
                node.admitted_us = self.now_us
                self.tally.wishes(node, self.now_us)
        elif isinstance(event, ChildAdded):
            self.checks.after_report(node, self.now_us)
        elif isinstance(event, PeerViolation):
            node.violations += 1
        elif isinstance(event, Left):
            self._remove(node)

    def _remove(self, node: Node) -> None:
        node.alive = False
        node.gone_us = node.last_gone_us = self.now_us
        node.armed_us = None
        self.tally.goes(node, self.now_us)

    def _bounce(self, node: Node, sender: Node) -> None:
        """Let the sender's machine learn by ICMP that nobody listens there (RFC 792)."""
        news = Unreachable(node.endpoint)
        for delay_us in self.network.carry(node.place, sender.place)[:1]:
            self.at(self.now + seconds(delay_us), lambda: self.tell(sender, news))
