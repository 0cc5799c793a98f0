"""The page of contract, the runner and the endpoints say the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dmmp.cli import root
from interop.endpoint.ours import command_of
from interop.matrix.contract import PORT, ROLES, UNSUPPORTED, VARIABLES, Task
from interop.matrix.participants import ROOT

ENDPOINT = ROOT / "interop" / "endpoint"
PAGE = (ROOT / "interop" / "CONTRACT.md").read_text(encoding="utf-8")
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


def task(role: str, security: str = "certificates", directory: Path = Path("/x")) -> Task:
    certified = security == "certificates"
    return Task(
        role=role,
        name="h1",
        scenario="join",
        security=security,
        points=() if role == "rp" else ("10.77.1.2:47700", "[2001:db8::2]:47700"),
        out_degree=3,
        group="239.1.2.3:5004",
        directory=directory,
        build=directory,
        session_file="/x/session.toml" if certified else "",
        credential="/x/h1.pem" if certified else "",
        secret_file="/x/secret" if security == "psk" else "",
    )


def test_the_page_lists_exactly_the_variables() -> None:
    rows = re.findall(r"^\| `(DMMP_\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert dict(rows) == VARIABLES
    assert f"**{UNSUPPORTED}**" in PAGE
    assert len(PAGE.splitlines()) <= 50


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("security", ["none", "certificates", "psk"])
def test_every_variable_is_given(role: str, security: str) -> None:
    variables = task(role, security).variables()
    assert list(variables) == list(VARIABLES)
    assert variables["DMMP_OUTPUT"] == "/x/h1.delivered"
    assert bool(variables["DMMP_RP"]) == (role != "rp")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("security", ["none", "certificates", "psk"])
def test_ours_turns_them_into_words_that_the_command_line_takes(role: str, security: str) -> None:
    kind, *words = command_of(task(role, security).variables())
    command = root.commands[kind]
    given = command.make_context(kind, list(words), parent=click.Context(root)).params
    assert (given["listen"], given["security"]) == (f"[::]:{PORT}", security)
    if role != "rp":
        assert given["out_degree"] == 3
        named = ("10.77.1.2:47700", "[2001:db8::2]:47700")
        assert given["places"] == (() if security == "certificates" else named)
    assert (given["secret_file"] is not None) == (security == "psk")
    assert (given["credential"] is not None) == (security == "certificates")


def start(
    command: list[str], directory: Path, role: str, **more: str
) -> subprocess.CompletedProcess[str]:
    variables = dict(os.environ, **task(role, directory=directory).variables(), **more)
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def test_an_unknown_role_is_unsupported(tmp_path: Path) -> None:
    done = start([sys.executable, str(ENDPOINT / "ours.py")], tmp_path, "observer")
    assert done.returncode == UNSUPPORTED


@pytest.mark.parametrize(
    ("role", "scenario"),
    [("rp", "join"), ("source", "join"), ("super-node", "join"), ("member", "mtu")],
)
def test_the_leaf_says_what_it_does_not_do(tmp_path: Path, role: str, scenario: str) -> None:
    variables = dict(os.environ, **task(role, directory=tmp_path).variables())
    variables["DMMP_SCENARIO"] = scenario
    done = subprocess.run([ENDPOINT / "leaf_c.sh"], env=variables)
    assert done.returncode == UNSUPPORTED


def repository(directory: Path, *tags: str) -> Path:
    """Make a repository with a commit for each tag, the last being the present one."""
    script = directory / "interop" / "endpoint" / "previous_release.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ENDPOINT / script.name).read_bytes())
    script.chmod(0o755)
    (script.parent / "ours.py").write_bytes((ENDPOINT / "ours.py").read_bytes())
    (directory / "dmmp").mkdir()
    (directory / "dmmp" / "__init__.py").touch()
    subprocess.run([*GIT, "init", "-q"], cwd=directory, check=True)
    for tag in tags:
        (directory / "dmmp" / "__main__.py").write_text(f"print({tag!r})\n")
        subprocess.run([*GIT, "add", "."], cwd=directory, check=True)
        subprocess.run([*GIT, "commit", "-q", "-m", tag], cwd=directory, check=True)
        if tag.startswith("v"):
            subprocess.run([*GIT, "tag", tag], cwd=directory, check=True)
    return script


def test_the_previous_release_is_the_newest_tag_of_another_commit(tmp_path: Path) -> None:
    script = repository(tmp_path / "tree", "v0.9", "v0.10", "v0.11")
    build = tmp_path / "build"
    build.mkdir()
    done = start([str(script), "prepare"], build, "rp", DMMP_PREVIOUS="")
    assert (done.returncode, done.stdout.strip()) == (0, "v0.10"), done.stderr
    assert start([str(script)], build, "rp").stdout.strip() == "v0.10"
    named = start([str(script), "prepare"], build, "rp", DMMP_PREVIOUS="v0.9")
    assert named.stdout.strip() == "v0.9"
    assert start([str(script)], build, "rp").stdout.strip() == "v0.9"


@pytest.mark.parametrize("tag", ["v1", "other"])
def test_without_another_release_it_is_absent(tmp_path: Path, tag: str) -> None:
    script = repository(tmp_path / "tree", tag)
    done = start([str(script), "prepare"], tmp_path, "rp", DMMP_PREVIOUS="")
    assert done.returncode == UNSUPPORTED
    assert "no release before this one" in done.stdout


def test_the_other_policies_are_others() -> None:
    """In a process of its own: they are put in the places of the usual ones."""
    program = (
        "from interop.endpoint import other_policies\n"
        "from dmmp.parameters import Parameters\n"
        "from dmmp.policies import parents, promotion\n"
        "from dmmp.roles import seeking, super_node, yielding\n"
        "from dmmp.runtime import node\n"
        "usual = parents.shallowest\n"
        "other_policies.vary()\n"
        "assert seeking.OFFER_RANKINGS['shallowest'] is not usual\n"
        "assert not yielding.THRESHOLDS['out-degree'](None, None, None)\n"
        "assert super_node.choose_backups is other_policies.strangers_first\n"
        "assert node.Parameters() != Parameters()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
