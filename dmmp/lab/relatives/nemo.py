"""Nemo: NICE's hierarchy with crews, a leader and co-leaders who take the packets in turn.

Birrer and Bustamante, NWU-CS-04-36. Whoever sends to a cluster sends to one of its crew, in turn,
so that a leader's failure costs a share of the packets, which are then asked for from hosts that
have them. When the leader is found dead, its crew stands in for it, in both directions, and the
first of them takes its place in the layer above.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple

from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.clusters import Cluster, distance
from dmmp.lab.relatives.hierarchy import ELECTED, GRACE
from dmmp.lab.relatives.repair import PATIENCE, Nack, Repair
from dmmp.lab.relatives.upkeep import Upkeep
from dmmp.lab.relatives.words import HEADER, HOST

CREW: Final = 3
"""A leader and its co-leaders, unless the case has the option `crew`."""

CREW_BEATS: Final = 3
"""Heartbeats between two words about a crew: every 30 s."""

MASK_OCTETS: Final = 9
"""The highest number, a bit for each packet of the window, and the layer."""

RECENT: Final = 4
"""Hosts remembered to have sent packets, to be asked for missing ones."""


class Crew(NamedTuple):
    """These lead my cluster of this layer with me.

    Co-leaders learn whom I know one layer up: `upper` are the members there with their crews,
    `onward` are those of them who carry a packet farther up. They are told anew when that changes,
    not only when the crew does: what they send goes by this list.
    """

    layer: int
    hosts: tuple[int, ...]
    upper: tuple[tuple[int, tuple[int, ...]], ...] = ()
    onward: tuple[int, ...] = ()

    @property
    def octets(self) -> int:
        known = len(self.hosts) + sum(1 + len(crew) for _, crew in self.upper)
        return HEADER + HOST * (known + len(self.onward))

    def without(self, dead: int) -> Crew:
        """Put a co-leader in the place of a member above that is dead."""
        upper = [
            (host, crew) if host != dead else (crew[0], crew[1:])
            for host, crew in self.upper
            if host != dead or crew
        ]
        rest = tuple((host, tuple(h for h in crew if h != dead)) for host, crew in upper)
        onward = tuple(host for host in self.onward if host != dead)
        return self._replace(upper=rest, onward=onward)


class Flow(NamedTuple):
    """A packet for all clusters of a host up to `layer` (-1 is the host alone) and, with `up`, for
    what lies above its cluster of the next layer; with what its sender has."""

    stream: Data
    layer: int
    up: bool
    highest: int
    mask: int

    @property
    def octets(self) -> int:
        return self.stream.octets + MASK_OCTETS


class Nemo(Upkeep):
    """A host of Nemo."""

    def __init__(self, host: int, rendezvous: int, rng: Random, crew: int) -> None:
        super().__init__(host, rendezvous, rng)
        self.parent: int | None = None
        # Packets that come by the crew in turn overtake each other: two round trips.
        self.repair = Repair(True, PATIENCE)
        self._size = crew - 1
        # By leader and layer: its crew, and, where this host is in it, what lies above.
        self._crews: dict[tuple[int, int], tuple[int, ...]] = {}
        self._over: dict[tuple[int, int], Crew] = {}
        self._told: dict[int, Crew] = {}
        # By layer: until when this host stands in for a leader that is dead, and the last it said;
        # until when those of a dead member's cluster are fed by its crew, by layer and member.
        self._left: dict[int, tuple[float, Crew]] = {}
        self._bereft: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        self._beats = self._turn = 0
        self._news = False
        self._recent: list[int] = []
        self._last: tuple[int, bool] = (-1, False)

    def receive(self, message: Message, sender: int, now: float) -> Sequence[Action]:
        kind = type(message)
        if kind is Flow:
            return self._flow(message, sender, now)  # type: ignore[arg-type]
        if isinstance(message, Data):
            return self._again(message, now)
        if isinstance(message, Nack):
            return self.repair.answer(message, sender)
        if isinstance(message, Crew):
            self._on_crew(message, sender)
        else:
            self.hear(message, sender, now)
        if self._news:
            self._brief(now)
        return self.actions()

    def wake(self, now: float) -> Sequence[Action]:
        if now >= self.due:
            self.tick(now)
        if self._news:
            self._brief(now)
        actions = self.actions()
        if now >= self.repair.due:
            actions = [*actions, *self.repair.ask(now, self._whom(), self.distances)]
        return actions

    def next_alarm(self) -> float | None:
        due, repair = self.due, self.repair.due
        return due if due < repair else repair

    def lost(self, host: int, now: float) -> Sequence[Action]:
        self._recent = [other for other in self._recent if other != host]
        actions = super().lost(host, now)
        for known, crew in list(self._crews.items()):
            if known[0] == host:
                del self._crews[known]
            elif host in crew:
                self._crews[known] = tuple(other for other in crew if other != host)
        self._over = {
            known: word.without(host) for known, word in self._over.items() if known[0] != host
        }
        self._left = {
            layer: (until, word.without(host)) for layer, (until, word) in self._left.items()
        }
        self._bereft = {
            place: (until, tuple(other for other in crew if other != host))
            for place, (until, crew) in self._bereft.items()
        }
        self._brief(now)
        return [*actions, *self.actions()]

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        self.repair.take(data, now)
        self._turn += 1
        return [Deliver(data.number), *self._clusters(data, 0, len(self.layers), self.host, True)]

    # Crews.

    def _beat(self, layer: int, now: float) -> None:
        if self.leads(layer):
            self._recruit(layer, now)
        super()._beat(layer, now)

    def _recruit(self, layer: int, now: float) -> None:
        """Choose co-leaders, the closest; tell who sends to this cluster, when they change and
        from time to time."""
        cluster = self.layers[layer]
        others = sorted(
            cluster.members - {self.host},
            key=lambda host: (distance(cluster.table, self.host, host), host),
        )
        # Who was a co-leader itself before it led is none of its own crew.
        kept = [host for host in cluster.crew if host in others]
        crew = tuple([*kept, *[host for host in others if host not in kept]][: self._size])
        cluster.crew = crew
        self._beats += layer == 0
        told = self._told.get(layer)
        if told is None or crew != told.hosts or self._beats % CREW_BEATS == 0:
            self._told.pop(layer, None)
            self._tell(layer, now)

    def _tell(self, layer: int, now: float) -> None:
        """Tell those who send to a cluster here who its crew is, and the crew what lies above:
        all who have not been told as it is now."""
        if layer + 1 >= len(self.layers) or not self.leads(layer):
            self._told.pop(layer, None)
            return
        upper, told = self.layers[layer + 1], self._told.get(layer)
        peers = sorted(upper.members - {self.host})
        known = [(host, self._crews.get((host, layer), ())) for host in peers]
        known += [(crew[0], crew[1:]) for crew in self._unled(layer + 1)]
        # Where this host leads above too, its crew there takes the packets onward.
        onward = upper.crew if upper.leader == self.host else (upper.leader, *upper.crew)
        onward = tuple(host for host in onward if host != self.host)
        word = Crew(layer, self.layers[layer].crew, tuple(known), onward)
        if word == told:
            return
        self._told[layer] = word
        informed = {host for host, _ in told.upper} if told is not None else set()
        for host in peers:
            if host not in informed:
                self.say(host, Crew(layer, word.hosts), now)
        for host in word.hosts:
            self.say(host, word, now)

    def _brief(self, now: float) -> None:
        """Tell what has changed above since the crews were told."""
        self._news = False
        for layer, cluster in enumerate(self.layers):
            if cluster.leader == self.host and cluster.crew:
                self._tell(layer, now)

    def changed(self) -> None:
        self._news = True

    def _on_crew(self, crew: Crew, sender: int) -> None:
        if self._crews.get((sender, crew.layer)) != crew.hosts:
            self._crews[sender, crew.layer] = crew.hosts
            self._news = True
        if self.host in crew.hosts:
            self._over[sender, crew.layer] = crew
        else:
            self._over.pop((sender, crew.layer), None)

    # Crews whose leader is dead.

    def _heirs(self, cluster: Cluster) -> tuple[int, ...]:
        """Order the members of a cluster as they are to lead it: the crew comes first."""
        rest = [host for host in super()._heirs(cluster) if host not in cluster.crew]
        return (*(host for host in cluster.crew if host in cluster.members), *rest)

    def _dead(self, layer: int, host: int, now: float) -> None:
        """Go on with the crew of a member that is dead: as those who feed its cluster, and as one
        of it, who feeds what lies above. One of the crew is its heir, and takes the place."""
        crew = self._crews.pop((host, layer - 1), ())
        if crew:
            self._bereft[layer, host] = (now + ELECTED, crew)
        word = self._over.pop((host, layer), None)
        if word is not None and self.layers[layer].leader == host:
            self._left[layer] = (now + GRACE, word)
        super()._dead(layer, host, now)

    def _unled(self, layer: int) -> list[tuple[int, ...]]:
        """Return the crews that nobody leads yet of those who were members of a cluster here."""
        members = self.layers[layer].members
        return [
            crew
            for (at, _), (_, crew) in self._bereft.items()
            if at == layer and crew and members.isdisjoint(crew)
        ]

    def _check(self, now: float) -> None:
        super()._check(now)
        if self._bereft or self._left:
            self._bereft = {place: each for place, each in self._bereft.items() if each[0] > now}
            self._left = {layer: each for layer, each in self._left.items() if each[0] > now}

    # The stream.

    def _flow(self, flow: Flow, sender: int, now: float) -> Sequence[Action]:
        data = flow.stream
        if sender not in self._recent:
            self._recent = [sender, *self._recent][:RECENT]
        if not self.repair.take(data, now):
            return ()
        self.repair.heard_of(flow.highest, now)
        self.parent = sender
        self._turn += 1
        self._last = (flow.layer, flow.up)
        return [
            Deliver(data.number),
            *self.repair.pass_on(data),
            *self._onward(data, flow.layer, flow.up, sender),
        ]

    def _onward(self, data: Data, layer: int, up: bool, sender: int) -> list[Send]:
        sends = [self._hop(data, guest, -1, False) for guest in self.guests]
        if layer >= 0:
            sends += self._clusters(data, 0, layer + 1, sender)
        return sends + self._climb(data, layer + 1, sender) if up else sends

    def _again(self, data: Data, now: float) -> Sequence[Action]:
        if not self.repair.take(data, now):
            return ()
        return [Deliver(data.number), *self.repair.pass_on(data)]

    def _hop(self, data: Data, to: int, layer: int, up: bool) -> Send:
        hop = Data(data.number, data.octets, data.hops + 1)
        return Send(to, Flow(hop, layer, up, *self.repair.kept))

    def _one_of(self, host: int, crew: Sequence[int], sender: int) -> int:
        """Take the next one of a crew, of whom `host` leads. Turns are this host's own: if all went
        by a packet's number, what comes by one co-leader would always go on by the same one."""
        choice = (host, *crew)[self._turn % (1 + len(crew))]
        return host if choice in (self.host, sender) else choice

    def _clusters(
        self, data: Data, first: int, end: int, sender: int, up: bool = False
    ) -> list[Send]:
        """Send to all in the clusters of some layers here; with `up`, from the topmost one on."""
        sends: list[Send] = []
        top = len(self.layers) - 1
        word = self._stands_in(top) if up and top >= 0 else None
        for layer, cluster in enumerate(self.layers[first:end], first):
            carrier = None
            if up and layer == top and word is None and cluster.leader != self.host:
                carrier = self._carrier(cluster, sender)
            for host in cluster.members:
                if host == carrier:
                    sends.append(self._hop(data, host, layer - 1, True))
                elif host not in (self.host, sender):
                    known = self._crews.get((host, layer - 1), ()) if layer else ()
                    to = self._one_of(host, known, sender)
                    sends.append(self._hop(data, to, layer - 1, False))
            if self._bereft:
                for crew in self._unled(layer):
                    to = self._one_of(crew[0], crew[1:], sender)
                    if to not in (self.host, sender):
                        sends.append(self._hop(data, to, layer - 1, False))
        return sends if word is None else sends + self._carry(data, word, sender)

    def _carrier(self, cluster: Cluster, sender: int) -> int | None:
        """Take the next one of a crew to carry a packet above its cluster, if that is not the
        topmost."""
        if not cluster.above:
            return None
        crew = [host for host in cluster.crew if host in cluster.members]
        crew = [host for host in (cluster.leader, *crew) if host not in (self.host, sender)]
        return crew[self._turn % len(crew)] if crew else None

    def _stands_in(self, layer: int) -> Crew | None:
        """Return what lies above a cluster to a co-leader, and to one whose leader is dead until it
        has a place above itself."""
        cluster = self.layers[layer]
        if self.host not in cluster.crew:
            # The leader's table says so; the word is of a time when it was.
            return None
        word = self._over.get((cluster.leader, layer))
        return self._left[layer][1] if word is None and layer in self._left else word

    def _climb(self, data: Data, layer: int, sender: int) -> list[Send]:
        """Carry a packet above the cluster of a layer, as its leader or in the leader's place."""
        if layer >= len(self.layers):
            return []
        if self.leads(layer):
            return self._clusters(data, layer + 1, len(self.layers), sender, True)
        leader, above = self.layers[layer].leader, self.layers[layer].above
        word = self._stands_in(layer)
        if word is not None:
            return self._carry(data, word, sender)
        # A leader with nobody above would only send to its clusters what they have.
        return [self._hop(data, leader, layer - 1, True)] if above and leader != sender else []

    def _carry(self, data: Data, word: Crew, sender: int) -> list[Send]:
        """Send to those above a cluster that this host leads with another one, or did."""
        layer, above = word.layer, [host for host, _ in word.upper]
        onward = [host for host in word.onward if host in above] or above[:1]
        carrier = onward[self._turn % len(onward)] if word.onward and onward else None
        sends = []
        for host, crew in word.upper:
            if host == carrier:
                sends.append(self._hop(data, host, layer, True))
            elif host not in (self.host, sender):
                sends.append(self._hop(data, self._one_of(host, crew, sender), layer, False))
        return sends

    def _whom(self) -> list[int]:
        """Name those who may have what is missing here: who sent lately, then the neighbours."""
        hosts = list(self._recent)
        for cluster in reversed(self.layers):
            hosts += [host for host in (cluster.leader, *cluster.crew) if host not in hosts]
        return [host for host in hosts if host != self.host]

    @property
    def children(self) -> Sequence[int]:
        sample = Data(self.repair.kept[0] + 1, 0)
        if self.parent is None:
            sends = self._clusters(sample, 0, len(self.layers), self.host, True)
        else:
            sends = self._onward(sample, *self._last, self.parent)
        return sorted({send.to for send in sends})

    @property
    def state_entries(self) -> int:
        clusters = sum(
            len(cluster.members) + len(cluster.above) + sum(map(len, cluster.table.values()))
            for cluster in self.layers
        )
        return clusters + sum(1 + len(crew) for crew in self._crews.values())


def make(
    host: int, source: int, rendezvous: Sequence[int], degree: int, rng: Random, case: Case
) -> Relative:
    """Make a host of Nemo."""
    made: Any = Nemo(host, rendezvous[0], rng, int(case.option("crew", str(CREW))))
    relative: Relative = made
    return relative
