"""The core tree of the vectors, grown once more as `procedures.md` says it, by nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tree_vectors import TREES

VECTORS = json.loads(TREES.read_text(encoding="utf-8"))["vectors"]


def grown(vector: dict[str, Any]) -> dict[int, int]:
    """Follow the five points of The mesh, with no thought of speed."""
    source = vector["source"]
    degrees = {each["host"]: each["out_degree"] for each in vector["members"]}
    places = {host: n if host == source else n // 2 for host, n in degrees.items()}
    most = dict(places)
    links: dict[frozenset[int], tuple[int, int]] = {}
    for each in vector["links"]:
        ends = frozenset((each["host"], each["neighbour"]))
        if len(ends) == 2 and ends <= degrees.keys():
            links[ends] = min(links.get(ends, (1 << 32, 0)), (each["host"], each["delay_us"]))
    delay = {source: 0}
    parents: dict[int, int] = {}
    for rank in (2, 1, 0):
        pending = {host for host in degrees if host != source and min(most[host], 2) == rank}
        while pending and any(places[host] for host in delay):
            usable = [
                (delay[parent] + links[frozenset((host, parent))][1], host, parent)
                for host in pending
                for parent in delay
                if places[parent] and frozenset((host, parent)) in links
            ]
            if not usable:
                parent = min((delay[host], host) for host in delay if places[host])[1]
                usable = [(delay[parent] + 1_000_000, min(pending), parent)]
            delay_us, host, parent = min(usable)
            delay[host], parents[host] = delay_us, parent
            places[parent] -= 1
            pending.remove(host)
    return parents


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["name"]))
def test_the_tree_follows_from_the_notes(vector: dict[str, Any]) -> None:
    assert grown(vector) == {each["host"]: each["parent"] for each in vector["parents"]}


def test_the_vectors_have_the_cases_that_they_name() -> None:
    sizes = {each["name"]: len(each["members"]) - 1 - len(each["parents"]) for each in VECTORS}
    assert sizes["no place is left: two are in no tree"] == 2
    assert all(not left for name, left in sizes.items() if "no place" not in name)
