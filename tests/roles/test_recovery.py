"""When the parent dies: who takes its place, and what late words of before are worth."""

from __future__ import annotations

from dataclasses import replace

from dmmp.actions import Action, Send
from dmmp.events import ChildLost, Claimed, ParentLost
from dmmp.messages import JoinRequest, JoinResponse, LeaveReport, RefreshRequest, RefreshResponse
from dmmp.messages.common import HostRecord, LeaveReason, RefreshKind, Status
from dmmp.messages.local import Silence
from dmmp.roles.end_host import EndHost
from dmmp.types import SELF, HostId, Instant
from tests.roles.stage import ME, answer, at, body, events, sends, super_node
from tests.roles.test_cluster_member import adopt, child_record, joined, request_from


def named_successor(successor: HostId) -> tuple[EndHost, Instant]:
    """Make a member whose super node has named a successor; also when."""
    member = joined()
    while True:
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        renewals = [send for send in sends(member.wake(now), RefreshRequest) if send.to == at(3)]
        if renewals:
            break
    renewed = answer(
        renewals[0],
        RefreshResponse,
        3,
        sender=super_node(3),
        super_node=HostId(3),
        root_path=(HostId(2),),
        successor=HostRecord(host=successor, endpoint=at(int(successor)), out_degree=4),
    )
    member.receive(renewed, at(3), now)
    return member, now


def after_the_loss(member: EndHost, now: Instant) -> tuple[list[Action], Instant]:
    """Let the parent fall silent, and nobody answer; return all that happens, and the loss."""
    actions = member.receive(Silence(now), SELF, now)
    lost_at = None
    while (alarm := member.next_alarm()) is not None and alarm[0] < now + 8.0:
        done = member.wake(alarm[0])
        lost_at = alarm[0] if lost_at is None and events(done, ParentLost) else lost_at
        actions += done
    assert lost_at is not None
    return actions, lost_at


def test_the_named_successor_claims_the_place_when_nobody_answers() -> None:
    """Decision 22: it holds the cluster together, though it has no way to the source."""
    member, now = named_successor(ME)
    actions, lost_at = after_the_loss(member, now)
    assert events(actions, Claimed)
    assert member.view(now + 8.0).role == "super-node"
    orphan = request_from(9, JoinRequest, applicant=child_record(9))
    offer = body(member.receive(orphan, at(9), lost_at + 7.0), JoinResponse)
    assert offer.status == Status.SUCCESS


def test_nobody_else_does() -> None:
    member, now = named_successor(HostId(50))
    actions, _ = after_the_loss(member, now)
    assert not events(actions, Claimed) and member.view(now + 8.0).role == "member"


def test_a_late_report_of_before_a_place_was_taken_does_not_end_it() -> None:
    member = joined()
    late = replace(request_from(9, LeaveReport, reason=LeaveReason.MOVED), sequence=8000)
    adopt(member, 9, 11.0)
    assert not events(member.receive(late, at(9), 11.1), ChildLost)
    assert [child.host for child in member.view(11.1).children] == [9]
    leaves = replace(request_from(9, LeaveReport, reason=LeaveReason.MOVED), sequence=9100)
    assert events(member.receive(leaves, at(9), 11.2), ChildLost)


def test_where_children_are_full_one_with_room_is_named_but_never_the_dead() -> None:
    """The full backup names the lost parent, which it still counts among its children."""
    member, now = named_successor(HostId(50))
    refused = None
    actions = member.receive(Silence(now), SELF, now)
    for _ in range(200):
        confirms = [
            send
            for send in sends(actions, RefreshRequest)
            if isinstance(send.message, RefreshRequest)
            and send.message.kind == RefreshKind.CHILD
            and send.to != at(3)
        ]
        if confirms and refused is None:
            refused = answer(
                confirms[0],
                RefreshResponse,
                4,
                status=Status.FULL,
                sender=super_node(4),
                backups=(super_node(3), super_node(6)),
            )
            actions = member.receive(refused, confirms[0].to, now)
            assert {s.to for s in sends(actions, RefreshRequest)} <= {at(6)}
            return
        joins = [send for send in sends(actions, JoinRequest) if send.to == at(4)]
        if joins:
            offer = answer(joins[0], JoinResponse, 4, parent=super_node(4), super_node=HostId(4))
            actions = member.receive(offer, at(4), now)
            continue
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        actions = member.wake(now)
    raise AssertionError("it never asked the other super node")


def test_an_older_tree_version_of_the_parent_is_taken_over_and_told_below() -> None:
    """Where source and rendezvous point began anew, data of the new tree would be dropped."""
    member, now = joined(), 11.0
    adopt(member, 9, now)
    told = []
    for version in (7, 7, 5):
        asked: list[Send] = []
        while not asked:
            alarm = member.next_alarm()
            assert alarm is not None
            now = alarm[0]
            asked = [send for send in sends(member.wake(now), RefreshRequest) if send.to == at(3)]
        response = answer(
            asked[0],
            RefreshResponse,
            3,
            sender=super_node(3),
            super_node=HostId(3),
            root_path=(HostId(2),),
            tree_version=version,
        )
        actions = member.receive(response, at(3), now)
        assert member.view(now).tree_version == version
        told.append([send.to for send in sends(actions, RefreshRequest)].count(at(9)))
    assert told[1:] == [0, 1]
