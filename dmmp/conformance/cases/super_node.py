"""Section 6, first half: becoming a super node, its part in the mesh, ceasing to be one."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.playing import (
    SUBJECT_ID,
    add_child,
    apply_for_place,
    choose,
    need_places,
    play_parent,
    play_rp,
    play_source,
    refresh,
    refreshed,
    seat,
    settle,
)
from dmmp.conformance.staging import (
    answer_refresh,
    fill,
    gaps,
    of_kind,
    placed,
    play_node,
    refuse_places,
    stranger,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    JoinRequest,
    LeaveReport,
    Message,
    PingRpRequest,
    ProbeRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.common import HostFlag, HostState, LeaveReason, RefreshKind, Status
from dmmp.types import HostId

NODE = HostFlag.SUPER_NODE


@case("6/1", "A Setup Request of the source is answered SUCCESS, with the own record", "super-node")
def setup_answered(tester: Tester) -> None:
    _, _, answer = choose(tester)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the source")
    tester.equal(answer.sender.host, SUBJECT_ID, "the host in its record")
    tester.check(answer.sender.out_degree > 0, "a super node says no out-degree")


@case("6/2", "Without an id nothing is said to a Setup Request", "super-node", "member")
def setup_without_an_id(tester: Tester) -> None:
    source = play_source(tester)
    rp = play_rp(tester, source=source)
    rp.peer.off(PingRpRequest)
    rp.peer.expect(PingRpRequest)
    source.tell(SetupRequest, sender=source.record())
    source.expect_silence()


@case("6/3", "A member keeps its parent until the mesh has confirmed", "member", seconds=10.0)
def member_becomes_super_node(tester: Tester) -> None:
    _, parent, _ = seat(tester)
    source = play_source(tester)
    source.off(RefreshRequest)
    answer = source.ask(SetupRequest, sender=source.record())
    if answer.status == Status.INCAPABLE:
        need_places(answer.sender)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the source")
    request = source.expect(RefreshRequest, within=3.0, where=of_kind(RefreshKind.CHILD))
    tester.check(not parent.seen(LeaveReport), "it left its parent before the mesh had confirmed")
    source.answer(request, RefreshResponse, sender=source.record())
    moved = parent.expect(LeaveReport)
    tester.equal(LeaveReason(moved.reason), LeaveReason.MOVED, "what it tells its old parent")


@case("6/4", "It sets up with every super node that the source names", "super-node")
def setup_with_all_named(tester: Tester) -> None:
    members = tuple(play_node(tester, f"node{at}", 0x120 + at) for at in range(3))
    choose(tester, None, members)
    for member in members:
        setup = member.expect(SetupRequest)
        tester.equal(setup.sender.host, SUBJECT_ID, "the host in its Setup Request")


@case("6/5", "It sets up with a super node that a Status Report of the source names", "super-node")
def setup_with_one_reported(tester: Tester) -> None:
    _, source, _ = choose(tester)
    member = play_node(tester)
    source.ask(StatusReport, state=HostState.ACTIVE, subject=member.record())
    member.expect(SetupRequest)


@case("6/6", "It answers UNKNOWN_HOST to a super node that nobody named", "super-node")
def setup_of_a_stranger(tester: Tester) -> None:
    choose(tester)
    other = stranger(tester, flags=NODE)
    answer = other.ask(SetupRequest, sender=other.record())
    tester.equal(Status(answer.status), Status.UNKNOWN_HOST, "the answer to a stranger")


@case("6/7", "It answers SUCCESS to a super node that the source named", "super-node")
def setup_of_one_named(tester: Tester) -> None:
    member = play_node(tester)
    choose(tester, None, (member,))
    answer = member.ask(SetupRequest, sender=member.record())
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to a named super node")


@case("6/8", "A member answers NOT_SUPER_NODE to a super node", "member")
def setup_at_a_member(tester: Tester) -> None:
    seat(tester)
    other = stranger(tester, flags=NODE)
    answer = other.ask(SetupRequest, sender=other.record())
    tester.equal(Status(answer.status), Status.NOT_SUPER_NODE, "the answer of a member")


@case("6/9", "It asks the source about a super node that it does not know", "super-node")
def question_about_a_stranger(tester: Tester) -> None:
    _, source, _ = choose(tester)
    other = stranger(tester, flags=NODE)
    other.ask(SetupRequest, sender=other.record())
    question = source.expect(StatusReport)
    tester.equal(HostState(question.state), HostState.ACTIVE, "the state in its question")
    tester.equal(question.subject.host, other.host, "the host in its question")


@case("6/10", "It asks the source first for a place in the mesh", "super-node")
def source_asked_first(tester: Tester) -> None:
    member = play_node(tester)
    _, source, _ = choose(tester, None, (member,))
    first = tester.take((source, member), (JoinRequest,))
    tester.check(first is not None and first.peer is source, "the source is not asked first")
    assert first is not None and isinstance(first.message, JoinRequest)
    tester.check(bool(first.message.applicant.flags & NODE), "its record has no flag SUPER_NODE")


@case("6/11", "With its place it renews its registration at once", "super-node")
def registered_with_place(tester: Tester) -> None:
    rp, source, _ = choose(tester)
    source.expect(RefreshRequest, within=3.0, where=of_kind(RefreshKind.CHILD))
    renewal = rp.peer.expect(PingRpRequest, where=lambda message: message.host.flags & NODE)
    tester.equal(renewal.host.depth, 1, "the depth in its registration")


@case("6/12", "News of super nodes from others than the source are acknowledged only", "super-node")
def news_from_others(tester: Tester) -> None:
    rp, _, _ = choose(tester)
    other = stranger(tester, flags=NODE, depth=1)
    member = stranger(tester, "gossip", 0x901)
    for teller in (rp.peer, member):
        answer = teller.ask(StatusReport, state=HostState.ACTIVE, subject=other.record())
        tester.check(isinstance(answer, StatusResponse), "it does not acknowledge")
    other.expect_silence(SetupRequest)
    answer = other.ask(SetupRequest, sender=other.record())
    tester.equal(Status(answer.status), Status.UNKNOWN_HOST, "the answer to who others named")


@case("6/13", "A super node that the source called INACTIVE is unknown", "super-node")
def forgotten_when_inactive(tester: Tester) -> None:
    member = play_node(tester)
    _, source, _ = choose(tester, None, (member,))
    settle(tester, source)
    source.ask(StatusReport, state=HostState.INACTIVE, subject=member.record())
    answer = refresh(member, RefreshKind.MESH)
    tester.equal(Status(answer.status), Status.UNKNOWN_HOST, "the answer to who is inactive")


@case("6/14", "Called INACTIVE by the source itself it is a super node no more", "super-node")
def ceases_when_told(tester: Tester) -> None:
    stage = placed(tester)
    stage.rp.peer.forget()
    stage.parent.ask(StatusReport, state=HostState.INACTIVE, subject=stage.record)
    renewal = stage.rp.peer.expect(PingRpRequest)
    tester.check(not renewal.host.flags & NODE, "it registers as a super node still")


@case("6/15", "Unknown to the source it is a super node no more", "super-node", seconds=20.0)
def ceases_when_unknown(tester: Tester) -> None:
    stage = placed(tester)
    source = stage.parent
    answer_refresh(
        source,
        RefreshKind.MESH,
        lambda message: refreshed(source, message, status=Status.UNKNOWN_HOST),
    )
    stage.rp.peer.expect(
        PingRpRequest,
        within=1.2 * tester.timing.parameters.refresh_mesh,
        where=lambda message: message.host.flags & HostFlag.OFFERS,
    )


@case("6/36", "A relay that ceases dismisses its children and leaves its parent", "super-node")
def relay_dismisses(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester)
    stage.parent.tell(StatusReport, state=HostState.INACTIVE, subject=stage.record)
    report = child.expect(LeaveReport)
    tester.equal(LeaveReason(report.reason), LeaveReason.DISMISSED, "what a child is told")
    report = stage.parent.expect(LeaveReport)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the parent is told")
    stage.rp.peer.expect(PingRpRequest, where=lambda message: message.host.flags & HostFlag.OFFERS)


@case("6/28", "Another source's Setup Request makes it move to that source", "super-node")
def another_source(tester: Tester) -> None:
    stage = placed(tester)
    other = play_source(tester, "source again")
    other.host = HostId(0x0000_0003)
    answer = other.ask(SetupRequest, sender=other.record())
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the new source")
    other.expect_one((JoinRequest, RefreshRequest), where=_seeks_a_place)
    report = stage.parent.expect(LeaveReport)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the former source is told")


def _seeks_a_place(message: Message) -> bool:
    return isinstance(message, JoinRequest) or (
        isinstance(message, RefreshRequest) and message.kind == RefreshKind.CHILD
    )


@case("6/29", "The tree version comes from the source", "super-node")
def tree_version_from_the_source(tester: Tester) -> None:
    source = play_source(tester)
    source.tree_version = 7
    choose(tester, source)
    asker = stranger(tester)
    tester.equal(asker.ask(ProbeRequest, timestamp=1).tree_version, 7, "its tree version")
    source.tree_version = 9
    source.ask(StatusReport, state=HostState.ACTIVE, subject=play_parent(tester).record())
    tester.equal(asker.ask(ProbeRequest, timestamp=1).tree_version, 9, "its tree version")


@case("6/33", "Refused by the source it asks again, for ever", "super-node", seconds=15.0)
def asks_again_for_a_place(tester: Tester) -> None:
    source = play_source(tester)
    refuse_places(source)
    choose(tester, source)
    limits = tester.timing.parameters
    most = 1.2 * limits.retry_orphan_most + limits.join_wait
    instants, numbers = [], set()
    for _ in range(6):
        numbers.add(source.expect(JoinRequest, within=most).sequence)
        assert source.last is not None
        instants.append(source.last.at)
    tester.equal(len(numbers), 6, "the number of searches")
    tester.near(max(gaps(instants)), 0.0, most, "the longest pause between two searches")


@case("6/34", "It renews its registration in each period", "super-node", seconds=20.0)
def renews_registration(tester: Tester) -> None:
    stage = placed(tester)
    period = tester.timing.parameters.refresh_rp_core
    stage.rp.peer.forget()
    instants = []
    for _ in range(3):
        stage.rp.peer.expect(PingRpRequest, within=1.3 * period)
        assert stage.rp.peer.last is not None
        instants.append(stage.rp.peer.last.at)
    for pause in gaps(instants):
        tester.near(pause, 0.8 * period, 1.2 * period, "the time between two registrations")


@case("6/35", "A dead super node's successor holds the cluster together", "member", seconds=50.0)
def successor_claims(tester: Tester) -> None:
    rp, parent, confirmation = seat(tester)
    named = confirmation.sender
    need_places(named)
    answer_refresh(
        parent, RefreshKind.CHILD, lambda message: refreshed(parent, message, successor=named)
    )
    limits = tester.timing.parameters
    parent.expect(RefreshRequest, within=1.2 * limits.refresh_cluster)
    tester.wait(tester.timing.answer)
    rp.super_nodes = []
    parent.vanish()
    claim = rp.peer.expect(
        PingRpRequest,
        within=1.2 * limits.refresh_cluster + 8.0 + limits.claim_after + 1.0,
        where=lambda message: message.host.flags & NODE,
    )
    tester.check(bool(claim.host.flags & HostFlag.OFFERS), "its claim bears no flag OFFERS")
    tester.equal(claim.host.depth, 255, "the depth in its claim")
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to an orphan")


@case("6/38", "A member that becomes super node dismisses who has no place", "member", seconds=10.0)
def surplus_dismissed(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage)
    share = stage.places - stage.places // 2
    source = play_source(tester)
    source.ask(SetupRequest, sender=source.record())
    tester.wait(3.0)
    dismissed = [
        child
        for child in children
        if any(each.reason == LeaveReason.DISMISSED for each in child.seen(LeaveReport))
    ]
    tester.equal(len(dismissed), len(children) - share, "the number of children dismissed")


@case("6/31", "While the source is silent it stays a super node", "super-node", seconds=60.0)
def stays_without_a_source(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    child = add_child(tester)
    refuse_places(member)
    stage.parent.vanish()
    for _ in range(4):
        tester.wait(tester.timing.parameters.refresh_cluster)
        kept = refresh(child)
        tester.equal(Status(kept.status), Status.SUCCESS, "the answer to a child")
    answer = refresh(member, RefreshKind.MESH)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the mesh")
