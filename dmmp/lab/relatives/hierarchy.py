"""The hierarchy of clusters of the NICE family: who is in which cluster, and who leads it.

Banerjee, Bhattacharjee and Kommareddy, SIGCOMM 2002, with the times of Birrer and Bustamante,
NWU-CS-04-36. Everybody is in a cluster of layer 0; who leads a cluster is in one of the layer above
it. The leader's word decides who is in a cluster. How the stream flows stands in `nice`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random
from typing import Any, Final

from dmmp.lab.frame import Action, Message, Send
from dmmp.lab.relatives.clusters import Cluster, by_radius, centre
from dmmp.lab.relatives.descent import Descent, Say
from dmmp.lab.relatives.words import (
    Ack,
    Ask,
    Claim,
    Join,
    Leave,
    Members,
    Merge,
    Ping,
    Pong,
    Query,
    Roster,
    Row,
    Stop,
    Top,
)

BEAT: Final = 10.0
"""Seconds between two heartbeats: NWU-CS-04-36."""

GRACE: Final = 15.0
"""Seconds of silence after which a host is dead: NWU-CS-04-36."""

PLACED: Final = 0.5
"""Seconds for a new leader to be taken into the layer above by those it knows there."""

ELECTED: Final = 4.0
"""Seconds for a host that others named or elected to say that it leads."""

ROAM: Final = 10.0
"""Seconds between two looks for a closer cluster."""

GUEST: Final = 3.0
"""Seconds for which a newcomer is fed that says no more."""


class Hierarchy:
    """A host among the clusters."""

    def __init__(self, host: int, rendezvous: int, rng: Random) -> None:
        self.host, self.rng = host, rng
        self.layers: list[Cluster] = []
        self.guests: dict[int, float] = {}
        self.distances: dict[int, float] = {}
        self._rendezvous = rendezvous
        self._descent: Descent | None = None
        self._roaming: tuple[int, int] | None = None
        self._top: tuple[int, int] | None = None
        self._top_heard = 0.0
        self._claim_at = self._announce_at = float("inf")
        self._dirty: set[int] = set()
        self._beat_at = 0.0
        self._roam_at = float("inf")
        self._out: list[Action] = []
        self.due = 0.0

    # What the arena calls.

    def say(self, to: int, message: Message, now: float) -> None:
        """Say something; what a host says to itself it hears at once."""
        if to == self.host:
            self.hear(message, to, now)
        else:
            self._out.append(Send(to, message))

    def _say_all(self, words: Sequence[Say], now: float) -> None:
        for to, message in words:
            self.say(to, message, now)

    def hear(self, message: Any, sender: int, now: float) -> None:
        """Take what another host said; what is not known is ignored."""
        raise NotImplementedError

    def actions(self) -> Sequence[Action]:
        """Hand out what is to be done, and say when there is more to do."""
        out, self._out = self._out, []
        self.due = self._next()
        return out

    def _next(self) -> float:
        due = min(self._beat_at, self._claim_at, self._announce_at, self._roam_at)
        return min(due, self._descent.due) if self._descent is not None else due

    def _roam_to(self, far: float, now: float) -> None:
        """Take the distance of a leader that may be closer than the present one."""
        raise NotImplementedError

    def changed(self) -> None:
        """Note that clusters or guests are not what they were: for who forwards."""

    def leads(self, layer: int) -> bool:
        """Say whether this host leads its cluster of a layer."""
        return layer < len(self.layers) and self.layers[layer].leader == self.host

    # Joining.

    def _begin(self, now: float) -> None:
        self._beat_at = now + self.rng.uniform(0.2, 1.0) * BEAT
        self._roam_at = now + self.rng.uniform(0.5, 1.5) * ROAM
        if self.host == self._rendezvous:
            self.layers = [Cluster(self.host, [self.host], now)]
            self._top, self._top_heard = (self.host, 0), now
            self.changed()
        else:
            self._descend(0, now)

    def _descend(self, target: int, now: float) -> None:
        if self._descent is None or self._descent.target != target:
            known = self._peers() if target and target == len(self.layers) else ()
            self._descent = Descent(self.host, self._rendezvous, target, self.rng, known)
            self._say_all(self._descent.start(now), now)

    def _peers(self) -> list[int]:
        """Name those who were in the cluster above that of the topmost layer here, its leader
        first, as the leader that failed had said."""
        cluster = self.layers[-1]
        return [host for host in cluster.above if host not in cluster.members]

    def _arrived(self, layer: int, now: float) -> None:
        """End the search that led to a cluster."""
        if self._descent is not None and self._descent.target <= layer:
            self._say_all(self._descent.end(), now)
            self._descent = None

    def _on_ask(self, _: Ask, sender: int, now: float) -> None:
        top = self._top
        if top is None or (top[0] != self.host and now - self._top_heard > BEAT + GRACE):
            top = (self.host, max(0, len(self.layers) - 1))
            for layer in range(len(self.layers)):
                if not self.leads(layer):
                    top = (self.layers[layer].leader, layer)
        self.say(sender, Top(*top), now)

    def _on_claim(self, claim: Claim, sender: int, now: float) -> None:
        top = self._top
        stale = top is None or now - self._top_heard > BEAT + GRACE
        if top is None or stale or sender == top[0] or claim.layer > top[1]:
            self._top, self._top_heard = (sender, claim.layer), now
            if top is not None and sender != top[0]:
                # It claimed a lower layer when no top was known. Untold, it would think itself the
                # top, and part the hosts below it from all others, until its next claim.
                self.say(top[0], Top(*self._top), now)
        else:
            self.say(sender, Top(*top), now)

    def _on_top(self, top: Top, _: int, now: float) -> None:
        if self._descent is not None and top.host == self.host and self._descent.target:
            # Nobody is above: those who come are taken into a new layer.
            self._descent = None
        elif self._descent is not None:
            self._say_all(self._descent.on_top(top, now), now)
        elif top.host != self.host and self.layers and self.leads(len(self.layers) - 1):
            self._descend(len(self.layers), now)

    def _on_query(self, query: Query, sender: int, now: float) -> None:
        if query.feed:
            self.guests[sender] = now + GUEST
            self.changed()
        if self.layers:
            layer = min(query.layer, len(self.layers) - 1)
            self.say(sender, Members(query.layer, tuple(self.layers[layer].members)), now)

    def _on_members(self, answer: Members, sender: int, now: float) -> None:
        if self._descent is not None:
            self._say_all(self._descent.on_members(answer, sender, now), now)

    def _on_stop(self, _: Stop, sender: int, now: float) -> None:
        if self.guests.pop(sender, None) is not None:
            self.changed()

    def _on_ping(self, ping: Ping, sender: int, now: float) -> None:
        self.say(sender, Pong(ping.stamp), now)

    def _on_pong(self, pong: Pong, sender: int, now: float) -> None:
        far = self.distances[sender] = now - pong.stamp
        if self._roaming is not None and self._roaming[1] == sender:
            self._roam_to(far, now)
        if self._descent is not None:
            self._say_all(self._descent.on_pong(far, sender, now), now)

    def _on_join(self, join: Join, sender: int, now: float) -> None:
        layer, who = join.layer, join.who
        if who == self.host:
            return
        if layer == len(self.layers) and layer > 0 and self.leads(layer - 1):
            self.layers.append(Cluster(self.host, [self.host], now))
        if self.leads(layer):
            self.guests.pop(who, None)
            self.layers[layer].add(who, now)
            self.say(who, self._roster(layer, now), now)
            self._announce(layer, now)
        elif layer < len(self.layers) and join.left:
            self.say(self.layers[layer].leader, join._replace(left=join.left - 1), now)

    # Who is in.

    def _roster(self, layer: int, now: float) -> Roster:
        cluster = self.layers[layer]
        above: tuple[int, ...] = ()
        if layer + 1 < len(self.layers):
            upper = self.layers[layer + 1]
            above = (upper.leader, *sorted(upper.members - {upper.leader}))
        cluster.table[self.host] = self._row(cluster.members)
        # The order of the members says who leads next: all have to agree without a word.
        return Roster(
            layer, self.host, self._heirs(cluster), dict(cluster.table), above, cluster.crew, now
        )

    def _heirs(self, cluster: Cluster) -> tuple[int, ...]:
        """Order the members of a cluster as they are to lead it."""
        return by_radius(cluster.table, cluster.members)

    def _row(self, members: Collection[int]) -> Row:
        known = self.distances
        return {host: known[host] for host in members if host in known}

    def _announce(self, layer: int, now: float) -> None:
        """Tell the members soon: changes come in numbers."""
        self._dirty.add(layer)
        self._announce_at = min(self._announce_at, now + 0.2)
        self.changed()

    def _on_roster(self, roster: Roster, sender: int, now: float) -> None:
        layer = roster.layer
        if roster.leader == sender:
            self.say(sender, Ack(layer, roster.stamp, self.leads(layer)), now)
        if self.host not in roster.hosts:
            if layer < len(self.layers) and self.layers[layer].leader == sender:
                self._cut(layer, now)
                self._seek(now)
            return
        if layer < len(self.layers):
            if not self._may_move(self.layers[layer], roster, sender, now):
                return
        elif layer > len(self.layers) or (layer and not self.leads(layer - 1)):
            self.say(sender, Leave(layer, None), now)
            return
        self._adopt(roster, sender, now)

    def _may_move(self, current: Cluster, roster: Roster, sender: int, now: float) -> bool:
        """Decide whether to believe a roster for a layer where this host is in a cluster; end what
        it was there."""
        layer = roster.layer
        if current.leader == sender:
            return True
        if current.leader == self.host:
            if roster.leader == self.host:
                return False
            others = tuple(sorted(current.members - {self.host}))
            # Who opened a layer to others while it looked for a place there itself takes the place:
            # else two would refuse each other for ever.
            asked = self._descent is not None and self._descent.target == layer
            if others and roster.leader > self.host and not asked:
                # Two that both lead: the lower number stays.
                self.say(sender, self._roster(layer, now), now)
                return False
            if others:
                self.say(sender, Merge(layer, others), now)
            self._give_up(layer + 1, None, now)
            return True
        moving = self._roaming == (layer, sender)
        silent = now - current.heard.get(current.leader, 0.0) > GRACE
        if moving or silent or sender in current.members:
            if sender not in current.members:
                self.say(current.leader, Leave(layer, None), now)
            return True
        self.say(sender, Leave(layer, None), now)
        return False

    def _adopt(self, roster: Roster, sender: int, now: float) -> None:
        layer = roster.layer
        known = self.layers[layer] if layer < len(self.layers) else None
        cluster = Cluster(roster.leader, roster.hosts, now)
        if known is not None:
            for host in cluster.members & known.members - {sender, roster.leader}:
                cluster.heard[host] = known.heard[host]
        cluster.table, cluster.heirs = dict(roster.table), roster.hosts
        cluster.elected = roster.leader != sender
        cluster.above, cluster.crew = roster.above, roster.crew
        same = known is not None and known.members == cluster.members
        same = same and known is not None and known.leader == cluster.leader
        self.layers[layer:] = [cluster, *self.layers[layer + 1 :]]
        if not same:
            self.changed()
        self._roaming = None if self._roaming and self._roaming[0] == layer else self._roaming
        self._arrived(layer, now)
        if cluster.leader == self.host:
            self._reign(layer, now)
            return
        del self.layers[layer + 1 :]
        if cluster.elected:
            # The word may have been lost on its way to who is to lead: others pass it on.
            cluster.heard[cluster.leader] = now - GRACE + ELECTED
            if self.host in roster.hosts[:3]:
                self.say(cluster.leader, roster, now)

    def _reign(self, layer: int, now: float) -> None:
        """Begin to lead: tell the members, and find a place one layer up. Who was there is known
        from the old leader's heartbeats. Some may have failed as well, so others are asked, and the
        rendezvous host, until one takes this host in (Banerjee et al.; NICE in OverSim)."""
        cluster = self.layers[layer]
        for host in cluster.members:
            cluster.heard[host] = now
        self._announce(layer, now)
        if layer + 1 == len(self.layers):
            if self._peers():
                # There was a layer above: who led here before was in it.
                self._descend(layer + 1, now)
            self._claim_at = now + PLACED

    def _cut(self, layer: int, now: float) -> None:
        """Be in no cluster of a layer any more, nor above."""
        if 0 < layer < len(self.layers):
            # To be asked first if this host has to come back.
            left = self.layers[layer]
            self.layers[layer - 1].above = (left.leader, *sorted(left.members - {left.leader}))
        del self.layers[layer:]
        self.changed()

    def _seek(self, now: float) -> None:
        """Look for a cluster in the lowest layer where this host has none and needs one."""
        if not self.layers or self.leads(len(self.layers) - 1):
            self._descend(len(self.layers), now)

    def _give_up(self, layer: int, successor: int | None, now: float) -> None:
        """Leave a layer and those above; `successor` takes the place, if there is one."""
        if layer >= len(self.layers):
            return
        cluster = self.layers[layer]
        if cluster.leader != self.host:
            self.say(cluster.leader, Leave(layer, successor), now)
        else:
            rest = cluster.members - {self.host}
            rest |= {successor} if successor is not None else set()
            if rest:
                new = centre(cluster.table, rest)
                self._hand_over(layer, new, rest, now)
                self._give_up(layer + 1, new, now)
        self._cut(layer, now)

    def _hand_over(self, layer: int, new: int, rest: Collection[int], now: float) -> None:
        """Tell the members of a cluster that another one leads it; must come before the word to
        the layer above, for only who leads is taken there."""
        roster = self._roster(layer, now)
        above = tuple(host for host in roster.above if host != self.host)
        members = tuple(sorted(rest))
        roster = roster._replace(leader=new, hosts=members, above=above, crew=())
        for host in members:
            if host != self.host:
                self.say(host, roster, now)
