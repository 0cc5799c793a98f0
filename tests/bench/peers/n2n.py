"""n2n: edges that send everything that is not unicast through a supernode."""

from __future__ import annotations

import shutil

from tests.bench.peers.system import SOURCE, System, has_interface

PORT = "7654"


class N2n(System):
    """The supernode runs on the sender's host, an edge on each."""

    name = "n2n"
    interface = "edge0"

    @classmethod
    def why_not(cls) -> str:
        """It is a Debian package."""
        return "" if shutil.which("edge") else "n2n is not installed (make bench-peers installs it)"

    def start(self) -> None:
        """Start the supernode and the edges, by the options of its version 1."""
        server = self.internet[SOURCE]
        self.run(server, "supernode", "-l", PORT)
        for number, host in enumerate(self.hosts, 1):
            self.run(
                host,
                *("edge", "-d", "edge0", "-a", f"10.99.0.{number}", "-s", "255.255.255.0"),
                *("-c", "bench", "-k", "secret", "-l", f"{server.address}:{PORT}"),
                *("-m", f"02:00:00:00:00:{number:02x}", "-u", "0", "-g", "0", "-r"),
            )
        self.await_all("interface edge0", has_interface("edge0"))
        for host in self.hosts:
            host.ip("link set edge0 txqueuelen 5000")
        self.route_groups()
