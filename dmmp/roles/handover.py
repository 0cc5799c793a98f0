"""What passes between roles when a host changes its own, and how their tables are written.

`for_states` spells out rows that hold in several states; `ignored` lists the pairs that are
dropped in silence, each with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dmmp.messages import REGISTRY
from dmmp.messages.local import Silence, Start, Stop, Subscribe, Unreachable
from dmmp.messages.mesh import SetupRequest
from dmmp.roles.role import Actions
from dmmp.roles.standing import Standing
from dmmp.roles.states import Parent
from dmmp.types import Endpoint

Rows = dict[tuple[type, type], Callable[..., Actions]]


@dataclass(frozen=True, slots=True)
class Handover:
    """A member's past as it becomes a super node; `parent` serves it until it is in the mesh."""

    standing: Standing
    setup: SetupRequest
    source: Endpoint
    parent: Parent | None


@dataclass(frozen=True, slots=True)
class Claim:
    """An orphan's past as it claims the place of its dead super node (Decision 22)."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class Demotion:
    """A super node's past as it becomes a member; `parent` serves it until it is in a cluster."""

    standing: Standing
    parent: Parent | None


def for_states(states: Iterable[type], handlers: Mapping[type, Callable[..., Actions]]) -> Rows:
    """Spell out the rows of handlers that several states share."""
    return {(state, kind): handler for state in states for kind, handler in handlers.items()}


def ignored(
    states: Iterable[type], ending: Iterable[type], table: Mapping[tuple[type, type], object]
) -> dict[tuple[type, type], str]:
    """List what is dropped in silence: late answers everywhere, everything once it is ending."""
    local: tuple[type, ...] = (Silence, Start, Stop, Subscribe, Unreachable)
    remote: tuple[type, ...] = tuple(REGISTRY.values())
    found: dict[tuple[type, type], str] = {}
    for state in states:
        for kind in remote:
            if _is_answer(kind.__name__):
                found[state, kind] = "Decision 6: an answer that nobody waits for any more"
        for kind in (Silence, Unreachable, Start):
            found[state, kind] = "Decision 11: about a parent or child that is none any more"
    for state in ending:
        for kind in (*remote, *local):
            found[state, kind] = "slide 20: this host is leaving"
    return {key: reason for key, reason in found.items() if key not in table}


def _is_answer(name: str) -> bool:
    return name.endswith(("Response", "Confirm", "Ack", "Notification")) or name == "Error"
