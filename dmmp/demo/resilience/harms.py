"""Nodes taken away while a stream runs: killed, or asked to leave.

A repetition is a stream of five seconds. After 1.5 s its victims are taken, and the rest shows who
heard what; afterwards they are started again on their hosts.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from dmmp.demo.overlay import Document, descendants, parents_of
from dmmp.demo.resilience.lab import MEMBERS, RP, Lab, relays_of
from dmmp.demo.resilience.structure import SUPER_NODE, draw
from dmmp.demo.resilience.trial import Outcome, Stream, outcome_of

BEFORE: Final = 1.5
AFTER: Final = 3.5
BETWEEN_TWO: Final = 0.1
"""Seconds between two victims of one repetition."""

LEAVING_PATIENCE: Final = 5.0
"""How long a node that was asked to leave may take to end, seconds."""

NOBODY_THERE: Final = "there was nobody to take away"
"""The problem of a repetition whose tree has no such host; another tree has."""

Victims = tuple[str, ...]
Choice = Callable[[Mapping[str, Document]], Sequence[Victims]]
"""Tells from the nodes' documents whom a scenario may take, the first to go first."""


def nobody(documents: Mapping[str, Document]) -> list[Victims]:
    """Take nobody: what the machine and the programs do by themselves."""
    return [()]


def rendezvous_point(documents: Mapping[str, Document]) -> list[Victims]:
    """Take the rendezvous point."""
    return [(RP,)]


def super_nodes(documents: Mapping[str, Document]) -> list[Victims]:
    """Take a super node with members below it, each in turn."""
    parents = parents_of(documents)
    return [
        (name,)
        for name, document in sorted(documents.items())
        if document.get("role") == SUPER_NODE and set(descendants(parents, name)) & set(MEMBERS)
    ]


def relaying_members(documents: Mapping[str, Document]) -> list[Victims]:
    """Take a member that feeds others and is no super node, each in turn."""
    return [
        (name,)
        for name in relays_of(parents_of(documents))
        if documents[name].get("role") != SUPER_NODE
    ]


def two_on_one_path(documents: Mapping[str, Document]) -> list[Victims]:
    """Take a super node, and with it a member below it that feeds others."""
    parents = parents_of(documents)
    relays = {name for (name,) in relaying_members(documents)}
    return [
        (above, below)
        for (above,) in super_nodes(documents)
        for below in descendants(parents, above)
        if below in relays
    ]


def play(
    lab: Lab, directory: Path, scenario: str, number: int, choice: Choice, how: signal.Signals
) -> Outcome:
    """Play one repetition, and start again what was ended."""
    before = lab.overlay.documents()
    stream = Stream(lab, directory, BEFORE + AFTER)
    stream.join()
    stream.begin()
    time.sleep(BEFORE)
    documents = lab.overlay.documents()
    choices = choice(documents)
    victims = choices[number % len(choices)] if choices else ()
    since_ns, told = time.monotonic_ns(), time.time()
    for place, victim in enumerate(victims):
        time.sleep(BETWEEN_TWO if place else 0.0)
        lab.overlay[victim].process.send_signal(how)
    stream.finish(deaf=victims)
    parents = parents_of(documents)
    below = {name for victim in victims for name in descendants(parents, victim)}
    harm = f"{' and '.join(victims)} {'killed' if how == signal.SIGKILL else 'asked to leave'}"
    outcome = outcome_of(
        stream,
        scenario,
        number,
        harm if victims else "nothing happens",
        draw(parents),
        stream.heard(since_ns, victims, below),
    )
    if not victims and choice is not nobody:
        outcome.problems.append(NOBODY_THERE)
    outcome.problems += _still_there(lab, victims)
    outcome.evidence |= {
        "harmed_at": told,
        "harmed_at_ns": since_ns,
        "before": before,
        "when_harmed": documents,
        "after": lab.overlay.documents(),
    }
    lab.revive()
    return outcome


def _still_there(lab: Lab, victims: Victims) -> list[str]:
    deadline = time.monotonic() + LEAVING_PATIENCE
    waiting = [lab.overlay[victim] for victim in victims]
    while waiting and time.monotonic() < deadline:
        waiting = [node for node in waiting if node.is_running]
        time.sleep(0.05 if waiting else 0.0)
    for node in waiting:
        node.kill()
    return [f"{node.name} had not left after {LEAVING_PATIENCE:g} s" for node in waiting]
