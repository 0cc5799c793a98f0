"""HMTP: one tree, joined from its root downwards (Zhang, Jamin and Zhang, INFOCOM 2002).

A newcomer steps from the root to the nearest child until no child is nearer than where it stands.
Every host knows its path to the root: that is how circles are seen and new parents found. The
periods and the grace are those of Birrer and Bustamante, NWU-CS-04-36, for all their protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import NamedTuple

from dmmp.alarms import Alarms, jittered
from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.parts import COUNT, DELAY, HEADER, HOST, SEQUENCE, Seen
from dmmp.lab.relatives.repaired import as_named

REFRESH_SECONDS = 10.0
GRACE_SECONDS = 15.0
CHILD_SECONDS = REFRESH_SECONDS + GRACE_SECONDS
"""The stream tells that a parent is there, but children have their refreshes alone: one may be
lost."""

IMPROVE_SECONDS = 30.0
ANSWER_SECONDS = 1.0
RETRY_SECONDS = 2.0
FOSTER_SECONDS = 10.0


class Ask(NamedTuple):
    """Who are your children? `foster`: and feed me until I have found a place."""

    foster: bool = False
    octets: int = HEADER + 1


class Answer(NamedTuple):
    """My children; the time to it also measures the delay."""

    children: tuple[int, ...]

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""
        return HEADER + COUNT + HOST * len(self.children)


class Ping(NamedTuple):
    """Answer at once."""

    octets: int = HEADER + SEQUENCE


class Pong(NamedTuple):
    """At once."""

    octets: int = HEADER + SEQUENCE


class Attach(NamedTuple):
    """Be my parent."""

    octets: int = HEADER + DELAY


class Refuse(NamedTuple):
    """No, or no longer."""

    octets: int = HEADER


class Path(NamedTuple):
    """You are my child, and these lie between the root and me, both included."""

    hosts: tuple[int, ...]

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""
        return HEADER + COUNT + HOST * len(self.hosts)


class Refresh(NamedTuple):
    """I am your child still."""

    octets: int = HEADER


class Leave(NamedTuple):
    """I have another parent now."""

    octets: int = HEADER


class Alarm(Enum):
    """What a host is woken for."""

    REFRESH = auto()
    IMPROVE = auto()
    PARENT = auto()
    SEARCH = auto()
    RETRY = auto()


@dataclass(slots=True)
class Child:
    """When it was last heard, and whether it only waits here until it has found its place."""

    heard: float
    foster: bool = False


@dataclass(slots=True)
class Search:
    """A walk down the tree. `at` is the host asked; `waiting` those who have yet to answer."""

    at: int
    improving: bool
    above: list[int] = field(default_factory=list)
    below: tuple[int, ...] = ()
    invalid: set[int] = field(default_factory=set)
    delays: dict[int, float] = field(default_factory=dict)
    since: float = 0.0
    waiting: set[int] = field(default_factory=set)
    attaching: bool = False


class Hmtp:
    """A host of HMTP; `source` is the root, and everybody knows it."""

    def __init__(self, host: int, source: int, degree: int, rng: Random) -> None:
        self.host, self.root, self.degree = host, source, degree
        self._rng = rng
        self._alarms = Alarms()
        self._started = False
        self._children: dict[int, Child] = {}
        self._parent: int | None = None
        self._parent_delay = 0.0
        self._parent_heard = 0.0
        self._fosters: set[int] = set()
        self._fed_by: int | None = None
        self._path: tuple[int, ...] = (host,) if host == source else ()
        self._search: Search | None = None
        self._seen = Seen()
        self._now = 0.0
        self._out: list[Action] = []

    @property
    def parent(self) -> int | None:
        """Who it last took data from."""
        return self._fed_by

    @property
    def children(self) -> Sequence[int]:
        """Whom it would send the next packet to."""
        return list(self._children)

    @property
    def root_path(self) -> Sequence[int]:
        """The hosts from the root to this one, both included; empty before it has a place."""
        return self._path

    @property
    def sources(self) -> Sequence[int]:
        """Parent and grandparent, to ask for what is missing."""
        return self._path[-2:-4:-1]

    @property
    def round_trips(self) -> Mapping[int, float]:
        """Seconds to the parent and back."""
        return {} if self._parent is None else {self._parent: 2 * self._parent_delay}

    @property
    def state_entries(self) -> int:
        """Children, parent and path."""
        return len(self._children) + len(self._path) + (self._parent is not None)

    def next_alarm(self) -> float | None:
        """Say when to wake it."""
        following = self._alarms.next() if self._started else (0.0, "")
        return following[0] if following else None

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        """Send a packet down the tree."""
        self._seen.add(data.number)
        onward = data._replace(hops=data.hops + 1)
        return [Deliver(data.number), *[Send(child, onward) for child in self._children]]

    def wake(self, now: float) -> Sequence[Action]:
        """Do what is due."""
        self._now = now
        if not self._started:
            self._started = True
            self._alarms.set(Alarm.REFRESH, now + REFRESH_SECONDS * self._rng.random())
            if self.host != self.root:
                self._alarms.set(Alarm.IMPROVE, now + jittered(self._rng, IMPROVE_SECONDS))
                self._begin(self.root, improving=False)
        while (due := self._alarms.due(now)) is not None:
            match due[0]:
                case Alarm.REFRESH:
                    self._refresh()
                case Alarm.IMPROVE:
                    self._improve()
                case Alarm.PARENT:
                    self._check_parent()
                case Alarm.SEARCH:
                    self._no_answer()
                case Alarm.RETRY if self._search is None and self._parent is None:
                    self._begin(self.root, improving=False)
        return self._take()

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        """Take what another host said."""
        self._now = now
        if sender == self._parent:
            self._parent_heard = now
        match message:
            case Data():
                self._on_data(message, sender)
            case Ask():
                self._on_ask(message, sender)
            case Ping():
                self._say(sender, Pong())
            case Answer() | Pong():
                self._on_answer(message, sender)
            case Attach():
                self._on_attach(sender)
            case Path():
                self._on_path(message, sender)
            case Refuse():
                self._on_refuse(sender)
            case Refresh() if sender in self._children:
                self._children[sender].heard = now
            case Refresh():
                self._say(sender, Refuse())
            case Leave():
                self._children.pop(sender, None)
        return self._take()

    def lost(self, host: int, now: float) -> Sequence[Action]:
        """Take it that a host has failed, where a simulation tells failures at once."""
        self._now = now
        self._children.pop(host, None)
        self._fosters.discard(host)
        if host == self._parent:
            self._leave_failed_parent()
        return self._take()

    def _take(self) -> Sequence[Action]:
        out, self._out = self._out, []
        return out

    def _say(self, to: int, message: Message) -> None:
        self._out.append(Send(to, message))

    def _on_data(self, data: Data, sender: int) -> None:
        self._out.append(Deliver(data.number))
        if not self._seen.add(data.number):
            return
        self._fed_by = sender
        # The source is the root, so what comes never has to go up.
        onward = data._replace(hops=data.hops + 1)
        self._out.extend(Send(child, onward) for child in self._children if child != sender)

    # Being a parent.

    def _on_ask(self, message: Ask, sender: int) -> None:
        children = tuple(c for c, held in self._children.items() if not held.foster)
        self._say(sender, Answer(children))
        if message.foster and self._path and sender not in self._path and self._has_room:
            self._children.setdefault(sender, Child(self._now, foster=True))
            self._say(sender, Path(self._path))

    @property
    def _has_room(self) -> bool:
        return len(self._children) < self.degree

    def _on_attach(self, sender: int) -> None:
        if sender not in self._children and not self._has_room:
            waiting = [child for child, held in self._children.items() if held.foster]
            if waiting:
                del self._children[waiting[0]]
                self._say(waiting[0], Refuse())
        known = sender in self._children
        if not self._path or sender in self._path or not (known or self._has_room):
            self._say(sender, Refuse())
            return
        self._children[sender] = Child(self._now)
        self._say(sender, Path(self._path))

    def _refresh(self) -> None:
        self._alarms.set(Alarm.REFRESH, self._now + jittered(self._rng, REFRESH_SECONDS))
        for child, held in list(self._children.items()):
            silent = self._now - held.heard
            if silent > (FOSTER_SECONDS if held.foster else CHILD_SECONDS):
                del self._children[child]
                self._say(child, Refuse())
            elif not held.foster:
                self._say(child, Path(self._path))
        if self._parent is None:
            return
        self._say(self._parent, Refresh())

    # Having one.

    def _on_path(self, message: Path, sender: int) -> None:
        search = self._search
        if search is not None and search.attaching and sender == search.at:
            if self.host in message.hosts:
                self._on_refuse(sender)
                return
            self._settle(sender, search.delays[sender])
        elif sender != self._parent:
            if self._parent is None and self.host not in message.hosts:
                self._fosters.add(sender)
            else:
                self._say(sender, Leave())
            return
        if self.host in message.hosts:
            self._lose_parent(self.root)
            return
        path = (*message.hosts, self.host)
        if path != self._path:
            self._path = path
            for child, held in self._children.items():
                if not held.foster:
                    self._say(child, Path(path))

    def _settle(self, parent: int, delay: float) -> None:
        former_ones = sorted(self._fosters)
        if self._parent is not None:
            former_ones.append(self._parent)
        for former in former_ones:
            if former != parent:
                self._say(former, Leave())
        self._fosters.clear()
        self._parent, self._parent_delay, self._parent_heard = parent, delay, self._now
        self._end()
        self._alarms.set(Alarm.PARENT, self._now + GRACE_SECONDS)

    def _lose_parent(self, start: int) -> None:
        if self._parent is not None:
            self._say(self._parent, Leave())
        self._parent, self._path = None, ()
        self._begin(start, improving=False)

    def _on_refuse(self, sender: int) -> None:
        search = self._search
        self._fosters.discard(sender)
        if sender == self._parent:
            self._lose_parent(self.root)
        elif search is not None and search.attaching and sender == search.at:
            search.attaching = False
            search.invalid.add(sender)
            self._decide()

    # Looking for one.

    def _improve(self) -> None:
        self._alarms.set(Alarm.IMPROVE, self._now + jittered(self._rng, IMPROVE_SECONDS))
        others = [host for host in self._path if host != self.host]
        if self._search is None and self._parent is not None and others:
            self._begin(self._rng.choice(others), improving=True)

    def _begin(self, start: int, improving: bool) -> None:
        self._search = Search(start, improving)
        self._ask(start)

    def _end(self) -> None:
        self._search = None
        self._alarms.stop(Alarm.SEARCH)

    def _ask(self, host: int) -> None:
        search = self._search
        assert search is not None
        search.at, search.since, search.waiting, search.below = host, self._now, {host}, ()
        # Only the first host asked: it has the most to give, and later ones are passed at once.
        foster = not search.improving and not search.above and not self._fosters
        self._say(host, Ask(foster))
        self._alarms.set(Alarm.SEARCH, self._now + ANSWER_SECONDS)

    def _on_answer(self, message: Answer | Pong, sender: int) -> None:
        search = self._search
        if search is None or sender not in search.waiting:
            return
        search.delays.setdefault(sender, (self._now - search.since) / 2)
        search.waiting.discard(sender)
        if isinstance(message, Answer) and sender == search.at:
            below = (c for c in message.children if c != self.host and c not in search.invalid)
            search.below, search.since = tuple(below), self._now
            search.waiting = {child for child in search.below if child not in search.delays}
            for child in search.below:
                if child in search.waiting:
                    self._say(child, Ping())
            self._alarms.set(Alarm.SEARCH, self._now + ANSWER_SECONDS)
        if not search.waiting:
            self._decide()

    def _decide(self) -> None:
        search = self._search
        assert search is not None
        open_hosts = [h for h in (search.at, *search.below) if h not in search.invalid]
        if not open_hosts:
            self._back_up()
            return
        nearest = min(open_hosts, key=lambda host: (search.delays[host], host))
        if nearest != search.at:
            search.above.append(search.at)
            self._ask(nearest)
        elif search.improving and (
            nearest == self._parent or search.delays[nearest] >= self._parent_delay
        ):
            self._end()
        else:
            search.attaching = True
            self._say(nearest, Attach())
            self._alarms.set(Alarm.SEARCH, self._now + ANSWER_SECONDS)

    def _back_up(self) -> None:
        search = self._search
        assert search is not None
        if search.above:
            self._ask(search.above.pop())
            return
        self._end()
        if not search.improving:
            self._alarms.set(Alarm.RETRY, self._now + jittered(self._rng, RETRY_SECONDS))

    def _check_parent(self) -> None:
        if self._parent is None:
            return
        if self._now < self._parent_heard + GRACE_SECONDS:
            self._alarms.set(Alarm.PARENT, self._parent_heard + GRACE_SECONDS)
            return
        self._leave_failed_parent()

    def _leave_failed_parent(self) -> None:
        others = [h for h in self._path if h not in (self.host, self._parent)]
        self._lose_parent(self._rng.choice(others) if others else self.root)

    def _no_answer(self) -> None:
        search = self._search
        if search is None:
            return
        if search.attaching:
            search.attaching = False
            search.invalid.add(search.at)
        elif search.at in search.waiting:
            search.invalid.add(search.at)
            search.below = ()
        search.invalid |= search.waiting
        search.waiting = set()
        self._decide()


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of HMTP with at most `degree` children; the root is the source."""
    return as_named(Hmtp(host, source, degree, rng), case)
