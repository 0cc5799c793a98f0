"""How clusters stay alive and of their size: heartbeats, elections, splits, merges, better centres.

Banerjee, Bhattacharjee and Kommareddy, SIGCOMM 2002; the rules of when another leader or cluster is
worth the change are those of NICE in OverSim, but for what `LEAST_CLOSER` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar, Final

from dmmp.lab.frame import Action
from dmmp.lab.relatives.clusters import MOST, Cluster, K, centre, distance, radius, split
from dmmp.lab.relatives.hierarchy import BEAT, ELECTED, GRACE, ROAM, Hierarchy
from dmmp.lab.relatives.words import (
    Ack,
    Ask,
    Beat,
    Claim,
    Join,
    Leave,
    Members,
    Merge,
    Ping,
    Pong,
    Query,
    Roster,
    Stop,
    Top,
)

CHECK: Final = 1.0
"""Seconds between two looks for silent hosts and clusters of a wrong size."""

SMALL: Final = 5.0
"""Seconds that a cluster may be too small, for those to come who are on their way."""

BETTER: Final = 0.7
"""Share of the present radius below which a leader is changed for another."""

LEAST_GAIN: Final = 0.005
"""Seconds of round trip by which the other one is better at least."""

CLOSER: Final = 0.8
"""Share of the present distance below which a host moves to the cluster of another leader."""

LEAST_CLOSER: Final = 0.001
"""Seconds of round trip by which that one is closer at least. The 5 ms of NICE in OverSim would
keep apart the hosts of one stub, which are closer than that."""

LEAST_SHARE: Final = 0.1
"""Of the mean distance in the cluster, by which another leader is better at least."""


class Upkeep(Hierarchy):
    """A host that looks after its clusters."""

    def __init__(self, host: int, rendezvous: int, rng: Random) -> None:
        super().__init__(host, rendezvous, rng)
        self._check_at = 0.0

    def hear(self, message: Any, sender: int, now: float) -> None:
        hears = self._HEARS.get(type(message))
        if hears is not None:
            hears(self, message, sender, now)

    def _next(self) -> float:
        return min(self._check_at, super()._next())

    def tick(self, now: float) -> None:
        """Do what is due."""
        if not self.layers and self._descent is None:
            self._begin(now)
        if self._descent is not None and now >= self._descent.due:
            self._say_all(self._descent.wake(now), now)
        if now >= self._announce_at:
            self._announce_at = float("inf")
            dirty, self._dirty = sorted(self._dirty), set()
            for layer in dirty:
                if self.leads(layer):
                    self._beat(layer, now)
        if now >= self._claim_at:
            self._claim(now)
        if now >= self._check_at:
            self._check_at = now + CHECK
            self._check(now)
        if now >= self._beat_at:
            self._beat_at = now + BEAT
            for layer in range(len(self.layers)):
                self._beat(layer, now)
            self._claim(now)
            self._refine(now)
        if now >= self._roam_at:
            self._roam_at = now + ROAM
            self._roam(now)

    def lost(self, host: int, now: float) -> Sequence[Action]:
        """Take for dead at once whom the arena says to have failed."""
        if self._top is not None and self._top[0] == host:
            self._top = None
        for cluster in self.layers:
            cluster.above = tuple(other for other in cluster.above if other != host)
        if self._descent is not None:
            self._say_all(self._descent.lost(host, now), now)
        for layer in reversed(range(len(self.layers))):
            if layer < len(self.layers) and host in self.layers[layer].members:
                self._dead(layer, host, now)
        return self.actions()

    # Heartbeats.

    def _beat(self, layer: int, now: float) -> None:
        cluster = self.layers[layer]
        if cluster.leader == self.host:
            word: Roster | Beat = self._roster(layer, now)
        else:
            word = Beat(layer, cluster.leader, now, self._row(cluster.members))
        for host in sorted(cluster.members):
            if host != self.host:
                self.say(host, word, now)

    def _on_beat(self, beat: Beat, sender: int, now: float) -> None:
        layer = beat.layer
        self.say(sender, Ack(layer, beat.stamp, self.leads(layer)), now)
        cluster = self.layers[layer] if layer < len(self.layers) else None
        if cluster is None or (sender not in cluster.members and cluster.leader != self.host):
            if beat.leader == self.host:
                self.say(sender, Leave(layer, None), now)
            return
        leads = cluster.leader == self.host
        if sender in cluster.members:
            if sender != cluster.leader:
                # A leader is alive as such only by what it says as one.
                cluster.heard[sender] = now
            cluster.table[sender] = beat.row
            if leads and beat.leader != self.host:
                self.say(sender, self._roster(layer, now), now)
            elif beat.leader == self.host and self._may_reign(cluster, sender, now):
                cluster.leader, cluster.elected = self.host, False
                self._reign(layer, now)
        elif leads and beat.leader == self.host:
            cluster.add(sender, now)
            self._announce(layer, now)

    def _may_reign(self, cluster: Cluster, sender: int, now: float) -> bool:
        """Agree to be elected if the leader known here is only elected, or late with its roster, or
        half of the others have another opinion."""
        cluster.votes.add(sender)
        late = cluster.elected or self._silent(cluster, now, BEAT + 1.0)
        most = 2 * len(cluster.votes) >= len(cluster.members) - 2
        return cluster.leader != self.host and (late or most)

    def _on_ack(self, ack: Ack, sender: int, now: float) -> None:
        self.distances[sender] = now - ack.stamp
        if ack.layer < len(self.layers):
            cluster = self.layers[ack.layer]
            if sender in cluster.heard and (ack.leads or sender != cluster.leader):
                cluster.heard[sender] = now

    def _claim(self, now: float) -> None:
        self._claim_at = float("inf")
        layer = len(self.layers) - 1
        if layer >= 0 and self.leads(layer):
            self.say(self._rendezvous, Claim(layer), now)

    # Who is dead.

    def _silent(self, cluster: Cluster, now: float, seconds: float) -> bool:
        return now - cluster.heard.get(cluster.leader, 0.0) > seconds

    def _check(self, now: float) -> None:
        for layer in reversed(range(len(self.layers))):
            if layer >= len(self.layers):
                continue
            cluster = self.layers[layer]
            if cluster.leader != self.host:
                if self._silent(cluster, now, GRACE):
                    self._dead(layer, cluster.leader, now)
                continue
            heard = cluster.heard
            gone = [h for h in cluster.members if h != self.host and now - heard[h] > GRACE]
            for host in sorted(gone):
                self._dead(layer, host, now)
        self._resize(now)
        old = [guest for guest, until in self.guests.items() if until <= now]
        for guest in old:
            del self.guests[guest]
        if old:
            self.changed()
        if self._descent is None:
            self._seek_lower(now)

    def _seek_lower(self, now: float) -> None:
        if not self.layers:
            self._descend(0, now)

    def _dead(self, layer: int, host: int, now: float) -> None:
        """Take a member for dead."""
        self._gone(layer, host, now)

    def _gone(self, layer: int, host: int, now: float) -> None:
        """Do without a member; if it led, its first heir does now."""
        cluster = self.layers[layer]
        cluster.remove(host)
        self.distances.pop(host, None)
        self.changed()
        if cluster.leader == self.host:
            self._announce(layer, now)
            return
        if cluster.leader != host:
            return
        if cluster.members == {self.host} and self.host != self._rendezvous:
            self._cut(layer, now)
            self._seek(now)
            return
        heard = cluster.heard
        alive = [h for h in cluster.members if h == self.host or now - heard[h] <= GRACE]
        heirs = [h for h in cluster.heirs if h in alive]
        cluster.leader = heirs[0] if heirs else min(alive)
        if cluster.leader == self.host:
            cluster.elected = False
            self._reign(layer, now)
        else:
            cluster.elected = True
            heard[cluster.leader] = now - GRACE + ELECTED
            vote = Beat(layer, cluster.leader, now, self._row(cluster.members))
            self.say(cluster.leader, vote, now)

    def _on_leave(self, leave: Leave, sender: int, now: float) -> None:
        if leave.layer >= len(self.layers) or sender not in self.layers[leave.layer].members:
            return
        cluster = self.layers[leave.layer]
        if cluster.leader == sender:
            self._gone(leave.layer, sender, now)
            return
        if cluster.leader != self.host:
            return
        cluster.remove(sender)
        if leave.successor is not None and leave.successor != self.host:
            cluster.add(leave.successor, now)
        self._announce(leave.layer, now)

    # Sizes.

    def _resize(self, now: float) -> None:
        """Split what is too large, merge what is too small, forget layers of one."""
        for layer in range(len(self.layers)):
            if not self.leads(layer):
                return
            cluster, top = self.layers[layer], layer + 1 == len(self.layers)
            size = len(cluster.members)
            if size > MOST:
                self._split(layer, now)
                return
            if top and size == 1 and layer > 0:
                self._cut(layer, now)
                return
            if size >= K or top:
                cluster.small_since = None
            elif cluster.small_since is None:
                cluster.small_since = now
            elif now - cluster.small_since > SMALL:
                self._merge(layer, now)
                return

    def _split(self, layer: int, now: float) -> None:
        cluster = self.layers[layer]
        cluster.table[self.host] = self._row(cluster.members)
        mine, theirs = split(cluster.table, cluster.members)
        if self.host in theirs:
            mine, theirs = theirs, mine
        leader = centre(cluster.table, theirs)
        if layer + 1 == len(self.layers):
            self.layers.append(Cluster(self.host, [self.host], now))
        roster = self._roster(layer, now)._replace(leader=leader, hosts=theirs, crew=())
        for host in theirs:
            cluster.remove(host)
            self.say(host, roster, now)
        self._announce(layer, now)
        upper = self.layers[layer + 1]
        if upper.leader == self.host:
            upper.add(leader, now)
            self.say(leader, self._roster(layer + 1, now), now)
            self._announce(layer + 1, now)
        else:
            self.say(upper.leader, Join(layer + 1, leader), now)

    def _merge(self, layer: int, now: float) -> None:
        """Give the members of a small cluster to the closest leader."""
        cluster = self.layers[layer]
        cluster.small_since = None
        peers = self.layers[layer + 1].members - {self.host}
        if not peers:
            return
        far = self.distances
        peer = min(peers, key=lambda host: (far.get(host, 1.0), host))
        self.say(peer, Merge(layer, tuple(sorted(cluster.members))), now)
        # The others take the new leader's word only if the old one has named it.
        self._hand_over(layer, peer, cluster.members | {peer}, now)
        self._give_up(layer + 1, None, now)
        cluster.leader, cluster.elected = peer, True
        # If the other one does not take them, they look for a place soon.
        cluster.add(peer, now - GRACE + ELECTED)
        self.changed()

    def _on_merge(self, merge: Merge, sender: int, now: float) -> None:
        if self.leads(merge.layer):
            for host in merge.hosts:
                if host != self.host:
                    self.layers[merge.layer].add(host, now)
            self._tell_merged(merge, now)

    def _tell_merged(self, merge: Merge, now: float) -> None:
        """The members that come know the new leader by the old one's table only."""
        roster = self._roster(merge.layer, now)
        for host in merge.hosts:
            if host != self.host:
                self.say(host, roster, now)
        self._announce(merge.layer, now)

    # Better places.

    def _refine(self, now: float) -> None:
        """Hand a cluster over to a centre that is much better."""
        for layer in range(len(self.layers)):
            if not self.leads(layer):
                return
            cluster = self.layers[layer]
            members = cluster.members
            if any(host not in cluster.table for host in members - {self.host}) or len(members) < K:
                continue
            table = cluster.table
            table[self.host] = self._row(members)
            best = centre(table, members)
            here, there = radius(table, self.host, members), radius(table, best, members)
            others = [distance(table, self.host, host) for host in members if host != self.host]
            least = max(LEAST_GAIN, LEAST_SHARE * sum(others) / len(others))
            if there < BETTER * here and here - there > least:
                self._hand_over(layer, best, members, now)
                self._give_up(layer + 1, best, now)
                cluster.leader = best
                cluster.heard[best] = now
                self.changed()
                return

    def _roam(self, now: float) -> None:
        """Look at one of the other clusters of the leader's layer."""
        self._roaming = None
        layer = len(self.layers) - 1
        if layer < 0 or self.leads(layer):
            return
        cluster = self.layers[layer]
        others = [host for host in cluster.above if host not in cluster.members]
        if others and len(cluster.members) > K:
            other = self.rng.choice(others)
            self._roaming = (layer, other)
            self.say(other, Ping(now), now)

    def _roam_to(self, far: float, now: float) -> None:
        assert self._roaming is not None
        layer, other = self._roaming
        if layer != len(self.layers) - 1 or self.leads(layer):
            return
        present = self.distances.get(self.layers[layer].leader, 0.0)
        if far < CLOSER * present and present - far > LEAST_CLOSER:
            self.say(other, Join(layer, self.host), now)

    _HEARS: ClassVar[dict[type, Callable[[Any, Any, int, float], None]]] = {
        Ack: _on_ack,
        Ask: Hierarchy._on_ask,
        Beat: _on_beat,
        Claim: Hierarchy._on_claim,
        Join: Hierarchy._on_join,
        Leave: _on_leave,
        Members: Hierarchy._on_members,
        Merge: _on_merge,
        Ping: Hierarchy._on_ping,
        Pong: Hierarchy._on_pong,
        Query: Hierarchy._on_query,
        Roster: Hierarchy._on_roster,
        Stop: Hierarchy._on_stop,
        Top: Hierarchy._on_top,
    }
