"""Datagram sockets that take and give bursts; here the portable one, on asyncio-dgram.

asyncio-dgram waits and sends late; once a datagram has come, the socket itself is drained, because
a trip through the event loop for every datagram costs ten times the datagram (architecture §3).
Consecutive datagrams of one sender and size become one burst, never by waiting (§4.8).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol, cast

import asyncio_dgram
from asyncio_dgram.aio import DatagramServer
from asyncio_dgram.aio import Protocol as StreamProtocol

from dmmp.errors import UsageError
from dmmp.forwarding.burst import MAXIMUM_BURST_BYTES, MAXIMUM_SEGMENTS, Burst, Octets, Transmit
from dmmp.forwarding.outgoing import Outgoing, Queued
from dmmp.runtime.binding import bind
from dmmp.runtime.doorman import Doorman
from dmmp.runtime.errorqueue import (
    PENDING,
    SEND_TRIES,
    ErrorQueue,
    Report,
    ReportSize,
)
from dmmp.runtime.fragments import Fragments
from dmmp.runtime.sending import Sending
from dmmp.types import Endpoint

RECEIVE_BUDGET = 64
"""Datagrams taken at a time: then timers, control and the TUN have their turn."""

QUEUE_LIMIT = 256
"""Datagrams that may wait between the event loop and their reader; more are dropped and counted."""

ENDPOINT_CACHE_LIMIT = 4096
MAXIMUM_DATAGRAM_BYTES = 65535
_log = logging.getLogger(__name__)
_DRAIN_BYTES = 4 * 65536
_MAPPED = "::ffff:"
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")

Address = tuple[Any, ...]
Take = Callable[[list[Burst]], None]
Fail = Callable[[BaseException], None]


class DatagramSocket(Protocol):
    """What a driver needs of a socket; one endpoint, bursts both ways."""

    local: Endpoint
    counters: dict[str, int]

    def employ(self, doorman: Doorman) -> None:
        """Ask him about single datagrams before anybody else, while he is on duty.

        Not where the rate is limited: what he sends would not count.
        """

    def start(self, take: Take, fail: Fail) -> None:
        """Have `take` called with datagrams as they come, in order; `fail` with what it raises."""

    def overflowed(self) -> int:
        """Give how many datagrams the kernel dropped because we did not fetch them in time."""

    def on_unreachable(self, report: Report) -> None:
        """Have `report` called with endpoints that the network calls unreachable."""

    def on_too_large(self, report: ReportSize) -> None:
        """Have `report` called with endpoints, and the size that is said to reach them."""

    def set_path_mtu(self, to: Endpoint, datagram_bytes: int) -> None:
        """Send larger datagrams there in fragments, others whole; 0: nothing is known."""

    def send_probe(self, datagram: bytes, to: Endpoint) -> bool:
        """Send a probe whole or not at all; False if this host's own interface cannot."""

    def send(self, transmits: Sequence[Transmit]) -> None:
        """Send in order without waiting; what finds no room for long is dropped and counted."""

    def send_control(self, datagram: bytes, to: Endpoint) -> None:
        """Send one control message; a large one may travel in fragments."""

    def lost(self, to: Endpoint) -> None:
        """Note that a receiver lacks packets that were sent to it: its bursts are spread."""

    def queues(self) -> dict[Endpoint, Queued]:
        """Tell of receivers that something waits for, or was dropped for."""

    def close(self) -> None:
        """Close it; nothing is taken any more."""


class Addresses:
    """Converts between kernel addresses and `Endpoint`s, and remembers: both are slow to make.

    Only those that something was sent to are remembered: what a flood claims to come from is not.
    """

    def __init__(self, family: int) -> None:
        self._family = family
        self._endpoints: dict[Address, Endpoint] = {}
        self._addresses: dict[Endpoint, Address | None] = {}

    def endpoint(self, address: Address) -> Endpoint:
        """Give the endpoint of a kernel address; IPv4-mapped ones become IPv4."""
        return self._endpoints.get(address) or endpoint_of(address)

    def address(self, endpoint: Endpoint) -> Address | None:
        """Give the kernel address of an endpoint; None if this socket's family cannot reach it."""
        try:
            return self._addresses[endpoint]
        except KeyError:
            pass
        if len(self._addresses) >= ENDPOINT_CACHE_LIMIT:
            self._addresses.clear()
            self._endpoints.clear()
        made: Address | None
        if self._family == socket.AF_INET6:
            mapped = "::ffff:" if endpoint.address.version == 4 else ""
            made = (f"{mapped}{endpoint.address}", endpoint.port, 0, 0)
        else:
            made = None
            if endpoint.address.version == 4:
                made = (str(endpoint.address), endpoint.port)
        self._addresses[endpoint] = made
        if made is not None:
            self._endpoints[made] = endpoint
        return made


