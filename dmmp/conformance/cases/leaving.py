"""Section 9: leaving in good order, and what others make of it."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.cases.source_choice import capable, enlist, rooted
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import (
    add_child,
    apply_for_place,
    choose,
    offer,
    play_parent,
    play_rp,
    play_source,
    refresh,
)
from dmmp.conformance.requirement import Role
from dmmp.conformance.staging import (
    EVERYTHING,
    Placed,
    Stream,
    answer_refresh,
    bitmap,
    fill,
    numbers,
    of_kind,
    placed,
    refuse_places,
    stranger,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    DataRequest,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    PingRpRequest,
    ProbeRequest,
    RefreshRequest,
)
from dmmp.messages.common import LeaveReason, RefreshKind, Status
from dmmp.messages.schema import FieldValue

BOTH = ("super-node", "member")
STOP = (Feature.STOP,)
CHILD = of_kind(RefreshKind.CHILD)


def _says(reason: LeaveReason) -> FieldValue:
    return lambda message: message.reason == reason


SHUTDOWN, HANDOVER = _says(LeaveReason.SHUTDOWN), _says(LeaveReason.HANDOVER)
MOVED = _says(LeaveReason.MOVED)


@case("9/1", "A Leave Report of a stranger is answered", "rp")
def stranger_leaves_an_rp(tester: Tester) -> None:
    peer = stranger(tester)
    answer = peer.ask(LeaveReport, reason=LeaveReason.SHUTDOWN)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer")


@case("9/1", "A Leave Report of a stranger is answered", "source", *BOTH)
def stranger_leaves(tester: Tester) -> None:
    if tester.role is Role.SOURCE:
        play_rp(tester).peer.expect(PingRpRequest)
        tester.wait(tester.timing.answer)
    else:
        placed(tester)
    peer = stranger(tester)
    for reason in (LeaveReason.SHUTDOWN, LeaveReason.MOVED, LeaveReason.DECLINED):
        answer = peer.ask(LeaveReport, reason=reason)
        tester.check(isinstance(answer, LeaveResponse), f"no answer to reason {reason}")


@case("9/1", "Who leaves answers others that leave", "source", *BOTH, needs=STOP)
def leaving_answers(tester: Tester) -> None:
    if tester.role is Role.SOURCE:
        told = capable(tester)
        enlist(tester, rooted(tester), told)
    else:
        told = placed(tester).parent
    told.off(LeaveReport)
    tester.carrier.stop()
    told.expect(LeaveReport)
    for peer in (told, stranger(tester)):
        answer = peer.ask(LeaveReport, reason=LeaveReason.MOVED)
        tester.check(isinstance(answer, LeaveResponse), "no answer while it leaves")


@case("9/2", "Who goes tells its parent, the RP and the source", *BOTH, needs=STOP)
def says_goodbye(tester: Tester) -> None:
    stage = placed(tester)
    tester.carrier.stop()
    for peer in (stage.parent, stage.rp.peer):
        peer.expect(LeaveReport, where=SHUTDOWN)


@case("9/22", "Who goes tells its guests", *BOTH, needs=STOP)
def guests_told(tester: Tester) -> None:
    placed(tester)
    guest = stranger(tester)
    refresh(guest, RefreshKind.RELATIVE)
    tester.carrier.stop()
    report = guest.expect(LeaveReport, where=SHUTDOWN)
    tester.equal(report.replacement.host, 0, "the host that it names")


@case("9/3", "With all answers there it is gone", *BOTH, needs=STOP)
def gone_when_answered(tester: Tester) -> None:
    stage = placed(tester)
    tester.carrier.stop()
    stage.parent.expect(LeaveReport, where=SHUTDOWN)
    tester.wait(tester.timing.answer)
    peer = stranger(tester)
    peer.tell(ProbeRequest, timestamp=1)
    peer.expect_silence()


@case("9/3", "Without answers it is gone 0.8 s later", *BOTH, needs=STOP)
def gone_without_answers(tester: Tester) -> None:
    stage = placed(tester)
    for peer in (stage.parent, stage.rp.peer):
        peer.off(LeaveReport)
    tester.carrier.stop()
    stage.parent.expect(LeaveReport, where=SHUTDOWN)
    tester.wait(tester.timing.parameters.leave_wait + tester.timing.answer)
    for peer in (stage.parent, stage.rp.peer):
        peer.expect_silence(LeaveReport, PingRpRequest, RefreshRequest)


@case("9/21", "A Leave Report without an answer is sent again", *BOTH, needs=STOP)
def leave_report_again(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.off(LeaveReport)
    tester.carrier.stop()
    first = stage.parent.expect(LeaveReport, where=SHUTDOWN)
    again = stage.parent.expect(LeaveReport, within=tester.timing.parameters.retry_first)
    tester.equal(again, first, "the second try")


@case("9/4", "Children but the heir are sent to the heir", *BOTH, needs=STOP, seconds=10.0)
def children_sent_to_the_heir(tester: Tester) -> None:
    _, able, other = _with_heir(tester)
    tester.carrier.stop()
    report = other.expect(LeaveReport, within=_election(tester), where=SHUTDOWN)
    tester.equal(report.replacement.host, able.host, "who is named to a child")
    tester.check(not able.seen(LeaveReport), "the heir is sent away with the others")


@case("9/4", "Without an heir children are sent to the parent", *BOTH, needs=STOP)
def children_sent_to_the_parent(tester: Tester) -> None:
    stage = placed(tester)
    leaf = add_child(tester, "leaf", 0x301, out_degree=1)
    tester.carrier.stop()
    report = leaf.expect(LeaveReport, where=SHUTDOWN)
    tester.equal(report.replacement.host, stage.parent.host, "who is named to a child")


@case("9/5", "The heir is able, then old", *BOTH, needs=STOP, seconds=10.0)
def heir_chosen(tester: Tester) -> None:
    placed(tester)
    young = add_child(tester, "young", 0x301, out_degree=6, uptime=10)
    old = add_child(tester, "old", 0x302, out_degree=6, uptime=500)
    tester.carrier.stop()
    report = young.expect(LeaveReport, within=_election(tester), where=SHUTDOWN)
    tester.equal(report.replacement.host, old.host, "the heir")


@case("9/6", "The parent hears of the heir, then that one is sent", *BOTH, needs=STOP, seconds=12.0)
def place_handed_over(tester: Tester) -> None:
    stage, able, other = _with_heir(tester)
    stage.parent.off(LeaveReport)
    tester.carrier.stop()
    other.expect(LeaveReport, within=_election(tester), where=SHUTDOWN)
    other.tell(LeaveReport, reason=LeaveReason.MOVED)
    notice = stage.parent.expect(LeaveReport, within=0.5, where=HANDOVER)
    tester.equal(notice.replacement.host, able.host, "the heir named to the parent")
    tester.check(not able.seen(LeaveReport), "the heir is sent before the parent has answered")
    stage.parent.answer(notice, LeaveResponse)
    report = able.expect(LeaveReport, where=SHUTDOWN)
    tester.equal(report.replacement.host, stage.parent.host, "who is named to the heir")


@case("9/7", "While it leaves it passes on and answers", *BOTH, needs=STOP, seconds=8.0)
def serves_while_it_leaves(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester, out_degree=1, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    tester.carrier.stop()
    child.expect(LeaveReport, where=SHUTDOWN)
    stream.send(stage.parent, 1, 2)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1, 2], "the numbers that came")
    child.forget()
    child.tell(DataRequest, origin=stream.origin, channel=1, base=1, bitmap=bitmap(1, [2]))
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [2], "the numbers that came in answer")


@case("9/8", "While it leaves children are renewed, others get NOT_JOINED", *BOTH, needs=STOP)
def refreshed_while_it_leaves(tester: Tester) -> None:
    child = _leaving(tester)
    tester.equal(Status(refresh(child).status), Status.SUCCESS, "the answer to a child")
    answer = refresh(stranger(tester))
    tester.equal(Status(answer.status), Status.NOT_JOINED, "the answer to another host")


@case("9/9", "While it leaves it offers nobody a place", *BOTH, needs=STOP)
def no_place_while_it_leaves(tester: Tester) -> None:
    _leaving(tester)
    peer = stranger(tester)
    peer.tell(JoinRequest, applicant=peer.record(), passes=0)
    peer.expect_silence(
        JoinResponse, seconds=0.5, where=lambda message: message.status == Status.SUCCESS
    )


def _leaving(tester: Tester) -> Peer:
    """Have it leave while a child keeps it."""
    placed(tester)
    child = add_child(tester, out_degree=1)
    tester.carrier.stop()
    child.expect(LeaveReport, where=SHUTDOWN)
    return child


@case("9/10", "A super node has the source elect its heir first", "super-node", needs=STOP)
def heir_elected(tester: Tester) -> None:
    stage, able, other = _with_heir(tester)
    tester.carrier.stop()
    report = stage.parent.expect(LeaveReport, where=HANDOVER)
    tester.equal(report.replacement.host, able.host, "the heir named to the source")
    tester.check(not other.seen(LeaveReport), "a child is sent away before the election")


@case("9/11", "With children that stay it goes all the same", *BOTH, needs=STOP, seconds=15.0)
def goes_all_the_same(tester: Tester) -> None:
    stage, _, _ = _with_heir(tester)
    tester.carrier.stop()
    limits = tester.timing.parameters
    stage.parent.expect(
        LeaveReport, within=limits.leave_elect + 2 * limits.leave_move, where=SHUTDOWN
    )
    tester.wait(limits.leave_wait + tester.timing.answer)
    peer = stranger(tester)
    peer.tell(ProbeRequest, timestamp=1)
    peer.expect_silence()


@case("9/19", "With its parent dead it goes and names nobody", *BOTH, needs=STOP, seconds=10.0)
def parent_dead_while_it_leaves(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester, out_degree=6, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.flow(stage.parent)
    stage.parent.vanish()
    tester.carrier.stop()
    report = child.expect(LeaveReport, within=1.7, where=SHUTDOWN)
    tester.equal(report.replacement.host, 0, "who is named to a child")


@case("9/20", "Going while it confirms a place it gives that back", *BOTH, needs=STOP)
def gives_back(tester: Tester) -> None:
    if tester.role is Role.MEMBER:
        parent = play_parent(tester)
        answer_refresh(parent, RefreshKind.CHILD, lambda message: None)
        play_rp(tester, (parent,))
    else:
        parent = play_source(tester)
        answer_refresh(parent, RefreshKind.CHILD, lambda message: None)
        choose(tester, parent)
    parent.expect(RefreshRequest, within=5.0, where=CHILD)
    tester.carrier.stop()
    parent.expect_one((LeaveReport,), where=lambda message: message.reason != LeaveReason.HANDOVER)


@case("9/12", "A child's very place is kept for its heir", *BOTH, seconds=10.0)
def place_kept_for_the_heir(tester: Tester) -> None:
    stage = placed(tester)
    child = fill(stage)[0]
    heir = stranger(tester, "heir")
    child.ask(LeaveReport, reason=LeaveReason.HANDOVER, replacement=heir.record())
    other = stranger(tester, "other", 0x901)
    tester.equal(Status(apply_for_place(other).status), Status.FULL, "the answer to another")
    tester.equal(Status(apply_for_place(heir).status), Status.SUCCESS, "the answer to the heir")
    tester.equal(Status(refresh(heir).status), Status.SUCCESS, "the answer to its Refresh")
    tester.equal(Status(apply_for_place(other).status), Status.FULL, "the answer to another then")
    tester.check(refresh(child).status != Status.SUCCESS, "the child before has its place still")


@case("9/13", "A child that leaves makes room, and gets nothing more", *BOTH)
def child_leaves(tester: Tester) -> None:
    stage = placed(tester)
    stream = Stream(tester)
    stream.begin(stage.parent)
    children = fill(stage)
    for child, reason in zip(children, (LeaveReason.MOVED, LeaveReason.SHUTDOWN), strict=False):
        refresh(child, interest=EVERYTHING)
        stream.send(stage.parent, stream.highest + 1)
        child.ask(LeaveReport, reason=reason)
        child.forget()
        stream.send(stage.parent, stream.highest + 1)
        tester.wait(tester.timing.answer)
        tester.equal(numbers(child), [], "the numbers that came after it left")
        peer = stranger(tester, f"after {child.name}", 0x900 + reason)
        tester.equal(Status(apply_for_place(peer).status), Status.SUCCESS, "the next answer")


@case("9/14", "An offer that was declined is free again", *BOTH)
def offer_declined(tester: Tester) -> None:
    stage = placed(tester)
    peers = [stranger(tester, f"applicant{at}", 0x400 + at) for at in range(stage.places)]
    for peer in peers:
        apply_for_place(peer)
    peers[0].tell(LeaveReport, reason=LeaveReason.DECLINED)
    answer = apply_for_place(stranger(tester, "next", 0x4F0))
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the next applicant")


@case("9/15", "Sent away it asks who is named, and is served meanwhile", "member", seconds=10.0)
def sent_away(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x120)
    stage = placed(tester)
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    other.off(JoinRequest)
    stage.parent.ask(LeaveReport, reason=LeaveReason.SHUTDOWN, replacement=other.record())
    request = other.expect(JoinRequest)
    stream.send(stage.parent, 1)
    tester.wait(0.2)
    tester.equal(numbers(child), [1], "what came while it looked for a place")
    tester.check(not stage.parent.seen(LeaveReport), "it left before it had another place")
    other.send(offer(other, request, JoinResponse))
    other.expect(RefreshRequest, within=1.0, where=CHILD)
    stage.parent.expect(LeaveReport, where=MOVED)


@case("9/16", "A stranger that says it goes starts no search", *BOTH)
def stranger_says_shutdown(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x120)
    placed(tester)
    peer = stranger(tester)
    for reason in (LeaveReason.SHUTDOWN, LeaveReason.DISMISSED):
        peer.ask(LeaveReport, reason=reason, replacement=other.record())
    other.expect_silence(JoinRequest, RefreshRequest)


@case("9/17", "A mesh parent that leaves is out of the mesh at once", "super-node", seconds=10.0)
def mesh_parent_leaves(tester: Tester) -> None:
    source, member = play_source(tester), play_parent(tester, "node", 0x20)
    refuse_places(source)
    choose(tester, source, (member,))
    member.expect(RefreshRequest, within=5.0, where=CHILD)
    tester.wait(tester.timing.answer)
    tester.equal(
        Status(refresh(member, RefreshKind.MESH).status), Status.SUCCESS, "the answer before"
    )
    member.ask(LeaveReport, reason=LeaveReason.SHUTDOWN)
    tester.equal(
        Status(refresh(member, RefreshKind.MESH).status), Status.UNKNOWN_HOST, "the answer then"
    )


@case("9/18", "Who stands above inherits nothing", *BOTH)
def ancestor_inherits_nothing(tester: Tester) -> None:
    stage = placed(tester)
    child = fill(stage)[0]
    above = stranger(tester, "above", stage.path[0])
    child.ask(LeaveReport, reason=LeaveReason.HANDOVER, replacement=above.record())
    tester.check(refresh(above).status != Status.SUCCESS, "an ancestor becomes a child")
    tester.equal(Status(refresh(child).status), Status.SUCCESS, "the answer to the child")


def _with_heir(tester: Tester) -> tuple[Placed, Peer, Peer]:
    """Have a child that can be the heir, and one that can feed less."""
    stage = placed(tester)
    able = add_child(tester, "able", 0x301, out_degree=6)
    other = add_child(tester, "other child", 0x302, out_degree=2)
    return stage, able, other


def _election(tester: Tester) -> float:
    """Return how long it may take until children are told."""
    return tester.timing.parameters.leave_elect if tester.role is Role.SUPER_NODE else 0.0
