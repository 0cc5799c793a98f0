"""The tester over real UDP, against real processes of ours on the loopback interface."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmmp.cli import main
from dmmp.conformance.case import Feature, Verdict
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.over_udp import OverUdp, Target, opens
from dmmp.conformance.requirement import Role
from dmmp.conformance.runner import Plan, Result, run_all
from dmmp.conformance.timing import REAL
from dmmp.errors import UsageError
from dmmp.runtime.control import DIRECTORY_VARIABLE
from dmmp.types import Endpoint

HERE = ip_address("127.0.0.1")
NODE = f"{shlex.quote(sys.executable)} -m dmmp"
COMMANDS = {
    Role.RP: f"{NODE} rp --security none --listen {{listen}} --session {{session}}",
    Role.SUPER_NODE: f"{NODE} super-node --security none --listen {{listen}} --session {{session}}"
    " --rp {rp} [--rp {rp2}]",
}
for _role in (Role.SOURCE, Role.MEMBER):
    COMMANDS[_role] = (
        f"{NODE} {_role.value} --security none --listen {{listen}} --session {{session}}"
        " --rp {rp} [--rp {rp2}] --interface lo --group 239.255.77.1:47701"
    )
CHOSEN = {
    Role.RP: ("1/4", "2/2", "4/1", "4/9", "4/31"),
    Role.SOURCE: ("1/4", "2/12", "3/13:lost-answers", "4/62", "5/9"),
    Role.SUPER_NODE: ("1/17", "2/2", "4/64", "4/74"),
    Role.MEMBER: ("1/23", "2/10", "3/15", "4/69"),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {DIRECTORY_VARIABLE: str(tmp_path)}


def run_chosen(role: Role, environment: dict[str, str]) -> list[Result]:
    target = Target(role, "conformance", command=COMMANDS[role], environment=environment)
    # The machine may be busy: a case that passes at the third try shows that it can be passed.
    plan = Plan(role, opens(target), REAL, tries=3)
    return list(run_all(choose_cases(role, CHOSEN[role]), plan))


@pytest.mark.slow
@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
def test_our_nodes_pass_over_udp(role: Role, environment: dict[str, str]) -> None:
    results = run_chosen(role, environment)
    found = {result.case.id: (result.verdict, result.reason) for result in results}
    assert {verdict for verdict, _ in found.values()} == {Verdict.PASSED}, found


@pytest.mark.slow
def test_programs_are_played_on_an_interface(environment: dict[str, str]) -> None:
    command = COMMANDS[Role.SOURCE]
    target = Target(
        Role.SOURCE, "conformance", command=command, interface="lo", environment=environment
    )
    plan = Plan(Role.SOURCE, opens(target), REAL, tries=3)
    results = list(run_all(choose_cases(Role.SOURCE, ["5/41", "5/44", "5/51"]), plan))
    assert [result.verdict for result in results] == 3 * [Verdict.PASSED], results


@pytest.fixture
def point(environment: dict[str, str]) -> Iterator[Endpoint]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((str(HERE), 0))
        endpoint = Endpoint(HERE, opened.getsockname()[1])
    words = shlex.split(COMMANDS[Role.RP].format(listen=endpoint, session="conformance"))
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while "ready" not in process.stdout.readline():
            assert process.poll() is None
        yield endpoint
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.slow
def test_an_rp_that_runs_already(point: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["conformance", str(point), "--role", "rp", "--tries", "3"]
    code = main([*arguments, "4/7", "4/13", "4/28", "4/27", "4/46"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "unsupported 4/27:no-source" in said
    assert said.count("passed  ") == 5


@pytest.mark.slow
def test_a_process_that_is_none_fails(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -c 'print(\"I am no RP\")' {{listen}}"
    target = Target(Role.RP, "conformance", command=command)
    timing = REAL.__class__(answer=0.2, quiet=0.2, tolerance=0.1, start=1.0)
    plan = Plan(Role.RP, opens(target), timing)
    (result,) = run_all(choose_cases(Role.RP, ["4/3"]), plan)
    assert result.verdict is Verdict.FAILED
    assert result.reason == "the RP under test answers no Subscription Request"
    assert "I am no RP" in result.said


def test_features_follow_from_the_target() -> None:
    def features(role: Role, **fields: str) -> frozenset[Feature]:
        return Target(role, "x", **fields).features  # type: ignore[arg-type]

    assert features(Role.RP) == frozenset()
    assert features(Role.MEMBER) == {Feature.FRESH}
    assert features(Role.RP, command="{listen}") == {Feature.FRESH, Feature.STOP}
    assert Feature.SECOND_RP in features(Role.MEMBER, command="{rp} [{rp2}]")
    assert Feature.PROGRAM in features(Role.MEMBER, command="{rp}", interface="lo")


def test_sockets_carry_and_wait() -> None:
    carrier = OverUdp(Target(Role.MEMBER, "x"), second_rp=True)
    try:
        (one, other) = carrier.points()
        carrier.send(one, other, b"now")
        carrier.send(one, other, b"later", delay=0.05)
        found = [carrier.receive(carrier.now + 5.0) for _ in range(2)]
        assert [(each.sender, each.to, each.datagram) for each in found if each] == [
            (one, other, b"now"),
            (one, other, b"later"),
        ]
        assert carrier.receive(carrier.now + 0.01) is None
        carrier.close_address(one)
        carrier.send(one, other, b"never")
        assert carrier.receive(carrier.now + 0.01) is None
    finally:
        carrier.close()


def test_an_address_that_is_taken_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((str(HERE), 0))
        taken = Endpoint(HERE, opened.getsockname()[1])
        with pytest.raises(UsageError, match=f"--listen {taken}"):
            OverUdp(Target(Role.MEMBER, "x", listen=taken))


def test_the_second_rp_is_told_where_there_is_one() -> None:
    target = Target(Role.MEMBER, "x", command="run --rp {rp} [--rp {rp2}] [ff1e::1]:5004")
    for second in (False, True):
        carrier = OverUdp(target, second_rp=second)
        try:
            points = [word for point in carrier.points() for word in ("--rp", str(point))]
            assert carrier.words() == ["run", *points, "[ff1e::1]:5004"]
        finally:
            carrier.close()


def test_who_starts_it_by_hand_is_told_where() -> None:
    told: list[str] = []
    carrier = OverUdp(Target(Role.MEMBER, "x", announce=told.append))
    try:
        carrier.start()
        assert told == [f"start it anew now, with its RP at {carrier.points()[0]}"]
    finally:
        carrier.close()


def test_closing_kills_the_process() -> None:
    sleeps = f"{shlex.quote(sys.executable)} -c 'import time; time.sleep(99)' {{listen}}"
    carrier = OverUdp(Target(Role.RP, "x", command=sleeps))
    carrier.start()
    process = carrier.process
    assert process is not None and process.poll() is None
    carrier.close()
    assert process.returncode == -signal.SIGKILL
