"""`spec-notes/state-machines.md`: what each role does with what in which state, by its tables.

States, handlers, what is dropped and why, what follows when nobody answers: all of it is what the
classes declare. How long alarms wait is read from the sources (`alarm_times`), and which state
follows which was observed (`tests/roles/observe.py`). Written by `python -m tests.regenerate`.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dmmp.messages import REGISTRY
from dmmp.messages.local import Forged, LocalMessage, Withholding
from dmmp.parameters import Parameters
from dmmp.roles import states as declared_states
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.keyed import FindAlarm
from dmmp.roles.paths import PathAlarm
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.role import Role
from dmmp.roles.source import Source
from dmmp.roles.super_node import SuperNode
from tests.alarm_times import alarm_parameters

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "spec-notes" / "state-machines.md"
OBSERVED = ROOT / "tests" / "roles" / "observed.json"
ROLES: tuple[tuple[str, type[Role]], ...] = (
    ("Rendezvous point", RendezvousPoint),
    ("Source", Source),
    ("Super node", SuperNode),
    ("Cluster member", ClusterMember),
)
DROPPED, VIOLATION = "–", "!"
MANY = 30
BAD_PARENT: dict[type, str] = {Forged: "on_forged", Withholding: "on_withholding"}
"""Handled past the table, by the host around the role, in every state of a role with a parent."""

_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def state_machines() -> dict[Path, str]:
    """Make the page: its text as it stands, with the present tables."""
    made = {_name(role): _role(title, role) for title, role in ROLES} | {"alarms": _beside()}
    text = PAGE.read_text(encoding="utf-8")
    return {PAGE: _BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)}


@functools.cache
def _observed() -> dict[str, list[list[Any]]]:
    found: dict[str, list[list[Any]]] = json.loads(OBSERVED.read_text(encoding="utf-8"))
    return found


def _role(title: str, role: type[Role]) -> str:
    states = states_of(role)
    parts = [
        f"`dmmp/roles/{role.__module__.rpartition('.')[2]}.py`. {_summary(role)}",
        "### States of the " + title.lower(),
        _states(states),
        "### What the " + title.lower() + " does",
        *_matrix(role, states),
        "### Alarms of the " + title.lower(),
        _alarms(role),
        *_given_up(title, role),
        *_transitions(title, role),
    ]
    return "\n\n".join(parts)


def states_of(role: type[Role]) -> list[type]:
    """List a role's states in the order in which they come in its life."""
    named = list(dict.fromkeys(state for state, _ in (*role.TABLE, *role.IGNORED)))
    declared = list(vars(declared_states).values())
    return sorted(named, key=lambda state: declared.index(state) if state in declared else 0)


def _summary(role: type[Role]) -> str:
    return _paragraph(sys.modules[role.__module__].__doc__)


def _paragraph(doc: str | None) -> str:
    return " ".join((doc or "").split("\n\n")[0].split())


def first_line(handler: Callable[..., object]) -> str:
    """Say what a handler does: the first line of its docstring."""
    return (handler.__doc__ or "").strip().splitlines()[0]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _states(states: Sequence[type]) -> str:
    rows = []
    for state in states:
        kept = ", ".join(f"`{field.name}`" for field in fields(state))
        rows.append((state.__name__, _paragraph(state.__doc__), kept or "nothing"))
    return table(("state", "meaning", "keeps"), rows)


def rows_of(role: type[Role]) -> dict[tuple[type, type], Callable[..., object]]:
    """Give the role's table, and what the host around it hands to the role past the table."""
    rows: dict[tuple[type, type], Callable[..., object]] = dict(role.TABLE)
    for kind, handler in BAD_PARENT.items():
        if hasattr(role, handler):
            rows.update({(state, kind): getattr(role, handler) for state in states_of(role)})
    return rows


