"""The overlay that is harmed again and again: its shape, and when it is fit for the next harm.

One rendezvous point, one source, three super nodes, twelve members: real processes, real TUN
devices. What it takes to measure on it is in `trial`, what is done to it in the scenarios.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Document, Node, Overlay, parents_of
from dmmp.demo.resilience.structure import SOURCE, clusters_of, misplaced

RP: Final = "rp"
SUPER_NODES: Final = ("s1", "s2", "s3")
MEMBERS: Final = tuple(f"m{number}" for number in range(1, 13))
HOSTS: Final = (SOURCE, *SUPER_NODES, *MEMBERS)

LEAST_RELAYS: Final = 1
"""Members that feed others, without which there is nothing to kill in the middle of the tree."""

LEAST_CLUSTERS: Final = 2
REST: Final = 1.0
"""How long a tree must have stayed as it is before it is harmed again, seconds."""

SETTLE_PATIENCE: Final = 15.0
BACKUP_PATIENCE: Final = 5.0
"""How long a host may look for backup parents before it is harmed without them."""

POLL: Final = 0.25


@dataclass(frozen=True, slots=True)
class Shape:
    """How many each kind may feed, and what else the nodes are told.

    By these numbers about half the members are below other members, and the places that are free
    take in a whole super node's cluster.
    """

    source: int = 4
    super_nodes: int = 4
    members: int = 3
    words: tuple[str, ...] = ("--log-json",)


class Lab:
    """An overlay at work, with what was done to it."""

    def __init__(self, overlay: Overlay, shape: Shape) -> None:
        self.overlay = overlay
        self.internet = overlay.internet
        self.shape = shape
        self.ended: list[Node] = []

    def start(self) -> None:
        """Start every node, and wait until each has its place."""
        overlay, shape = self.overlay, self.shape
        overlay.rp(RP, "--log-json")
        overlay.source(SOURCE, "--out-degree", str(shape.source), *shape.words)
        for name in SUPER_NODES:
            overlay.super_node(name, "--out-degree", str(shape.super_nodes), *shape.words)
        for name in MEMBERS:
            overlay.member(name, "--out-degree", str(shape.members), *shape.words)
        overlay.wait_joined()

    def revive(self) -> list[str]:
        """Start every node again that has ended; tell which."""
        names = [node.name for node in self.overlay if not node.is_running]
        for name in names:
            self.overlay.restart(name)
        return names

    def settle(self, patience: float = SETTLE_PATIENCE) -> str:
        """Wait until the tree is whole, has relays, and rests; say what is missing if it does not.

        Backup parents, and that a rendezvous point knows everybody, are waited for a shorter time.
        """
        begun = time.monotonic()
        last: dict[str, str] = {}
        since = begun
        while True:
            documents = self.overlay.documents()
            now = time.monotonic()
            if (parents := parents_of(documents)) != last:
                last, since = parents, now
            wrong = unfit(documents)
            if not wrong and now - since >= REST:
                wanted = unready(documents)
                if not wanted or now - since >= BACKUP_PATIENCE:
                    return ""
            if now - begun > patience:
                return wrong or "the tree does not come to rest"
            time.sleep(POLL)


def unfit(documents: Mapping[str, Document]) -> str:
    """Say why a tree is not worth harming; nothing if it is."""
    problems = misplaced(documents, HOSTS)
    if problems:
        return problems[0]
    clusters = [cluster for cluster in clusters_of(documents, MEMBERS).values() if cluster]
    if len(clusters) < LEAST_CLUSTERS:
        return "fewer than two super nodes feed members"
    if len(relays_of(parents_of(documents))) < LEAST_RELAYS:
        return "no member feeds others"
    return ""


def unready(documents: Mapping[str, Document]) -> str:
    """Say what a whole tree still waits for; nothing if for nothing."""
    for name in MEMBERS:
        if not documents[name]["backup"]:
            return f"{name} has no backup"
    sessions = documents.get(RP, {}).get("sessions") or [{}]
    known = sessions[0].get("hosts") or 0
    return "" if known >= len(HOSTS) else "the rendezvous point does not know everybody"


def relays_of(parents: Mapping[str, str], names: Iterable[str] = MEMBERS) -> list[str]:
    """List those of these hosts that feed others."""
    feeding = set(parents.values())
    return [name for name in names if name in feeding]


@contextmanager
def opened(directory: Path, shape: Shape) -> Iterator[Lab]:
    """Build the network and the overlay on it, started and fit; take both away at the end."""
    with Internet.build([RP, *HOSTS]) as internet, Overlay(internet, directory) as overlay:
        lab = Lab(overlay, shape)
        lab.start()
        lab.settle()
        yield lab
