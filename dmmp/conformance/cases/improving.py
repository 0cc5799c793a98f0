"""Section 7, last part: changing places with a parent, and coming nearer to the source."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import (
    add_child,
    need_places,
    offer,
    play_parent,
    play_rp,
    refreshed,
    seat,
)
from dmmp.conformance.staging import (
    Placed,
    of_kind,
    placed,
    play_member,
    refuse_places,
    stranger,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    BreakRequest,
    BreakResponse,
    JoinNotification,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    ProbeRequest,
    PromotionAck,
    PromotionConfirm,
    PromotionRequest,
    RefreshRequest,
)
from dmmp.messages.common import RefreshKind, Status

CHILD = of_kind(RefreshKind.CHILD)


@case("7/61", "A stranger's Promotion Request is not granted", "member")
def promotion_of_a_stranger(tester: Tester) -> None:
    stage = placed(tester)
    peer = stranger(tester, out_degree=50, uptime=50_000)
    answer = peer.ask(PromotionRequest, applicant=peer.record())
    tester.check(answer.status != Status.SUCCESS, "it changes places with a stranger")
    tester.check(not stage.parent.seen(BreakRequest), "it asks its parent for a stranger")


@case("7/61", "A child that does not beat its parent stays below it", "member")
def promotion_of_a_weak_child(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester, out_degree=stage.record.out_degree, uptime=50_000)
    boast = child.record(out_degree=200)
    answer = child.ask(PromotionRequest, applicant=boast)
    tester.check(answer.status != Status.SUCCESS, "it changes places with a weak child")
    tester.check(not stage.parent.seen(BreakRequest), "it asks its parent for a weak child")


@case("7/62", "The parent is asked before a promotion is granted", "member")
def parent_asked_first(tester: Tester) -> None:
    stage, child, request = _promotion(tester)
    asked = stage.parent.expect(BreakRequest)
    tester.equal(asked.applicant.host, child.host, "the host in its Break Request")
    tester.equal(asked.applicant.endpoint, child.endpoint, "the address in its Break Request")
    child.expect_silence(PromotionAck, seconds=tester.timing.answer)
    stage.parent.answer(asked, BreakResponse)
    answer = child.expect_answer(request)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the child")
    tester.equal(answer.grandparent.host, stage.parent.host, "the grandparent named to it")


@case("7/62", "If the parent refuses, so does it", "member")
def parent_refuses(tester: Tester) -> None:
    stage, child, request = _promotion(tester)
    asked = stage.parent.expect(BreakRequest)
    stage.parent.answer(asked, BreakResponse, status=Status.REFUSED)
    answer = child.expect_answer(request)
    tester.check(answer.status != Status.SUCCESS, "it grants what its parent refused")


def _promotion(tester: Tester) -> tuple[Placed, Peer, PromotionRequest]:
    """Have a child that beats the implementation under test ask for its place."""
    stage = placed(tester)
    child = add_child(tester, out_degree=20 * stage.record.out_degree, uptime=50_000)
    return stage, child, child.tell(PromotionRequest, applicant=child.record())


@case("7/70", "A Break Request without an answer is sent again", "member")
def break_request_again(tester: Tester) -> None:
    stage, _, _ = _promotion(tester)
    first = stage.parent.expect(BreakRequest)
    again = stage.parent.expect(BreakRequest, within=tester.timing.parameters.retry_first)
    tester.equal(again, first, "the second try")


@case("7/65", "A child that beats its parent asks for its place", "member", seconds=110.0)
def asks_for_promotion(tester: Tester) -> None:
    above = play_parent(tester, "above", 0x10)
    weak = play_member(tester, "weak", 0x31, above, out_degree=2)
    weak.uptime = 1
    rp = play_rp(tester, (weak,))
    rp.hosts = 3
    need_places(weak.expect(RefreshRequest, within=5.0, where=CHILD).sender)
    request = weak.expect(PromotionRequest, within=95.0)
    tester.check(request.applicant.out_degree >= 4, "its record names a small out-degree")


@case("7/66", "Sent to another host it moves there, and says so", "member", seconds=10.0)
def makes_room(tester: Tester) -> None:
    stage = placed(tester)
    other = play_member(tester, "other", 0x31, stage.parent)
    notice = stage.parent.tell(JoinNotification, parent=other.record())
    tester.wait(tester.timing.answer)
    if not other.seen(JoinRequest) and stage.parent.seen(PromotionConfirm, _refuses):
        need_places(stage.record)  # Whoever feeds nobody may stay where it is.
    request = other.expect(JoinRequest)
    tester.equal(request.passes, 0, "the passes of its Join Request")
    other.expect(RefreshRequest, within=1.0, where=CHILD)
    answer = stage.parent.expect(PromotionConfirm)
    tester.equal(answer.sequence, notice.sequence, "the number of its answer")
    tester.equal(Status(answer.status), Status.SUCCESS, "its answer")


def _refuses(message: PromotionConfirm) -> bool:
    return message.status != Status.SUCCESS


@case("7/66", "Sent to a host that refuses it stays, and says so", "member", seconds=10.0)
def stays_when_refused(tester: Tester) -> None:
    stage = placed(tester)
    other = play_member(tester, "other", 0x31, stage.parent)
    other.on(JoinRequest, lambda message: offer(other, message, JoinResponse, status=Status.FULL))
    stage.parent.tell(JoinNotification, parent=other.record())
    answer = stage.parent.expect(PromotionConfirm, within=3.0)
    tester.check(answer.status != Status.SUCCESS, "it says that it moved")
    tester.check(not stage.parent.seen(LeaveReport), "it left the place that it had")


@case("7/66", "What a stranger says moves nobody", "member")
def notice_of_a_stranger(tester: Tester) -> None:
    stage = placed(tester)
    other = play_member(tester, "other", 0x31, stage.parent)
    stranger(tester).tell(JoinNotification, parent=other.record())
    other.expect_silence(JoinRequest)


@case("7/67", "A host that is nearer to the source is asked for a place", "member", seconds=40.0)
def comes_nearer(tester: Tester) -> None:
    far = play_parent(tester, "far", 0x11)
    near = play_parent(tester, "near", 0x12)
    far.delay_us, near.delay_us = 200_000, 2_000
    refuse_places(near)
    _, _, _ = seat(tester, far, near)
    near.on(JoinRequest, lambda message: offer(near, message, JoinResponse))
    near.on(RefreshRequest, lambda message: refreshed(near, message))
    near.forget()
    looks = 3 * tester.timing.parameters.nearing_look
    near.expect(ProbeRequest, within=looks)
    request = near.expect(JoinRequest, within=1.0)
    tester.equal(request.passes, 0, "the passes of its Join Request")
