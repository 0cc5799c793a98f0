"""A crowd: one socket that plays many hosts, for loading a rendezvous point or a super node.

Each host has an address of its own in 127.0.0.0/8, all of which is this machine: the kernel sends
from the address that IP_PKTINFO names, and tells where an answer went. What is sent are real
messages, as `encode` makes them; of an answer the header and the status are read. Every exchange
runs in a closed loop: a fixed number of hosts are under way, and the next one begins when one has
its answer, so that the measured process is always busy and never overrun.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Any, Self

from dmmp.interest import interest
from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    Message,
    PingRpRequest,
    PingRpResponse,
    RefreshRequest,
    RefreshResponse,
    StatusReport,
    StatusResponse,
    encode,
)
from dmmp.messages.common import (
    NOT_JOINED_DEPTH,
    HostFlag,
    HostRecord,
    LeaveReason,
    RefreshKind,
    Status,
)
from dmmp.messages.header import HEADER, HEADER_BYTES
from dmmp.types import NO_HOST, Endpoint, HostId, SessionId

SOURCE, FIRST_SUPER_NODE, FIRST_MEMBER = 1, 2, 256
"""Numbers of the hosts that the crowd plays; a host's number is its address, too."""

QUIET_GROUP = ip_address("239.9.9.9")
"""What the crowd's programs want: nobody sends to it, so no data is multiplied by the crowd."""

PORT = 47700
"""Where a host of the crowd is, if it has no socket."""

PATIENCE = 1.0
"""Seconds after which a host that was not answered gives up, counted; on loopback that is loss."""

RECEIVE_BYTES = 2048
BATCH = 64
_IP_PKTINFO = 8
_PKTINFO = struct.Struct("=i4s4s")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size)
_BUFFER_BYTES = 8 << 20
_SO_RCVBUFFORCE = 33


def address_bytes(number: int) -> bytes:
    """Give a host's address, 127.1.0.0 and above."""
    return bytes((127, 1 + (number >> 16), (number >> 8) & 0xFF, number & 0xFF))


def address_of(number: int) -> IPv4Address:
    """Give it as an address."""
    return IPv4Address(address_bytes(number))


def number_of(address: bytes) -> int:
    """Give the host whose address this is."""
    return (address[1] - 1) << 16 | address[2] << 8 | address[3]


@dataclass(slots=True)
class Tally:
    """What a run came to: exchanges that were completed, refused or never answered."""

    done: int = 0
    refused: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    """How long each completed exchange took, seconds."""

    @property
    def rate(self) -> float:
        """Return completed exchanges a second."""
        return self.done / self.seconds if self.seconds else 0.0