def endpoint_of(address: Address) -> Endpoint:
    """Make the endpoint of a kernel address, without zone, IPv4-mapped ones as IPv4."""
    text = str(address[0])
    if text.startswith(_MAPPED) and "." in text:
        # Eight times faster than by way of IPv6, which counts where every datagram of a flood has
        # another address.
        return Endpoint(IPv4Address(socket.inet_aton(text[len(_MAPPED) :])), address[1])
    found: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return Endpoint(found, address[1])


class Collector:
    """Lays datagrams back to back in one reused buffer and cuts it into bursts (§4.8.4)."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._buffer = memoryview(bytearray(_DRAIN_BYTES))
        self._runs: list[tuple[int, int, int, Address]] = []
        self._start = self._end = self._stride = 0
        self._sender: Address = ()
        self._open = False

    @property
    def room(self) -> memoryview | None:
        """Where the next datagram goes; None when a largest one would not fit any more."""
        if _DRAIN_BYTES - self._end < MAXIMUM_DATAGRAM_BYTES:
            return None
        return self._buffer[self._end :]

    def add(self, size: int, stride: int, sender: Address) -> None:
        """Note that `size` bytes of `sender`, datagrams `stride` apart, now lie in `room`."""
        end = self._end + size
        if not (
            self._open
            and stride == self._stride
            and sender == self._sender
            and end - self._start <= MAXIMUM_BURST_BYTES
            and end - self._start <= stride * MAXIMUM_SEGMENTS
        ):
            joins = self._open and sender == self._sender and size == stride < self._stride
            fits = end - self._start <= min(MAXIMUM_BURST_BYTES, self._stride * MAXIMUM_SEGMENTS)
            if joins and fits:
                # Only the last segment of a burst may be shorter.
                self._end = end
                self._open = False
                return
            self._close()
            self._start, self._stride, self._sender = self._end, stride, sender
        self._end = end
        # A last segment that is shorter ends its run; so does an empty datagram.
        self._open = stride > 0 and size % stride == 0

    def take(self) -> list[Burst]:
        """Give the bursts and start anew; they share one copy of the buffer."""
        self._close()
        data = memoryview(bytes(self._buffer[: self._end]))
        endpoint = self._addresses.endpoint
        bursts = [
            Burst(data[start:end], stride, endpoint(sender))
            for start, end, stride, sender in self._runs
        ]
        self._runs.clear()
        self._start = self._end = self._stride = 0
        self._sender, self._open = (), False
        return bursts

    def _close(self) -> None:
        if self._sender:
            self._runs.append((self._start, self._end, self._stride, self._sender))


def new_counters() -> dict[str, int]:
    """Make the counters of a socket; those of what was not sent are named by the reason."""
    names = ("queue_full", "unreachable", "too_big", "send_failed")
    return dict.fromkeys((*names, "receive_queue_full", "network_errors"), 0)


def kernel_drops(opened: socket.socket) -> int:
    """Ask the kernel how many datagrams found the receive buffer full (SK_MEMINFO_DROPS)."""
    try:
        return int(
            _MEMINFO.unpack(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8]
        )
    except (OSError, struct.error):
        return 0


def count_failure(counters: dict[str, int], error: OSError) -> None:
    """Count a datagram that the kernel refused."""
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED):
        counters["unreachable"] += 1
    elif error.errno == errno.EMSGSIZE:
        counters["too_big"] += 1
        if counters["too_big"] == 1:
            _log.warning(
                "dropped: larger than a datagram can be, even in fragments; lower --mtu, "
                "or with --interface the programs' packets (counted as socket_too_big)"
            )
    else:
        counters["send_failed"] += 1


def count_error(counters: dict[str, int], error: OSError) -> None:
    """Count an error that a receive found, unless the error queue has it too and counts it."""
    if error.errno not in PENDING:
        counters["network_errors"] += 1


class _BoundedQueue(asyncio.Queue[Any]):
    """An asyncio queue that drops instead of growing: asyncio-dgram's own has no bound."""

    def __init__(self, limit: int, counters: dict[str, int], reason: str) -> None:
        super().__init__(limit)
        self._counters = counters
        self._reason = reason

    def put_nowait(self, item: Any) -> None:
        if self.full():
            self._counters[self._reason] += 1
            return
        super().put_nowait(item)


