"""Every role in every state takes every input: a list of actions, never an exception.

What its table does not name is ignored with a stated reason, or reported as a violation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from dmmp.actions import Action, Report
from dmmp.events import PeerViolation
from dmmp.interest import interest
from dmmp.messages import REGISTRY, Message
from dmmp.messages.common import HostRecord
from dmmp.messages.local import (
    Carries,
    Silence,
    Start,
    Stop,
    Subscribe,
    TooLarge,
    Unreachable,
)
from dmmp.policies.parents import Candidate
from dmmp.roles import states
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.end_host import ROLES
from dmmp.roles.overlay import OverlayRole
from dmmp.roles.rendezvous_point import RendezvousPoint, RpAlarm
from dmmp.roles.role import Input, Role
from dmmp.roles.source import Source
from dmmp.roles.standing import Alarm, HostSetup, Standing
from dmmp.roles.super_node import SuperNode
from dmmp.types import SELF, HostId
from tests.examples import examples
from tests.roles.stage import ME, PARAMETERS, RP, SESSION, SOURCE_RECORD, at, group, super_node

PARENT = states.Parent(super_node(3), at(3), (HostId(3), HostId(2)), HostId(3))
OFFER = states.Offer(Candidate(super_node(4), 0.01), HostId(4), (HostId(4), HostId(2)))

STATES: dict[type, object] = {
    states.Idle: states.Idle(),
    states.Locating: states.Locating(),
    states.Registering: states.Registering(),
    states.Probing: states.Probing((super_node(3),), False, (None,), 1),
    states.Asking: states.Asking((Candidate(super_node(3)),), previous=PARENT),
    states.Confirming: states.Confirming(OFFER, previous=PARENT),
    states.Joined: states.Joined(PARENT),
    states.Waiting: states.Waiting(),
    states.Offering: states.Offering(),
    states.Rooted: states.Rooted(),
    states.Leaving: states.Leaving(frozenset({at(3)})),
    states.Gone: states.Gone(),
}
LOCAL: tuple[Input, ...] = (
    Start(),
    Stop(),
    Subscribe(interest(group(9))),
    Silence(1.0),
    Unreachable(at(3)),
    # For the host around the role; a role that gets them says so.
    Carries(1404),
    TooLarge(at(3)),
)


def here(message: Input) -> Input:
    """Put a message into the session of the role under test."""
    return replace(message, session=SESSION) if isinstance(message, Message) else message


def in_state(kind: str, state: type) -> OverlayRole:
    """Make a role that has just come into a state."""
    setup = HostSetup("demo", (RP,), 4, instance=7)
    standing = Standing(setup, PARAMETERS, Random(1))
    standing.session, standing.host, standing.observed = SESSION, ME, at(100)
    standing.children.confirm(HostRecord(host=HostId(9), endpoint=at(9)), at(9), False, 1e9)
    role = ROLES[kind](standing)
    if isinstance(role, (SuperNode, Source)):
        role.mesh.add(super_node(3), at(3), 0.0)
        role.mesh.add(SOURCE_RECORD, SOURCE_RECORD.endpoint, 0.0)
    role.state = STATES[state]
    return role


def states_of(role: type[Role]) -> list[type]:
    """List the states that a role's table names."""
    return list(dict.fromkeys(state for state, _ in (*role.TABLE, *role.IGNORED)))


def cases() -> Iterator[tuple[str, type]]:
    """Yield every role with each of its states."""
    for kind, cls in (("member", ClusterMember), ("super-node", SuperNode), ("source", Source)):
        for state in states_of(cls):
            yield kind, state


@pytest.mark.parametrize(("kind", "state"), list(cases()))
def test_every_input_in_every_state(kind: str, state: type) -> None:
    senders = (at(3), at(9), at(2), RP, at(77))
    for message in [message for _, message in examples()] + list(LOCAL):
        for sender in (SELF,) if message in LOCAL else senders:
            role = in_state(kind, state)
            actions = role.receive(here(message), sender, 100.0)
            assert all(isinstance(action, Action) for action in actions)
            key = (state, type(message))
            if key in role.IGNORED:
                assert actions == [], (key, actions)
            elif key not in role.TABLE:
                (report,) = actions
                assert isinstance(report, Report) and isinstance(report.event, PeerViolation)


@pytest.mark.parametrize(("kind", "state"), list(cases()))
def test_every_alarm_in_every_state(kind: str, state: type) -> None:
    for alarm in Alarm:
        role = in_state(kind, state)
        if alarm in role.ALARMS:
            role.alarms.set(alarm, 5.0, 12345 if alarm is Alarm.RETRY else None)
            assert all(isinstance(action, Action) for action in role.wake(5.0))
            following = role.next_alarm()
            assert following is None or following[0] > 5.0, "an alarm that fires for ever"


def test_the_rp_takes_every_input() -> None:
    for message in [message for _, message in examples()] + list(LOCAL):
        role = RendezvousPoint(("demo",), PARAMETERS, Random(1))
        sender = SELF if message in LOCAL else at(3)
        assert all(
            isinstance(action, Action) for action in role.receive(here(message), sender, 100.0)
        )


def test_a_local_input_from_outside_is_a_violation() -> None:
    for kind in ROLES:
        role = in_state(kind, states.Registering)
        (report,) = role.receive(Stop(), at(3), 1.0)
        assert isinstance(report, Report) and isinstance(report.event, PeerViolation)
        assert isinstance(role.state, states.Registering)


def test_every_alarm_is_documented_and_handled() -> None:
    handled = set(ClusterMember.ALARMS) | set(SuperNode.ALARMS) | set(Source.ALARMS)
    assert handled == set(Alarm)
    assert set(RendezvousPoint.ALARMS) == set(RpAlarm)
    assert all(str(alarm.value).startswith("When to ") for alarm in (*Alarm, *RpAlarm))


def test_every_message_is_heard_by_some_role() -> None:
    heard = {
        kind for cls in (ClusterMember, SuperNode, Source, RendezvousPoint) for _, kind in cls.TABLE
    }
    # The forwarder hears data, heartbeats and credentials, the gate handshakes and introductions,
    # `KeyedHost` what is about keys, the authority renewals; errors are ignored by all.
    not_heard = {cls.__name__ for cls in REGISTRY.values()} - {kind.__name__ for kind in heard}
    data_plane = {"Data", "Heartbeat", "Credential"}
    gate = {"HandshakeInitiation", "HandshakeResponse", "CookieReply", "Sealed", "HopSealed"}
    gate |= {"IntroductionRequest", "IntroductionResponse"}
    keys = {"RenewalRequest", "RenewalResponse", "KeyRequest", "KeyResponse", "KeyLeave", "Rekey"}
    assert not_heard == data_plane | gate | keys | {"Error"}