class Crowd:
    """The socket, and what is under way: number of a host to when it began."""

    def __init__(self, target: Endpoint, session: SessionId) -> None:
        self.session = session
        self._target = (str(target.address), target.port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(("0.0.0.0", 0))
        self._socket.setblocking(False)
        self._port: int = self._socket.getsockname()[1]
        self._began: dict[int, float] = {}
        self.tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def endpoint(self, number: int) -> Endpoint:
        """Give where a host of the crowd receives."""
        return Endpoint(address_of(number), self._port)

    def send(self, number: int, message: Message) -> None:
        """Send as a host of the crowd; wait for a moment if the kernel's queue is full."""
        ancillary = [
            (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, address_bytes(number), bytes(4)))
        ]
        datagram = encode(message)
        while True:
            try:
                self._socket.sendmsg((datagram,), ancillary, 0, self._target)
                return
            except BlockingIOError:
                select.select((), (self._socket,), (), PATIENCE)

    def received(self, wait: float) -> Iterator[tuple[int, bytes]]:
        """Give what has come, at most `BATCH`, after waiting up to `wait` seconds for the first."""
        if not select.select((self._socket,), (), (), wait)[0]:
            return
        for _ in range(BATCH):
            try:
                datagram, ancillary, _, _ = self._socket.recvmsg(RECEIVE_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            if ancillary and len(datagram) > HEADER_BYTES:
                yield number_of(_PKTINFO.unpack(ancillary[0][2])[2]), datagram

    # The closed loop.

    def begin(self) -> None:
        """Let one more host begin its exchange."""
        raise NotImplementedError

    def answer(self, number: int, option: int, sequence: int, source: int, status: int) -> None:
        """Take an answer to a host, go on with its exchange or end it."""
        raise NotImplementedError

    def started(self, number: int) -> None:
        """Note that a host is under way."""
        self._began[number] = time.perf_counter()

    def ended(self, number: int, done: bool) -> bool:
        """Note that a host is through, with success or refused; False if it was not under way."""
        began = self._began.pop(number, None)
        if began is None:
            return False
        if done:
            self.tally.done += 1
            self.tally.waits.append(time.perf_counter() - began)
        else:
            self.tally.refused += 1
        return True

    def give_up(self, patience: float = PATIENCE) -> None:
        """Forget the hosts that nobody answered for so long."""
        now = time.perf_counter()
        for number in [n for n, began in self._began.items() if now - began > patience]:
            del self._began[number]
            self.tally.unanswered += 1

    def run(self, seconds: float, window: int, most: int | None = None) -> Tally:
        """Keep `window` hosts under way for so long, or until `most` are through."""
        self.tally = tally = Tally()
        begun = time.perf_counter()
        left = most if most is not None else 1 << 60
        while time.perf_counter() - begun < seconds and (left or self._began):
            while left and len(self._began) < window:
                self.begin()
                left -= 1
            self.pump(0.05)
            self.give_up()
        tally.seconds = time.perf_counter() - begun
        return tally

    def settle(self) -> None:
        """Wait for what is under way; it counts in the tally of the last run, not in its rate."""
        deadline = time.perf_counter() + PATIENCE
        while self._began and time.perf_counter() < deadline:
            self.pump(0.05)
        self.give_up(0.0)

    def pump(self, wait: float) -> None:
        """Take what has come."""
        for number, datagram in self.received(wait):
            _, _, option, _, source, sequence, _, _ = HEADER.unpack_from(datagram)
            self.answer(number, option, sequence, source, datagram[HEADER_BYTES])


class Newcomers(Crowd):
    """Hosts that register at a rendezvous point, each once; then the same renew, again and again.

    The crowd plays the source and the super nodes besides. The source is told of every host that
    can feed others, and answers as a source does.
    """

    def __init__(self, target: Endpoint, session: SessionId) -> None:
        super().__init__(target, session)
        self.ids: dict[int, HostId] = {}
        self.reports = 0
        self._next = FIRST_MEMBER
        self._renewing: deque[int] = deque()

    def found(self, super_nodes: int) -> None:
        """Register a source and so many super nodes; raise `TimeoutError` if that fails."""
        records = {SOURCE: HostRecord(flags=HostFlag.SOURCE, depth=0, out_degree=8)}
        for number in range(FIRST_SUPER_NODE, FIRST_SUPER_NODE + super_nodes):
            flags = HostFlag.SUPER_NODE
            records[number] = HostRecord(flags=flags, depth=1, out_degree=16, free_slots=8)
        for number, record in records.items():
            self.ping(number, record)
        deadline = time.perf_counter() + 5 * PATIENCE
        while not all(number in self.ids for number in records):
            self.pump(0.05)
            if time.perf_counter() > deadline:
                raise TimeoutError("the rendezvous point did not register the core")
        self._began.clear()

    def ping(self, number: int, record: HostRecord) -> None:
        """Send a host's Ping_RP request; its number is its sequence number and instance, too."""
        self.started(number)
        message = PingRpRequest(
            session=self.session,
            source=self.ids.get(number, NO_HOST),
            sequence=number,
            instance=number,
            host=record,
        )
        self.send(number, message)

    def renew(self) -> None:
        """Let those that are registered renew from now on, in turn."""
        self._renewing = deque(number for number in self.ids if number >= FIRST_MEMBER)

    def begin(self) -> None:
        """Let the next newcomer register, or the next host renew."""
        if self._renewing:
            number = self._renewing[0]
            self._renewing.rotate(-1)
            self.ping(number, HostRecord(depth=3, out_degree=2, free_slots=2))
        else:
            number, self._next = self._next, self._next + 1
            self.ping(number, HostRecord(depth=NOT_JOINED_DEPTH, out_degree=2))

    def answer(self, number: int, option: int, sequence: int, source: int, status: int) -> None:
        """Note a registration; as the source, answer a report."""
        if option == StatusReport.OPTION and number == SOURCE:
            self.reports += 1
            origin = self.ids[SOURCE]
            self.send(
                SOURCE, StatusResponse(session=self.session, source=origin, sequence=sequence)
            )
        elif option == PingRpResponse.OPTION and sequence == number:
            self.ended(number, status == Status.SUCCESS)

    def pump(self, wait: float) -> None:
        """Take what has come; an id stands behind status and phase (-03 §6.1)."""
        for number, datagram in self.received(wait):
            _, _, option, _, source, sequence, _, _ = HEADER.unpack_from(datagram)
            status = datagram[HEADER_BYTES]
            if option == PingRpResponse.OPTION and status == Status.SUCCESS:
                at = HEADER_BYTES + 2
                self.ids[number] = HostId(int.from_bytes(datagram[at : at + 4]))
            self.answer(number, option, sequence, source, status)


_ASK, _CONFIRM, _LEAVE = 1, 2, 3


class Joiners(Crowd):
    """Hosts that join a super node: Join, offer, Refresh, confirmed; the longest there then leaves.

    So many as `standing` says are children at a time. A join is complete when its Refresh has been
    confirmed, so a completed join costs the super node a leave besides.
    """

    FIRST_ID = 0x0F00_0000
    """Ids as an RP of index 15 would give them: nobody else's."""

    def __init__(self, target: Endpoint, session: SessionId, standing: int) -> None:
        super().__init__(target, session)
        self.standing = standing
        self.children: deque[int] = deque()
        self.left = 0
        self.late = 0
        """Joins that were confirmed when the host had given up; it leaves at once."""
        self._next = FIRST_MEMBER

    def _header(self, number: int, stage: int) -> dict[str, Any]:
        return {
            "session": self.session,
            "source": self.FIRST_ID + number,
            "sequence": number << 2 | stage,
        }

    def _record(self, number: int, depth: int) -> HostRecord:
        host = HostId(self.FIRST_ID + number)
        return HostRecord(host, self.endpoint(number), 0, depth, out_degree=2, free_slots=2)

    def begin(self) -> None:
        """Let the next host ask for a place."""
        number, self._next = self._next, self._next + 1
        self.started(number)
        record = self._record(number, NOT_JOINED_DEPTH)
        self.send(number, JoinRequest(**self._header(number, _ASK), applicant=record))

    def answer(self, number: int, option: int, sequence: int, source: int, status: int) -> None:
        """Confirm an offer; when confirmed, let the host that has been there longest leave."""
        if sequence >> 2 != number:
            return
        stage, success = sequence & 3, status == Status.SUCCESS
        if option == JoinResponse.OPTION and stage == _ASK:
            if not success:
                self.ended(number, False)
            elif number in self._began:
                self.send(number, self._confirmation(number))
            else:
                self.leave(number, LeaveReason.DECLINED)
        elif option == RefreshResponse.OPTION and stage == _CONFIRM:
            in_time = self.ended(number, success)
            if success and not in_time:
                self.late += 1
                self.leave(number)
            elif success:
                self.children.append(number)
                if len(self.children) > self.standing:
                    self.leave(self.children.popleft())
        elif option == LeaveResponse.OPTION and stage == _LEAVE:
            self.left += 1

    def _confirmation(self, number: int) -> RefreshRequest:
        return RefreshRequest(
            **self._header(number, _CONFIRM),
            kind=RefreshKind.CHILD,
            sender=self._record(number, NOT_JOINED_DEPTH),
            interest=(interest(QUIET_GROUP),),
        )

    def leave(self, number: int, reason: LeaveReason = LeaveReason.MOVED) -> None:
        """Let a child go, or an applicant that gave up (slide 20)."""
        self.send(number, LeaveReport(**self._header(number, _LEAVE), reason=reason))
