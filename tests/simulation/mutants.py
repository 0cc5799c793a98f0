"""Roles, forwarders and RPs that are broken on purpose, to see whether the checks notice.

Each mutant changes one thing in one place. `seeds` is how many seeds of the arena may pass before a
check has caught it; the same seeds hold without the change. A mutant that no check catches shows a
check that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

import pytest

from dmmp.forwarding.asking import Asking
from dmmp.forwarding.burst import Burst, Outcome
from dmmp.forwarding.forwarder import Forwarder
from dmmp.forwarding.window import Window
from dmmp.parameters import Parameters
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.end_host import EndHost
from dmmp.roles.leaving import LeavingRole
from dmmp.roles.overlay import OverlayRole
from dmmp.roles.parenting import ParentRole
from dmmp.roles.recovery import RecoveringRole
from dmmp.roles.relatives import Children
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.role import Role
from dmmp.roles.sessions import Session
from dmmp.roles.source import Source
from dmmp.roles.standing import HostSetup
from dmmp.roles.super_node import SuperNode
from dmmp.roles.uplink import UplinkRole
from dmmp.sim.cast import REAL, Parts
from dmmp.sim.checks import Failure
from dmmp.sim.faults import Fault
from dmmp.sim.scenario import Scenario
from dmmp.sim.trace import Trace

ROLES: tuple[type[Role], ...] = (ClusterMember, SuperNode, Source, RendezvousPoint)

Function = Callable[..., Any]
Change = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One deliberate mistake; `parts` or `change` makes it."""

    name: str
    caught_by: tuple[str, ...]
    seeds: int
    change: Change = lambda patch: None
    parts: Parts = REAL
    scenario: Callable[[int], Scenario] = field(default_factory=lambda: arena)


def arena(seed: int) -> Scenario:
    """Make a small session that meets most kinds of trouble and must recover from them."""
    return Scenario(
        seed=seed,
        members=14,
        relays=1,
        source_out_degree=3,
        out_degrees=((0, 30), (2, 40), (3, 30)),
        window=3.0,
        settle=72.0,
        topology="plane",
        packets_per_second=5.0,
        faults=(
            Fault("duplicate", 9.0, 8.0, amount=0.2),
            Fault("loss", 9.0, 8.0, amount=0.03),
            Fault("forge", 10.0, who="host", count=6),
            Fault("unjoin", 11.0, 6.0, "leaf", count=2),
            Fault("crash", 14.0, 0.0, "relay"),
            Fault("leave", 18.0, 0.0, "relay"),
            Fault("crash", 21.0, 0.0, "super-node"),
            Fault("leave", 23.0, 0.0, "leaf"),
            Fault("crash", 24.0, 0.0, "leaf"),
        ),
        heals=25.0,
        recovers=20.0,
    )


def lossy(seed: int) -> Scenario:
    """Make one in which datagrams are lost for a while: repair must bring every packet."""
    calm = replace(arena(seed), faults=(Fault("loss", 10.0, 6.0, amount=0.03),), heals=0.0)
    return replace(calm, settle=20.0, packets_per_second=20.0, strict=True)


def failures(mutant: Mutant, seed: int) -> list[Failure]:
    """Run a scenario with a mutant."""
    trace = Trace(is_kept=False)
    with pytest.MonkeyPatch.context() as patch:
        mutant.change(patch)
        return mutant.scenario(seed).play(trace=trace, parts=mutant.parts).failures


def swapped(owner: type, name: str, make: Callable[[Function], Function]) -> Change:
    """Replace a method, also where the roles' tables refer to it."""

    def change(patch: pytest.MonkeyPatch) -> None:
        original = vars(owner)[name]
        other = make(original)
        patch.setattr(owner, name, other)
        for role in ROLES:
            for table in (role.TABLE, role.ALARMS):
                held = cast("dict[Any, Function]", table)
                for key, value in held.items():
                    if value is original:
                        patch.setitem(held, key, other)

    return change


def nothing(original: Function) -> Function:
    """Make a handler that does nothing."""

    def handler(*arguments: object, **named: object) -> Iterator[object]:
        yield from ()

    return handler


def always(value: object) -> Callable[[Function], Function]:
    """Make a method that returns the same whatever it is asked."""
    return lambda original: lambda *arguments, **named: value


def several(*changes: Change) -> Change:
    """Make one change of several."""

    def change(patch: pytest.MonkeyPatch) -> None:
        for each in changes:
            each(patch)

    return change


def greedy(kind: str, setup: HostSetup, parameters: Parameters, rng: Random) -> EndHost:
    """Make a host that believes it could feed three more than it can."""
    return EndHost(kind, replace(setup, out_degree=setup.out_degree + 3), parameters, rng)


