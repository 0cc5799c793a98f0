"""Hostile datagrams into every role: never an exception, and no table beyond its bound."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from dmmp.errors import DecodeError
from dmmp.messages import decode, encode
from dmmp.messages.local import Start
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.rendezvous_point import RendezvousPoint, session_id
from dmmp.roles.role import Host
from dmmp.roles.view import View
from dmmp.types import SELF, Endpoint
from tests.mutations import datagrams
from tests.roles.stage import PARAMETERS, RP, at, host, register, super_node

SMALL = Parameters(hosts=2000, children=32, groups=64)
"""Bounds that a few thousand datagrams can reach."""

SENDERS = tuple(Endpoint(ip_address(f"10.0.1.{number}"), 47700) for number in range(1, 60))


def hosts() -> dict[str, Host]:
    """Make one host of each role, registered and with candidates to ask."""
    member, relay, source = host(), host("super-node", 8, True), host("source", 8)
    register(member, 0.0, (super_node(3), super_node(4)))
    register(relay, 0.0)
    register(source, 0.0)
    rp = RendezvousPoint(("demo",), SMALL, Random(1))
    rp.receive(Start(), SELF, 0.0)
    return {"member": member, "super-node": relay, "source": source, "rp": rp}


def views(subject: Host, now: float) -> tuple[View, ...]:
    """Look at a host's tables."""
    if isinstance(subject, RendezvousPoint):
        return subject.views(now)
    assert isinstance(subject, EndHost)
    return (subject.view(now),)


LIMITS: dict[str, Callable[[], int]] = {
    "children": lambda: PARAMETERS.children,
    "reservations": lambda: PARAMETERS.children,
    "heirs": lambda: PARAMETERS.children,
    "guests": lambda: PARAMETERS.guests,
    "requests": lambda: PARAMETERS.maximum_outstanding,
    # One retransmission each, a few of the role's own.
    "alarms": lambda: PARAMETERS.maximum_outstanding + 64,
    "groups": lambda: PARAMETERS.groups,
    "mesh": lambda: PARAMETERS.super_nodes_most + 1,
    "candidates": lambda: 1024,
    "former": lambda: PARAMETERS.super_nodes_most,
    "invited": lambda: PARAMETERS.super_nodes_most,
    "applicants": lambda: PARAMETERS.children,
    "hosts": lambda: SMALL.hosts,
    "super_nodes": lambda: SMALL.super_nodes_most,
}


GROWTH_BYTES = 4 << 20
"""What the allocator may keep beside the tables, which are full after half of the datagrams."""


def resident_bytes() -> int:
    """Return how much memory this process holds, after a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def assault(count: int, seed: int) -> Iterator[tuple[str, View]]:
    """Feed `count` datagrams to every role, in and out of its session; yield the views after."""
    subjects = hosts()
    session = session_id("demo").to_bytes(4, "big")
    rng = Random(seed)
    now = 0.0
    settled = 0
    for number, datagram in enumerate(datagrams(seed, count)):
        if number == count // 2:
            settled = resident_bytes()
        changed = bytearray(datagram)
        if len(changed) >= 8 and rng.random() < 0.8:
            changed[4:8] = session
        try:
            message = decode(bytes(changed))
        except DecodeError:
            continue
        # A hundred a second, or every host would spend the test timing out.
        now += 0.01
        sender = (RP, at(3), at(2), SENDERS[int(rng.random() * len(SENDERS))])[
            int(rng.random() * 4)
        ]
        for subject in subjects.values():
            actions = subject.receive(message, sender, now)
            for action in actions:
                if hasattr(action, "message"):
                    encode(action.message)
            alarm = subject.next_alarm()
            if alarm is not None and alarm[0] <= now:
                subject.wake(now)
    assert resident_bytes() - settled <= GROWTH_BYTES, "the second half of them left memory behind"
    for name, subject in subjects.items():
        for view in views(subject, now):
            yield name, view


def check(count: int, seed: int) -> None:
    seen = set()
    for name, view in assault(count, seed):
        for table, size in view.tables:
            assert size <= LIMITS[table](), (name, table, size)
            seen.add(table)
        if name != "rp":
            assert len(view.children) + len(view.mesh_children) <= max(view.out_degree, 0), name
    assert seen == set(LIMITS)


@pytest.mark.slow
def test_twenty_thousand_hostile_datagrams() -> None:
    check(20_000, seed=5)


@pytest.mark.long
@pytest.mark.slow
def test_a_million_hostile_datagrams() -> None:
    check(1_000_000, seed=6)
