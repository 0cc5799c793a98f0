"""Section 10, what the source sends: sealed, signed, and announced under its certificate."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.peer import Arrived, Peer
from dmmp.conformance.playing import answer_plainly, apply_for_place, refresh
from dmmp.conformance.secured import SUPER_NODE, secure, wake_up
from dmmp.conformance.staging import EVERYTHING, FLOW_GAP
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    Credential,
    Data,
    Heartbeat,
    SetupRequest,
    SetupResponse,
    StatusReport,
)
from dmmp.messages.common import HostFlag, HostState, Status
from dmmp.messages.header import CHANNEL_MASK, FLAG_MANIFEST, FLAG_SEALED, FLAG_SIGNED
from dmmp.security.certificate import read_certificate
from dmmp.security.manifest import (
    DIGEST_BYTES,
    beat_holds,
    digests_of,
    packet_holds,
    read_manifest,
)
from dmmp.security.signing import SIGNATURE_BYTES, Verifier
from dmmp.types import HostId

NEEDS = (Feature.SECURED, Feature.PROGRAM)
PACKETS = 12

EXCUSES = {
    "10/58": "Whoever lets other things in by this way is shown by what they do there, so there is "
    "no message of which nothing at all may follow; tests/security and tests/runtime hold our own "
    "gate to it."
}


@case("10/54", "What the source sends is sealed and proven", "source", needs=NEEDS)
def sealed_and_proven(tester: Tester) -> None:
    node, verifier = _fed_branch(tester)
    arrived = [each for each in node.inbox if isinstance(each.message, Data)]
    listed = _listed(arrived, verifier)
    sealed = [each for each in arrived if each.message.reserved & FLAG_SEALED]
    tester.equal(len(sealed), PACKETS, "the packets that came sealed")
    for each in sealed:
        if each.message.reserved & FLAG_SIGNED:
            holds = packet_holds(verifier, each.datagram)
        else:
            holds = digests_of(each.datagram, len(each.datagram)) in listed
        tester.check(holds, f"nothing proves packet {each.message.sequence}")
        tester.check(each.message.reserved >> 16 & 0xFF != 0, "a sealed packet bears no epoch")
    numbers = sorted({each.message.sequence for each in arrived})
    tester.equal(numbers, list(range(numbers[0], numbers[-1] + 1)), "the numbers that came")


def _listed(arrived: list[Arrived], verifier: Verifier) -> set[bytes]:
    """Collect the digests that manifests list whose signatures hold."""
    listed: set[bytes] = set()
    for each in arrived:
        message = each.message
        if not isinstance(message, Data) or not message.reserved & FLAG_MANIFEST:
            continue
        end = -SIGNATURE_BYTES if message.reserved & FLAG_SIGNED else None
        manifest = read_manifest(
            message.payload[:end],
            message.session << 32 | message.source,
            message.reserved & CHANNEL_MASK,
            verifier,
        )
        digests = manifest.digests
        listed |= {digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)}
    return listed


@case("10/55", "Its heartbeats are signed, and come behind its certificate", "source", needs=NEEDS)
def heartbeats_signed(tester: Tester) -> None:
    node, verifier = _fed_branch(tester)
    order = [each for each in node.inbox if isinstance(each.message, Credential | Heartbeat)]
    tester.check(isinstance(order[0].message, Credential), "a heartbeat comes ahead of it")
    beats = [each for each in order if isinstance(each.message, Heartbeat)]
    tester.check(bool(beats), "no heartbeat came")
    for each in beats:
        tester.check(beat_holds(verifier, each.datagram), "the signature of a heartbeat is false")


def _fed_branch(tester: Tester) -> tuple[Peer, Verifier]:
    """Have a super node below it, and programs that send; return also whose signatures count."""
    wake_up(tester)
    node = tester.peer("node")
    node.host, node.out_degree, node.flags = HostId(0x20), 8, HostFlag.OFFERS
    answer_plainly(node)
    secure(node, SUPER_NODE)
    node.on(SetupRequest, lambda message: node.reply(message, SetupResponse, sender=node.record()))
    tester.rp.ask(StatusReport, state=HostState.ACTIVE, subject=node.record())
    node.expect(SetupRequest, within=2.0)
    tester.wait(tester.timing.answer)
    node.flags = HostFlag.SUPER_NODE
    offered = apply_for_place(node)
    tester.equal(Status(offered.status), Status.SUCCESS, "the answer to a super node")
    confirmed = refresh(node, interest=EVERYTHING)
    tester.equal(Status(confirmed.status), Status.SUCCESS, "the answer to its confirmation")
    for at in range(PACKETS):
        tester.carrier.program_sends(b"packet %d" % at)
        tester.wait(FLOW_GAP)
    tester.wait(tester.timing.answer)
    shown = node.seen(Credential)
    tester.check(bool(shown), "no Credential came")
    return node, Verifier(read_certificate(shown[0].certificate).peer.signing_key)
