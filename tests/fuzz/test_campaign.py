"""The runner around atheris: finds what is there to be found, keeps it, and says how to repeat it.

Where atheris is not installed, the one line that says so.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fuzz import broken, campaign, corpus, measure
from tests.fuzz.__main__ import main
from tests.fuzz.campaign import Options

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.fixture(autouse=True)
def _findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FINDINGS", tmp_path)


def test_without_atheris_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["--only", "tlvs"])
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1 and "pip install atheris" in result.output


def test_an_unknown_target_is_refused() -> None:
    result = CliRunner().invoke(main, ["--only", "nonsense"])
    assert result.exit_code == 2 and "nonsense" in result.output


def test_the_list_names_every_target() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0 and "messages" in result.output


@pytest.mark.slow
def test_a_key_error_is_found_and_kept(tmp_path: Path) -> None:
    if not HAS_ATHERIS:
        # `test_corpora` has shown as much without it.
        return
    result = CliRunner().invoke(main, ["--only", "tests.fuzz.broken:", "--runs", "10000"])
    assert result.exit_code == 1 and "KeyError" in result.output
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("broken-") and str(path) in result.output.replace("\n", "")
    with pytest.raises(KeyError):
        broken.test_one(path.read_bytes())


@pytest.mark.slow
def test_a_clean_target_is_run_as_often_as_asked(tmp_path: Path) -> None:
    if HAS_ATHERIS:
        result = campaign.run("tlvs", Options(3000, seed=1))
        assert result.is_clean and result.runs == 3000 and result.covered > 0
        assert result.measured is not None and result.measured["seconds"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("data", "code"), [(b"\x00", 0), (b"\xff", 1)])
def test_an_input_is_repeated(tmp_path: Path, data: bytes, code: int) -> None:
    path = tmp_path / "broken-1"
    path.write_bytes(data)
    result = CliRunner().invoke(main, ["--repeat", str(path), "--only", "tests.fuzz.broken:"])
    assert result.exit_code == code
    assert ("KeyError: 3" in result.output) == bool(code)


def test_a_name_is_taken_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tlvs-0123"
    path.write_bytes(b"\x80\x01\x00\x00")
    result = CliRunner().invoke(main, ["--repeat", str(path)])
    assert result.exit_code == 0 and "ms" in result.output


def test_what_a_parser_needs_is_measured() -> None:
    found = measure.measured(lambda data: [bytes(1 << 20) for _ in data], [b"", b"x"])
    assert 1 << 20 <= found["bytes"] < 2 << 20 and found["largest"] == corpus.name_of(b"x")
    assert found["seconds"] > 0


def test_a_corpus_is_reduced_to_what_takes_other_ways() -> None:
    from tests.fuzz.targets import tlvs

    inputs = [*tlvs.seeds(), *[bytes((0x80, 1, 0, n)) + bytes(n + -n % 4) for n in range(9)]]
    chosen = corpus.minimised(tlvs.TARGET, inputs)
    assert 0 < len(chosen) < len(inputs) // 2
    everything = set().union(*[corpus.steps(tlvs.test_one, data) for data in inputs])
    assert set().union(*[corpus.steps(tlvs.test_one, data) for data in chosen]) == everything
    assert sys.gettrace() is None or "coverage" in sys.modules
