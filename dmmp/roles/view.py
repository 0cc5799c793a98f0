"""What a running host shows of itself: for `dmmp show`, the simulator's checks, transcripts."""

from __future__ import annotations

from dataclasses import dataclass, field

from dmmp.interest import Interest
from dmmp.messages.common import HostRecord
from dmmp.types import NO_HOST, NO_SESSION, Endpoint, HostId, SessionId


@dataclass(frozen=True, slots=True)
class PointView:
    """One configured RP as a host sees it."""

    endpoint: Endpoint
    answers: bool
    registered: bool
    hosts: int


@dataclass(frozen=True, slots=True)
class PathView:
    """What is known of the path to or, of the parent, from a neighbour: bytes of an IP packet.

    `path_mtu` is 0 while nothing is known; packets up to `needed` are sent there, none of them in
    fragments if that is not more. `probes` counts those sent.
    """

    endpoint: Endpoint
    path_mtu: int
    needed: int = 0
    probes: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot of a role; `state` is the name of its state class."""

    role: str
    state: str
    session: SessionId = NO_SESSION
    session_name: str = ""
    host: HostId = NO_HOST
    out_degree: int = 0
    parent: HostRecord | None = None
    depth: int | None = None
    root_path: tuple[HostId, ...] = ()
    super_node: HostId = NO_HOST
    children: tuple[HostRecord, ...] = ()
    mesh_children: tuple[HostRecord, ...] = ()
    backups: tuple[HostRecord, ...] = ()
    super_nodes: tuple[HostRecord, ...] = ()
    groups: tuple[Interest, ...] = ()
    subtree_groups: tuple[Interest, ...] = ()
    tree_version: int = 0
    hosts: int = 0
    points: tuple[PointView, ...] = ()
    tables: tuple[tuple[str, int], ...] = ()
    """Sizes of the role's tables, for the bounds check and `show`."""
    paths: tuple[PathView, ...] = field(default=(), repr=False)
    """The paths to the children and from the parent, where they are probed (RFC 8899)."""
