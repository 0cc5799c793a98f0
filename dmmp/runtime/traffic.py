"""The part of `dmmp show` that counts: totals, drops by reason, groups, and where programs are.

It only adds up what forwarder, edge, socket and driver have counted (docs/show.md).
"""

from __future__ import annotations

from typing import Any

from dmmp.forwarding.forwarder import Forwarder
from dmmp.runtime.driver import Driver
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.interface import Interface
from dmmp.runtime.observe import Document, added

TOTALS = ("data_received", "data_forwarded", "delivered", "duplicates", "lost", "dropped")
"""Counters that every node has, in this order, whatever its role."""

_INTERFACE_DROPS = ("ttl", "loop", "not_udp", "not_named", "malformed", "unwritable")
_DRIVER_DROPS = ("malformed", "no_forwarder", "not_registered")
_SOCKET_DROPS = ("queue_full", "receive_queue_full", "unreachable", "too_big", "send_failed")


def traffic_document(driver: Driver) -> Document:
    """Show what a node has moved and dropped."""
    forwarder, edge = driver.forwarder, driver.edge
    totals: dict[str, int] = {}
    drops: dict[str, int] = {}
    per_group: dict[str, dict[str, int]] = {}
    tables: dict[str, int] = {}
    if isinstance(forwarder, Forwarder):
        moved: dict[str, Any] = dict(forwarder.snapshot())
        drops, per_group = dict(moved.pop("dropped")), moved.pop("groups")
        tables = moved.pop("tables")
        totals = moved
    drops = added(drops, _picked(driver.counters, _DRIVER_DROPS))
    sent = driver.socket.counters
    drops = added(drops, {f"socket_{name}": sent.get(name, 0) for name in _SOCKET_DROPS[1:]})
    drops = added(drops, {"queue_full": sent.get("queue_full", 0)})
    edge_document: Document | None = None
    if isinstance(edge, Gateway):
        drops = added(drops, edge.drops, _named("tun_", edge.device.drops))
        if edge.membership is not None:
            drops = added(drops, _named("membership_", edge.membership.drops))
        edge_document = _tun(edge)
    elif isinstance(edge, Interface):
        drops = added(drops, _picked(edge.counters, _INTERFACE_DROPS))
        edge_document = {"interface": edge.name, "groups": [str(group) for group in edge.groups]}
        edge_document |= _picked(edge.counters, ("read", "written"))
    totals["dropped"] = sum(drops.values())
    counters = {name: totals.get(name, 0) for name in TOTALS}
    return {
        "counters": counters | totals,
        "drops": drops,
        "per_group": per_group,
        "control": _picked(driver.counters, ("control_received", "control_sent")),
        "edge": edge_document,
        "data_tables": tables,
    }


def _tun(edge: Gateway) -> Document:
    addresses: list[Any] = [] if edge.addresses is None else list(edge.addresses)
    return {
        "interface": edge.device.name,
        "addresses": [str(address) for address in addresses if address is not None],
        "mtu": edge.device.mtu,
        **edge.counters,
    }


def _picked(counters: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    return {name: counters.get(name, 0) for name in names}


def _named(prefix: str, counters: dict[str, int]) -> dict[str, int]:
    return {prefix + name: count for name, count in counters.items()}
