"""Which super nodes the RP names to a newcomer: at most twelve (Decision 13).

Some that look near by their address, some with most free places, some at random: a hundred probes
from each newcomer would melt the core in a flash crowd, and one fixed dozen would melt itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from dmmp.messages.common import HostRecord
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, HostId

KINDS = 3
"""Equal parts: near by the likeness of their addresses, most free places, random."""


def how_many(super_nodes: int, newcomers: float, parameters: Parameters) -> tuple[int, bool]:
    """Say how many candidates to name, and whether so many come that each is probed but once.

    `newcomers` is how many ask in a second. Their probes are spread over all super nodes, so each
    may have `probes_most` times the number of super nodes among them.
    """
    probes = parameters.probes_most * super_nodes / max(newcomers, 1e-9)
    if probes >= parameters.candidates * parameters.probe_rounds:
        return parameters.candidates, False
    return max(1, min(parameters.candidates, int(probes))), True


def choose_candidates(
    newcomer: Endpoint,
    super_nodes: Sequence[HostRecord],
    refused: Sequence[HostId],
    at_most: int,
    rng: Random,
    crowded: bool = False,
) -> tuple[HostRecord, ...]:
    """Choose candidates, those without a free place only when no other is left.

    In a crowd all of them at random: whoever looks best would be asked by everybody.
    """
    fresh = [host for host in super_nodes if host.host not in refused]
    free = [host for host in super_nodes if host.free_slots > 0]
    # Who refused a moment ago and has a place now is worth more than who never had one.
    usable = [host for host in fresh if host.free_slots > 0] or free or fresh or list(super_nodes)
    if len(usable) <= at_most:
        return tuple(usable)
    if crowded:
        rest = list(usable)
        return tuple(rest.pop(rng.randrange(len(rest))) for _ in range(at_most))
    part = -(-at_most // KINDS)
    near = sorted(usable, key=lambda host: (_distance(newcomer, host.endpoint), host.host))[:part]
    taken = {host.host for host in near}
    rest = [host for host in usable if host.host not in taken]
    roomy = sorted(rest, key=lambda host: (-host.free_slots, host.host))[:part]
    taken = {host.host for host in roomy}
    rest = [host for host in rest if host.host not in taken]
    chosen = [*near, *roomy]
    while rest and len(chosen) < at_most:
        chosen.append(rest.pop(rng.randrange(len(rest))))
    return tuple(chosen[:at_most])


def _distance(first: Endpoint, second: Endpoint) -> int:
    if first.address.version != second.address.version:
        return 1 << 130
    return int(first.address) ^ int(second.address)
