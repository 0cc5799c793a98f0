"""Scenarios as TOML files: the fields of `Scenario`, `[[fault]]` tables, `[churn]`, `[parameters]`.

Whatever is wrong with a file gives one `UsageError` that names file and key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TypeVar

from dmmp.errors import UsageError
from dmmp.sim.churn import Churn
from dmmp.sim.faults import Fault
from dmmp.sim.scenario import Scenario

Made = TypeVar("Made", Fault, Churn, Scenario)

Values = dict[str, object]
"""What TOML says, by key; each value is checked against the field it is for."""

OWN_NAMES = {"for": "lasts"}
"""Keys that Python would not let a field be called."""

MOST_ELEMENTS = 1_000
"""Elements of a list, and faults."""

NUMBER_LIMIT = 1e9
"""No number is as large, nor its negative as small; so none is infinite, or no number at all."""

INTEGER_LIMIT = 1 << 63
"""Nor is any whole number as large: a seed may have 63 bits."""


def read_scenario(path: Path, seed: int | None = None) -> Scenario:
    """Read a scenario file; `seed` overrides the one in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    try:
        return parse_scenario(text, seed)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def parse_scenario(text: str, seed: int | None = None) -> Scenario:
    """Make a scenario of TOML text."""
    try:
        table: Values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not TOML: {error}") from None
    faults = table.pop("fault", [])
    if not isinstance(faults, list) or len(faults) > MOST_ELEMENTS:
        raise UsageError("fault: must be [[fault]] tables")
    churn = table.pop("churn", None)
    parameters = table.pop("parameters", {})
    if not isinstance(parameters, dict):
        raise UsageError("parameters: must be a table")
    for name, value in parameters.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not -NUMBER_LIMIT < value < NUMBER_LIMIT:
            raise UsageError(f"parameters.{name}: must be a number")
    for name in ("faults", "parameters", "churn"):
        if name in table:
            raise UsageError(f"{name}: there is no such key")
    values = _values(_kinds(Scenario), table, "")
    if seed is not None:
        values["seed"] = seed
    values.setdefault("seed", 1)
    values["faults"] = tuple(
        _make(Fault, fault, f"fault {number}") for number, fault in enumerate(faults, 1)
    )
    if churn is not None:
        values["churn"] = _make(Churn, churn, "churn")
    values["parameters"] = tuple(parameters.items())
    make: Callable[..., Scenario] = Scenario
    return make(**values)


def _make(cls: type[Made], table: object, where: str) -> Made:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table")
    values = _values(_kinds(cls), table, f"{where} ")
    for field in fields(cls):
        if field.default is MISSING and field.name not in values:
            raise UsageError(f"{where} {field.name}: is missing")
    make: Callable[..., Made] = cls
    return make(**values)


def _kinds(cls: type[Made]) -> dict[str, str]:
    """Return the annotations of a class by field."""
    return {field.name: str(field.type) for field in fields(cls)}


def _values(kinds: dict[str, str], table: Values, where: str) -> Values:
    found: Values = {}
    for key, value in table.items():
        name = OWN_NAMES.get(key, key)
        if name not in kinds or (name in OWN_NAMES.values() and key == name):
            raise UsageError(f"{where}{key}: there is no such key")
        found[name] = _converted(value, kinds[name], f"{where}{key}")
    return found


def _converted(value: object, kind: str, where: str) -> object:
    """Make a field's value of what TOML says; its annotation tells what it must be."""
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("float", "Instant") and isinstance(value, (int, float)):
        if not isinstance(value, bool) and -NUMBER_LIMIT < value < NUMBER_LIMIT:
            return float(value)
    elif (kind == "str" and isinstance(value, str)) or (
        kind == "int" and type(value) is int and abs(value) < INTEGER_LIMIT
    ):
        return value
    elif kind.startswith("tuple") and isinstance(value, list) and len(value) <= MOST_ELEMENTS:
        if "tuple[int, int]" in kind:
            return tuple(_pair(each, "int", where) for each in value)
        return _pair(value, "float", where)
    wanted = {
        "float": "a number",
        "Instant": "a number",
        "int": "a whole number",
        "str": "a text",
        "bool": "true or false",
    }.get(kind, "a list")
    raise UsageError(f"{where}: must be {wanted}, not {_shown(value)}")


def _shown(value: object) -> str:
    try:
        return repr(value)[:100]
    except ValueError:
        # Python writes no integer of more than 4300 digits.
        return "what has so many digits"


def _pair(value: object, kind: str, where: str) -> tuple[object, ...]:
    if not isinstance(value, list) or len(value) != 2:
        raise UsageError(f"{where}: must be a pair of numbers")
    return tuple(_converted(each, kind, where) for each in value)
