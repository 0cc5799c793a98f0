"""Our own roles, broken inside on purpose: each must be caught by a case that the true role passes.

Each one changes one thing in one place, as `tests/simulation/mutants.py` does for the simulator's
checks. One that its case does not catch shows that the case tests nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from dmmp.actions import Send
from dmmp.conformance import in_process
from dmmp.conformance.case import Case
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.in_process import InProcess, Running, make
from dmmp.conformance.requirement import Role
from dmmp.conformance.runner import Plan, Result, run_case
from dmmp.conformance.secured import SecuredInProcess, open_in_process
from dmmp.conformance.timing import VIRTUAL
from dmmp.errors import DecodeError
from dmmp.forwarding.asking import Asking
from dmmp.forwarding.proving import Proving
from dmmp.forwarding.versions import Versions
from dmmp.forwarding.window import Window as SequenceWindow
from dmmp.messages import JoinRequest, KeyRequest, LeaveReport, Message, StatusReport, decode
from dmmp.messages.common import LeaveReason
from dmmp.parameters import Parameters
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.leaving import LeavingRole
from dmmp.roles.mesh import Mesh
from dmmp.roles.meshing import MeshingRole
from dmmp.roles.overlay import OverlayRole
from dmmp.roles.parenting import ParentRole
from dmmp.roles.recovery import RecoveringRole
from dmmp.roles.relatives import Children
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.rightful import RightfulRole
from dmmp.roles.seeking import SeekingRole
from dmmp.roles.source import Source
from dmmp.roles.standing import HostSetup
from dmmp.roles.super_node import SuperNode
from dmmp.roles.uplink import UplinkRole
from dmmp.security import identity, permissions
from dmmp.security.cookies import Cookies
from dmmp.security.peer import Capability
from dmmp.security.reception import Reception
from dmmp.security.replay import Window as CounterWindow
from dmmp.security.signing import Verifier
from tests.simulation.mutants import Change, Credulous, always, nothing, several, swapped

SESSION = "conformance"


@dataclass(frozen=True, slots=True)
class Broken:
    """One deliberate mistake of a role, and the case that catches it."""

    name: str
    role: Role
    caught_by: str
    change: Change = lambda patch: None
    make: Callable[[Role, HostSetup, Parameters, Random], Running] = make

    @property
    def case(self) -> Case:
        """Return the case."""
        found = [each for each in choose_cases(self.role) if each.id == self.caught_by]
        assert found, f"no case {self.caught_by} for {self.role.value}"
        return found[0]

    def run(self) -> Result:
        """Run the case on the broken role."""
        with pytest.MonkeyPatch.context() as patch:
            self.change(patch)
            return run_case(self.case, self._plan(self.make))

    def run_true(self) -> Result:
        """Run the case on the role as it is."""
        return run_case(self.case, self._plan(make))

    def _plan(self, how: Callable[[Role, HostSetup, Parameters, Random], Running]) -> Plan:
        def open_carrier(case: Case, seed: int) -> InProcess:
            made = open_in_process(case, self.role, SESSION, VIRTUAL.parameters, seed)
            if how is make or isinstance(made, SecuredInProcess):
                return made
            return InProcess(self.role, SESSION, VIRTUAL.parameters, seed, how)

        return Plan(self.role, open_carrier, VIRTUAL, strict=True)


def credulous(role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
    """Make a host that takes whoever sends it data for its parent."""
    running = make(role, setup, parameters, rng)
    return replace(running, forwarder=Credulous(parameters, rng=rng))


def any_version(patch: pytest.MonkeyPatch) -> None:
    """Read every version as if it were 1."""

    def read(datagram: bytes) -> Message:
        return decode(b"\1" + datagram[1:])

    patch.setattr(in_process, "decode", read)


def renumbered(original: Any) -> Any:
    """Pass a Join Request down under a number of its own."""

    def pass_down(self: Any, message: Any, applicant: Any, mesh: bool) -> Iterator[object]:
        for action in original(self, message, applicant, mesh):
            if isinstance(action, Send) and isinstance(action.message, JoinRequest):
                number = self.standing.requests.number()
                yield replace(action, message=replace(action.message, sequence=number))
            else:
                yield action

    return pass_down


def waits_for_the_heartbeat(original: Any) -> Any:
    """Take no notice of a flow that begins while a heartbeat is awaited."""

    def _watch(self: Any, pace: Any) -> None:
        original(self, pace)
        pace.is_alarm_of_idling = False

    return _watch


def anybody_makes_room(original: Any) -> Any:
    """Send a child away for whoever asks."""

    def on_mesh_full(self: Any, applicant: Any, sender: Any, now: float) -> Any:
        with patch.object(type(self), "core_tree", lambda _: {applicant: self.standing.host}):
            yield from original(self, applicant, sender, now)

    return on_mesh_full


def anybody_is_the_source(original: Any) -> Any:
    """Take the news of the mesh from whoever tells them."""

    def on_mesh_status(self: Any, message: StatusReport, sender: Any, now: float) -> Any:
        source = self.mesh.source()
        believed = sender if source is None else source.endpoint
        return original(self, message, believed, now)

    return on_mesh_status


def leaves_first(original: Any) -> Any:
    """Say good-bye to the parent before another host has confirmed."""

    def confirm(self: Any, offer: Any, others: Any, previous: Any, *rest: Any) -> Iterator[object]:
        if previous is not None:
            message = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
            yield self.standing.ask(message, previous.endpoint, rest[1])
        yield from original(self, offer, others, previous, *rest)

    return confirm


def shares_nothing(original: Any) -> Any:
    """Count free places as if mesh and cluster had the same ones."""

    def free_places(self: Any, mesh: bool, now: float) -> int:
        children = self.standing.children
        taken = children.taken(True, now) + children.taken(False, now)
        return max(0, int(self.standing.setup.out_degree - taken))

    return free_places


def all_proven(original: Any) -> Any:
    """Pass on what nothing proves."""
    return lambda self, outcome, channel, run, sender, now: [run]


def without_timestamps(original: Any) -> Any:
    """Look at who calls, and not at when it did."""

    def check(self: Any, said: Any, static_key: bytes, now: float) -> Any:
        try:
            return self._host.party.check(said.credential, static_key, now + self._host.wall)
        except DecodeError:
            return None

    return check


def no_key_checked(patch: pytest.MonkeyPatch) -> None:
    """Give the group's keys to whoever asks."""
    patch.setitem(permissions.NEEDS, KeyRequest, Capability.NONE)


