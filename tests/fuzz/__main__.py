"""`python -m tests.fuzz`: runs the fuzzing targets under atheris and prints what they found.

Exit code 0 if every target made all its runs without a finding, 1 if not, 2 if nothing could be
run. `--repeat FILE` runs one input again, for which atheris is not needed. tests/fuzz/README.md.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.fuzz import corpus, measure
from tests.fuzz.campaign import ROOT, Options, Result, run
from tests.fuzz.registry import NAMES, load
from tests.fuzz.running import findings
from tests.fuzz.target import MEMORY_LIMIT_BYTES, TIME_LIMIT

NO_ATHERIS = (
    "atheris is not installed: pip install atheris==3.0.0 (CPython 3.11 to 3.13, Linux on x86-64); "
    "without it the fast tests run all targets on mutations, tests/fuzz/test_corpora.py"
)


def wide_console() -> Console:
    """Make a console that cuts nothing off where the output goes to a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def verdict_of(result: Result, wanted: int) -> str:
    """Say in a word what came of a target."""
    if result.is_clean:
        return "clean" if result.runs >= wanted else "clean, out of time"
    return f"FINDINGS: {len(result.findings)}" if result.findings else "FAILED"


def table_of(results: list[Result], wanted: int) -> Table:
    """Make the table of all results."""
    table = Table(title="Fuzzing", title_justify="left")
    for title in ("target", "runs", "runs/s", "edges", "new inputs", "parser, ms", "kB", "result"):
        table.add_column(title, justify="left" if title in ("target", "result") else "right")
    for result in results:
        taken = result.measured
        table.add_row(
            result.name,
            f"{result.runs:,}",
            f"{result.rate:,.0f}",
            f"{result.covered:,}",
            f"{result.new_inputs:,}",
            f"{1e3 * taken['seconds']:.3f}" if taken else "",
            f"{taken['bytes'] / 1024:.1f}" if taken else "",
            verdict_of(result, wanted),
        )
    return table


def explain(console: Console, result: Result) -> None:
    """Say what was found, and how to see it again."""
    for path, what in result.findings:
        console.print(f"{result.name}: {what}", markup=False)
        short = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        console.print(f"again: {sys.executable} -m tests.fuzz --repeat {short}", markup=False)
    if result.failure:
        console.print(f"{result.name} could not be run:\n{result.failure}", markup=False)


def repeat(path: Path, name: str | None) -> int:
    """Run one input: the traceback of what it does, or what its parser needs."""
    data = path.read_bytes()
    target = load(name or path.name.rpartition("-")[0])
    for finding in findings(target, [data]):
        click.echo("".join(traceback.format_exception(finding.error)), nl=False)
        return 1
    if target.parse is None:
        click.echo("nothing is found with it")
        return 0
    taken = measure.measured(target.parse, [data])
    click.echo(
        f"nothing is raised; the parser takes {1e3 * taken['seconds']:.3f} ms "
        f"(at most {1e3 * TIME_LIMIT:g}) and {taken['bytes'] / 1024:.1f} kB "
        f"(at most {MEMORY_LIMIT_BYTES >> 10})"
    )
    return int(taken["seconds"] > TIME_LIMIT or taken["bytes"] > MEMORY_LIMIT_BYTES)


@click.command(help=__doc__)
@click.option("--runs", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="Of these targets; may be repeated.")
@click.option("--list", "as_list", is_flag=True, help="The targets, and what must hold.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="At a time.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of libFuzzer; 0: any.")
@click.option("--minutes", type=click.FloatRange(0), default=0, help="Of a target; 0: no end.")
@click.option("--keep", is_flag=True, help="Put what reaches something new into the corpora.")
@click.option("--repeat", "path", type=click.Path(exists=True, path_type=Path), help="One input.")
def main(
    runs: int,
    only: tuple[str, ...],
    as_list: bool,
    jobs: int,
    seed: int,
    minutes: float,
    keep: bool,
    path: Path | None,
) -> None:
    """Choose what to do by the options."""
    if path is not None:
        sys.exit(repeat(path, only[0] if only else None))
    if as_list:
        for name in NAMES:
            click.echo(f"{name:22} {len(corpus.kept(name)):3}  {load(name).says}")
        return
    if unknown := [name for name in only if name not in NAMES and not name.endswith(":")]:
        click.echo(f"no such target: {', '.join(unknown)}; see --list", err=True)
        sys.exit(2)
    if importlib.util.find_spec("atheris") is None:
        click.echo(NO_ATHERIS, err=True)
        sys.exit(2)
    console = wide_console()
    results: list[Result] = []
    with ThreadPoolExecutor(jobs) as pool:
        options = Options(runs, seed, keep, round(60 * minutes))
        for result in pool.map(lambda name: run(name, options), only or NAMES):
            results.append(result)
            verdict = verdict_of(result, runs)
            console.print(
                f"{result.name}: {result.runs:,} runs, {result.rate:,.0f} a second, {verdict}"
            )
    console.print(table_of(results, runs))
    for result in results:
        explain(console, result)
    sys.exit(0 if all(result.is_clean for result in results) else 1)


if __name__ == "__main__":
    main()
