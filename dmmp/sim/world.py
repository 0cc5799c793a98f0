"""The simulator's loop: pop, call the host, carry out its actions, arm its one alarm again (§4.10).

The driver of simulated hosts, as `runtime/driver.py` is that of real ones: the same roles, the same
forwarder, the same order of work. It decides nothing about the protocol. Control travels as
objects, or with `wire` as bytes through the codec; data is always bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from random import Random

from dmmp.actions import Action, Install, PathMtu, Replay, Report, Send, Withdraw
from dmmp.errors import DecodeError, UsageError
from dmmp.events import Admitted, ChildAdded, Event, Left, PeerViolation
from dmmp.forwarding.burst import Burst, Outcome, Transmit
from dmmp.interest import Interest, interest
from dmmp.messages import Message, ProbeRequest, decode, encode
from dmmp.messages.header import HEADER_BYTES, OPTION_OFFSET
from dmmp.messages.local import Silence, Start, Stop, Subscribe, Unreachable
from dmmp.parameters import Parameters
from dmmp.policies.path_mtu import overhead_bytes
from dmmp.roles.role import Host, Input
from dmmp.roles.view import View
from dmmp.sim.addresses import Addresses, first_endpoint
from dmmp.sim.checks import Bounds, Checks, Failure
from dmmp.sim.network import PERFECT, Conditions, Network
from dmmp.sim.node import Forwards, Life, Node
from dmmp.sim.schedule import MICROSECONDS, Schedule, microseconds, seconds
from dmmp.sim.sizes import size_of
from dmmp.sim.tally import Tally
from dmmp.sim.topology import Topology
from dmmp.sim.trace import Payload, Trace
from dmmp.tun.packets import wrap_udp
from dmmp.types import SELF, Endpoint, Instant, IpAddress

GROUP = IPv4Address("239.1.2.3")
"""The group the simulated programs use."""

PROGRAM = Endpoint(IPv4Address("192.0.2.1"), 5004)
"""Source address and port of the packets that the simulated program sends (RFC 5737)."""

MOST_SPINS = 1_000
"""Wakes of one host at one instant; more is a livelock."""

SHORTEST_PAYLOAD = 8
"""Bytes of the number that each simulated packet carries; more is filled up."""

_DATA, _HEARTBEAT = b"\x00\x00", b"\x00\x01"
_OPTION = slice(OPTION_OFFSET, OPTION_OFFSET + 2)

Arrival = tuple[Node, Node, Endpoint, Payload]
"""What reaches a node: receiver, sender, where from, a datagram or a message as an object."""


class World:
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
        self._schedule.push(MICROSECONDS, self._sweep)

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

    # What a scenario does.

    def add(
        self,
        name: str,
        kind: str,
        host: Host,
        views: Callable[[Instant], tuple[View, ...]],
        *,
        forwarder: Forwards | None = None,
        out_degree: int = 0,
        begin: Callable[[int], Life] | None = None,
    ) -> Node:
        """Put a machine somewhere; nothing runs on it before `start`."""
        place = self.network.topology.attach()
        endpoint = first_endpoint(place)
        node = Node(name, kind, place, endpoint, host, views, forwarder, out_degree, begin)
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

    def at(self, instant: Instant, function: Callable[[], None]) -> None:
        """Have something done at an instant to come."""
        self._schedule.push(max(self.now_us, microseconds(instant)), function)

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

    def tell(self, node: Node, message: Input) -> None:
        """Give a machine a local input, if it is on."""
        if node.alive:
            self._perform(node, node.host.receive(message, SELF, self._now_at(node)))
            self._arm(node)

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
        if unsound:
            self.run_until(self.now + self.checks.bounds.moving)
            still = {(later.check, later.who) for later in self.checks.places(self.now_us)}
            for failure in unsound:
                if (failure.check, failure.who) in still:
                    self.checks.add(failure)
        self.checks.remains(self.now_us)

    def _now_at(self, node: Node) -> Instant:
        return (self.now_us + node.ahead_us) / MICROSECONDS

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
            if len(payload) >= HEADER_BYTES and payload[_OPTION] in (_DATA, _HEARTBEAT):
                forwarder = node.forwarder
                if forwarder is not None:
                    burst = Burst(payload, len(payload), origin)
                    self._carry_out(node, forwarder.forward(burst, now))
                    self._arm_forwarder(node, forwarder)
                return
            try:
                payload = decode(payload)
            except DecodeError:
                self.undecodable += 1
                return
        if type(payload) is ProbeRequest:
            self.tally.probed(node, self.now_us)
        self._perform(node, node.host.receive(payload, origin, now))
        self._arm(node)

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

    def _arm(self, node: Node) -> None:
        """Arm the node's one timer for its host's next alarm, if that is earlier."""
        if node.alive:
            alarm = node.host.next_alarm()
            if alarm is not None:
                self._arm_at(node, alarm[0])

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

    def _sweep(self) -> None:
        self.checks.sweep(self.now_us)
        self.tally.sweep(self.now_us)
        self._schedule.push(self.now_us + self.sweep_us, self._sweep)

    # Carrying out actions.

    def _perform(self, node: Node, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.send(node, action.message, action.to, action.whole)
            elif isinstance(action, Report):
                self._report(node, action.event)
            elif isinstance(action, Install | Withdraw | Replay):
                self._apply(node, action)
            elif not isinstance(action, PathMtu):
                self.checks.fail("contract", self.now_us, node.name, f"cannot do {action}")

    def send(self, node: Node, message: Message, to: Endpoint, whole: bool = False) -> None:
        """Send one control message from a node's address, whatever its host thinks of it."""
        payload: Payload = message
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

    def _apply(self, node: Node, action: Install | Withdraw | Replay) -> None:
        if node.forwarder is None:
            self.checks.fail("contract", self.now_us, node.name, "installs but never forwards data")
            return
        if isinstance(action, Install):
            entry = action.entry
            node.entries[entry.session, entry.origin] = entry
        elif isinstance(action, Withdraw):
            node.entries.pop((action.session, action.origin), None)
        if not isinstance(action, Replay):
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

    def _transmit_burst(self, node: Node, transmit: Transmit) -> None:
        data, stride, to = transmit
        size = len(data)
        self.network.counts.sent_bytes += size
        if data[_OPTION] == _DATA:
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
