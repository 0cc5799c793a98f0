"""Our relay without an overlay around it: `python -m tests.bench.relay_node auto AT FROM CHILD…`.

The objects of a super node, put together as `dmmp.runtime.node` does it, on its event loop; only
the host has nothing to say, and the entry is installed from here. It says `ready`, and when it is
told to end, writes what it received and sent, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address

from dmmp.actions import Action, Branch, ForwardingEntry, Install
from dmmp.errors import UsageError
from dmmp.forwarding.burst import Burst
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import interest
from dmmp.messages import encode
from dmmp.messages.data import Heartbeat
from dmmp.messages.header import FLAG_HEARTBEAT
from dmmp.parameters import Parameters
from dmmp.roles.role import Input
from dmmp.runtime.driver import Driver
from dmmp.runtime.locate import parse_endpoint
from dmmp.runtime.node import run
from dmmp.runtime.sockets import open_socket
from dmmp.types import Endpoint, HostId, Instant, SessionId

GROUP = ip_address("239.1.2.3")
PROGRAM = ip_address("10.0.0.1")
SESSION, ORIGIN, CHANNEL, TREE = SessionId(5), HostId(77), 3, 10
"""What programs/traffic.c writes into every header."""


class Mute:
    """A host that wants nothing: the forwarding entry is all there is to know."""

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take an input, and do nothing."""
        return []

    def wake(self, now: Instant) -> list[Action]:
        """Do nothing."""
        return []

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Never ask for a wake."""
        return None


def relay_from(parent: Endpoint, children: Sequence[Endpoint], now: Instant) -> Forwarder:
    """Make a forwarder that passes the stream of programs/traffic.c on to these children."""
    forwarder = Forwarder(Parameters())
    branches = tuple(Branch(child, (interest(GROUP),)) for child in children)
    entry = ForwardingEntry(
        SESSION, tree_version=TREE, upstream=(parent,), downstream=branches, me=HostId(4711)
    )
    forwarder.apply(Install(entry), now)
    heartbeat = encode(
        Heartbeat(
            session=SESSION,
            source=ORIGIN,
            sequence=1,
            tree_version=TREE,
            reserved=FLAG_HEARTBEAT | CHANNEL,
            group=GROUP,
            origin_address=PROGRAM,
            highest=0,
            started=0,
        )
    )
    forwarder.forward(Burst(heartbeat, len(heartbeat), parent), now)
    return forwarder


async def relay(datapath: str, at: Endpoint, parent: Endpoint, children: list[Endpoint]) -> int:
    """Relay until SIGTERM."""
    opened = await open_socket(at, datapath)
    forwarder = relay_from(parent, children, time.monotonic())
    driver = Driver(Mute(), opened, forwarder)

    def end() -> None:
        # Twice: nobody is there who would answer a farewell.
        driver.stop()
        driver.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    print("ready", flush=True)
    gc.freeze()
    await driver.run()
    counts = forwarder.snapshot()
    told = {
        "received": counts["data_received"],
        "sent": counts["data_forwarded"],
        "failed": sum(opened.counters.values()),
        "dropped": counts["dropped"],
    }
    print(json.dumps(told), flush=True)
    return 0


def main(words: Sequence[str]) -> int:
    """Read the command line and relay."""
    try:
        datapath, at, parent, *children = words
        places = [parse_endpoint(word) for word in (at, parent, *children)]
        return run(relay(datapath, places[0], places[1], places[2:]))
    except (UsageError, ValueError) as error:
        print(f"usage: relay_node DATAPATH AT:PORT FROM:PORT CHILD:PORT…: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
