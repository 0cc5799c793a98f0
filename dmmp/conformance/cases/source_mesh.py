"""Section 5, second part: the source as the root of the mesh."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.cases.source_choice import capable, enlist, name, reported, rooted
from dmmp.conformance.generic import probe
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import apply_for_place, refresh
from dmmp.conformance.tester import Tester
from dmmp.conformance.timing import DEFAULTS
from dmmp.messages import (
    BreakRequest,
    JoinRequest,
    LeaveReport,
    ProbeRequest,
    ProbeResponse,
    PromotionRequest,
    RefreshRequest,
    SetupRequest,
    StatusReport,
)
from dmmp.messages.common import HostFlag, HostState, LeaveReason, RefreshKind, Status
from dmmp.types import HostId


def told(
    peer: Peer, subject: Peer, state: HostState = HostState.INACTIVE, within: float = 0.0
) -> StatusReport:
    """Take the report to a super node that another one is in some state."""
    return peer.expect(
        StatusReport,
        within,
        where=lambda message: message.subject.host == subject.host and message.state == state,
    )


def doubted(tester: Tester, one: Peer, other: Peer) -> None:
    """Have a super node report another one, so that the source probes it."""
    one.ask(StatusReport, state=HostState.INACTIVE, subject=other.record())


@case("5/14", "A super node gets a place right below the source", "source")
def place_in_mesh(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    answer = apply_for_place(peer)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer")
    tester.equal(answer.parent.host, played.subject, "the parent")
    tester.equal(answer.parent.depth, 0, "the depth of the parent")
    tester.equal(answer.root_path, (), "the root path")
    tester.equal(answer.super_node, 0, "the super node")


@case("5/15", "A cluster member is sent to the super nodes", "source")
def member_sent_away(tester: Tester) -> None:
    played, peer, member = rooted(tester), capable(tester), tester.peer("member")
    enlist(tester, played, peer)
    member.host = HostId(0x500)
    answer = apply_for_place(member, passes=8)
    tester.equal(Status(answer.status), Status.FULL, "the answer")
    tester.equal([each.host for each in answer.children], [peer.host], "the children")
    tester.equal(answer.children[0].endpoint, peer.endpoint, "the endpoint of the child")


@case("5/16", "No more children than its out-degree", "source", seconds=20)
def out_degree(tester: Tester) -> None:
    played = rooted(tester)
    first = capable(tester, 0)
    name(played, first, flags=HostFlag.OFFERS)
    most = first.expect(SetupRequest).sender.out_degree
    first.flags = HostFlag.SUPER_NODE
    peers = [first, *(capable(tester, number) for number in range(1, most + 1))]
    enlist(tester, played, *peers[1:])
    for peer in peers[:-1]:
        tester.equal(Status(apply_for_place(peer).status), Status.SUCCESS, "the answer")
        tester.equal(Status(refresh(peer).status), Status.SUCCESS, "the confirmation")
    # Passed down, it would ask the children; asked itself, the source is full.
    tester.equal(Status(apply_for_place(peers[-1]).status), Status.FULL, "the last answer")


@case("5/17", "A chosen super node takes up its place", "source")
def place_taken(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    apply_for_place(peer)
    answer = refresh(peer)
    tester.equal(Status(answer.status), Status.SUCCESS, "the confirmation")
    tester.equal(answer.root_path, (), "the root path")
    tester.equal(Status(refresh(peer).status), Status.SUCCESS, "the next Refresh")


@case("5/18", "A super node that is none has no place here", "source", seconds=8)
def not_chosen(tester: Tester) -> None:
    rooted(tester)
    peer = capable(tester)
    peer.flags = HostFlag.SUPER_NODE
    tester.wait(tester.timing.parameters.refresh_rp_core + 0.5)
    tester.equal(Status(refresh(peer).status), Status.UNKNOWN_HOST, "the answer")


@case("5/55", "A super node that is none is offered no place", "source", seconds=8)
def not_chosen_asks(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester, 0)
    enlist(tester, played, peer)
    strangers = [capable(tester, number) for number in range(1, 1 + peer.record().out_degree * 2)]
    for stranger in strangers:
        stranger.flags = HostFlag.SUPER_NODE
        answer = apply_for_place(stranger)
        tester.equal(Status(answer.status), Status.FULL, "the answer to one that is none")
    tester.equal(Status(apply_for_place(peer).status), Status.SUCCESS, "the answer to one that is")


@case("5/19", "A cluster member has no place here", "source")
def member_refreshes(tester: Tester) -> None:
    rooted(tester)
    member = tester.peer("member")
    member.host = HostId(0x500)
    tester.equal(Status(refresh(member).status), Status.FULL, "the answer")


@case("5/20", "The mesh knows who belongs to it", "source", seconds=8)
def mesh_refreshes(tester: Tester) -> None:
    played, peer, stranger = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer)
    stranger.flags = HostFlag.SUPER_NODE
    tester.wait(tester.timing.parameters.refresh_rp_core + 0.5)
    answers = [refresh(each, RefreshKind.MESH).status for each in (peer, stranger)]
    tester.equal(answers, [Status.SUCCESS, Status.UNKNOWN_HOST], "the answers")


@case("5/21", "In its first seconds the source dismisses no super node", "source")
def first_seconds(tester: Tester) -> None:
    rooted(tester)
    peer = capable(tester)
    peer.flags = HostFlag.SUPER_NODE
    peer.tell(RefreshRequest, kind=RefreshKind.MESH, sender=peer.record())
    peer.expect_silence()


@case("1/22", "A Refresh of an unknown kind makes nobody a child", "source")
def unknown_kind(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    answer = peer.ask(RefreshRequest, kind=77, sender=peer.record())
    tester.equal(answer.backups + answer.siblings, (), "the relatives that it is named")


@case("5/22", "A super node that says nothing is probed", "source", seconds=2 * DEFAULTS.hold_mesh)
def silent_probed(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    parameters = tester.timing.parameters
    peer.forget()
    began = tester.now
    peer.expect(ProbeRequest, within=parameters.hold_mesh + 1.2 * parameters.refresh_mesh)
    tester.check(tester.now - began > parameters.hold_mesh - 2.0, "it is probed too soon")


@case("5/23", "A dead super node is dropped, and all hear of it", "source", seconds=20)
def dead_dropped(tester: Tester) -> None:
    played, dead, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, dead, other)
    dead.vanish()
    doubted(tester, other, dead)
    dead.expect(ProbeRequest)
    told(other, dead, within=10.0)
    reported(played, dead, HostState.INACTIVE)


@case("5/24", "A super node that answers the probe is kept", "source", seconds=15)
def living_kept(tester: Tester) -> None:
    played, peer, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer, other)
    doubted(tester, other, peer)
    peer.expect(ProbeRequest)
    played.peer.expect_silence(StatusReport, seconds=8.0)
    tester.equal(refresh(peer, RefreshKind.MESH).status, Status.SUCCESS, "the answer later")


@case("5/25", "Another host at a super node's address is none", "source")
def replaced(tester: Tester) -> None:
    played, peer, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer, other)
    changed = HostId(0x777)
    peer.on(
        ProbeRequest,
        lambda message: peer.reply(
            message,
            ProbeResponse,
            source=changed,
            timestamp=message.timestamp,
            sender=peer.record(host=changed),
        ),
    )
    doubted(tester, other, peer)
    reported(played, peer, HostState.INACTIVE)
    told(other, peer)


@case("5/26", "The successors of a dead super node are asked in turn", "source", seconds=30)
def successors(tester: Tester) -> None:
    played, dead = rooted(tester), capable(tester, 0)
    heir, second = capable(tester, 1), capable(tester, 2)
    enlist(tester, played, dead)
    heir.off(SetupRequest)
    refresh(dead, RefreshKind.MESH, successors=(heir.record(), second.record()))
    dead.vanish()
    name(played, dead, HostState.INACTIVE)
    heir.expect(SetupRequest, within=10.0)
    second.expect(SetupRequest, within=10.0)


@case("5/27", "A question about a super node is answered", "source")
def question(tester: Tester) -> None:
    played, one, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    stranger = capable(tester, 2)
    enlist(tester, played, one, other)
    one.forget()
    one.ask(StatusReport, state=HostState.ACTIVE, subject=other.record())
    report = told(one, other, HostState.ACTIVE)
    tester.equal(report.subject.endpoint, other.endpoint, "the endpoint in the report")
    one.ask(StatusReport, state=HostState.ACTIVE, subject=stranger.record())
    told(one, stranger, HostState.INACTIVE)


@case("5/28", "A stranger's report is answered and does nothing", "source")
def stranger_reports(tester: Tester) -> None:
    played, peer, stranger = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer)
    peer.forget()
    for host in (stranger.host, peer.host):
        stranger.ask(StatusReport, source=host, state=HostState.INACTIVE, subject=peer.record())
    peer.expect_silence(ProbeRequest)
    offer = stranger.record(flags=HostFlag.OFFERS)
    stranger.ask(StatusReport, state=HostState.ACTIVE, subject=offer)
    stranger.expect_silence(SetupRequest)


@case("5/29", "A super node that leaves is dropped, and all hear of it", "source")
def leaves(tester: Tester) -> None:
    played, peer, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer, other)
    peer.ask(LeaveReport, reason=LeaveReason.SHUTDOWN)
    reported(played, peer, HostState.INACTIVE)
    told(other, peer)


@case("1/21", "A super node that leaves for an unknown reason is dropped", "source")
def leaves_somehow(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    peer.ask(LeaveReport, reason=99)
    reported(played, peer, HostState.INACTIVE)


@case("5/29", "Nobody else can say that a super node leaves", "source", seconds=8)
def forged_leave(tester: Tester) -> None:
    played, peer, forger = rooted(tester), capable(tester), tester.peer("forger")
    enlist(tester, played, peer)
    forger.ask(LeaveReport, source=peer.host)
    played.peer.expect_silence(StatusReport)
    tester.equal(refresh(peer, RefreshKind.MESH).status, Status.SUCCESS, "the answer later")


@case("5/30", "The heir of a super node is made one", "source")
def heir_made(tester: Tester) -> None:
    played, peer, heir = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer)
    peer.ask(LeaveReport, reason=LeaveReason.HANDOVER, replacement=heir.record())
    heir.expect(SetupRequest)
    tester.equal(refresh(peer, RefreshKind.MESH).status, Status.SUCCESS, "the answer until then")


@case("5/31", "Nobody takes the source's place", "source")
def promotion_refused(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    apply_for_place(peer)
    refresh(peer)
    for asker in (peer, tester.peer("stranger")):
        answer = asker.ask(PromotionRequest, applicant=asker.record())
        tester.equal(Status(answer.status), Status.REFUSED, "the answer")


@case("5/32", "The source exchanges no child", "source")
def break_refused(tester: Tester) -> None:
    played, peer, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer)
    apply_for_place(peer)
    refresh(peer)
    answer = peer.ask(BreakRequest, applicant=other.record())
    tester.equal(Status(answer.status), Status.REFUSED, "the answer")


@case("5/39", "A super node that could not be reached is taken back", "source", seconds=25)
def taken_back(tester: Tester) -> None:
    played, peer, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer, other)
    peer.off(ProbeRequest)
    doubted(tester, other, peer)
    told(other, peer, within=10.0)
    peer.forget()
    tester.equal(refresh(peer, RefreshKind.MESH).status, Status.SUCCESS, "the answer")
    peer.expect(SetupRequest)


@case("5/40", "A place that is not renewed is lost", "source", seconds=3 * DEFAULTS.hold_mesh)
def place_lapses(tester: Tester) -> None:
    played, peer, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, peer, other)
    apply_for_place(peer)
    refresh(peer)
    peer.vanish()
    parameters = tester.timing.parameters
    for _ in range(5):
        tester.wait(parameters.hold_mesh / 3)
        refresh(other, RefreshKind.MESH)
    told(other, peer, within=parameters.hold_mesh)
    probe(other)


@case("3/13", "A lost invitation costs one repetition", "source")
def lost_invitation(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    peer.off(SetupRequest)
    name(played, peer, flags=HostFlag.OFFERS)
    first = peer.expect(SetupRequest)
    again = peer.expect(SetupRequest, within=tester.timing.parameters.retry_first)
    tester.equal(again, first, "the second try")
    peer.tell(JoinRequest, applicant=peer.record(flags=HostFlag.SUPER_NODE), passes=0)
    tester.wait(tester.timing.answer)
    probe(peer)
