"""OpenVPN: a server on the sender's host, Ethernet over UDP, multicast flooded to all clients."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Host, execute
from tests.bench.peers.system import SOURCE, System, has_interface

NETWORK: Final = ("10.99.0.0", "255.255.255.0")
COMMON: Final = (
    *("--dev", "tap0", "--dev-type", "tap", "--proto", "udp4", "--port", "1194"),
    *("--sndbuf", "4194304", "--rcvbuf", "4194304", "--txqueuelen", "5000", "--fast-io"),
    *("--mssfix", "0", "--allow-compression", "no", "--verb", "1", "--persist-tun"),
)


class OpenVpn(System):
    """With the cipher that it prefers."""

    name = "OpenVPN"
    interface = "tap0"
    ciphers: tuple[str, ...] = ("--data-ciphers", "AES-128-GCM")

    @classmethod
    def why_not(cls) -> str:
        """It is a Debian package."""
        if shutil.which("openvpn") is None:
            return "openvpn is not installed (make bench-peers installs it)"
        return "" if shutil.which("openssl") else "openssl is not installed"

    def start(self) -> None:
        """Start the server, then the clients, each trusted by its certificate's fingerprint."""
        names = ("server", "client")
        prints = {name: self._certificate(name) for name in names}
        server = self.internet[SOURCE]
        self._run(
            server,
            *("--mode", "server", "--tls-server", "--dh", "none", "--duplicate-cn"),
            *("--server", *NETWORK, "--client-to-client", "--topology", "subnet"),
            *("--peer-fingerprint", prints["client"], *self._files("server")),
        )
        for host in self.hosts[1:]:
            self._run(
                host,
                *("--client", "--nobind", "--remote", str(server.address)),
                *("--peer-fingerprint", prints["server"], *self._files("client")),
            )
        self.await_all("interface tap0", has_interface("tap0"))
        self.route_groups()

    def _run(self, host: Host, *words: str | Path) -> None:
        self.run(host, "openvpn", *COMMON, *self.ciphers, *words)

    def _files(self, name: str) -> list[str | Path]:
        return ["--cert", self.directory / f"{name}.crt", "--key", self.directory / f"{name}.key"]

    def _certificate(self, name: str) -> str:
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        execute(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"),
                *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
                *("-keyout", str(key), "-out", str(certificate)),
            ]
        )
        shown = execute(
            ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"]
        )
        return shown.partition("=")[2].strip()


class OpenVpnPlain(OpenVpn):
    """Without encryption, as dmmp is today."""

    name = "OpenVPN, no cipher"
    ciphers = ("--data-ciphers", "none", "--auth", "none")