def _matrix(role: type[Role], states: Sequence[type]) -> list[str]:
    rows = rows_of(role)
    kinds = _kinds(role, rows)
    done: dict[tuple[type, Callable[..., object]], list[type]] = {}
    for (state, kind), handler in sorted(rows.items(), key=lambda row: kinds.index(row[0][1])):
        done.setdefault((kind, handler), []).append(state)
    numbers = {key: str(number) for number, key in enumerate(done, 1)}
    matrix, silent = [], []
    for kind in kinds:
        cells = [_cell(role, rows, numbers, state, kind) for state in states]
        if any(cell not in (DROPPED, VIOLATION) for cell in cells):
            matrix.append((_named(kind), *cells))
        else:
            silent.append((kind, cells))
    parts = [
        table(("input", *(state.__name__ for state in states)), matrix),
        table(
            ("", "input", "in", "what is done", "sends"),
            [
                (
                    numbers[kind, handler],
                    _named(kind),
                    _some(found, states),
                    first_line(handler),
                    _sends(role, kind.__name__, found),
                )
                for (kind, handler), found in done.items()
            ],
        ),
    ]
    if role.IGNORED:
        parts.append(_reasons(role, states))
    if silent:
        parts.append(_never(silent, states))
    return parts


def _sends(role: type[Role], given: str, states: Sequence[type]) -> str:
    """Say what was seen to be sent upon an input: first to its sender, then to others."""
    named = {state.__name__ for state in states}
    to: dict[str, list[str]] = {"sender": [], "others": []}
    for name, seen, message, receiver, where in _observed()["sent"]:
        if name == _name(role) and seen == given and named & set(where):
            to[receiver].append(message)
    if given.startswith("alarm "):
        return ", ".join(sorted({*to["sender"], *to["others"]}))
    back = f"to the sender {', '.join(to['sender'])}" if to["sender"] else ""
    others = f"to others {', '.join(to['others'])}" if to["others"] else ""
    return "; ".join(part for part in (back, others) if part)


def _kinds(role: type[Role], rows: Mapping[tuple[type, type], object]) -> list[type]:
    """List local inputs, then messages by their code, as far as some role knows them."""
    local = {kind for _, kind in (*rows, *role.IGNORED) if issubclass(kind, LocalMessage)}
    return [
        *sorted(local, key=lambda kind: kind.__name__),
        *(REGISTRY[c] for c in sorted(REGISTRY)),
    ]


def _cell(
    role: type[Role],
    rows: Mapping[tuple[type, type], Callable[..., object]],
    numbers: Mapping[tuple[type, Callable[..., object]], str],
    state: type,
    kind: type,
) -> str:
    handler = rows.get((state, kind))
    if handler is not None:
        return numbers[kind, handler]
    return DROPPED if (state, kind) in role.IGNORED else VIOLATION


def _named(kind: type) -> str:
    return f"*{kind.__name__}*" if issubclass(kind, LocalMessage) else kind.__name__


def _some(found: Sequence[type], states: Sequence[type]) -> str:
    if len(found) == len(states):
        return "every state"
    return ", ".join(state.__name__ for state in states if state in found)


def _reasons(role: type[Role], states: Sequence[type]) -> str:
    where: dict[str, tuple[list[type], list[type]]] = {}
    for (state, kind), reason in role.IGNORED.items():
        held, kinds = where.setdefault(reason, ([], []))
        held += [] if state in held else [state]
        kinds += [] if kind in kinds else [kind]
    rows = [(_many(kinds), _some(held, states), reason) for reason, (held, kinds) in where.items()]
    return "Dropped in silence (`–`), and why:\n\n" + table(("input", "in", "reason"), rows)


def _many(kinds: Sequence[type]) -> str:
    if len(kinds) > MANY:
        return "everything that has no number there"
    return ", ".join(_named(kind) for kind in kinds)


