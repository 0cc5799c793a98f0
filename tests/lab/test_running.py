"""Running cases: every case once, also when workers die; what is there is not run again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dmmp import __version__
from dmmp.errors import UsageError
from dmmp.lab import running
from dmmp.lab.case import Case, Measured
from dmmp.lab.results import CASES, SAMPLES, Results, thinned
from dmmp.lab.running import Outcome, run_case, run_study
from tests.lab.fake_runners import (
    KILLS_ALWAYS,
    KILLS_ONCE,
    RAISES,
    SLOW,
    figures_of,
    run,
)


def cases(protocol: str, count: int, marks: Path | None = None) -> list[Case]:
    options = () if marks is None else (("marks", str(marks)),)
    return [Case(protocol, "seattle99", 16, seed, options=options) for seed in range(1, count + 1)]


def run_in(
    directory: Path, wanted: list[Case], jobs: int = 2, **values: Any
) -> tuple[Results, list[Outcome]]:
    results = Results(directory)
    with results.writing("name = 'x'"):
        faults = run_study(wanted, results, jobs=jobs, runner=run, **values)
    return results, faults


def fill(directory: Path, wanted: list[Case]) -> Results:
    """Write rows as a run would, without processes."""
    results = Results(directory)
    with results.writing("name = 'x'"):
        for case in wanted:
            results.add(case, figures_of(case), 0.5)
    return results


def test_rows_are_read_back_as_they_were(tmp_path: Path) -> None:
    odd = Case("nice", "world", 7, 3, "het", "nemo-high", 0.05, 12.5, (("a", "b c"), ("d", "1")))
    wanted = [*cases("plain", 3), odd]
    fill(tmp_path, wanted)
    again = Results(tmp_path)
    assert [row.case for row in again.rows] == wanted
    assert [dict(row.figures) for row in again.rows] == [figures_of(c).figures for c in wanted]
    assert {row.provenance["version"] for row in again.rows} == {__version__}
    assert all(row.provenance["date"] for row in again.rows)
    samples = again.samples()[again.rows[-1].provenance["case"]]
    assert samples["stretch"] == pytest.approx(sorted(figures_of(odd).samples["stretch"]))
    assert samples["parents"] == figures_of(odd).samples["parents"]


def test_a_figure_that_comes_later_widens_the_table(tmp_path: Path) -> None:
    first, second = cases("plain", 2)
    results = Results(tmp_path)
    with results.writing(""):
        results.add(first, Measured({"a": 1.0}), 0.0)
        results.add(second, Measured({"b": 2.5, "a": float("nan")}), 0.0)
    one, two = Results(tmp_path).rows
    assert dict(one.figures) == {"a": 1.0}
    assert two.figures["b"] == 2.5
    assert two.figures["a"] != two.figures["a"]


def test_a_row_that_was_cut_off_does_not_count_and_its_case_runs_again(tmp_path: Path) -> None:
    wanted = cases("plain", 3)
    fill(tmp_path, wanted)
    text = (tmp_path / CASES).read_text()
    (tmp_path / CASES).write_text(text[:-40])
    results = Results(tmp_path)
    assert results.done == set(wanted[:2])
    with results.writing(""):
        results.add(wanted[2], figures_of(wanted[2]), 0.1)
    assert Results(tmp_path).done == set(wanted)
    assert (tmp_path / CASES).read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (CASES, "a,b\n1,2\n", "line 1: these are not the columns"),
        (CASES, "\x00", "columns|CSV"),
        (SAMPLES, "key,stretch,1,one\n", "line 1: a value is no number"),
    ],
)
def test_files_that_are_no_results_are_usage_errors(
    tmp_path: Path, file: str, text: str, said: str
) -> None:
    fill(tmp_path, cases("plain", 1))
    (tmp_path / file).write_text(text)
    with pytest.raises(UsageError, match=said):
        Results(tmp_path).samples()


def test_a_cell_that_is_no_number_is_named_by_its_line(tmp_path: Path) -> None:
    fill(tmp_path, cases("plain", 2))
    path = tmp_path / CASES
    path.write_text(path.read_text().replace("plain,seattle99,16,2", "plain,seattle99,many,2"))
    with pytest.raises(UsageError, match=r"cases\.csv: line 3"):
        Results(tmp_path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        Results(tmp_path).writing(""),
        pytest.raises(UsageError, match="another run writes there"),
        Results(tmp_path).writing(""),
    ):
        pass


def test_of_large_samples_ends_and_middle_are_kept() -> None:
    values = [float(value) for value in range(10_001)]
    kept = thinned(values[::-1])
    assert len(kept) == 2_000
    assert kept[0] == 0
    assert kept[-1] == 10_000
    assert abs(kept[1_000] - 5_000) < 10
    assert thinned([2.0, float("nan"), 1.0]) == [1.0, 2.0]


def test_what_a_case_raises_is_its_outcome_with_the_place() -> None:
    outcome = run_case(cases(RAISES, 1)[0], run)
    assert outcome.measured is None
    assert "ZeroDivisionError: a case that is wrong (fake_runners.py:" in outcome.fault


def test_what_is_there_is_not_run_again_and_progress_is_told(tmp_path: Path) -> None:
    wanted = cases("plain", 2)
    fill(tmp_path, wanted)
    told: list[tuple[int, int, int]] = []

    def tell(outcome: Outcome, done: int, total: int) -> None:
        told.append((outcome.case.seed, done, total))

    results, faults = run_in(tmp_path, wanted, progress=tell)
    assert not faults
    assert not told
    results, faults = run_in(tmp_path, [*wanted, *cases(RAISES, 1)], jobs=1, progress=tell)
    assert told == [(1, 3, 3)]
    assert [outcome.case.protocol for outcome in faults] == [RAISES]
    assert results.done == set(wanted)


@pytest.mark.slow
def test_cases_run_in_processes_and_a_worker_that_dies_is_survived(tmp_path: Path) -> None:
    wanted = [*cases(KILLS_ONCE, 2, tmp_path), *cases("plain", 4), *cases(RAISES, 1)]
    results, faults = run_in(tmp_path / "out", wanted)
    assert results.done == set(wanted[:-1])
    assert len(results.rows) == len(wanted) - 1
    assert [outcome.case for outcome in faults] == wanted[-1:]
    assert {path.name for path in tmp_path.glob("died-*")} == {"died-1", "died-2"}
    by_case = {row.case: dict(row.figures) for row in Results(tmp_path / "out").rows}
    assert by_case == {case: figures_of(case).figures for case in wanted[:-1]}


@pytest.mark.slow
def test_a_case_that_always_kills_its_worker_is_given_up_and_others_are_not(
    tmp_path: Path,
) -> None:
    wanted = [*cases(KILLS_ALWAYS, 1), *cases(SLOW, 2)]
    results, faults = run_in(tmp_path, wanted)
    assert results.done == set(wanted[1:])
    assert [outcome.case.protocol for outcome in faults] == [KILLS_ALWAYS]
    assert "died 3 times" in faults[0].fault


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_workers_run_it_and_one_that_is_killed_is_survived(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    wanted = cases(SLOW, 8)
    killed: list[int] = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        kill_one = killer(cluster, killed)
        results, faults = run_in(
            tmp_path, wanted, scheduler=cluster.scheduler_address, progress=kill_one
        )
    assert len(killed) == 1
    assert not faults
    assert results.done == set(wanted)
    assert len(results.rows) == len(wanted)


def killer(cluster: object, killed: list[int]) -> Callable[[Outcome, int, int], None]:
    """Give what kills a worker while it has work, when the second outcome is there."""

    def tell(outcome: Outcome, done: int, total: int) -> None:
        if done == 2 and not killed:
            worker = next(iter(cluster.workers.values()))  # type: ignore[attr-defined]
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    return tell


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(running, "CONNECT_SECONDS", 1.0)
    with pytest.raises(UsageError, match=r"--scheduler tcp://127\.0\.0\.1:1: "):
        run_in(tmp_path, cases("plain", 1), scheduler="tcp://127.0.0.1:1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_without_workers_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(running, "CONNECT_SECONDS", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(UsageError, match="has no workers"),
    ):
        run_in(tmp_path, cases("plain", 1), scheduler=cluster.scheduler_address)


def test_without_dask_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install '.\[dask\]'"):
        run_in(tmp_path, cases("plain", 1), scheduler="tcp://127.0.0.1:1")


def test_checks_are_found_by_number_and_modules_that_are_not_there_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "CHECKS", ("tests.lab.fake_runners", "tests.lab.nowhere"))
    found = running.find_checks()
    assert [check.number for check in found] == [2, 9]
    outcome = running.run_check(found[0], brief=True)
    assert outcome.result is not None
    assert (outcome.result.measured, outcome.result.is_brief) == ("as published", True)
    monkeypatch.setattr(running, "CHECKS", ("tests.lab.nowhere",))
    with pytest.raises(UsageError, match="none are there"):
        running.find_checks()


@pytest.mark.slow
def test_a_check_that_raises_has_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHECKS", ("tests.lab.fake_runners",))
    good, bad = sorted(running.run_checks(running.find_checks(), 2))
    assert good.result is not None and good.result.passed and not good.result.is_brief
    assert (bad.number, bad.result) == (9, None)
    assert bad.fault.startswith("ValueError: no such network (fake_runners.py:")


def test_some_checks_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHECKS", ("tests.lab.fake_runners",))
    assert [check.number for check in running.find_checks([9])] == [9]
    with pytest.raises(UsageError, match="there is no check 3, but 2, 9"):
        running.find_checks([9, 3])
    with pytest.raises(UsageError, match="check 11 is not built: SplitStream"):
        running.find_checks([11])


def test_every_check_has_a_number_of_its_own() -> None:
    numbers = [check.number for check in running.find_checks()]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]
