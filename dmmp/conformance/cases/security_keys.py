"""Section 10, last part: the group's keys, at a member and at the source."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import answer_plainly, play_source
from dmmp.conformance.secured import MEMBER, RP, SOURCE, secure, wake_up
from dmmp.conformance.secured_playing import secured_placed
from dmmp.conformance.staging import Placed
from dmmp.conformance.tester import Tester
from dmmp.messages import KeyLeave, KeyRequest, KeyResponse, LeaveReport
from dmmp.messages.common import LeaveReason, Status
from dmmp.security.peer import Capability
from dmmp.types import HostId

SECURED = (Feature.SECURED,)
ROOT_LEVEL = 7
NODE_INDEX = 0xFFFFFF


@case("10/45", "A member asks for the source, then for keys", "member", needs=SECURED)
def keys_asked_for(tester: Tester) -> None:
    source, _ = _with_source(tester)
    request = source.expect(KeyRequest, within=2.0)
    tester.equal(request.epoch, 0, "the epoch of its first Key Request")


@case("10/46", "A Key Request is sent again", "member", needs=SECURED, seconds=20.0)
def keys_asked_for_again(tester: Tester) -> None:
    source, _ = _with_source(tester)
    for _ in range(4):
        source.expect(KeyRequest, within=5.0)


@case(
    "10/47",
    "A member that goes says so to the source first",
    "member",
    needs=(Feature.SECURED, Feature.STOP),
)
def key_leave_first(tester: Tester) -> None:
    source, stage = _with_source(tester)
    request = source.expect(KeyRequest, within=2.0)
    source.answer(request, KeyResponse, status=Status.FULL, epoch=1)
    tester.wait(tester.timing.answer)
    tester.carrier.stop()
    first = tester.take((source, stage.parent, stage.rp.peer), (KeyLeave, LeaveReport))
    tester.check(first is not None, "it says nothing when it goes")
    assert first is not None
    tester.check(isinstance(first.message, KeyLeave), "it says good-bye to others first")


def _with_source(tester: Tester) -> tuple[Peer, Placed]:
    """Have a place, and an RP that names a source."""
    source = play_source(tester)
    secure(source, SOURCE)
    stage = secured_placed(tester)
    stage.rp.source = source
    return source, stage


@case("10/48", "A member gets the keys of its path up to the root", "source", needs=SECURED)
def keys_given(tester: Tester) -> None:
    wake_up(tester)
    member = _member(tester, "member", 0x0B00)
    answer = _ask(member)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to a member")
    nodes = [key.node for key in answer.path]
    tester.check(len(nodes) >= 2, "there is no path of keys")
    tester.equal(nodes[0], answer.leaf, "the first node of the path")
    tester.equal(nodes[-1], ROOT_LEVEL << 24, "the last node of the path")
    for node in nodes[:-1]:
        level, index = node >> 24, node & NODE_INDEX
        tester.equal(index, answer.leaf >> 2 * level, f"the node of level {level}")


@case("10/48", "Who holds the present keys is told the epoch alone", "source", needs=SECURED)
def keys_held(tester: Tester) -> None:
    wake_up(tester)
    member = _member(tester, "member", 0x0B00)
    epoch = _ask(member).epoch
    answer = _ask(member, epoch)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to a member")
    tester.equal(answer.path, (), "the keys in the answer")
    tester.equal(answer.epoch, epoch, "the epoch in the answer")


@case("10/48", "Two members have leaves of their own, and one root", "source", needs=SECURED)
def two_members(tester: Tester) -> None:
    wake_up(tester)
    answers = [_ask(_member(tester, f"member{at}", 0x0B00 + at)) for at in range(2)]
    tester.check(answers[0].leaf != answers[1].leaf, "two members share a leaf")
    tester.check(answers[1].epoch > answers[0].epoch, "a join begins no epoch")
    roots = [answer.path[-1].key for answer in answers]
    tester.check(roots[0] != roots[1], "the second member gets the root of an epoch before it")


@case("10/49", "Who is certified for no member gets no key", "source", needs=SECURED)
def no_member(tester: Tester) -> None:
    wake_up(tester)
    peer = _member(tester, "point", 0x0B00, RP)
    peer.tell(KeyRequest, epoch=0)
    peer.expect_silence(KeyResponse, seconds=2.0)


@case("10/50", "A Key Leave is answered without keys", "source", needs=SECURED, seconds=8.0)
def key_leave_answered(tester: Tester) -> None:
    wake_up(tester)
    for name, joins in (("stranger", False), ("member", True)):
        member = _member(tester, name, 0x0B00 + joins)
        if joins:
            _ask(member)
        request = member.tell(KeyLeave, reason=LeaveReason.SHUTDOWN)
        answer = member.expect(KeyResponse, where=lambda message: not message.path)
        tester.equal(answer.sequence, request.sequence, "the number of the answer")


@case("10/51", "When a member left the root is a fresh one", "source", needs=SECURED, seconds=10.0)
def fresh_root(tester: Tester) -> None:
    wake_up(tester)
    stays, goes = (_member(tester, name, 0x0B00 + at) for at, name in enumerate(("one", "two")))
    _ask(stays)
    before = _ask(goes)
    goes.tell(KeyLeave, reason=LeaveReason.SHUTDOWN)
    goes.expect(KeyResponse, where=lambda message: not message.path)
    tester.wait(2.5)
    answer = _ask(stays, before.epoch)
    tester.check(answer.epoch > before.epoch, "the leave begins no epoch")
    tester.check(bool(answer.path), "who held an epoch before the leave gets no keys")
    tester.equal(answer.path[-1].version, answer.epoch, "the version of the root")


def _member(tester: Tester, name: str, host: int, capabilities: Capability = MEMBER) -> Peer:
    peer = tester.peer(name)
    peer.host = HostId(host)
    answer_plainly(peer)
    secure(peer, capabilities)
    return peer


def _ask(member: Peer, epoch: int = 0) -> KeyResponse:
    """Ask for keys; the answer may wait for the next epoch."""
    request = member.tell(KeyRequest, epoch=epoch)
    return member.expect(
        KeyResponse, within=1.5, where=lambda message: message.sequence == request.sequence
    )
