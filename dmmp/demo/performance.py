"""The demonstration itself: builds, starts, plays, kills a relay half-way, and reckons.

It shows nothing: `Performance.watch` is called again and again with what there is to see, and the
`Result` is a value. How a terminal shows them is in `screen`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dmmp.demo.digests import compare_digests
from dmmp.demo.internet import Internet
from dmmp.demo.overlay import (
    Document,
    Node,
    Overlay,
    OverlayError,
    descendants,
    last_words,
    parents_of,
)
from dmmp.demo.programs import Flow
from dmmp.demo.stream import Listener, Report, await_ready, find_ffmpeg, packet_bytes, play

FLOW: Final = Flow.parse("239.10.20.30:5004")
RATE: Final = 8_000_000
SUPER_NODES: Final = 3

SOURCE_PLACES: Final = 2
"""Fewer than there are super nodes, so that one of them hangs below another."""

CORE_RATE: Final = 100e6
LEAF_RATE: Final = 30e6
COPY_RATE: Final = 9e6
"""What one copy of the stream takes with every header, bit/s."""

SETTLE: Final = 1.0
"""Interest climbs a level in a round trip; processes on a busy machine take their time."""

DRAIN: Final = 1.0
GLANCE: Final = 0.5
STREAM_TRIAL: Final = 1.0
STREAM_PATIENCE: Final = 10.0
FIRST_KILL: Final = 1.5
END_BAND: Final = 1.0
"""Who hears the last second of the stream hears it in the end."""

HEARING_AGAIN: Final = 5.0
"""Seconds in which everyone below a killed relay must hear the stream again."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see at one moment."""

    elapsed: float
    note: str
    position: str
    parents: dict[str, str]
    documents: dict[str, Document]
    counts: dict[str, int]
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What one member's program got."""

    name: str
    received: int
    lost: int
    in_order: bool
    below_relay: bool
    gap_ms: float
    hears_in_the_end: bool


@dataclass(slots=True)
class Result:
    """The figures of one performance."""

    stream: str
    seconds: float
    join_seconds: float
    sent: int = 0
    sent_bytes: int = 0
    uplink_bytes: int = 0
    relay: str | None = None
    killed_at: float | None = None
    members: list[MemberResult] = field(default_factory=list)
    tree_before: dict[str, str] = field(default_factory=dict)
    tree_after: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def copies(self) -> float:
        """The source's uplink in copies of the stream."""
        return self.uplink_bytes / self.sent_bytes if self.sent_bytes else 0.0

    def to_json(self) -> dict[str, Any]:
        """Make a document of it; the names are stable."""
        return {
            "stream": self.stream,
            "seconds": self.seconds,
            "join_seconds": round(self.join_seconds, 3),
            "sent": self.sent,
            "sent_bytes": self.sent_bytes,
            "uplink_bytes": self.uplink_bytes,
            "uplink_copies": round(self.copies, 3),
            "unicast_copies": len(self.members),
            "relay_killed": self.relay,
            "killed_at": self.killed_at,
            "members": [
                {name: getattr(member, name) for name in MemberResult.__slots__}
                for member in self.members
            ],
            "tree_before": self.tree_before,
            "tree_after": self.tree_after,
            "problems": self.problems,
            "ok": not self.problems,
        }


