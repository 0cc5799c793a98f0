"""What cases of secured sessions stand on: the authority, its files, processes that take them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dmmp.conformance.case import Feature, Verdict
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.over_udp import Target
from dmmp.conformance.requirement import Role
from dmmp.conformance.runner import Plan, Result, run_case
from dmmp.conformance.secured import BEGIN, WALL, SecuredSession
from dmmp.conformance.secured_over_udp import SecuredOverUdp, opens
from dmmp.conformance.staging import bitmap, marked
from dmmp.conformance.timing import REAL
from dmmp.messages import DataRequest
from dmmp.security.identity import Credential
from dmmp.security.peer import Capability
from dmmp.security.session_file import SessionFile
from dmmp.types import HostId

DMMP = f"{sys.executable} -m dmmp"


def _run(role: Role, name: str, secured_command: str | None) -> Result:
    listen = "{listen}" if role is Role.RP else "127.0.0.1:0 --rp {rp}"
    plain = f"{DMMP} {role.value} --security none --session {{session}} --listen {listen}"
    target = Target(role, "conformance", command=plain)
    plan = Plan(role, opens(target, secured_command), REAL)
    (case,) = [each for each in choose_cases(role) if each.id == name]
    return run_case(case, plan)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "name"),
    [
        (Role.RP, "10/2:initiation-answered"),
        (Role.SUPER_NODE, "10/26:sealed-after-the-response"),
    ],
)
def test_a_secured_case_over_udp(role: Role, name: str) -> None:
    listen = "{listen}" if role is Role.RP else "127.0.0.1:0"
    files = "--session-file {session_file} --credential {credential}"
    result = _run(role, name, f"{DMMP} {role.value} {files} --listen {listen}")
    assert result.verdict is Verdict.PASSED, f"{result.reason}\n{result.said}"


def test_without_a_command_for_it_a_secured_case_is_unsupported() -> None:
    result = _run(Role.RP, "10/2:initiation-answered", None)
    assert result.verdict is Verdict.UNSUPPORTED
    assert Feature.SECURED.value in result.reason


def test_the_files_are_those_of_one_session() -> None:
    """Whoever reads them finds the RP that the tester plays, and may take part."""
    target = Target(Role.MEMBER, "conformance", command="true {session_file} {credential}")
    carrier = SecuredOverUdp(target, 1)
    try:
        words = carrier.words()
        file = SessionFile.parse(Path(words[1]).read_text(encoding="utf-8"))
        held = Credential.parse(Path(words[2]).read_text(encoding="utf-8"))
        now = carrier.now + carrier.secured.wall
        peer = file.trust().check(held.certificate, held.peer.static_key, now)
        assert peer.capabilities == Capability.MEMBER
        (point,) = file.rendezvous_points
        (played,) = carrier.points()
        assert (point.address, point.static_key) == (str(played), carrier.secured.keys[played])
    finally:
        carrier.close()


def test_a_session_is_the_same_for_the_same_seed() -> None:
    keys = [SecuredSession("s", seed, WALL, BEGIN).authority.public for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("numbers", [[5], [5, 6, 7], [5, 12, 13, 40]])
def test_bitmaps_are_read_as_they_are_made(numbers: list[int]) -> None:
    request = DataRequest(origin=HostId(2), channel=1, base=5, bitmap=bitmap(5, numbers))
    assert marked(request) == numbers
    assert marked(replace(request, bitmap=b"\0")) == []
