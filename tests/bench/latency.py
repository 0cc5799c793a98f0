"""What a relay adds to the time from program to program, ours beside those in C.

The same programs with the relay between them and without; the difference is the relay's, with the
one link more. At 10 Mbit/s datagrams come one by one; at half load they come in small bursts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.figures import MOST, Goal, Result
from tests.bench.options import Options
from tests.bench.places import Place, places
from tests.bench.relays import (
    COMMON_SHARE,
    OFFLOAD,
    OURS,
    PLAIN,
    PORTABLE,
    SHORTEST_TRIAL,
    USUAL_BYTES,
    Case,
    Relays,
)
from tests.bench.running import Running, build

CANDIDATES: Final = (PLAIN, OFFLOAD, OURS, PORTABLE)
DIRECT: Final = "no relay"
RATE: Final = 10e6 / (8 * USUAL_BYTES)
HALF_BURST: Final = 8
MEDIAN, HIGH = "added, p50", "added, p99"
MEDIAN_MOST, HIGH_MOST, RATIO_MOST = 60.0, 300.0, 1.5


@dataclass(frozen=True, slots=True)
class Load:
    """How it is loaded: datagrams a second, 0 for half of what the plain relay takes."""

    name: str
    fan_out: int
    rate: float
    burst: int


LOADS: Final = (Load("10 Mbit/s", 1, RATE, 1), Load("half load", 8, 0, HALF_BURST))


def measure(options: Options) -> Result:
    """Run the relays and the way without one, in turn."""
    result = Result("latency", "Latency that a relay adds, program to program", (PLAIN, OFFLOAD))
    relays = Relays(build("relay", options.directory), build("traffic", options.directory))
    with places() as at:
        place = at["veth"]
        rates = {load: load.rate or _half(relays, place, load, options) for load in LOADS}
        for number in range(options.rounds):
            for load in LOADS:
                options.say(f"latency, round {number + 1} of {options.rounds}: {load.name}")
                _round(result, relays, place, load, rates[load], options.seconds)
    usual = LOADS[0].name
    result.goals = [
        Goal(usual, OURS, MEDIAN, MOST, MEDIAN_MOST),
        Goal(usual, OURS, HIGH, MOST, HIGH_MOST),
        Goal(usual, OURS, MEDIAN, MOST, RATIO_MOST, PLAIN),
        Goal(usual, OURS, HIGH, MOST, RATIO_MOST, PLAIN),
    ]
    return result


def _half(relays: Relays, place: Place, load: Load, options: Options) -> float:
    case = Case("veth", load.fan_out, USUAL_BYTES)
    full = relays.common_rate(place, case, max(SHORTEST_TRIAL, options.seconds / 3))
    return full / COMMON_SHARE / 2


def _round(
    result: Result, relays: Relays, place: Place, load: Load, rate: float, seconds: float
) -> None:
    case = Case("veth", load.fan_out, USUAL_BYTES)
    _, median, high, _ = direct(relays, place, case, load, rate, seconds)
    result.add(load.name, DIRECT, "us", "p50", median)
    result.add(load.name, DIRECT, "us", "p99", high)
    for candidate in CANDIDATES:
        run = relays.run(candidate, place, case, rate, seconds, load.burst, latencies=True)
        got = run.latency_us
        result.add(load.name, candidate, "us", MEDIAN, got[1] - median if got else None)
        result.add(load.name, candidate, "us", HIGH, got[2] - high if got else None)
        result.add(load.name, candidate, "us", "p50", got[1] if got else None)
        result.add(load.name, candidate, "us", "p99", got[2] if got else None)


def direct(
    relays: Relays, place: Place, case: Case, load: Load, rate: float, seconds: float
) -> tuple[float, ...]:
    """Send to one child without a relay; give the latencies as `Run` has them."""
    command = [relays.traffic, "receive", place.sink, "-", "1", "1"]
    sink = Running(place.sinks, command, processor=relays.around)
    relays.load(place, place.children(1)[0], case.size, rate, load.burst, seconds).wait()
    return tuple(sink.finish()["latency_us"])
