"""Tests of what users ask of security: the files, their permissions, and who may listen where."""

from __future__ import annotations

import asyncio
import os
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from dmmp.cli import main
from dmmp.demo.admission import Admission
from dmmp.errors import UsageError
from dmmp.runtime import securing
from dmmp.runtime.securing import (
    CERTIFICATES,
    NONE,
    SHARED_SECRET,
    key_log,
    locate_points,
    read_options,
    refuse_public,
    security_of,
)
from dmmp.security.authority import Request
from dmmp.security.peer import Capability
from dmmp.types import Endpoint


@pytest.fixture
def admission(tmp_path: Path) -> Admission:
    made = Admission(tmp_path / "authority", "demo", CERTIFICATES)
    made.rendezvous_point("rp", "192.0.2.1:47700")
    made.host("anna", "member", [])
    return made


def options(admission: Admission, kind: str = "member", name: str = "anna", **more: Any) -> Any:
    directory = admission.directory
    files = {"session_file": directory / "session.toml", "credential": directory / f"{name}.pem"}
    return read_options(kind, CERTIFICATES, **{**files, **more})


def test_a_session_file_and_a_credential_make_a_member(admission: Admission) -> None:
    read = options(admission)
    assert read.session_file.session == "demo" and read.credential.peer.name == "anna"
    points = asyncio.run(locate_points(read.session_file, print))
    assert list(points) == [Endpoint(ip_address("192.0.2.1"), 47700)]
    security = security_of(read, "demo", points)
    assert security is not None and not security.shared and not security.is_ordinary


def test_the_only_credential_beside_the_session_file_is_taken(
    admission: Admission, tmp_path: Path
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    for name in ("session.toml", "anna.pem"):
        os.link(admission.directory / name, beside / name)
    read = read_options("member", CERTIFICATES, session_file=beside / "session.toml")
    assert read.credential_path == beside / "anna.pem"
    os.link(admission.directory / "rp.pem", beside / "rp.pem")
    with pytest.raises(UsageError, match=r"no --credential.*dmmp authority issue"):
        read_options("member", CERTIFICATES, session_file=beside / "session.toml")


@pytest.mark.parametrize("kind", ["rp", "source"])
def test_a_certificate_is_good_for_its_roles_only(admission: Admission, kind: str) -> None:
    with pytest.raises(UsageError, match=f"not for a {kind}.*--role {kind}"):
        options(admission, kind)


def test_what_others_can_read_is_no_secret(admission: Admission, tmp_path: Path) -> None:
    (admission.directory / "anna.pem").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        options(admission)
    secret = tmp_path / "secret"
    secret.write_text("a long and secret text of our own")
    with pytest.raises(UsageError, match="chmod 600"):
        read_options("member", SHARED_SECRET, secret_file=secret)
    secret.chmod(0o600)
    read = read_options("member", SHARED_SECRET, secret_file=secret)
    security = security_of(read, "demo", {})
    assert security is not None and security.shared


def test_an_expired_certificate_names_its_cure(admission: Admission) -> None:
    request = Request("late", "demo", Capability.MEMBER, 4, 10**8)
    at = time.time() - 90_000
    held = admission.authority.credential(request, at, os.urandom)
    path = admission.directory / "late.pem"
    path.touch(0o600)
    path.write_text(held.text())
    with pytest.raises(UsageError, match=r"expired.*dmmp authority renew"):
        options(admission, name="late")


def test_another_sessions_credential_does_not_fit(admission: Admission, tmp_path: Path) -> None:
    other = Admission(tmp_path / "other", "demo", CERTIFICATES)
    other.rendezvous_point("rp", "192.0.2.9:47700")
    other.host("anna", "member", [])
    with pytest.raises(UsageError, match="does not go with the session file"):
        options(admission, credential=other.directory / "anna.pem")


@pytest.mark.parametrize(
    ("mode", "given", "said"),
    [
        (CERTIFICATES, {}, "dmmp authority init"),
        (SHARED_SECRET, {}, "--secret-file"),
        (SHARED_SECRET, {"session_file": Path("x")}, "do not go with"),
        (NONE, {"credential": Path("x")}, "do not go with"),
        (NONE, {"secret_file": Path("x")}, "--security psk"),
        (NONE, {"key_log": Path("x")}, "no keys"),
        (CERTIFICATES, {"session_file": Path("/nowhere/x")}, "No such file"),
    ],
)
def test_what_does_not_go_together_is_refused(mode: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_options("member", mode, **given)
    assert "\n" not in str(refused.value)


def test_without_security_nobody_listens_to_the_internet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    public, private = ip_address("1.1.1.1"), ip_address("10.0.0.1")
    monkeypatch.setattr(securing, "own_addresses", lambda: [private, public])
    unsecured = read_options("rp", NONE)
    for listen in (None, Endpoint(ip_address("::"), 0), Endpoint(public, 1)):
        with pytest.raises(UsageError, match=r"1\.1\.1\.1.*--allow-public"):
            refuse_public(unsecured, listen)
    refuse_public(unsecured, Endpoint(private, 1))
    refuse_public(read_options("rp", NONE, allow_public=True), None)
    assert main(["rp", "--security", "none", "--session", "demo"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--allow-public" in said


def test_this_machines_addresses_are_known() -> None:
    assert ip_address("127.0.0.1") in securing.own_addresses()


def test_a_key_log_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write = key_log(path)
    assert write is not None and key_log(None) is None
    write("DMMP_EPOCH 1 2 3 4")
    assert path.read_text() == "DMMP_EPOCH 1 2 3 4\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_options("member", CERTIFICATES, key_log=path)
    with pytest.raises(UsageError, match="no such directory"):
        read_options("member", CERTIFICATES, key_log=tmp_path / "no" / "keys")
