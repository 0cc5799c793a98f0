"""The commands of the laboratory: `dmmp lab list`, `run`, `report`.

What they need is the extra `lab`; whoever has not installed it gets one line with the cure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmmp.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from dmmp.lab.results import CheckTable
    from dmmp.lab.running import Outcome

EXTRA = ("numpy", "scipy", "matplotlib")
RESULTS = Path("lab-results")
CHECKS = "checks"
FAULTS_SHOWN = 5


def _needs_extra(command: Callable[..., int]) -> Callable[..., int]:
    """Turn a missing package of the extra into the line that cures it."""

    @wraps(command)
    def run(*arguments: Any, **values: Any) -> int:
        try:
            return command(*arguments, **values)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in EXTRA:
                raise
            cure = "pip install '.[lab]' in a clone of dmmp"
            raise UsageError(f"the laboratory needs {missing}: {cure}") from None

    return run


@click.group()
def lab() -> None:
    """Compare the overlay with its relatives and with the optimum."""


@lab.command("list")
@_needs_extra
def list_() -> int:
    """List the studies that come with it, and what a study can be made of."""
    from dmmp.cli.tables import columns, print_tables, two_columns
    from dmmp.lab.failures import CHURNS
    from dmmp.lab.protocols import RUNNERS
    from dmmp.lab.study import own_studies, read_study
    from dmmp.lab.underlays import UNDERLAYS
    from dmmp.lab.uplinks import UPLINKS

    rows = [(CHECKS, "", "what is published or follows by definition, beside what is measured")]
    for name, path in own_studies().items():
        study = read_study(path)
        rows.append((name, f"{len(study.cases()):,}", study.title))
    names = {
        "protocols": [*RUNNERS, "dmmp-VARIANT"],
        "underlays": UNDERLAYS,
        "uplinks": UPLINKS,
        "churn": CHURNS,
    }
    print_tables(
        [
            columns("", ("study", "runs", "what it shows"), rows),
            two_columns([(kind, ", ".join(each)) for kind, each in names.items()]),
        ]
    )
    return 0


@lab.command()
@click.argument("study", metavar="FILE|NAME")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help=f"Where the results go, and are taken up again.  [default: {RESULTS}/NAME]",
)
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes.  [default: one a core]")
@click.option("--scheduler", metavar="ADDRESS", help="Of Dask, whose workers run it instead.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="So many, whatever the study says.")
@click.option(
    "--only", type=int, multiple=True, metavar="NUMBER", help="Of the checks, this; repeatable."
)
@click.option("--brief", is_flag=True, help="The checks with fewer hosts and seeds.")
@click.option("--again", is_flag=True, help="The checks that are done already, too.")
@_needs_extra
def run(
    study: str,
    out: Path | None,
    jobs: int | None,
    scheduler: str | None,
    seeds: int | None,
    only: tuple[int, ...],
    brief: bool,
    again: bool,
) -> int:
    """Run a study, or the named study `checks`; what is there already is not run again.

    Exit code 1 if a run or a check fails.
    """
    if study == CHECKS:
        if scheduler or seeds:
            raise UsageError("checks have their own seeds and run here: no --scheduler, no --seeds")
        return _run_checks(out or RESULTS / CHECKS, jobs or 0, only, brief, again)
    if only or brief or again:
        raise UsageError(f"--only, --brief and --again are for {CHECKS}")
    from dmmp.lab.results import Results
    from dmmp.lab.running import run_study
    from dmmp.lab.study import find_study, parse_study, study_text

    path = find_study(study)
    text = study_text(path)
    made = parse_study(text, str(path))
    if seeds is not None:
        made = made.with_seeds(seeds)
    directory = out or RESULTS / made.name
    results = Results(directory)
    with results.writing(text), _progress() as bar:
        task = bar.add_task(made.name, total=len(made.cases()), last="")

        def show(outcome: Outcome, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, last=_named(outcome))

        faults = run_study(
            made.cases(), results, jobs=jobs or 0, scheduler=scheduler, progress=show
        )
    for outcome in faults[:FAULTS_SHOWN]:
        click.echo(f"{_named(outcome)}: {outcome.fault}", err=True)
    click.echo(f"{directory}: {len(results.rows):,} runs, {len(faults) or 'none'} failed")
    return 1 if faults else 0


@lab.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The page.  [default: report.html in DIR]",
)
@_needs_extra
def report(directory: Path, out: Path | None) -> int:
    """Write one HTML page about the results in DIR, or in all directories of it."""
    from dmmp.lab.report import write_report

    click.echo(str(write_report(directory, out)))
    return 0


def _run_checks(directory: Path, jobs: int, only: tuple[int, ...], brief: bool, again: bool) -> int:
    from dmmp.cli.tables import print_tables
    from dmmp.lab.results import FAILED, CheckTable
    from dmmp.lab.running import find_checks, run_checks

    asked = find_checks(only)
    done = CheckTable(directory)
    faults = []
    with done.writing(), _progress() as bar:
        waiting = [check for check in asked if again or not done.has(check.number, brief)]
        task = bar.add_task(CHECKS, total=len(waiting), last="")
        for number, result, took, fault in run_checks(waiting, jobs, brief):
            if result is None:
                faults.append(f"check {number}: {fault}")
            else:
                done.add(result, took)
            bar.update(task, advance=1, last=f"{number} {result.what if result else fault}")
    shown = [check.number for check in asked if check.number in done.rows]
    print_tables([_checks_table(done, shown)])
    for said in faults:
        click.echo(said, err=True)
    return 1 if faults or any(done.rows[number]["result"] == FAILED for number in shown) else 0


def _checks_table(done: CheckTable, numbers: list[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from dmmp.lab.results import BRIEF, FAILED, PASSED

    styles = {PASSED: "green", FAILED: "red"}
    table = Table(box=None)
    for title in ("", "check", "published", "measured here", "result"):
        table.add_column(title, overflow="fold")
    for number in numbers:
        row = done.rows[number]
        result = Text(row["result"], style=styles.get(row["result"], "yellow"))
        if row["size"] == BRIEF:
            result.append(f", {BRIEF}")
        names = ("number", "what", "published", "measured")
        table.add_row(*(Text(row[name]) for name in names), result)
    return table


def _named(outcome: Outcome) -> str:
    case = outcome.case
    words = [case.protocol, case.underlay, f"{case.hosts:,} hosts", case.uplinks]
    return ", ".join([*words, *([case.churn] if case.churn != "none" else []), f"seed {case.seed}"])


@contextmanager
def _progress() -> Iterator[Progress]:
    """Give a bar on the terminal, on the error stream so that a pipe gets only what is said."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        yield bar
