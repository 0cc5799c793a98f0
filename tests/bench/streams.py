"""One program sends, eight receive, through whatever lies between: how fast without a loss?

The programs are ordinary ones: one datagram a call, no offload. A rate is loss-free if every
receiver got every datagram of a run. The highest is found by doubling and halving.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Internet
from dmmp.errors import UsageError
from tests.bench.peers.system import HOSTS, RECEIVERS, SOURCE, System
from tests.bench.running import Report, Running, total_seconds

PAYLOAD_BYTES: Final = 1316
GROUP: Final = "239.10.20.30"
FLOW: Final = f"{GROUP}:5004"
HELD: Final = f"{GROUP}:5999"
"""Another port of the same group: who listens there keeps it joined and gets nothing."""

SETTLE: Final = 0.2
DRAIN: Final = 0.5
FIRST_RATE: Final = 10e6
LEAST_RATE: Final = 0.5e6
CLOSE: Final = 1.1
"""The bisection ends when the rate with a loss is at most so many times the one without."""

WARM_SECONDS: Final = 0.5
WARM_RATE: Final = 1e6
WARM_TRIES: Final = 30


@dataclass(frozen=True, slots=True)
class Trial:
    """One run at one rate, in bit/s of payload; processor time in seconds.

    `least` is the share of the datagrams that the receiver with most losses got.
    """

    rate: float
    sent: int
    least: float
    delivered_bytes: int
    system: float
    programs: float
    reports: tuple[Report, ...]

    @property
    def whole(self) -> bool:
        """Whether every receiver got everything."""
        return self.least >= 1.0

    @property
    def system_per_gigabyte(self) -> float | None:
        """Processor time of the system's processes for each GB delivered."""
        return self.system / self.delivered_bytes * 1e9 if self.delivered_bytes else None

    @property
    def all_per_gigabyte(self) -> float | None:
        """The same with the programs that send and receive."""
        if not self.delivered_bytes:
            return None
        return (self.system + self.programs) / self.delivered_bytes * 1e9


class Stream:
    """The programs around one system that has been started."""

    def __init__(self, system: System, traffic: str) -> None:
        self.system = system
        self._internet = system.internet
        self._traffic = traffic
        self._holders = [Running(self._internet[name], self._receiver(HELD)) for name in RECEIVERS]

    def _receiver(self, at: str) -> list[str]:
        return self.system.receive_command([self._traffic, "receive", at, GROUP, "0", "0"])

    def warm_up(self) -> None:
        """Send until everybody receives."""
        for _ in range(WARM_TRIES):
            if self.run(WARM_RATE, WARM_SECONDS).least > 0:
                return
        raise UsageError(f"{self.system.name}: the stream does not reach every receiver")

    def run(self, rate: float, seconds: float, drain: float = DRAIN) -> Trial:
        """Send at a rate for a while; tell what came."""
        receivers = [Running(self._internet[name], self._receiver(FLOW)) for name in RECEIVERS]
        time.sleep(SETTLE)
        # What it took to start them is not the stream's.
        programs = _children_seconds() + sum(each.processor_seconds() for each in receivers)
        processes = self.system.processes()
        before = total_seconds(processes)
        per_second = rate / (8 * PAYLOAD_BYTES)
        words = [FLOW, str(PAYLOAD_BYTES), f"{per_second:.3f}", "1", f"{seconds:.3f}", "0"]
        command = self.system.send_command([self._traffic, "send", *words])
        sent = Running(self._internet[SOURCE], command, ready=False).wait()
        time.sleep(drain)
        used = total_seconds(processes) - before
        reports = tuple(receiver.finish() for receiver in receivers)
        took = max(sent["seconds"], seconds)
        return Trial(
            sent["sent"] * 8 * PAYLOAD_BYTES / took,
            sent["sent"],
            min(report["distinct"] for report in reports) / max(1, sent["sent"]),
            sum(report["bytes"] for report in reports),
            used,
            _children_seconds() - programs,
            reports,
        )

    def highest(
        self, seconds: float, first: float = FIRST_RATE, least: float = 1.0, drain: float = DRAIN
    ) -> Trial | None:
        """Find the highest rate at which every receiver gets the share `least` of it."""

        def good(rate: float) -> Trial | None:
            trial = self.run(rate, seconds, drain)
            kept = trial.rate > rate / CLOSE
            return trial if trial.least >= least and kept else None

        return search(good, first)

    def close(self) -> None:
        """Let the group go."""
        for holder in self._holders:
            holder.finish()


def search(good: Callable[[float], Trial | None], first: float) -> Trial | None:
    """Double or halve until there is a good and a bad rate, then halve what is between them."""
    best: Trial | None = None
    rate, low, high = first, 0.0, 0.0
    while not (low and high and high <= low * CLOSE):
        trial = good(rate)
        if trial is not None:
            best, low = trial, rate
            rate = (low * high) ** 0.5 if high else 2 * rate
        else:
            high = rate
            rate = (low * high) ** 0.5 if low else rate / 2
        if not low and rate < LEAST_RATE:
            return None
    return best


@contextmanager
def started(
    kind: type[System], traffic: str, directory: Path
) -> Iterator[tuple[Internet, System, Stream]]:
    """Build a network, start a system on it, bring a stream through; take all away at the end."""
    reason = kind.why_not()
    if reason:
        raise UsageError(f"{kind.name}: {reason}")
    with Internet.build(HOSTS) as internet:
        system = kind(internet, directory)
        try:
            system.start()
            stream = Stream(system, traffic)
            stream.warm_up()
            yield internet, system, stream
            stream.close()
        finally:
            system.stop()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
