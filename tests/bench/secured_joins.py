"""How long a host takes to join, from the start of its process, with security and without.

Real nodes on the small Internet: until it has its place, and until it holds the group's keys.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Final

from dmmp.demo.admission import CERTIFICATES, NONE, SHARED_SECRET
from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Node, Overlay
from tests.bench.figures import Result

MEMBERS: Final = ("m1", "m2", "m3", "m4")
MODES: Final = {
    CERTIFICATES: "with certificates",
    SHARED_SECRET: "with a secret",
    NONE: "no security",
}
PATIENCE: Final = 20.0
CASE: Final = "a member joins"
PLACE: Final = "until it has its place"
KEYS: Final = "until it holds the keys"


def measure_joins(result: Result) -> None:
    """Let members join one after the other, in each mode."""
    for mode, name in MODES.items():
        with (
            tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
            Internet.build(["rp", "source", *MEMBERS]) as internet,
            Overlay(internet, Path(directory), security=mode) as overlay,
        ):
            overlay.rp()
            overlay.source("source", "--out-degree", "8")
            overlay.wait_joined()
            for member in MEMBERS:
                begun = time.time()
                node = overlay.member(member, "--out-degree", "2", "--log-json")
                place = _await(node, "Admitted") - begun
                result.add(CASE, name, "s", PLACE, place)
                if mode != NONE:
                    result.add(CASE, name, "s", KEYS, _await(node, "KeysHeld") - begun)


def _await(node: Node, event: str) -> float:
    """Wait for an event of a node; give when it was, in seconds since 1970."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for line in node.lines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("event") == event:
                return float(said["time"]) if isinstance(said["time"], float) else _at(said["time"])
        time.sleep(0.02)
    raise TimeoutError(f"{node.name} told of no {event}")


def _at(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
