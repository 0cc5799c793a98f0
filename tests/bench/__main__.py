"""`python -m tests.bench`: how fast it is, beside small C programs, in one run, interleaved.

A text table, with `--json` a document, with `--picture` a picture. As root, or in a user namespace
in which TUN devices can be made. What is measured, and how to read it: docs/performance.md.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from dmmp.demo.internet import Internet
from dmmp.errors import UsageError
from tests.bench.figures import Result
from tests.bench.options import Bench, Options
from tests.bench.tables import show, show_goals

BENCHES: Final = {
    "relay": ("tests.bench.relays:measure", "relays side by side, datagrams per CPU second"),
    "latency": ("tests.bench.latency:measure", "what a relay adds from program to program"),
    "tun": ("tests.bench.edge:measure", "what the TUN costs in both directions"),
    "session": (
        "tests.bench.session:measure",
        "1 source, 8 receivers through TUNs: how fast",
    ),
    "security": ("tests.bench.secured:measure", "what seals, tags and manifests cost a relay"),
    "joins": ("tests.bench.load:joins", "what a rendezvous point and a super node handle"),
    "control": ("tests.bench.load:messages", "what control messages cost"),
    "slow-child": ("tests.bench.load:slow_child", "what siblings of a slow child notice"),
    "standing": ("tests.bench.standing:measure", "memory of a node, and its processor when idle"),
    "soak": ("tests.bench.soak:measure", "minutes at 70 % of that rate; only if named"),
}
"""By name: the function that runs it, and what it is. One line adds a bench."""

FILE_COLUMNS: Final = 140
ON_REQUEST: Final = ("soak",)
"""Only when named: they take many minutes."""


def find(name: str) -> Bench:
    """Import a bench."""
    module, _, function = BENCHES[name][0].partition(":")
    found: Bench = getattr(import_module(module), function)
    return found


def wide_console() -> Console:
    """Make a console that does not fold tables in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=FILE_COLUMNS)


def machine() -> dict[str, Any]:
    """Describe where this was measured; there is nothing in it that names the machine."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def document(results: list[Result], seconds: float, options: Options) -> dict[str, Any]:
    """Make the document of `--json`; the names are stable."""
    return {
        "format": 1,
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "took": round(seconds, 1),
        "benches": [result.to_json() for result in results],
    }


@click.command(help=__doc__, context_settings={"max_content_width": 100})
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice(list(BENCHES)),
    help="Run this one; may be given several times.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=1.5, show_default=True)
@click.option("--minutes", type=click.FloatRange(0.05, 600), default=10, help="Of the soak.")
@click.option("--brief", is_flag=True, help="Fewer cases.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="PNG or SVG.")
@click.option("--list", "listing", is_flag=True, help="List the benches.")
def main(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    minutes: float,
    brief: bool,
    json_file: Path | None,
    picture: Path | None,
    listing: bool,
) -> None:
    """Run the benches."""
    if listing:
        for name, (_, words) in BENCHES.items():
            click.echo(f"{name:12} {words}")
        return
    draw = None if picture is None else import_module("tests.bench.picture").prepare(picture)
    errors, console = Console(stderr=True), wide_console()
    begun = time.monotonic()
    results = []
    with tempfile.TemporaryDirectory(prefix="dmmp-") as directory:
        Internet.sweep()
        chosen = names or [name for name in BENCHES if name not in ON_REQUEST]
        options = Options(
            rounds,
            seconds,
            Path(directory),
            lambda line: errors.print(line, style="dim"),
            brief,
            minutes,
        )
        for name in chosen:
            result = find(name)(options)
            results.append(result)
            show(console, result)
    show_goals(console, results)
    if json_file is not None:
        made = document(results, time.monotonic() - begun, options)
        json_file.write_text(json.dumps(made, indent=1) + "\n")
    if draw is not None:
        draw(results)


def ended_by(main: Callable[[], object]) -> int:
    """Run a command; one clear line and exit code 2 for what the user can cure."""
    try:
        main()
    except click.ClickException as error:
        print(f"bench: {error.format_message()}", file=sys.stderr)
        return 2
    except (UsageError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(ended_by(lambda: main(standalone_mode=False)))
