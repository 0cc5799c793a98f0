"""`python -m tests.bench.peers`: ours beside what a registry has, in the same lab, interleaved.

One host sends, eight receive, by ordinary socket programs: the highest rate at which nobody misses
anything, and the processor time for each GB delivered. docs/performance.md says how to read it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from dmmp.demo.internet import Internet
from dmmp.errors import UsageError
from tests.bench.__main__ import document, ended_by, wide_console
from tests.bench.figures import LEAST, MOST, Goal, Result
from tests.bench.options import Options
from tests.bench.peers.kernel import KernelRouting
from tests.bench.peers.n2n import N2n
from tests.bench.peers.openvpn import OpenVpn, OpenVpnPlain
from tests.bench.peers.ours import Dmmp, DmmpPlain
from tests.bench.peers.over_zenoh import Zenoh
from tests.bench.peers.system import System
from tests.bench.peers.tinc import Tinc
from tests.bench.running import build
from tests.bench.session import ALL, RATE, note
from tests.bench.streams import started
from tests.bench.tables import show, show_goals

SYSTEMS: Final[dict[str, type[System]]] = {
    "dmmp": Dmmp,
    "dmmp-plain": DmmpPlain,
    "openvpn": OpenVpn,
    "openvpn-plain": OpenVpnPlain,
    "n2n": N2n,
    "tinc": Tinc,
    "kernel": KernelRouting,
    "zenoh": Zenoh,
}
RIVALS: Final = ("openvpn", "openvpn-plain", "n2n", "tinc")
"""Those that a network without multicast can be bridged with, as with ours."""

CASE: Final = "1 source, 8 receivers"


def measure(options: Options, names: list[str]) -> Result:
    """Run each in turn, again and again; leave out those that cannot run here."""
    result = Result("peers", CASE, ("dmmp",))
    traffic = build("traffic", options.directory)
    first: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for number in range(options.rounds):
        for name in names:
            kind = SYSTEMS[name]
            if name in left_out:
                continue
            options.say(f"peers, round {number + 1} of {options.rounds}: {kind.name}")
            try:
                with (
                    tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
                    started(kind, traffic, Path(directory)) as (_, _, stream),
                ):
                    words = {"first": first[name]} if name in first else {}
                    found = stream.highest(options.seconds, **words)
            except UsageError as error:
                if kind is Dmmp:
                    raise
                left_out[name] = str(error)
                continue
            note(result, CASE, kind.name, found)
            if found is not None:
                first[name] = found.rate
    result.notes += [f"left out: {reason}" for reason in left_out.values()]
    result.goals = _goals(result, [SYSTEMS[name] for name in names if name in RIVALS])
    return result


def _goals(result: Result, rivals: list[type[System]]) -> list[Goal]:
    """Three times the best rival's rate, at half the processor time of the cheapest."""
    goals = []
    for figure, sense, bound in ((RATE, LEAST, 3.0), (ALL, MOST, 0.5)):
        best: tuple[float, str] | None = None
        for kind in rivals:
            series = result.find(CASE, kind.name, figure)
            if series is None or series.median is None:
                continue
            good = series.median if sense == LEAST else -series.median
            best = max(best or (good, kind.name), (good, kind.name))
        if best is not None:
            goals.append(Goal(CASE, "dmmp", figure, sense, bound, best[1]))
    return goals


@click.command(help=__doc__, context_settings={"max_content_width": 100})
@click.option(
    "--only", "names", multiple=True, type=click.Choice(list(SYSTEMS)), help="May be repeated."
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=2.0, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(names: tuple[str, ...], rounds: int, seconds: float, json_file: Path | None) -> None:
    """Run the systems."""
    errors, console = Console(stderr=True), wide_console()
    begun = time.monotonic()
    Internet.sweep()
    with tempfile.TemporaryDirectory(prefix="dmmp-") as directory:
        options = Options(
            rounds, seconds, Path(directory), lambda line: errors.print(line, style="dim")
        )
        result = measure(options, list(names or SYSTEMS))
    show(console, result)
    show_goals(console, [result])
    if json_file is not None:
        made = document([result], time.monotonic() - begun, options)
        json_file.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(ended_by(lambda: main(standalone_mode=False)))
