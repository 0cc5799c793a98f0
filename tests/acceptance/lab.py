"""What the acceptance tests share: starting an overlay, listening, sending, measuring.

Every bound on time in these tests is one the project promises; nothing else is timed.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dmmp.demo.internet import Host, Internet
from dmmp.demo.overlay import Overlay
from dmmp.demo.programs import Flow, program_command
from dmmp.demo.stream import Listener, await_ready, packet_bytes

Report = dict[str, Any]

CORE = ("rp", "source", "s1", "s2", "s3")
MEMBERS = tuple(f"m{number}" for number in range(1, 13))
OTHERS = ("late", "outsider")
LEAF = "m1"
"""The member that feeds nobody, whatever the others find better meanwhile."""

SETTLE = 1.0
"""A wish takes a round trip a level to climb to the source; the machine may be busy."""

DRAIN = 0.5
REPORT_VARIABLE = "DMMP_ACCEPTANCE_REPORT"
"""Environment variable: the file to which measured figures are added, one JSON object a line."""


def start_core(overlay: Overlay, source_places: int = 2, super_node_places: int = 6) -> None:
    """Start a rendezvous point, a source and three super nodes of so many places."""
    overlay.rp()
    overlay.source("source", "--out-degree", str(source_places))
    for name in CORE[2:]:
        overlay.super_node(name, "--out-degree", str(super_node_places))


def start_all(overlay: Overlay) -> None:
    """Start a core and members, and wait until all have their places."""
    start_core(overlay)
    for name in MEMBERS:
        overlay.member(name, "--out-degree", "0" if name == LEAF else "2")
    overlay.wait_joined()


def start_sender(host: Host, *words: str) -> subprocess.Popen[str]:
    """Start to send generated datagrams; `finish_sender` gives the report."""
    return host.popen(*program_command("send", *words))


def finish_sender(sender: subprocess.Popen[str]) -> list[Report]:
    """Wait until a sender has sent all; return its report, flow by flow."""
    assert sender.stdout is not None
    said = sender.stdout.read().splitlines()
    assert sender.wait() == 0, said
    flows: list[Report] = json.loads(said[-1])["flows"]
    assert all(flow["errors"] == 0 for flow in flows), flows
    return flows


def stop_sender(sender: subprocess.Popen[str]) -> list[Report]:
    """End a sender before its time; return its report."""
    sender.terminate()
    return finish_sender(sender)


def listen(
    overlay: Overlay, directory: Path, names: Iterable[str], *words: str
) -> dict[str, Listener]:
    """Start programs that receive on these hosts, and let their wishes reach the source."""
    listeners = {name: Listener(overlay.internet[name], directory, *words) for name in names}
    await_ready(listeners.values())
    time.sleep(SETTLE)
    return listeners


def finish(listeners: dict[str, Listener]) -> dict[str, list[Report]]:
    """Let what is on its way arrive, end the programs, return what each received."""
    time.sleep(DRAIN)
    return {name: listener.finish() for name, listener in listeners.items()}


def stream_bytes(report: Report) -> int:
    """Count a flow's bytes as IP packets."""
    return packet_bytes(Flow.parse(report["flow"]), report)


def record(name: str, figures: dict[str, Any]) -> None:
    """Print measured figures, and add them to the report file if one is named."""
    line = json.dumps({"test": name, **figures})
    os.write(2, f"\n{line}\n".encode())
    if path := os.environ.get(REPORT_VARIABLE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


@contextmanager
def network(names: Iterable[str], directory: Path) -> Iterator[Overlay]:
    """Build a network of these hosts for an overlay that is still to be started."""
    with Internet.build(names) as internet, Overlay(internet, directory) as overlay:
        yield overlay
