"""Who takes part: the registry, five lines each, and what is built before the matrix begins."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from dmmp.errors import UsageError
from interop.matrix.contract import MEMBER, ROLES, RP, SOURCE, SUPER_NODE, UNSUPPORTED

ROOT: Final = Path(__file__).resolve().parents[2]
REGISTRY: Final = ROOT / "interop" / "participants.toml"
BUILD: Final = ROOT / "build" / "interop"
CORE: Final = (RP, SOURCE, SUPER_NODE)
KEYS: Final = {"title", "roles", "command", "prepare"}
PREPARATION_PATIENCE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Participant:
    """One implementation: what it can be, and the command that starts it."""

    name: str
    title: str
    roles: tuple[str, ...]
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    version: str = ""
    absent: str = ""
    """Why it is not here; empty if it is."""

    def plays(self, *roles: str) -> bool:
        """Tell whether it can be all of these."""
        return all(role in self.roles for role in roles)


class Pair(NamedTuple):
    """Two that are played together: `core` is the rendezvous point and the source.

    A super node and a member of each side join in, as far as `edge` can be them.
    """

    core: Participant
    edge: Participant

    @property
    def name(self) -> str:
        """The pair in one word."""
        return f"{self.core.name}+{self.edge.name}"


def read_registry(path: Path = REGISTRY) -> list[Participant]:
    """Read the participants; raise `UsageError` that says what is wrong with which."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return [_participant(path, name, table) for name, table in tables.items()]


def _participant(path: Path, name: str, table: object) -> Participant:
    where = f"{path}: [{name}]"
    if not isinstance(table, dict) or not KEYS - {"prepare"} <= set(table) <= KEYS:
        raise UsageError(f"{where}: wants title, roles, command, and perhaps prepare")
    if not isinstance(table["title"], str):
        raise UsageError(f"{where}: title: a text")
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("roles", "command", "prepare"):
        words = table.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UsageError(f"{where}: {key}: a list of texts")
        here = os.fspath(path.resolve().parent)
        filled = (w.replace("{python}", sys.executable).replace("{here}", here) for w in words)
        lists[key] = tuple(filled)
    if not lists["command"] or not lists["roles"]:
        raise UsageError(f"{where}: roles and command must not be empty")
    if unknown := set(lists["roles"]) - set(ROLES):
        raise UsageError(f"{where}: no role {', '.join(sorted(unknown))}: {', '.join(ROLES)}")
    return Participant(name, table["title"], lists["roles"], lists["command"], lists["prepare"])


def choose(participants: Sequence[Participant], names: Iterable[str]) -> list[Participant]:
    """Give those named, all if none is."""
    wanted = list(names)
    known = {each.name: each for each in participants}
    for name in wanted:
        if name not in known:
            raise UsageError(f"no participant {name!r}: {', '.join(known)}")
    return [known[name] for name in wanted] if wanted else list(participants)


def prepare(participant: Participant, build: Path = BUILD) -> Participant:
    """Run its preparation; give it with its version, or with the reason why it is absent."""
    if not participant.prepare:
        return participant
    build.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, DMMP_BUILD=os.fspath(build), DMMP_PYTHON=sys.executable)
    try:
        done = subprocess.run(
            participant.prepare,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PREPARATION_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return replace(participant, absent=str(error))
    said = done.stdout.strip().splitlines()[-1:] or done.stderr.strip().splitlines()[-1:]
    word = said[0] if said else f"exit code {done.returncode}"
    if done.returncode == UNSUPPORTED:
        return replace(participant, absent=word)
    if done.returncode != 0:
        raise UsageError(f"{participant.name} cannot be made ready: {done.stderr.strip() or word}")
    return replace(participant, version=word)


def pairs_of(participants: Sequence[Participant], every: bool = False) -> list[Pair]:
    """Pair those who can be the core with those who can be a member, themselves too.

    Without `every` only with the first of them, which is the one that the matrix is about: pairs
    grow with the square of the participants.
    """
    cores = [each for each in participants if each.plays(*CORE)]
    edges = [each for each in participants if each.plays(MEMBER)]
    return [
        Pair(core, edge)
        for core in cores
        for edge in edges
        if every or participants[0] in (core, edge)
    ]
