"""The batched socket of Linux: bursts from the kernel and to it, by UDP GRO and GSO.

One `recvmsg` gives up to 64 datagrams of one sender in one buffer, one `sendmsg` sends as many:
three to four times what single datagrams reach, in Python as in C (architecture §3). Where the
kernel does not coalesce, datagrams that lie there already are grouped all the same. Linux 5.0.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence

from dmmp.forwarding.burst import Burst, Octets, Transmit
from dmmp.forwarding.outgoing import Outgoing
from dmmp.runtime.doorman import Doorman
from dmmp.runtime.errorqueue import (
    PENDING,
    SEND_TRIES,
    ErrorQueue,
    Report,
    ReportSize,
    watch,
)
from dmmp.runtime.fragments import Fragments
from dmmp.runtime.sending import Sending
from dmmp.runtime.sockets import (
    ENDPOINT_CACHE_LIMIT,
    MAXIMUM_DATAGRAM_BYTES,
    RECEIVE_BUDGET,
    Address,
    Addresses,
    Collector,
    Fail,
    Take,
    count_error,
    count_failure,
    endpoint_of,
    kernel_drops,
    new_counters,
)
from dmmp.types import Instant

_UDP_SEGMENT, _UDP_GRO = 103, 104
_ANCILLARY_BYTES = socket.CMSG_SPACE(struct.calcsize("i"))
_STRIDE = struct.Struct("i")
_UNBATCHABLE = (errno.EMSGSIZE, errno.EIO, errno.EINVAL)
"""A segment above the path's MTU, or a device that cannot: the burst goes as single datagrams."""

OFFLOAD_AGAIN = 60.0
"""Seconds after which segmentation offload is tried again where it was refused."""

DEAF_FROM = 16
"""Datagrams in one send from which on the socket is not watched meanwhile: the kernel asks who
watches for each packet that leaves (0.1 µs), and to stop and begin again costs 1 µs."""

CALM_FOR = 8
"""Wake-ups in which only the first datagram or burst is taken, after one in which it was alone."""

Ancillary = list[tuple[int, int, bytes]]
_log = logging.getLogger(__name__)


