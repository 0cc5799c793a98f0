"""tinc: a mesh of switches; what is not unicast goes to everybody along a spanning tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from dmmp.demo.internet import Host
from dmmp.errors import UsageError
from tests.bench.peers.system import SOURCE, System, has_interface

TRUNK = "tinc-up"
RSA_BITS = 2048


class Tinc(System):
    """All connect to the sender's host, which is then the middle of the tree."""

    name = "tinc"
    interface = "tap0"

    @classmethod
    def why_not(cls) -> str:
        """It is a Debian package."""
        return (
            "" if shutil.which("tincd") else "tinc is not installed (make bench-peers installs it)"
        )

    def start(self) -> None:
        """Write everybody's directory, and start the daemons."""
        public, private = self._keys()
        for number, host in enumerate(self.hosts, 1):
            directory = self._directory(host, number, private)
            for other in self.hosts:
                words = f"Address = {other.address}\n" if other.name == SOURCE else ""
                (directory / "hosts" / other.name).write_text(words + public)
            self.run(host, "tincd", "-D", "-c", directory, f"--pidfile={directory / 'pid'}")
        self.await_all("interface tap0", has_interface("tap0"))
        self.route_groups()

    def _directory(self, host: Host, number: int, private: str) -> Path:
        directory = self.directory / host.name
        (directory / "hosts").mkdir(parents=True)
        connect = "" if host.name == SOURCE else f"ConnectTo = {SOURCE}\n"
        (directory / "tinc.conf").write_text(
            f"Name = {host.name}\nMode = switch\nDeviceType = tap\nInterface = tap0\n"
            f"UDPRcvBuf = 4194304\nUDPSndBuf = 4194304\n{connect}"
        )
        up = directory / TRUNK
        up.write_text(
            "#!/bin/sh\n"
            f"ip addr add 10.99.0.{number}/24 dev $INTERFACE\n"
            "ip link set $INTERFACE up txqueuelen 5000\n"
        )
        up.chmod(0o700)
        key = directory / "rsa_key.priv"
        key.write_text(private)
        key.chmod(0o600)
        return directory

    def _keys(self) -> tuple[str, str]:
        """Make one pair for all: it is not their trust that is measured."""
        directory = self.directory / "keys"
        (directory / "hosts").mkdir(parents=True)
        (directory / "tinc.conf").write_text("Name = all\n")
        done = subprocess.run(
            ["tincd", "-c", str(directory), f"--generate-keys={RSA_BITS}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        made = directory / "rsa_key.priv"
        if not made.exists():
            raise UsageError(f"tinc: no keys: {done.stderr.strip()}")
        return (directory / "hosts" / "all").read_text(), made.read_text()
