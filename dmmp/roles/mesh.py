"""What a super node or the source knows of the overlay core (slides 8, 9 and 18, Decision 15).

Super nodes keep full knowledge among themselves: this is it, with the links each announces, and the
tree that follows. At most one hundred entries (slide 15).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dmmp.messages.common import HostFlag, HostRecord, LinkRecord, located
from dmmp.parameters import Parameters
from dmmp.policies.capacity import mesh_share
from dmmp.policies.links import core_tree
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

ANNOUNCE_CHANGE = 0.25
"""A link's delay is announced anew when it changed by this share, so that trees do not flutter."""

ANNOUNCE_CHANGE_US = 2000
"""And by at least so many microseconds (Decision 12: "similar")."""


@dataclass(slots=True)
class Peer:
    """Another member of the mesh: a super node, or the source."""

    record: HostRecord
    endpoint: Endpoint
    heard: Instant
    round_trip: float | None = None
    is_guess: bool = False
    """As in `RoundTrip`: the answer may have been to a repetition."""
    announced_us: int | None = None
    links: dict[HostId, int] = field(default_factory=dict)
    path: tuple[HostId, ...] = ()
    """Ids from it, itself first, up to the source, as it last said."""
    successors: tuple[HostRecord, ...] = ()
    """Its most capable children; told to the source only (slide 21)."""

    def sample(self, round_trip: float, weight: float) -> None:
        """Take in one round trip: the least at first, smoothed afterwards (Decision 12)."""
        if self.round_trip is None or self.is_guess:
            self.round_trip, self.is_guess = round_trip, False
        else:
            self.round_trip += weight * (round_trip - self.round_trip)

    def delay_us(self) -> int | None:
        """Return the delay to announce, in microseconds; steady while the link is."""
        if self.round_trip is None:
            return None
        now_us = int(self.round_trip * 1e6)
        held = self.announced_us
        if held is None or abs(now_us - held) > max(ANNOUNCE_CHANGE_US, held * ANNOUNCE_CHANGE):
            self.announced_us = now_us
        return self.announced_us


class Mesh:
    """The members of the overlay core that this host knows, itself excluded."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.peers: dict[HostId, Peer] = {}
        self._source: HostId = NO_HOST
        self._tree: Mapping[HostId, HostId] = {}
        self._ways: Mapping[HostId, int] = {}
        self._tree_of: object = None
        """What the two were computed from."""

    def __len__(self) -> int:
        return len(self.peers)

    def add(self, record: HostRecord, endpoint: Endpoint, now: Instant) -> bool:
        """Add a member, or renew what is known of it; tell whether it is new."""
        record = located(record, endpoint)
        held = self.peers.get(record.host)
        if held is not None:
            moved = held.endpoint != endpoint
            held.record, held.endpoint, held.heard = record, endpoint, now
            return moved
        # The source is a member besides the super nodes.
        if not record.host or len(self.peers) > self._parameters.super_nodes_most:
            return False
        if record.flags & HostFlag.SOURCE:
            # The source before, which nobody else would ever sign off.
            self.remove(self._source)
            self._source = record.host
        self.peers[record.host] = Peer(record, endpoint, now)
        return True

    def remove(self, host: HostId) -> Peer | None:
        """Remove a member, and the links that others announce to it."""
        for peer in self.peers.values():
            if host in peer.links:
                peer.links = {each: delay for each, delay in peer.links.items() if each != host}
        return self.peers.pop(host, None)

    def at(self, endpoint: Endpoint) -> list[Peer]:
        """List the members that were last heard of at an endpoint."""
        return [peer for peer in self.peers.values() if peer.endpoint == endpoint]

    def hurry(self) -> float:
        """Return how many times longer than in a small mesh its periods are (Decision 76)."""
        return max(1.0, len(self.peers) / self._parameters.mesh_unhurried)

    def source(self) -> Peer | None:
        """Return the source, if it is known."""
        return self.peers.get(self._source)

    def super_nodes(self) -> list[Peer]:
        """List the super nodes, the nearest first."""
        found = [p for p in self.peers.values() if not p.record.flags & HostFlag.SOURCE]
        return sorted(
            found,
            key=lambda p: (
                p.round_trip is None,
                p.round_trip if p.round_trip is not None else 0.0,
                p.record.host,
            ),
        )

    def measured(self) -> dict[HostId, int]:
        """Return the members whose delay was measured, with it in microseconds."""
        found = {host: peer.delay_us() for host, peer in self.peers.items()}
        return {host: delay for host, delay in found.items() if delay is not None}

    def note_links(self, host: HostId, links: tuple[LinkRecord, ...]) -> bool:
        """Store the links a member announces; tell whether they changed."""
        peer = self.peers.get(host)
        announced = {link.neighbour: link.delay_us for link in links}
        if peer is None or peer.links == announced:
            return False
        peer.links = announced
        return True

    def from_source(self) -> dict[HostId, int]:
        """Return how far from the source the members say they are, round trip in microseconds."""
        source = self._source
        return {
            host: peer.links[source] for host, peer in self.peers.items() if source in peer.links
        }

    def room(self, tree: Mapping[HostId, HostId]) -> dict[HostId, int]:
        """Return how many places each member has left in the mesh under this tree."""
        room = {
            host: self._places(peer.record.out_degree, host == self._source)
            for host, peer in self.peers.items()
        }
        for parent in tree.values():
            if parent in room:
                room[parent] -= 1
        return room

    def _places(self, out_degree: int, is_source: bool) -> int:
        places = min(out_degree, self._parameters.children)
        return places if is_source else mesh_share(places)

    def tree(
        self, source: HostId, me: HostId, my_out_degree: int, my_links: Mapping[HostId, int]
    ) -> Mapping[HostId, HostId]:
        """Compute every super node's mesh parent, by host; the source, maybe this host, has none.

        Anew only if something has changed: in a mesh of a hundred it takes a millisecond.
        """
        members = [(host, peer.record.out_degree, peer.links) for host, peer in self.peers.items()]
        known = (source, [*members, (me, my_out_degree, my_links)])
        if known != self._tree_of:
            caps = {
                host: self._places(out_degree, host == source) for host, out_degree, _ in known[1]
            }
            self._tree, self._ways = core_tree(
                source, caps, {host: links for host, _, links in known[1]}
            )
            self._tree_of = known
        return self._tree

    def way(self, host: HostId) -> int:
        """Return the round trip between the source and a member along that tree, microseconds."""
        return self._ways.get(host, 0)
