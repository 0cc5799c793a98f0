"""What the attacks on the wire share: an overlay of real programs, an attacker, a victim, captures.

The attacker and its victim are hosts of their own on the small Internet; nothing leaves it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dmmp.captures import Captured, packets_of_capture
from dmmp.demo.internet import Host, Internet
from dmmp.demo.overlay import Node, Overlay
from dmmp.demo.programs import program_command
from dmmp.demo.stream import Listener, await_ready
from dmmp.types import DEFAULT_PORT

NAMES = ("rp", "source", "s1", "m1", "m2", "m3")
EXTRAS = ("eve", "victim", "late")

FORGED = "10.200.0.0/16"
"""Where spoofed datagrams come from; the router swallows what goes there."""

FLOW = "239.1.2.3:5004"
MARKER = b"dmmp" * 16
"""What the generated stream consists of."""

ROLES = {"rp": "rp", "source": "source", "super node": "s1", "member": "m1"}
PAGE = 4096
SETTLE = 1.0


@contextmanager
def lab(names: Sequence[str] = (*NAMES, *EXTRAS)) -> Iterator[Overlay]:
    """Run an RP, a source, a super node below it and members below that, with their keys logged."""
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as path,
        Internet.build(names) as internet,
        Overlay(internet, Path(path)) as overlay,
    ):
        internet.router.ip(f"route add blackhole {FORGED}")
        overlay.rp()
        overlay.source("source", "--out-degree", "1", "--key-log", key_log(overlay, "source"))
        overlay.super_node("s1", "--out-degree", "6", "--key-log", key_log(overlay, "s1"))
        overlay.wait_joined()
        for name in ("m1", "m2", "m3"):
            # Nobody can look for a better place with them: what changes, an attack has changed.
            overlay.member(name, "--out-degree", "0", "--key-log", key_log(overlay, name))
        overlay.wait_joined()
        yield overlay


def key_log(overlay: Overlay, name: str) -> str:
    """Say where a host logs its keys."""
    return str(overlay.directory / f"{name}.keys")


def epoch_secrets(overlay: Overlay, name: str) -> list[bytes]:
    """Read the epoch secrets that a host has logged."""
    path = Path(key_log(overlay, name))
    lines = path.read_text().split("\n") if path.exists() else []
    return [bytes.fromhex(line.split()[4]) for line in lines if line.startswith("DMMP_EPOCH ")]


class Attack:
    """An attacker's program on a host."""

    def __init__(self, host: Host, name: str, *words: str) -> None:
        self.process = host.popen(sys.executable, "-m", f"tests.attackers.{name}", *words)

    def finish(self) -> dict[str, Any]:
        """Wait for its end; give its report."""
        said, _ = self.process.communicate()
        assert self.process.returncode == 0, said
        figures: dict[str, Any] = json.loads(said)
        return figures


class Capture:
    """tcpdump on one host, or on the router."""

    def __init__(self, host: Host, path: Path, *words: str, interface: str = "eth0") -> None:
        self.path = path
        self._process = host.popen(
            *("tcpdump", "-i", interface, "-w", str(path), "-U", "-s", "0", "-B", "16384"),
            *words,
            standard_output=subprocess.DEVNULL,
            standard_error=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "listening" in line:
                break

    def finish(self) -> list[Captured]:
        """End it; give the datagrams, each once: a router shows what comes and what goes."""
        time.sleep(0.3)
        self._process.terminate()
        self._process.communicate()
        found: dict[tuple[object, ...], Captured] = {}
        for each in packets_of_capture(self.path.read_bytes(), DEFAULT_PORT):
            found.setdefault((each.source, each.destination, each.payload), each)
        return list(found.values())


class Stream:
    """A stream from the source to the members' programs, for as long as it is wanted."""

    def __init__(self, overlay: Overlay, rate: str = "1M", members: Sequence[str] = ()) -> None:
        members = members or ("m1", "m2", "m3")
        self._listeners = {
            name: Listener(overlay.internet[name], overlay.directory, FLOW, "--sequence")
            for name in members
        }
        await_ready(self._listeners.values())
        time.sleep(SETTLE)
        self._sender = overlay.internet["source"].popen(
            *program_command("send", FLOW, "--rate", rate, "--seconds", "600")
        )
        time.sleep(SETTLE)

    def stop(self) -> int:
        """End the sender; give how much it has sent."""
        with suppress(ProcessLookupError):
            self._sender.terminate()
        said, _ = self._sender.communicate()
        count: int = json.loads(said.splitlines()[-1])["flows"][0]["count"]
        return count

    def reports(self) -> dict[str, dict[str, Any]]:
        """End the members' programs; give what each got."""
        return {name: each.finish()[0] for name, each in self._listeners.items()}

    def finish(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """End it all, once what can be repaired is; give how much was sent, and what came."""
        sent = self.stop()
        time.sleep(2.5)
        return sent, self.reports()


def resident(node: Node) -> int:
    """Tell how many bytes of memory a node has."""
    return int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1]) * PAGE


def holds(node: Node, secret: bytes) -> bool:
    """Tell whether a node's memory holds these bytes (proc_pid_mem(5))."""
    pid = node.process.pid
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, mode = line.split()[:2]
            if not mode.startswith("rw"):
                continue
            begin, _, end = place.partition("-")
            first, last = int(begin, 16), int(end, 16)
            try:
                memory.seek(first)
                if secret in memory.read(last - first):
                    return True
            except (OSError, OverflowError, ValueError):
                continue
    return False


def places(overlay: Overlay) -> dict[str, object]:
    """Tell who is where: what an attack must not change."""
    found: dict[str, object] = {}
    for name, document in overlay.documents().items():
        if name == "rp":
            (session,) = document["sessions"]
            found[name] = session["hosts"], sorted(n["node_id"] for n in session["super_nodes"])
            continue
        parent = document["parent"]
        found[name] = (
            document["node_id"],
            document["state"],
            parent and (parent["node_id"], parent["address"]),
            sorted(child["node_id"] for child in document["children"]),
            document["super_node"],
        )
    return found


def counters(node: Node) -> dict[str, int]:
    """Give what a node's gate has counted."""
    document = node.show()
    assert document is not None
    found: dict[str, int] = document["security"]["counters"]
    return found
