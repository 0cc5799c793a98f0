"""The requirements: readable, and each MUST has a case or a written reason why it has none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dmmp.conformance.catalogue import all_cases, excuses
from dmmp.conformance.requirement import Level, Role, parse, requirements, sections

ROOT = Path(__file__).parents[2]
NOTES = ROOT / "spec-notes"
FILE = NOTES / "requirements.md"


def test_every_must_has_a_case_or_an_excuse() -> None:
    covered = {case.requirement_id for case in all_cases()}
    musts = {each.id for each in requirements().values() if each.level is Level.MUST}
    assert sorted(musts - covered - set(excuses())) == []


def test_every_should_has_a_case_or_an_excuse() -> None:
    covered = {case.requirement_id for case in all_cases()}
    shoulds = {each.id for each in requirements().values() if each.level is Level.SHOULD}
    assert sorted(shoulds - covered - set(excuses())) == []


def test_no_excuse_for_what_is_tested_or_unknown() -> None:
    covered = {case.requirement_id for case in all_cases()}
    assert sorted(covered & set(excuses())) == []
    assert sorted(set(excuses()) - set(requirements())) == []
    assert all(reason.strip() for reason in excuses().values())


def test_cases_name_requirements_of_their_roles() -> None:
    for case in all_cases():
        assert case.requirement_id in requirements(), case.id
        beyond = set(case.roles) - case.requirement.binds
        assert not beyond, f"{case.id} tests {beyond}, which the requirement does not bind"


def test_the_package_carries_the_same_file() -> None:
    carried = ROOT / "dmmp" / "conformance" / "requirements.md"
    assert carried.read_text(encoding="utf-8") == FILE.read_text(encoding="utf-8")


def test_rows_stand_in_their_section() -> None:
    section = 0
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"## (\d+) ", line):
            section = int(found[1])
        elif found := re.match(r"\| (\d+)/", line):
            assert int(found[1]) == section, line
    assert section == max(sections())


def test_sentences_are_sentences() -> None:
    for each in requirements().values():
        assert each.text.endswith("."), each.id
        assert not re.search(r"[.!?] [A-Z]", each.text), f"{each.id} is more than one sentence"


def test_places_exist() -> None:
    # "Decision 9" and "-03 §3" stand for themselves; the rest names a file of the notes.
    for each in requirements().values():
        for name in re.findall(r"[\w-]+\.md", each.where):
            assert (NOTES / name).exists(), f"{each.id} cites {name}"


def test_a_row_is_read() -> None:
    found = parse("| 3/7 | SHOULD | rp, member | It does. | messages.md, Header |")["3/7"]
    assert found.level is Level.SHOULD
    assert found.binds == {Role.RP, Role.MEMBER}
    assert (found.section, found.text) == (3, "It does.")


@pytest.mark.parametrize(
    "text",
    [
        "| 3/7 | SHOULD | rp | It does. |",
        "| 3/7 | MAY | rp | It does. | messages.md |",
        "| 3/7 | MUST | router | It does. | messages.md |",
        "| 3/7 | MUST | all | It does. | a.md |\n| 3/7 | MUST | all | It does. | a.md |",
    ],
)
def test_a_row_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)
