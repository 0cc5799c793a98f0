"""The contract of every role: one door in, a list of actions out, alarms inside.

Nothing here knows DMMP. A role's table maps (state class, input class) to a handler; handlers are
generators that yield actions. What is not in the table is a violation, unless `IGNORED` lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from enum import Enum
from random import Random
from typing import ClassVar, Protocol

from dmmp.actions import Action, Report
from dmmp.alarms import Alarms
from dmmp.errors import Violation
from dmmp.events import PeerViolation
from dmmp.messages.local import LocalMessage
from dmmp.messages.schema import Message
from dmmp.types import SELF, Endpoint, Instant

Input = Message | LocalMessage
Actions = Iterator[Action]


class Host(Protocol):
    """What every driver and every test drives: a role, or the `EndHost` around it."""

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input, from a peer or (sender `SELF`) from this host; never raises."""

    def wake(self, now: Instant) -> list[Action]:
        """Handle every alarm that is due."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""


class Role:
    """A table-driven state machine; see the module's docstring."""

    TABLE: ClassVar[Mapping[tuple[type, type], Callable[..., Actions]]]
    IGNORED: ClassVar[Mapping[tuple[type, type], str]] = {}
    ALARMS: ClassVar[Mapping[Enum, Callable[..., Actions]]]

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.alarms = Alarms()
        self.state: object = None

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input, from a peer or (sender `SELF`) from this host; never raises."""
        key = (type(self.state), type(message))
        handler = self.TABLE.get(key)
        if isinstance(message, LocalMessage) and sender != SELF:
            return [Report(PeerViolation("Decision 7", "a local input from outside", sender))]
        if handler is None:
            if key in self.IGNORED:
                return []
            return [Report(PeerViolation(_section(message), _unexpected(key), sender))]
        actions: list[Action] = []
        try:
            for action in handler(self, message, sender, now):
                actions.append(action)
        except Violation as violation:
            actions.append(Report(PeerViolation(violation.section, violation.reason, sender)))
        return actions

    def wake(self, now: Instant) -> list[Action]:
        """Handle every alarm that is due."""
        actions: list[Action] = []
        while (due := self.alarms.due(now)) is not None:
            alarm, key = due
            actions.extend(self.on_alarm(alarm, key, now))
        return actions

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        return self.alarms.next()

    def on_alarm(self, alarm: Enum, key: Hashable, now: Instant) -> Actions:
        """Dispatch one alarm by the class's `ALARMS`."""
        return self.ALARMS[alarm](self, key, now)


def _section(message: Input) -> str:
    return (type(message).__doc__ or "").split(".")[0] or "protocol"


def _unexpected(key: tuple[type, type]) -> str:
    return f"{key[1].__name__} is not expected while {key[0].__name__}"
