"""Requirements: the sentences of `spec-notes/requirements.md`, which the package carries along.

Reading and nothing else. An id is `section/number` and stable (the file says how).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple


class Level(Enum):
    """How much a requirement demands."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    WITHDRAWN = "withdrawn"
    """It fell away; the number stays taken."""


class Role(Enum):
    """What an implementation under test is; the words of the command line."""

    RP = "rp"
    SOURCE = "source"
    SUPER_NODE = "super-node"
    MEMBER = "member"


class Requirement(NamedTuple):
    """One sentence: `binds` are the roles it speaks of, `where` the file and section it is from."""

    id: str
    level: Level
    binds: frozenset[Role]
    text: str
    where: str

    @property
    def section(self) -> int:
        """Return the section's number, the part before the stroke."""
        return int(self.id.partition("/")[0])


_ROW = re.compile(r"\| (\d+/\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
_HEADING = re.compile(r"## (\d+) (.+)")


def parse(text: str) -> dict[str, Requirement]:
    """Read the tables; raise `ValueError` for a row that is none, or an id that comes again."""
    found: dict[str, Requirement] = {}
    for line in text.splitlines():
        if not re.match(r"\| *\d", line):
            continue
        row = _ROW.fullmatch(line.rstrip())
        if row is None:
            raise ValueError(f"no requirement: {line}")
        name, level, binds, sentence, where = (cell.strip() for cell in row.groups())
        if name in found:
            raise ValueError(f"requirement {name} comes twice")
        found[name] = Requirement(name, Level(level), _roles(binds), sentence, where)
    return found


def _roles(cell: str) -> frozenset[Role]:
    if cell == "all":
        return frozenset(Role)
    return frozenset(Role(name.strip()) for name in cell.split(","))


@cache
def requirements() -> Mapping[str, Requirement]:
    """Return every requirement by its id."""
    return MappingProxyType(parse(_text()))


@cache
def sections() -> Mapping[int, str]:
    """Return the sections' titles by number."""
    headings = (_HEADING.fullmatch(line) for line in _text().splitlines())
    return MappingProxyType({int(found[1]): found[2] for found in headings if found is not None})


def _text() -> str:
    return (files(__package__) / "requirements.md").read_text(encoding="utf-8")
