"""Who receives at which address, and the ways that nodes have sent by.

An address belongs to one machine at a time; a machine may get another one when its NAT forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from dmmp.sim.node import Node
from dmmp.sim.topology import Topology
from dmmp.types import DEFAULT_PORT, Endpoint

FIRST_ADDRESS = int(IPv4Address("10.0.0.1"))

FURTHER_ADDRESS = int(IPv4Address("10.128.0.1"))
"""The first of the addresses for machines whose address changes."""

MOST_ROUTES = 4_096
"""Ways a node remembers; with more it begins anew."""

Route = tuple[Endpoint, Node | None, int]
"""The endpoint, who is there, the delay in microseconds."""


def first_endpoint(place: int) -> Endpoint:
    """Return the endpoint that the machine at a place begins with."""
    return Endpoint(IPv4Address(FIRST_ADDRESS + place), DEFAULT_PORT)


class Addresses:
    """The addresses of one world."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._nodes: dict[int, Node] = {}
        self._next = FURTHER_ADDRESS

    def add(self, node: Node) -> None:
        """Take in a machine at its endpoint."""
        self._nodes[int(node.endpoint.address)] = node

    def get(self, endpoint: Endpoint) -> Node | None:
        """Find a machine by where it receives datagrams."""
        found = self._nodes.get(int(endpoint.address))
        return found if found is not None and endpoint.port == DEFAULT_PORT else None

    def renew(self, node: Node, all_nodes: Iterable[Node]) -> None:
        """Give a machine an address that nobody had; the old one leads nowhere."""
        del self._nodes[int(node.endpoint.address)]
        node.endpoint = Endpoint(IPv4Address(self._next), DEFAULT_PORT)
        self._next += 1
        self.add(node)
        for other in all_nodes:
            other.routes.clear()

    def find_route(self, node: Node, to: Endpoint) -> Route:
        """Look up who receives there; remembered by the object, which is kept for that."""
        receiver = self.get(to)
        delay_us = 0
        if receiver is not None:
            delay_us = self._topology.delay_us(node.place, receiver.place)
        if len(node.routes) >= MOST_ROUTES:
            node.routes.clear()
        route = node.routes[id(to)] = (to, receiver, delay_us)
        return route
