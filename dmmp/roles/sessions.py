"""What an RP keeps of a session (slides 9 and 12): its hosts, its source, its super nodes.

All of it is soft state that hosts renew (Decision 21).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dmmp.messages import PingRpRequest
from dmmp.messages.common import HostFlag, HostRecord
from dmmp.policies.candidates import Namings, Shortlist
from dmmp.roles.points import ID_BITS
from dmmp.types import NO_HOST, Endpoint, HostId, Instant, SessionId, serial_newer

RELAYING = HostFlag.OFFERS | HostFlag.SUPER_NODE
"""Who is or would be a super node: the source wants to know."""


@dataclass(slots=True)
class Registration:
    """A host in a session."""

    record: HostRecord
    endpoint: Endpoint
    instance: int
    expires: Instant
    told: Instant = 0.0


@dataclass(slots=True)
class Session:
    """One session: its hosts, its source, its super nodes, its tree version."""

    name: str
    id: SessionId
    index: int
    next_id: int
    me: HostId = NO_HOST
    """The RP's own id: a host that knows several addresses can tell RPs from each other."""
    hosts: dict[HostId, Registration] = field(default_factory=dict)
    by_instance: dict[int, HostId] = field(default_factory=dict)
    by_endpoint: dict[Endpoint, HostId] = field(default_factory=dict)
    super_nodes: dict[HostId, None] = field(default_factory=dict)
    chosen: dict[HostId, None] = field(default_factory=dict)
    source: HostId = NO_HOST
    tree_version: int = 0
    building_until: Instant | None = None
    namings: Namings = field(default_factory=lambda: Namings(0.0))
    """How often the super nodes were named to newcomers of late."""
    claim: tuple[PingRpRequest, Endpoint] | None = None
    """A second source, which waits for news of the first."""

    _shortlist: Shortlist = field(default_factory=lambda: Shortlist(()))

    def __post_init__(self) -> None:
        self.me = self._new_id()

    def identify(self, instance: int, brought: HostId) -> tuple[HostId, bool]:
        """Return the id of a host that brings one, or none; and whether it is new here."""
        held = self.by_instance.get(instance)
        if held is not None and brought in (NO_HOST, held):
            return held, False
        # A host that has an id keeps it: this RP has restarted, or another one gave it.
        if not brought:
            return self._new_id(), True
        if brought not in self.hosts and brought != self.me:
            return brought, True
        spare = self._spare_id(instance)
        return spare, spare != held

    def _spare_id(self, instance: int) -> HostId:
        # Two RPs of one index may count in step: what they would give next is in use as well. This
        # id is the host's own, and they agree about it.
        count = instance
        while True:
            count = count % ((1 << ID_BITS) - 1) + 1
            host = HostId(self.index << ID_BITS | count)
            holder = self.hosts.get(host)
            if host != self.me and (holder is None or holder.instance == instance):
                return host

    def _new_id(self) -> HostId:
        while True:
            self.next_id = self.next_id % ((1 << ID_BITS) - 1) + 1
            host = HostId(self.index << ID_BITS | self.next_id)
            if host not in self.hosts and host != self.me:
                return host

    def shortlist(self) -> Shortlist:
        """Return the super nodes as newcomers are named some of them."""
        records = [self.hosts[host].record for host in self.super_nodes]
        if self._shortlist.super_nodes != records:
            self._shortlist = Shortlist(records)
        return self._shortlist

    def note_super_node(self, host: HostId, most: int) -> None:
        """Note that a host says it is a super node; at most `most` are kept.

        Its own word is enough while there is room, so that an RP that restarts learns them again;
        at the limit of slide 15 those that the source has named come first.
        """
        if host not in self.super_nodes and len(self.super_nodes) >= most:
            stranger = next((h for h in self.super_nodes if h not in self.chosen), None)
            if stranger is None or host not in self.chosen:
                return
            del self.super_nodes[stranger]
        self.super_nodes[host] = None


def newer(first: int, second: int) -> int:
    """Return the newer of two tree versions; 0 may mean that nothing is known (Decision 16)."""
    return first if second == 0 or serial_newer(first, second, 8) else second


def is_news(before: HostRecord, after: HostRecord) -> bool:
    """Tell whether the source should hear of a host once more: it moved, or now relays."""
    return before.endpoint != after.endpoint or bool(after.flags & RELAYING & ~before.flags)
