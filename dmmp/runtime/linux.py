"""The batched socket of Linux: bursts from the kernel and to it, by UDP GRO and GSO.

One `recvmsg` gives up to 64 datagrams of one sender in one buffer, one `sendmsg` sends as many:
three to four times what single datagrams reach, in Python as in C (architecture §3). Where the
kernel does not coalesce, datagrams that lie there already are grouped all the same. Linux 5.0.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Iterable

from dmmp.forwarding.burst import Burst, Transmit
from dmmp.runtime.errorqueue import (
    PENDING,
    SEND_TRIES,
    ErrorQueue,
    Report,
    ReportSize,
    watch,
)
from dmmp.runtime.fragments import Fragments
from dmmp.runtime.sockets import (
    BACKLOG_LIMIT_BYTES,
    RECEIVE_BUDGET,
    Address,
    Addresses,
    Collector,
    count_error,
    count_failure,
    endpoint_of,
    kernel_drops,
    new_counters,
)
from dmmp.types import Endpoint

_UDP_SEGMENT, _UDP_GRO = 103, 104
_ANCILLARY_BYTES = socket.CMSG_SPACE(struct.calcsize("i"))
_STRIDE = struct.Struct("i")
_UNBATCHABLE = (errno.EMSGSIZE, errno.EIO, errno.EINVAL)
"""A segment above the path's MTU, or a device that cannot: the burst goes as single datagrams."""

Ancillary = list[tuple[int, int, bytes]]
Waiting = tuple[bytes | memoryview, int, Address]


class BatchedSocket:
    """The `DatagramSocket` of Linux: see the module's docstring."""

    def __init__(self, opened: socket.socket) -> None:
        """Take a bound socket; raise `OSError` if this kernel cannot batch."""
        opened.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
        # Asking for no segmentation is allowed exactly where segmentation is known.
        opened.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, 0)
        self._socket = opened
        self.local = endpoint_of(opened.getsockname())
        self.counters = new_counters()
        self._addresses = Addresses(opened.family)
        self._collector = Collector(self._addresses)
        self._ancillary: dict[int, Ancillary] = {}
        self._backlog: deque[Waiting] = deque()
        self._backlog_bytes = 0
        self._waiter: asyncio.Future[list[Burst]] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._readable_watch = watch(opened, select.EPOLLIN)
        self._writable_watch = watch(opened, select.EPOLLOUT)
        self._loop.add_reader(self._readable_watch.fileno(), self._readable)
        self._errors = ErrorQueue(opened, self._addresses.endpoint, self.counters)
        self._fragments = Fragments(opened)

    async def receive(self) -> list[Burst]:
        """Wait for datagrams and take those that are there, in order; [] once it is closed."""
        while not self._closed:
            self._waiter = self._loop.create_future()
            try:
                if bursts := await self._waiter:
                    return bursts
            finally:
                self._waiter = None
        return []

    def _readable(self) -> None:
        # Nobody waits only while the last bursts are worked on; the loop will call again.
        if self._waiter is None or self._waiter.done():
            return
        try:
            self._waiter.set_result(self._drain())
        except Exception as failure:
            # Whoever waits must learn of it; the event loop would only print it.
            self._waiter.set_exception(failure)

    def _drain(self) -> list[Burst]:
        receive, collector = self._socket.recvmsg_into, self._collector
        try:
            for _ in range(RECEIVE_BUDGET):
                room = collector.room
                if room is None:
                    break
                size, ancillary, _, address = receive((room,), _ANCILLARY_BYTES)
                collector.add(
                    size, _STRIDE.unpack(ancillary[0][2])[0] if ancillary else size, address
                )
        except BlockingIOError:
            pass
        except OSError as error:
            # An ICMP error about some peer: no reason to stop hearing the others.
            count_error(self.counters, error)
        return collector.take()

    def overflowed(self) -> int:
        """Give how many datagrams the kernel dropped because we did not fetch them in time."""
        return kernel_drops(self._socket)

    def on_unreachable(self, report: Report) -> None:
        """Have `report` called with endpoints that the network calls unreachable."""
        self._errors.report = report

    def on_too_large(self, report: ReportSize) -> None:
        """Have `report` called with endpoints, and the size that is said to reach them."""
        self._errors.report_size = report

    def send_control(self, datagram: bytes, to: Endpoint) -> None:
        """Send one control message; a large one may travel in fragments."""
        self.send((Transmit(datagram, len(datagram), to),))

    def send_probe(self, datagram: bytes, to: Endpoint) -> bool:
        """Send a probe whole or not at all; False if this host's own interface cannot."""
        address = self._addresses.address(to)
        return address is None or self._fragments.probe(datagram, address)

    def set_path_mtu(self, to: Endpoint, datagram_bytes: int) -> None:
        """Send larger datagrams there in fragments, others whole; 0: nothing is known."""
        self._fragments.limit(self._addresses.address(to), datagram_bytes)

    def send(self, transmits: Iterable[Transmit]) -> None:
        """Send in order without waiting; what finds no room is dropped and counted."""
        for data, stride, to in transmits:
            address = self._addresses.address(to)
            if address is None:
                self.counters["unreachable"] += 1
            elif self._backlog or not self._send_one(data, stride, address):
                self._wait(data, stride, address)

    def _send_one(self, data: bytes | memoryview, stride: int, address: Address) -> bool:
        """Send a burst; False if the socket is full."""
        self._fragments.before(address, stride)
        for left in reversed(range(SEND_TRIES)):
            try:
                if len(data) <= stride:
                    self._socket.sendto(data, address)
                else:
                    self._socket.sendmsg((data,), self._segmentation(stride), 0, address)
                return True
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.EMSGSIZE and len(data) <= stride:
                    self._fragments.give_way()
                if left and error.errno in PENDING:
                    continue
                if len(data) > stride and error.errno in _UNBATCHABLE:
                    return self._send_singly(data, stride, address)
                count_failure(self.counters, error)
                return True
        return True

    def _segmentation(self, stride: int) -> Ancillary:
        found = self._ancillary.get(stride)
        if found is None:
            found = [(socket.SOL_UDP, _UDP_SEGMENT, struct.pack("H", stride))]
            if len(self._ancillary) < RECEIVE_BUDGET:
                self._ancillary[stride] = found
        return found

    def _send_singly(self, data: bytes | memoryview, stride: int, address: Address) -> bool:
        view = memoryview(data)
        for at in range(0, len(view), stride):
            if not self._send_one(view[at : at + stride], stride, address):
                self._wait(view[at:], stride, address)
                break
        return True

    def _wait(self, data: bytes | memoryview, stride: int, address: Address) -> None:
        if self._closed:
            return
        if self._backlog_bytes + len(data) > BACKLOG_LIMIT_BYTES:
            self.counters["queue_full"] += -(-len(data) // max(stride, 1))
            return
        if not self._backlog:
            self._loop.add_reader(self._writable_watch.fileno(), self._writable)
        self._backlog.append((data, stride, address))
        self._backlog_bytes += len(data)

    def _writable(self) -> None:
        waiting, self._backlog, self._backlog_bytes = self._backlog, deque(), 0
        self._loop.remove_reader(self._writable_watch.fileno())
        while waiting:
            data, stride, address = waiting.popleft()
            if self._backlog or not self._send_one(data, stride, address):
                self._wait(data, stride, address)

    def close(self) -> None:
        """Close it; a waiting `receive` returns."""
        if self._closed:
            return
        self._closed = True
        self._errors.close()
        for watched in (self._readable_watch, self._writable_watch):
            self._loop.remove_reader(watched.fileno())
            watched.close()
        self._socket.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result([])
