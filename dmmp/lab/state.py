"""What a host has to remember: entries of its tables and bytes of memory, by role."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

import numpy as np

from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.super_node import SuperNode
from dmmp.sim.node import Node
from dmmp.types import Instant

SIZED: Final = 200
"""Hosts of a role whose memory is gone through, evenly over all; counting entries is cheap."""

_SHARED: Final = (type, ModuleType, FunctionType, BuiltinFunctionType, Enum, Parameters)


def entries_of(node: Node, now: Instant) -> int:
    """Count the neighbours and the entries of all tables that a host keeps."""
    return sum(size for _, size in node.view(now).tables)


def bytes_of(root: object) -> int:
    """Measure what can be reached from an object, in bytes of this interpreter.

    Left out is what all hosts of a process have in common: code, enumerations, parameters. What
    came by reference in a message counts for each host that keeps it, as it would in a process
    of its own.
    """
    seen = {id(root)}
    waiting: list[Any] = [root]
    total = 0
    while waiting:
        found = waiting.pop()
        total += sys.getsizeof(found)
        for each in gc.get_referents(found):
            if id(each) not in seen and not isinstance(each, _SHARED):
                seen.add(id(each))
                waiting.append(each)
    return total


def is_super_node(node: Node) -> bool:
    """Say whether a host is a super node now."""
    return isinstance(node.host, EndHost) and isinstance(node.host.role, SuperNode)


def state_samples(hosts: Iterable[Node], now: Instant) -> list[float]:
    """Count the entries of each of these hosts."""
    return [float(entries_of(node, now)) for node in hosts]


def state_figures(hosts: Sequence[Node], point: Node, now: Instant) -> dict[str, float]:
    """Tell what hosts remember, by role; `hosts` begins with the source. Who is down is left out.

    Returns figures of `metrics.FIGURES` on state. A role without hosts has none.
    """
    members = [node for node in hosts[1:] if node.alive]
    entries = np.array(state_samples(members, now))
    if not len(entries):
        return {}
    is_core = np.array([is_super_node(node) for node in members], dtype=np.bool_)
    figures = {"state_entries": float(entries.mean()), "state_entries_max": float(entries.max())}
    for name, chosen in (("member", ~is_core), ("core", is_core)):
        if chosen.any():
            figures[f"{name}_state_entries"] = float(entries[chosen].mean())
            numbers = np.flatnonzero(chosen)
            sample = numbers[:: -(-len(numbers) // SIZED)]
            sizes = [bytes_of(members[number].host) for number in sample.tolist()]
            figures[f"{name}_state_bytes"] = float(np.mean(sizes))
    for name, node in (("source", hosts[0]), ("point", point)):
        if node.alive:
            figures[f"{name}_state_entries"] = float(entries_of(node, now))
            figures[f"{name}_state_bytes"] = float(bytes_of(node.host))
    return figures
