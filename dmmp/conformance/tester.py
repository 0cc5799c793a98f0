"""The tester: all hosts but the one under test, the time, and a record of everything said.

Cases speak through its peers (`peer`), and with the parts that `playing` puts on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from dmmp.conformance.carrier import Arrival, Carrier
from dmmp.conformance.case import Failure
from dmmp.conformance.peer import Arrived, Peer, Where
from dmmp.conformance.requirement import Role
from dmmp.conformance.timing import Timing
from dmmp.errors import DecodeError
from dmmp.messages import (
    LeaveReport,
    Message,
    PingRpRequest,
    PingRpResponse,
    SubscriptionRequest,
    SubscriptionResponse,
    decode,
    encode,
)
from dmmp.messages.schema import FieldValue
from dmmp.roles.rendezvous_point import session_id
from dmmp.security.gate import Gate
from dmmp.types import NO_HOST, NO_SESSION, Endpoint, Instant, SessionId


class Line(NamedTuple):
    """One line of the record: a datagram that a peer sent, or got (`is_sent` False)."""

    at: Instant
    peer: str
    is_sent: bool
    datagram: bytes


class Tester:
    """See the module's docstring."""

    __test__ = False  # By its name pytest would take it for tests.

    def __init__(
        self, carrier: Carrier, role: Role, session_name: str, timing: Timing, seed: int
    ) -> None:
        self.carrier = carrier
        self.role = role
        self.session_name = session_name
        self.timing = timing
        self.rng = Random(seed)
        self.peers: dict[Endpoint, Peer] = {}
        self.lines: list[Line] = []
        self.faults: list[DecodeError] = []
        self.started = carrier.now
        self.is_heard = False
        self._session = NO_SESSION
        self._subject = carrier.subject
        self.points = tuple(
            self._new_peer(endpoint, name)
            for name, endpoint in zip(("rp", "rp2"), carrier.points(), strict=False)
        )

    @property
    def now(self) -> Instant:
        """Return the present time, seconds."""
        return self.carrier.now

    @property
    def rp(self) -> Peer:
        """Return the peer that the implementation takes for its (first) RP."""
        return self.points[0]

    @property
    def subject(self) -> Endpoint:
        """Return where the implementation under test is: as told, or where it first spoke from."""
        if self._subject is None:
            self._until_heard()
        if self._subject is None:
            raise Failure(f"nothing was heard of it within {self.timing.start:g} s")
        return self._subject

    @property
    def session(self) -> SessionId:
        """Return the session's id: the tester's own choice, or what the RP under test says."""
        if not self._session and self.role is Role.RP:
            self._session = self.locate().session
        return self._session or session_id(self.session_name)

    def use_session(self, session: SessionId) -> None:
        """Have peers speak in this session from now on."""
        self._session = session

    # Peers.

    def peer(self, name: str = "") -> Peer:
        """Make another host, at an address of its own."""
        return self._new_peer(self.carrier.open(), name or f"peer{len(self.peers) + 1}")

    def _new_peer(self, endpoint: Endpoint, name: str) -> Peer:
        instance, sequence = self.rng.getrandbits(64), self.rng.getrandbits(32)
        found = self.peers[endpoint] = Peer(self, name, endpoint, instance, sequence)
        return found

    def locate(self, peer: Peer | None = None) -> SubscriptionResponse:
        """Ask the RP under test for the session; wait for it to be there at all."""
        peer = peer or self.peer("asker")
        give_up = self.now + max(self.timing.start, self.timing.answer)
        while True:
            peer.tell(SubscriptionRequest, group_name=self.session_name)
            arrived = self.take((peer,), (SubscriptionResponse,))
            if arrived is not None:
                message = arrived.message
                assert isinstance(message, SubscriptionResponse)
                self._session = self._session or message.session
                return message
            if self.now >= give_up:
                raise Failure("the RP under test answers no Subscription Request")

    def register(self, peer: Peer, within: float = 0.0, **fields: FieldValue) -> PingRpResponse:
        """Register a peer at the RP under test; it has the id that the answer gives."""
        own = {"instance": peer.instance, "host": peer.record()}
        answer = peer.ask(PingRpRequest, within, **{**own, **fields})
        assert isinstance(answer, PingRpResponse)
        if not answer.status:
            peer.host = answer.host
        return answer

    # Time.

    def flow(self, seconds: float) -> Iterator[Arrived]:
        """Let time pass; yield what comes."""
        until = self.now + seconds
        while self.now < until:
            came = self._next(until)
            if came is None:
                break
            yield from came

    def wait(self, seconds: float) -> None:
        """Let time pass; what comes stays in the inboxes."""
        for _ in self.flow(seconds):
            pass

    def take(
        self,
        peers: Iterable[Peer],
        classes: tuple[type[Message], ...],
        within: float = 0.0,
        where: Where | None = None,
    ) -> Arrived | None:
        """Take the first message of these classes that came, or comes, to one of these peers."""
        asked = tuple(peers)

        def is_wanted(arrived: Arrived) -> bool:
            is_meant = arrived.peer in asked and isinstance(arrived.message, classes)
            return is_meant and (where is None or where(arrived.message))

        self._until_heard()
        waiting = sorted((each for peer in asked for each in peer.inbox), key=lambda each: each.at)
        found = next((each for each in waiting if is_wanted(each)), None)
        if found is None:
            for arrived in self.flow(within + self.timing.answer):
                if is_wanted(arrived):
                    found = arrived
                    break
        if found is not None:
            found.peer.last = found
            if found in found.peer.inbox:
                found.peer.inbox.remove(found)
        return found

    def _until_heard(self) -> None:
        """Wait for the first word of an implementation that was started just now."""
        if self.is_heard or self.role is Role.RP:
            return
        until = self.started + self.timing.start
        while not self.is_heard and self.now < until and self._next(until) is not None:
            pass
        self.is_heard = True

    def _next(self, until: Instant) -> list[Arrived] | None:
        """Return what the next datagram holds; None if nothing comes before `until`."""
        gates = [peer.gate for peer in self.peers.values() if peer.gate is not None]
        alarms = [alarm[0] for gate in gates if (alarm := gate.next_alarm()) is not None]
        first = min([until, *alarms])
        arrival = self.carrier.receive(max(first, self.now))
        if arrival is not None:
            return self._read(arrival)
        for peer in list(self.peers.values()):
            if peer.gate is not None:
                for datagram, to in peer.gate.wake(self.now):
                    self.carry(peer, to, datagram)
        return [] if first < until else None

    # What is said.

    def carry(
        self,
        peer: Peer,
        to: Endpoint,
        datagram: bytes,
        delay: float = 0.0,
        clear: bytes | None = None,
    ) -> None:
        """Send a datagram of a peer; `clear` is what is in it, if it is sealed."""
        self.lines.append(Line(self.now, peer.name, True, datagram if clear is None else clear))
        self.carrier.send(peer.endpoint, to, datagram, peer.delay + delay)

    def _read(self, arrival: Arrival) -> list[Arrived]:
        peer = self.peers.get(arrival.to)
        if self._subject is None:
            self._subject = arrival.sender
        if peer is None or arrival.sender != self._subject:
            return []
        self.is_heard = True
        if peer.gate is not None:
            return self._opened(peer, peer.gate, arrival)
        self.lines.append(Line(arrival.at, peer.name, False, arrival.datagram))
        return self._decoded(peer, arrival.datagram, arrival.at)

    def _opened(self, peer: Peer, gate: Gate, arrival: Arrival) -> list[Arrived]:
        messages, datagrams, frames = gate.receive(arrival.datagram, arrival.sender, arrival.at)
        found = []
        for message in messages:
            clear = encode(message)
            self.lines.append(Line(arrival.at, peer.name, False, clear))
            found.append(self._note(peer, message, clear, arrival.at))
        for frame in frames:
            self.lines.append(Line(arrival.at, peer.name, False, frame))
            found += self._decoded(peer, frame, arrival.at)
        if not messages and not frames:
            self.lines.append(Line(arrival.at, peer.name, False, arrival.datagram))
            found += self._decoded(peer, arrival.datagram, arrival.at)
        for datagram, to in datagrams:
            self.carry(peer, to, datagram)
        return found

    def _decoded(self, peer: Peer, datagram: bytes, at: Instant) -> list[Arrived]:
        try:
            message = decode(datagram)
        except DecodeError as error:
            self.faults.append(error)
            return []
        return [self._note(peer, message, datagram, at)]

    def _note(self, peer: Peer, message: Message, datagram: bytes, at: Instant) -> Arrived:
        arrived = Arrived(at, peer, message, datagram)
        peer.inbox.append(arrived)
        peer.respond(arrived)
        return arrived

    # Judging.

    def check(self, holds: bool, otherwise: str) -> None:
        """Fail, for the reason given, unless something holds."""
        if not holds:
            raise Failure(otherwise)

    def equal(self, found: object, wanted: object, what: str) -> None:
        """Fail unless something is what it has to be."""
        if found != wanted:
            raise Failure(f"{what} is {found}, not {wanted}")

    def near(self, found: float, least: float, most: float, what: str) -> None:
        """Fail unless a time is within bounds, give or take the tolerance."""
        slack = self.timing.tolerance
        if not least - slack <= found <= most + slack:
            raise Failure(f"{what}: {found:.3f} s, not {least:g} to {most:g} s")

    def finish(self) -> None:
        """Fail if anything that came cannot be read."""
        if self.faults:
            raise Failure(f"a datagram of the implementation is malformed: {self.faults[0]}")

    def close(self) -> None:
        """Leave an RP that goes on after the case as it was: whoever registered there goes."""
        if self.role is Role.RP and self._session:
            for peer in self.peers.values():
                if peer.host != NO_HOST:
                    peer.gate = None
                    peer.tell(LeaveReport)
