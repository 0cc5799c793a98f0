"""An overlay of real processes on the small Internet: each node is the command line on one host.

It starts nodes, asks them how they are by their UNIX sockets, and ends them; what they print goes
to files. It knows nothing of the protocol beyond what `dmmp show` tells everybody.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dmmp.demo.admission import CERTIFICATES, Admission
from dmmp.demo.internet import Host, Internet
from dmmp.demo.processes import stop_all
from dmmp.errors import UsageError
from dmmp.runtime.control import DIRECTORY_VARIABLE
from dmmp.types import DEFAULT_PORT

SESSION: Final = "demo"
TUN: Final = "dmmp0"
POLL: Final = 0.05
ANSWER_PATIENCE: Final = 2.0
JOIN_PATIENCE: Final = 20.0
CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")

Document = dict[str, Any]


class OverlayError(UsageError):
    """A node ended or did not get where it should; the message holds its last words."""


class Node:
    """One process of the command line on one host."""

    def __init__(self, host: Host, kind: str, words: Sequence[str], directory: Path) -> None:
        self.host = host
        self.kind = kind
        self.name = host.name
        self.words = words
        self.log = directory / f"{self.name}.log"
        self.socket = directory / f"{self.name}.sock"
        self.command = [sys.executable, "-m", "dmmp", kind, "--name", self.name, *words]
        self.process = self._start(directory)

    def _start(self, directory: Path) -> subprocess.Popen[str]:
        environment = {DIRECTORY_VARIABLE: os.fspath(directory), "PYTHONUNBUFFERED": "1"}
        with self.log.open("a") as log:
            return self.host.popen(
                *self.command,
                standard_output=log,
                standard_error=subprocess.STDOUT,
                environment=environment,
            )

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """What it has printed so far."""
        return self.log.read_text().splitlines()

    def show(self) -> Document | None:
        """Ask for the document of `dmmp show`; None while it cannot answer."""
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
                asking.settimeout(ANSWER_PATIENCE)
                asking.connect(os.fspath(self.socket))
                while part := asking.recv(65536):
                    answer += part
            document: Document = json.loads(bytes(answer))
        except (OSError, ValueError):
            return None
        return document

    @property
    def is_joined(self) -> bool:
        """Whether it has its place: a parent, a source its identity; a rendezvous point answers."""
        document = self.show()
        if document is None or "counters" not in document:
            return False
        if self.kind == "rp":
            return True
        return document["node_id" if self.kind == "source" else "parent"] is not None

    def processor_seconds(self) -> float:
        """Tell how much processor time it has used, in user mode and in the kernel."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def kill(self) -> None:
        """End it without warning, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to leave, and wait until it has."""
        stop_all([self.process])


class Overlay:
    """The nodes of one session; a context manager, because they must not outlive it.

    `directory` takes the nodes' sockets, logs and credentials; its path must be short (unix(7)).
    `security` is as the command line has it.
    """

    def __init__(
        self,
        internet: Internet,
        directory: Path,
        session: str = SESSION,
        security: str = CERTIFICATES,
    ) -> None:
        self.internet = internet
        self.admission = Admission(directory / "authority", session, security)
        self.directory = directory
        self.session = session
        self.nodes: dict[str, Node] = {}
        self._rendezvous: list[str] = []

    def __enter__(self) -> Overlay:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def rp(self, name: str = "rp", *options: str, listen: str | None = None) -> Node:
        """Start a rendezvous point, by IPv4 unless told; the nodes started later know it."""
        host = self.internet[name]
        listen = listen or f"{host.address}:{DEFAULT_PORT}"
        self._rendezvous.append(listen)
        words = self.admission.rendezvous_point(name, listen)
        return self._add(name, "rp", ["--listen", listen, *words, *options])

    def source(self, name: str = "source", *options: str) -> Node:
        """Start a source with a TUN."""
        return self._add(
            name, "source", [*self._to_session(name, "source"), "--tun", TUN, *options]
        )

    def super_node(self, name: str, *options: str) -> Node:
        """Start a host that relays only."""
        words = self._to_session(name, "super-node")
        return self._add(name, "super-node", [*words, *options])

    def member(self, name: str, *options: str) -> Node:
        """Start a member with a TUN."""
        words = self._to_session(name, "member")
        return self._add(name, "member", [*words, "--tun", TUN, *options])

    def _to_session(self, name: str, kind: str) -> list[str]:
        return self.admission.host(name, kind, self._rendezvous)

    def _add(self, name: str, kind: str, words: list[str]) -> Node:
        node = Node(self.internet[name], kind, words, self.directory)
        self.nodes[name] = node
        return node

    def restart(self, name: str) -> Node:
        """Start a node that has ended again, as it was started; it knows nothing of before."""
        node = self.nodes[name]
        return self._add(name, node.kind, list(node.words))

    def of_kind(self, kind: str) -> list[Node]:
        """List the nodes of a kind that still run."""
        return [node for node in self if node.kind == kind and node.is_running]

    def wait_joined(
        self, names: Iterable[str] | None = None, patience: float = JOIN_PATIENCE
    ) -> float:
        """Wait until these nodes, or all, have their places; return how long it took."""
        begun = time.monotonic()
        waiting = [self.nodes[name] for name in names or self.nodes]
        while waiting:
            for node in waiting:
                if not node.is_running:
                    raise OverlayError(f"{node.name} has ended: {last_words(node)}")
            waiting = [node for node in waiting if not node.is_joined]
            if waiting and time.monotonic() - begun > patience:
                node = waiting[0]
                raise OverlayError(
                    f"{node.name} found no place in {patience:.0f} s: {last_words(node)}"
                )
            if waiting:
                time.sleep(POLL)
        return time.monotonic() - begun

    def documents(self) -> dict[str, Document]:
        """Ask every running node; those that do not answer are missing."""
        answers = ((node.name, node.show()) for node in self if node.is_running)
        return {name: document for name, document in answers if document is not None}

    def parents(self) -> dict[str, str]:
        """Tell every node's parent, both by name."""
        return parents_of(self.documents())

    def below(self, name: str) -> list[str]:
        """List who hangs below a node, children first."""
        return descendants(self.parents(), name)

    def close(self) -> None:
        """Stop every node, those that depend on others first."""
        stop_all([node.process for node in reversed(self.nodes.values())])


def parents_of(documents: Mapping[str, Document]) -> dict[str, str]:
    """Tell every node's parent from the nodes' documents, both by name."""
    names = {document.get("node_id"): name for name, document in documents.items()}
    found = {}
    for name, document in documents.items():
        parent = document.get("parent")
        if parent is not None and (above := names.get(parent["node_id"])) is not None:
            found[name] = above
    return found


def descendants(parents: Mapping[str, str], name: str) -> list[str]:
    """List who hangs below a node in such a tree, children first; a loop ends the list."""
    found: list[str] = []
    level = [name]
    while level:
        level = [each for each, above in parents.items() if above in level and each not in found]
        found += level
    return found


def last_words(node: Node) -> str:
    """Give the end of what a node has printed."""
    lines: list[str] = []
    with suppress(OSError):
        lines = node.lines()
    return " / ".join(lines[-3:]) or "it said nothing"
