"""What the tests of source and super nodes share: news of hosts, time, the answers given."""

from __future__ import annotations

from typing import Any

from dmmp.actions import Action, Send
from dmmp.events import ParentLost
from dmmp.messages import Message, StatusReport
from dmmp.messages.common import HostRecord, HostState, Status
from dmmp.roles.end_host import EndHost
from dmmp.types import Endpoint, HostId, Instant
from tests.roles.stage import SESSION, at, events, only, sends


def named(number: int, out_degree: int = 8, flags: int = 0) -> HostRecord:
    """Describe a host that the RP names as possible super node."""
    return HostRecord(host=HostId(number), endpoint=at(number), flags=flags, out_degree=out_degree)


def news(
    subject: EndHost,
    record: HostRecord,
    now: Instant,
    state: HostState = HostState.ACTIVE,
    sender: int = 1,
    by: int = 0,
) -> list[Action]:
    """Have the RP, or host `by` at `at(sender)`, say something of a host."""
    report = StatusReport(
        session=SESSION, source=HostId(by), sequence=int(now * 1000), state=state, subject=record
    )
    return subject.receive(report, at(sender), now)


def sleep(subject: EndHost, until: Instant) -> list[Action]:
    """Let time pass; return what happens."""
    actions: list[Action] = []
    while (alarm := subject.next_alarm()) is not None and alarm[0] <= until:
        actions += subject.wake(alarm[0])
    return actions


def reports(actions: list[Action]) -> list[tuple[Endpoint, HostState, int]]:
    """List (to whom, state, subject) of what is reported."""
    found = []
    for send in sends(actions, StatusReport):
        assert isinstance(send.message, StatusReport)
        found.append((send.to, HostState(send.message.state), int(send.message.subject.host)))
    return found


def status_of(actions: list[Action], cls: type[Message]) -> Status:
    """Return the status of the one answer."""
    return Status(only(actions, cls).message.status)  # type: ignore[attr-defined]


def said(send: Send) -> Any:
    """Return the message that is sent, for tests that know its class."""
    return send.message


def lost(actions: list[Action]) -> list[str]:
    """List why parents were lost."""
    found = events(actions, ParentLost)
    return [event.reason for event in found if isinstance(event, ParentLost)]
