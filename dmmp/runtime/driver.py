"""The asyncio driver: one host, one forwarder, one socket, one edge, one timer (§4.4).

It tells data from control by the option at its fixed offset, hands bursts to the forwarder and
messages to the host, and carries out what they want. Data goes first: a crowd of control messages
is handled a few at a time. It decides nothing about the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dmmp.actions import (
    Action,
    ForwarderAction,
    Install,
    InstallKey,
    PathMtu,
    Publish,
    Replay,
    Report,
    Send,
    Withdraw,
)
from dmmp.errors import DecodeError, UsageError
from dmmp.events import Event, Left, Refused, Registered
from dmmp.forwarding.burst import Burst, Delivery, Outcome, Silent, Transmit
from dmmp.interest import Interest
from dmmp.messages import decode, encode
from dmmp.messages.local import (
    Carries,
    LocalMessage,
    Silence,
    Start,
    Stop,
    Subscribe,
    TooLarge,
    Unreachable,
)
from dmmp.messages.schema import Message
from dmmp.roles.role import Host
from dmmp.runtime.doorman import CROWD, Doorman
from dmmp.runtime.sockets import DatagramSocket
from dmmp.runtime.sorting import is_data, is_hop_sealed, pieces, sealed_where_due
from dmmp.security.gate import Gate
from dmmp.security.outcomes import Regard
from dmmp.types import NO_HOST, NO_SESSION, SELF, Endpoint, HostId, Instant, IpAddress, SessionId

GOODBYE = 8.0
"""Seconds a host may take to leave in good order."""

SHORTEST_SLEEP = 0.001
"""Alarms closer together than this share one wake."""

CONTROL_BUDGET = 4
"""Control messages that a host which forwards data handles in one turn: then data that has come
meanwhile goes first. A join takes a fifth of a millisecond, so a crowd delays no packet by more
than one."""

CONTROL_QUEUE_LIMIT = 2048
CONTROL_QUEUE_BYTES = 4 << 20
"""Control messages that wait for their turn, and bytes of them. Of more the oldest are dropped: who
sent them has sent them again by then (Decision 9)."""

STRANGERS_LIMIT = CROWD
"""First messages of strangers that wait, the oldest out: what comes faster than they are answered
is a flood, and who is no part of it asks again."""

STRANGERS_AT_ONCE = 16
"""And so many are answered between two reads of the socket, where nothing is forwarded: to look at
one that comes takes a fifth of the time that an answer takes, so the socket does not overflow."""

_log = logging.getLogger(__name__)


class DataPlane(Protocol):
    """The forwarder, as the driver uses it."""

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Carry out a role's wish."""

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Take data from the network."""

    def originate(
        self,
        session: SessionId,
        host: HostId,
        tree_version: int,
        group: IpAddress,
        source: IpAddress,
        packets: Sequence[bytes | memoryview],
        now: Instant,
    ) -> Outcome:
        """Take IP packets of this host's programs."""

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Do what is due."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Tell when to wake it."""


class Edge(Protocol):
    """Where the host's programs are: a TUN or an interface."""

    def start(self, driver: Driver) -> None:
        """Begin to read; give packets to `driver.originate`, wishes to `driver.subscribe`."""

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Hand data to the programs."""

    def registered(self, session: SessionId, host: HostId) -> None:
        """Learn the host's identity, for addresses made from it."""

    def wake(self, now: Instant) -> None:
        """Do what is due."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Tell when to wake it."""

    def close(self) -> None:
        """Give everything back."""


