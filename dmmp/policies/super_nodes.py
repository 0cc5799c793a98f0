"""How many super nodes, and which: the source's choice (slides 9, 13 and 15, Decision 14).

Hosts that offer themselves are welcome; beyond them a share of all hosts is chosen, the most
capable first, but never more than the capable ones can feed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dmmp.messages.common import HostFlag, HostRecord
from dmmp.parameters import Parameters
from dmmp.policies.capacity import by_capacity, is_leaf, mesh_share
from dmmp.policies.colocation import spread


def wanted_count(hosts: int, parameters: Parameters) -> int:
    """Return how many super nodes a session of so many hosts should have (slide 9: 110 give 11)."""
    share = int(hosts * parameters.super_node_ratio)
    return max(1, min(share, parameters.super_nodes_most))


def choose(
    candidates: Sequence[HostRecord],
    present: Sequence[HostRecord],
    hosts: int,
    source_out_degree: int,
    parameters: Parameters,
) -> list[HostRecord]:
    """Choose hosts to add to the super nodes already `present`, the best first.

    Hosts that are too many of one network come last, whatever they claim (`colocation`).
    """
    chosen: list[HostRecord] = []
    slots = source_out_degree + sum(mesh_share(host.out_degree) for host in present)
    count = len(present)
    if count >= min(parameters.super_nodes_most, slots):
        return chosen  # A crowd asks for this often, and looking at everybody costs.
    want = wanted_count(hosts, parameters)
    taken = {host.host for host in present}
    ranked = sorted(candidates, key=lambda host: (not _offers(host), by_capacity(host)))
    few, crowded = spread([host for host in ranked if host.host not in taken], present)
    for host in [*few, *crowded]:
        if count >= parameters.super_nodes_most or count >= slots:
            break
        if host.host in taken or host.flags & HostFlag.ORDINARY:
            continue
        # A leaf feeds nobody: it may come if it found no place and the mesh has two left, of which
        # it leaves one for a host that can feed others.
        leaf = is_leaf(host, parameters.leaf_below)
        if leaf and (not _offers(host) or (count > 0 and slots - count < 2)):
            continue
        if count >= want and not _offers(host):
            continue
        chosen.append(host)
        taken.add(host.host)
        count += 1
        slots += mesh_share(host.out_degree)
    return chosen


def _offers(host: HostRecord) -> bool:
    return bool(host.flags & HostFlag.OFFERS)
