"""What a slow child costs its siblings: `python -m tests.bench.slow_child`, as root.

A source, a super node and members below it, as processes in network namespaces; ordinary programs
send and receive. One member is well, sits behind a slow link, or is stopped in turn, all in one
run. Reported are the siblings' losses and their latency from program to program, as a ratio to the
median of the rounds in which all are well, and what the super node sent again. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Overlay
from dmmp.demo.programs import program_command
from dmmp.demo.stream import Listener, await_ready

FLOW: Final = "239.10.29.1:5004"
RELAY: Final = "relay"
SETTLE: Final = 1.0
"""Seconds in which wishes reach the source, and what is on its way arrives."""

POLL: Final = 0.1
PATIENCE: Final = 20.0
WELL, NARROW, STOPPED = "well", "1 Mbit/s", "stopped"
NARROW_BITS: Final = 1e6


class Round(NamedTuple):
    """What one round showed: of the siblings together, and of the node that feeds them."""

    state: str
    sent: int
    lost: int
    median_ms: float
    p99_ms: float
    replayed: int
    withheld: int
    relay_seconds: float


class Family:
    """The running overlay; the last of the members is the slow child."""

    def __init__(self, overlay: Overlay, directory: Path, members: int) -> None:
        self.overlay = overlay
        self.directory = directory
        self.names = [f"m{number}" for number in range(1, members + 1)]
        self.slow = self.names[-1]

    @staticmethod
    def hosts(members: int) -> list[str]:
        """Name the hosts of a family of so many members."""
        return ["rp", "source", RELAY, *(f"m{number}" for number in range(1, members + 1))]

    def start(self) -> None:
        """Start everything; every member becomes a child of the super node."""
        self.overlay.rp()
        self.overlay.source("source", "--out-degree", "1")
        self.overlay.super_node(RELAY, "--out-degree", str(len(self.names) + 1))
        self.overlay.wait_joined()
        for name in self.names:
            self.overlay.member(name, "--out-degree", "0")
        self.overlay.wait_joined()

    def play(self, state: str, rate: float, seconds: float) -> Round:
        """Send for a while with the slow child in a state."""
        siblings = self.names[:-1]
        listeners = {
            name: Listener(self.overlay.internet[name], self.directory, FLOW, "--sequence")
            for name in self.names
        }
        await_ready(listeners.values())
        self._gather()
        time.sleep(SETTLE)
        self._into(state)
        before = self._relay()
        begun = self.overlay[RELAY].processor_seconds()
        sender = self.overlay.internet["source"].run(
            *program_command("send", FLOW, "--rate", f"{rate:.0f}", "--seconds", f"{seconds:g}"),
            timeout=seconds + 30,
        )
        assert sender.returncode == 0
        time.sleep(SETTLE)
        used = self.overlay[RELAY].processor_seconds() - begun
        replayed = self._relay()["counters"]["replayed"] - before["counters"]["replayed"]
        withheld = self._relay()["counters"]["withheld"] - before["counters"]["withheld"]
        self._back(state)
        reports = {name: listener.finish()[0] for name, listener in listeners.items()}
        sent = round(rate * seconds / 8 / 1316)
        found = [reports[name]["sequence"] for name in siblings]
        return Round(
            state,
            sent,
            sum(sent - each["distinct"] for each in found),
            statistics.median(each["latency_ns"]["median"] for each in found) / 1e6,
            statistics.median(each["latency_ns"]["p99"] for each in found) / 1e6,
            replayed,
            withheld,
            used,
        )

    def _gather(self) -> None:
        """Wait until the super node feeds all of them: the last round may have cost it one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            parents = self.overlay.parents()
            if all(parents.get(name) == RELAY for name in self.names):
                return
            time.sleep(POLL)

    def _relay(self) -> dict[str, Any]:
        document = self.overlay[RELAY].show()
        assert document is not None
        return document

    def _into(self, state: str) -> None:
        if state == NARROW:
            self.overlay.internet.limit(self.slow, NARROW_BITS)
        elif state == STOPPED:
            self.overlay[self.slow].process.send_signal(signal.SIGSTOP)

    def _back(self, state: str) -> None:
        if state == NARROW:
            self.overlay.internet.unlimit(self.slow)
        elif state == STOPPED:
            self.overlay[self.slow].process.send_signal(signal.SIGCONT)


def main() -> None:
    """Play the rounds and print a line for each, then the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=8e6, help="bit/s")
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    rounds: list[Round] = []
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as path,
        Internet.build(Family.hosts(options.members)) as internet,
        Overlay(internet, Path(path)) as overlay,
    ):
        family = Family(overlay, Path(path), options.members)
        family.start()
        print("slow child    lost   p50 ms   p99 ms  replayed  withheld  cpu s")
        for _ in range(options.rounds):
            for state in (WELL, NARROW, STOPPED):
                rounds.append(family.play(state, options.rate, options.seconds))
                state, _, lost, median, p99, replayed, withheld, used = rounds[-1]
                print(
                    f"{state:12}{lost:6}{median:9.2f}{p99:9.2f}"
                    f"{replayed:10}{withheld:10}{used:7.2f}"
                )
    for state in (NARROW, STOPPED):
        print(f"{state}: {_ratios(rounds, state)}")


def _ratios(rounds: list[Round], state: str) -> str:
    """Compare a state with "well": siblings' loss, and medians of the rounds."""
    found = [each for each in rounds if each.state == state]
    well = [each for each in rounds if each.state == WELL]
    p99 = statistics.median(each.p99_ms for each in found)
    reference = statistics.median(each.p99_ms for each in well)
    lost, sent = sum(each.lost for each in found), sum(each.sent for each in found)
    return f"siblings lost {lost} of {sent} packets each, p99 {p99 / reference:.2f} x that of well"


if __name__ == "__main__":
    main()
