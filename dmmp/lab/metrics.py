"""The figures a result is told in, what each means, and those of a tree.

A tree is a list of parents: the source's own is -1, and so is that of a host without a place.
Host 0 is the source. Delays are one way, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse.csgraph import shortest_path

from dmmp.errors import UsageError
from dmmp.lab.bounds import compact_tree, lower_bound
from dmmp.lab.routes import Floats, Integers, Routes
from dmmp.lab.underlays import Underlay

MOST_FOR_BOUND = 700
"""Hosts up to which the lower bound is worked out unless asked otherwise."""

FIGURES: dict[str, str] = {
    # Of a tree.
    "hosts_placed": "hosts with a way to the source, the source left out",
    "hosts_without_place": "hosts whose parents do not lead to the source",
    "delay_mean": "mean over hosts of the delay from the source along the tree, s",
    "delay_max": "largest delay from the source along the tree, s",
    "delay_p50": "median of the delays from the source along the tree, s",
    "delay_p90": "90th percentile of the delays from the source along the tree, s",
    "bound_mean": "least mean delay that any tree within the degrees can have, s",
    "bound_max": "least largest delay that any tree within the degrees can have, s",
    "ratio_mean": "mean delay over bound_mean, 1 is the optimum",
    "ratio_max": "largest delay over bound_max, 1 is the optimum",
    "compact_mean": "mean delay of the central compact tree with the same degrees, s",
    "compact_max": "largest delay of the central compact tree with the same degrees, s",
    "over_compact_mean": "mean delay over that of the compact tree",
    "over_compact_max": "largest delay over that of the compact tree",
    "stretch_mean": "mean over hosts of delay along the tree over direct delay",
    "stretch_p50": "median of delay along the tree over direct delay",
    "stretch_p90": "90th percentile of delay along the tree over direct delay",
    "stretch_max": "largest delay along the tree over direct delay",
    "relay_stretch_mean": "mean of delay along the tree over the shortest way by any relays",
    "relay_stretch_p90": "90th percentile of delay along the tree over the shortest way by relays",
    "rmd": "largest delay along the tree over the largest direct delay from the source (Scribe)",
    "rad": "mean delay along the tree over the mean direct delay from the source (Scribe)",
    "depth_mean": "mean number of overlay hops from the source",
    "depth_max": "largest number of overlay hops from the source",
    "out_degree_max": "most children of a host, the source included",
    "out_degree_mean_forwarders": "mean children of the hosts that have any",
    "non_forwarders": "share of hosts without children, the source included in all",
    "over_degree_hosts": "hosts with more children than their degree",
    "over_degree_max": "most children that a host has above its degree",
    "stress_mean": "copies of a packet on a directed link between routers, mean of links with any",
    "stress_sd": "standard deviation of the same",
    "stress_max": "largest of the same",
    "stress_access_mean": "as stress_mean with the links between hosts and routers counted too",
    "stress_access_sd": "standard deviation of the same",
    "stress_access_max": "largest of the same, at least the largest out-degree",
    "cost_ratio": "copies on links between routers over those of IP multicast",
    "cost_delay_ratio": "the same with each copy weighed by the link's delay (NRU)",
    # Of a run.
    "delivery_ratio": "members that got a packet within the window over members up at that time",
    "connectivity": "share of members with a packet in each interval of 10 s",
    "duplicates_per_packet": "packets that came again or too late, all members, per packet sent",
    "duplicates_share": "packets that came again or too late over all first copies",
    "handed_twice": "packets that a host gave to its programs twice, all hosts",
    "parent_changes": "how often a member takes another parent, per hour that it is up",
    "control_bytes": "control bytes sent per second and member, at hosts, IP and UDP included",
    "member_control_bytes": "control bytes per second of a member that is no super node at the end",
    "core_control_bytes": "control bytes per second of a host that is a super node at the end",
    "control_bytes_max": "largest of the same over hosts, the source left out",
    "source_control_bytes": "control bytes that the source sends per second",
    "control_packets": "control datagrams sent per second and member, at hosts",
    "recovery_seconds": "from a parent's failure to the first packet from a new one, s",
    "join_seconds": "from a member's first message to its first packet of data, s",
    "state_entries": "neighbours and table entries that a host remembers, mean",
    "member_state_entries": "the same, mean over those that are no super nodes",
    "core_state_entries": "the same, mean over super nodes",
    "state_entries_max": "neighbours and table entries that a host remembers, largest",
    "source_state_entries": "neighbours and table entries that the source remembers",
    "point_state_entries": "table entries that the rendezvous point remembers",
    "member_state_bytes": "memory of a member's control, as objects of Python, mean",
    "core_state_bytes": "the same of a super node",
    "source_state_bytes": "the same of the source",
    "point_state_bytes": "the same of the rendezvous point",
    "events": "events that the run took",
    "fluid_share": "rate that a tree carries to all over the fluid bound of the uplinks",
    "multicast_links": "directed links in the shortest-path tree of IP multicast",
}
"""Names of single figures and their definitions."""


def depths(parents: Sequence[int]) -> Integers:
    """Return the hops of each host below the source, -1 for hosts without a way to it."""
    above = np.asarray(parents, dtype=np.int64)
    found = np.full(len(above), -1, dtype=np.int64)
    found[0] = 0
    level = 0
    while True:
        under = (above >= 0) & (found < 0)
        under[under] = found[above[under]] == level
        if not under.any():
            return found
        level += 1
        found[under] = level


def tree_delays(underlay: Underlay, parents: Sequence[int]) -> Floats:
    """Return the delay of each host from the source along the tree, NaN without a way to it."""
    above = np.asarray(parents, dtype=np.int64)
    level_of = depths(parents)
    hops = underlay.delay(np.maximum(above, 0), np.arange(len(above)))
    delays = np.full(len(above), np.nan)
    delays[0] = 0.0
    for level in range(1, int(level_of.max()) + 1):
        here = level_of == level
        delays[here] = delays[above[here]] + hops[here]
    return delays


def relay_delays(underlay: Underlay) -> Floats:
    """Return the least delay from the source to each host over any relays, in seconds."""
    ways: Floats = shortest_path(underlay.delays.astype(np.float64), indices=0)
    return ways


def out_degrees(parents: Sequence[int]) -> Integers:
    """Return the children of each host, those of hosts without a way to the source left out."""
    placed = depths(parents) > 0
    return np.bincount(np.asarray(parents, dtype=np.int64)[placed], minlength=len(parents))


def stress(underlay: Underlay, parents: Sequence[int], *, access: bool = False) -> Integers:
    """Return the copies of one packet on each directed link that carries any.

    Links between routers; with `access` also those between hosts and their routers, where each
    host's own link carries its children's copies up and one copy down. Raises UsageError where
    there are no routers.
    """
    routes = routes_of(underlay)
    receivers = np.flatnonzero(depths(parents) > 0)
    senders = np.asarray(parents, dtype=np.int64)[receivers]
    _, copies = np.unique(routes.crossings(senders, receivers), return_counts=True)
    if access:
        up = out_degrees(parents)
        copies = np.concatenate([copies, up[up > 0], np.ones(len(receivers), dtype=np.int64)])
    return copies.astype(np.int64)


def multicast_links(underlay: Underlay, receivers: Integers) -> Integers:
    """Return the directed links of the shortest-path tree from the source to these hosts."""
    routes = routes_of(underlay)
    return np.unique(routes.crossings(np.zeros_like(receivers), receivers))


def routes_of(underlay: Underlay) -> Routes:
    """Return the routers of an underlay; raises UsageError where there are none."""
    if underlay.routed is None:
        raise UsageError(f"{underlay.name} has no routers: link stress needs some")
    return underlay.routed


def tree_figures(
    underlay: Underlay, parents: Sequence[int], degrees: Sequence[int], *, bound: bool | None = None
) -> dict[str, float]:
    """Work out all figures of a tree; `FIGURES` says what each is.

    `bound` works out the lower bound and the compact tree too; without it up to 700 hosts. They
    are left out if degrees do not suffice for any tree. Figures of links are there where there
    are routers.
    """
    level_of = depths(parents)
    placed = np.flatnonzero(level_of > 0)
    figures = {
        "hosts_placed": float(len(placed)),
        "hosts_without_place": float(len(parents) - 1 - len(placed)),
        **_degree_figures(parents, degrees),
    }
    if not len(placed):
        return figures
    delays = tree_delays(underlay, parents)[placed]
    figures |= _delay_figures(underlay, delays, placed)
    figures["depth_mean"] = float(level_of[placed].mean())
    figures["depth_max"] = float(level_of.max())
    if underlay.routed is not None:
        figures |= _link_figures(underlay, parents, placed)
    if (len(parents) <= MOST_FOR_BOUND) if bound is None else bound:
        figures |= _bound_figures(underlay, delays, degrees)
    return figures


def _degree_figures(parents: Sequence[int], degrees: Sequence[int]) -> dict[str, float]:
    children = out_degrees(parents)
    above = children - np.asarray(degrees)
    forwarders = children[children > 0]
    return {
        "out_degree_max": float(children.max()),
        "out_degree_mean_forwarders": float(forwarders.mean()) if len(forwarders) else 0.0,
        "non_forwarders": float((children == 0).mean()),
        "over_degree_hosts": float((above > 0).sum()),
        "over_degree_max": float(max(0, above.max())),
    }


def _delay_figures(underlay: Underlay, delays: Floats, placed: Integers) -> dict[str, float]:
    direct = underlay.delay(np.zeros_like(placed), placed)
    stretch = delays / direct
    figures = {
        "delay_mean": float(delays.mean()),
        "delay_max": float(delays.max()),
        "delay_p50": float(np.quantile(delays, 0.5)),
        "delay_p90": float(np.quantile(delays, 0.9)),
        "stretch_mean": float(stretch.mean()),
        "stretch_p50": float(np.quantile(stretch, 0.5)),
        "stretch_p90": float(np.quantile(stretch, 0.9)),
        "stretch_max": float(stretch.max()),
        "rmd": float(delays.max() / direct.max()),
        "rad": float(delays.mean() / direct.mean()),
    }
    # Among routers the direct way is the shortest already.
    relayed = direct if underlay.routed is not None else relay_delays(underlay)[placed]
    figures["relay_stretch_mean"] = float((delays / relayed).mean())
    figures["relay_stretch_p90"] = float(np.quantile(delays / relayed, 0.9))
    return figures


def _link_figures(underlay: Underlay, parents: Sequence[int], placed: Integers) -> dict[str, float]:
    routes = routes_of(underlay)
    crossed = routes.crossings(np.asarray(parents, dtype=np.int64)[placed], placed)
    native = multicast_links(underlay, placed)
    figures = {
        "cost_ratio": len(crossed) / max(1, len(native)),
        "cost_delay_ratio": float(
            routes.link_delays(crossed).sum() / max(1e-9, routes.link_delays(native).sum())
        ),
    }
    for name, access in (("stress", False), ("stress_access", True)):
        copies = stress(underlay, parents, access=access)
        if len(copies):
            figures[f"{name}_mean"] = float(copies.mean())
            figures[f"{name}_sd"] = float(copies.std())
            figures[f"{name}_max"] = float(copies.max())
    return figures


def _bound_figures(underlay: Underlay, delays: Floats, degrees: Sequence[int]) -> dict[str, float]:
    try:
        least = lower_bound(underlay.delays, degrees)
        compact = tree_delays(underlay, compact_tree(underlay.delays, degrees))[1:]
    except UsageError:
        return {}
    return {
        "bound_mean": least.mean,
        "bound_max": least.largest,
        "ratio_mean": float(delays.mean() / least.mean),
        "ratio_max": float(delays.max() / least.largest),
        "compact_mean": float(compact.mean()),
        "compact_max": float(compact.max()),
        "over_compact_mean": float(delays.mean() / compact.mean()),
        "over_compact_max": float(delays.max() / compact.max()),
    }
