"""A rendezvous point for its tests, and what hosts say to it."""

from __future__ import annotations

from random import Random
from typing import Any

from dmmp.actions import Action, Send
from dmmp.messages import PingRpRequest, PingRpResponse, ProbeRequest, ProbeResponse, StatusReport
from dmmp.messages.common import HostFlag, HostRecord
from dmmp.messages.local import Start
from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint, session_id
from dmmp.types import SELF, HostId, Instant, SessionId
from tests.roles.stage import PARAMETERS, SESSION, at, only, sends

OTHER_SESSION = session_id("other")


def rendezvous_point(
    index: int = 0, parameters: Parameters = PARAMETERS, seed: int = 1
) -> RendezvousPoint:
    """Make an RP of two sessions that has started."""
    rp = RendezvousPoint(("demo", "other"), parameters, Random(seed), index)
    rp.receive(Start(), SELF, 0.0)
    return rp


def ping(
    rp: RendezvousPoint,
    number: int,
    now: Instant = 0.0,
    *,
    host: int = 0,
    instance: int = 0,
    session: SessionId = SESSION,
    tree_version: int = 0,
    refused: tuple[HostId, ...] = (),
    **record: Any,
) -> list[Action]:
    """Have the host at `at(number)` register, or renew; return what the RP does."""
    request = PingRpRequest(
        session=session,
        source=HostId(host),
        sequence=number,
        tree_version=tree_version,
        instance=instance or number,
        host=HostRecord(host=HostId(host), **record),
        refused=refused,
    )
    return rp.receive(request, at(number), now)


def welcome(actions: list[Action]) -> PingRpResponse:
    """Pick the answer to a registration."""
    message = only(actions, PingRpResponse).message
    assert isinstance(message, PingRpResponse)
    return message


def add_source(rp: RendezvousPoint, number: int = 2, now: Instant = 0.0) -> HostId:
    """Register a source; return its id."""
    return welcome(ping(rp, number, now, flags=HostFlag.SOURCE, out_degree=8)).host


def add_super_node(rp: RendezvousPoint, number: int, free: int = 4, now: Instant = 0.0) -> HostId:
    """Register a super node that has its place in the mesh; return its id."""
    fields: dict[str, Any] = {
        "flags": HostFlag.SUPER_NODE,
        "out_degree": 8,
        "free_slots": free,
        "depth": 1,
    }
    return welcome(ping(rp, number, now, **fields)).host


def second_source(
    rp: RendezvousPoint, number: int, first: HostId, now: Instant = 1.0, host: int = 0
) -> list[Action]:
    """Have another source register while the first one, at `at(2)`, answers the RP's probe."""
    probe = only(ping(rp, number, now, host=host, flags=HostFlag.SOURCE), ProbeRequest)
    assert probe.to == at(2)
    return rp.receive(alive(probe, first), at(2), now + 0.1)


def alive(probe: Send, host: HostId) -> ProbeResponse:
    """Make the answer of a host to the RP's probe."""
    return ProbeResponse(
        session=SESSION,
        source=host,
        sequence=probe.message.sequence,
        timestamp=0,
        sender=HostRecord(host=host),
    )


def told(actions: list[Action], number: int = 2) -> list[StatusReport]:
    """Pick what the source at `at(number)` is told."""
    found = []
    for send in sends(actions, StatusReport):
        assert send.to == at(number) and isinstance(send.message, StatusReport)
        found.append(send.message)
    return found


def version(rp: RendezvousPoint) -> int:
    """Return the tree version of the session."""
    return rp.views(0.0)[0].tree_version


def sweep(rp: RendezvousPoint, until: Instant) -> list[Action]:
    """Let time pass."""
    actions: list[Action] = []
    while (alarm := rp.next_alarm()) is not None and alarm[0] <= until:
        actions += rp.wake(alarm[0])
    return actions