def _never(silent: Sequence[tuple[type, Sequence[str]]], states: Sequence[type]) -> str:
    """Name what is never taken, by where it is a violation."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for kind, cells in silent:
        groups.setdefault(tuple(cells), []).append(_named(kind))
    rows = []
    for cells, names in groups.items():
        violated = [state for state, cell in zip(states, cells, strict=True) if cell == VIOLATION]
        rows.append((", ".join(names), _some(violated, states) if violated else "no state"))
    return "Never taken by this role:\n\n" + table(("input", "a violation in"), rows)


def _alarms(role: type[Role]) -> str:
    fired: dict[str, list[str]] = {}
    for name, state, alarm in _observed()["fired"]:
        if name == _name(role):
            fired.setdefault(alarm, []).append(state)
    rows = []
    for alarm, handler in role.ALARMS.items():
        when = "; ".join(_parameter(name) for name in alarm_parameters(role, alarm))
        states = ", ".join(fired.get(alarm.name, ["not observed"]))
        sends = _sends(role, f"alarm {alarm.name}", states_of(role))
        rows.append((alarm.name, str(alarm.value), when, first_line(handler), sends, states))
    return table(("alarm", "when", "waits", "what is done", "sends", "goes off in"), rows)


def _name(role: type[Role]) -> str:
    return str(getattr(role, "NAME", ""))


def _parameter(name: str) -> str:
    value = getattr(Parameters(), name)
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"`{name}` ({shown})"


def _given_up(title: str, role: type[Role]) -> list[str]:
    given_up: Mapping[type, Callable[..., object]] | None = getattr(role, "GIVE_UP", None)
    if not given_up:
        return []
    rows = [(kind.__name__, first_line(handler)) for kind, handler in given_up.items()]
    return [
        f"### When nobody answers the {title.lower()}",
        table(("request", "what follows its last try"), rows),
    ]


def _transitions(title: str, role: type[Role]) -> list[str]:
    name = _name(role)
    edges: dict[tuple[str, str], dict[str, list[str]]] = {}
    for begin_role, begin, given, end_role, end, where in _observed()["transitions"]:
        if begin_role == name:
            target = end if end_role == name else f"{end_role}: {end}"
            edges.setdefault((begin, target), {})[given] = where
    heading = f"### Transitions of the {title.lower()}"
    if not edges:
        return [heading, "It has one state, and no transitions."]
    order = [state.__name__ for state in states_of(role)]
    ordered = sorted(edges, key=lambda edge: (order.index(edge[0]), _rank(order, edge[1])))
    rows = [(begin, end, _on(edges[begin, end])) for begin, end in ordered]
    return [heading, _diagram(order, {edge: edges[edge] for edge in ordered}), table(HEADS, rows)]


HEADS = ("from", "to", "on (in brackets: observed alone, not in runs)")


def _rank(order: Sequence[str], state: str) -> int:
    return order.index(state) if state in order else len(order)


def _on(given: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(
        each if "runs" in where else f"({each})" for each, where in sorted(given.items())
    )


def _diagram(order: Sequence[str], edges: Mapping[tuple[str, str], Mapping[str, object]]) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {order[0]}"]
    foreign = sorted({end for _, end in edges if end not in order})
    lines += [f'    state "{end}" as {_identifier(end)}' for end in foreign]
    # Leaving can begin anywhere: one line in the diagram instead of one from each state.
    stops = [begin for (begin, end), given in edges.items() if set(given) == {"Stop"}]
    for (begin, end), given in edges.items():
        if begin in stops and set(given) == {"Stop"} and len(stops) > 2:
            continue
        lines.append(f"    {begin} --> {_identifier(end)} : {', '.join(sorted(given))}")
    if len(stops) > 2:
        lines += [f"    note right of Leaving : on Stop from {', '.join(stops)}"]
    if "Gone" in order:
        lines.append("    Gone --> [*]")
    return "\n".join([*lines, "```"])


def _identifier(state: str) -> str:
    return state.replace(": ", "_").replace("-", "_")


def _beside() -> str:
    rows = [
        (kind.__name__, alarm.name, str(alarm.value))
        for kind in (PathAlarm, FindAlarm)
        for alarm in kind
    ]
    return table(("of", "alarm", "when"), rows)
