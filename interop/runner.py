"""`python -m interop.runner`: every scenario with every pair of implementations, as a matrix.

`CONTRACT.md` says how an implementation takes part, `participants.toml` which do. Exit code 0 if
nothing failed, 1 if something did, 2 where this machine or user cannot, 130 if it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dmmp.demo import check_tools, check_tun
from dmmp.demo.internet import Internet
from dmmp.demo.user_namespace import reexec_in_user_namespace
from dmmp.errors import UsageError
from interop.matrix.cells import Result, Verdict, play_all
from interop.matrix.participants import (
    REGISTRY,
    Pair,
    Participant,
    choose,
    pairs_of,
    prepare,
    read_registry,
)
from interop.matrix.report import Matrix, lines_of, table_of, to_html, to_json
from interop.matrix.scenarios import NAMES, SCENARIOS

COLUMNS = 24
"""Of text for each pair: names are not cut, whatever the terminal."""

INTERRUPTED = 130
JOBS = 2 * (os.cpu_count() or 1)
"""A cell mostly waits."""


def main(arguments: Sequence[str]) -> int:
    """Play what is asked for, show the matrix, give the exit code.

    Raises `UsageError` with the cure where it cannot. Without root it starts over in a user
    namespace of its own.
    """
    options = parse_arguments(arguments)
    console = Console(highlight=False, soft_wrap=True)
    registered = read_registry(options.registry)
    if options.list:
        show_list(console, registered)
        return 0
    names = chosen_scenarios(options.only)
    participants = choose(registered, options.participants)
    check_tools()
    reexec_in_user_namespace()
    check_tun()
    Internet.sweep()
    ready = [prepare(each) for each in participants]
    pairs = chosen_pairs(pairs_of(ready, options.every or bool(options.pair)), options.pair)
    begun = time.monotonic()
    present = [pair for pair in pairs if not pair.core.absent and not pair.edge.absent]
    results: list[Result] = []
    stopped = False
    try:
        for result in play_all(names, present, options.jobs, options.keep):
            results.append(result)
            told = "; ".join([*result.reasons, *result.notes])
            line = f"{result.verdict} {result.scenario} {result.pair}"
            console.print(f"{line}: {told}" if told else line, markup=False)
    except KeyboardInterrupt:
        stopped = True
        console.print("stopped; what was played until then:")
    registry = "" if options.registry == REGISTRY else os.fspath(options.registry)
    matrix = Matrix(ready, names, pairs, results, time.monotonic() - begun, registry)
    width = max(console.width, COLUMNS * (1 + len(pairs)))
    show(Console(highlight=False, width=width), matrix)
    if options.json:
        options.json.write_text(json.dumps(to_json(matrix), indent=1) + "\n")
    if options.html:
        options.html.write_text(to_html(matrix), encoding="utf-8")
    if stopped:
        return INTERRUPTED
    return 1 if matrix.of_verdict(Verdict.FAILED) else 0


def chosen_scenarios(wanted: Sequence[str]) -> list[str]:
    """Give the scenarios asked for in their own order, all if none is."""
    for name in wanted:
        if name not in NAMES:
            raise UsageError(f"no scenario {name!r}: {', '.join(NAMES)}")
    return [name for name in NAMES if not wanted or name in wanted]


def chosen_pairs(pairs: Sequence[Pair], wanted: Sequence[str]) -> list[Pair]:
    """Give the pairs asked for, all if none is."""
    known = [pair.name for pair in pairs]
    for name in wanted:
        if name not in known:
            raise UsageError(f"no pair {name!r}: {', '.join(known)}")
    if not pairs:
        raise UsageError("nobody here can be rendezvous point, source and super node")
    return [pair for pair in pairs if not wanted or pair.name in wanted]


def show_list(console: Console, registered: Sequence[Participant]) -> None:
    """Print the scenarios and the participants."""
    for scenario in SCENARIOS:
        console.print(f"{scenario.name:14} {scenario.security:12} {scenario.says}", markup=False)
    console.print()
    for each in registered:
        console.print(f"{each.name:20} {each.title} ({', '.join(each.roles)})", markup=False)


def show(console: Console, matrix: Matrix) -> None:
    """Print the table and what belongs below it."""
    console.print()
    console.print(table_of(matrix))
    console.print()
    for line in lines_of(matrix):
        console.print(line, markup=False, soft_wrap=True)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m interop.runner", description=__doc__)

    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser.add_argument(
        "--only", type=names, default=[], metavar="SCENARIO,…", help="default: all of them"
    )
    parser.add_argument(
        "--participants", type=names, default=[], metavar="A,B", help="default: all of them"
    )
    parser.add_argument(
        "--pair",
        type=names,
        default=[],
        metavar="A+B,…",
        help="A is the core; default: those with the first participant",
    )
    parser.add_argument("--every", action="store_true", help="play every pair there can be")
    parser.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE")
    parser.add_argument("--jobs", type=int, default=JOBS, help="cells side by side")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a document there")
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="capture and logs of cells that failed"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and play nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
