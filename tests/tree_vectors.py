"""Vectors of the core tree, `core_tree.json`: links that are known, and the tree that follows.

Every super node has to compute the same one. Written by `python -m tests.regenerate`. Decision 15.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from dmmp.policies.capacity import mesh_share
from dmmp.policies.links import core_tree
from dmmp.types import HostId
from tests.security.derivations import VERSION

TREES = Path(__file__).resolve().parent / "vectors" / "core_tree.json"
SOURCE = 1


class Mesh(NamedTuple):
    """A mesh: the out-degree of each member, and links as (near end, far end, microseconds)."""

    name: str
    out_degrees: dict[int, int]
    links: tuple[tuple[int, int, int], ...]


MESHES = (
    Mesh(
        "a host beyond another",
        {1: 2, 2: 4, 3: 4},
        ((2, 1, 10_000), (3, 1, 60_000), (3, 2, 20_000)),
    ),
    Mesh(
        "both ends announce a link: what the smaller id says counts",
        {1: 2, 2: 4, 3: 4},
        ((2, 1, 10_000), (2, 3, 20_000), (3, 2, 50_000), (3, 1, 40_000)),
    ),
    Mesh(
        "the far end alone announces a link",
        {1: 2, 2: 4, 3: 4},
        ((2, 1, 10_000), (2, 3, 20_000), (3, 1, 40_000)),
    ),
    Mesh(
        "the source has two places, and the third goes below one of the others",
        {1: 2, 2: 4, 3: 4, 4: 4},
        ((2, 1, 10_000), (3, 1, 11_000), (4, 1, 12_000), (4, 3, 1_000), (4, 2, 5_000)),
    ),
    Mesh(
        "who can feed two comes before who can feed one, and that one before who feeds nobody",
        {1: 1, 2: 1, 3: 2, 4: 4},
        ((2, 1, 1_000), (3, 1, 2_000), (4, 1, 30_000), (3, 4, 5_000), (2, 4, 3_000), (2, 3, 500)),
    ),
    Mesh(
        "equal delays: the smaller id first, then the smaller parent",
        {1: 2, 2: 2, 3: 2, 4: 2, 5: 2},
        (
            *((2, 1, 10_000), (3, 1, 10_000), (4, 2, 7_000), (4, 3, 7_000)),
            *((5, 2, 7_000), (5, 3, 7_000)),
        ),
    ),
    Mesh(
        "no link into the tree: the smallest id hangs 1 s away, and its links count from then on",
        {1: 3, 2: 4, 5: 4, 6: 4, 7: 2},
        ((2, 1, 10_000), (5, 6, 3_000), (6, 7, 4_000)),
    ),
    Mesh(
        "no place is left: two are in no tree",
        {1: 1, 2: 2, 3: 1, 4: 0, 5: 0},
        ((2, 1, 10_000), (3, 1, 20_000), (4, 2, 1_000), (5, 2, 2_000)),
    ),
    Mesh(
        "links to who is no member, or to itself, count for nothing",
        {1: 2, 2: 4, 3: 4},
        ((2, 9, 1), (3, 9, 1), (3, 3, 1), (2, 1, 50_000), (3, 2, 10_000), (3, 1, 70_000)),
    ),
)


def _drawn(members: int, seed: int) -> Mesh:
    """Draw a mesh, so that one is larger than anybody would write down."""
    rng = Random(seed)
    hosts = [SOURCE, *rng.sample(range(2, 1 << 28), members)]
    out_degrees = {host: rng.choice((0, 1, 2, 3, 4, 8)) for host in hosts} | {SOURCE: 3}
    links = tuple(
        (host, neighbour, rng.randrange(1_000, 80_000))
        for host in hosts
        for neighbour in rng.sample([other for other in hosts if other != host], 4)
        if host != SOURCE
    )
    return Mesh(f"{members} super nodes, drawn by lot", out_degrees, links)


def tree_vectors() -> dict[Path, str]:
    """Make the file."""
    content = {
        "version": VERSION,
        "kind": "tree",
        "section": "procedures.md, The mesh",
        "vectors": list(_vectors()),
    }
    return {TREES: json.dumps(content, indent=1, ensure_ascii=False) + "\n"}


def _vectors() -> Iterator[dict[str, Any]]:
    for mesh in (*MESHES, _drawn(24, 15)):
        places = {
            HostId(host): degree if host == SOURCE else mesh_share(degree)
            for host, degree in mesh.out_degrees.items()
        }
        state: dict[HostId, dict[HostId, int]] = {host: {} for host in places}
        for near, far, delay_us in mesh.links:
            state[HostId(near)][HostId(far)] = delay_us
        parents, _ = core_tree(HostId(SOURCE), places, state)
        yield {
            "name": mesh.name,
            "source": SOURCE,
            "members": [
                {"host": host, "out_degree": degree} for host, degree in mesh.out_degrees.items()
            ],
            "links": [
                {"host": near, "neighbour": far, "delay_us": delay_us}
                for near, far, delay_us in mesh.links
            ],
            "parents": [{"host": host, "parent": parents[host]} for host in sorted(parents)],
        }
