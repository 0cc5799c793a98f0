"""A secured session in one process, on loopback: drivers, sockets, gates, keys; TUNs in memory.

Floods are put in where the socket would hand them over, so that a million takes seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Interface, IPv6Interface
from random import Random

from dmmp.forwarding.burst import Burst
from dmmp.forwarding.forwarder import Forwarder
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.roles.view import View
from dmmp.runtime.driver import Driver
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.sockets import open_socket
from dmmp.security.setup import Security
from dmmp.sim.secured import WALL, Secured
from dmmp.types import Endpoint
from tests.attackers.wrong_keys import Known
from tests.attacks.stage import ordinary
from tests.runtime.loopback import ANY_PORT, GROUP, QUICK, SESSION, joined, until
from tests.runtime.loopback import Node as Plain

CHUNK = 64
"""Datagrams that a socket hands over at once."""

STARTED = 60.0
"""Seconds that the certificates are old when a session begins."""


class Node(Plain):
    """A secured host; a super node has no TUN."""

    def __init__(self, kind: str, number: int, point: Endpoint, secured: Secured) -> None:
        super().__init__("member" if kind == "super-node" else kind, number, point)
        self.kind = kind
        self.name = f"{kind}{number}"
        self._point = point
        self._secured = secured

    async def open(self, datapath: str) -> None:
        """Put its parts together."""
        security = security_of(self._secured, self.name, self.kind)
        gate = security.gate(time.monotonic(), QUICK, central=self.kind == "source")
        setup = HostSetup(
            SESSION,
            (self._point,),
            {"source": 1, "super-node": 4, "member": 1}[self.kind],
            Random(self.name).getrandbits(63),
            self.name,
            relay_only=self.kind == "super-node",
            ordinary=security.is_ordinary,
        )
        host = KeyedHost(
            EndHost(self.kind, setup, QUICK, Random(self.name)),
            security.node_of(gate),
            security.random,
            Random(f"keys of {self.name}"),
            security.wall,
            is_source=self.kind == "source",
            takes_keys=self.kind != "super-node",
        )
        self.keyed = host
        guard = security.guard(delivers=self.kind != "super-node")
        edge = None
        if self.kind != "super-node":
            ipv6 = IPv6Interface(f"fd00::{int(self.address.ip) & 0xFF:x}/64")
            addresses: tuple[IPv4Interface, IPv6Interface] = (self.address, ipv6)
            edge = Gateway(self.tun, addresses, True, self.kind == "source", time.monotonic)
        opened = await open_socket(ANY_PORT, datapath)
        self.driver = Driver(host, opened, Forwarder(QUICK, guard=guard), edge, gate=gate)
        self.driver.on_event(self.events.append)

    @property
    def view(self) -> View:
        """Take a snapshot."""
        return self.keyed.view(time.monotonic())

    @property
    def has_keys(self) -> bool:
        """Tell whether it can open data."""
        forwarder = self.driver.forwarder
        return isinstance(forwarder, Forwarder) and forwarder.snapshot()["tables"]["keys"] > 0


def _has_place(node: Node) -> bool:
    view = node.view
    return bool(view.host) and (node.kind == "source" or view.parent is not None)


def security_of(secured: Secured, name: str, kind: str) -> Security:
    """Give a host its part; the session began a minute ago."""
    made = secured.of(name, kind, 0)
    return replace(made, wall=WALL + STARTED - time.monotonic())


class Session:
    """A rendezvous point, a source, a super node below it, a member below that."""

    def __init__(self, rp: Driver, source: Node, relay: Node, member: Node) -> None:
        self.rp, self.source, self.relay, self.member = rp, source, relay, member
        self.sent = 0
        self.got: list[int] = []

    @property
    def drivers(self) -> dict[str, Driver]:
        """Give each role's driver."""
        return {
            "rp": self.rp,
            "source": self.source.driver,
            "super node": self.relay.driver,
            "member": self.member.driver,
        }

    def send(self, packets: int = 1) -> None:
        """Let the source's program send; each packet bears its number."""
        payloads = [(self.sent + n).to_bytes(4) + bytes(500) for n in range(packets)]
        self.sent += packets
        self.source.send(GROUP, payloads)

    def has_heard(self) -> bool:
        """Tell whether the member's program has got anything."""
        self.collect()
        return bool(self.got)

    def collect(self) -> None:
        """Take what the member's program has got."""
        self.got += [int.from_bytes(payload[:4]) for payload in self.member.heard()]

    def neighbours(self, role: str) -> list[Endpoint]:
        """List with whom a role has associations: the right addresses."""
        driver = self.drivers[role]
        assert driver.gate is not None
        ends = [other.socket.local for other in self.drivers.values() if other is not driver]
        return [each for each in ends if driver.gate.peer(each) is not None]

    def known(self, role: str) -> Known:
        """Tell what somebody on the wires of a role knows."""
        driver = self.drivers[role]
        assert driver.gate is not None
        contacts = driver.gate.associations._contacts
        view = self.source.view
        number = 0
        if isinstance(self.member.driver.forwarder, Forwarder):
            channels = self.member.driver.forwarder._table.announced()
            number = max((each.window.highest for each in channels), default=0)
        return Known(
            session=view.session,
            origin=view.host,
            epoch=1,
            number=number,
            tree_version=view.tree_version,
            group=GROUP,
            source=self.source.address.ip,
            indexes=tuple(contacts._by_index),
            static_key=driver.gate.associations.static_key,
        )


async def flood(driver: Driver, datagrams: Iterable[tuple[bytes, Endpoint]]) -> int:
    """Hand datagrams to a driver as its socket would; everything else goes on meanwhile."""
    chunk: list[Burst] = []
    count = 0
    for data, sender in datagrams:
        chunk.append(Burst(data, len(data), sender))
        if len(chunk) == CHUNK:
            count += len(chunk)
            driver.take(chunk)
            chunk = []
            await asyncio.sleep(0)
    driver.take(chunk)
    return count + len(chunk)


@asynccontextmanager
async def session(datapath: str = "batched", seed: int = 1) -> AsyncIterator[Session]:
    """Run one; everybody has his place and his keys, and the member's program listens."""
    secured = Secured(seed, SESSION, grant=ordinary)
    security = security_of(secured, "rp", "rendezvous-point")
    opened = await open_socket(ANY_PORT, "portable")
    gate = security.gate(time.monotonic(), Parameters(), central=True)
    point = Driver(RendezvousPoint((SESSION,), QUICK, Random(0)), opened, gate=gate)
    secured.note_point(opened.local, "rp")
    running = [asyncio.ensure_future(point.run())]
    nodes: list[Node] = []
    try:
        for kind in ("source", "super-node", "member"):
            node = Node(kind, len(nodes) + 1, opened.local, secured)
            await node.open(datapath)
            running.append(asyncio.ensure_future(node.driver.run()))
            nodes.append(node)
            await until(partial(_has_place, node))
        source, relay, member = nodes
        await until(lambda: member.has_keys)
        member.tun.inject(joined(GROUP, member.address.ip))
        await until(lambda: source.view.subtree_groups)
        made = Session(point, source, relay, member)
        made.send()
        await until(made.has_heard)
        yield made
    finally:
        for driver in (point, *(node.driver for node in nodes)):
            driver.stop()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*running)
