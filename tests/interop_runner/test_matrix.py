"""The matrix as it is played: a small one is green, and participants that are broken are judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.matrix.contract import VARIABLES
from interop.runner import main

pytestmark = [pytest.mark.namespace, pytest.mark.slow]

BROKEN = Path(__file__).with_name("broken.toml")


def play(directory: Path, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the command; give its exit code and the cells by scenario and edge."""
    path = directory / "matrix.json"
    code = main([*words, "--json", str(path), "--html", str(directory / "matrix.html")])
    cells = json.loads(path.read_text())["cells"]
    return code, {f"{cell['scenario']} {cell['edge']}": cell for cell in cells}


def test_a_small_matrix_is_green(tmp_path: Path) -> None:
    code, cells = play(tmp_path, "--only", "handshake,leave", "--participants", "dmmp,leaf-c")
    reasons = {name: cell["reasons"] for name, cell in cells.items()}
    assert code == 0, reasons
    assert set(reasons) == {
        "handshake dmmp",
        "handshake leaf-c",
        "leave dmmp",
        "leave leaf-c",
    }
    assert {cell["verdict"] for cell in cells.values()} == {"passed"}
    assert (tmp_path / "matrix.html").read_text().count("✓ passed") == 4


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """Play `join` with each of the broken members."""
    directory = tmp_path_factory.mktemp("broken")
    names = "dmmp,wrong,twice,refuses,ends,absent"
    pairs = "dmmp+wrong,dmmp+twice,dmmp+refuses,dmmp+ends,dmmp+absent"
    words = ["--registry", str(BROKEN), "--participants", names, "--pair", pairs]
    code, cells = play(directory, *words, "--only", "join")
    assert code == 1
    yield cells


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("wrong", "failed", "pieces that nobody sent"),
        ("twice", "failed", "datagrams again"),
        ("ends", "failed", "ended with exit code 3"),
        ("refuses", "unsupported", "refuses as member"),
    ],
)
def test_a_broken_participant_is_judged(
    broken: dict[str, dict[str, Any]], name: str, verdict: str, reason: str
) -> None:
    cell = broken[f"join {name}"]
    assert cell["verdict"] == verdict, cell
    assert reason in " ".join(cell["reasons"])


def test_who_is_absent_is_not_played(broken: dict[str, dict[str, Any]]) -> None:
    assert "join absent" not in broken


def test_a_participant_is_started_with_the_variables_of_the_contract(tmp_path: Path) -> None:
    keep = tmp_path / "kept"
    words = ["--registry", str(BROKEN), "--participants", "tells", "--only", "secret"]
    code, cells = play(tmp_path, *words, "--keep", str(keep))
    assert (code, cells["secret tells"]["verdict"]) == (1, "failed")
    told = [json.loads(path.read_text()) for path in keep.glob("*/*.json")]
    assert told
    for variables in told:
        assert set(VARIABLES) <= set(variables)
        assert (variables["DMMP_SECURITY"], variables["DMMP_CREDENTIAL"]) == ("psk", "")
        assert variables["DMMP_SECRET_FILE"].startswith(variables["DMMP_DIRECTORY"])
        assert bool(variables["DMMP_RP"]) == (variables["DMMP_ROLE"] != "rp")
