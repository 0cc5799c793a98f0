"""Broken variants of our roles, each with one mistake that an implementer might make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import ClassVar, NamedTuple

from dmmp.actions import Action, Send
from dmmp.conformance.in_process import Running
from dmmp.conformance.in_process import make as make_ours
from dmmp.conformance.requirement import Role
from dmmp.messages import (
    JoinResponse,
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
)
from dmmp.messages.common import HostRecord, RefreshKind, Status
from dmmp.messages.schema import Message
from dmmp.parameters import Parameters
from dmmp.roles.role import Host, Input
from dmmp.roles.standing import HostSetup
from dmmp.types import Endpoint, HostId, Instant


class Mutant(Host):
    """Passes everything on to a host; subclasses change what goes in or comes out."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        return list(self.changed(self.host.receive(message, sender, now)))

    def wake(self, now: Instant) -> list[Action]:
        return list(self.changed(self.host.wake(now)))

    def next_alarm(self) -> tuple[Instant, str] | None:
        return self.host.next_alarm()

    def changed(self, actions: list[Action]) -> Iterator[Action]:
        for action in actions:
            if isinstance(action, Send):
                message = self.said(action.message)
                if message is not None:
                    yield replace(action, message=message)
            else:
                yield action

    def said(self, message: Message) -> Message | None:
        return message


class Dead(Mutant):
    """Is there, and says nothing."""

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        return []

    def wake(self, now: Instant) -> list[Action]:
        return []

    def next_alarm(self) -> tuple[Instant, str] | None:
        return None


class OwnNumbers(Mutant):
    """Numbers its answers itself."""

    def said(self, message: Message) -> Message | None:
        if isinstance(message, ProbeResponse):
            return replace(message, sequence=(message.sequence + 1) & 0xFFFFFFFF)
        return message


class Talkative(Mutant):
    """Answers what is meant for others: it does not look at the session."""

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        if isinstance(message, ProbeRequest):
            answer = ProbeResponse(
                session=message.session,
                sequence=message.sequence,
                source=HostId(0x100),
                timestamp=message.timestamp,
                sender=HostRecord(host=HostId(0x100)),
            )
            return [Send(answer, sender)]
        return super().receive(message, sender, now)


class OneTry(Mutant):
    """Asks once and never again."""

    asked: ClassVar[tuple[type[Message], ...]] = (SubscriptionRequest, StatusReport, SetupRequest)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.numbers: set[int] = set()

    def said(self, message: Message) -> Message | None:
        if isinstance(message, self.asked):
            if message.sequence in self.numbers:
                return None
            self.numbers.add(message.sequence)
        return message


class Renumbered(Mutant):
    """Numbers each try of a request anew."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.count = 0

    def said(self, message: Message) -> Message | None:
        if isinstance(message, SubscriptionRequest | StatusReport):
            self.count += 1
            return replace(message, sequence=self.count)
        return message


class Trusting(Mutant):
    """Takes a host that says that another one leaves at its word."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.where: dict[HostId, Endpoint] = {}

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        if isinstance(message, PingRpRequest):
            actions = super().receive(message, sender, now)
            for action in actions:
                if isinstance(action, Send) and isinstance(action.message, PingRpResponse):
                    self.where[action.message.host] = sender
            return actions
        if isinstance(message, LeaveReport):
            known = self.where.get(message.source, sender)
            actions = super().receive(message, known, now)
            return [
                replace(action, to=sender) if isinstance(action, Send) else action
                for action in actions
            ]
        return super().receive(message, sender, now)


class Forgetful(Mutant):
    """An RP that gives the same instance a new id each time."""

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        if isinstance(message, PingRpRequest):
            message = replace(message, instance=int(now * 1e6), source=HostId(0))
        return super().receive(message, sender, now)


class Flat(Mutant):
    """An RP that never raises the tree version."""

    def said(self, message: Message) -> Message | None:
        if isinstance(message, StatusResponse):
            return replace(message, tree_version=1)
        return message


class Generous(Mutant):
    """Offers a place to everybody, whatever it has."""

    def said(self, message: Message) -> Message | None:
        if isinstance(message, JoinResponse):
            return replace(message, status=Status.SUCCESS, children=())
        return message


class Welcoming(Mutant):
    """Answers every Refresh SUCCESS."""

    def said(self, message: Message) -> Message | None:
        if isinstance(message, RefreshResponse):
            return replace(message, status=Status.SUCCESS)
        return message


class Deaf(Mutant):
    """Never refreshes its parent after it has confirmed its place."""

    confirmed = False

    def said(self, message: Message) -> Message | None:
        if isinstance(message, RefreshRequest) and message.kind == RefreshKind.CHILD:
            if self.confirmed:
                return None
            self.confirmed = True
        return message


class Reserved(Mutant):
    """Writes something into the reserved word."""

    def said(self, message: Message) -> Message | None:
        return replace(message, reserved=1)


class Known(NamedTuple):
    """A mutant of a role, and the requirement whose case has to notice it."""

    role: Role
    mutant: Callable[[Host], Host]
    requirement: str


GALLERY = (
    Known(Role.RP, OwnNumbers, "3/1"),
    Known(Role.MEMBER, OwnNumbers, "3/1"),
    Known(Role.MEMBER, Talkative, "1/16"),
    Known(Role.RP, OneTry, "3/13"),
    Known(Role.SOURCE, OneTry, "3/13"),
    Known(Role.MEMBER, OneTry, "3/13"),
    Known(Role.SUPER_NODE, Renumbered, "3/5"),
    Known(Role.RP, Trusting, "4/26"),
    Known(Role.RP, Forgetful, "4/7"),
    Known(Role.RP, Flat, "4/46"),
    Known(Role.SOURCE, Generous, "5/15"),
    Known(Role.SOURCE, Welcoming, "5/18"),
    Known(Role.MEMBER, Deaf, "7/"),
    Known(Role.RP, Reserved, "1/11"),
)


def make(mutant: Callable[[Host], Host]) -> Callable[..., Running]:
    """Return what makes a broken variant of our own role."""

    def make_mutant(role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
        running = make_ours(role, setup, parameters, rng)
        return replace(running, host=mutant(running.host))

    return make_mutant