def eternal(patch: pytest.MonkeyPatch) -> None:
    """Take certificates that have expired."""
    patch.setattr(identity, "CLOCK_SKEW", 1e9)


MEMBER, NODE, SOURCE, RP = Role.MEMBER, Role.SUPER_NODE, Role.SOURCE, Role.RP
NO_PARENT_LOST = several(
    swapped(RecoveringRole, "lose_parent", nothing), swapped(LeavingRole, "lose_parent", nothing)
)

BROKEN = [
    Broken(name, role, caught_by, change)
    for name, role, caught_by, change in (
        ("reads every version", RP, "1/2:other-versions", any_version),
        ("reads every version", MEMBER, "1/2:other-versions", any_version),
        (
            "has places without end",
            SOURCE,
            "5/16:out-degree",
            swapped(Source, "free_places", always(100)),
        ),
        ("invites nobody", SOURCE, "5/4:invitation", swapped(Source, "on_choose", nothing)),
        (
            "answers no report",
            RP,
            "4/46:version-raised",
            swapped(RendezvousPoint, "on_status_report", nothing),
        ),
        ("forgets nobody", RP, "4/25:leaves", swapped(RendezvousPoint, "_remove", nothing)),
        (
            "believes anybody about the mesh",
            NODE,
            "6/12:news-from-others",
            swapped(MeshingRole, "on_mesh_status", anybody_is_the_source),
        ),
        (
            "has one kind of places",
            NODE,
            "6/27:separate-places",
            swapped(SuperNode, "free_places", shares_nothing),
        ),
        (
            "leaves before it has another place",
            NODE,
            "6/20:moves-in-the-core-tree",
            swapped(SeekingRole, "confirm", leaves_first),
        ),
        (
            "refreshes no mesh",
            NODE,
            "6/16:mesh-refreshed",
            swapped(MeshingRole, "on_mesh_alarm", nothing),
        ),
        (
            "lets nobody make room",
            NODE,
            "6/39:sends-away-in-the-core-tree",
            swapped(RightfulRole, "on_mesh_full", nothing),
        ),
        (
            "makes room for anybody",
            NODE,
            "6/40:keeps-who-came-first",
            swapped(RightfulRole, "on_mesh_full", anybody_makes_room),
        ),
        (
            "stays when it is dismissed",
            NODE,
            "6/14:ceases-when-told",
            swapped(MeshingRole, "dismissed", nothing),
        ),
        (
            "renumbers what it passes down",
            NODE,
            "7/26:passed-down",
            swapped(ParentRole, "pass_down", renumbered),
        ),
        (
            "never answers a Refresh",
            MEMBER,
            "7/30:confirmed",
            swapped(ParentRole, "on_refresh", nothing),
        ),
        (
            "forgets to repeat a request",
            MEMBER,
            "7/43:probed-in-silence",
            swapped(OverlayRole, "on_retry", nothing),
        ),
        (
            "waits for a heartbeat while data comes",
            MEMBER,
            "7/73:watched-after-a-rest",
            swapped(Asking, "_watch", waits_for_the_heartbeat),
        ),
        (
            "accepts above its out-degree",
            MEMBER,
            "7/21:reservations-bounded",
            swapped(ClusterMember, "free_places", always(100)),
        ),
        ("keeps a dead parent", MEMBER, "7/45:leaves-a-dead-parent", NO_PARENT_LOST),
        (
            "takes its ancestors for children",
            NODE,
            "7/32:ancestor-confirms",
            swapped(UplinkRole, "root_path", always(())),
        ),
        (
            "takes a place below itself",
            MEMBER,
            "7/12:offer-through-itself",
            swapped(UplinkRole, "may_hang_below", always(True)),
        ),
        (
            "declines nothing",
            MEMBER,
            "7/11:others-declined",
            swapped(UplinkRole, "decline", always(None)),
        ),
        (
            "keeps silent children",
            MEMBER,
            "7/38:silent-child-dropped",
            swapped(ParentRole, "on_sweep", nothing),
        ),
        (
            "tells its children nothing",
            MEMBER,
            "7/52:children-told",
            swapped(UplinkRole, "tell_children", nothing),
        ),
        (
            "believes strangers about its parent",
            MEMBER,
            "7/54:stranger-reports",
            swapped(RecoveringRole, "on_status_report", nothing),
        ),
        (
            "ignores tree versions",
            MEMBER,
            "8/13:old-tree-version",
            swapped(Versions, "accepts", always(True)),
        ),
        (
            "forwards duplicates",
            NODE,
            "8/3:duplicates-dropped",
            swapped(SequenceWindow, "admit", always(True)),
        ),
        (
            "serves strangers from its cache",
            MEMBER,
            "8/23:stranger-asks",
            swapped(ParentRole, "may_ask", always(True)),
        ),
        (
            "never asks for what is missing",
            MEMBER,
            "8/14:gap-asked-for",
            swapped(Asking, "_repair", always(None)),
        ),
        (
            "goes without a word",
            MEMBER,
            "9/2:says-goodbye",
            swapped(LeavingRole, "on_stop", nothing),
        ),
        (
            "forgets who inherits",
            MEMBER,
            "9/12:place-kept-for-the-heir",
            swapped(Children, "will", always(None)),
        ),
        (
            "keeps a parent that leaves in its mesh",
            NODE,
            "9/17:mesh-parent-leaves",
            swapped(Mesh, "remove", always(None)),
        ),
        (
            "accepts replays",
            NODE,
            "10/15:replayed-message",
            swapped(CounterWindow, "is_new", always(True)),
        ),
        (
            "answers initiations again",
            RP,
            "10/7:replayed-initiation",
            swapped(Reception, "_check", without_timestamps),
        ),
        (
            "believes every mac",
            SOURCE,
            "10/3:false-mac",
            swapped(Cookies, "mac1_holds", always(True)),
        ),
        ("takes expired certificates", RP, "10/8:expired-certificate", eternal),
        ("gives keys to anybody", SOURCE, "10/49:no-member", no_key_checked),
        (
            "passes on what nothing proves",
            NODE,
            "10/36:unproven-packet",
            swapped(Proving, "_proven", all_proven),
        ),
        (
            "believes every signature",
            MEMBER,
            "10/38:forged-manifest",
            swapped(Verifier, "holds", always(True)),
        ),
    )
]
BROKEN.append(Broken("accepts data from anybody", MEMBER, "8/2:data-of-others", make=credulous))
