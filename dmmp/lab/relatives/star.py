"""The unicast star: everybody takes the stream from the source. The zero test of every measure."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send

REFRESH: Final = 10.0
"""Seconds between two words of a member to the source."""

GRACE: Final = 25.0
"""Seconds of silence after which the source forgets a member: two refreshes may be lost."""


class Here(NamedTuple):
    """I am a member."""

    octets: int = 8


class Star:
    """A member, or the source with its list of members."""

    def __init__(self, host: int, source: int) -> None:
        self._host = host
        self._source = source
        self._members: dict[int, float] = {}
        self._alarm = 0.0
        self._parent: int | None = None

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        if isinstance(message, Data):
            self._parent = sender
            return [Deliver(message.number)]
        if isinstance(message, Here):
            self._members[sender] = now
        return []

    def wake(self, now: float) -> Sequence[Action]:
        self._alarm = now + REFRESH
        if self._host != self._source:
            return [Send(self._source, Here())]
        silent = [member for member, heard in self._members.items() if now - heard > GRACE]
        for member in silent:
            del self._members[member]
        return []

    def next_alarm(self) -> float | None:
        return self._alarm

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        hop = data._replace(hops=1)
        return [Deliver(data.number), *[Send(member, hop) for member in self._members]]

    @property
    def parent(self) -> int | None:
        return self._parent

    @property
    def children(self) -> Sequence[int]:
        return list(self._members)

    @property
    def state_entries(self) -> int:
        return len(self._members) if self._host == self._source else 1


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of the star."""
    return Star(host, source)
