"""Section 5, first part: whom the source makes super nodes, and the tree version."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.cases.bootstrap import arrived_at
from dmmp.conformance.cases.requests import located
from dmmp.conformance.generic import probe
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import PlayedRp, answer_plainly, play_parent, play_rp
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    RefreshRequest,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
)
from dmmp.messages.common import HostFlag, HostState, RefreshKind, Status
from dmmp.types import HostId, serial_newer

FIRST = 0x20
"""Id of the first host that could be a super node; others count on."""


def rooted(tester: Tester, hosts: int = 20) -> PlayedRp:
    """Play the RP until the source is registered, in a session of so many hosts."""
    played = play_rp(tester)
    played.hosts = hosts
    played.peer.expect(PingRpRequest)
    tester.wait(tester.timing.answer)
    return played


def capable(tester: Tester, number: int = 0, out_degree: int = 8) -> Peer:
    """Make a host that becomes a super node when it is asked to."""
    peer = play_parent(tester, f"node{number}", FIRST + number, flags=HostFlag.NONE, root_path=())
    peer.out_degree, peer.depth, peer.free_slots = out_degree, 255, 0
    return peer


def name(
    played: PlayedRp, peer: Peer, state: HostState = HostState.ACTIVE, **fields: object
) -> None:
    """Have the RP report a host to the source."""
    played.peer.ask(StatusReport, state=state, subject=peer.record(**fields))


def enlist(tester: Tester, played: PlayedRp, *peers: Peer) -> None:
    """Have hosts made super nodes, one after the other, and wait until that is known."""
    for peer in peers:
        name(played, peer, flags=HostFlag.OFFERS)
        peer.expect(SetupRequest)
        peer.flags = HostFlag.SUPER_NODE
        reported(played, peer)
    tester.wait(tester.timing.answer)


def reported(
    played: PlayedRp, peer: Peer, state: HostState = HostState.ACTIVE, within: float = 0.0
) -> StatusReport:
    """Take the source's report to the RP that a super node came or went."""
    return played.peer.expect(
        StatusReport,
        within,
        where=lambda message: message.subject.host == peer.host and message.state == state,
    )


@case("5/1", "The source describes itself as such", "source")
def own_record(tester: Tester) -> None:
    rooted(tester)
    record = probe(tester.peer()).sender
    tester.equal(record.flags, HostFlag.SOURCE, "the flags")
    tester.equal(record.depth, 0, "the depth")
    tester.equal(record.free_slots, 0, "the free slots")


