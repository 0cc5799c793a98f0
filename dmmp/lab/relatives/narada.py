"""Narada: a mesh where everybody knows everybody, and trees along its routes (Chu, Rao and Zhang,
SIGMETRICS 2000).

Periods, fan-out and deadlines are those of Birrer and Bustamante, NWU-CS-04-36: a vector to every
neighbour each 10 s, 6 neighbours (12 for a short time), dead after 60 s, partitions mended after
50 s. Routes are path vectors. A packet is taken from the next hop to the source, and given to those
neighbours whose next hop to it is this host. State and traffic grow with the group: for 1,024 hosts
at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

import numpy as np

from dmmp.alarms import Alarms, jittered
from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.narada_table import Table, Vector, served_through
from dmmp.lab.relatives.narada_words import (
    LinkRefused,
    LinkTaken,
    LinkWanted,
    Members,
    MembersWanted,
    Probe,
    Probed,
    Unlink,
)
from dmmp.lab.relatives.parts import COUNT, DELAY, HEADER, ID, Seen
from dmmp.lab.relatives.repaired import as_named

EXCHANGE_SECONDS = 10.0
FAN_OUT = 6
MOST = 12
JOIN_LINKS = 3
SILENCE_SECONDS = 15.0
"""A neighbour that said nothing for one exchange and a half is probed."""

ANSWER_SECONDS = 2.0
PROBE_TRIES = 3
PARTITION_SECONDS = 50.0
DEAD_SECONDS = 60.0
MEND_SECONDS = 5.0
RETRY_SECONDS = 2.0
LINGER_SECONDS = 25.0
"""How long packets still go over a link that was taken away: one exchange brings other ways, the
next one tells whoever is to send over them."""

OVERLAP_SECONDS = 0.5
"""How long packets are taken from the former next hop, once there are some from the new one."""

LIST_HOSTS = 12
ADD_SHARE, DROP_SHARE = 0.03, 0.01
"""Of the group: what a new link must be worth, and a link must carry to be kept, where both ends
have as many neighbours as they should; in proportion where they have more or fewer."""

WORTH_OF_CARRIED = 0.3
"""Without a link the members that it carries are farther, not out of reach: the share of them that
it is worth when a new link would take its place. Not published, nor are the shares above."""


class Alarm(Enum):
    """What a host is woken for."""

    EXCHANGE = auto()
    MEND = auto()
    JOIN = auto()
    ANSWER = auto()


@dataclass(slots=True)
class Neighbour:
    """When the link began and was last heard on."""

    since: float
    heard: float


class Narada:
    """A host of Narada."""

    def __init__(self, host: int, source: int, rendezvous: Sequence[int], rng: Random) -> None:
        self.host, self.source, self._rng = host, source, rng
        self._rendezvous = [other for other in rendezvous if other != host]
        self._alarms = Alarms()
        self._table: Table | None = None
        self._neighbours: dict[int, Neighbour] = {}
        self._vectors: dict[int, Vector] = {}
        self._delays: dict[int, float] = {}
        self._asked: dict[int, float] = {}
        self._probed: dict[int, float] = {}
        self._tries: dict[int, int] = {}
        self._newcomers: list[int] = []
        self._offered: list[int] = []
        self._taken: dict[int, float] = {}
        self._lingering: dict[int, float] = {}
        self._next: int | None = None
        self._children: list[int] = []
        self._fed_by: int | None = None
        self._seen = Seen()
        self._now = 0.0
        self._out: list[Action] = []

    @property
    def table(self) -> Table:
        """Members and routes; made at the start, when it is known what time it is."""
        assert self._table is not None
        return self._table

    @property
    def parent(self) -> int | None:
        """Who it last took data from."""
        return self._fed_by

    @property
    def children(self) -> Sequence[int]:
        """Whom it would send the next packet to."""
        return list(self._children)

    @property
    def neighbours(self) -> Sequence[int]:
        """The hosts it has links to."""
        return list(self._neighbours)

    @property
    def sources(self) -> Sequence[int]:
        """The next hop to the source and then the other neighbours, to ask for what is missing."""
        both = dict.fromkeys((self._next, *self._neighbours))
        return [host for host in both if host is not None]

    @property
    def round_trips(self) -> Mapping[int, float]:
        """Seconds to neighbours and back."""
        return {host: 2 * delay for host, delay in self._delays.items()}

    @property
    def state_entries(self) -> int:
        """Members, each with a route of its own and one of every neighbour."""
        if self._table is None:
            return 0
        return int(self.table.alive.sum()) * (1 + len(self._vectors))

    def next_alarm(self) -> float | None:
        """Say when to wake it."""
        following = self._alarms.next() if self._table is not None else (0.0, "")
        return following[0] if following else None

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        """Send a packet to the neighbours that route to this host."""
        self._now = now
        self._seen.add(data.number)
        self._out.append(Deliver(data.number))
        self._forward(data, self.host)
        return self._take()

    def wake(self, now: float) -> Sequence[Action]:
        """Do what is due."""
        self._now = now
        if self._table is None:
            self._table = Table(self.host, now)
            self._alarms.set(Alarm.EXCHANGE, now + EXCHANGE_SECONDS * self._rng.random())
            self._alarms.set(Alarm.MEND, now + MEND_SECONDS * self._rng.random())
            self._join()
        while (due := self._alarms.due(now)) is not None:
            match due[0]:
                case Alarm.EXCHANGE:
                    self._exchange()
                case Alarm.MEND:
                    self._mend()
                case Alarm.JOIN:
                    self._join()
                case Alarm.ANSWER:
                    self._tend_answers()
        return self._take()

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        """Take what another host said."""
        self._now = now
        match message:
            case Data():
                self._on_data(message, sender)
            case Vector():
                self._on_vector(message, sender)
            case MembersWanted():
                self._on_members_wanted(sender)
            case Members():
                self._offered = [host for host in message.hosts if host != self.host]
                self._ask_more()
            case LinkWanted():
                self._on_link_wanted(message, sender)
            case LinkTaken():
                self._on_link_taken(sender)
            case LinkRefused():
                self._asked.pop(sender, None)
                self._ask_more()
            case Unlink():
                self._on_unlink(sender)
            case Probe():
                self._on_probe(message, sender)
            case Probed():
                self._on_probed(message, sender)
        return self._take()

    def lost(self, host: int, now: float) -> Sequence[Action]:
        """Take it that a host has failed, where a simulation tells failures at once."""
        self._now = now
        if host < self.table.size:
            self.table.bury(host)
        self._unlink(host, wanted=False)
        return self._take()

    def _take(self) -> Sequence[Action]:
        out, self._out = self._out, []
        return out

    def _say(self, to: int, message: Message) -> None:
        self._out.append(Send(to, message))

    # Packets.

    def _on_data(self, data: Data, sender: int) -> None:
        lately = self._taken.get(sender, 0.0) >= self._now
        if self._next is not None and sender != self._next and not lately:
            if sender not in self._neighbours:
                self._say(sender, Unlink())
            return
        if sender == self._next and self._taken:
            # What went the former way before may still be on it.
            soon = self._now + OVERLAP_SECONDS
            self._taken = {host: min(until, soon) for host, until in self._taken.items()}
        self._out.append(Deliver(data.number))
        if self._seen.add(data.number):
            self._fed_by = sender
            self._forward(data, sender)
        elif sender not in self._neighbours and sender != self._next:
            # There is another way already, so the link that was taken away may rest.
            self._say(sender, Unlink())

    def _forward(self, data: Data, sender: int) -> None:
        onward = data._replace(hops=data.hops + 1)
        for child in self._children:
            if child != sender:
                self._out.append(Send(child, onward))

    def _look_at_tree(self) -> None:
        """See anew whom packets come from and go to."""
        following = self.table.next_hop(self.source)
        if following != self._next:
            if self._next is not None:
                self._taken[self._next] = self._now + LINGER_SECONDS
            self._next = following
        routed = [
            neighbour
            for neighbour, vector in self._vectors.items()
            if self.source < len(vector.paths) and vector.paths[self.source, 0] == self.host
        ]
        self._lingering = {h: until for h, until in self._lingering.items() if until > self._now}
        gone = [h for h in self._lingering if h not in self._vectors]
        self._children = routed + gone

    # The mesh.

    def _join(self) -> None:
        """Get a list of members and ask them, until there are enough neighbours."""
        if self._rendezvous and len(self._neighbours) < 1:
            self._say(self._rng.choice(self._rendezvous), MembersWanted())
            self._alarms.set(Alarm.JOIN, self._now + jittered(self._rng, RETRY_SECONDS))

    def _on_members_wanted(self, sender: int) -> None:
        known = {int(host) for host in np.flatnonzero(self.table.alive)} | {*self._newcomers}
        known -= {self.host, sender}
        others = sorted(known)
        picked = self._rng.sample(others, min(LIST_HOSTS - 1, len(others)))
        # Vectors bring newcomers here only after a while; the next newcomers should hear of them.
        self._newcomers = [*(n for n in self._newcomers if n != sender), sender][-LIST_HOSTS:]
        hosts = [*picked, self.host]
        self._rng.shuffle(hosts)
        self._say(sender, Members((*hosts,)))

    def _ask_more(self) -> None:
        while self._offered and len(self._neighbours) + len(self._asked) < JOIN_LINKS:
            self._ask(self._offered.pop(), None)

    def _ask(self, host: int, utility: float | None) -> None:
        if host in self._neighbours or host in self._asked:
            return
        self._asked[host] = self._now
        self._say(host, LinkWanted(utility))
        self._alarms.set(Alarm.ANSWER, self._now + ANSWER_SECONDS, host)

    def _on_link_wanted(self, message: LinkWanted, sender: int) -> None:
        count = len(self._neighbours)
        fits = count < (FAN_OUT if message.utility is not None else MOST)
        if message.utility is not None and count < MOST:
            fits = fits or message.utility > self._least_worth
        if sender in self._neighbours or fits:
            self._link(sender)
            self._say(sender, LinkTaken())
        else:
            self._say(sender, LinkRefused())

    def _on_link_taken(self, sender: int) -> None:
        asked = self._asked.pop(sender, None)
        if asked is None:
            return
        if len(self._neighbours) >= MOST and sender not in self._neighbours:
            self._say(sender, Unlink())
            return
        self._link(sender)
        self._delays[sender] = (self._now - asked) / 2
        self._tell(sender)
        self._ask_more()

    def _link(self, host: int) -> None:
        self._unlink(host, wanted=False)
        self._neighbours[host] = Neighbour(self._now, self._now)
        self._lingering.pop(host, None)
        self.table.hear_of(host, self._now)

    def _unlink(self, host: int, wanted: bool) -> None:
        """Forget a link; `wanted` by one of both, so that packets go on until all know."""
        if self._neighbours.pop(host, None) is None:
            return
        if wanted and host in self._children:
            self._lingering[host] = self._now + LINGER_SECONDS
        self._vectors.pop(host, None)
        self._delays.pop(host, None)
        self.table.route(self._vectors, self._delays)
        self._look_at_tree()
        if not self._neighbours:
            self._alarms.set(Alarm.JOIN, self._now + RETRY_SECONDS)

    def _on_unlink(self, sender: int) -> None:
        if self._lingering.pop(sender, None) is not None:
            self._look_at_tree()
        self._unlink(sender, wanted=True)

    def _tell(self, host: int) -> None:
        vector = self.table.vector(len(self._neighbours), self._now - DEAD_SECONDS)
        self._say(host, vector._replace(link=self._delays.get(host, 0.0)))

    def _on_vector(self, vector: Vector, sender: int) -> None:
        self.table.learn(vector.sequence, vector.dead, self._now)
        held = self._neighbours.get(sender)
        if held is None:
            # It did not hear that the link is gone.
            self._say(sender, Unlink())
            return
        held.heard = self._now
        first = sender not in self._vectors
        if vector.link and sender not in self._delays:
            self._delays[sender] = vector.link
        self._vectors[sender] = vector
        self.table.route(self._vectors, self._delays)
        self._look_at_tree()
        if first and self._now - held.since < ANSWER_SECONDS and vector.link:
            self._tell(sender)

    def _exchange(self) -> None:
        """Say everything to the neighbours, and look after the links."""
        self._alarms.set(Alarm.EXCHANGE, self._now + jittered(self._rng, EXCHANGE_SECONDS, 0.1))
        self.table.advance(self._now)
        for host, held in list(self._neighbours.items()):
            if self._now - held.heard > SILENCE_SECONDS:
                self._probe(host)
        self._drop_one()
        self._look_at_tree()
        vector = self.table.vector(len(self._neighbours), self._now - DEAD_SECONDS)
        for host in self._neighbours:
            self._say(host, vector._replace(link=self._delays.get(host, 0.0)))
        others = self.table.alive
        others[[self.host, *self._neighbours]] = False
        candidates = np.flatnonzero(others)
        if len(candidates) and self._neighbours:
            self._probe(int(self._rng.choice(candidates)), latencies=True)

    def _carried(self, neighbour: int) -> int:
        """The consensus cost: members routed over the link, at the end that routes more."""
        vector = self._vectors.get(neighbour)
        theirs = served_through(vector, self.host) if vector is not None else 0
        return max(self.table.routed_through(neighbour), theirs)

    @property
    def _least_worth(self) -> float:
        carried = min((self._carried(n) for n in self._settled), default=0)
        return WORTH_OF_CARRIED * carried

    @property
    def _settled(self) -> list[int]:
        """Neighbours over whose links routes have had the time to form."""
        young = self._now - 3 * EXCHANGE_SECONDS
        return [host for host, held in self._neighbours.items() if held.since < young]

    def _share(self, other_degree: int) -> float:
        """The size of the group, scaled by the degrees of both ends over the fan-out."""
        group = int(self.table.alive.sum())
        return group * (len(self._neighbours) + other_degree) / (2 * FAN_OUT)

    def _drop_one(self) -> None:
        over = len(self._neighbours) > FAN_OUT
        if not over and len(self._neighbours) <= JOIN_LINKS:
            return
        spare = [
            host
            for host in self._settled
            if (vector := self._vectors.get(host)) is not None
            and vector.degree > (1 if over else JOIN_LINKS)
        ]
        if not spare:
            return
        least = min(spare, key=lambda host: (self._carried(host), host))
        if over or self._carried(least) < DROP_SHARE * self._share(self._vectors[least].degree):
            self._say(least, Unlink())
            self._unlink(least, wanted=True)

    # Probes.

    def _probe(self, host: int, latencies: bool = False) -> None:
        if host not in self._probed:
            self._probed[host] = self._now
            self._say(host, Probe(latencies))
            self._alarms.set(Alarm.ANSWER, self._now + ANSWER_SECONDS, host)

    def _on_probe(self, message: Probe, sender: int) -> None:
        if not message.latencies:
            self._say(sender, Probed(None, len(self._neighbours), 0, HEADER + 1))
            return
        reached = int(np.isfinite(self.table.latency).sum())
        octets = HEADER + COUNT + 1 + DELAY + reached * (ID + DELAY)
        answer = Probed(self.table.latency, len(self._neighbours), self._least_worth, octets)
        self._say(sender, answer)

    def _on_probed(self, message: Probed, sender: int) -> None:
        sent = self._probed.pop(sender, None)
        self._tries.pop(sender, None)
        if sent is None:
            return
        held = self._neighbours.get(sender)
        if held is not None:
            held.heard = self._now
        elif message.latency is None:
            # A member that was silent: the group may be in parts.
            self._ask(sender, None)
        elif len(self._neighbours) < MOST:
            utility = self.table.utility(message.latency, (self._now - sent) / 2)
            asked = ADD_SHARE * self._share(message.degree)
            if len(self._neighbours) >= FAN_OUT:
                asked = max(asked, self._least_worth)
            if message.degree >= FAN_OUT:
                asked = max(asked, message.least)
            if utility > asked:
                self._ask(sender, utility)

    def _tend_answers(self) -> None:
        """See who has not answered in time."""
        before = self._now - ANSWER_SECONDS + 1e-9
        for host in [host for host, sent in self._asked.items() if sent <= before]:
            del self._asked[host]
        for host in [host for host, sent in self._probed.items() if sent <= before]:
            del self._probed[host]
            self._tries[host] = self._tries.get(host, 0) + 1
            if self._tries[host] < PROBE_TRIES:
                self._probe(host)
                continue
            del self._tries[host]
            self.table.bury(host)
            self._unlink(host, wanted=False)
        self._ask_more()

    def _mend(self) -> None:
        """Probe the member that is silent longest, the likelier the more are silent."""
        self._alarms.set(Alarm.MEND, self._now + jittered(self._rng, MEND_SECONDS))
        table = self.table
        silent = np.flatnonzero(table.alive & (table.heard < self._now - PARTITION_SECONDS))
        silent = silent[silent != self.host]
        if not len(silent):
            return
        table.dead[silent[table.heard[silent] < self._now - DEAD_SECONDS]] = True
        group = int(table.alive.sum())
        if self._rng.random() < len(silent) / max(1, group):
            self._probe(int(silent[table.heard[silent].argmin()]))


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of Narada; its fan-out is the published one, whatever `degree` is."""
    return as_named(Narada(host, source, rendezvous, rng), case)
