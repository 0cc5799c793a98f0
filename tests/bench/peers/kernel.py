"""The kernel's own multicast routing on the router between the hosts, set up by smcroute.

The measure of what a network that carries multicast does by itself: no tunnel, no copy on the
sender's link.
"""

from __future__ import annotations

import shutil

from tests.bench.peers.system import RECEIVERS, SOURCE, System

GROUP = "239.10.20.30"


class KernelRouting(System):
    """One static multicast route; the programs use the links themselves."""

    name = "kernel multicast routing"
    interface = "eth0"

    @classmethod
    def why_not(cls) -> str:
        """It is a Debian package."""
        found = shutil.which("smcrouted")
        return "" if found else "smcroute is not installed (make bench-peers installs it)"

    def start(self) -> None:
        """Give the router its route."""
        ways = {name: self.internet[name].router_interface for name in (SOURCE, *RECEIVERS)}
        lines = [f"phyint {way} enable ttl-threshold 1" for way in ways.values()]
        to = " ".join(ways[name] for name in RECEIVERS)
        lines.append(f"mroute from {ways[SOURCE]} group {GROUP} to {to}")
        settings = self.directory / "smcroute.conf"
        settings.write_text("\n".join(lines) + "\n")
        self.run(
            self.internet.router,
            *("smcrouted", "-n", "-N", "-f", settings, "-i", "bench"),
            *("-u", self.directory / "smcroute.sock", "-P", self.directory / "smcroute.pid"),
        )
        self.route_groups()

    def stop(self) -> None:
        """End the daemon: the router is no host, whose programs would be ended for us."""
        for process in self.started:
            process.terminate()
            process.wait()
