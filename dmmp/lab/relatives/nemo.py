"""Nemo: NICE's hierarchy with crews, a leader and co-leaders who take the packets in turn.

Birrer and Bustamante, NWU-CS-04-36. Whoever sends to a cluster sends to one of its crew, in turn,
so that a leader's failure costs a share of the packets, which are then asked for from hosts that
have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple

from dmmp.lab.case import Case
from dmmp.lab.frame import Action, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives.clusters import distance
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
    `onward` are those of them who carry a packet farther up.
    """

    layer: int
    hosts: tuple[int, ...]
    upper: tuple[tuple[int, tuple[int, ...]], ...] = ()
    onward: tuple[int, ...] = ()

    @property
    def octets(self) -> int:
        known = len(self.hosts) + sum(1 + len(crew) for _, crew in self.upper)
        return HEADER + HOST * (known + len(self.onward))


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
        self._crews: dict[tuple[int, int], tuple[int, ...]] = {}
        self._over: dict[tuple[int, int], Crew] = {}
        self._told: dict[int, tuple[int, ...]] = {}
        self._beats = 0
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
        return self.actions()

    def wake(self, now: float) -> Sequence[Action]:
        if now >= self.due:
            self.tick(now)
        actions = self.actions()
        if now >= self.repair.due:
            actions = [*actions, *self.repair.ask(now, self._whom(), self.distances)]
        return actions

    def next_alarm(self) -> float | None:
        due, repair = self.due, self.repair.due
        return due if due < repair else repair

    def lost(self, host: int, now: float) -> Sequence[Action]:
        self._recent = [other for other in self._recent if other != host]
        for known, crew in self._crews.items():
            if host in crew:
                self._crews[known] = tuple(other for other in crew if other != host)
        return super().lost(host, now)

    def originate(self, data: Data, now: float) -> Sequence[Action]:
        self.repair.take(data, now)
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
        kept = [host for host in cluster.crew if host in cluster.members]
        crew = tuple([*kept, *[host for host in others if host not in kept]][: self._size])
        cluster.crew = crew
        self._beats += layer == 0
        if crew == self._told.get(layer) and self._beats % CREW_BEATS:
            return
        self._told[layer] = crew
        word = Crew(layer, crew)
        upper = self.layers[layer + 1] if layer + 1 < len(self.layers) else None
        if upper is None:
            return
        peers = sorted(upper.members - {self.host})
        for host in peers:
            self.say(host, word, now)
        # Where this host leads above too, its crew there takes the packets onward.
        onward = upper.crew if upper.leader == self.host else (upper.leader,)
        known = tuple((host, self._crews.get((host, layer), ())) for host in peers)
        for host in crew:
            self.say(host, Crew(layer, crew, known, onward), now)

    def _on_crew(self, crew: Crew, sender: int) -> None:
        self._crews[sender, crew.layer] = crew.hosts
        if self.host in crew.hosts:
            self._over[sender, crew.layer] = crew
        else:
            self._over.pop((sender, crew.layer), None)

    # The stream.

    def _flow(self, flow: Flow, sender: int, now: float) -> Sequence[Action]:
        data = flow.stream
        if sender not in self._recent:
            self._recent = [sender, *self._recent][:RECENT]
        if not self.repair.take(data, now):
            return ()
        self.repair.heard_of(flow.highest, now)
        self.parent = sender
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

    def _one_of(self, host: int, layer: int, number: int, sender: int) -> int:
        """Take the next one of the crew of a host that leads a cluster of this layer."""
        crew = self._crews.get((host, layer), ()) if layer >= 0 else ()
        choice = (host, *crew)[number % (1 + len(crew))]
        return host if choice in (self.host, sender) else choice

    def _clusters(
        self, data: Data, first: int, end: int, sender: int, up: bool = False
    ) -> list[Send]:
        """Send to all in the clusters of some layers here; with `up`, from the topmost one on."""
        sends: list[Send] = []
        for layer, cluster in enumerate(self.layers[first:end], first):
            carrier = None
            if up and layer + 1 == len(self.layers) and cluster.leader != self.host:
                crew = (cluster.leader, *cluster.crew)
                carrier = crew[data.number % len(crew)]
                if carrier in (self.host, sender):
                    carrier = cluster.leader
            for host in cluster.members:
                if host == carrier:
                    sends.append(self._hop(data, host, layer - 1, True))
                elif host not in (self.host, sender):
                    to = self._one_of(host, layer - 1, data.number, sender)
                    sends.append(self._hop(data, to, layer - 1, False))
        return sends

    def _climb(self, data: Data, layer: int, sender: int) -> list[Send]:
        """Carry a packet above the cluster of a layer, as its leader or in the leader's place."""
        if layer >= len(self.layers):
            return []
        if self.leads(layer):
            return self._clusters(data, layer + 1, len(self.layers), sender, True)
        leader = self.layers[layer].leader
        word = self._over.get((leader, layer))
        if word is None:
            return [self._hop(data, leader, layer - 1, True)] if leader != sender else []
        carrier = word.onward[data.number % len(word.onward)] if word.onward else None
        sends = []
        for host, crew in word.upper:
            if host == carrier:
                sends.append(self._hop(data, host, layer, True))
            elif host not in (self.host, sender):
                to = (host, *crew)[data.number % (1 + len(crew))]
                sends.append(self._hop(data, host if to == self.host else to, layer, False))
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