class Driver:
    """Runs one host until it is stopped; see the module's docstring."""

    def __init__(
        self,
        host: Host,
        socket: DatagramSocket,
        forwarder: DataPlane | None = None,
        edge: Edge | None = None,
        clock: Callable[[], Instant] = time.monotonic,
        datagram_bytes: int = 0,
        gate: Gate | None = None,
    ) -> None:
        """Put the parts together; `datagram_bytes` is the least size that paths are probed for.

        0: none is probed. Without `gate` control messages are neither sealed nor proven.
        """
        self.host = host
        self.gate = gate
        self.paces = False
        """Whether the socket is told who loses packets, to spread their bursts (Decision 63)."""
        self.socket = socket
        self.forwarder = forwarder
        self.edge = edge
        self.clock = clock
        self.counters = {"control_received": 0, "control_sent": 0, "malformed": 0}
        self.counters |= {"no_forwarder": 0, "not_registered": 0, "unsent": 0}
        self.counters |= {"control_queue_full": 0, "sieved": 0}
        self.session: SessionId = NO_SESSION
        self.host_id: HostId = NO_HOST
        self.tree_version = 0
        self.datagram_bytes = datagram_bytes
        self.refused: str | None = None
        self._doorman: Doorman | None = None
        if gate is not None:
            forwards = forwarder is not None
            self._doorman = Doorman(gate.associations, forwards, self.counters, clock)
            socket.employ(self._doorman)
        self._control: deque[tuple[bytes, Endpoint]] = deque()
        self._control_bytes = 0
        self._strangers: deque[tuple[bytes, Endpoint]] = deque(maxlen=STRANGERS_LIMIT)
        self._goes_on = False
        self._report: Callable[[Event], None] = lambda event: None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: Instant = float("inf")
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Run until `stop`, a refusal or a failure; leave in good order and close everything."""
        self.socket.on_unreachable(self._unreachable)
        if self.datagram_bytes:
            self.socket.on_too_large(self._too_large)
        self.socket.start(self.take, self.fail)
        try:
            self.local(Start())
            if self.datagram_bytes:
                self.local(Carries(self.datagram_bytes))
            if self.edge is not None:
                self.edge.start(self)
            self.rearm()
            await self._ended.wait()
            if self._failure is None and self.refused is None:
                await self._leave()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._control.clear()
            if self.edge is not None:
                self.edge.close()
            self.socket.close()
        if self._failure is not None:
            raise self._failure

    def on_event(self, report: Callable[[Event], None]) -> None:
        """Have `report` called with every event of the host."""
        self._report = report

    def stop(self) -> None:
        """Ask `run` to leave and return; a second time, to return without leaving."""
        if self._ended.is_set():
            self._left.set()
        self._ended.set()

    def fail(self, failure: BaseException) -> None:
        """End `run` with an exception: something in this program, not in a peer, went wrong."""
        self._failure = self._failure or failure
        self._ended.set()
        self._left.set()

    async def _leave(self) -> None:
        self.local(Stop())
        if self.forwarder is None:
            # A rendezvous point keeps soft state only; nobody waits for it (Decision 21).
            return
        try:
            await asyncio.wait_for(self._left.wait(), GOODBYE)
        except TimeoutError:
            _log.info("nobody answered our leaving within %.0f s", GOODBYE)

    def take(self, bursts: Iterable[Burst]) -> None:
        """Take what the network brought: data at once, control after it and within its budget."""
        now = self.clock()
        transmits: list[Transmit] = []
        deliveries: list[Delivery] = []
        notes: list[LocalMessage] = []
        for burst in bursts:
            for part in (burst,) if is_data(burst) else self._sorted_out(burst):
                if self.forwarder is None:
                    self.counters["no_forwarder"] += -(-len(part.data) // part.stride)
                    continue
                outcome = self.forwarder.forward(part, now)
                transmits += outcome.transmits
                deliveries += outcome.deliveries
                notes += outcome.notes
        self._out(transmits, deliveries)
        for note in notes:
            self.local(note)
        self._take_control()
        self.rearm()

    def _sorted_out(self, burst: Burst) -> list[Burst]:
        """Queue what of a burst is control; give the rest: data with control behind it."""
        data: list[Burst] = []
        for piece in pieces(burst):
            if is_data(piece):
                data.append(piece)
            elif self.gate is not None and is_hop_sealed(piece):
                data += self._opened(self.gate, piece)
            else:
                self._queue(piece)
        return data

    def _opened(self, gate: Gate, piece: Burst) -> list[Burst]:
        """Open what data cannot be without: a manifest comes ahead of what it lists."""
        sender = piece.sender
        _, datagrams, frames = gate.receive(bytes(piece.data), sender, self.clock())
        self.send_sealed(datagrams)
        return [Burst(frame, len(frame), sender, sealed=True) for frame in frames]

    def _queue(self, segment: Burst) -> None:
        """Let a control message wait for its turn: a copy, which keeps no buffer of data alive."""
        queue, datagram = self._control, bytes(segment.data)
        if self.gate is not None:
            regard = self.gate.regard(datagram, segment.sender, self.clock())
            if regard is Regard.STRANGER:
                self._strangers.append((datagram, segment.sender))
                if self._doorman is not None:
                    self._doorman.call(len(self._strangers), self.clock())
            if regard is not Regard.KNOWN:
                return
        queue.append((datagram, segment.sender))
        self._control_bytes += len(datagram)
        while len(queue) > CONTROL_QUEUE_LIMIT or self._control_bytes > CONTROL_QUEUE_BYTES:
            self._control_bytes -= len(queue.popleft()[0])
            self.counters["control_queue_full"] += 1

    def _take_control(self) -> None:
        """Handle what waits, or where data must not wait for all of it, the first few."""
        queue = self._control
        left = len(queue) if self.forwarder is None else min(len(queue), CONTROL_BUDGET)
        for _ in range(left):
            datagram, sender = queue.popleft()
            self._control_bytes -= len(datagram)
            self._take_one(datagram, sender)
        room = STRANGERS_AT_ONCE if self.forwarder is None else max(1, CONTROL_BUDGET - left)
        for _ in range(min(room, len(self._strangers))):
            self._take_one(*self._strangers.popleft())
        if (queue or self._strangers) and not self._goes_on:
            self._goes_on = True
            asyncio.get_running_loop().call_soon(self.guarded(self._go_on))

    def _go_on(self) -> None:
        self._goes_on = False
        self._take_control()
        self.rearm()

    def _take_one(self, datagram: bytes, sender: Endpoint) -> None:
        if self.gate is not None:
            self._take_sealed(self.gate, datagram, sender)
            return
        try:
            message = decode(datagram)
        except DecodeError as error:
            self.counters["malformed"] += 1
            _log.debug("from %s: %s", sender, error)
            return
        self.counters["control_received"] += 1
        now = self.clock()
        self._perform(self.host.receive(message, sender, now), now)

    def _take_sealed(self, gate: Gate, datagram: bytes, sender: Endpoint) -> None:
        now = self.clock()
        messages, datagrams, _ = gate.receive(datagram, sender, now)
        self.send_sealed(datagrams)
        for message in messages:
            self.counters["control_received"] += 1
            self._perform(self.host.receive(message, sender, now), now)

    def send_sealed(self, datagrams: Iterable[tuple[bytes, Endpoint]]) -> None:
        """Send what the gate wants sent."""
        for datagram, to in datagrams:
            self.counters["control_sent"] += 1
            self.socket.send_control(datagram, to)

    def local(self, message: LocalMessage) -> None:
        """Give the host an input of its own machine, and carry out what it wants."""
        now = self.clock()
        self._perform(self.host.receive(message, SELF, now), now)
        self.rearm()

    def _unreachable(self, endpoint: Endpoint) -> None:
        self.guarded(lambda: self.local(Unreachable(endpoint)))()

    def _too_large(self, endpoint: Endpoint, fits: int) -> None:
        # 0 is our own word for something else; no path is that narrow.
        self.guarded(lambda: self.local(TooLarge(endpoint, max(fits, 1))))()

    def subscribe(self, interest: Interest) -> None:
        """Tell the host what its programs want of a group now."""
        self.local(Subscribe(interest))

    def originate(
        self, group: IpAddress, source: IpAddress, packets: Sequence[bytes | memoryview]
    ) -> None:
        """Send IP packets of this host's programs into the overlay."""
        if self.forwarder is None or self.host_id == NO_HOST:
            self.counters["not_registered"] += len(packets)
            return
        outcome = self.forwarder.originate(
            self.session, self.host_id, self.tree_version, group, source, packets, self.clock()
        )
        self.carry_out(outcome)
        self.rearm()

    def carry_out(self, outcome: Outcome) -> None:
        """Send and deliver what the forwarder wants."""
        self._out(outcome.transmits, outcome.deliveries)
        for note in outcome.notes:
            self.local(note)

    def _out(self, transmits: list[Transmit], deliveries: list[Delivery]) -> None:
        if self.gate is not None:
            transmits = sealed_where_due(self.gate, transmits, self.clock())
        if transmits:
            self.socket.send(transmits)
            self._note_size(transmits)
        if deliveries and self.edge is not None:
            self.edge.deliver(deliveries)

    def _note_size(self, transmits: list[Transmit]) -> None:
        """Have paths probed for larger datagrams once such are sent: a relay is told no size."""
        if not self.datagram_bytes:
            return
        largest = max([transmit.stride for transmit in transmits])
        if largest > self.datagram_bytes:
            self.datagram_bytes = largest
            self.local(Carries(largest))

    def _perform(self, actions: Iterable[Action], now: Instant) -> None:
        """Carry out a role's actions in their order."""
        for action in actions:
            match action:
                case Send(message, to, whole):
                    self._send(message, to, whole, now)
                case PathMtu(endpoint, datagram_bytes):
                    self.socket.set_path_mtu(endpoint, datagram_bytes)
                case Install() | Withdraw() | Replay() | InstallKey() | Publish():
                    if isinstance(action, Install) and not action.entry.upstream:
                        self.tree_version = action.entry.tree_version
                    if self.paces and isinstance(action, Replay) and any(action.bitmap):
                        self.socket.lost(action.to)
                    if self.forwarder is not None:
                        self.carry_out(self.forwarder.apply(action, now))
                case Report(event):
                    self._on_event(event)
                case _:
                    raise AssertionError(f"{action} is for EndHost alone")

    def _send(self, message: Message, to: Endpoint, whole: bool, now: Instant) -> None:
        try:
            if self.gate is not None:
                self._send_through(self.gate, message, to, whole, now)
                return
            datagram = encode(message)
        except UsageError as error:
            # What a table grew to may fit no message; the node lives on, and others with it.
            self.counters["unsent"] += 1
            _log.warning("to %s: %s", to, error)
            return
        self.counters["control_sent"] += 1
        if not whole:
            self.socket.send_control(datagram, to)
        elif not self.socket.send_probe(datagram, to):
            self._perform(self.host.receive(TooLarge(to), SELF, now), now)

    def _send_through(
        self, gate: Gate, message: Message, to: Endpoint, whole: bool, now: Instant
    ) -> None:
        for datagram, receiver in gate.send(message, to, now, whole):
            self.counters["control_sent"] += 1
            if not whole or receiver != to:
                self.socket.send_control(datagram, receiver)
            elif not self.socket.send_probe(datagram, receiver):
                self._perform(self.host.receive(TooLarge(to), SELF, now), now)

    def _on_event(self, event: Event) -> None:
        match event:
            case Registered(session=session, host=host):
                self.session, self.host_id = session, host
                if self.edge is not None:
                    self.edge.registered(session, host)
            case Refused(reason, final=True) if self.host_id == NO_HOST:
                # Other reasons may pass, and later refusals cost no data: the rendezvous point is
                # off its path (Decision 21).
                self.refused = reason
                self._ended.set()
                return
            case Left():
                self._left.set()
                self._ended.set()
        self._report(event)

    def rearm(self) -> None:
        """Set the one timer to the earliest alarm there is."""
        earliest = float("inf")
        for owner in (self.host, self.forwarder, self.edge, self.gate):
            if owner is not None and (alarm := owner.next_alarm()) is not None:
                earliest = min(earliest, alarm[0])
        if earliest >= self._timer_at:
            # The timer fires early at worst, and spurious wakes are harmless (§4.4).
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max(SHORTEST_SLEEP, earliest - self.clock())
        self._timer_at = earliest
        self._timer = asyncio.get_running_loop().call_later(delay, self.guarded(self._on_timer))

    def guarded(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Make a callback for the event loop whose failure ends `run`, not just one call."""

        def call() -> None:
            try:
                callback()
            except Exception as failure:
                self.fail(failure)

        return call

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self.wake(self.clock())

    def wake(self, now: Instant) -> None:
        """Do what is due, and set the timer for what is next."""
        # The simulator's order, so that what holds there holds here: what the host decides now
        # (a new parent) is in the table before the forwarder looks at it.
        self._perform(self.host.wake(now), now)
        if self.forwarder is not None:
            outcome, silences = self.forwarder.wake(now)
            self.carry_out(outcome)
            for silent in silences:
                self._perform(self.host.receive(Silence(silent.since), SELF, now), now)
        if self.edge is not None:
            self.edge.wake(now)
        if self.gate is not None:
            self.send_sealed(self.gate.wake(now))
        self.rearm()
