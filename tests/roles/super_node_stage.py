"""A super node for its tests: chosen, in the mesh, and what others say to it."""

from __future__ import annotations

from typing import Any

from dmmp.actions import Action, Send
from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    Message,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
)
from dmmp.messages.common import (
    HostRecord,
    LinkRecord,
    RefreshKind,
    Status,
)
from dmmp.roles.end_host import EndHost
from dmmp.types import HostId, Instant
from tests.roles.mesh_stage import named, sleep, status_of
from tests.roles.stage import (
    ME,
    PARAMETERS,
    SESSION,
    SOURCE,
    SOURCE_RECORD,
    answer,
    at,
    host,
    only,
    register,
    sends,
    super_node,
)

SOURCE_ID = HostId(2)


def setup_from(record: HostRecord, sequence: int = 77, *members: HostRecord) -> SetupRequest:
    """Make a Setup Request of the source or of a super node."""
    return SetupRequest(
        session=SESSION, source=record.host, sequence=sequence, sender=record, members=members
    )


def chosen(
    *members: HostRecord, out_degree: int = 8, relay_only: bool = True
) -> tuple[EndHost, list[Action]]:
    """Make a host that the source has just made a super node."""
    subject = host("super-node", out_degree, relay_only)
    register(subject, 0.0)
    return subject, subject.receive(setup_from(SOURCE_RECORD, 77, *members), SOURCE, 1.0)


def take_place(subject: EndHost, actions: list[Action], number: int, now: Instant) -> list[Action]:
    """Have the host at `at(number)` offer a place to who asks, and confirm it."""
    record = SOURCE_RECORD if number == SOURCE_ID else super_node(number)
    path = () if number == SOURCE_ID else (SOURCE_ID,)
    asked = next(send for send in sends(actions, JoinRequest) if send.to == at(number))
    offer = answer(asked, JoinResponse, number, parent=record, root_path=path)
    actions = subject.receive(offer, at(number), now)
    if not sends(actions, RefreshRequest):
        actions = sleep(subject, now + PARAMETERS.join_wait)
    confirm = next(send for send in sends(actions, RefreshRequest) if send.to == at(number))
    return subject.receive(confirmed(confirm, number), at(number), now)


def confirmed(refresh: Any, number: int, status: Status = Status.SUCCESS) -> Message:
    """Make the answer of a parent to a refresh."""
    record = SOURCE_RECORD if number == SOURCE_ID else super_node(number)
    path = () if number == SOURCE_ID else (SOURCE_ID,)
    return answer(refresh, RefreshResponse, number, status=status, sender=record, root_path=path)


def in_mesh(
    *members: HostRecord, out_degree: int = 8, relay_only: bool = True, now: Instant = 1.1
) -> EndHost:
    """Make a super node below the source, which knows the other members."""
    subject, actions = chosen(*members, out_degree=out_degree, relay_only=relay_only)
    for send in sends(actions, SetupRequest):
        number = int(send.to.address) & 0xFF
        reply = answer(send, SetupResponse, number, sender=super_node(number))
        subject.receive(reply, send.to, now)
    take_place(subject, actions, SOURCE_ID, now)
    return subject


def refresh_from(number: int, sequence: int = 0, **fields: Any) -> RefreshRequest:
    """Make a Refresh Request: in the mesh, unless its kind says otherwise."""
    values = {"kind": RefreshKind.MESH, "sender": super_node(number), **fields}
    number_of = sequence or number * 1000
    return RefreshRequest(session=SESSION, source=HostId(number), sequence=number_of, **values)


def join(subject: EndHost, number: int, now: Instant, flags: int = 0) -> Any:
    """Have a host ask for a place, not to be passed down; return the answer."""
    record = named(number, 2, flags)
    request = JoinRequest(session=SESSION, source=HostId(number), sequence=1, applicant=record)
    return only(subject.receive(request, at(number), now), JoinResponse).message


def confirm(subject: EndHost, number: int, now: Instant, flags: int = 0) -> Status:
    """Have a host take up a place; return what it is told."""
    refresh = refresh_from(number, kind=RefreshKind.CHILD, sender=named(number, 2, flags))
    return status_of(subject.receive(refresh, at(number), now), RefreshResponse)


def run(subject: EndHost, now: Instant, until: Instant) -> list[Action]:
    """Let time pass while source and mesh answer each refresh."""
    actions: list[Action] = []
    while (alarm := subject.next_alarm()) is not None and alarm[0] <= until:
        due = subject.wake(alarm[0])
        actions += due
        for send in sends(due, RefreshRequest):
            number = int(send.to.address) & 0xFF
            subject.receive(confirmed(send, number), send.to, alarm[0] + 0.01)
    return actions


def steer(subject: EndHost) -> tuple[list[Action], Send, Instant]:
    """Announce links that make super node 3 its parent in the core tree.

    Return what it does when it moves, the refresh that confirms the move, and when that is.
    """
    now, near = 1.15, (LinkRecord(SOURCE_ID, 10), LinkRecord(ME, 10))
    role: Any = subject.role
    for number, trip in ((2, 0.5), (3, 0.001)):
        role.mesh.peers[number].round_trip, role.mesh.peers[number].announced_us = trip, None
    list(role.choose_mesh_links(now))
    subject.receive(refresh_from(3, links=near), at(3), now)
    while now < 3.0:
        alarm = subject.next_alarm()
        assert alarm is not None
        now = alarm[0]
        actions = subject.wake(now)
        for send in sends(actions, RefreshRequest):
            assert isinstance(send.message, RefreshRequest)
            if send.to == at(3) and send.message.kind == RefreshKind.CHILD:
                return actions, send, now
    raise AssertionError("it stays where it was")
