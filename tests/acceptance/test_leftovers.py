"""What a node leaves behind: nothing when asked to end, and nothing that matters when killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmmp.demo.internet import Host
from dmmp.demo.overlay import Node, Overlay
from tests.acceptance.lab import network

pytestmark = [pytest.mark.namespace, pytest.mark.slow]

SETTINGS = ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.eth0.rp_filter")


def traces(host: Host, directory: Path) -> dict[str, str]:
    """Show everything outside its own process that a node changes."""
    shown = {
        " ".join(command): host.run(*command).stdout
        for command in (
            ("ip", "-o", "link"),
            ("ip", "-o", "address"),
            ("ip", "route", "show", "table", "all"),
            ("ip", "-6", "route", "show", "table", "all"),
            ("ip", "rule"),
            ("ss", "-Hlnu"),
            ("sysctl", "-n", *SETTINGS),
        )
    }
    shown["files"] = " ".join(sorted(path.name for path in directory.glob("host.sock")))
    return shown


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def start(overlay: Overlay, kind: str, name: str) -> Node:
    return overlay.source(name) if kind == "source" else overlay.member(name)


@pytest.mark.parametrize("end", [Node.stop, Node.kill], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("kind", ["source", "member"])
def test_a_node_leaves_nothing_behind(
    swept: None, directory: Path, kind: str, end: Callable[[Node], None]
) -> None:
    with network(["rp", "other", "host"], directory) as overlay:
        overlay.rp()
        if kind == "member":
            # Room enough for the host that is killed and its successor.
            overlay.source("other", "--out-degree", "4")
            overlay.wait_joined()
        host = overlay.internet["host"]
        # The strict filter of many distributions: a node must change it, so it must put it back.
        host.run("sysctl", "-q", "-w", *(f"{setting}=1" for setting in SETTINGS))
        host.run("ip", "route", "del", "default")
        host.run("ip", "route", "add", "10.77.0.0/16", "via", str(host.gateway))
        before = traces(host, directory)
        node = start(overlay, kind, "host")
        overlay.wait_joined(["host"])
        assert changed(before, traces(host, directory)).keys() >= {
            *("ip -o link", "ip -o address", "ip route show table all", "ss -Hlnu", "files"),
            "sysctl -n " + " ".join(SETTINGS),
        }
        end(node)
        if end is Node.kill:
            # The kernel took the device, routes and sockets; the rest is for the next start.
            assert changed(before, traces(host, directory)).keys() <= {
                *("files", "sysctl -n " + " ".join(SETTINGS)),
            }
            node = start(overlay, kind, "host")
            overlay.wait_joined(["host"])
            node.stop()
        assert changed(before, traces(host, directory)) == {}
