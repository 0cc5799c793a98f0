"""Our relay with a guard: `python -m tests.bench.secured_relay WAY AT FROM CHILD…`.

As `relay_node`, but it learns everything from its parent. A way that delivers writes all packets to
a TUN as `dmmp.runtime.node` does it, and needs root; `manifests, opened` hands them to an edge that
throws them away. It says `ready`, and at the end what it counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Sequence

from dmmp.actions import Branch, ForwardingEntry, Install
from dmmp.forwarding.burst import Delivery
from dmmp.interest import interest
from dmmp.runtime.driver import Driver, Edge
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.locate import parse_endpoint
from dmmp.runtime.node import run
from dmmp.runtime.sockets import open_socket
from dmmp.tun.addresses import default_addresses
from dmmp.tun.device import Tun
from dmmp.types import HostId, Instant, SessionId
from tests.bench.relay_node import GROUP, SESSION, TREE, Mute
from tests.bench.secured_parts import DELIVERING, OPENED, forwarder, gate

ME = HostId(4711)


class Sink:
    """An edge whose programs hear nothing."""

    def __init__(self) -> None:
        self.octets = 0

    def start(self, driver: Driver) -> None:
        """Have nothing to begin."""

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Count."""
        self.octets += sum(len(delivery.data) for delivery in deliveries)

    def registered(self, session: SessionId, host: HostId) -> None:
        """Need no address."""

    def wake(self, now: Instant) -> None:
        """Have nothing due."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Never ask for a wake."""
        return None

    def close(self) -> None:
        """Have nothing to give back."""


def edge(way: str) -> Edge | None:
    """Open where the programs are, if they are to get anything."""
    if way == OPENED:
        return Sink()
    if way not in DELIVERING:
        return None
    device = Tun.open("bench0", batched=True)
    addresses = default_addresses(SESSION, ME)
    return Gateway(device, addresses, True, False, time.monotonic)


async def relay(way: str, words: Sequence[str]) -> int:
    """Relay until SIGTERM."""
    at, parent, *children = [parse_endpoint(word) for word in words]
    opened = await open_socket(at, "auto")
    made = forwarder(way, time.monotonic(), seals=False)
    wants = (interest(GROUP),)
    entry = ForwardingEntry(
        SESSION,
        tree_version=TREE,
        upstream=(parent,),
        downstream=tuple(Branch(child, wants) for child in children),
        deliver=wants if way in (OPENED, *DELIVERING) else (),
        me=ME,
    )
    made.apply(Install(entry), time.monotonic())
    gates = gate(way, parent, children, time.monotonic())
    driver = Driver(Mute(), opened, made, edge(way), gate=gates)

    def end() -> None:
        driver.stop()
        driver.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    print("ready", flush=True)
    gc.freeze()
    await driver.run()
    counts = made.snapshot()
    told = {
        "received": counts["data_received"],
        "sent": counts["data_forwarded"],
        "delivered": counts["delivered"],
        "dropped": {name: count for name, count in counts["dropped"].items() if count},
    }
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(relay(sys.argv[1], sys.argv[2:])))
