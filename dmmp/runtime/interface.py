"""The edge without a TUN: ordinary sockets on a real interface, for groups named by the user.

The source hears `GROUP:PORT` with a UDP socket, or every port of GROUP with a packet socket (that
needs CAP_NET_RAW), and hands whole IP packets to the overlay. Members unwrap them and send the
payload to the same group and port. Members read nothing, so nothing they send comes back; between
a member and a source on one link the TTL, which the source lowers like a router, ends any loop.
The receivers see the member's address as the sender: source-specific joins need a TUN.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Iterable, Sequence

from dmmp.errors import DecodeError, UsageError
from dmmp.forwarding.burst import Delivery
from dmmp.interest import interest
from dmmp.messages.header import HEADER_BYTES
from dmmp.runtime.driver import Driver
from dmmp.runtime.groups import Group
from dmmp.runtime.sockets import Address, endpoint_of
from dmmp.tun.packets import PROTOCOL_UDP, parse, wrap_udp
from dmmp.types import Endpoint, HostId, Instant, IpAddress, SessionId

READ_BUDGET = 64
"""Datagrams read in one go; then the network has its turn."""

MAXIMUM_DATAGRAM_BYTES = 65535
_IP_TTL, _IP_RECVTTL, _IP_MULTICAST_ALL = 2, 12, 49
_IPV6_MULTICAST_ALL, _IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 29, 51, 52
_SO_ATTACH_FILTER = 26
_FILTER_PROTOCOL = 0xFFFFF000
_EVERY_PROTOCOL = 0x0003
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_PORTS = struct.Struct("!HHHH")
_log = logging.getLogger(__name__)

Flows = dict[tuple[IpAddress, IpAddress], list[bytes | memoryview]]


class Interface:
    """The edge of one real interface: see the module's docstring."""

    def __init__(self, name: str, groups: Sequence[Group], reads: bool) -> None:
        if not groups:
            raise UsageError("--interface needs --group GROUP[:PORT], at least once")
        try:
            self._index = socket.if_nametoindex(name)
        except OSError:
            raise UsageError(f"--interface {name}: no such interface; see: ip link") from None
        self.name = name
        self.groups = tuple(groups)
        self.counters = {"read": 0, "written": 0, "ttl": 0, "loop": 0, "not_udp": 0}
        self.counters |= {"not_named": 0, "malformed": 0, "unwritable": 0}
        self._ports: dict[IpAddress, set[int | None]] = {}
        for group in groups:
            self._ports.setdefault(group.address, set()).add(group.port)
        self._reads = reads
        self._opened: list[socket.socket] = []
        self._readers: list[tuple[socket.socket, Callable[[], None]]] = []
        self._senders: dict[int, socket.socket] = {}
        self._hops: dict[int, int] = {}
        self._own_ports: set[int] = set()
        self._driver: Driver | None = None
        try:
            self._open()
        except OSError as error:
            self.close()
            raise UsageError(f"--interface {name}: {error.strerror or error}") from None
        except UsageError:
            self.close()
            raise

    def _open(self) -> None:
        for version in sorted({group.address.version for group in self.groups}):
            sender = self._sender(version)
            self._senders[version] = sender
            self._own_ports.add(sender.getsockname()[1])
        if not self._reads:
            return
        named = [group for group in self.groups if group.port is not None]
        for group in named:
            opened = self._listener(group)
            self._readers.append((opened, self._datagram_reader(opened, group)))
        whole = [group.address for group in self.groups if group.port is None]
        for version in (4, 6):
            if wanted := [address for address in whole if address.version == version]:
                opened = self._packet_socket(version, wanted)
                self._readers.append((opened, self._packet_reader(opened)))

    def _socket(self, version: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        opened = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        self._opened.append(opened)
        opened.setblocking(False)
        return opened

    def _sender(self, version: int) -> socket.socket:
        opened = self._socket(version)
        if version == 4:
            choice = struct.pack("4s4si", bytes(4), bytes(4), self._index)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, choice)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            opened.bind(("0.0.0.0", 0))
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._index)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            opened.bind(("::", 0))
        return opened

    def _join(self, opened: socket.socket, group: IpAddress) -> None:
        if group.version == 4:
            request = struct.pack("4s4si", group.packed, bytes(4), self._index)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            request = struct.pack("16sI", group.packed, self._index)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)

    def _listener(self, group: Group) -> socket.socket:
        opened = self._socket(group.address.version)
        # Programs of this host may have joined the same group and port.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if group.address.version == 4:
            opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            opened.bind((str(group.address), group.port))
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
            opened.bind((str(group.address), group.port, 0, self._index))
        self._join(opened, group.address)
        return opened

    def _packet_socket(self, version: int, groups: Sequence[IpAddress]) -> socket.socket:
        try:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        except PermissionError:
            raise UsageError(
                f"--group {groups[0]}: hearing every port needs root (CAP_NET_RAW); "
                f"name the port instead: --group {Endpoint(groups[0], 5004)}"
            ) from None
        self._opened.append(opened)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        program = packet_filter(groups)
        code = b"".join(struct.pack("=HBBI", *step) for step in program)
        memory = bytearray(code)
        pointer = _address_of(memory)
        opened.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), pointer)
        )
        # Only sockets for every protocol are shown what this host itself sends (packet(7)).
        opened.bind((self.name, _EVERY_PROTOCOL))
        # A packet socket asks the network for nothing: the joining is another socket's.
        joiner = self._socket(version)
        for group in groups:
            self._join(joiner, group)
        return opened

    def start(self, driver: Driver) -> None:
        """Begin to read (source), or tell the host which groups are wanted (member)."""
        self._driver = driver
        loop = asyncio.get_running_loop()
        for opened, read in self._readers:
            loop.add_reader(opened, driver.guarded(read))
        if not self._reads:
            for address in self._ports:
                driver.subscribe(interest(address))

    def registered(self, session: SessionId, host: HostId) -> None:
        """Learn the host's identity: nothing here depends on it."""

    def _datagram_reader(self, opened: socket.socket, group: Group) -> Callable[[], None]:
        destination = Endpoint(group.address, group.port or 0)

        def read() -> None:
            flows: Flows = {}
            try:
                for _ in range(READ_BUDGET):
                    data, ancillary, _, address = opened.recvmsg(MAXIMUM_DATAGRAM_BYTES, 64)
                    if ttl := self._carried_ttl(ancillary, address[1]):
                        sender = endpoint_of(address)
                        packet = wrap_udp(sender, destination, data, ttl)
                        flows.setdefault((group.address, sender.address), []).append(packet)
            except BlockingIOError:
                pass
            except (OSError, UsageError) as error:
                _log.warning("--interface %s: %s", self.name, error)
            self._originate(flows)

        return read

    def _carried_ttl(self, ancillary: Iterable[tuple[int, int, bytes]], port: int) -> int:
        """Give the TTL a received datagram goes on with, or 0 if it stays at home."""
        self.counters["read"] += 1
        if port in self._own_ports:
            self.counters["loop"] += 1
            return 0
        ttl = 64
        for level, kind, value in ancillary:
            if (level, kind) in (
                (socket.IPPROTO_IP, _IP_TTL),
                (socket.IPPROTO_IPV6, _IPV6_HOPLIMIT),
            ):
                (ttl,) = struct.unpack("i", value[:4])
        if ttl <= 1:
            self.counters["ttl"] += 1
        return max(0, ttl - 1)

    def _packet_reader(self, opened: socket.socket) -> Callable[[], None]:
        def read() -> None:
            flows: Flows = {}
            try:
                for _ in range(READ_BUDGET):
                    packet, _ = opened.recvfrom(MAXIMUM_DATAGRAM_BYTES)
                    if (made := self._repacked(packet)) is not None:
                        flow, again = made
                        flows.setdefault(flow, []).append(again)
            except BlockingIOError:
                pass
            except OSError as error:
                _log.warning("--interface %s: %s", self.name, error)
            self._originate(flows)

        return read

    def _repacked(self, packet: bytes) -> tuple[tuple[IpAddress, IpAddress], bytes] | None:
        """Make a received packet fit to travel: one hop less, with a whole checksum.

        What a program of this host sends is seen before the card has filled its checksum in.
        """
        self.counters["read"] += 1
        try:
            header = parse(packet)
        except DecodeError:
            self.counters["malformed"] += 1
            return None
        at = header.payload_offset
        if header.protocol != PROTOCOL_UDP or header.is_fragment or len(packet) < at + _PORTS.size:
            self.counters["not_udp"] += 1
            return None
        source_port, port, length, _ = _PORTS.unpack_from(packet, at)
        if source_port in self._own_ports:
            self.counters["loop"] += 1
        elif header.ttl <= 1:
            self.counters["ttl"] += 1
        elif not _PORTS.size <= length <= len(packet) - at:
            self.counters["malformed"] += 1
        else:
            sender = Endpoint(header.source, source_port)
            receiver = Endpoint(header.destination, port)
            payload = packet[at + _PORTS.size : at + length]
            flow = header.destination, header.source
            return flow, wrap_udp(sender, receiver, payload, header.ttl - 1)
        return None

    def _originate(self, flows: Flows) -> None:
        if self._driver is not None:
            for (group, source), packets in flows.items():
                self._driver.originate(group, source, packets)

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Send the payloads to their groups on the interface."""
        for data, stride, group in deliveries:
            ports = self._ports.get(group)
            if ports is None:
                self.counters["not_named"] += 1
                continue
            view = memoryview(data)
            for at in range(0, len(view), stride):
                self._write(view[at + HEADER_BYTES : at + stride], group, ports)

    def _write(self, packet: memoryview, group: IpAddress, ports: set[int | None]) -> None:
        found = _payload(packet, group)
        if found is None:
            self.counters["not_udp"] += 1
            return
        payload, port, ttl = found
        if None not in ports and port not in ports:
            self.counters["not_named"] += 1
            return
        version = group.version
        sender = self._senders[version]
        try:
            if self._hops.get(version) != ttl:
                self._set_hops(sender, version, ttl)
            address: Address = (str(group), port)
            if version == 6:
                address = (str(group), port, 0, self._index)
            sender.sendto(payload, address)
            self.counters["written"] += 1
        except OSError:
            self.counters["unwritable"] += 1

    def _set_hops(self, sender: socket.socket, version: int, ttl: int) -> None:
        if version == 4:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
        self._hops[version] = ttl

    def wake(self, now: Instant) -> None:
        """Do what is due: never anything."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Tell when to wake it: never."""
        return None

    def close(self) -> None:
        """Leave the groups and close the sockets."""
        if self._driver is not None:
            loop = asyncio.get_running_loop()
            for opened, _ in self._readers:
                loop.remove_reader(opened)
        for opened in self._opened:
            opened.close()
        self._opened.clear()


