"""`dmmp conformance`: what it prints, its documents, its exit codes, one line for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from dmmp.cli import main
from dmmp.conformance import secured
from dmmp.conformance.in_process import InProcess, Running
from dmmp.conformance.requirement import Role
from dmmp.conformance.results import dialogue
from dmmp.conformance.tester import Line
from dmmp.parameters import Parameters
from dmmp.roles.standing import HostSetup
from tests.conformance.mutants import Flat, make

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["conformance", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command test an RP that never raises the tree version."""

    def make_broken(role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
        return make(Flat)(role, setup, parameters, rng)

    def open_broken(
        case: object, role: Role, session: str, parameters: Parameters, seed: int
    ) -> InProcess:
        return InProcess(role, session, parameters, seed, make_broken)

    monkeypatch.setattr(secured, "open_in_process", open_broken)
    monkeypatch.setattr("dmmp.conformance.runner.open_in_process", open_broken)


def test_what_passes_exits_with_0(run: Run) -> None:
    code, out, err = run("--role", "rp", "3/18", "4/7")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "passed      3/18:timestamp-returned  A probe's timestamp comes back as it was",
        "passed      4/7:same-instance  The same instance has the same id",
        "2 passed, 0 failed, 0 skipped, 0 unsupported",
    ]


def test_a_section_or_a_single_case_is_chosen(run: Run) -> None:
    assert run("--role", "rp", "3/3:registered-again")[1].count("passed  ") == 1
    sections = run("--role", "rp", "2")[1].splitlines()[:-1]
    assert len(sections) > 10
    assert {line.split()[1].partition("/")[0] for line in sections} == {"2"}


def test_a_should_is_skipped_unless_strict(run: Run) -> None:
    code, out, _ = run("--role", "rp", "4/54")
    assert code == 0
    assert "skipped     4/54:crowd" in out and "--strict runs it" in out
    assert run("--role", "rp", "4/54", "--strict")[1].startswith("passed")


def test_long_cases_are_skipped_on_demand(run: Run) -> None:
    _, out, _ = run("--role", "rp", "4/24", "4/25", "--at-most", "20")
    assert "skipped     4/24" in out and "passed      4/25" in out


def test_list(run: Run) -> None:
    code, out, _ = run("--role", "source", "--list")
    assert code == 0
    assert "5/31:promotion-refused  MUST  source  Nobody takes the source's place" in out
    assert "4/1:" not in out


@pytest.mark.usefixtures("broken")
def test_a_failure_says_everything(run: Run) -> None:
    code, out, _ = run("--role", "rp", "4/46:version-raised")
    assert code == 1
    assert "failed      4/46:version-raised" in out
    assert "4/46 MUST: A Status Report of the source raises the tree version" in out
    assert "1 is not newer than 0" not in out
    assert "1 is not newer than 1" in out
    assert "source     > StatusReport of session" in out
    assert "source     < StatusResponse of session" in out
    assert "1 tree_version             1" in out
    assert "again: dmmp conformance --role rp 4/46:version-raised" in out


@pytest.mark.usefixtures("broken")
def test_json(run: Run) -> None:
    code, out, _ = run("--role", "rp", "4/46", "4/47", "4/54", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["role"] == "rp"
    assert sum(found["counts"].values()) == len(found["cases"])
    assert found["counts"]["failed"] >= 1 and found["counts"]["skipped"] == 1
    failed = next(case for case in found["cases"] if case["id"] == "4/46:version-raised")
    assert failed["level"] == "MUST" and failed["where"].startswith("messages.md")
    assert failed["again"].endswith("4/46:version-raised")
    first = failed["said"][0]
    assert bytes.fromhex(first["datagram"])[2:4] == b"\x00\x10"
    assert (first["from"], first["at"]) == ("tester", 0)


@pytest.mark.usefixtures("broken")
def test_junit(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    code, _, _ = run("--role", "rp", "4/46", "4/47", "4/54", "--junit", str(path))
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert code == 1 and suite is not None
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure")) >= 1
    assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped")) == 1
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert "again: dmmp conformance --role rp" in failure.text
    assert cases[0].attrib["classname"] == "rp.Rendezvous point"


def test_the_command_to_repeat_it_has_every_option(run: Run) -> None:
    options = ["--command", "true {listen} [{rp2}]", "--answer", "0.05", "--start", "0.1"]
    code, out, _ = run("--role", "rp", *options, "4/1", "--json")
    (failed,) = json.loads(out)["cases"]
    assert (code, failed["verdict"]) == (1, "failed")
    assert failed["again"] == (
        "dmmp conformance --role rp --command 'true {listen} [{rp2}]' --answer 0.05 --start 0.1"
        " 4/1:session-served"
    )


def test_a_timer_is_taken_over(run: Run) -> None:
    code, out, _ = run("--role", "rp", "3/4", "--timer", "retry_first=0.5")
    assert (code, out.startswith("passed")) == (0, True)


def test_a_long_dialogue_is_shortened() -> None:
    lines = [Line(float(at), "peer", True, b"\0") for at in range(60)]
    shown = dialogue(lines)
    assert shown[0] == "(20 earlier ones left out)"
    assert len(shown) == 41


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "Missing option '--role'"),
        (("--role", "router"), "'router' is not one of"),
        (("--role", "rp", "9/999"), "no case '9/999' for the role rp"),
        (("--role", "rp", "5/1"), "no case '5/1' for the role rp"),
        (("--role", "rp", "127.0.0.1:1", "127.0.0.1:2"), "'127.0.0.1:2' is no case"),
        (("--role", "rp", "a b"), "'a b'"),
        (("--role", "rp", "127.0.0.1:70000"), "a port is 1 to 65535"),
        (("--role", "rp", "no.such.host.invalid:1"), "no.such.host.invalid"),
        (("--role", "rp", "--command", "rp"), "write {listen}"),
        (("--role", "member", "--command", "member"), "write {rp}"),
        (("--role", "member", "--command", "x {rp}", "127.0.0.1:5"), "choose one"),
        (("--role", "rp", "--listen", "127.0.0.1"), "--listen goes with"),
        (("--role", "member", "--listen", "nowhere"), "is no address"),
        (("--role", "rp", "--jobs", "2"), "--jobs goes with --command"),
        (("--role", "member", "--interface", "lo"), "--interface goes with"),
        (
            ("--role", "member", "--interface", "lo", "--jobs", "2", "--command", "x {rp}"),
            "--jobs and --interface: choose one",
        ),
        (("--role", "rp", "--timer", "patience=3"), "no timer of this name"),
        (("--role", "rp", "--answer", "0"), "0"),
        (("--role", "member", "--command", "/no/such/program {rp}", "3/4"), "No such file"),
        (
            ("--role", "member", "--command", "true {rp}", "--interface", "nodev0", "3/4"),
            "there is no such interface",
        ),
        (("--role", "member", "--command", "true {rp} {port}", "3/4"), "'port' is not to be read"),
        (("--role", "rp", "3/1", "--junit", "/no/such/folder/x.xml"), "No such file"),
    ],
)
def test_a_mistake_is_one_line_and_exits_with_2(
    run: Run, arguments: tuple[str, ...], text: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("dmmp: ") and err.count("\n") == 1
    assert text in err
