"""A host changes its role in place: member, super node, and back (slides 9, 16 and 21)."""

from __future__ import annotations

from dataclasses import replace

from dmmp.actions import Action
from dmmp.events import ParentLost, RoleChanged
from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import (
    HostFlag,
    HostState,
    LeaveReason,
    RefreshKind,
    Status,
)
from dmmp.messages.local import Unreachable
from dmmp.roles.end_host import EndHost
from dmmp.types import SELF
from tests.roles.mesh_stage import named, news, said, sleep
from tests.roles.stage import (
    ME,
    PARAMETERS,
    RP,
    SOURCE,
    SOURCE_RECORD,
    answer,
    at,
    events,
    host,
    installed,
    only,
    register,
    sends,
    super_node,
)
from tests.roles.super_node_stage import (
    SOURCE_ID,
    confirm,
    in_mesh,
    refresh_from,
    setup_from,
)


def test_dismissed_it_becomes_a_member_children_and_all() -> None:
    subject = in_mesh(super_node(3), relay_only=False)
    confirm(subject, 20, 2.0)
    actions = news(subject, replace(super_node(3), host=ME), 3.0, HostState.INACTIVE, 2, SOURCE_ID)
    assert events(actions, RoleChanged)
    view = subject.view(3.0)
    assert view.role == "member" and [child.host for child in view.children] == [20]
    # The mesh parent serves it until a cluster takes it in.
    assert view.parent is not None and view.parent.host == SOURCE_ID
    assert sends(actions, PingRpRequest)


def test_a_relay_that_is_dismissed_sends_its_children_elsewhere_and_offers_itself_anew() -> None:
    subject = in_mesh(super_node(3))
    confirm(subject, 20, 2.0)
    refresh = refresh_from(3)
    subject.receive(refresh, at(3), 2.0)
    actions = news(subject, replace(super_node(3), host=ME), 3.0, HostState.INACTIVE, 2, SOURCE_ID)
    told = {send.to: said(send).reason for send in sends(actions, LeaveReport)}
    assert told == {at(20): LeaveReason.DISMISSED, SOURCE: LeaveReason.MOVED}
    assert installed(actions).entry.upstream == ()
    ping = only(actions, PingRpRequest)
    assert isinstance(ping.message, PingRpRequest) and ping.message.host.flags & HostFlag.OFFERS
    done = answer(ping, PingRpResponse, 0, host=ME, observed=at(100))
    subject.receive(done, RP, 3.1)
    assert subject.view(3.1).state == "Offering"


def test_while_it_waits_to_be_chosen_again_an_answered_probe_keeps_a_child() -> None:
    subject = in_mesh()
    confirm(subject, 20, 2.0)
    news(subject, replace(super_node(3), host=ME), 3.0, HostState.INACTIVE, 2, SOURCE_ID)
    probe = only(subject.receive(Unreachable(at(20)), SELF, 3.1), ProbeRequest)
    alive = answer(probe, ProbeResponse, 20, timestamp=0, sender=named(20))
    subject.receive(alive, at(20), 3.2)
    sleep(subject, 5.5)
    assert [child.host for child in subject.view(5.5).children] == [20]


def test_the_source_that_knows_it_no_more_dismisses_it() -> None:
    subject = in_mesh(relay_only=False)
    refresh = next(
        send
        for send in sends(sleep(subject, 2.0), RefreshRequest)
        if said(send).kind == RefreshKind.MESH
    )
    unknown = answer(refresh, RefreshResponse, 2, status=Status.UNKNOWN_HOST, sender=SOURCE_RECORD)
    assert events(subject.receive(unknown, SOURCE, 2.0), RoleChanged)


def asking_member() -> tuple[EndHost, list[Action]]:
    """Make a member that has sent its first Join Request, to super node 3."""
    member = host("member")
    register(member, 0.0, (super_node(3),))
    actions: list[Action] = []
    while not sends(actions, JoinRequest):
        actions = member.wake(member.next_alarm()[0])  # type: ignore[index]
    return member, actions


def test_chosen_while_it_takes_up_a_place_a_member_gives_that_back() -> None:
    member, actions = asking_member()
    offer = answer(
        only(actions, JoinRequest), JoinResponse, 3, parent=super_node(3), root_path=(SOURCE_ID,)
    )
    actions = member.receive(offer, at(3), 1.0)
    assert only(actions, RefreshRequest).to == at(3)
    become = member.receive(setup_from(SOURCE_RECORD), SOURCE, 1.1)
    assert member.view(1.1).role == "super-node"
    given = only(become, LeaveReport)
    # It may have been confirmed already, so this is no mere refusal of an offer.
    assert given.to == at(3) and said(given).reason == LeaveReason.MOVED
    retried = [send for send in sends(sleep(member, 5.0), RefreshRequest) if send.to == at(3)]
    assert not retried


def test_one_lost_measurement_costs_no_parent() -> None:
    subject = in_mesh(super_node(3), relay_only=False)
    demoted = news(subject, replace(super_node(3), host=ME), 3.0, HostState.INACTIVE, 2, SOURCE_ID)
    ping = only(demoted, PingRpRequest)
    # The RP names its present parent among the candidates.
    near = replace(SOURCE_RECORD, flags=HostFlag.SUPER_NODE)
    answered = answer(
        ping,
        PingRpResponse,
        0,
        host=ME,
        observed=at(100),
        super_nodes=(near, super_node(3), super_node(4)),
    )
    assert sends(subject.receive(answered, RP, 3.1), ProbeRequest)
    actions = sleep(subject, 3.1 + PARAMETERS.probe_wait)
    assert not events(actions, ParentLost)
    assert subject.view(3.6).parent.host == SOURCE_ID  # type: ignore[union-attr]
