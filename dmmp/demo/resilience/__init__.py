"""What a session withstands, measured: nodes killed, links that lose, networks cut in two.

`python -m dmmp.demo.resilience`, or `make resilience`, plays each scenario many times on a small
Internet of namespaces, with real processes, and prints one table. Not part of the protocol.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dmmp.demo import BROKEN_PROMISE, KEPT_PROMISE, check_tools, check_tun, sweep_directories

REPETITIONS = 20
TABLE_COLUMNS = 190


def main(arguments: Sequence[str]) -> int:
    """Play the scenarios asked for and print the table; give the exit code.

    Raises `UsageError` with the cure where this machine or user cannot. Without root it starts this
    process over in a user namespace of its own, so call it first thing.
    """
    options = parse_arguments(arguments)
    check_tools()
    from dmmp.demo.user_namespace import reexec_in_user_namespace

    reexec_in_user_namespace()
    check_tun()
    from rich.console import Console

    from dmmp.demo.internet import Internet
    from dmmp.demo.resilience.campaign import Campaign, chosen
    from dmmp.demo.resilience.lab import Shape
    from dmmp.demo.resilience.results import broken, summarise, to_json
    from dmmp.demo.resilience.scenarios import SCENARIOS, Times
    from dmmp.demo.resilience.screen import line_of, table_of
    from dmmp.demo.resilience.trial import Outcome

    Internet.sweep()
    sweep_directories()
    console = Console(highlight=False, soft_wrap=True)
    times = Times(options.partition_seconds, options.loss_seconds)
    words = ("--log-json", "--datapath", options.datapath)
    shape = Shape(options.source_places, options.super_node_places, options.member_places, words)
    played: dict[str, list[Outcome]] = {}
    scenarios = chosen(options.only, SCENARIOS)
    try:
        with Campaign(shape, times, options.traces, console.print) as campaign:
            for scenario in scenarios:
                outcomes = played.setdefault(scenario.name, [])
                for outcome in campaign.play(scenario, options.repetitions):
                    outcome.evidence.clear()
                    outcomes.append(outcome)
                    console.print(line_of(outcome, options.repetitions))
    except KeyboardInterrupt:
        console.print("stopped; what was measured until then:")
    Console(highlight=False, width=max(console.width, TABLE_COLUMNS)).print(table_of(played))
    done = [scenario for scenario in scenarios if played.get(scenario.name)]
    summaries = [summarise(scenario.name, played[scenario.name]) for scenario in done]
    calm = next((summary for summary in summaries if summary.scenario == "calm"), None)
    for summary in summaries:
        for problem in summary.problems:
            console.print(f"{summary.scenario}: {problem}", style="red")
    if options.json:
        document = [to_json(scenario, played[scenario.name]) for scenario in done]
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    kept = all(not broken(s, d.target, calm) for s, d in zip(summaries, done, strict=True))
    return KEPT_PROMISE if kept else BROKEN_PROMISE


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    from dmmp.demo.resilience.scenarios import NAMES, SCENARIOS

    told = "\n".join(f"  {scenario.name:18} {scenario.says}" for scenario in SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="python -m dmmp.demo.resilience",
        description=f"Play what may happen to a session, and measure:\n\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of each scenario")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[], metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, to this file")
    parser.add_argument("--partition-seconds", type=float, default=60.0)
    parser.add_argument("--loss-seconds", type=float, default=15.0)
    parser.add_argument("--datapath", default="auto", choices=("auto", "batched", "portable"))
    parser.add_argument("--source-places", type=int, default=4, help="whom the source may feed")
    parser.add_argument("--super-node-places", type=int, default=4)
    parser.add_argument("--member-places", type=int, default=3)
    parser.add_argument(
        "--traces",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where to keep logs and documents of repetitions that were not right",
    )
    return parser.parse_args(arguments)
