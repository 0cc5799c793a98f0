"""What nodes cost that have little to do: memory of each kind, and the processor when idle."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Node, Overlay
from tests.bench.figures import Result
from tests.bench.options import Options
from tests.bench.peers.system import EXTRA, RECEIVERS, SOURCE
from tests.bench.running import processor_seconds

SUPER_NODE: Final = "s1"
LEAST_SECONDS: Final = 2.0
KINDS: Final = ("rp", "source", "super-node", "member")


def memory(process: int) -> tuple[float, float]:
    """Tell a process's resident memory, and its proportional share of what is shared, in MB."""
    found = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found["Rss"], found["Pss"]


def measure(options: Options) -> Result:
    """Look at the nodes of a session in which nobody sends."""
    result = Result("standing", "Nodes at rest: 1 source, 1 super node, 8 members")
    hosts = [EXTRA, SOURCE, SUPER_NODE, *RECEIVERS]
    for number in range(options.rounds):
        options.say(f"standing, round {number + 1} of {options.rounds}")
        with (
            tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
            Internet.build(hosts) as internet,
            Overlay(internet, Path(directory)) as overlay,
        ):
            overlay.rp(EXTRA)
            overlay.source(SOURCE, "--out-degree", "4")
            overlay.super_node(SUPER_NODE, "--out-degree", "8")
            overlay.wait_joined()
            for name in RECEIVERS:
                overlay.member(name, "--out-degree", "4")
            overlay.wait_joined()
            _look(result, overlay, max(LEAST_SECONDS, options.seconds))
    return result


def _look(result: Result, overlay: Overlay, seconds: float) -> None:
    before = {node.name: processor_seconds(node.process.pid) for node in overlay}
    begun = time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - begun
    for kind in KINDS:
        nodes: list[Node] = overlay.of_kind(kind)
        used = [processor_seconds(node.process.pid) - before[node.name] for node in nodes]
        sizes = [memory(node.process.pid) for node in nodes]
        count = len(nodes)
        result.add(kind, "dmmp", "MB", "memory, resident", sum(rss for rss, _ in sizes) / count)
        result.add(kind, "dmmp", "MB", "memory, proportional", sum(pss for _, pss in sizes) / count)
        result.add(kind, "dmmp", "% of a core", "processor", 100 * sum(used) / count / lasted)
