"""Every case there is, and every requirement that has none, with the reason.

A file of `cases/` is a group of them; what it tests not, and why, stands in its `EXCUSES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from dmmp.conformance import cases
from dmmp.conformance.case import Case
from dmmp.conformance.requirement import Role
from dmmp.errors import UsageError


def groups() -> list[ModuleType]:
    """Import the groups of cases."""
    names = sorted(found.name for found in iter_modules(cases.__path__))
    return [import_module(f"{cases.__name__}.{name}") for name in names]


def all_cases() -> list[Case]:
    """List every case, in the order of the requirements."""
    found = [each for group in groups() for each in vars(group).values() if isinstance(each, Case)]
    return sorted(found, key=lambda each: tuple(map(int, each.requirement_id.split("/"))))


def excuses() -> dict[str, str]:
    """Return why requirements have no case, by id."""
    found: dict[str, str] = {}
    for group in groups():
        found.update(getattr(group, "EXCUSES", {}))
    return found


def choose_cases(role: Role, names: Iterable[str] = ()) -> list[Case]:
    """List the cases for a role: those that are named by section, requirement or case, or all."""
    fitting = [each for each in all_cases() if role in each.roles]
    wanted = tuple(names)
    if not wanted:
        return fitting
    for name in wanted:
        if not any(each.is_meant(name) for each in fitting):
            raise UsageError(
                f"no case {name!r} for the role {role.value}; see: "
                f"dmmp conformance --role {role.value} --list"
            )
    return [each for each in fitting if any(each.is_meant(name) for name in wanted)]
