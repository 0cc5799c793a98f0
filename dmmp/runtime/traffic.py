"""The part of `dmmp show` that counts: totals, drops by reason, groups, and where programs are.

It only adds up what forwarder, edge, socket and driver have counted (docs/show.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dmmp.forwarding.forwarder import Forwarder
from dmmp.runtime.driver import Driver
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.interface import Interface
from dmmp.runtime.observe import Document, added
from dmmp.runtime.securing import SecurityOptions
from dmmp.security.gate import Gate

TOTALS = ("data_received", "data_forwarded", "delivered", "duplicates", "lost", "dropped")
"""Counters that every node shows, in this order, whatever its role."""

REASONS = ("ttl", "no_members", "not_upstream", "duplicate", "malformed", "queue_full")
"""Reasons for drops that every node shows; others are there once they have happened."""

_INTERFACE_DROPS = ("ttl", "loop", "not_udp", "not_named", "malformed", "unwritable")
_DRIVER_DROPS = (
    "malformed", "no_forwarder", "not_registered", "unsent", "control_queue_full", "sieved",
)  # fmt: skip

Counts = dict[str, int]


def traffic_document(driver: Driver) -> Document:
    """Show what a node has moved and dropped."""
    moved: dict[str, Any] = {"dropped": {}, "groups": {}, "tables": {}}
    if isinstance(driver.forwarder, Forwarder):
        moved = dict(driver.forwarder.snapshot())
    drops = added(
        dict.fromkeys(REASONS, 0),
        moved.pop("dropped"),
        _happened(_picked(driver.counters, _DRIVER_DROPS)),
        _happened(_socket_drops(driver)),
        _happened(_edge_drops(driver)),
    )
    per_group, tables = moved.pop("groups"), moved.pop("tables")
    totals = moved | {"dropped": sum(drops.values())}
    counters = {name: totals.get(name, 0) for name in TOTALS} | totals
    return {
        "counters": counters | _picked(driver.counters, ("control_received", "control_sent")),
        "drops": drops,
        "per_group": per_group,
        "queues": _queues(driver),
        "edge": _edge(driver),
        "data_tables": tables,
    }


def security_document(options: SecurityOptions, gate: Gate | None) -> Document:
    """Show how a node is secured, and what its gate has seen and turned away."""
    shown: Document = {"mode": options.mode}
    if options.credential is not None:
        peer = options.credential.peer
        shown["name"] = peer.name
    if gate is not None:
        counted = added(gate.counters, gate.associations.counters)
        shown["counters"] = _happened(counted)
        shown["tables"] = gate.associations.sizes()
    return shown


def _queues(driver: Driver) -> list[Document]:
    return [
        {"address": str(to), **queued._asdict()} for to, queued in driver.socket.queues().items()
    ]


def _socket_drops(driver: Driver) -> Counts:
    counted = driver.socket.counters
    named = {f"socket_{name}": count for name, count in counted.items() if name != "queue_full"}
    return named | {
        "queue_full": counted["queue_full"],
        "socket_overflow": driver.socket.overflowed(),
    }


def _edge_drops(driver: Driver) -> Counts:
    edge = driver.edge
    if isinstance(edge, Gateway):
        device = {f"tun_{name}": count for name, count in edge.device.drops.items()}
        return edge.drops | device
    if isinstance(edge, Interface):
        return _picked(edge.counters, _INTERFACE_DROPS)
    return {}


def _edge(driver: Driver) -> Document | None:
    edge = driver.edge
    if isinstance(edge, Gateway):
        addresses = [str(address) for address in edge.addresses or () if address is not None]
        return {
            "kind": "tun",
            "interface": edge.device.name,
            "addresses": addresses,
            "mtu": edge.device.mtu,
            "membership_drops": {} if edge.membership is None else dict(edge.membership.drops),
            **edge.counters,
        }
    if isinstance(edge, Interface):
        groups = [str(group) for group in edge.groups]
        named = {"kind": "interface", "interface": edge.name, "groups": groups}
        return named | _picked(edge.counters, ("read", "written"))
    return None


def _picked(counters: Mapping[str, int], names: tuple[str, ...]) -> Counts:
    return {name: counters.get(name, 0) for name in names}


def _happened(counters: Mapping[str, int]) -> Counts:
    return {name: count for name, count in counters.items() if count}
