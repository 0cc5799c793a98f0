"""The mesh among super nodes: which links each announces, and the tree that follows from them.

Every super node computes the same tree from the same link state and tree version (Decision 15), so
nobody has to be told its place. It is a shortest-path tree grown under degree caps; plain reverse
shortest path would overshoot the caps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from random import Random

from dmmp.parameters import Parameters
from dmmp.types import HostId

UNKNOWN_DELAY_US = 1_000_000
"""Assumed for a pair nobody measured; such a pair is used only when nothing else is left."""

NOTHING: Mapping[HostId, int] = {}
"""Of nobody is it known how far from the source it is."""


def choose_links(
    me: HostId,
    source: HostId,
    measured: Mapping[HostId, int],
    parameters: Parameters,
    rng: Random,
    held: Sequence[HostId] = (),
    from_source: Mapping[HostId, int] = NOTHING,
) -> tuple[HostId, ...]:
    """Choose mesh neighbours: the nearest, those on the way, the source, one random, an anchor.

    `measured` maps super nodes and the source to round-trip microseconds from here, `from_source`
    super nodes to those from the source, as they announce them. On the way are those through whom
    the way from the source would be shortest: one of them becomes the parent, if it has room.
    Without the link to the source, places there would stay free as soon as others are nearer. Where
    the source was not measured, one of smaller id makes the mesh connected by construction:
    following it leads from every super node to the source. What is `held` stays while it is good
    enough, so that the tree does not change with every choice.
    """
    ranked = sorted(measured, key=lambda host: (measured[host], host))
    links = _first(ranked, parameters.mesh_links, held)
    between = [host for host in from_source if host in measured and host not in (source, *links)]
    between.sort(key=lambda host: (from_source[host] + measured[host], host))
    links += _first(between, parameters.mesh_ways, held)
    if source in measured and source not in links:
        links.append(source)
    rest = [host for host in ranked if host not in links]
    for _ in range(min(parameters.mesh_random_links, len(rest))):
        stays = [host for host in rest if host in held] or rest
        links.append(stays[rng.randrange(len(stays))])
        rest.remove(links[-1])
    anchors = [host for host in ranked if host == source or host < me]
    if anchors and not any(host in anchors for host in links):
        links.append(anchors[0])
    return tuple(sorted(links))


def _first(ranked: Sequence[HostId], count: int, held: Sequence[HostId]) -> list[HostId]:
    """Take so many of the first: half of them strictly, then those held of twice as many."""
    first = list(ranked[: count // 2])
    for host in [*(host for host in ranked[: 2 * count] if host in held), *ranked]:
        if len(first) < count and host not in first:
            first.append(host)
    return first


def core_tree(
    source: HostId,
    caps: Mapping[HostId, int],
    link_state: Mapping[HostId, Mapping[HostId, int]],
) -> tuple[dict[HostId, HostId], dict[HostId, int]]:
    """Compute every super node's parent and way: shortest paths from the source within the caps.

    `caps` gives how many mesh children each may have, the source included; `link_state` the
    announced links. Ways are round trips to the source, microseconds. Ties are broken by ids. Hosts
    without a usable link hang where room is left; hosts for which there is no room at all are
    missing from the result.
    """
    links = _undirected(caps, link_state)
    parents: dict[HostId, HostId] = {}
    distance: dict[HostId, int] = {source: 0}
    room = dict(caps)
    # Hosts that can feed nobody come last, or they could fill every place and end the tree; those
    # that can feed one come before them, or they would draw it out into chains.
    others = sorted(host for host in caps if host != source)
    pending: tuple[list[HostId], ...] = ([], [], [])
    for host in others:
        pending[min(caps[host], 2)].append(host)
    for share in (2, 1, 0):
        _grow(pending[share], links, room, distance, parents)
    return parents, distance


def _grow(
    pending: Sequence[HostId],
    links: Mapping[HostId, Mapping[HostId, int]],
    room: dict[HostId, int],
    distance: dict[HostId, int],
    parents: dict[HostId, HostId],
) -> None:
    if not pending:
        return
    wanted = set(pending)
    edges: list[tuple[int, HostId, HostId]] = []

    def offer(host: HostId) -> None:
        reached = distance[host]
        for neighbour, delay in links.get(host, {}).items():
            if neighbour in wanted:
                heappush(edges, (reached + delay, neighbour, host))

    for host in distance:
        offer(host)
    while wanted:
        if not edges and not _hang(min(wanted), distance, room, edges):
            return
        reached, host, parent = heappop(edges)
        if host not in wanted or room[parent] <= 0:
            continue
        room[parent] -= 1
        parents[host] = parent
        distance[host] = reached
        wanted.discard(host)
        offer(host)


def _hang(
    homeless: HostId,
    distance: Mapping[HostId, int],
    room: Mapping[HostId, int],
    edges: list[tuple[int, HostId, HostId]],
) -> bool:
    open_places = [host for host in distance if room[host] > 0]
    if not open_places:
        return False
    parent = min(open_places, key=lambda host: (distance[host], host))
    heappush(edges, (distance[parent] + UNKNOWN_DELAY_US, homeless, parent))
    return True


def _undirected(
    caps: Mapping[HostId, int], link_state: Mapping[HostId, Mapping[HostId, int]]
) -> dict[HostId, dict[HostId, int]]:
    links: dict[HostId, dict[HostId, int]] = {host: {} for host in caps}
    for host, announced in link_state.items():
        if host not in caps:
            continue
        mine = links[host]
        for neighbour, delay in announced.items():
            # The smaller id's word counts, so that both ends compute with one number.
            usable = neighbour in caps and host != neighbour
            if usable and (host < neighbour or neighbour not in mine):
                mine[neighbour] = links[neighbour][host] = delay
    return links
