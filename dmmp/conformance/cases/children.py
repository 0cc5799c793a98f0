"""Section 7, second part: who becomes a child, and for how long; of super nodes and members."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.playing import (
    SOURCE_ID,
    SUBJECT_ID,
    add_child,
    apply_for_place,
    choose,
    need_places,
    play_parent,
    play_rp,
    play_source,
    refresh,
    seat,
)
from dmmp.conformance.requirement import Role
from dmmp.conformance.staging import fill, of_kind, placed, stranger
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    BreakRequest,
    JoinRequest,
    JoinResponse,
    PingRpRequest,
    ProbeRequest,
    PromotionRequest,
    RefreshRequest,
)
from dmmp.messages.common import RefreshKind, Status
from dmmp.messages.options import TlvType
from dmmp.messages.schema import Tlv
from dmmp.types import HostId

BOTH = ("super-node", "member")


@case("7/20", "A free place is offered, with record and root path", *BOTH)
def place_offered(tester: Tester) -> None:
    stage = placed(tester)
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to an applicant")
    tester.equal(answer.parent.host, SUBJECT_ID, "the host in its offer")
    tester.equal(answer.parent.depth, len(stage.path), "the depth in its offer")
    tester.equal(answer.root_path, stage.path, "the root path in its offer")


@case("7/21", "Reservations are never more than its places", *BOTH)
def reservations_bounded(tester: Tester) -> None:
    stage = placed(tester)
    answers = [
        Status(apply_for_place(stranger(tester, f"applicant{at}", 0x400 + at)).status)
        for at in range(stage.places + 2)
    ]
    wanted = [Status.SUCCESS] * stage.places + [Status.FULL] * 2
    tester.equal(answers, wanted, "the answers to one applicant after the other")


@case("7/21", "Children are never more than its places", *BOTH)
def children_bounded(tester: Tester) -> None:
    stage = placed(tester)
    fill(stage)
    answers = [
        Status(refresh(stranger(tester, f"applicant{at}", 0x400 + at)).status) for at in range(2)
    ]
    tester.equal(answers, [Status.FULL] * 2, "the answers to children beyond its places")


@case("7/22", "A reservation lapses after 3 s", *BOTH, seconds=8.0)
def reservation_lapses(tester: Tester) -> None:
    stage = placed(tester)
    for at in range(stage.places):
        apply_for_place(stranger(tester, f"applicant{at}", 0x400 + at))
    late = stranger(tester, "late", 0x4F0)
    tester.equal(Status(apply_for_place(late).status), Status.FULL, "the answer at first")
    tester.wait(tester.timing.parameters.reservation_hold + tester.timing.answer)
    tester.equal(Status(apply_for_place(late).status), Status.SUCCESS, "the answer 3 s later")


@case("7/23", "Who stands in its root path gets LOOP", *BOTH)
def ancestor_refused(tester: Tester) -> None:
    stage = placed(tester)
    for host in (stage.path[-1], stage.path[0], SUBJECT_ID):
        answer = apply_for_place(stranger(tester, f"id {host:x}", host))
        tester.equal(Status(answer.status), Status.LOOP, f"the answer to host {host:x}")


@case("7/24", "An applicant whose root path would be longer than 63 gets FULL", "member")
def too_deep_below(tester: Tester) -> None:
    path = tuple(HostId(0x1000 + at) for at in range(61))
    seat(tester, play_parent(tester, root_path=(*path, SOURCE_ID)))
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.FULL, "the answer at a depth of 63")


@case("7/25", "Full it names its children, those with most free slots first", *BOTH)
def children_named(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage)
    for at, child in enumerate(children):
        child.free_slots = at
        refresh(child)
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.FULL, "the answer of a full host")
    named = [record.host for record in answer.children]
    tester.equal(named, [child.host for child in reversed(children)], "the children named")


@case("7/25", "Full, without free slots below, it passes nothing down", *BOTH)
def nothing_to_pass_down(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage)
    answer = apply_for_place(stranger(tester), passes=8)
    tester.equal(Status(answer.status), Status.FULL, "the answer of a full host")
    tester.check(not any(child.seen(JoinRequest) for child in children), "it passes it down")


@case("7/26", "Full, with free slots below, it passes a Join Request down", *BOTH)
def passed_down(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage, free_slots=2)
    peer = stranger(tester)
    request = peer.tell(JoinRequest, applicant=peer.record(host=peer.host), passes=5)
    came = tester.take(children, (JoinRequest,))
    tester.check(came is not None, "no child got the Join Request")
    assert came is not None and isinstance(came.message, JoinRequest)
    tester.equal(came.message.passes, 4, "the passes left")
    tester.equal(came.message.sequence, request.sequence, "the number")
    tester.equal(came.message.source, SUBJECT_ID, "the source of what was passed down")
    tester.equal(came.message.applicant.host, peer.host, "the applicant")
    tester.equal(came.message.applicant.endpoint, peer.endpoint, "the applicant's address")
    peer.expect_silence(JoinResponse)


@case("7/27", "Passes above 8 count as 8", *BOTH)
def passes_bounded(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage, free_slots=2)
    peer = stranger(tester)
    peer.tell(JoinRequest, applicant=peer.record(), passes=200)
    came = tester.take(children, (JoinRequest,))
    tester.check(came is not None, "no child got the Join Request")
    assert came is not None and isinstance(came.message, JoinRequest)
    most = tester.timing.parameters.pass_down - 1
    tester.check(came.message.passes <= most, f"{came.message.passes} passes are left")


@case("7/28", "What the parent passes down is answered to the applicant", *BOTH)
def from_the_parent(tester: Tester) -> None:
    stage = placed(tester)
    peer = stranger(tester)
    request = stage.parent.tell(JoinRequest, applicant=peer.record(), passes=3)
    answer = peer.expect(JoinResponse, where=lambda message: message.sequence == request.sequence)
    need_places(stage.record)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the applicant")


@case("7/28", "What anybody else passes down is answered to nobody", *BOTH)
def from_anybody(tester: Tester) -> None:
    placed(tester)
    peer, liar = stranger(tester), stranger(tester, "liar", 0x901)
    liar.tell(JoinRequest, applicant=peer.record(), passes=3)
    peer.expect_silence(JoinResponse)
    tester.check(not liar.seen(JoinResponse), "it answers who passed it down")


@case("7/29", "Without a place it offers none", *BOTH)
def no_place_to_offer(tester: Tester) -> None:
    _homeless(tester)
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.NOT_JOINED, "the answer of a host without a place")


@case("7/32", "A confirmation of an ancestor is answered LOOP", *BOTH)
def ancestor_confirms(tester: Tester) -> None:
    stage = placed(tester)
    answer = refresh(stranger(tester, "ancestor", stage.path[-1]))
    tester.equal(Status(answer.status), Status.LOOP, "the answer to an ancestor")


@case("7/30", "Who confirms an offer is a child", *BOTH)
def confirmed(tester: Tester) -> None:
    stage = placed(tester)
    peer = stranger(tester)
    apply_for_place(peer)
    answer = refresh(peer)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the confirmation")
    tester.equal(answer.sender.host, SUBJECT_ID, "the host in the answer")
    tester.equal(answer.root_path, stage.path, "the root path in the answer")
    wanted = SUBJECT_ID if tester.role is Role.SUPER_NODE else stage.parent.cluster
    tester.equal(answer.super_node, wanted, "the super node in the answer")


@case("7/31", "Without a reservation a full host takes nobody", *BOTH)
def confirmed_without_reservation(tester: Tester) -> None:
    stage = placed(tester)
    fill(stage, free_slots=1)
    answer = refresh(stranger(tester))
    tester.equal(Status(answer.status), Status.FULL, "the answer of a full host")
    tester.check(len(answer.backups) <= 2, "it names more than two children instead")


@case("7/33", "A child is told of others, and never of itself", *BOTH)
def relatives_named(tester: Tester) -> None:
    placed(tester)
    first, second = add_child(tester, "first", 0x301), add_child(tester, "second", 0x302)
    for child, other in ((first, second), (second, first)):
        answer = refresh(child)
        siblings = [record.host for record in answer.siblings]
        tester.equal(siblings, [other.host], f"the siblings of {child.name}")
        backups = [record.host for record in answer.backups]
        tester.check(child.host not in backups, "a child is its own backup")


@case("7/33", "A member names its own parent as a backup", "member")
def grandparent_named(tester: Tester) -> None:
    stage = placed(tester)
    answer = refresh(add_child(tester))
    backups = [record.host for record in answer.backups]
    tester.check(stage.parent.host in backups, "the grandparent is no backup")


@case("7/34", "A super node tells its children who would succeed it", "super-node")
def successor_named(tester: Tester) -> None:
    placed(tester)
    leaf = add_child(tester, "leaf", 0x301, out_degree=1)
    able = add_child(tester, "able", 0x302, out_degree=6)
    tester.equal(refresh(leaf).successor.host, able.host, "the successor")


@case("7/35", "Another id at a child's address ends the child", *BOTH)
def another_id(tester: Tester) -> None:
    stage = placed(tester)
    child = fill(stage)[0]
    child.host = HostId(0x3F0)
    answer = apply_for_place(child)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to who came anew")


@case("7/37", "A child's place is kept for its hold time", *BOTH, seconds=45.0)
def place_kept(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage)
    tester.wait(tester.timing.parameters.hold_cluster - 1.0)
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.FULL, "the answer to another applicant")
    tester.check(
        not any(child.seen(ProbeRequest, _is_doubt) for child in children), "it doubts a child"
    )


@case("7/38", "A silent child is probed, then dropped", *BOTH, seconds=70.0)
def silent_child_dropped(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage)
    for child in children:
        child.vanish()
    limits = tester.timing.parameters
    children[0].expect(
        ProbeRequest, within=limits.hold_cluster + limits.refresh_cluster, where=_is_doubt
    )
    tester.wait(2 * limits.refresh_cluster)
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to another applicant")


@case("7/39", "Children hear at once of another path above", "member")
def path_passed_on(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester)
    child.forget()
    path = (HostId(0x77), SOURCE_ID)
    stage.parent.tell(
        RefreshRequest,
        kind=RefreshKind.PARENT,
        sender=stage.parent.record(depth=2),
        super_node=stage.parent.cluster,
        root_path=path,
    )
    said = child.expect(RefreshRequest, where=of_kind(RefreshKind.PARENT))
    tester.equal(said.root_path, (stage.parent.host, *path), "the new root path")


@case("7/40", "A Refresh of kind PARENT is taken from the parent only, and not answered", *BOTH)
def false_parent(tester: Tester) -> None:
    placed(tester)
    child, liar = add_child(tester), stranger(tester)
    child.forget()
    for peer in (liar, child):
        peer.tell(
            RefreshRequest,
            kind=RefreshKind.PARENT,
            sender=peer.record(),
            root_path=(HostId(0x77), SOURCE_ID),
        )
    liar.expect_silence()
    tester.check(not child.seen(RefreshRequest), "it tells its children what a stranger said")


@case("7/42", "A relative's Refresh is answered with record and path, and names nobody", *BOTH)
def relative_answered(tester: Tester) -> None:
    stage = placed(tester)
    add_child(tester)
    answer = refresh(stranger(tester), RefreshKind.RELATIVE)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to a relative")
    tester.equal(answer.sender.host, SUBJECT_ID, "the host in the answer")
    tester.equal(answer.root_path, stage.path, "the root path in the answer")
    tester.equal((answer.backups, answer.siblings), ((), ()), "those named in the answer")


@case("7/56", "With its last place taken the host above, or the RP, hears at once", *BOTH)
def no_room_left(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.forget()
    stage.rp.peer.forget()
    fill(stage)
    soon = tester.timing.parameters.room_wait
    if tester.role is Role.MEMBER:
        stage.parent.expect(
            RefreshRequest, within=soon, where=lambda message: message.sender.free_slots == 0
        )
    else:
        stage.rp.peer.expect(
            PingRpRequest, within=soon, where=lambda message: message.host.free_slots == 0
        )


@case("7/58", "A probe is answered with timestamp and record, without a place too", *BOTH)
def probe_without_a_place(tester: Tester) -> None:
    _homeless(tester)
    answer = stranger(tester).ask(ProbeRequest, timestamp=0x0123456789ABCDEF)
    tester.equal(answer.timestamp, 0x0123456789ABCDEF, "the timestamp")
    tester.equal(answer.sender.host, SUBJECT_ID, "the host in the answer")
    tester.equal(answer.sender.depth, 255, "its depth")


@case("7/58", "The answer to a padded probe has no element", *BOTH)
def padded_probe(tester: Tester) -> None:
    stage = placed(tester)
    padding = Tlv(TlvType.PADDING, bytes(600))
    answer = stranger(tester).ask(ProbeRequest, timestamp=1, tlvs=(padding,))
    tester.equal(answer.tlvs, (), "the elements of the answer")
    tester.equal(answer.sender.depth, len(stage.path), "its depth")


@case("7/60", "A super node changes places with nobody", "super-node")
def promotion_at_a_super_node(tester: Tester) -> None:
    placed(tester)
    child = add_child(tester, out_degree=50, uptime=50_000)
    answer = child.ask(PromotionRequest, applicant=child.record())
    tester.equal(Status(answer.status), Status.REFUSED, "the answer of a super node")


@case("7/63", "A Break Request of a host that is no child is refused", *BOTH)
def break_of_a_stranger(tester: Tester) -> None:
    placed(tester)
    peer, other = stranger(tester), stranger(tester, "other", 0x901)
    answer = peer.ask(BreakRequest, applicant=other.record())
    tester.check(answer.status != Status.SUCCESS, "it gives away a place that nobody has")


@case("7/64", "After its word the child's place is the applicant's", *BOTH)
def exchange(tester: Tester) -> None:
    stage = placed(tester)
    child = fill(stage)[0]
    other = stranger(tester, out_degree=20, uptime=5000)
    answer = child.ask(BreakRequest, applicant=other.record())
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to its child")
    tester.equal(Status(refresh(other).status), Status.SUCCESS, "the answer to the applicant")
    answer = apply_for_place(stranger(tester, "third", 0x902))
    tester.equal(Status(answer.status), Status.FULL, "the answer to a third host")
    tester.check(refresh(child).status != Status.SUCCESS, "the child before has its place still")


@case("7/68", "A request that is repeated is answered again", *BOTH)
def answered_again(tester: Tester) -> None:
    need_places(placed(tester).record)
    peer = stranger(tester)
    request = peer.make(JoinRequest, applicant=peer.record(), passes=0)
    for _ in range(2):
        peer.send(request)
        answer = peer.expect_answer(request)
        tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the applicant")


def _is_doubt(message: ProbeRequest) -> bool:
    """Tell whether a probe asks if its receiver lives; a padded one measures the path."""
    return not message.tlvs


def _homeless(tester: Tester) -> None:
    """Let it have an id, and be chosen if it is a super node, but find no place."""
    if tester.role is Role.MEMBER:
        rp = play_rp(tester)
        rp.peer.expect(PingRpRequest)
        tester.wait(tester.timing.answer)
    else:
        source = play_source(tester)
        source.off(JoinRequest)
        choose(tester, source)
