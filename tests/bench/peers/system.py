"""What a bench needs of a system that carries multicast between hosts, ours or another's.

One host sends, the others receive, by ordinary socket programs on an interface that the system
provides. Whatever server it needs runs on the sender's host. Links carry unicast only.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Host, Internet
from dmmp.errors import UsageError

SOURCE: Final = "source"
RECEIVERS: Final = tuple(f"m{number}" for number in range(1, 9))
EXTRA: Final = "rp"
"""A host beside them, for what carries no data."""

HOSTS: Final = (EXTRA, SOURCE, *RECEIVERS)
GROUPS: Final = "239.0.0.0/8"
POLL: Final = 0.05
PATIENCE: Final = 20.0


class System:
    """One system; a subclass says how it is started. `why_not` is empty if it can run here."""

    name = ""
    interface = ""
    """Where the programs' packets go and come; empty: the routes are the system's own."""

    def __init__(self, internet: Internet, directory: Path) -> None:
        self.internet = internet
        self.directory = directory
        self.started: list[subprocess.Popen[str]] = []

    @classmethod
    def why_not(cls) -> str:
        """Say why it cannot run here."""
        return ""

    def start(self) -> None:
        """Start it everywhere, and wait until it carries packets."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what was started here and is not ended with the network."""

    def processes(self) -> list[int]:
        """List its processes."""
        return [process.pid for process in self.started if process.poll() is None]

    def send_command(self, ordinary: Sequence[str]) -> list[str]:
        """Give the program that sends, from the ordinary one's command line."""
        return list(ordinary)

    def receive_command(self, ordinary: Sequence[str]) -> list[str]:
        """Give the program that receives, from the ordinary one's command line."""
        return list(ordinary)

    @property
    def hosts(self) -> list[Host]:
        """The sender's host and the receivers'."""
        return [self.internet[name] for name in (SOURCE, *RECEIVERS)]

    def run(self, host: Host, *command: str | Path) -> subprocess.Popen[str]:
        """Start one of its programs; what it says goes to a file of the directory."""
        log = self.directory / f"{self.name}-{host.name}-{len(self.started)}.log"
        with log.open("w") as output:
            process = host.popen(*command, standard_output=output, standard_error=subprocess.STDOUT)
        self.started.append(process)
        return process

    def await_all(self, words: str, ready: Callable[[Host], bool]) -> None:
        """Wait until every host is ready, or say which is not."""
        deadline = time.monotonic() + PATIENCE
        waiting = self.hosts
        while waiting := [host for host in waiting if not ready(host)]:
            ended = [process for process in self.started if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise UsageError(
                    f"{self.name}: no {words} on {waiting[0].name}{self._last_words()}"
                )
            time.sleep(POLL)

    def _last_words(self) -> str:
        for log in sorted(self.directory.glob(f"{self.name}-*.log")):
            lines = log.read_text(errors="replace").strip().splitlines()
            for line in lines:
                if "error" in line.lower() or "cannot" in line.lower():
                    return f": {line}"
        return ""

    def route_groups(self) -> None:
        """Send all groups to the interface."""
        for host in self.hosts:
            host.ip(
                f"link set {self.interface} multicast on",
                f"route replace {GROUPS} dev {self.interface}",
            )
            host.run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=0", check=False)
            host.run(
                "sysctl", "-q", "-w", f"net.ipv4.conf.{self.interface}.rp_filter=0", check=False
            )


def has_interface(name: str) -> Callable[[Host], bool]:
    """Make a test whether a host has an interface, up and with an IPv4 address."""

    def ready(host: Host) -> bool:
        shown = host.run("ip", "-4", "-br", "addr", "show", "dev", name, check=False).stdout
        return len(shown.split()) > 2

    return ready
