"""Section 10, second part: what travels sealed, for how long, and who may say what."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import (
    apply_for_place,
)
from dmmp.conformance.secured import (
    MEMBER,
    SUPER_NODE,
    Caller,
    secure,
    wake_up,
)
from dmmp.conformance.secured_playing import secured_child, secured_placed
from dmmp.conformance.staging import stranger
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    HandshakeInitiation,
    IntroductionRequest,
    JoinRequest,
    JoinResponse,
    LeaveResponse,
    ProbeRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    decode,
    encode,
)
from dmmp.messages.common import HostFlag, RefreshKind, Status
from dmmp.security.association import LIFE, RENEW_AFTER, Association
from dmmp.security.introductions import introductions, split_introductions
from dmmp.security.peer import Capability
from dmmp.security.replay import WINDOW

SECURED = (Feature.SECURED,)
BOTH = ("super-node", "member")


def _associated(tester: Tester, name: str = "caller") -> tuple[Caller, Association]:
    """Have an association, in use, with one that answers probes."""
    wake_up(tester)
    caller = Caller(tester, name)
    association = caller.associate()
    caller.say(association, caller.probe())
    tester.equal(caller.answers(association), 1, "the answers to a sealed probe")
    return caller, association


@case("10/15", "A sealed message that comes again is not acted on", needs=SECURED)
def replayed_message(tester: Tester) -> None:
    caller, association = _associated(tester)
    sent = caller.say(association, caller.probe())
    caller.peer.send_bytes(sent)
    tester.equal(caller.answers(association), 1, "the answers to one probe that came twice")


@case("10/16", "Counters may come out of order, each once", needs=SECURED)
def out_of_order(tester: Tester) -> None:
    caller, association = _associated(tester)
    sent = [association.seal(caller.probe(), tester.now) for _ in range(4)]
    for at in (3, 0, 2, 0):
        caller.peer.send_bytes(sent[at])
    tester.equal(caller.answers(association), 3, "the answers to three probes, one of them twice")


@case("10/16", "A counter far behind the greatest is not taken", needs=SECURED)
def counter_far_behind(tester: Tester) -> None:
    caller, association = _associated(tester)
    old = association.seal(caller.probe(), tester.now)
    association.count += WINDOW
    caller.say(association, caller.probe())
    caller.peer.send_bytes(old)
    tester.equal(caller.answers(association), 1, "the answers, one counter being too old")


@case("10/17", "A message that was changed is dropped, and costs nothing else", needs=SECURED)
def changed_message(tester: Tester) -> None:
    caller, association = _associated(tester)
    sent = association.seal(caller.probe(), tester.now)
    for at in (20, 30, len(sent) - 1):
        caller.peer.send_bytes(sent[:at] + bytes((sent[at] ^ 1,)) + sent[at + 1 :])
    tester.equal(caller.answers(association), 0, "the answers to what was changed")
    caller.peer.send_bytes(sent)
    tester.equal(caller.answers(association), 1, "the answers to the message itself")


@case("10/18", "What is sealed for an index that nobody has is not answered", needs=SECURED)
def unknown_index(tester: Tester) -> None:
    caller, association = _associated(tester)
    association.remote_index ^= 0x55555555
    caller.say(association, caller.probe())
    tester.equal(caller.answers(association, tester.timing.quiet), 0, "the answers")


@case("10/19", "What is sealed comes from the association's address", needs=SECURED)
def another_address(tester: Tester) -> None:
    caller, association = _associated(tester)
    other = tester.peer("other")
    other.send_bytes(association.seal(caller.probe(), tester.now))
    other.expect_silence()
    tester.equal(caller.answers(association, 0.0), 0, "the answers to the true address")


@case("10/27", "Who only listens says that it is there", needs=SECURED)
def sign_of_life(tester: Tester) -> None:
    caller, association = _associated(tester)
    tester.wait(2.0)
    caller.heard(association)
    said = LeaveResponse(session=tester.session, sequence=12345)
    caller.say(association, encode(said))
    tester.check(b"" in caller.heard(association, 1.5), "it does not say that it is there")


@case("10/28", "After 180 s an association is over", needs=SECURED, seconds=200.0)
def association_over(tester: Tester) -> None:
    caller, association = _associated(tester)
    tester.wait(association.begun + LIFE - tester.now + 0.1)
    caller.peer.forget()
    caller.say(association, caller.probe())
    tester.equal(caller.answers(association, tester.timing.quiet), 0, "the answers then")


@case(
    "10/29",
    "Whoever called makes a new association after 120 s",
    "source",
    *BOTH,
    needs=SECURED,
    seconds=190.0,
)
def association_renewed(tester: Tester) -> None:
    wake_up(tester)
    tester.rp.forget()
    tester.wait(RENEW_AFTER - 5.0)
    tester.check(not tester.rp.seen(HandshakeInitiation), "it calls long before that")
    tester.rp.expect(HandshakeInitiation, within=55.0)


@case("10/30", "Another's id is not taken from a node", needs=SECURED)
def impersonation(tester: Tester) -> None:
    caller, association = _associated(tester)
    caller.say(association, caller.probe(0x0B00))
    tester.equal(caller.answers(association), 1, "the answers to who has the id")
    thief = Caller(tester, "thief")
    stolen = thief.associate()
    thief.say(stolen, thief.probe(0x0B00))
    tester.equal(thief.answers(stolen), 0, "the answers to who took it")
    thief.say(stolen, thief.probe(0x0B01))
    tester.equal(thief.answers(stolen), 1, "the answers to it under an id of its own")


@case("10/31", "Only a source is believed to be one", *BOTH, needs=SECURED)
def false_source(tester: Tester) -> None:
    wake_up(tester)
    for name, capabilities in (("super", SUPER_NODE), ("simple", MEMBER)):
        peer = _certified(tester, name, 0x0B00 + len(name), capabilities)
        peer.flags = HostFlag.SOURCE
        peer.tell(SetupRequest, sender=peer.record())
        peer.expect_silence(SetupResponse)


@case("10/32", "Only who is certified as super node is believed to be one", *BOTH, needs=SECURED)
def false_super_node(tester: Tester) -> None:
    secured_placed(tester)
    peer = _certified(tester, "simple", 0x0B00, MEMBER)
    peer.flags = HostFlag.SUPER_NODE
    peer.tell(JoinRequest, applicant=peer.record(), passes=0)
    peer.tell(RefreshRequest, kind=RefreshKind.MESH, sender=peer.record())
    peer.tell(SetupRequest, sender=peer.record())
    peer.expect_silence(JoinResponse, RefreshResponse, SetupResponse)


@case("10/34", "An out-degree is cut down to the certificate's", *BOTH, needs=SECURED)
def boasted_out_degree(tester: Tester) -> None:
    stage = secured_placed(tester)
    for at in range(stage.places):
        secured_child(tester, f"child{at}", 0x300 + at, out_degree=60_000)
    peer = _certified(tester, "late", 0x0B00, MEMBER)
    answer = apply_for_place(peer)
    tester.equal(Status(answer.status), Status.FULL, "the answer of a full host")
    for record in answer.children:
        tester.check(record.out_degree <= 100, f"it names an out-degree of {record.out_degree}")


@case("10/35", "Who says too much is not heard", needs=SECURED, seconds=10.0)
def over_budget(tester: Tester) -> None:
    caller, association = _associated(tester)
    for _ in range(600):
        caller.say(association, caller.probe())
    answered = caller.answers(association, 1.0)
    tester.check(50 <= answered <= 400, f"{answered} of 600 probes at once are answered")


@case("10/52", "An Introduction Request is answered with the key", needs=SECURED)
def introduced(tester: Tester) -> None:
    caller, association = _associated(tester)
    other = Caller(tester, "other")
    other.say(other.associate(), other.probe())
    tester.wait(tester.timing.answer)
    caller.say(association, encode(IntroductionRequest(wanted=other.peer.endpoint)))
    plain = [each for each in caller.heard(association) if each]
    tester.check(bool(plain), "an Introduction Request is not answered")
    datagram, rest = split_introductions(plain[-1])
    found = dict(introductions(decode(datagram), rest))
    wanted = other.credential.peer.static_key
    tester.equal(found.get(other.peer.endpoint), wanted, "the key that it tells")


@case("10/57", "A member that may be no super node says so", "member", needs=SECURED)
def ordinary(tester: Tester) -> None:
    stage = secured_placed(tester)
    tester.check(bool(stage.record.flags & HostFlag.ORDINARY), "its record does not say ORDINARY")


@case("10/1", "A Join Request in the clear gets no place", *BOTH, needs=SECURED)
def applicant_in_the_clear(tester: Tester) -> None:
    secured_placed(tester)
    peer = stranger(tester)
    peer.tell(JoinRequest, applicant=peer.record(), passes=0)
    peer.tell(RefreshRequest, kind=RefreshKind.CHILD, sender=peer.record())
    peer.expect_silence()


def _certified(tester: Tester, name: str, host: int, capabilities: Capability) -> Peer:
    peer = stranger(tester, name, host)
    secure(peer, capabilities)
    peer.ask(ProbeRequest, timestamp=1)
    return peer