class BatchedSocket:
    """The `DatagramSocket` of Linux: see the module's docstring."""

    def __init__(
        self,
        opened: socket.socket,
        outgoing: Outgoing | None = None,
        clock: Callable[[], Instant] = time.monotonic,
    ) -> None:
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
        self._refusals: dict[Address, float] = {}
        outgoing = outgoing or Outgoing()
        self._is_limited = outgoing.is_limited
        self._clock = clock
        self._fragments = Fragments(opened)
        self._sending = sending = Sending(
            self._write, self._addresses.address, self._fragments, self.counters, outgoing, clock
        )
        self.send_control = sending.send_control
        self.send_probe, self.set_path_mtu = sending.send_probe, sending.set_path_mtu
        self.lost, self.queues = sending.lost, sending.queues
        # Wake-ups for which no more than one datagram or burst is expected.
        self._calm = CALM_FOR
        self._room = memoryview(bytearray(MAXIMUM_DATAGRAM_BYTES))
        self._doorman: Doorman | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        # One watch for everything, because the kernel looks at each when a packet leaves.
        self._watch = watch(opened, select.EPOLLIN)
        self._errors = ErrorQueue(
            opened, self._addresses.endpoint, self.counters, clock, watched=False
        )

    def employ(self, doorman: Doorman) -> None:
        """Ask him about single datagrams before anybody else, while he is on duty."""
        if not self._is_limited:
            self._doorman = doorman
            doorman.serve(self._socket)

    def start(self, take: Take, fail: Fail) -> None:
        """Have `take` called with what comes, from the event loop itself: a task costs a turn."""
        self._loop.add_reader(self._watch.fileno(), self._ready, take, fail)

    def _ready(self, take: Take, fail: Fail) -> None:
        try:
            doorman = self._doorman
            if doorman is not None:
                if doorman.on_duty:
                    doorman.turn()
                else:
                    doorman = None
            if self._calm and doorman is None and (bursts := self._first()):
                self._calm -= 1
                take(bursts)
                return
            bursts, taken = self._drain(doorman)
            self._calm = CALM_FOR if taken == 1 else 0
            if bursts or taken:
                take(bursts)
            else:
                self._errors.drain()
        except Exception as failure:
            # Whoever runs the node must learn of it; the event loop would only print it.
            fail(failure)

    def _first(self) -> list[Burst]:
        """Take what lies there first: at a low rate it is all, and to ask takes as long again.

        If there is more, the event loop says so.
        """
        try:
            size, ancillary, _, address = self._socket.recvmsg_into((self._room,), _ANCILLARY_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            self._note_error(error)
            return []
        stride = _STRIDE.unpack(ancillary[0][2])[0] if ancillary else size
        return [Burst(bytes(self._room[:size]), stride, self._addresses.endpoint(address))]

    def _drain(self, doorman: Doorman | None = None) -> tuple[list[Burst], int]:
        """Take what lies there, and tell how many times something did.

        Single datagrams are shown to the doorman first; what he does not let in leaves no trace.
        """
        receive, collector = self._socket.recvmsg_into, self._collector
        taken = 0
        try:
            while taken < RECEIVE_BUDGET and (room := collector.room) is not None:
                size, ancillary, _, address = receive((room,), _ANCILLARY_BYTES)
                taken += 1
                if ancillary:
                    collector.add(size, _STRIDE.unpack(ancillary[0][2])[0], address)
                elif doorman is None or doorman.admits(room[:size], address):
                    collector.add(size, size, address)
        except BlockingIOError:
            pass
        except OSError as error:
            self._note_error(error)
        return collector.take(), taken

    def _note_error(self, error: OSError) -> None:
        # An ICMP error about some peer: no reason to stop hearing the others.
        count_error(self.counters, error)
        self._errors.drain()

    def overflowed(self) -> int:
        """Give how many datagrams the kernel dropped because we did not fetch them in time."""
        return kernel_drops(self._socket) - (self._doorman.sieved if self._doorman else 0)

    def on_unreachable(self, report: Report) -> None:
        """Have `report` called with endpoints that the network calls unreachable."""
        self._errors.report = report

    def on_too_large(self, report: ReportSize) -> None:
        """Have `report` called with endpoints, and the size that is said to reach them."""
        self._errors.report_size = report

    def send(self, transmits: Sequence[Transmit]) -> None:
        """Send in order without waiting; what finds no room for long is dropped and counted."""
        if self._closed or not transmits or not _is_large(transmits[0], len(transmits)):
            self._sending.send(transmits)
            return
        self._watch.unregister(self._socket)
        try:
            self._sending.send(transmits)
        finally:
            self._watch.register(self._socket, select.EPOLLIN)

    def _write(self, data: Octets, stride: int, address: Address) -> int:
        """Send a burst; return how many bytes of it found no room."""
        size = len(data)
        if size > stride and self._refusals and not self._may_batch(address):
            return self._write_singly(data, stride, address)
        self._fragments.before(address, stride if size > stride else size)
        left = SEND_TRIES
        while left:
            left -= 1
            try:
                if size <= stride:
                    self._socket.sendto(data, address)
                else:
                    ancillary = self._ancillary.get(stride) or self._segmentation(stride)
                    self._socket.sendmsg((data,), ancillary, 0, address)
                return 0
            except BlockingIOError:
                return size
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return size
                if error.errno == errno.EMSGSIZE and size <= stride:
                    self._fragments.give_way()
                if left and error.errno in PENDING:
                    continue
                if size > stride and error.errno in _UNBATCHABLE:
                    return self._write_refused(data, stride, address, error)
                count_failure(self.counters, error)
                return 0
        return 0

    def _segmentation(self, stride: int) -> Ancillary:
        made = [(socket.SOL_UDP, _UDP_SEGMENT, struct.pack("H", stride))]
        if len(self._ancillary) < RECEIVE_BUDGET:
            self._ancillary[stride] = made
        return made

    def _write_singly(self, data: Octets, stride: int, address: Address) -> int:
        view = memoryview(data)
        for at in range(0, len(view), stride):
            if self._write(view[at : at + stride], stride, address):
                return len(view) - at
        return 0

    def _write_refused(self, data: Octets, stride: int, address: Address, refusal: OSError) -> int:
        """Send a burst that was refused as one as single datagrams, and see whose fault it was."""
        failed = sum(self.counters.values())
        left = self._write_singly(data, stride, address)
        its_size = refusal.errno == errno.EMSGSIZE
        if its_size or sum(self.counters.values()) > failed or left == len(data):
            # It is the datagrams' size, or nothing can be said.
            return left
        if address not in self._refusals:
            _log.warning(
                "to %s datagrams go one by one, which costs more: the kernel or a device refuses "
                "segmentation offload there (%s)",
                self._addresses.endpoint(address),
                refusal.strerror,
            )
            if len(self._refusals) >= ENDPOINT_CACHE_LIMIT:
                self._refusals.clear()
        self._refusals[address] = self._clock() + OFFLOAD_AGAIN
        return left

    def _may_batch(self, address: Address) -> bool:
        """Tell whether segmentation offload is to be tried there, if only once in a while."""
        until = self._refusals.get(address)
        return until is None or self._clock() >= until

    def close(self) -> None:
        """Close it; nothing is taken any more."""
        if self._closed:
            return
        self._closed = True
        self._sending.close()
        if self._doorman is not None:
            self._doorman.leave()
        self._errors.close()
        self._loop.remove_reader(self._watch.fileno())
        self._watch.close()
        self._socket.close()


def _is_large(first: Transmit, transmits: int) -> bool:
    return len(first.data) * transmits >= DEAF_FROM * first.stride
