"""Which parameters say how long an alarm waits: read from the roles' sources.

Wherever a role sets an alarm, the instant is followed back through local names, the methods that
it calls and the arguments of its callers, until parameters are reached. No code is run.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from textwrap import dedent

from dmmp.parameters import Parameters
from dmmp.roles.requests import Requests
from dmmp.roles.standing import Standing

NAMES = frozenset(field.name for field in fields(Parameters))
DEEPEST = 5


@dataclass(frozen=True)
class Method:
    """One method as the source has it."""

    name: str
    node: ast.FunctionDef

    def assigned(self, name: str) -> Iterator[ast.expr]:
        """Give what is assigned to a local name, alone or among others."""
        yield from (value for target, value in self._assignments if target == name)

    def attributes(self) -> Iterator[tuple[str, ast.expr]]:
        """Give what is assigned to the attributes of `self`: name and value."""
        for target, value in self._assignments:
            if target.startswith("self."):
                yield target.removeprefix("self."), value

    @functools.cached_property
    def _assignments(self) -> tuple[tuple[str, ast.expr], ...]:
        return tuple(
            (ast.unparse(part), node.value)
            for node in ast.walk(self.node)
            if isinstance(node, ast.Assign)
            for target in node.targets
            for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        )

    def position(self, name: str) -> int | None:
        """Say the how-manieth argument, `self` left out, a name is; None: none."""
        names = [argument.arg for argument in self.node.args.args]
        return names.index(name) - 1 if name in names else None


@functools.cache
def methods(cls: type) -> dict[str, list[Method]]:
    """List a class's methods by name, its bases' too, and those of what every host keeps."""
    found: dict[str, list[Method]] = {}
    for owner in (*cls.__mro__, Standing, Requests):
        if not owner.__module__.startswith("dmmp."):
            continue
        (tree,) = ast.parse(dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(Method(node.name, node))
    return found


@functools.cache
def calls(cls: type) -> dict[str, list[tuple[Method, ast.Call]]]:
    """List where methods are called, by the name of what is called."""
    found: dict[str, list[tuple[Method, ast.Call]]] = {}
    for method in (each for named in methods(cls).values() for each in named):
        for node in ast.walk(method.node):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found.setdefault(node.func.attr, []).append((method, node))
    return found


def alarm_parameters(role: type, alarm: Enum) -> tuple[str, ...]:
    """List the parameters that decide when an alarm of a role goes off, as in `Parameters`."""
    found: set[str] = set()
    for method, call in calls(role).get("set", ()):
        if _sets(call, alarm):
            found |= _followed(role, method, call.args[1], 0)
    return tuple(field.name for field in fields(Parameters) if field.name in found)


def _sets(call: ast.Call, alarm: Enum) -> bool:
    named = call.args[0] if len(call.args) >= 2 else None
    return (
        isinstance(named, ast.Attribute)
        and named.attr == alarm.name
        and isinstance(named.value, ast.Name)
        and named.value.id == type(alarm).__name__
    )


def _followed(role: type, method: Method, expression: ast.expr, depth: int) -> set[str]:
    if depth > DEEPEST:
        return set()
    found: set[str] = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Attribute):
            if node.attr in NAMES and ast.unparse(node.value).endswith("parameters"):
                found.add(node.attr)
            elif ast.unparse(node.value) == "self" and node.attr != "state":
                found |= _of_attribute(role, node.attr, depth)
        elif isinstance(node, ast.Name) and node.id not in ("now", "self", "message"):
            found |= _of_name(role, method, node.id, depth)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for called in methods(role).get(node.func.attr, ())[:1]:
                for inner in ast.walk(called.node):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        found |= _followed(role, called, inner.value, depth + 1)
    return found


def _of_attribute(role: type, name: str, depth: int) -> set[str]:
    found: set[str] = set()
    for method in (each for named in methods(role).values() for each in named):
        for target, value in method.attributes():
            if target == name:
                found |= _followed(role, method, value, depth + 1)
    return found


def _of_name(role: type, method: Method, name: str, depth: int) -> set[str]:
    found: set[str] = set()
    for value in method.assigned(name):
        found |= _followed(role, method, value, depth + 1)
    position = method.position(name)
    if position is None:
        return found
    for caller, call in calls(role).get(method.name, ()):
        named = [keyword.value for keyword in call.keywords if keyword.arg == name]
        for value in named or call.args[position : position + 1]:
            found |= _followed(role, caller, value, depth + 1)
    return found