class Performance:
    """One demonstration; `run` does it all and leaves nothing behind."""

    def __init__(self, members: int, seconds: float, watch: Callable[[Scene], None]) -> None:
        self.seconds = seconds
        self._watch = watch
        self._begun = time.monotonic()
        self._members = [f"m{number}" for number in range(1, members + 1)]
        self._super_nodes = [f"s{number}" for number in range(1, SUPER_NODES + 1)]
        self._dead: list[str] = []
        self._position = ""
        # Half-way, but early enough to hear everyone again before a short stream ends.
        self._kill_at = max(FIRST_KILL, min(seconds / 2, seconds - HEARING_AGAIN - END_BAND))

    def run(self, directory: Path) -> Result:
        """Play it; sockets, logs and digests go to `directory`."""
        slow = f"{self._members[-1]} behind {LEAF_RATE / 1e6:.0f} Mbit/s"
        self._look(f"building a small Internet that carries no multicast, {slow}")
        names = ["rp", "source", *self._super_nodes, *self._members]
        rates = dict.fromkeys(("source", *self._super_nodes), CORE_RATE)
        rates[self._members[-1]] = LEAF_RATE
        with (
            Internet.build(names, rates=rates) as internet,
            Overlay(internet, directory) as overlay,
        ):
            joined = self._start(overlay)
            return self._play(internet, overlay, directory, joined)

    def _start(self, overlay: Overlay) -> float:
        begun = time.monotonic()
        self._look(f"starting {len(self._super_nodes) + len(self._members) + 2} nodes", overlay)
        overlay.rp()
        overlay.source("source", "--out-degree", str(SOURCE_PLACES))
        rate = ("--stream-rate", f"{COPY_RATE:.0f}")
        for name in self._super_nodes:
            overlay.super_node(name, "--bandwidth", f"{CORE_RATE / 2:.0f}", *rate)
        for name in self._members:
            overlay.member(name, "--bandwidth", f"{LEAF_RATE:.0f}", *rate)
        overlay.wait_joined()
        return time.monotonic() - begun

    def _play(self, internet: Internet, overlay: Overlay, directory: Path, joined: float) -> Result:
        names = ["source", *self._members]
        listeners = {
            name: Listener(internet[name], directory, str(FLOW), "--progress", f"{GLANCE}")
            for name in names
        }
        self._look("every node has its place; programs join the group", overlay, listeners)
        await_ready(listeners.values())
        time.sleep(SETTLE)
        result = Result("", self.seconds, joined, tree_before=overlay.parents())
        before = internet.uplink_bytes("source")
        self._stream(internet, overlay, directory, listeners, result)
        time.sleep(DRAIN)
        result.uplink_bytes = internet.uplink_bytes("source") - before
        result.tree_after = overlay.parents()
        result.problems += _ended(overlay, self._dead)
        self._look("the stream has ended", overlay, listeners)
        reports = {name: listener.finish()[0] for name, listener in listeners.items()}
        _reckon(result, reports, listeners)
        return result

    def _stream(
        self,
        internet: Internet,
        overlay: Overlay,
        directory: Path,
        listeners: dict[str, Listener],
        result: Result,
    ) -> None:
        """Play the stream to its end and kill a relay half-way."""
        ffmpeg = find_ffmpeg()
        log = directory / "stream.log"
        stream = play(internet["source"], FLOW, RATE, self.seconds, log, ffmpeg)
        begun = time.monotonic()
        result.stream = "ffmpeg" if ffmpeg else "generator (ffmpeg is not installed)"
        if ffmpeg is not None and _fails_at_once(stream):
            result.stream = f"generator (ffmpeg failed: {_last_line(log)})"
            stream = play(internet["source"], FLOW, RATE, self.seconds, log, None)
            begun = time.monotonic()
        killed = False
        while stream.poll() is None:
            elapsed = time.monotonic() - begun
            if elapsed > self.seconds + STREAM_PATIENCE:
                raise OverlayError(f"the stream does not end: {_last_line(log) or 'no word'}")
            if not killed and elapsed >= self._kill_at:
                self._kill_relay(overlay, result, elapsed)
                killed = True
            self._position = f"{min(elapsed, self.seconds):.0f} of {self.seconds:.0f} s"
            self._look(f"playing by {result.stream}{self._casualty()}", overlay, listeners)
            time.sleep(GLANCE)

    def _kill_relay(self, overlay: Overlay, result: Result, elapsed: float) -> None:
        parents = overlay.parents()
        relay = busiest(overlay, "super-node", parents, self._members)
        relay = relay or busiest(overlay, "member", parents, self._members)
        if relay is None:
            result.problems.append("no relay feeds a member, so none could be killed")
            return
        result.tree_before = parents
        result.relay, result.killed_at = relay.name, round(elapsed, 2)
        self._dead.append(relay.name)
        relay.kill()

    def _casualty(self) -> str:
        return f"; relay {', '.join(self._dead)} has been killed" if self._dead else ""

    def _look(
        self,
        note: str,
        overlay: Overlay | None = None,
        listeners: dict[str, Listener] | None = None,
    ) -> None:
        documents = {} if overlay is None else overlay.documents()
        counts = {name: sum(listener.counts()) for name, listener in (listeners or {}).items()}
        self._watch(
            Scene(
                time.monotonic() - self._begun,
                note,
                self._position,
                parents_of(documents),
                documents,
                counts,
                tuple(self._dead),
            )
        )


def _ended(overlay: Overlay, killed: Sequence[str]) -> list[str]:
    return [
        f"{node.name} has ended: {last_words(node)}"
        for node in overlay
        if not node.is_running and node.name not in killed
    ]


def _fails_at_once(stream: subprocess.Popen[str]) -> bool:
    try:
        return stream.wait(STREAM_TRIAL) != 0
    except subprocess.TimeoutExpired:
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text().splitlines()
    return lines[-1] if lines else ""


def busiest(
    overlay: Overlay, kind: str, parents: Mapping[str, str], members: Sequence[str]
) -> Node | None:
    """Choose the node of a kind with most of these members below it; None if it has none."""
    ranked = [
        (sum(below in members for below in descendants(parents, node.name)), node.name)
        for node in overlay.of_kind(kind)
    ]
    most, name = max(ranked, default=(0, ""))
    return overlay[name] if most else None


def _reckon(result: Result, reports: dict[str, Report], listeners: dict[str, Listener]) -> None:
    """Compare what every member got with what a program on the source's own host heard."""
    reference = reports.pop("source")
    result.sent = reference["count"]
    result.sent_bytes = packet_bytes(FLOW, reference)
    if not result.sent:
        result.problems.append(f"nothing was sent by {result.stream}")
        return
    sent = listeners["source"].digests.read_bytes()
    below = [] if result.relay is None else descendants(result.tree_before, result.relay)
    for name, report in reports.items():
        if name == result.relay:
            continue
        compared = compare_digests(sent, listeners[name].digests.read_bytes())
        good = compared.received_count - compared.unexpected - compared.duplicates
        last_ns = report["last_ns"] or 0
        member = MemberResult(
            name=name,
            received=good,
            lost=result.sent - good,
            in_order=compared.in_order and not compared.duplicates and not compared.unexpected,
            below_relay=name in below,
            gap_ms=round(report["largest_gap_ns"] / 1e6, 1),
            hears_in_the_end=last_ns >= reference["last_ns"] - END_BAND * 1e9,
        )
        result.members.append(member)
        result.problems += _broken_promises(member, result)


def _broken_promises(member: MemberResult, result: Result) -> list[str]:
    left = result.seconds - (result.killed_at or 0.0)
    if not member.received:
        return [f"{member.name} received nothing"]
    if not member.hears_in_the_end and left > HEARING_AGAIN:
        return [f"{member.name} did not hear the stream to its end"]
    if member.gap_ms > HEARING_AGAIN * 1000:
        return [f"{member.name} heard nothing for {member.gap_ms / 1000:.1f} s"]
    return []
