"""Where relays are measured: three hosts in a triangle of links, or one host's loopback.

On the links every burst is cut into packets, as by a card without offload, and may be put together
again on the other side; on the loopback bursts stay whole. Everything is in own namespaces, named
as the small Internet's, so that its `sweep` removes what a killed run left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Host, execute, namespace_process_ids
from dmmp.demo.processes import kill_all, stop_all
from dmmp.demo.user_namespace import may_make_namespaces

MOST_CHILDREN: Final = 16
MTU: Final = 9216
RELAY_PORT: Final = 47700
SINK_PORT: Final = 47800
SENDER_PORT: Final = 40000
LINKS: Final = Path(__file__).resolve().parent / "links.py"


@dataclass(frozen=True, slots=True)
class Place:
    """Hosts and addresses of one way to be connected."""

    name: str
    sender: Host
    relay: Host
    sinks: Host
    sender_address: str
    relay_address: str
    sink_prefix: str

    @property
    def source(self) -> str:
        """Where the stream comes from."""
        return f"{self.sender_address}:{SENDER_PORT}"

    @property
    def at(self) -> str:
        """Where the relay listens."""
        return f"{self.relay_address}:{RELAY_PORT}"

    @property
    def sink(self) -> str:
        """Where the sink listens: for all children."""
        return f"0.0.0.0:{SINK_PORT}"

    def children(self, count: int) -> list[str]:
        """Name so many children; each has an address of its own."""
        return [f"{self.sink_prefix}.{number}:{SINK_PORT}" for number in range(1, count + 1)]


@contextmanager
def places() -> Iterator[dict[str, Place]]:
    """Build both, by name, and take them away at the end."""
    may_make_namespaces()
    names = ("sender", "relay", "sinks", "alone")
    hosts = [
        Host(f"dmmp-{os.getpid()}-9{number}-{name}", name, number)
        for number, name in enumerate(names)
    ]
    try:
        execute(["ip", "-batch", "-"], "".join(f"netns add {host.namespace}\n" for host in hosts))
        for host in hosts:
            host.ip("link set lo up")
        sender, relay, sinks, alone = hosts
        _connect(sender, relay, sinks)
        yield {
            "veth": Place("veth", sender, relay, sinks, "10.78.1.1", "10.78.1.2", "10.78.4"),
            "loopback": Place("loopback", alone, alone, alone, "127.0.0.1", "127.0.0.2", "127.0.1"),
        }
    finally:
        stop_all([process for host in hosts for process in host.processes])
        kill_all([each for host in hosts for each in namespace_process_ids(host.namespace)])
        lines = "".join(f"netns delete {host.namespace}\n" for host in hosts)
        execute(["ip", "-force", "-batch", "-"], lines)


def _connect(sender: Host, relay: Host, sinks: Host) -> None:
    for number, (one, other) in enumerate(((sender, relay), (relay, sinks), (sender, sinks)), 1):
        end, other_end = f"to-{other.name}", f"to-{one.name}"
        one.ip(f"link add {end} type veth peer name {other_end} netns {other.namespace}")
        for host, name, last in ((one, end, 1), (other, other_end, 2)):
            host.ip(
                f"addr add 10.78.{number}.{last}/24 dev {name}",
                f"link set {name} mtu {MTU} up gso_max_segs 1",
            )
            host.run(sys.executable, "-I", "-S", LINKS, name)
    sinks.ip(*(f"addr add 10.78.4.{last}/32 dev lo" for last in range(1, MOST_CHILDREN + 1)))
    relay.ip("route add 10.78.4.0/24 via 10.78.2.2")
    sender.ip("route add 10.78.4.0/24 via 10.78.3.2")
    # The sinks answer nothing, but the kernel checks the way back (ip-sysctl: rp_filter).
    for host in (sender, relay, sinks):
        host.run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=0")
