"""`dmmp lab` as it is typed: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dmmp.cli import main, root
from dmmp.lab import running
from dmmp.lab.check import CheckResult
from dmmp.lab.results import Results
from dmmp.lab.running import Check, CheckOutcome

TINY = """
name = "tiny"
title = "Two trees"
protocols = ["compact-tree", "star-static"]
underlays = ["seattle99"]
sizes = [20]
seeds = 2
figures = ["stretch_mean", "ratio_mean"]
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["lab", *arguments], standalone_mode=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run cases in this process: others have their own tests."""
    monkeypatch.setattr(
        running,
        "_by_processes",
        lambda cases, jobs, runner: (running.run_case(case, runner) for case in cases),
    )


def test_list_names_studies_and_what_they_can_be_made_of() -> None:
    result = call("list")
    assert result.return_value == 0, result.output
    for word in ("checks", "trees", "Distance from the optimum", "planetlab490", "nemo-high"):
        assert word in result.output


@pytest.mark.usefixtures("here")
def test_a_study_runs_is_taken_up_again_and_reported(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("run", str(file), "--out", str(out), "--seeds", "1")
    assert result.return_value == 0, result.output
    assert "2 runs, none failed" in result.output
    result = call("run", str(file), "--out", str(out))
    assert "4 runs, none failed" in result.output
    rows = Results(out).rows
    assert len(rows) == 4
    assert all(row.figures["ratio_mean"] > 0 for row in rows)
    result = call("report", str(out))
    assert result.output.strip() == str(out / "report.html")
    assert "compact-tree" in (out / "report.html").read_text()


@pytest.mark.usefixtures("here")
def test_a_run_that_fails_is_named_and_the_exit_code_is_1(file: Path, tmp_path: Path) -> None:
    file.write_text(TINY.replace("sizes = [20]", "sizes = [20, 120]"))
    result = call("run", str(file), "--out", str(tmp_path / "out"), "--seeds", "1")
    assert result.return_value == 1
    assert "seattle99, 120 hosts, d4, seed 1: seattle99 has 99 nodes" in result.output
    assert "2 runs, 2 failed" in result.output


def test_mistakes_are_one_line_and_exit_code_2(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TINY.replace("star-static", "stars"))
    for arguments, said in (
        (["run", str(file)], "protocols: there is no protocol 'stars', but dmmp"),
        (["run", "nothing"], "no study of this name; there are checks, ablation"),
        (["run", "checks", "--seeds", "3"], "checks have their own seeds"),
        (["run", "checks", "--only", "14"], "there is no check 14, but 1, 2, 3"),
        (["run", "quick", "--again"], "--only, --brief and --again are for checks"),
        (["report", str(tmp_path / "none")], "is no directory; dmmp lab run makes one"),
    ):
        assert main(["lab", *arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert said in lines[0]


@pytest.mark.parametrize(
    ("missing", "arguments"), [("numpy", ["list"]), ("matplotlib", ["report", "."])]
)
def test_without_the_extra_the_cure_is_said(missing: str, arguments: list[str]) -> None:
    # In a process of its own: here the packages are loaded already.
    text = f"import sys; sys.modules[{missing!r}] = None; from dmmp.cli import main; "
    command = [sys.executable, "-c", f"{text}sys.exit(main({['lab', *arguments]!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"dmmp: the laboratory needs {missing}: pip install '.[lab]' in a clone of dmmp\n"
    )


def test_the_command_line_loads_nothing_of_the_extra_before_it_is_asked() -> None:
    text = "import sys, dmmp.cli; print({'numpy', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30)
    assert done.stdout == "set()\n"


class FakeChecks:
    """Checks 1 and 2, of which the first may fail; `asked` are those that ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, is_reported: bool = False) -> None:
        self.is_reported = is_reported
        self.raises = False
        self.asked: list[int] = []
        monkeypatch.setattr(running, "find_checks", self.find)
        monkeypatch.setattr(running, "run_checks", self.run)

    def find(self, only: Collection[int]) -> list[Check]:
        return [Check("x", number) for number in (1, 2) if not only or number in only]

    def run(self, checks: Sequence[Check], jobs: int, brief: bool) -> Iterator[CheckOutcome]:
        for _, number in sorted(checks, reverse=True):
            self.asked.append(number)
            if number == 2:
                good = CheckResult(2, "star", "n copies", "127 copies", True, is_brief=brief)
                yield CheckOutcome(2, good, 1.5)
            elif self.raises:
                yield CheckOutcome(1, None, 0.1, "ValueError: no such network")
            else:
                bad = CheckResult(
                    1, "exponent", "0.8", "0.4", False, self.is_reported, "0.7 to 0.9", brief
                )
                yield CheckOutcome(1, bad, 2.5)


@pytest.mark.parametrize(("is_reported", "code"), [(False, 1), (True, 0)])
def test_checks_fail_the_command_unless_they_are_reported_only(
    is_reported: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeChecks(monkeypatch, is_reported)
    result = call("run", "checks", "--out", str(tmp_path))
    assert result.return_value == code
    assert "127 copies" in result.output
    lines = (tmp_path / "checks.csv").read_text().splitlines()
    assert lines[0] == "number,what,published,measured,band,result,size,took,commit,version,date"
    said = "not reproduced" if is_reported else "FAILED"
    assert lines[1].startswith(f"1,exponent,0.8,0.4,0.7 to 0.9,{said},full,2.5,")


def test_a_full_check_is_done_once_a_brief_one_until_there_is_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeChecks(monkeypatch, is_reported=True)

    def ran(*arguments: str) -> list[int]:
        fake.asked.clear()
        result = call("run", "checks", "--out", str(tmp_path), *arguments)
        assert result.return_value == 0, result.output
        return fake.asked

    assert ran("--only", "2", "--brief") == [2]
    assert ran("--only", "2", "--brief") == []
    assert ran("--only", "2") == [2]
    # At full size it is as good as a brief one.
    assert ran("--brief") == [1]
    assert ran() == [1]
    assert ran() == []
    assert ran("--again", "--only", "1") == [1]
    lines = (tmp_path / "checks.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]


def test_a_check_that_raises_is_named_and_keeps_its_older_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeChecks(monkeypatch, is_reported=True)
    assert call("run", "checks", "--out", str(tmp_path), "--brief").return_value == 0
    fake.raises = True
    result = call("run", "checks", "--out", str(tmp_path))
    assert result.return_value == 1
    assert "check 1: ValueError: no such network" in result.output
    assert "not reproduced, brief" in result.output
    # What did not come about is asked for again.
    fake.raises = False
    fake.asked.clear()
    assert call("run", "checks", "--out", str(tmp_path)).return_value == 0
    assert fake.asked == [1]


def test_a_check_is_written_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeChecks(monkeypatch)
    run = fake.run

    def interrupted(checks: Sequence[Check], jobs: int, brief: bool) -> Iterator[CheckOutcome]:
        yield next(run(checks, jobs, brief))
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_checks", interrupted)
    # What was there ends with click's word for an interruption.
    call("run", "checks", "--out", str(tmp_path))
    lines = (tmp_path / "checks.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["2"]
