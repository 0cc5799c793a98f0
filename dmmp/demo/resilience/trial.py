"""One trial: a numbered stream to every member while something happens, and what each heard.

Every instant is of CLOCK_MONOTONIC, which all namespaces share, in nanoseconds.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dmmp.demo.overlay import Document, OverlayError
from dmmp.demo.programs import program_command
from dmmp.demo.resilience.lab import MEMBERS, Lab
from dmmp.demo.stream import Listener, Report, await_ready

FLOW: Final = "239.10.25.1:5004"
RATE: Final = "10M"
LATE: Final = 2.0
"""What comes later than so many seconds after it was sent is late."""

LEAST_GAP: Final = 0.002
"""Shorter silences than so many seconds are not looked at; packets come every millisecond."""

SETTLE: Final = 1.0
"""Interest climbs a level in a round trip; processes on a busy machine take their time."""

DRAIN: Final = 2.5
"""How long after the last packet repairs may still arrive, seconds."""

DRAIN_LEAST: Final = 0.5
GLANCE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Heard:
    """What one member's program got of one stream."""

    member: str
    below: bool
    """Whether it was below what was taken away, so that the harm was done to it."""

    missing: int
    duplicates: int
    late: int
    silence_ms: float
    """The longest silence that overlaps the time from the harm to the end of the stream."""


@dataclass(slots=True)
class Outcome:
    """What came of one repetition of one scenario."""

    scenario: str
    number: int
    harm: str
    tree: str
    sent: int
    sender_gap_ms: float
    heard: list[Heard] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def missing(self) -> int:
        """Packets that one member or another never got."""
        return sum(heard.missing for heard in self.heard)

    @property
    def duplicates(self) -> int:
        """Packets that programs got more than once."""
        return sum(heard.duplicates for heard in self.heard)

    @property
    def silence_ms(self) -> float:
        """The longest silence at any member."""
        return max((heard.silence_ms for heard in self.heard), default=0.0)


class Stream:
    """A numbered stream of 10 Mbit/s from the source to programs on all members."""

    def __init__(self, lab: Lab, directory: Path, seconds: float) -> None:
        self._lab = lab
        self._seconds = seconds
        words = (FLOW, "--sequence", "--gaps", str(LEAST_GAP), "--late", str(LATE))
        self._listeners = {
            name: Listener(lab.internet[name], directory, *words, "--progress", str(GLANCE))
            for name in MEMBERS
        }
        self._sender: subprocess.Popen[str] | None = None
        self.sent: Report = {}
        self.reports: dict[str, Report] = {}

    def join(self) -> None:
        """Let the programs join, and their wishes reach the source."""
        await_ready(self._listeners.values())
        time.sleep(SETTLE)

    def begin(self) -> None:
        """Start to send."""
        words = (FLOW, "--rate", RATE, "--seconds", f"{self._seconds:g}")
        self._sender = self._lab.internet["source"].popen(*program_command("send", *words))

    def finish(self, deaf: Collection[str] = ()) -> None:
        """Wait for the end of the stream and for repairs; gather the reports.

        `deaf` are the hosts of programs that will not get everything.
        """
        assert self._sender is not None and self._sender.stdout is not None
        said = self._sender.stdout.read().splitlines()
        if self._sender.wait() != 0 or not said:
            raise OverlayError(f"the sender has failed: {' '.join(said)}")
        self.sent = json.loads(said[-1])["flows"][0]
        ended = time.monotonic()
        while (past := time.monotonic() - ended) < DRAIN:
            counts = [sum(each.counts()) for n, each in self._listeners.items() if n not in deaf]
            if past >= DRAIN_LEAST and all(count >= self.sent["count"] for count in counts):
                break
            time.sleep(GLANCE / 2)
        self.close()

    def close(self) -> None:
        """End the programs and take their reports; those that ran are in `reports`."""
        for name, listener in self._listeners.items():
            self.reports[name] = listener.finish()[0]

    def heard(self, since_ns: int, without: Collection[str], below: Collection[str]) -> list[Heard]:
        """Judge what all but a few members got; silences only from `since_ns` to the end."""
        return [
            judge(name, report, self.sent, since_ns, name in below)
            for name, report in self.reports.items()
            if name not in without
        ]


def judge(member: str, report: Report, sent: Report, since_ns: int, below: bool) -> Heard:
    """Judge one program's report by what was sent."""
    sequence = report["sequence"]
    silence_ns = longest_silence_ns(report, since_ns, sent["last_ns"])
    return Heard(
        member=member,
        below=below,
        missing=sent["count"] - sequence["distinct"],
        duplicates=sequence["duplicates"],
        late=sequence["late"],
        silence_ms=round(silence_ns / 1e6, 1),
    )


def longest_silence_ns(report: Mapping[str, Any], since_ns: int, until_ns: int) -> int:
    """Give the longest time without a packet that overlaps a window; a gap counts in full.

    Gaps below `LEAST_GAP` are not in the report and count as none.
    """
    last_ns: int | None = report["last_ns"]
    if last_ns is None or last_ns < since_ns:
        return until_ns - since_ns
    within: list[int] = [
        gap_ns
        for at_ns, gap_ns in report["gaps_ns"]
        if at_ns < until_ns and at_ns + gap_ns > since_ns
    ]
    return int(max([*within, until_ns - last_ns, 0]))


def outcome_of(
    stream: Stream, scenario: str, number: int, harm: str, tree: str, heard: Sequence[Heard]
) -> Outcome:
    """Put together what is known of a repetition."""
    return Outcome(
        scenario=scenario,
        number=number,
        harm=harm,
        tree=tree,
        sent=stream.sent["count"],
        sender_gap_ms=round(stream.sent["largest_gap_ns"] / 1e6, 1),
        heard=list(heard),
        evidence={"sent": stream.sent, "reports": stream.reports},
    )


def sum_of(documents: Mapping[str, Document], counter: str) -> int:
    """Add up a counter over all nodes."""
    return sum(document.get("counters", {}).get(counter, 0) for document in documents.values())
