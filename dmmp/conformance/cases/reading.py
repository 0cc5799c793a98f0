"""Section 1, second part: how hosts with a place in the tree read what they are told."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.generic import probe, ready
from dmmp.conformance.playing import add_child, offer, play_parent, play_rp, refresh, seat
from dmmp.conformance.tester import Tester
from dmmp.messages import JoinRequest, JoinResponse, LeaveReport, RefreshRequest
from dmmp.messages.common import HostFlag, RefreshKind, Status
from dmmp.types import HostId


@case("1/20", "Unknown flags of a child change nothing", "super-node", "member")
def unknown_flags(tester: Tester) -> None:
    ready(tester)
    child = add_child(tester, flags=0x80)
    tester.equal(Status(refresh(child).status), Status.SUCCESS, "the answer to its next Refresh")


@case("1/21", "A parent that leaves for an unknown reason is left", "member")
def parent_leaves_somehow(tester: Tester) -> None:
    _, parent, _ = seat(tester)
    other = play_parent(tester, "other", 0x11)
    parent.ask(LeaveReport, reason=99, replacement=other.record())
    other.expect(JoinRequest, within=1.0)


@case("1/22", "A Refresh of an unknown kind makes nobody a child", "super-node", "member")
def unknown_kind(tester: Tester) -> None:
    peer = ready(tester)
    peer.host = HostId(0x300)
    before = probe(peer).sender.free_slots
    answer = peer.ask(RefreshRequest, kind=77, sender=peer.record())
    tester.equal(answer.backups + answer.siblings, (), "the relatives that it is named")
    tester.equal(probe(peer).sender.free_slots, before, "the number of free slots")


@case("1/23", "An unknown status in an answer refuses", "member")
def unknown_status(tester: Tester) -> None:
    strange, plain = play_parent(tester, "strange", 0x11), play_parent(tester, "plain", 0x12)
    strange.on(JoinRequest, lambda message: offer(strange, message, JoinResponse, status=200))
    plain.delay = 0.05
    play_rp(tester, (strange, plain))
    plain.expect(RefreshRequest, within=5.0)
    asked = strange.seen(RefreshRequest, lambda message: message.kind == RefreshKind.CHILD)
    tester.check(not asked, "a place is confirmed that was not offered")


@case("1/25", "Where a child says that it is does not count", "super-node", "member")
def claimed_endpoint(tester: Tester) -> None:
    ready(tester)
    one = add_child(tester, "one", 0x201)
    elsewhere = tester.peer("elsewhere").endpoint
    refresh(one, sender=one.record(endpoint=elsewhere))
    other = add_child(tester, "other", 0x202, flags=int(HostFlag.NONE))
    siblings = refresh(other).siblings
    found = [each.endpoint for each in siblings if each.host == one.host]
    tester.equal(found, [one.endpoint], "where the other child is said to be")
