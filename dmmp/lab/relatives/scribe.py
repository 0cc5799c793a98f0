"""Scribe: a tree of the routes of Pastry towards a topic's root (Castro and others, JSAC 2002).

The root is the host nearest to the topic's key. Everybody subscribes at its next hop towards the
key; degrees have no limit. A child leaves a parent that is silent for 6 s, a parent forgets a child
after 60 s; the stream stands in for heartbeats. The source sends to the root, whom it looks for
again and again, and to those who have subscribed at it, as it has what would come down to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from random import Random
from typing import NamedTuple

from dmmp.alarms import Alarms, jittered
from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.parts import HEADER, HOST, SEQUENCE, Seen
from dmmp.lab.relatives.pastry import Pastry, PastryAlarm, place
from dmmp.lab.relatives.repaired import as_named

PARENT_SECONDS = 6.0
CHILD_SECONDS = 60.0
HEARTBEAT_SECONDS = 2.0
SUBSCRIBE_SECONDS = 20.0
RETRY_SECONDS = 2.0


class Subscribe(NamedTuple):
    """Routed: be my parent, or stay it."""

    child: int
    octets: int = HOST


class RootWanted(NamedTuple):
    """Routed: whoever is the root, tell me."""

    asker: int
    octets: int = HOST


class Root(NamedTuple):
    """I am the root."""

    octets: int = HEADER


class Welcome(NamedTuple):
    """You are my child."""

    octets: int = HEADER


class Leave(NamedTuple):
    """I have another parent."""

    octets: int = HEADER


class Heartbeat(NamedTuple):
    """Your parent is there, though there is no stream."""

    octets: int = HEADER + SEQUENCE


class Alarm(Enum):
    """What a host is woken for."""

    SUBSCRIBE = auto()
    PARENT = auto()
    HEARTBEAT = auto()
    ROOT = auto()


class Scribe:
    """A host of Scribe: everybody is a member."""

    def __init__(
        self, host: int, source: int, rendezvous: Sequence[int], rng: Random, seed: int
    ) -> None:
        self.host, self.source, self._rng = host, source, rng
        self._alarms = Alarms()
        self._out: list[Action] = []
        self.pastry = Pastry(host, seed, rendezvous, rng, self._out, self._alarms)
        self.key = place(f"{seed}-topic")
        self._children: dict[int, float] = {}
        self._parent: int | None = None
        self._parent_heard = 0.0
        self._root: int | None = None
        self._rooted = False
        self._fed_by: int | None = None
        self._said = 0.0
        self._seen = Seen()
        self._started = False
        self._now = 0.0

    @property
    def parent(self) -> int | None:
        """Who it last took data from."""
        return self._fed_by

    @property
    def children(self) -> Sequence[int]:
        """Whom it would send the next packet to."""
        if self._root is None or self._root in self._children:
            return list(self._children)
        return [self._root, *self._children]

    @property
    def sources(self) -> Sequence[int]:
        """The parent, and who was it when packets came last, to ask for what is missing."""
        both = dict.fromkeys((self._parent, self._fed_by))
        return [host for host in both if host is not None]

    @property
    def round_trips(self) -> Mapping[int, float]:
        """Seconds to the hosts in the tables of Pastry and back."""
        return self.pastry.round_trips

    @property
    def state_entries(self) -> int:
        """Cells and leaves of Pastry, children and parent."""
        return self.pastry.entries + len(self._children) + (self._parent is not None)

    def next_alarm(self) -> float | None:
        """Say when to wake it."""
        following = self._alarms.next() if self._started else (0.0, "")
        return following[0] if following else None

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        """Send a packet to the root and to those who subscribed here."""
        self._seen.add(data.number)
        self._said = now
        onward = data._replace(hops=data.hops + 1)
        return [Deliver(data.number), *[Send(child, onward) for child in self.children]]

    def wake(self, now: float) -> Sequence[Action]:
        """Do what is due."""
        self._now = now
        if not self._started:
            self._started = True
            self.pastry.start(now)
            self._alarms.set(Alarm.HEARTBEAT, now + HEARTBEAT_SECONDS * self._rng.random())
        while (due := self._alarms.due(now)) is not None:
            self._ring(*due)
        self._subscribe_first()
        return self._take()

    def _ring(self, alarm: Enum, key: object) -> None:
        match alarm:
            case PastryAlarm():
                self.pastry.ring(alarm, key, self._now)
            case Alarm.SUBSCRIBE:
                self._subscribe()
            case Alarm.PARENT:
                self._check_parent()
            case Alarm.HEARTBEAT:
                self._tend_children()
            case Alarm.ROOT:
                self._look_for_root()

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        """Take what another host said."""
        self._now = now
        if sender == self._parent:
            self._parent_heard = now
        match message:
            case Data():
                self._on_data(message, sender)
            case Welcome():
                self._on_welcome(sender)
            case Leave():
                self._children.pop(sender, None)
            case Root():
                self._root = sender
            case Heartbeat():
                if sender != self._parent:
                    self._say(sender, Leave())
            case _:
                self._on_routed(self.pastry.receive(message, sender, now))
                self._subscribe_first()
                if self._rooted and self.pastry.next_hop(self.key) is not None:
                    # It was the root until somebody nearer came.
                    self._subscribe()
        return self._take()

    def lost(self, host: int, now: float) -> Sequence[Action]:
        """Take it that a host has failed, where a simulation tells failures at once."""
        self._now = now
        self.pastry.fail(host)
        self._children.pop(host, None)
        if host == self._root:
            self._look_for_root()
        if host == self._parent:
            self._subscribe()
        return self._take()

    def _take(self) -> Sequence[Action]:
        out = list(self._out)
        self._out.clear()
        return out

    def _say(self, to: int, message: Message) -> None:
        self._out.append(Send(to, message))

    def _on_data(self, data: Data, sender: int) -> None:
        self._out.append(Deliver(data.number))
        if self._parent not in (None, sender):
            self._say(sender, Leave())
        if not self._seen.add(data.number):
            return
        self._fed_by, self._said = sender, self._now
        onward = data._replace(hops=data.hops + 1)
        self._out.extend(Send(child, onward) for child in self._children if child != sender)
        if sender == self.source and self._parent not in (None, sender):
            # The source takes this host for the root, which it is no longer: on to who is.
            self._out.append(Send(self._parent, onward))

    # Subscribing.

    def _subscribe_first(self) -> None:
        if self.pastry.ready and not self._alarms.is_set(Alarm.SUBSCRIBE):
            self._subscribe()
            if self.host == self.source:
                self._look_for_root()

    def _subscribe(self) -> None:
        """Ask the next hop towards the key to be the parent; nobody nearer: this is the root.

        Repeated, because tables get better and roots change.
        """
        self._alarms.set(Alarm.SUBSCRIBE, self._now + jittered(self._rng, SUBSCRIBE_SECONDS))
        if self.host == self.source:
            return
        self._rooted = not self.pastry.route(self.key, Subscribe(self.host), self._now)
        if not self._rooted:
            silent = self._now - self._parent_heard > PARENT_SECONDS
            if self._parent is None or silent:
                self._alarms.set(Alarm.SUBSCRIBE, self._now + RETRY_SECONDS)
        elif self._parent is not None:
            self._say(self._parent, Leave())
            self._parent = None

    def _on_routed(self, inner: Message | None) -> None:
        match inner:
            case Subscribe():
                self._children[inner.child] = self._now
                self._say(inner.child, Welcome())
            case RootWanted():
                onward = self.pastry.route(self.key, inner, self._now)
                if not onward and inner.asker != self.host:
                    self._say(inner.asker, Root())

    def _on_welcome(self, sender: int) -> None:
        if self._parent is not None and self._parent != sender:
            self._say(self._parent, Leave())
        self._parent, self._parent_heard = sender, self._now
        self._alarms.set(Alarm.SUBSCRIBE, self._now + jittered(self._rng, SUBSCRIBE_SECONDS))
        self._alarms.set(Alarm.PARENT, self._now + PARENT_SECONDS)

    def _check_parent(self) -> None:
        if self._parent is None:
            return
        if self._now < self._parent_heard + PARENT_SECONDS:
            self._alarms.set(Alarm.PARENT, self._parent_heard + PARENT_SECONDS)
            return
        self.pastry.fail(self._parent)
        self._parent = None
        self._subscribe()

    def _tend_children(self) -> None:
        self._alarms.set(Alarm.HEARTBEAT, self._now + HEARTBEAT_SECONDS)
        self._children = {
            child: heard
            for child, heard in self._children.items()
            if self._now - heard <= CHILD_SECONDS
        }
        if self._now - self._said >= HEARTBEAT_SECONDS:
            for child in self._children:
                self._say(child, Heartbeat())

    def _look_for_root(self) -> None:
        self._alarms.set(Alarm.ROOT, self._now + PARENT_SECONDS)
        if not self.pastry.route(self.key, RootWanted(self.host), self._now):
            self._root = None


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of Scribe; `degree` does not bind it."""
    return as_named(Scribe(host, source, rendezvous, rng, case.seed), case)