class PortableSocket:
    """The `DatagramSocket` for every system: asyncio-dgram and plain socket calls."""

    def __init__(self, opened: socket.socket, outgoing: Outgoing | None = None) -> None:
        self._socket = opened
        self.local = endpoint_of(opened.getsockname())
        self.counters = new_counters()
        self._addresses = Addresses(opened.family)
        self._collector = Collector(self._addresses)
        self._fragments = Fragments(opened)
        self._errors: ErrorQueue | None = None
        self._doorman: Doorman | None = None
        self._closed = False
        self._reader: asyncio.Future[None] | None = None
        outgoing = outgoing or Outgoing()
        self._is_limited = outgoing.is_limited
        self._sending = sending = Sending(
            self._write, self._addresses.address, self._fragments, self.counters, outgoing
        )
        self.send, self.send_control = sending.send, sending.send_control
        self.send_probe, self.set_path_mtu = sending.send_probe, sending.set_path_mtu
        self.lost, self.queues = sending.lost, sending.queues

    @classmethod
    async def attach(
        cls, opened: socket.socket, outgoing: Outgoing | None = None
    ) -> PortableSocket:
        """Take a bound socket into the running event loop."""
        made = cls(opened, outgoing)
        await made._attach()
        return made

    async def _attach(self) -> None:
        self._received = _BoundedQueue(QUEUE_LIMIT, self.counters, "receive_queue_full")
        errors = _BoundedQueue(QUEUE_LIMIT, self.counters, "network_errors")
        drained = asyncio.Event()
        loop = asyncio.get_running_loop()
        transport: Any
        transport, _ = await loop.create_datagram_endpoint(
            lambda: StreamProtocol(self._received, errors, drained), sock=self._socket
        )
        self._transport = transport
        if hasattr(transport, "max_size"):
            # asyncio would allocate 256 KiB for every datagram.
            self._transport.max_size = MAXIMUM_DATAGRAM_BYTES
            # asyncio's own transport only: an ICMP error crashes uvloop's (0.23).
            self._errors = ErrorQueue(self._socket, self._addresses.endpoint, self.counters)
        self._stream = DatagramServer(transport, self._received, errors, drained)

    def employ(self, doorman: Doorman) -> None:
        """Ask him about datagrams before anybody else, while he is on duty."""
        if not self._is_limited:
            self._doorman = doorman
            doorman.serve(self._socket)

    def start(self, take: Take, fail: Fail) -> None:
        """Have `take` called with datagrams as they come, in order; `fail` with what it raises."""

        def ended(reader: asyncio.Future[None]) -> None:
            if not reader.cancelled() and (failure := reader.exception()) is not None:
                fail(failure)

        self._reader = asyncio.ensure_future(self._read(take))
        self._reader.add_done_callback(ended)

    async def _read(self, take: Take) -> None:
        while not self._closed:
            try:
                data, address = await self._stream.recv()
            except asyncio_dgram.TransportClosed:
                return
            except OSError as error:
                # An ICMP error about some peer, told at the next call: no reason to stop hearing.
                count_error(self.counters, error)
                continue
            if (doorman := self._doorman) is not None and doorman.on_duty:
                take(self._drain_flood(doorman, data, cast(Address, address)))
            else:
                take(self._drain(data, cast(Address, address)))

    def _drain_flood(self, doorman: Doorman, data: bytes, address: Address) -> list[Burst]:
        """Take what there is but what the doorman does not let in."""
        doorman.turn()
        admits = doorman.admits
        queued = [(data, address)]
        while not self._received.empty():
            data, address = self._received.get_nowait()
            if data is not None:
                queued.append((data, address))
        queued = [each for each in queued if admits(*each)]
        return self._prepend(queued, self._receive_directly(doorman) or [])

    def _drain(self, data: bytes, address: Address) -> list[Burst]:
        if self._received.empty():
            more = self._receive_directly()
            if more is None:
                return [Burst(data, len(data), self._addresses.endpoint(address))]
            return self._prepend([(data, address)], more)
        queued = [(data, address)]
        while not self._received.empty():
            data, address = self._received.get_nowait()
            if data is not None:
                queued.append((data, address))
        return self._prepend(queued, self._receive_directly() or [])

    def _prepend(self, queued: list[tuple[bytes, Address]], more: list[Burst]) -> list[Burst]:
        endpoint = self._addresses.endpoint
        return [Burst(data, len(data), endpoint(address)) for data, address in queued] + more

    def _receive_directly(self, doorman: Doorman | None = None) -> list[Burst] | None:
        receive_into, collector = self._socket.recvfrom_into, self._collector
        count = 0
        try:
            while count < RECEIVE_BUDGET and (room := collector.room) is not None:
                size, address = receive_into(room)
                count += 1
                if doorman is None or doorman.admits(room[:size], address):
                    collector.add(size, size, address)
        except BlockingIOError:
            pass
        except OSError as error:
            count_error(self.counters, error)
        return collector.take() if count else None

    def overflowed(self) -> int:
        """Give how many datagrams the kernel dropped because we did not fetch them in time."""
        return kernel_drops(self._socket) - (self._doorman.sieved if self._doorman else 0)

    def on_unreachable(self, report: Report) -> None:
        """Have `report` called with endpoints that the network calls unreachable."""
        if self._errors is not None:
            self._errors.report = report

    def on_too_large(self, report: ReportSize) -> None:
        """Have `report` called with endpoints, and the size that is said to reach them."""
        if self._errors is not None:
            self._errors.report_size = report

    def _write(self, data: Octets, stride: int, address: Address) -> int:
        """Send a burst one by one; return how many bytes of it found no room."""
        size = len(data)
        if size <= stride:
            return 0 if self._write_one(data, address) else size
        view = memoryview(data)
        for at in range(0, size, stride):
            if not self._write_one(view[at : at + stride], address):
                return size - at
        return 0

    def _write_one(self, data: Octets, address: Address) -> bool:
        self._fragments.before(address, len(data))
        left = SEND_TRIES
        while left:
            left -= 1
            try:
                self._socket.sendto(data, address)
                return True
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return False
                if error.errno == errno.EMSGSIZE:
                    self._fragments.give_way()
                if left and error.errno in PENDING:
                    continue
                count_failure(self.counters, error)
                return True
        return True

    def close(self) -> None:
        """Close it; nothing is taken any more."""
        if not self._closed:
            self._closed = True
            self._sending.close()
            if self._doorman is not None:
                self._doorman.leave()
            if self._errors is not None:
                self._errors.close()
            if self._reader is not None:
                self._reader.cancel()
            self._transport.close()


async def open_socket(
    listen: Endpoint | None, datapath: str = "auto", rate: float | None = None
) -> DatagramSocket:
    """Open the socket of a node: batched where the kernel can, unless told otherwise.

    `rate` limits what it sends, in bit/s.
    """
    opened = bind(listen)
    outgoing = Outgoing(None if rate is None else rate / 8)
    if datapath != "portable":
        from dmmp.runtime.linux import BatchedSocket

        try:
            return BatchedSocket(opened, outgoing)
        except OSError as error:
            if datapath == "batched":
                opened.close()
                raise UsageError(
                    f"--datapath batched: this kernel cannot ({error.strerror}); leave it out"
                ) from None
            _log.info("no batched datapath here (%s), the portable one is used", error.strerror)
    return await PortableSocket.attach(opened, outgoing)
