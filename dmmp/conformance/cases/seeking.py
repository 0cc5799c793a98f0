"""Section 7, first part: how a cluster member finds its place."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.peer import Answer, Peer
from dmmp.conformance.playing import (
    SOURCE_ID,
    SUBJECT_ID,
    offer,
    play_parent,
    play_rp,
    play_source,
    refreshed,
    seat,
)
from dmmp.conformance.requirement import Role
from dmmp.conformance.staging import (
    answer_refresh,
    gaps,
    of_kind,
    play_member,
    refuse_places,
    stranger,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    Message,
    PingRpRequest,
    ProbeRequest,
    RefreshRequest,
    SetupRequest,
    SourceRequest,
)
from dmmp.messages.common import HostFlag, LeaveReason, Phase, RefreshKind, Status
from dmmp.messages.schema import FieldValue
from dmmp.types import HostId

CHILD = of_kind(RefreshKind.CHILD)
BOTH = ("super-node", "member")
SEARCH = 3.0
"""Seconds in which a member has asked its first candidates, probes included."""


@case("7/1", "Several super nodes are probed, and the nearest is asked first", "member")
def nearest_first(tester: Tester) -> None:
    far, near = play_parent(tester, "far", 0x11), play_parent(tester, "near", 0x12)
    far.delay = 0.1
    play_rp(tester, (far, near))
    near.expect(ProbeRequest, within=1.0)
    far.expect(ProbeRequest, within=1.0)
    first = tester.take((far, near), (JoinRequest, ClusterRequest), within=1.0)
    tester.check(first is not None and first.peer is near, "the nearest is not asked first")


@case("7/2", "In the first build it sends a Cluster Request", "member")
def cluster_request_while_building(tester: Tester) -> None:
    parent = play_parent(tester)
    play_rp(tester, (parent,), phase=Phase.BUILDING)
    first = parent.expect_one((ClusterRequest, JoinRequest), within=SEARCH)
    tester.check(isinstance(first, ClusterRequest), "it asks by a Join Request in the first build")


@case("7/3", "Later it sends a Join Request with 8 passes", "member")
def join_request_while_running(tester: Tester) -> None:
    parent = play_parent(tester)
    play_rp(tester, (parent,))
    first = parent.expect_one((ClusterRequest, JoinRequest), within=SEARCH)
    tester.check(isinstance(first, JoinRequest), "it asks by a Cluster Request after the build")
    assert isinstance(first, JoinRequest)
    tester.equal(first.passes, tester.timing.parameters.pass_down, "the passes")


@case("7/4", "Who is named in a refusal gets a Join Request also while building", "member")
def join_request_after_a_refusal(tester: Tester) -> None:
    parent = play_parent(tester)
    child = play_member(tester, "child", 0x31, parent)
    parent.on(
        ClusterRequest,
        lambda message: offer(
            parent, message, ClusterResponse, status=Status.FULL, children=(child.record(),)
        ),
    )
    play_rp(tester, (parent,), phase=Phase.BUILDING)
    first = child.expect_one((ClusterRequest, JoinRequest), within=SEARCH)
    tester.check(isinstance(first, JoinRequest), "it asks a member by a Cluster Request")


@case("7/5", "Refused it asks the children with free slots that the refusal names", "member")
def children_asked_next(tester: Tester) -> None:
    parent = play_parent(tester)
    free = [play_member(tester, f"child{at}", 0x31 + at, parent) for at in range(3)]
    full = play_member(tester, "full", 0x3F, parent, free_slots=0)
    _refuse_with(parent, *free, full)
    play_rp(tester, (parent,))
    for child in free:
        child.expect(JoinRequest, within=SEARCH)
    full.expect_silence(JoinRequest)


@case("7/6", "Without an offer it goes on to the next candidate", "member", seconds=8.0)
def next_candidate(tester: Tester) -> None:
    silent, other = play_parent(tester, "silent", 0x11), play_parent(tester, "other", 0x12)
    silent.off(JoinRequest)
    other.delay = 0.05
    play_rp(tester, (silent, other))
    silent.expect(JoinRequest, within=SEARCH)
    other.expect(JoinRequest, within=tester.timing.parameters.join_wait + other.delay)


@case("7/7", "An offer of a host to which the request was passed down is taken", "member")
def offer_from_below(tester: Tester) -> None:
    parent = play_parent(tester)
    below = play_member(tester, "below", 0x31, parent)
    parent.off(JoinRequest)
    play_rp(tester, (parent,))
    request = parent.expect(JoinRequest, within=SEARCH)
    below.send(offer(below, request, JoinResponse))
    below.expect(RefreshRequest, within=1.0, where=CHILD)


@case("7/8", "A refusal of a host that was not asked does not count", "member")
def refusal_of_a_stranger(tester: Tester) -> None:
    parent = play_parent(tester)
    decoy = play_member(tester, "decoy", 0x31, parent)
    liar = stranger(tester)
    parent.off(JoinRequest)
    play_rp(tester, (parent,))
    request = parent.expect(JoinRequest, within=SEARCH)
    liar.send(offer(liar, request, JoinResponse, status=Status.FULL, children=(decoy.record(),)))
    tester.wait(0.2)
    tester.check(not decoy.seen(JoinRequest), "it believes a refusal of somebody else")
    parent.send(offer(parent, request, JoinResponse))
    parent.expect(RefreshRequest, within=1.0, where=CHILD)


@case("7/9", "Of several offers the one of the least depth is confirmed", "member")
def shallowest_offer(tester: Tester) -> None:
    deep, shallow, _ = _two_offers(tester)
    shallow.expect(RefreshRequest, within=1.0, where=CHILD)
    tester.check(not deep.seen(RefreshRequest, CHILD), "it confirms the deeper offer")


@case("7/10", "An offer is confirmed by a Refresh with the own record", "member")
def offer_confirmed(tester: Tester) -> None:
    _, parent, confirmation = seat(tester)
    tester.equal(confirmation.source, SUBJECT_ID, "the source of the confirmation")
    tester.equal(confirmation.sender.host, SUBJECT_ID, "the host in its record")
    said = parent.ask(ProbeRequest, timestamp=1).sender
    tester.equal(confirmation.sender.out_degree, said.out_degree, "the out-degree in its record")
    wanted = [record.group for record in confirmation.interest]
    tester.equal(len(wanted), len(set(wanted)), "the number of groups that it names")
    tester.check(not parent.seen(LeaveReport), "it leaves the place that it has just taken")


@case("7/11", "Offers that are not taken are declined", "member")
def others_declined(tester: Tester) -> None:
    deep, shallow, _ = _two_offers(tester)
    taken = tester.take((deep, shallow), (RefreshRequest,), 1.0, CHILD)
    tester.check(taken is not None, "it confirms neither of two offers")
    assert taken is not None
    other = deep if taken.peer is shallow else shallow
    report = other.expect(LeaveReport, within=1.0)
    tester.equal(LeaveReason(report.reason), LeaveReason.DECLINED, "what the other is told")


@case("7/12", "An offer whose path holds the own id is not taken", "member")
def offer_through_itself(tester: Tester) -> None:
    parent = play_parent(tester, root_path=(SUBJECT_ID, SOURCE_ID))
    play_rp(tester, (parent,))
    parent.expect(JoinRequest, within=SEARCH)
    parent.expect_silence(RefreshRequest)


@case("7/13", "A confirmation whose path holds the own id is not taken", "member")
def confirmation_through_itself(tester: Tester) -> None:
    parent = play_parent(tester)
    answer_refresh(
        parent,
        RefreshKind.CHILD,
        lambda message: refreshed(parent, message, root_path=(SUBJECT_ID, SOURCE_ID)),
    )
    play_rp(tester, (parent,))
    parent.expect(RefreshRequest, within=SEARCH, where=CHILD)
    tester.wait(tester.timing.answer)
    state = stranger(tester).ask(ProbeRequest, timestamp=1)
    tester.equal(state.sender.depth, 255, "its depth")


@case("7/14", "No place is taken by which the root path would be longer than 63", "member")
def too_deep(tester: Tester) -> None:
    path = tuple(HostId(0x1000 + at) for at in range(62))
    deep = play_parent(tester, "too deep", 0x11, root_path=(*path, SOURCE_ID))
    play_rp(tester, (deep,))
    deep.expect(JoinRequest, within=SEARCH)
    deep.expect_silence(RefreshRequest)


@case("7/14", "A place by which the root path is 63 long is taken", "member")
def just_not_too_deep(tester: Tester) -> None:
    path = tuple(HostId(0x1000 + at) for at in range(61))
    deep = play_parent(tester, "deep", 0x11, root_path=(*path, SOURCE_ID))
    play_rp(tester, (deep,))
    deep.expect(RefreshRequest, within=SEARCH, where=CHILD)


@case("7/15", "A refused confirmation is followed by the next offer", "member")
def next_offer(tester: Tester) -> None:
    deep, shallow, _ = _two_offers(tester)
    for peer in (deep, shallow):
        _refuse_confirmation(peer, Status.REFUSED)
    first = tester.take((deep, shallow), (RefreshRequest,), 1.0, CHILD)
    tester.check(first is not None, "it confirms neither of two offers")
    assert first is not None
    other = deep if first.peer is shallow else shallow
    other.expect(RefreshRequest, within=1.0, where=CHILD)


@case("7/16", "Children named in a refused confirmation are confirmed at once", "member")
def children_instead(tester: Tester) -> None:
    parent = play_parent(tester)
    child = play_member(tester, "child", 0x31, parent)
    answer_refresh(
        parent,
        RefreshKind.CHILD,
        lambda message: refreshed(parent, message, status=Status.FULL, backups=(child.record(),)),
    )
    play_rp(tester, (parent,))
    child.expect(RefreshRequest, within=SEARCH, where=CHILD)
    tester.check(not child.seen(JoinRequest), "it asks for an offer first")


@case("7/17", "Who did not answer a confirmation is told MOVED", "member", seconds=10.0)
def unanswered_confirmation(tester: Tester) -> None:
    parent = play_parent(tester)
    answer_refresh(parent, RefreshKind.CHILD, lambda message: None)
    play_rp(tester, (parent,))
    parent.expect(RefreshRequest, within=SEARCH, where=CHILD)
    report = parent.expect(LeaveReport, within=2.0)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what it is told")


@case("7/18", "Without a place it asks the RP again, and names who refused", "member", seconds=60.0)
def asks_the_rp_again(tester: Tester) -> None:
    parent = play_parent(tester)
    refuse_places(parent)
    rp = play_rp(tester, (parent,))
    parent.expect(JoinRequest, within=SEARCH)
    rp.peer.forget()
    most = tester.timing.parameters.retry_bootstrap_most
    instants = []
    for _ in range(4):
        request = rp.peer.expect(PingRpRequest, within=1.2 * most + 2.0)
        tester.check(parent.host in request.refused, "it does not name who refused")
        assert rp.peer.last is not None
        instants.append(rp.peer.last.at)
    tester.near(max(gaps(instants)), 0.0, 1.2 * most + 2.0, "the longest pause")


@case("7/19", "After three failed searches it offers itself", "member", seconds=20.0)
def offers_itself(tester: Tester) -> None:
    parent = play_parent(tester)
    refuse_places(parent)
    rp = play_rp(tester, (parent,))
    offered = rp.peer.expect(SourceRequest, within=15.0)
    tester.check(bool(offered.host.flags & HostFlag.OFFERS), "its record has no flag OFFERS")


@case("7/59", "Who was fed before says so when it confirms again", "member", seconds=25.0)
def fed_from_then_on(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x12)
    other.delay = 0.05
    _, parent, confirmation = seat(tester, None, other)
    tester.check(not confirmation.sender.flags & HostFlag.FED, "a newcomer says that it was fed")
    _refuse_confirmation(parent, Status.UNKNOWN_HOST)
    later = 1.2 * tester.timing.parameters.refresh_cluster + SEARCH
    again = other.expect(RefreshRequest, within=later, where=CHILD)
    tester.check(bool(again.sender.flags & HostFlag.FED), "a host that was fed does not say so")


def _refuse_with(parent: Peer, *children: Peer) -> None:
    parent.on(
        JoinRequest,
        lambda message: offer(
            parent,
            message,
            JoinResponse,
            status=Status.FULL,
            children=tuple(child.record() for child in children),
        ),
    )


def _refuse_confirmation(peer: Peer, status: Status) -> None:
    answer_refresh(peer, RefreshKind.CHILD, lambda message: refreshed(peer, message, status=status))


def _two_offers(tester: Tester) -> tuple[Peer, Peer, JoinRequest]:
    """Answer its Join Request twice: from a deep host that is old, a shallow one that is new."""
    parent = play_parent(tester)
    shallow = play_member(tester, "shallow", 0x31, parent)
    deep = play_member(tester, "deep", 0x32, shallow)
    shallow.uptime, deep.uptime = 1, 5000
    parent.off(JoinRequest)
    play_rp(tester, (parent,))
    request = parent.expect(JoinRequest, within=SEARCH)
    for peer in (deep, shallow):
        peer.send(offer(peer, request, JoinResponse))
    return deep, shallow, request


@case("7/69", "The loss of the first answer of each kind costs a repetition", *BOTH, seconds=20.0)
def first_answers_lost(tester: Tester) -> None:
    if tester.role is Role.MEMBER:
        above = play_parent(tester)
        rp = play_rp(tester, (above,))
    else:
        above = play_source(tester)
        rp = play_rp(tester, source=above)
    for peer in (rp.peer, above):
        for cls, answer in list(peer.answers.items()):
            peer.answers[cls] = _lossy(answer)
    if tester.role is Role.SUPER_NODE:
        rp.peer.expect(PingRpRequest, within=5.0, where=lambda message: message.source == 0)
        tester.wait(tester.timing.parameters.retry_first + tester.timing.answer)
        above.ask(SetupRequest, sender=above.record())
    above.expect(RefreshRequest, within=5.0, where=CHILD)
    tester.wait(tester.timing.parameters.retry_first + 2 * tester.timing.answer)
    state = stranger(tester).ask(ProbeRequest, timestamp=1)
    tester.equal(state.sender.depth, len((above.host, *above.root_path)), "its depth")


def _lossy(answer: Answer) -> Answer:
    """Lose the first answer, and give every later one."""
    lost: list[bool] = []

    def respond(message: FieldValue) -> Message | None:
        if not lost:
            lost.append(True)
            return None
        return answer(message)

    return respond
