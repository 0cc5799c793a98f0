"""`python -m tests.roles.observe`: what was seen of states and messages, to `observed.json`.

The code has no table of transitions, nor of what a handler sends: that depends on what it learned.
So both are observed: over whole simulated sessions with failures of every kind, over the
transcripts ("runs"), and by one input at a time into each state ("alone"). The notes' tables and
diagrams are made of this, and a slow test observes again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest

from dmmp.actions import Action, Become, Send
from dmmp.messages.local import Forged, Withholding
from dmmp.roles.end_host import EndHost
from dmmp.roles.paths import Paths
from dmmp.roles.role import Actions, Input, Role
from dmmp.roles.standing import Alarm, HostSetup
from dmmp.sim.drawing import draw_scenario
from dmmp.sim.files import read_scenario
from dmmp.sim.scenario import Scenario
from dmmp.types import SELF, Endpoint, HostId, Instant
from tests.examples import examples
from tests.roles.stage import PARAMETERS, RP, SESSION, at
from tests.roles.test_tables import LOCAL, cases, here, in_state
from tests.state_machines import OBSERVED
from tests.transcripts.scripts import files, parse, play

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
SEEDS, TROUBLED = range(1, 9), range(1, 7)
"""Seeds of sessions, and of sessions with drawn failures."""
FLASH = (40, 10.0, 1)
"""Members, seconds within which they come, seed."""
FILES = ("mixture", "partition", "resilience", "rp-loss", "source-move")
BAD_PARENT = (Forged(at(3), SESSION, HostId(2), 1), Withholding(at(3)))
"""What the host around the role makes of the data plane's news, past the role's table."""

Seen = tuple[str, str, str, str, str]
"""Role, state, input (a message's name, or `alarm X`), role and state after it."""

Sent = tuple[str, str, str, str, str]
"""Role, state, input, the message that is sent upon it, and to whom: `sender` or `others`."""


@dataclass
class Observations:
    """What was seen."""

    transitions: set[Seen] = field(default_factory=set)
    sent: set[Sent] = field(default_factory=set)


def place(role: Role) -> tuple[str, str]:
    """Name a role and its state."""
    return str(getattr(role, "NAME", "")), type(role.state).__name__


@contextmanager
def watching(seen: Observations) -> Iterator[None]:
    """Note every input to every role and what state it leads to, a change of role included."""
    began: dict[int, tuple[str, str, str]] = {}
    receive, on_alarm, become = Role.receive, Role.on_alarm, EndHost._become
    bad_parent = EndHost._on_bad_parent

    def note(
        role: Role, before: tuple[str, str, str], actions: list[Action], sender: Endpoint = SELF
    ) -> None:
        for action in actions:
            if isinstance(action, Send):
                to = "sender" if action.to == sender else "others"
                seen.sent.add((*before, type(action.message).__name__, to))
        if any(isinstance(action, Become) for action in actions):
            began[id(role)] = before
        else:
            seen.transitions.add((*before, *place(role)))

    def receiving(self: Role, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        before = (*place(self), type(message).__name__)
        actions = receive(self, message, sender, now)
        note(self, before, actions, sender)
        return actions

    def alarmed(self: Role, alarm: Enum, key: Hashable, now: Instant) -> Actions:
        before = (*place(self), f"alarm {alarm.name}")
        actions = list(on_alarm(self, alarm, key, now))
        note(self, before, actions)
        yield from actions

    def becoming(self: EndHost, action: Become, now: Instant) -> list[Action]:
        before = began.pop(id(self.role))
        actions = become(self, action, now)
        seen.transitions.add((*before, *place(self.role)))
        return actions

    def told(self: EndHost, message: Forged | Withholding, now: Instant) -> list[Action]:
        before = (*place(self.role), type(message).__name__)
        actions = bad_parent(self, message, now)
        note(self.role, before, actions)
        return actions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Role, "receive", receiving)
        patch.setattr(Role, "on_alarm", alarmed)
        patch.setattr(EndHost, "_become", becoming)
        patch.setattr(EndHost, "_on_bad_parent", told)
        yield


def in_runs() -> Observations:
    """Watch transcripts, sessions drawn from seeds, a flash crowd, scenarios with failures."""
    seen = Observations()
    with watching(seen):
        for path in files():
            list(play(parse(path.read_text(encoding="utf-8"))))
        for seed in SEEDS:
            Scenario.from_seed(seed).play()
        for seed in TROUBLED:
            draw_scenario(seed).play()
        Scenario.flash(*FLASH).play()
        for name in FILES:
            read_scenario(SCENARIOS / f"{name}.toml").play()
    return seen


def alone() -> Observations:
    """Put each example of a message, each local input and each alarm into each state by itself."""
    seen = Observations()
    senders = (at(3), at(9), at(2), RP, at(77))
    messages = [here(message) for _, message in examples()]
    with watching(seen):
        for kind, state in cases():
            for message in messages:
                for sender in senders:
                    _host(kind, state).receive(message, sender, 100.0)
            for local in (*LOCAL, *BAD_PARENT):
                _host(kind, state).receive(local, SELF, 100.0)
            for alarm in Alarm:
                host = _host(kind, state)
                if alarm in host.role.ALARMS:
                    host.role.alarms.set(alarm, 5.0, 12345 if alarm is Alarm.RETRY else None)
                    host.wake(5.0)
    return seen


def _host(kind: str, state: type) -> EndHost:
    role = in_state(kind, state)
    host = EndHost(kind, HostSetup("demo", (RP,), 4, instance=7), PARAMETERS, role.rng)
    host.standing, host.role, host.paths = role.standing, role, Paths(role.standing)
    return host


def record() -> str:
    """Make the file, a row a line: transitions, alarms that went off in runs, what was sent."""
    where: dict[Seen, list[str]] = {}
    fired: set[str] = set()
    sent: dict[tuple[str, ...], set[str]] = {}
    for name, observe in SOURCES.items():
        seen = observe()
        for row in sorted(seen.transitions):
            role, state, given, *after = row
            if [role, state] != after:
                where.setdefault(row, []).append(name)
            if name == "runs" and given.startswith("alarm "):
                fired.add(json.dumps([role, state, given.removeprefix("alarm ")]))
        for role, state, given, message, to in seen.sent:
            sent.setdefault((role, given, message, to), set()).add(state)
    parts = (
        ("transitions", [json.dumps([*row, names]) for row, names in sorted(where.items())]),
        ("fired", sorted(fired)),
        ("sent", [json.dumps([*row, sorted(states)]) for row, states in sorted(sent.items())]),
    )
    lists = [f'"{name}": [\n' + ",\n".join(lines) + "\n]" for name, lines in parts]
    return "{\n" + ",\n".join(lists) + "\n}\n"


SOURCES: dict[str, Callable[[], Observations]] = {"runs": in_runs, "alone": alone}

__all__ = ["OBSERVED", "Observations", "alone", "in_runs", "record", "watching"]

if __name__ == "__main__":
    OBSERVED.write_text(record(), encoding="utf-8")
    sys.stdout.write(f"wrote {OBSERVED}\n")
