"""A whole session through TUNs at both ends: one source, eight receivers, ordinary programs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from dmmp.demo.internet import Internet
from tests.bench.figures import Result
from tests.bench.options import Options
from tests.bench.peers.ours import Dmmp, DmmpPlain
from tests.bench.peers.system import RECEIVERS, SOURCE
from tests.bench.running import build
from tests.bench.streams import Stream, Trial, started

LOSS: Final = 0.01
SHARE: Final = 0.9999
"""Of the datagrams must arrive where links lose some: more than repair promises, less than all."""

REPAIR_DRAIN: Final = 2.0
RATE = "highest loss-free rate"
SYSTEM = "CPU s per GB, nodes"
ALL = "CPU s per GB, all"


def measure(options: Options) -> Result:
    """Find the highest rate without a loss, with whole links and with links that lose 1 %."""
    result = Result("session", "1 source, 8 receivers through TUNs", (DmmpPlain.name,))
    traffic = build("traffic", options.directory)
    first: dict[tuple[str, str], float] = {}
    for number in range(options.rounds):
        for kind in (Dmmp, DmmpPlain):
            options.say(f"session, round {number + 1} of {options.rounds}: {kind.name}")
            with (
                tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
                started(kind, traffic, Path(directory)) as (internet, _, stream),
            ):
                _measure(result, options, kind, internet, stream, first)
    return result


def _measure(
    result: Result,
    options: Options,
    kind: type[Dmmp],
    internet: Internet,
    stream: Stream,
    first: dict[tuple[str, str], float],
) -> None:
    """Find both rates; where the search begins is what the round before found."""
    for case in ("whole links", f"links lose {LOSS:.0%}"):
        begin = first.get((kind.name, case))
        found = _highest(stream, options.seconds, begin, case != "whole links")
        note(result, case, kind.name, found)
        if found is not None:
            first[kind.name, case] = found.rate
        internet.segment()
        for name in (SOURCE, *RECEIVERS):
            internet.lose(name, LOSS)


def _highest(stream: Stream, seconds: float, first: float | None, lossy: bool) -> Trial | None:
    words = {} if first is None else {"first": first}
    if lossy:
        return stream.highest(seconds, least=SHARE, drain=REPAIR_DRAIN, **words)
    return stream.highest(seconds, **words)


def note(result: Result, case: str, candidate: str, trial: Trial | None) -> None:
    """Add what a search found; nothing if no rate was good."""
    rate = None if trial is None else trial.rate / 1e6
    result.add(case, candidate, "Mbit/s", RATE, rate)
    result.add(case, candidate, "s", ALL, None if trial is None else trial.all_per_gigabyte)
    result.add(case, candidate, "s", SYSTEM, None if trial is None else trial.system_per_gigabyte)
