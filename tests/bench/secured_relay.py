"""Our relay with a guard: `python -m tests.bench.secured_relay WAY AT FROM CHILD…`.

As `relay_node`, but it learns everything from its parent, and with `manifests, delivering` hands
what it opened to an edge that throws it away. It says `ready`, and at the end what it counted.
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
from dmmp.runtime.driver import Driver
from dmmp.runtime.locate import parse_endpoint
from dmmp.runtime.node import run
from dmmp.runtime.sockets import open_socket
from dmmp.types import HostId, Instant, SessionId
from tests.bench.relay_node import GROUP, SESSION, TREE, Mute
from tests.bench.secured_parts import MEMBER, forwarder, gate


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
        deliver=wants if way == MEMBER else (),
        me=HostId(4711),
    )
    made.apply(Install(entry), time.monotonic())
    sink = Sink()
    gates = gate(way, parent, children, time.monotonic())
    driver = Driver(Mute(), opened, made, sink, gate=gates)

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
