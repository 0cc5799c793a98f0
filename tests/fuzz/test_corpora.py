"""Every fuzzing target over its corpus, its seeds and seeded mutations of both, without atheris.

A million runs each, led by coverage, are `python -m tests.fuzz`.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.fuzz import broken, corpus
from tests.fuzz.mutate import mutations
from tests.fuzz.registry import NAMES, PACKAGE, load
from tests.fuzz.running import Hangs, bounded, findings
from tests.fuzz.target import Target
from tests.marks import long

MUTATIONS = 120
"""A target, in the fast tests: all targets together take a few seconds."""

MANY_MUTATIONS = [1_500, *long(5_000)]

every_target = pytest.mark.parametrize("name", NAMES)


def inputs(target: Target, count: int, seed: int) -> Iterable[bytes]:
    bases = [*corpus.kept(target.name), *target.seeds()]
    yield from bases
    yield from mutations(bases, count, seed, target.most_bytes)


def check(name: str, count: int, seed: int) -> None:
    target = load(name)
    for data, error in findings(target, inputs(target, count, seed)):
        corpus.write(corpus.FINDINGS, ())
        path = corpus.FINDINGS / f"{name}-{corpus.name_of(data)}"
        path.write_bytes(data)
        told = "".join(traceback.format_exception(error))
        pytest.fail(f"{told}\nagain: python -m tests.fuzz --repeat {path}", pytrace=False)


@every_target
def test_corpus_and_mutations(name: str) -> None:
    check(name, MUTATIONS, seed=1)


@pytest.mark.slow
@every_target
@pytest.mark.parametrize("count", MANY_MUTATIONS)
def test_many_mutations(name: str, count: int) -> None:
    check(name, count, seed=2)


@every_target
def test_corpus_is_small_and_named_by_its_bytes(name: str) -> None:
    folder = corpus.CORPORA / name
    paths = sorted(folder.iterdir())
    assert 0 < len(paths) <= corpus.MOST_INPUTS
    for path in paths:
        data = path.read_bytes()
        assert path.name == corpus.name_of(data) and len(data) <= corpus.MOST_BYTES


@every_target
def test_target_is_described(name: str) -> None:
    target = load(name)
    assert target.name == name and target.says
    assert all(len(seed) <= target.most_bytes for seed in target.seeds())


def test_every_target_is_registered() -> None:
    folder = Path(__file__).parent / "targets"
    assert len(set(NAMES)) == len(NAMES) >= 10
    found = {path.stem for path in folder.glob("*.py") if "TARGET = " in path.read_text()}
    assert found == set(NAMES), PACKAGE
    assert {path.name for path in corpus.CORPORA.iterdir()} == set(NAMES)


def test_an_exception_other_than_decode_error_is_a_finding() -> None:
    found = list(findings(broken.TARGET, [b"", b"\x00", b"\x40", b"\xc0"]))
    assert [(finding.data, type(finding.error)) for finding in found] == [(b"\xc0", KeyError)]


def test_mutations_find_it() -> None:
    bases = list(broken.TARGET.seeds())
    assert any(findings(broken.TARGET, mutations(bases, 100, 1)))


def test_an_endless_loop_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.running.HANGS_AFTER", 0.05)

    def endless(data: bytes) -> None:
        while data:
            pass

    run = bounded(endless)
    run(b"")
    with pytest.raises(Hangs):
        run(b"x")


def test_mutations_are_the_same_for_the_same_seed() -> None:
    bases = [b"some", b"bases of some length"]
    assert list(mutations(bases, 200, 7)) == list(mutations(bases, 200, 7))
    assert list(mutations(bases, 200, 7)) != list(mutations(bases, 200, 8))
    assert all(len(made) <= 10 for made in mutations(bases, 200, 7, 10))
