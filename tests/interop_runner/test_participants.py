"""The registry, and how participants are made ready and paired."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dmmp.errors import UsageError
from interop.matrix.participants import (
    REGISTRY,
    Participant,
    choose,
    pairs_of,
    prepare,
    read_registry,
)
from interop.runner import chosen_pairs, chosen_scenarios

EVERYTHING = ("rp", "source", "super-node", "member")
LINES = 'title = "one"\nroles = ["member"]\ncommand = ["{python}", "{here}/one.py"]\n'


def of(name: str, *roles: str) -> Participant:
    return Participant(name, name, roles, ("true",))


def test_the_registry_names_those_that_exist() -> None:
    registered = {each.name: each for each in read_registry()}
    assert list(registered) == ["dmmp", "dmmp-previous", "dmmp-other-policies", "leaf-c"]
    assert registered["leaf-c"].roles == ("member",)
    for each in registered.values():
        for word in (*each.command, *each.prepare):
            assert "{" not in word
            assert not word.startswith(str(REGISTRY.parent)) or Path(word).exists(), word


def test_a_participant_is_five_lines(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(f"[one]\n{LINES}")
    (one,) = read_registry(path)
    assert one.command == (sys.executable, f"{tmp_path}/one.py")
    assert (one.name, one.title, one.prepare, one.absent) == ("one", "one", (), "")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[one]\ntitle = 'x'\n", "wants title, roles, command"),
        (f"[one]\n{LINES}image = 'x'\n", "wants title, roles, command"),
        (f"[one]\n{LINES.replace('member', 'router')}", "no role router"),
        ("[one]\n" + LINES.replace('["member"]', "[]"), "must not be empty"),
        ("[one]\n" + LINES.replace('["member"]', '"member"'), "roles: a list of texts"),
        ("[one]\n" + LINES.replace('"one"', "1"), "title: a text"),
        ("one = 1\n", "wants title"),
        ("[one\n", "registry.toml"),
    ],
)
def test_what_is_wrong_with_a_registry_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint.replace("[", r"\[")):
        read_registry(path)


def test_the_core_must_be_everything_but_a_member() -> None:
    first, second, leaf = of("a", *EVERYTHING), of("b", *EVERYTHING), of("c", "member")
    named = [pair.name for pair in pairs_of([first, second, leaf])]
    assert named == ["a+a", "a+b", "a+c", "b+a"]
    every = [pair.name for pair in pairs_of([first, second, leaf], every=True)]
    assert every == ["a+a", "a+b", "a+c", "b+a", "b+b", "b+c"]
    assert [pair.name for pair in chosen_pairs(pairs_of([first, leaf]), ["a+c"])] == ["a+c"]
    with pytest.raises(UsageError, match=r"no pair 'c\+a'"):
        chosen_pairs(pairs_of([first, leaf]), ["c+a"])
    with pytest.raises(UsageError, match="nobody"):
        chosen_pairs(pairs_of([leaf]), [])


def test_names_are_chosen_in_the_order_given() -> None:
    known = [of("a", "member"), of("b", "member")]
    assert [each.name for each in choose(known, ["b", "a"])] == ["b", "a"]
    assert choose(known, []) == known
    with pytest.raises(UsageError, match="no participant 'c'"):
        choose(known, ["c"])
    assert chosen_scenarios(["leave", "join"]) == ["join", "leave"]
    with pytest.raises(UsageError, match="no scenario 'jion'"):
        chosen_scenarios(["jion"])


@pytest.mark.parametrize(
    ("script", "version", "absent"),
    [
        ("echo made; echo 1.2", "1.2", ""),
        ("echo no compiler; exit 127", "", "no compiler"),
        ('test -d "$DMMP_BUILD" && "$DMMP_PYTHON" -c "print(3)"', "3", ""),
    ],
)
def test_a_preparation_tells_the_version_or_why_there_is_none(
    tmp_path: Path, script: str, version: str, absent: str
) -> None:
    one = Participant("one", "one", ("member",), ("true",), ("sh", "-c", script))
    ready = prepare(one, tmp_path / "build")
    assert (ready.version, ready.absent) == (version, absent)


def test_a_preparation_that_fails_is_an_error(tmp_path: Path) -> None:
    one = Participant("one", "one", ("member",), ("true",), ("sh", "-c", "echo why >&2; exit 1"))
    with pytest.raises(UsageError, match="one cannot be made ready: why"):
        prepare(one, tmp_path)
    missing = prepare(Participant("x", "x", ("member",), ("true",), ("/no/such",)), tmp_path)
    assert "/no/such" in missing.absent
