"""What security costs a relay: the same stream unguarded, with tags, with manifests, interleaved.

At one rate that all of them carry: datagrams sent for each second of the relay's processor time.
Like is held against like: who relays only against one who does so without security, and who gives
everything to programs as well, through a TUN, against one who does that without security.
The handshakes and checks that go with it are measured in one process.
"""

from __future__ import annotations

import time
from typing import Final

from tests.bench.figures import LEAST, Goal, Result
from tests.bench.options import Options
from tests.bench.places import Place, places
from tests.bench.relay_node import GROUP
from tests.bench.running import Running, build, processors, python
from tests.bench.secured_crypto import handshakes, lone_costs
from tests.bench.secured_joins import measure_joins
from tests.bench.secured_parts import (
    DELIVERING,
    GUARDS,
    MANIFESTS,
    MEMBER,
    NONE,
    PLAIN_MEMBER,
    PORT,
)

RATE: Final = 10_000
SIZE: Final = 1316
FAN_OUTS: Final = (1, 8)
FIGURE: Final = "datagrams per CPU second"
DRAIN: Final = 0.2
SHARE: Final = 0.4
"""Of the rate without security that a member with it must reach."""

LIKE: Final = {MANIFESTS: NONE, MEMBER: PLAIN_MEMBER}
"""What each is held against. `manifests, opened` is told beside `no security`, which opens and
delivers nothing, as it was before there was a TUN here: that is no pair of likes, and no goal."""


def measure(options: Options) -> Result:
    """Run every way to guard, one after the other in each round."""
    result = Result("security", "What security costs", (NONE, PLAIN_MEMBER))
    traffic = build("traffic", options.directory)
    fan_outs = FAN_OUTS[-1:] if options.brief else FAN_OUTS
    with places() as at:
        for number in range(options.rounds):
            for name in ("veth", "loopback"):
                for fan_out in fan_outs:
                    case = f"{name}, {fan_out} x {SIZE} B, {RATE}/s"
                    options.say(f"security, round {number + 1} of {options.rounds}: {case}")
                    for way in GUARDS:
                        _one(result, case, way, at[name], fan_out, options.seconds, traffic)
            options.say(f"security, round {number + 1} of {options.rounds}: handshakes")
            _costs(result)
    for number in range(1 if options.brief else options.rounds):
        options.say(f"security, round {number + 1} of {options.rounds}: joins")
        measure_joins(result)
    result.goals = [
        Goal(series.case, series.candidate, FIGURE, LEAST, SHARE, LIKE[series.candidate])
        for series in result.series
        if series.candidate in LIKE and series.figure == FIGURE
    ]
    return result


def _one(
    result: Result,
    case: str,
    way: str,
    place: Place,
    fan_out: int,
    seconds: float,
    traffic: str,
) -> None:
    measured, around = processors()
    sink = Running(place.sinks, [traffic, "receive", place.sink, "-", "1", "0"], processor=around)
    words = python("tests.bench.secured_relay", way, place.at, place.source)
    relay = Running(place.relay, [*words, *place.children(fan_out)], processor=measured)
    programs = None
    if way in DELIVERING:
        hears = [traffic, "receive", f"{GROUP}:{PORT}", f"{GROUP}:{PORT}", "0", "0"]
        programs = Running(place.relay, hears, processor=around)
    before = relay.processor_seconds()
    source = python("tests.bench.secured_sender", way, place.source, place.at)
    load = Running(
        place.sender,
        [*source, str(SIZE), str(RATE), f"{seconds:.3f}"],
        processor=around,
        ready=False,
    )
    sent = load.wait()
    time.sleep(DRAIN)
    used = relay.processor_seconds() - before
    report, _ = relay.finish(), sink.finish()
    result.add(case, way, "k/s", FIGURE, sent["sent"] * fan_out / used / 1e3)
    taken = 100 * min(report["received"], sent["sent"]) / sent["sent"]
    result.add(case, way, "%", "taken of what was offered", taken)
    if programs is not None:
        heard = 100 * min(programs.finish()["received"], sent["sent"]) / sent["sent"]
        result.add(case, way, "%", "heard by the programs", heard)


def _costs(result: Result) -> None:
    for name, cost in {**handshakes(), **lone_costs()}.items():
        result.add("one processor", name, "us", "cost", cost)
