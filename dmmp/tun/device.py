"""The TUN interface itself, and `MemoryTun`, which needs no kernel.

Batches of raw IP packets, never blocking. It looks into no packet. Everything it changes outside
its own interface, which disappears with the process, is undone by `close`, or by the next start
after a crash (`kernel`). Architecture §4.9.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface
from types import TracebackType
from typing import Any, Protocol, Self

from dmmp.errors import DmmpError, UsageError
from dmmp.tun.kernel import (
    ReversePath,
    bring_up,
    enable_ipv6,
    has_default_route,
    prepare,
    remove_routes,
    route_groups,
    run_netlink,
)
from dmmp.tun.offload import NO_OFFLOAD, Run, gather, groups
from dmmp.tun.packets import Buffer

READ_BUDGET = 64
"""Packets per `read` at most, so that one busy program cannot starve timers and control."""

DEFAULT_MTU = 1380
"""Decision 27."""

_CLONE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x4000, 0x8000
_NAME_BYTES = 15
_MTU_RANGE = range(576, 65536)
_MTU_IPV6 = 1280
_LARGEST_READ_BYTES = 65535 + len(NO_OFFLOAD)
_log = logging.getLogger(__name__)


class PacketDevice(Protocol):
    """What the data plane needs of a device: `Tun` and `MemoryTun` have it."""

    name: str
    mtu: int
    drops: dict[str, int]

    def fileno(self) -> int:
        """Give the descriptor that is readable when `read` has something."""

    def read(self, budget: int = READ_BUDGET) -> list[bytes]:
        """Take the packets that programs sent, at most `budget`; [] when there are none."""

    def write(self, packets: Sequence[Buffer | Run]) -> int:
        """Deliver packets to the programs; give how many the device took, count the others."""

    def configure(
        self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None, routes: bool = True
    ) -> None:
        """Give the interface its addresses, and the groups unless `routes` is off."""

    def close(self) -> None:
        """Take the interface away, with all that came with it."""


class Tun:
    """A TUN interface of this process. Made by `open`, usable after `configure`.

    `batched` says that packets go behind a `virtio_net_hdr`, so that `write` can join them.
    The other direction asks nothing of the kernel (TUNSETOFFLOAD): to cut and sum up here what
    programs send takes, with the programs' own, twice the processor time. `warnings` are sentences
    for the user about what could not be had and does not stop us.
    """

    def __init__(self, descriptor: int, name: str, mtu: int, batched: bool = False) -> None:
        self.name = name
        self.mtu = mtu
        self.drops: dict[str, int] = {}
        self.warnings: list[str] = []
        self._descriptor = descriptor
        self._batched = self._joins = batched
        self._index = socket.if_nametoindex(name)
        self._reverse_path = ReversePath(name)

    @classmethod
    def open(cls, name: str, mtu: int = DEFAULT_MTU, batched: bool = False) -> Tun:
        """Make the interface, still down and without addresses; `UsageError` has the cure."""
        _check_name(name)
        if mtu not in _MTU_RANGE:
            raise UsageError(f"MTU {mtu}: give {_MTU_RANGE.start} to {_MTU_RANGE.stop - 1}")
        descriptor = _attach(name, batched)
        try:
            tun = cls(descriptor, name, mtu, batched)
            run_netlink(lambda netlink: prepare(netlink, tun._index, name, mtu))
        except BaseException:
            os.close(descriptor)
            raise
        return tun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Give the descriptor that is readable when `read` has something; -1 once closed."""
        return self._descriptor

    def read(self, budget: int = READ_BUDGET) -> list[bytes]:
        """Take the packets that programs sent, at most `budget`; [] when there are none."""
        packets: list[bytes] = []
        descriptor, read = self._descriptor, os.read
        try:
            for _ in range(budget):
                packets.append(read(descriptor, _LARGEST_READ_BYTES))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise DmmpError(f"the interface {self.name} was removed by someone else") from error
            self._count("down")
        return [packet[len(NO_OFFLOAD) :] for packet in packets] if self._batched else packets

    def write(self, packets: Sequence[Buffer | Run]) -> int:
        """Deliver packets to the programs; give how many the kernel took, count the others."""
        taken = 0
        descriptor, batched = self._descriptor, self._batched
        runs: list[Run] = []
        for packet in packets:
            if isinstance(packet, Run):
                runs.append(packet)
                continue
            if runs:
                taken += self._write_runs(runs)
                runs = []
            try:
                if batched:
                    os.writev(descriptor, (NO_OFFLOAD, packet))
                else:
                    os.write(descriptor, packet)
                taken += 1
            except BlockingIOError:
                self._count("queue_full")
            except OSError as error:
                if error.errno == errno.EBADFD:
                    gone = f"the interface {self.name} was removed by someone else"
                    raise DmmpError(gone) from error
                self._count("malformed" if error.errno == errno.EINVAL else "down")
        return taken + self._write_runs(runs) if runs else taken

    def _write_runs(self, runs: Sequence[Run]) -> int:
        taken = 0
        for group in groups(runs):
            if self._joins:
                try:
                    os.writev(self._descriptor, gather(group))
                    taken += sum(run.packets for run in group)
                    continue
                except OSError as error:
                    self._joins = error.errno != errno.EINVAL
                    if not self._joins:
                        _log.info("%s: this kernel joins no packets (Linux 6.2 does)", self.name)
            # One by one, so that what is wrong with each is counted.
            taken += self.write([packet for run in group for packet in run.split()])
        return taken

    def configure(
        self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None, routes: bool = True
    ) -> None:
        """Address the interface, bring it up and, unless `routes` is off, send all groups there.

        May be called again, with other addresses. Membership is best started after it.
        """
        for interface in (ipv4, ipv6):
            if interface is not None:
                _check_address(interface)
        if ipv6 is not None and (self.mtu < _MTU_IPV6 or not enable_ipv6(self.name)):
            lacking = f"an MTU of {_MTU_IPV6}" if self.mtu < _MTU_IPV6 else "IPv6 in the kernel"
            self.warnings.append(f"{self.name} has no IPv6: that needs {lacking}")
            ipv6 = None
        if ipv4 is not None:
            self.warnings += self._reverse_path.open_up(run_netlink(has_default_route))

        def install(netlink: Any) -> list[str]:
            bring_up(netlink, self._index, ipv4, ipv6)
            if not routes:
                return []
            families = ipv4 is not None, ipv6 is not None
            return route_groups(netlink, self._index, self.name, *families)

        self.warnings += run_netlink(install)

    def close(self) -> None:
        """Take the interface away, with its addresses and routes, and put the sysctls back."""
        if self._descriptor < 0:
            return
        try:
            run_netlink(lambda netlink: remove_routes(netlink, self._index))
            self._reverse_path.put_back()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _count(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1


def _attach(name: str, batched: bool) -> int:
    """Open the clone device and make the interface; never take over one that exists."""
    descriptor = -1
    try:
        descriptor = os.open(_CLONE, os.O_RDWR | os.O_NONBLOCK)
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL | (_IFF_VNET_HDR if batched else 0)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise UsageError(_cure(name, error.errno)) from error
    return descriptor


def _cure(name: str, code: int | None) -> str:
    if code in (errno.EPERM, errno.EACCES):
        program = os.path.realpath(sys.executable)
        return (
            f"no right to make the interface {name}: run as root or give CAP_NET_ADMIN: "
            f"setcap cap_net_admin+ep {program} (in a container: --cap-add NET_ADMIN)"
        )
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return (
            f"no {_CLONE}: modprobe tun (in a container: --device {_CLONE}); "
            "without it use --interface"
        )
    if code == errno.EBUSY:
        return f"an interface named {name} exists already: choose another name (ip link show)"
    return f"cannot make the interface {name}: {os.strerror(code or 0)}"


def _check_name(name: str) -> None:
    sound = name.isascii() and name.isprintable() and not set(name) & set("/:% ")
    if not sound or name in ("", ".", "..", "all", "default"):
        raise UsageError(f"{name!r} cannot name an interface: letters, digits, '-', '_' and '.'")
    if len(name) > _NAME_BYTES:
        raise UsageError(f"interface name {name} is too long: {_NAME_BYTES} characters at most")


def _check_address(interface: IPv4Interface | IPv6Interface) -> None:
    address, network = interface.ip, interface.network
    reserved = {network.network_address} if network.num_addresses > 2 else set()
    if address.version == 4 and reserved:
        reserved.add(network.broadcast_address)
    special = address.is_multicast or address.is_unspecified or address.is_loopback
    if special or address.is_link_local or address in reserved or int(address) == 0xFFFFFFFF:
        raise UsageError(
            f"{interface} cannot be the address of a host: give one with its prefix length, "
            "like 198.18.0.5/15 or fd64::5/64"
        )


class MemoryTun:
    """A device without kernel or privilege: tests play the programs with `inject` and `delivered`.

    Both queues hold `limit` packets; those beyond are dropped and counted, as a real one does.
    """

    def __init__(self, name: str = "memory", mtu: int = DEFAULT_MTU, limit: int = 4096) -> None:
        self.name = name
        self.mtu = mtu
        self.drops: dict[str, int] = {}
        self.warnings: list[str] = []
        self.ipv4: IPv4Interface | None = None
        self.ipv6: IPv6Interface | None = None
        self._limit = limit
        self._sent: deque[bytes] = deque()
        self._delivered: deque[bytes] = deque()
        self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Give a descriptor that is readable while `read` has something."""
        return self._signal

    def read(self, budget: int = READ_BUDGET) -> list[bytes]:
        """Take the packets that were injected, at most `budget`."""
        packets = [self._sent.popleft() for _ in range(min(budget, len(self._sent)))]
        if packets and not self._sent:
            os.eventfd_read(self._signal)
        return packets

    def write(self, packets: Sequence[Buffer | Run]) -> int:
        """Deliver packets to the test, one by one; give how many there was room for."""
        each: list[Buffer] = []
        for packet in packets:
            each += packet.split() if isinstance(packet, Run) else (packet,)
        taken = min(len(each), self._limit - len(self._delivered))
        self._delivered.extend(bytes(packet) for packet in each[:taken])
        self._count("queue_full", len(each) - taken)
        return taken

    def configure(
        self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None, routes: bool = True
    ) -> None:
        """Keep the addresses for the test to look at."""
        for interface in (ipv4, ipv6):
            if interface is not None:
                _check_address(interface)
        self.ipv4, self.ipv6 = ipv4, ipv6

    def close(self) -> None:
        """Forget everything; what is injected from now on is dropped."""
        if self._signal >= 0:
            os.close(self._signal)
            self._signal = -1
        self._sent.clear()
        self._delivered.clear()

    def inject(self, *packets: Buffer) -> None:
        """Send packets as a program on this host would."""
        for packet in packets:
            if self._signal < 0 or len(self._sent) >= self._limit:
                self._count("queue_full")
                continue
            if not self._sent:
                os.eventfd_write(self._signal, 1)
            self._sent.append(bytes(packet))

    def delivered(self) -> list[bytes]:
        """Take what programs on this host would have received."""
        packets = list(self._delivered)
        self._delivered.clear()
        return packets

    def _count(self, reason: str, count: int = 1) -> None:
        if count:
            self.drops[reason] = self.drops.get(reason, 0) + count
