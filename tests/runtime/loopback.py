"""What the runtime's tests share: a session of several nodes in one process, on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address
from random import Random

from dmmp.events import Event
from dmmp.forwarding.forwarder import Forwarder
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.roles.view import View
from dmmp.runtime.driver import Driver
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.sockets import open_socket
from dmmp.tun import igmp
from dmmp.tun.device import MemoryTun
from dmmp.tun.packets import wrap_udp
from dmmp.tun.reports import Record, RecordType, Report
from dmmp.types import Endpoint, IpAddress
from tests.tun.unwrapping import unwrap_udp

LOOPBACK = IPv4Address("127.0.0.1")
ANY_PORT = Endpoint(LOOPBACK, 0)
GROUP = IPv4Address("239.1.2.3")
SESSION = "demo"
PATIENCE = 20.0

QUICK = Parameters(retry_bootstrap=0.2, retry_bootstrap_most=0.5, build_window=1.0)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; fail after a while."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


def joined(group: IPv4Address, source: IPv4Address) -> bytes:
    """Make the report a kernel writes when a program joins a group."""
    return igmp.packet(Report((Record(RecordType.CHANGE_TO_EXCLUDE, group),)), source)


def left(group: IPv4Address, source: IPv4Address) -> bytes:
    """Make the report a kernel writes when the last program leaves a group."""
    return igmp.packet(Report((Record(RecordType.CHANGE_TO_INCLUDE, group),)), source)


class Node:
    """A host with a TUN in memory."""

    def __init__(self, kind: str, number: int, rendezvous_point: Endpoint) -> None:
        self.kind = kind
        self.tun = MemoryTun(f"memory{number}")
        self.address = IPv4Interface(f"10.0.0.{number}/24")
        self.events: list[Event] = []
        setup = HostSetup(SESSION, (rendezvous_point,), 3, number, f"{kind}{number}")
        self.host = EndHost(kind, setup, QUICK, Random(number))
        self.driver: Driver

    async def open(self, datapath: str) -> None:
        ipv6 = IPv6Interface(f"fd00::{int(self.address.ip) & 0xFF:x}/64")
        gateway = Gateway(
            self.tun, (self.address, ipv6), True, self.kind == "source", time.monotonic
        )
        opened = await open_socket(ANY_PORT, datapath)
        self.driver = Driver(self.host, opened, Forwarder(QUICK), gateway)
        self.driver.on_event(self.events.append)

    @property
    def view(self) -> View:
        return self.host.view(time.monotonic())

    def send(self, group: IpAddress, payloads: list[bytes]) -> None:
        """Send as a program on this host would."""
        sender = Endpoint(self.address.ip, 4000)
        self.tun.inject(*(wrap_udp(sender, Endpoint(group, 5004), each) for each in payloads))

    def heard(self) -> list[bytes]:
        """Give the payloads that programs on this host would have received."""
        packets = [packet for packet in self.tun.delivered() if packet[9] == 17]
        return [unwrap_udp(packet).payload for packet in packets]


class Session:
    """A rendezvous point, a source and members, all running."""

    def __init__(self, rendezvous_point: Driver, nodes: list[Node]) -> None:
        self.rendezvous_point = rendezvous_point
        self.source, *self.members = nodes
        self.nodes = nodes


@asynccontextmanager
async def session(members: int, datapath: str) -> AsyncIterator[Session]:
    """Run a session; wait until every member has its place."""
    opened = await open_socket(ANY_PORT, datapath)
    point = Driver(RendezvousPoint((SESSION,), QUICK, Random(0)), opened)
    nodes = [Node("source", 1, opened.local)]
    nodes += [Node("member", number, opened.local) for number in range(2, members + 2)]
    running = [asyncio.ensure_future(point.run())]
    try:
        for node in nodes:
            await node.open(datapath)
            running.append(asyncio.ensure_future(node.driver.run()))
        await until(lambda: all(node.view.parent is not None for node in nodes[1:]))
        yield Session(point, nodes)
    finally:
        for driver in (point, *(node.driver for node in nodes)):
            driver.stop()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*running)


def address(text: str) -> IpAddress:
    """Shorten what tests write often."""
    return ip_address(text)