def keeps_interest(original: Function) -> Function:
    """Ignore that programs left a group."""

    def on_subscribe(self: OverlayRole, message: Any, *arguments: Any) -> Iterator[object]:
        if not message.interest.is_none:
            yield from original(self, message, *arguments)

    return on_subscribe


def without_ancestors(original: Function) -> Function:
    """Judge an applicant as if nobody were above this host."""

    def judge(self: Any, *arguments: Any) -> Any:
        self.root_path = self.ancestors = tuple
        try:
            return original(self, *arguments)
        finally:
            del self.root_path, self.ancestors

    return judge


class Credulous(Forwarder):
    """Takes whoever sends it data for its parent."""

    def forward(self, burst: Burst, now: float) -> Outcome:
        """Change the sender to the one that is believed."""
        for active in self._table.entries.values():
            if active.entry.upstream:
                burst = burst._replace(sender=active.entry.upstream[0])
        return super().forward(burst, now)


class Twice(Forwarder):
    """Delivers each burst twice."""

    def forward(self, burst: Burst, now: float) -> Outcome:
        """Deliver again what was delivered."""
        outcome = super().forward(burst, now)
        outcome.deliveries *= 2
        return outcome


class Deaf(Forwarder):
    """Sends nothing on to its branches: a black hole for those below."""

    def forward(self, burst: Burst, now: float) -> Outcome:
        """Keep everything to itself."""
        outcome = super().forward(burst, now)
        outcome.transmits.clear()
        return outcome


MUTANTS = [
    Mutant("ignores its out-degree", ("capacity",), 2, parts=Parts(end_host=greedy)),
    Mutant(
        "offers the same place to all",
        ("capacity",),
        3,
        several(
            swapped(Children, "taken", always(0)),
            swapped(ParentRole, "_has_room", always(True)),
        ),
    ),
    Mutant("accepts data from anyone", ("forgery",), 2, parts=Parts(forwarder=Credulous)),
    Mutant(
        "forwards duplicates: no window",
        ("duplicate",),
        2,
        swapped(Window, "admit", always(True)),
    ),
    Mutant("delivers twice", ("duplicate",), 1, parts=Parts(forwarder=Twice)),
    Mutant("does not pass on what it gets", ("heard", "joined"), 1, parts=Parts(forwarder=Deaf)),
    Mutant(
        "never gives up a dead parent",
        ("one-sided", "joined", "heard", "remains"),
        2,
        several(
            swapped(RecoveringRole, "lose_parent", nothing),
            swapped(UplinkRole, "lose_parent", nothing),
        ),
    ),
    Mutant(
        "never expires children",
        ("one-sided", "remains"),
        3,
        swapped(ParentRole, "on_sweep", nothing),
    ),
    Mutant(
        "keeps sending to departed children",
        ("one-sided", "remains"),
        3,
        several(
            swapped(Children, "remove", always(None)), swapped(ParentRole, "drop_child", nothing)
        ),
    ),
    Mutant(
        "forgets its refresh alarm",
        ("one-sided", "remains", "joined", "heard"),
        3,
        several(
            swapped(ClusterMember, "on_refresh_alarm", nothing),
            swapped(RecoveringRole, "on_refresh_alarm", nothing),
        ),
    ),
    Mutant(
        "does not withdraw interest",
        ("unwanted",),
        2,
        swapped(OverlayRole, "on_subscribe", keeps_interest),
    ),
    Mutant(
        "never asks for repair",
        ("heard",),
        3,
        swapped(Asking, "_repair", always(None)),
        scenario=lossy,
    ),
    Mutant(
        "super node is not dropped by the source",
        ("remains", "one-sided"),
        3,
        swapped(Source, "drop_super_node", nothing),
    ),
    Mutant(
        "the RP forgets super nodes",
        ("joined", "heard"),
        7,
        swapped(Session, "note_super_node", always(None)),
    ),
    Mutant(
        "never leaves",
        ("leaving",),
        2,
        several(
            swapped(LeavingRole, "on_leave_alarm", nothing),
            swapped(LeavingRole, "on_leave_response", nothing),
        ),
    ),
    Mutant(
        "skips the loop check",
        ("cycle", "contract"),
        16,
        several(
            swapped(UplinkRole, "may_hang_below", always(True)),
            swapped(ParentRole, "judge", without_ancestors),
            swapped(ParentRole, "_place_for", without_ancestors),
        ),
    ),
]
"""Every mutant, with the checks of which one must catch it."""

REAL_THING = Mutant("nothing is broken", (), 0)
"""To run the same without a change."""

MOST_SEEDS = max(mutant.seeds for mutant in MUTANTS)
