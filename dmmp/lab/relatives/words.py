"""What the hosts of the NICE family say to each other, with sizes of a plain binary encoding.

A header is 8 bytes (kind, layer, sequence, length), a host 6 (address and port), a time or a
distance 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

HEADER, HOST, TIME = 8, 6, 4

Row = Mapping[int, float]
"""Round trips from one host to others of its cluster, in seconds."""


class Ask(NamedTuple):
    """To the rendezvous host: who is at the top?"""

    octets: int = HEADER


class Top(NamedTuple):
    """From the rendezvous host: this one, who leads in this layer."""

    host: int
    layer: int
    octets: int = HEADER + HOST


class Claim(NamedTuple):
    """To the rendezvous host: I lead in this layer, and there is nobody above me."""

    layer: int
    octets: int = HEADER


class Query(NamedTuple):
    """Who is in the cluster that you lead in this layer? Feed me meanwhile, if `feed`."""

    layer: int
    feed: bool
    octets: int = HEADER


class Members(NamedTuple):
    """The answer to a query."""

    layer: int
    hosts: tuple[int, ...]

    @property
    def octets(self) -> int:
        return HEADER + HOST * len(self.hosts)


class Stop(NamedTuple):
    """Feed me no longer."""

    octets: int = HEADER


class Ping(NamedTuple):
    """Answer me."""

    stamp: float
    octets: int = HEADER + TIME


class Pong(NamedTuple):
    """The answer: when it was asked."""

    stamp: float
    octets: int = HEADER + TIME


class Ack(NamedTuple):
    """I heard your beat of this layer, of that time; I lead there, or I do not."""

    layer: int
    stamp: float
    leads: bool
    octets: int = HEADER + TIME


class Join(NamedTuple):
    """`who` wants to be in your cluster of this layer; passed on to the leader `left` times."""

    layer: int
    who: int
    left: int = 4
    octets: int = HEADER + HOST


class Leave(NamedTuple):
    """I am not in your cluster of this layer; `successor` takes my place, if there is one."""

    layer: int
    successor: int | None
    octets: int = HEADER + HOST


class Merge(NamedTuple):
    """Take these into your cluster of this layer: mine is too small."""

    layer: int
    hosts: tuple[int, ...]

    @property
    def octets(self) -> int:
        return HEADER + HOST * len(self.hosts)


class Beat(NamedTuple):
    """I am here, in the cluster of this leader, and so far from the others."""

    layer: int
    leader: int
    stamp: float
    row: Row

    @property
    def octets(self) -> int:
        return HEADER + HOST + TIME + (HOST + TIME) * len(self.row)


class Roster(NamedTuple):
    """Who is in a cluster and who leads it: a leader's beat, or the end of its reign if it names
    another.

    `hosts` stand in the order in which they are to lead after it, `table` has the rows of all,
    `above` are those in the leader's cluster one layer up, its leader first; `crew` are co-leaders,
    for protocols that have them.
    """

    layer: int
    leader: int
    hosts: tuple[int, ...]
    table: Mapping[int, Row]
    above: tuple[int, ...]
    crew: tuple[int, ...]
    stamp: float

    @property
    def octets(self) -> int:
        known = sum(map(len, self.table.values()))
        hosts = 1 + len(self.hosts) + len(self.above) + len(self.crew)
        return HEADER + TIME + HOST * hosts + TIME * known
