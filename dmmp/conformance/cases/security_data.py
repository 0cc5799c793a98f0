"""Section 10, third part: data that is proven before it goes anywhere."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.peer import Peer
from dmmp.conformance.secured import MEMBER, SOURCE, Door, session_of
from dmmp.conformance.secured_playing import (
    SignedStream,
    announced,
    secured_child,
    secured_placed,
)
from dmmp.conformance.staging import EVERYTHING, Placed, datagrams
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    Credential,
    Data,
    DataRequest,
    Heartbeat,
    JoinRequest,
    LeaveReport,
    RefreshRequest,
    encode,
)
from dmmp.messages.common import LeaveReason
from dmmp.security.authority import Authority
from dmmp.security.signing import Signer

SECURED = (Feature.SECURED,)
BOTH = ("super-node", "member")
SHUNNED = 10.0
"""Seconds for which a forger is looked at here; it is shunned for longer."""


def _watched(tester: Tester) -> tuple[Placed, Peer, SignedStream]:
    """Have a place, a child that wants the stream, and a signed channel announced."""
    stage = secured_placed(tester)
    child = secured_child(tester, interest=EVERYTHING)
    stream = announced(stage)
    child.forget()
    return stage, child, stream


@case("10/36", "What nothing proves goes nowhere", *BOTH, needs=SECURED)
def unproven_packet(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stage.parent.send_bytes(stream.packet(1))
    stage.parent.send_bytes(stream.packet(2))
    tester.wait(tester.timing.quiet)
    tester.equal(datagrams(child), [], "what came of packets without a proof")


@case("10/37", "What a manifest lists is passed on, byte for byte", *BOTH, needs=SECURED)
def listed_packets(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    packets = [stream.packet(number) for number in (2, 3, 4)]
    manifest = stream.manifest(1, packets)
    stream.hop(stage.parent, manifest)
    for packet in packets:
        stage.parent.send_bytes(packet)
    tester.wait(tester.timing.answer)
    tester.equal(datagrams(child), [manifest, *packets], "what came")


@case("10/37", "Packets may come ahead of their manifest", *BOTH, needs=SECURED)
def packets_ahead(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    packets = [stream.packet(number) for number in (2, 3)]
    for packet in packets:
        stage.parent.send_bytes(packet)
    tester.wait(0.05)
    stream.hop(stage.parent, stream.manifest(1, packets))
    tester.wait(tester.timing.answer)
    tester.check(set(packets) <= set(datagrams(child)), "they do not come when they are proven")


@case("10/37", "A signed packet and a signed heartbeat are passed on", *BOTH, needs=SECURED)
def signed_by_itself(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    packet, beat = stream.signed(1), stream.beat(1, 1)
    stream.hop(stage.parent, packet)
    stream.hop(stage.parent, beat)
    tester.wait(tester.timing.answer)
    tester.equal(datagrams(child), [packet], "the data that came")
    tester.equal(datagrams(child, Heartbeat), [beat], "the heartbeats that came")


@case("10/38", "A forged manifest reaches nobody", *BOTH, needs=SECURED)
def forged_manifest(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stream.forger = Signer(bytes(range(32)))
    packets = [stream.packet(number) for number in (2, 3)]
    stream.hop(stage.parent, stream.manifest(1, packets))
    for packet in packets:
        stage.parent.send_bytes(packet)
    tester.wait(tester.timing.quiet)
    tester.equal(datagrams(child), [], "what came of a forgery")


@case("10/38", "A forged packet and a forged heartbeat reach nobody", *BOTH, needs=SECURED)
def forged_packet(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stream.forger = Signer(bytes(range(32)))
    stream.hop(stage.parent, stream.beat(7, 1))
    stream.hop(stage.parent, stream.signed(1))
    tester.wait(tester.timing.quiet)
    tester.equal(datagrams(child), [], "what came of a forged packet")
    tester.equal(datagrams(child, Heartbeat), [], "what came of a forged heartbeat")


@case("10/39", "What contradicts a manifest goes nowhere, what it lists does", *BOTH, needs=SECURED)
def contradicting_packet(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    true, false = stream.packet(2), stream.packet(2, b"another")
    manifest = stream.manifest(1, [true])
    stream.hop(stage.parent, manifest)
    stage.parent.send_bytes(false)
    stage.parent.send_bytes(true)
    tester.wait(tester.timing.answer)
    tester.equal(datagrams(child), [manifest, true], "what came")


@case("10/40", "What is signed has to come in a HopSealed", *BOTH, needs=SECURED)
def signed_in_the_clear(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    for datagram in (stream.signed(1), stream.beat(1, 1), stream.manifest(2, [stream.packet(3)])):
        stage.parent.send_bytes(datagram)
    tester.wait(tester.timing.quiet)
    tester.check(not child.seen(Data), "data came that was sent in the clear")
    tester.check(not child.seen(Heartbeat), "a heartbeat came that was sent in the clear")


@case("10/41", "What is signed is passed on in a HopSealed", *BOTH, needs=SECURED)
def passed_on_sealed(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    door = child.gate
    assert isinstance(door, Door)
    door.frames.clear()
    packet = stream.packet(2)
    signed = [stream.manifest(1, [packet]), stream.signed(3), stream.beat(3, 1)]
    for datagram in signed:
        stream.hop(stage.parent, datagram)
    stage.parent.send_bytes(packet)
    tester.wait(tester.timing.answer)
    tester.equal(sorted(door.frames), sorted(signed), "what came in a HopSealed")
    tester.check(packet in datagrams(child), "the plain packet did not come")


@case("10/42", "A new branch gets the Credential ahead of the heartbeat", *BOTH, needs=SECURED)
def credential_first(tester: Tester) -> None:
    _, _, stream = _watched(tester)
    late = secured_child(tester, "late", 0x201, interest=EVERYTHING)
    tester.wait(tester.timing.answer)
    came = [each for each in late.inbox if isinstance(each.message, Credential | Heartbeat)]
    tester.check(bool(came), "neither Credential nor Heartbeat came")
    tester.equal(came[0].datagram, stream.introduction(), "the first of them")


@case("10/42", "A Credential that is news goes to the branches", *BOTH, needs=SECURED)
def credential_passed_on(tester: Tester) -> None:
    stage = secured_placed(tester)
    child = secured_child(tester, interest=EVERYTHING)
    stream = announced(stage)
    tester.equal(datagrams(child, Credential), [stream.introduction()], "the Credentials that came")


@case("10/42", "A false Credential goes nowhere", *BOTH, needs=SECURED)
def false_credential(tester: Tester) -> None:
    stage = secured_placed(tester)
    child = secured_child(tester, interest=EVERYTHING)
    session = session_of(tester)
    other = Authority.create(tester.rng.randbytes)
    for own in (
        session.credential("foreign", SOURCE, authority=other),
        session.credential("simple", MEMBER),
    ):
        stream = SignedStream(tester, own)
        stream.hop(stage.parent, stream.introduction())
        stream.hop(stage.parent, stream.beat())
    tester.wait(tester.timing.quiet)
    tester.check(not child.seen(Credential), "a false Credential came")
    tester.check(not child.seen(Heartbeat), "a heartbeat of no source came")


@case("10/43", "The certificate of an unknown origin is asked for", *BOTH, needs=SECURED)
def certificate_asked_for(tester: Tester) -> None:
    stage = secured_placed(tester)
    if stage.record.out_degree:
        secured_child(tester, interest=EVERYTHING)
    stream = SignedStream(tester, session_of(tester).credential("origin", SOURCE))
    stream.hop(stage.parent, stream.beat())
    asked = stage.parent.expect(DataRequest)
    tester.equal(asked.bitmap, b"\0", "the bitmap")
    tester.equal(asked.origin, stream.origin, "the origin asked for")


@case("10/44", "A forging parent is left and shunned", *BOTH, needs=SECURED, seconds=20.0)
def forger_left(tester: Tester) -> None:
    stage, _, stream = _watched(tester)
    stream.forger = Signer(bytes(range(32)))
    stream.hop(stage.parent, stream.signed(1))
    report = stage.parent.expect(LeaveReport)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the parent is told")
    stage.parent.expect_silence(JoinRequest, RefreshRequest, seconds=SHUNNED, where=_seeks_a_place)


def _seeks_a_place(message: JoinRequest | RefreshRequest) -> bool:
    return isinstance(message, JoinRequest) or message.kind == 0


@case("10/1", "A Data Request in the clear is not answered", *BOTH, needs=SECURED)
def request_in_the_clear(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stream.hop(stage.parent, stream.signed(1))
    tester.wait(tester.timing.answer)
    child.forget()
    child.send_bytes(
        encode(child.make(DataRequest, origin=stream.origin, channel=1, base=1, bitmap=b"\x80"))
    )
    child.expect_silence(Data, Heartbeat)