def _payload(packet: memoryview, group: IpAddress) -> tuple[memoryview, int, int] | None:
    """Find payload, port and TTL of a whole UDP datagram to `group`; None for anything else."""
    if len(packet) < 28:
        return None
    if packet[0] >> 4 == 4:
        at, ttl = (packet[0] & 0x0F) * 4, packet[8]
        fits = packet[9] == PROTOCOL_UDP and not (packet[6] & 0x3F or packet[7])
        target = packet[16:20]
    else:
        at, ttl = 40, packet[7]
        fits = packet[6] == PROTOCOL_UDP
        target = packet[24:40]
    if not fits or target != group.packed or len(packet) < at + _PORTS.size:
        return None
    _, port, length, _ = _PORTS.unpack_from(packet, at)
    if not _PORTS.size <= length <= len(packet) - at or port == 0 or ttl == 0:
        return None
    return packet[at + _PORTS.size : at + length], port, ttl


def packet_filter(groups: Sequence[IpAddress]) -> list[tuple[int, int, int, int]]:
    """Make the kernel's filter (classic BPF) for IP packets to one of the groups of one version.

    Without it every packet of a busy interface would come to Python.
    """
    load, equal, give = 0x20, 0x15, 0x06
    ethertype = _ETHERTYPES[groups[0].version]
    steps = [(load, 0, 0, _FILTER_PROTOCOL), (equal, 1, 0, ethertype), (give, 0, 0, 0)]
    for group in groups:
        offset = 16 if group.version == 4 else 24
        words = [group.packed[at : at + 4] for at in range(0, len(group.packed), 4)]
        for number, word in enumerate(words):
            # Past the steps that are left of this group, to the next group's first.
            skip = 2 * (len(words) - number - 1) + 1
            steps.append((load, 0, 0, offset + 4 * number))
            steps.append((equal, 0, skip, int.from_bytes(word)))
        steps.append((give, 0, 0, 0x40000))
    return [*steps, (give, 0, 0, 0)]


def _address_of(memory: bytearray) -> int:
    import ctypes

    return ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory))
