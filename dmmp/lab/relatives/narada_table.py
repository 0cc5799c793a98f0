"""What a host of Narada knows of all others: who lives, how far they are and through whom.

Arrays are indexed by host and grow with the highest one heard of; everything is done for all hosts
at once, as a message has an entry for each. Vectors that were said are never changed afterwards, so
that whoever got one may keep it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmmp.lab.relatives.parts import COUNT, DELAY, HEADER, HOST, ID, SEQUENCE

LONGEST = 20
"""Hops of the longest path that is kept; a farther host counts as out of reach."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Hosts = NDArray[np.int16]
Flags = NDArray[np.bool_]


class Vector(NamedTuple):
    """What a host says to its neighbours: of every member, whether it lives, and the way to it.

    `sequence` is 0 for who is not known; `latency` seconds, infinite where there is no way; `paths`
    [host, hop] begins with the next hop and ends with the host, -1 behind it. `link` is the delay
    that was measured to the receiver, 0 if none was; `degree` the number of neighbours.
    """

    sequence: Integers
    dead: Flags
    latency: Floats
    paths: Hosts
    link: float
    degree: int
    octets: int


def grown(array: NDArray[np.generic], size: int, fill: float) -> NDArray[np.generic]:
    """Return the array, or a longer copy of it."""
    if len(array) >= size:
        return array
    longer = np.full((size, *array.shape[1:]), fill, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


class Table:
    """The members and routes of one host."""

    def __init__(self, host: int, now: float) -> None:
        self.host, self.size = host, 0
        self.sequence: Integers = np.zeros(0, np.int64)
        self.heard: Floats = np.zeros(0)
        self.dead: Flags = np.zeros(0, np.bool_)
        self.latency: Floats = np.zeros(0)
        self.paths: Hosts = np.zeros((0, LONGEST), np.int16)
        self.grow(host + 1)
        # Who comes back has to be newer than anything it said before: it counts from its start.
        self.sequence[host] = int(now) + 1
        self.heard[host] = now
        self.latency[host] = 0.0

    def grow(self, size: int) -> None:
        """Make room for hosts below `size`."""
        if size <= self.size:
            return
        self.size = max(64, 1 << (size - 1).bit_length())
        self.sequence = grown(self.sequence, self.size, 0)  # type: ignore[assignment]
        self.heard = grown(self.heard, self.size, 0.0)  # type: ignore[assignment]
        self.dead = grown(self.dead, self.size, False)  # type: ignore[assignment]
        self.latency = grown(self.latency, self.size, np.inf)  # type: ignore[assignment]
        self.paths = grown(self.paths, self.size, -1)  # type: ignore[assignment]

    @property
    def alive(self) -> Flags:
        """Who is a member as far as is known, this host included."""
        return (self.sequence > 0) & ~self.dead

    def learn(self, sequence: Integers, dead: Flags, now: float) -> None:
        """Take from a neighbour who lives and who has died."""
        self.grow(len(sequence))
        part = slice(0, len(sequence))
        own, dead_here = self.sequence[part], self.dead[part]
        newer = sequence > own
        died = dead & (sequence >= own) & (sequence > 0)
        dead_here[newer] = False
        dead_here[died] = True
        self.heard[part][newer] = now
        np.maximum(own, sequence, out=own)
        self.dead[self.host] = False

    def hear_of(self, host: int, now: float) -> None:
        """Take in a host that spoke itself, before its number is known."""
        self.grow(host + 1)
        if self.sequence[host] == 0:
            self.sequence[host] = 1
        self.dead[host] = False
        self.heard[host] = now

    def bury(self, host: int) -> None:
        """Declare a host dead; neighbours hear it with the next vector."""
        self.dead[host] = True

    def route(self, vectors: dict[int, Vector], delays: dict[int, float]) -> None:
        """Find the ways through those neighbours whose vector and delay are known."""
        through = [n for n in vectors if n in delays]
        self.grow(max((len(vectors[n].latency) for n in through), default=0))
        latency = np.full(self.size, np.inf)
        paths = np.full((self.size, LONGEST), -1, np.int16)
        if through:
            ways = np.full((len(through), self.size), np.inf)
            for row, neighbour in enumerate(through):
                vector = vectors[neighbour]
                way = delays[neighbour] + vector.latency
                way[(vector.paths == self.host).any(axis=1) | (vector.paths[:, -1] >= 0)] = np.inf
                ways[row, : len(way)] = way
            best = ways.argmin(axis=0)
            latency = ways[best, np.arange(self.size)]
            latency[self.dead] = np.inf
            for row, neighbour in enumerate(through):
                mine = np.flatnonzero((best == row) & np.isfinite(latency))
                paths[mine, 0] = neighbour
                paths[mine, 1:] = vectors[neighbour].paths[mine, :-1]
        latency[self.host] = 0.0
        paths[self.host] = -1
        self.latency, self.paths = latency, paths

    def next_hop(self, to: int) -> int | None:
        """Return the neighbour on the way to a host, None if there is no way."""
        hop = int(self.paths[to, 0]) if to < self.size else -1
        return hop if hop >= 0 else None

    def routed_through(self, neighbour: int) -> int:
        """Count the members that this host reaches through a neighbour."""
        return int((self.paths[:, 0] == neighbour).sum())

    def advance(self, now: float) -> None:
        """Count on: this host lives."""
        self.sequence[self.host] += 1
        self.heard[self.host] = now

    def vector(self, degree: int, lately: float) -> Vector:
        """Say what is known; of the dead only those heard of since `lately`."""
        said = self.alive | (self.dead & (self.heard > lately))
        entries = int(said.sum())
        hops = int((self.paths[said] >= 0).sum())
        octets = HEADER + COUNT + DELAY + 1
        octets += entries * (HOST + SEQUENCE + DELAY + 1) + hops * ID
        sequence, dead = np.where(said, self.sequence, 0), self.dead & said
        # `route` makes new arrays, so these two can be given away.
        return Vector(sequence, dead, self.latency, self.paths, 0.0, degree, octets)

    def utility(self, other: Floats, delay: float) -> float:
        """Return what a link of that delay to a host with those latencies would be worth.

        For each member the share of the latency that is gained, 1 for one that had no way.
        """
        self.grow(len(other))
        through = np.full(self.size, np.inf)
        through[: len(other)] = other + delay
        members = self.alive & np.isfinite(through)
        members[self.host] = False
        now, then = self.latency[members], through[members]
        reached = np.isfinite(now)
        gain = np.ones(len(now))
        gain[reached] = np.maximum(0.0, 1.0 - then[reached] / np.maximum(now[reached], 1e-9))
        return float(gain.sum())


def served_through(vector: Vector, host: int) -> int:
    """Count the members that a neighbour reaches through this host."""
    return int((vector.paths[:, 0] == host).sum())
