"""The carrier in virtual time: a role and its forwarder in this process, between two heap entries.

It drives them as `runtime/driver.py` and `sim/world.py` do, and says to each what they say. All
messages are encoded and decoded: what is tested is what would be on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count
from random import Random

from dmmp.actions import Action, ForwarderAction, Report, Send
from dmmp.conformance.carrier import GROUP, Arrival
from dmmp.conformance.case import Feature
from dmmp.conformance.requirement import Role
from dmmp.errors import DecodeError
from dmmp.events import Left
from dmmp.forwarding.burst import Burst, Outcome, split
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import interest
from dmmp.messages import decode, encode
from dmmp.messages.header import HEADER_BYTES, OPTION_OFFSET
from dmmp.messages.local import LocalMessage, Silence, Start, Stop, Subscribe
from dmmp.messages.options import LAST_DATA_OPTION
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.role import Host
from dmmp.roles.standing import HostSetup
from dmmp.roles.view import View
from dmmp.security.gate import Gate, goes_sealed
from dmmp.tun.packets import parse, wrap_udp
from dmmp.types import SELF, Endpoint, Instant

PROGRAM = Endpoint(ip_address("10.9.9.9"), 47702)
LINK_DELAY = 0.001
"""Seconds from anybody to anybody."""

MOST_WAKES = 1000
"""Wakes at one instant after which time would stand still."""

OUT_DEGREE = 4
SUBJECT = Endpoint(ip_address("10.0.0.1"), 47700)


@dataclass(frozen=True, slots=True)
class Running:
    """What runs under test; a secured one has a `gate`."""

    host: Host
    forwarder: Forwarder | None = None
    gate: Gate | None = None


Make = Callable[[Role, HostSetup, Parameters, Random], Running]
"""Makes what is tested; tests give broken ones to see that a case notices."""


def make(role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
    """Make our own role."""
    if role is Role.RP:
        return Running(RendezvousPoint((setup.session_name,), parameters, rng))
    return Running(EndHost(role.value, setup, parameters, rng), Forwarder(parameters, rng=rng))


class InProcess:
    """See the module's docstring; the interface is `carrier.Carrier`."""

    features = frozenset({Feature.FRESH, Feature.STOP, Feature.PROGRAM, Feature.SECOND_RP})

    def __init__(
        self,
        role: Role,
        session_name: str,
        parameters: Parameters,
        seed: int,
        make: Make = make,
        *,
        second_rp: bool = False,
    ) -> None:
        self.now: Instant = 1000.0
        self.delivered: list[bytes] = []
        self._queue: list[tuple[Instant, int, Arrival]] = []
        self._order = count()
        self._addresses: set[Endpoint] = set()
        self._numbers = count(2)
        points = 0 if role is Role.RP else 1 + second_rp
        self._points = tuple(self.open() for _ in range(points))
        rng = Random(seed)
        setup = HostSetup(
            session_name=session_name,
            rendezvous_points=self._points,
            out_degree=OUT_DEGREE,
            instance=rng.getrandbits(64),
            relay_only=role is Role.SUPER_NODE,
        )
        self.role = role
        self._running = make(role, setup, parameters, rng)
        self._is_alive = False
        self._wakes = 0

    @property
    def subject(self) -> Endpoint | None:
        """Return where the role receives."""
        return SUBJECT

    def points(self) -> tuple[Endpoint, ...]:
        """Return the addresses of the RPs that the role is told of."""
        return self._points

    def open(self) -> Endpoint:
        """Give the tester another host's address."""
        endpoint = Endpoint(ip_address("10.0.0.0") + next(self._numbers), 47700)
        self._addresses.add(endpoint)
        return endpoint

    def close_address(self, endpoint: Endpoint) -> None:
        """Lose what is sent to an address from now on."""
        self._addresses.discard(endpoint)

    def start(self) -> None:
        """Start the role, with a program that wants `GROUP` where it has any."""
        self._is_alive = True
        self._tell(Start())
        if self.role is Role.MEMBER:
            self._tell(Subscribe(interest(GROUP.address)))

    def stop(self) -> None:
        """Tell the role to leave."""
        self._tell(Stop())

    def send(self, origin: Endpoint, to: Endpoint, datagram: bytes, delay: float = 0.0) -> None:
        """Put a datagram on the way."""
        at = self.now + LINK_DELAY + delay
        heappush(self._queue, (at, next(self._order), Arrival(at, origin, to, datagram)))

    def receive(self, until: Instant) -> Arrival | None:
        """Let virtual time pass until something arrives for the tester."""
        while True:
            alarm = self._next_alarm()
            due = self._queue[0][0] if self._queue else float("inf")
            if min(alarm, due) > until:
                self.now = max(self.now, until)
                return None
            if due > alarm:
                self._wake(alarm)
                continue
            self._pass_to(due)
            arrival = heappop(self._queue)[2]
            if arrival.to == SUBJECT:
                self._take(arrival)
            elif arrival.to in self._addresses:
                return arrival

    def program_sends(self, payload: bytes) -> None:
        """Send what a program on the source's host sends."""
        host, forwarder = self._running.host, self._running.forwarder
        if forwarder is None or not isinstance(host, EndHost | KeyedHost):
            return
        view: View = host.view(self.now)
        packet = wrap_udp(PROGRAM, GROUP, payload)
        outcome = forwarder.originate(
            view.session,
            view.host,
            view.tree_version,
            GROUP.address,
            PROGRAM.address,
            [packet],
            self.now,
        )
        self._carry_out(outcome)

    def program_heard(self) -> list[bytes]:
        """Return what programs on the member's host got."""
        return list(self.delivered)

    def said(self) -> str:
        """Return nothing: a role does not print."""
        return ""

    def close(self) -> None:
        """Stop driving the role."""
        self._is_alive = False

    # Driving it.

    def _pass_to(self, instant: Instant) -> None:
        self._wakes = self._wakes + 1 if instant <= self.now else 0
        if self._wakes > MOST_WAKES:
            raise RuntimeError(f"time stands still at {self.now}")
        self.now = max(self.now, instant)

    def _next_alarm(self) -> Instant:
        if not self._is_alive:
            return float("inf")
        running = self._running
        owners = (running.host, running.forwarder, running.gate)
        alarms = [owner.next_alarm() for owner in owners if owner is not None]
        return min((alarm[0] for alarm in alarms if alarm is not None), default=float("inf"))

    def _wake(self, at: Instant) -> None:
        self._pass_to(at)
        running = self._running
        self._perform(running.host.wake(self.now))
        if running.gate is not None:
            for datagram, to in running.gate.wake(self.now):
                self.send(SUBJECT, to, datagram)
        if running.forwarder is not None:
            outcome, silences = running.forwarder.wake(self.now)
            self._carry_out(outcome)
            for silent in silences:
                self._tell(Silence(silent.since))

    def _take(self, arrival: Arrival) -> None:
        if not self._is_alive:
            return
        gate, datagram, sender = self._running.gate, arrival.datagram, arrival.sender
        if len(datagram) >= HEADER_BYTES and _is_data(datagram):
            self._forward(Burst(datagram, len(datagram), sender))
        elif gate is not None:
            messages, datagrams, frames = gate.receive(datagram, sender, self.now)
            for sealed, to in datagrams:
                self.send(SUBJECT, to, sealed)
            for frame in frames:
                self._forward(Burst(frame, len(frame), sender, sealed=True))
            for message in messages:
                self._perform(self._running.host.receive(message, sender, self.now))
        else:
            try:
                message = decode(datagram)
            except DecodeError:
                return
            self._perform(self._running.host.receive(message, sender, self.now))

    def _forward(self, burst: Burst) -> None:
        if self._running.forwarder is not None:
            self._carry_out(self._running.forwarder.forward(burst, self.now))

    def _tell(self, message: LocalMessage) -> None:
        if self._is_alive:
            self._perform(self._running.host.receive(message, SELF, self.now))

    def _perform(self, actions: Iterable[Action]) -> None:
        running = self._running
        for action in actions:
            if isinstance(action, Send) and running.gate is not None:
                sealed = running.gate.send(action.message, action.to, self.now, action.whole)
                for datagram, to in sealed:
                    self.send(SUBJECT, to, datagram)
            elif isinstance(action, Send):
                self.send(SUBJECT, action.to, encode(action.message))
            elif isinstance(action, ForwarderAction) and running.forwarder is not None:
                self._carry_out(running.forwarder.apply(action, self.now))
            elif isinstance(action, Report) and isinstance(action.event, Left):
                self._is_alive = False

    def _carry_out(self, outcome: Outcome) -> None:
        gate = self._running.gate
        for data, stride, to in outcome.transmits:
            for segment in split(data, stride):
                datagram = bytes(segment)
                if gate is not None and goes_sealed(datagram):
                    for sealed, receiver in gate.send_datagram(datagram, to, self.now):
                        self.send(SUBJECT, receiver, sealed)
                else:
                    self.send(SUBJECT, to, datagram)
        for delivery in outcome.deliveries:
            for segment in split(delivery.data, delivery.stride):
                packet = parse(bytes(segment)[HEADER_BYTES:])
                self.delivered.append(bytes(segment)[HEADER_BYTES + packet.payload_offset + 8 :])
        for note in outcome.notes:
            self._tell(note)


def _is_data(datagram: bytes) -> bool:
    return int.from_bytes(datagram[OPTION_OFFSET : OPTION_OFFSET + 2]) <= LAST_DATA_OPTION


__all__ = ["GROUP", "InProcess", "Make", "Running", "make"]
