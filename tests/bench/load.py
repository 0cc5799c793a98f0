"""What nodes bear besides a stream: newcomers, control messages, a child that is slow.

The measurements are those of `joins`, `control` and `slow_child`; here they become results with
goals, for `make bench`.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Overlay
from tests.bench import control
from tests.bench import joins as loads
from tests.bench.figures import LEAST, MOST, Goal, Result
from tests.bench.options import Options
from tests.bench.slow_child import NARROW, STOPPED, WELL, Family

OURS: Final = "dmmp"
A_SECOND: Final = "per CPU second"
PINGS_LEAST, JOINS_LEAST = 3000.0, 500.0
"""A flash crowd of thousands within seconds must not wait for one processor."""

NEWCOMERS, RENEWALS = "Ping_RP of newcomers", "Ping_RP of renewals"
JOINS, STREAM = "joins at a super node, each with a leave", "50 Mbit/s through it meanwhile"
CALM = "50 Mbit/s without joins"
MISSING, LOST, HIGH = "missing in all rounds", "lost in all rounds", "p99"
"""What must be nothing is summed up: the median of the rounds would hide a loss in two of five."""


MEMBERS: Final = 4
RATE: Final = 8e6
SLOW_SECONDS: Final = 4.0
HIGH_MOST: Final = 1.2
"""Of the siblings' p99 when all are well: a fifth is what the rounds differ by themselves."""

SIBLINGS: Final = "siblings of a child that is"


def joins(options: Options) -> Result:
    """Let a rendezvous point and a super node be asked as fast as they answer."""
    result = Result("joins", "Newcomers: what a rendezvous point and a super node handle")
    missing = dict.fromkeys((CALM, STREAM), 0)
    for number in range(options.rounds):
        options.say(f"joins, round {number + 1} of {options.rounds}")
        point = loads.rendezvous_point(options.seconds, 1, loads.SUPER_NODES)
        node = loads.super_node(options.seconds, 1, loads.STANDING)
        for case, run in (
            (NEWCOMERS, point["newcomers"][0]),
            (RENEWALS, point["renewals"][0]),
            (JOINS, node["joins"][0]),
        ):
            result.add(case, OURS, "/s", A_SECOND, run["per_processor_second"])
            result.add(case, OURS, "ms", "p50", run["wait_ms_p50"])
            result.add(case, OURS, "", "unanswered", run["unanswered"])
        for case, run in ((CALM, node["calm"][0]), (STREAM, node["stream"][0])):
            missing[case] += run["missing"]
            result.add(case, OURS, "us", "p50", run["p50"])
            result.add(case, OURS, "us", HIGH, run["p99"])
    for case, packets in missing.items():
        result.add(case, OURS, "", MISSING, packets)
    result.goals = [
        Goal(NEWCOMERS, OURS, A_SECOND, LEAST, PINGS_LEAST),
        Goal(RENEWALS, OURS, A_SECOND, LEAST, PINGS_LEAST),
        Goal(JOINS, OURS, A_SECOND, LEAST, JOINS_LEAST),
        Goal(STREAM, OURS, MISSING, MOST, 0.0),
    ]
    return result


def messages(options: Options) -> Result:
    """Take the processor time of building, reading and handling control messages."""
    result = Result("control", "Control messages: processor time of each")
    for number in range(options.rounds):
        options.say(f"control, round {number + 1} of {options.rounds}")
        found = control.measure(rounds=1)
        for name in ("encode_us", "decode_us"):
            every = [row[name] for row in found["codec"]]
            case = f"{name.removesuffix('_us')} one of each of {len(every)} classes"
            result.add(case, OURS, "us", "mean", statistics.mean(every))
            result.add(case, OURS, "us", "most", max(every))
        for row in found["roles"]:
            result.add(row["case"], OURS, "us", "role alone", row["role_us"])
            result.add(row["case"], OURS, "us", "with codec and forwarder", row["whole_us"])
    return result


def slow_child(options: Options) -> Result:
    """Feed a child that is well, behind a narrow link, or stopped, and look at its siblings."""
    result = Result("slow-child", "A slow child: what its siblings notice", (WELL,))
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as path,
        Internet.build(Family.hosts(MEMBERS)) as internet,
        Overlay(internet, Path(path)) as overlay,
    ):
        family = Family(overlay, Path(path), MEMBERS)
        family.start()
        lost = dict.fromkeys((WELL, NARROW, STOPPED), 0)
        for number in range(options.rounds):
            for state in lost:
                options.say(f"slow-child, round {number + 1} of {options.rounds}: {state}")
                seen = family.play(state, RATE, max(SLOW_SECONDS, options.seconds))
                lost[state] += seen.lost
                result.add(SIBLINGS, state, "ms", "p50", seen.median_ms)
                result.add(SIBLINGS, state, "ms", HIGH, seen.p99_ms)
    for state, packets in lost.items():
        result.add(SIBLINGS, state, "", LOST, packets)
    for state in (NARROW, STOPPED):
        result.goals.append(Goal(SIBLINGS, state, LOST, MOST, 0.0))
        result.goals.append(Goal(SIBLINGS, state, HIGH, MOST, HIGH_MOST, WELL))
    return result
