"""The leaf in C by itself: it builds, reads every vector, and says what is wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.leaf.test_among_members import LEAF, build

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("secure", ["0", "1"])
def test_it_reads_and_writes_every_vector(tmp_path: Path, secure: str) -> None:
    command = ["make", "-C", str(LEAF), "check", f"BUILD={tmp_path}", f"SECURE={secure}"]
    done = subprocess.run([*command, "SANITIZE=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed" in done.stdout


def test_a_leaf_without_security_needs_the_c_library_alone(tmp_path: Path) -> None:
    program = build(tmp_path, SECURE="0")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    assert "crypto" not in linked


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--session", "demo", "--rp", "127.0.0.1"],
        ["--session", "demo", "239.1.2.3"],
        ["10.1.2.3:5004"],
        ["239.1.2.3:70000"],
        ["--what", "239.1.2.3"],
        ["--rp"],
        ["--security", "some", "239.1.2.3"],
        ["--session-file", "/nowhere", "--credential", "/nowhere", "239.1.2.3"],
        ["--secret-file", "/nowhere", "--session", "demo", "239.1.2.3"],
        ["--session", "demo", "--rp", "127.0.0.1", "--output", "nowhere0", "239.1.2.3"],
    ],
)
def test_an_error_is_one_line_and_exit_code_2(program: Path, words: list[str]) -> None:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dmmp-leaf: ")
    assert done.stderr.count("\n") == 1


def test_help_fits_a_screen(program: Path) -> None:
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    assert done.stdout.count("\n") <= 24


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the leaf with both sanitizers."""
    return build(tmp_path_factory.mktemp("program"), SANITIZE="1")