@case("5/2", "A capable host is invited half a second later", "source")
def invited_later(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    began = tester.now
    name(played, peer)
    peer.expect(SetupRequest, within=1.0)
    wait = tester.timing.parameters.choose_after
    tester.near(arrived_at(peer) - began, wait, wait, "from the report to the invitation")


@case("5/3", "A host that offers itself is invited at once", "source")
def offering_invited(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    began = tester.now
    name(played, peer, flags=HostFlag.OFFERS)
    peer.expect(SetupRequest)
    wait = tester.timing.parameters.choose_after
    tester.near(arrived_at(peer) - began, 0.0, wait / 2, "from the report to the invitation")


@case("5/4", "The invitation is the source's, and names the others", "source")
def invitation(tester: Tester) -> None:
    played, one, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, one)
    name(played, other, flags=HostFlag.OFFERS)
    request = other.expect(SetupRequest)
    tester.equal(request.sender.host, played.subject, "the id in the source's record")
    tester.check(bool(request.sender.flags & HostFlag.SOURCE), "the record bears no flag SOURCE")
    tester.equal([each.host for each in request.members], [one.host], "the members")
    tester.equal(request.members[0].endpoint, one.endpoint, "the endpoint of the member")


@case("5/5", "Who accepts is a super node", "source")
def accepted(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    answer = peer.ask(RefreshRequest, kind=RefreshKind.MESH, sender=peer.record())
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to its Refresh")


@case("5/6", "Who does not answer is struck, another is asked", "source", seconds=20)
def invitation_unanswered(tester: Tester) -> None:
    played, silent, other = rooted(tester, 1), capable(tester, 0, 20), capable(tester, 1)
    silent.vanish()
    answer_plainly(silent)
    name(played, silent)
    name(played, other)
    silent.expect(SetupRequest, within=1.0)
    other.expect(SetupRequest, within=10.0)
    tester.equal(len(silent.seen(SetupRequest)), 4, "the number of further tries")


@case("5/6", "Who refuses is struck", "source")
def invitation_refused(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    peer.on(
        SetupRequest,
        lambda message: peer.reply(
            message, SetupResponse, status=Status.INCAPABLE, sender=peer.record()
        ),
    )
    name(played, peer, flags=HostFlag.OFFERS)
    peer.expect(SetupRequest)
    played.peer.expect_silence(StatusReport)
    peer.expect_silence(SetupRequest)


@case("1/23", "An unknown status in an answer refuses", "source")
def unknown_status(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    peer.on(
        SetupRequest,
        lambda message: peer.reply(message, SetupResponse, status=200, sender=peer.record()),
    )
    name(played, peer, flags=HostFlag.OFFERS)
    peer.expect(SetupRequest)
    played.peer.expect_silence(StatusReport)


@case("5/7", "Another host at the address is not taken", "source")
def another_accepts(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    peer.on(
        SetupRequest,
        lambda message: peer.reply(
            message, SetupResponse, source=HostId(0x666), sender=peer.record(host=HostId(0x666))
        ),
    )
    name(played, peer, flags=HostFlag.OFFERS)
    peer.expect(SetupRequest)
    played.peer.expect_silence(StatusReport)


@case("5/8", "The RP hears of a new super node", "source")
def rp_told(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    name(played, peer, flags=HostFlag.OFFERS)
    report = reported(played, peer)
    tester.equal(report.subject.endpoint, peer.endpoint, "the endpoint in the report")
    tester.check(bool(report.subject.flags & HostFlag.SUPER_NODE), "it is not named a super node")


@case("5/9", "The other super nodes hear of a new one", "source")
def others_told(tester: Tester) -> None:
    played, one, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    enlist(tester, played, one, other)
    report = one.expect(StatusReport, where=lambda message: message.subject.host == other.host)
    tester.equal(HostState(report.state), HostState.ACTIVE, "the state in the report")
    tester.equal(report.subject.endpoint, other.endpoint, "the endpoint in the report")


@case("5/10", "A new super node hears of all the others", "source")
def newcomer_told(tester: Tester) -> None:
    played, one, other = rooted(tester), capable(tester, 0), capable(tester, 1)
    # Both are asked before either has answered, so neither is named to the other.
    for peer in (one, other):
        peer.off(SetupRequest)
        name(played, peer, flags=HostFlag.OFFERS)
    requests = [peer.expect(SetupRequest) for peer in (one, other)]
    for peer, request in zip((one, other), requests, strict=True):
        peer.answer(request, SetupResponse, sender=peer.record())
    tester.wait(2 * tester.timing.answer)
    told = [message.subject.host for message in other.seen(StatusReport)]
    named = [each.host for each in requests[1].members]
    tester.check(one.host in told + named, "the second super node does not hear of the first")


@case("5/11", "A newer tree version is taken from the RP's answer", "source")
def version_taken(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    played.tree_version = 40
    enlist(tester, played, peer)
    tester.equal(probe(peer).tree_version, played.tree_version, "the tree version")


@case("5/11", "An older tree version is not taken", "source")
def older_version(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    played.tree_version = 40
    enlist(tester, played, peer)
    newest = probe(peer).tree_version
    other = capable(tester, 1)
    played.peer.on(
        StatusReport,
        lambda message: played.peer.reply(message, StatusResponse, tree_version=newest - 5),
    )
    enlist(tester, played, other)
    after = probe(peer).tree_version
    tester.check(not serial_newer(newest, after, 8), f"the tree version fell to {after}")


@case("5/12", "Without an RP the source raises the tree version", "source", seconds=15)
def raises_alone(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    before = probe(peer).tree_version
    name(played, peer, flags=HostFlag.OFFERS)
    played.peer.off(StatusReport, PingRpRequest, SubscriptionRequest)
    reported(played, peer)
    tester.wait(8.0)
    after = probe(peer).tree_version
    tester.check(serial_newer(after, before, 8), f"{after} is not newer than {before}")


@case("5/13", "An RP that started anew is registered at, at once", "source")
def rp_started_anew(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    played.peer.on(
        StatusReport,
        lambda message: played.peer.reply(message, StatusResponse, status=Status.REFUSED),
    )
    name(played, peer, flags=HostFlag.OFFERS)
    reported(played, peer)
    played.peer.forget(PingRpRequest)
    registration = played.peer.expect(PingRpRequest)
    tester.equal(registration.source, played.subject, "the id that it brings")
    before, after = registration.tree_version, probe(peer).tree_version
    tester.check(not serial_newer(before, after, 8), "the tree version fell")


@case("5/33", "An ordinary host is not chosen", "source")
def ordinary_host(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    name(played, peer, flags=HostFlag.ORDINARY)
    name(played, peer, flags=HostFlag.ORDINARY | HostFlag.OFFERS)
    peer.expect_silence(SetupRequest, seconds=2.0)


@case("5/34", "A leaf is not chosen", "source")
def leaf(tester: Tester) -> None:
    played = rooted(tester)
    peer = capable(tester, 0, 1)
    name(played, peer)
    peer.expect_silence(SetupRequest, seconds=2.0)


@case("1/26", "A host in an unknown state is not chosen", "source")
def unknown_state(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    name(played, peer)
    played.peer.ask(StatusReport, state=77, subject=peer.record())
    peer.expect_silence(SetupRequest, seconds=2.0)


@case("1/20", "Unknown flags of a host change nothing", "source")
def unknown_flags(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    name(played, peer, flags=HostFlag.OFFERS | 0x80)
    peer.expect(SetupRequest)


@case("5/35", "A super node of the source before is taken up", "source")
def former_super_node(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    began = tester.now
    name(played, peer, flags=HostFlag.SUPER_NODE, depth=1)
    peer.expect(SetupRequest)
    wait = tester.timing.parameters.choose_after
    tester.near(arrived_at(peer) - began, 0.0, wait / 2, "from the report to the invitation")


@case("5/36", "Another source: a pause of 10 s, then anew", "source", seconds=14)
def another_source(tester: Tester) -> None:
    rp, request = located(tester)
    rp.answer(request, PingRpResponse, status=Status.DUPLICATE_SOURCE, observed=tester.subject)
    pause = tester.timing.parameters.retry_bootstrap_most
    rp.expect_silence(seconds=pause - 0.5)
    rp.expect(SubscriptionRequest, within=0.5)


@case("5/36", "Another source appears: it leaves the RP", "source", seconds=10)
def another_source_later(tester: Tester) -> None:
    played = rooted(tester)
    rp = played.peer
    rp.on(
        PingRpRequest,
        lambda message: rp.reply(
            message, PingRpResponse, status=Status.DUPLICATE_SOURCE, observed=tester.subject
        ),
    )
    rp.forget()
    rp.expect(PingRpRequest, within=1.2 * tester.timing.parameters.refresh_rp_core)
    tester.wait(tester.timing.answer)
    rp.expect_silence(PingRpRequest, seconds=2.0)


@case("5/37", "A tenth of the hosts, the most capable", "source", seconds=10)
def tenth(tester: Tester) -> None:
    played = rooted(tester, 30)
    peers = [capable(tester, number, out_degree=4 + number) for number in range(5)]
    for peer in peers:
        name(played, peer)
    tester.wait(3.0)
    chosen = [peer.name for peer in peers if peer.seen(SetupRequest)]
    tester.equal(chosen, ["node2", "node3", "node4"], "who is invited")


@case("5/38", "Who left is not chosen", "source")
def left_before(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    for state in (HostState.LEAVING, HostState.INACTIVE):
        name(played, peer)
        name(played, peer, state)
        peer.expect_silence(SetupRequest, seconds=1.0)
    name(played, peer)
    peer.expect(SetupRequest, within=1.0)
    peer.tell(LeaveReport)
