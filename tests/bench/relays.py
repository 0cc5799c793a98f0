"""Relays side by side: datagrams sent for each second of processor time, ours and three in C.

At the common load, what the plain C relay can just about take, and at full load, as much as a
sender can send. Datagrams come in bursts, as a source with segmentation offload sends them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dmmp.messages.header import HEADER_BYTES
from tests.bench.figures import LEAST, Goal, Result
from tests.bench.options import Options
from tests.bench.places import Place, places
from tests.bench.running import Report, Running, build, processors, python

PLAIN, BATCHED, OFFLOAD = "C plain", "C sendmmsg", "C offload"
OURS, PORTABLE = "dmmp", "dmmp portable"
C_RELAYS: Final = {PLAIN: "plain", BATCHED: "batched", OFFLOAD: "offload"}
DATAPATHS: Final = {OURS: "auto", PORTABLE: "portable"}
CANDIDATES: Final = (*C_RELAYS, *DATAPATHS)

BURST: Final = 48
COMMON_SHARE: Final = 0.85
"""Of a processor, which the plain relay uses at the common load: it just about takes it."""

DRAIN: Final = 0.1
FULL: Final = 0.0
SHORTEST_TRIAL: Final = 0.3
USUAL_BYTES: Final = 1316
FAN_OUTS: Final = (1, 4, 8, 16)
SIZES: Final = (512, 1400, 9000)
FIGURE: Final = "datagrams per CPU second"
UNIT: Final = "k/s"

GOALS: Final = {1: (0.9, 3.0), 8: (0.95, 3.0), 16: (0.95, 3.0)}
"""By fan-out: the least ratio to the C relay with offload and to the one with sendmmsg."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to be loaded: so many children, datagrams of so many bytes of payload."""

    place: str
    fan_out: int
    payload_bytes: int
    load: str = "common"

    def __str__(self) -> str:
        return f"{self.place}, {self.fan_out} x {self.payload_bytes} B, {self.load} load"

    @property
    def size(self) -> int:
        """Bytes of a datagram."""
        return self.payload_bytes + HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Run:
    """What one relay did in one run; latencies in microseconds: least, median, 99 %, most."""

    offered: int
    sent: int
    arrived: int
    processor: float
    seconds: float
    latency_us: tuple[float, ...]
    report: Report

    @property
    def per_second(self) -> float:
        """Datagrams sent in each second of processor time."""
        return self.sent / self.processor

    @property
    def whole(self) -> bool:
        """Whether everything that was offered went out."""
        return int(self.report["received"]) == self.offered


class Relays:
    """The relays in their places, ready to be run one after the other."""

    def __init__(self, relay: str, traffic: str) -> None:
        self.traffic = traffic
        self._relay = relay
        self._measured, self.around = processors()

    def run(
        self,
        candidate: str,
        place: Place,
        case: Case,
        rate: float,
        seconds: float,
        burst: int = BURST,
        latencies: bool = False,
    ) -> Run:
        """Have one relay carry so many datagrams a second (0: as many as can be sent)."""
        words = ["receive", place.sink, "-", "1", str(int(latencies))]
        sink = Running(place.sinks, [self.traffic, *words], processor=self.around)
        children = place.children(case.fan_out)
        relay = Running(
            place.relay, self.command(candidate, place, children), processor=self._measured
        )
        before = relay.processor_seconds()
        load = self.load(place, place.at, case.size, rate, burst, seconds)
        sent = load.wait()
        time.sleep(DRAIN)
        used = relay.processor_seconds() - before
        report, got = relay.finish(), sink.finish()
        return Run(
            sent["sent"],
            report["sent"],
            got["received"],
            used,
            sent["seconds"],
            tuple(got["latency_us"]),
            report,
        )

    def load(
        self, place: Place, to: str, size: int, rate: float, burst: int, seconds: float
    ) -> Running:
        """Begin to send."""
        words = [to, str(size), f"{rate:.1f}", str(burst), f"{seconds:.3f}", "0", place.source]
        return Running(
            place.sender, [self.traffic, "send", *words], processor=self.around, ready=False
        )

    def command(self, candidate: str, place: Place, children: Sequence[str]) -> list[str]:
        """Give the command line of a relay."""
        if candidate in C_RELAYS:
            return [self._relay, C_RELAYS[candidate], place.at, *children]
        datapath = DATAPATHS[candidate]
        return python("tests.bench.relay_node", datapath, place.at, place.source, *children)

    def common_rate(self, place: Place, case: Case, seconds: float) -> float:
        """Find what the plain relay can just about take, in datagrams a second."""
        trial = self.run(PLAIN, place, case, FULL, seconds)
        return COMMON_SHARE * trial.per_second / case.fan_out


def cases(brief: bool) -> list[Case]:
    """List what is measured: all fan-outs at the usual size, the other sizes at fan-out 8."""
    listed = []
    for place in ("veth", "loopback"):
        for load in ("common", "full"):
            fan_outs = (8,) if brief else FAN_OUTS
            listed += [Case(place, fan_out, USUAL_BYTES, load) for fan_out in fan_outs]
        if not brief:
            listed += [Case(place, 8, size) for size in SIZES]
    return listed


def measure(options: Options) -> Result:
    """Run every case; within a round the candidates follow each other."""
    result = Result("relay", "Relays: datagrams sent per CPU second", (OFFLOAD, BATCHED))
    listed = cases(options.brief)
    relays = Relays(build("relay", options.directory), build("traffic", options.directory))
    with places() as at:
        rates = dict.fromkeys(listed, FULL)
        for case in listed:
            if case.load == "common":
                trial = max(SHORTEST_TRIAL, options.seconds / 3)
                rates[case] = relays.common_rate(at[case.place], case, trial)
        for number in range(options.rounds):
            for case in listed:
                options.say(f"relay, round {number + 1} of {options.rounds}: {case}")
                for candidate in CANDIDATES:
                    run = relays.run(candidate, at[case.place], case, rates[case], options.seconds)
                    _note(result, case, candidate, run)
    result.goals = [goal for case in listed for goal in _goals(case)]
    return result


def _note(result: Result, case: Case, candidate: str, run: Run) -> None:
    result.add(str(case), candidate, UNIT, FIGURE, run.per_second / 1e3)
    result.add(str(case), candidate, "%", "taken of what was offered", _share(run))


def _share(run: Run) -> float:
    return 100 * float(run.report["received"]) / max(1, run.offered)


def _goals(case: Case) -> list[Goal]:
    if case.payload_bytes != USUAL_BYTES or case.fan_out not in GOALS:
        return []
    offload, batched = GOALS[case.fan_out]
    return [
        Goal(str(case), OURS, FIGURE, LEAST, offload, OFFLOAD),
        Goal(str(case), OURS, FIGURE, LEAST, batched, BATCHED),
    ]
