"""Ten minutes at 70 % of the highest rate without a loss: no loss, and memory that does not grow.

Memory is looked at once the caches are full, and again at the end, of the node that grew most.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from dmmp.errors import UsageError
from tests.bench.figures import LEAST, MOST, Goal, Result
from tests.bench.options import Options
from tests.bench.peers.ours import Dmmp
from tests.bench.peers.system import System
from tests.bench.running import build
from tests.bench.standing import memory
from tests.bench.streams import started

MINUTES: Final = 10
SHARE: Final = 0.7
FIRST_LOOK: Final = 0.1
"""Of the time: by then caches and tables are as full as they get."""

SEARCHES: Final = 3
CASE: Final = "{minutes:g} minutes at {share:.0%}"


def measure(options: Options) -> Result:
    """Find the rate, then hold it."""
    seconds = options.soak_minutes * 60
    case = CASE.format(minutes=options.soak_minutes, share=SHARE)
    result = Result("soak", f"1 source, 8 receivers through TUNs, {case}")
    traffic = build("traffic", options.directory)
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
        started(Dmmp, traffic, Path(directory)) as (_, system, stream),
    ):
        options.say("soak: looking for the highest rate without a loss")
        found = [stream.highest(options.seconds) for _ in range(SEARCHES)]
        rates = sorted(trial.rate for trial in found if trial is not None)
        if not rates:
            raise UsageError("soak: no rate is without a loss here")
        rate = SHARE * rates[len(rates) // 2]
        options.say(f"soak: {options.soak_minutes:g} minutes at {rate / 1e6:.0f} Mbit/s")
        watch = _Watch(system, seconds)
        trial = stream.run(rate, seconds)
        grown = watch.growth()
        result.add(case, Dmmp.name, "Mbit/s", "rate", trial.rate / 1e6)
        result.add(case, Dmmp.name, "%", "of it received at the worst", 100 * trial.least)
        result.add(case, Dmmp.name, "%", "growth of memory at the worst", 100 * grown)
    result.goals = [
        Goal(case, Dmmp.name, "of it received at the worst", LEAST, 100.0),
        Goal(case, Dmmp.name, "growth of memory at the worst", MOST, 5.0),
    ]
    return result


class _Watch:
    """Looks at the nodes' memory a while after the beginning."""

    def __init__(self, system: System, seconds: float) -> None:
        self._system = system
        self._first: dict[int, float] = {}
        self._thread = threading.Thread(target=self._look, args=(FIRST_LOOK * seconds,))
        self._thread.start()

    def _look(self, after: float) -> None:
        time.sleep(after)
        self._first = self._now()

    def _now(self) -> dict[int, float]:
        return {process: memory(process)[0] for process in self._system.processes()}

    def growth(self) -> float:
        """Give the growth since, as a share, of the node that grew most."""
        self._thread.join()
        now = self._now()
        return max(now[process] / before - 1 for process, before in self._first.items())
