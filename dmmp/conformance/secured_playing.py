"""The parts of `playing` and `staging`, for secured sessions; and a stream that is signed."""

from __future__ import annotations

from dataclasses import dataclass, field

from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import (
    SOURCE_ID,
    add_child,
    choose,
    play_parent,
    play_source,
    seat,
    settle,
)
from dmmp.conformance.requirement import Role
from dmmp.conformance.secured import SOURCE, SUPER_NODE, secure, session_of
from dmmp.conformance.staging import PROGRAM, WANTED, Placed
from dmmp.conformance.tester import Tester
from dmmp.interest import Interest
from dmmp.messages import Credential, Data, Heartbeat, encode
from dmmp.messages.header import FLAG_HEARTBEAT, FLAG_MANIFEST, FLAG_SEALED, FLAG_SIGNED
from dmmp.messages.options import TlvType
from dmmp.messages.schema import FieldValue, Tlv
from dmmp.security import identity
from dmmp.security.manifest import digests_of, signed_beat, signed_manifest, signed_packet
from dmmp.security.signing import SIGNATURE_BYTES, Signer
from dmmp.types import HostId

EPOCH = 5


def secured_placed(tester: Tester) -> Placed:
    """Bring it to a place, all hosts around it having credentials."""
    secure(tester.rp)
    if tester.role is Role.MEMBER:
        parent = play_parent(tester)
        secure(parent, SUPER_NODE)
        rp, parent, confirmation = seat(tester, parent)
    else:
        parent = play_source(tester)
        secure(parent, SOURCE)
        rp, parent, _ = choose(tester, parent)
        confirmation = settle(tester, parent)
    return Placed(tester, rp, parent, confirmation)


def secured_child(
    tester: Tester,
    name: str = "child",
    host: int = 0x0000_0200,
    interest: tuple[Interest, ...] = (),
    **fields: FieldValue,
) -> Peer:
    """Make a peer with a member's credential a child of the implementation under test."""
    return add_child(tester, name, host, interest, secure, **fields)


@dataclass(slots=True)
class SignedStream:
    """One channel of an origin with a certificate; what is in the packets nobody can open."""

    tester: Tester
    credential: identity.Credential
    channel: int = 1
    origin: HostId = SOURCE_ID
    beats: int = 0
    forger: Signer | None = None
    """Signs in the origin's place, falsely."""
    sent: list[bytes] = field(default_factory=list)

    @property
    def origin_key(self) -> int:
        """Return session and origin as they stand in headers."""
        return self.tester.session << 32 | self.origin

    @property
    def signer(self) -> Signer:
        """Return who signs."""
        return self.forger or Signer(self.credential.signing_secret)

    def introduction(self, credential: identity.Credential | None = None) -> bytes:
        """Make the datagram with the origin's certificate."""
        shown = (credential or self.credential).certificate
        return encode(
            Credential(session=self.tester.session, source=self.origin, certificate=shown)
        )

    def beat(self, highest: int = 0, started: int = 0) -> bytes:
        """Make the next heartbeat, signed."""
        self.beats += 1
        unsigned = encode(
            Heartbeat(
                session=self.tester.session,
                source=self.origin,
                sequence=self.beats,
                tree_version=1,
                reserved=FLAG_HEARTBEAT | EPOCH << 16 | self.channel,
                group=WANTED,
                origin_address=PROGRAM,
                highest=highest,
                started=started,
                tlvs=(Tlv(TlvType.SIGNATURE, bytes(SIGNATURE_BYTES)),),
            )
        )[:-SIGNATURE_BYTES]
        return unsigned + signed_beat(self.signer, unsigned)

    def data(self, number: int, payload: bytes, flags: int) -> bytes:
        """Make a packet of the channel."""
        return encode(
            Data(
                session=self.tester.session,
                source=self.origin,
                sequence=number,
                tree_version=1,
                reserved=flags | self.channel,
                payload=payload,
            )
        )

    def packet(self, number: int, text: bytes = b"") -> bytes:
        """Make a sealed packet that only a manifest can prove."""
        payload = (text or b"sealed %d" % number).ljust(80, b".")
        return self.data(number, payload, FLAG_SEALED | EPOCH << 16)

    def signed(self, number: int) -> bytes:
        """Make a sealed packet that bears its origin's signature."""
        payload = (b"signed %d" % number).ljust(80, b".") + bytes(SIGNATURE_BYTES)
        flags = FLAG_SEALED | FLAG_SIGNED | EPOCH << 16
        return signed_packet(self.signer, self.data(number, payload, flags)[:-SIGNATURE_BYTES])

    def manifest(self, number: int, packets: list[bytes]) -> bytes:
        """Make the manifest with a number of the packets that follow it."""
        digests = [digests_of(packet, len(packet)) for packet in packets]
        payload = signed_manifest(self.signer, self.origin_key, self.channel, number + 1, digests)
        return self.data(number, payload, FLAG_MANIFEST)

    def hop(self, peer: Peer, datagram: bytes) -> None:
        """Send a datagram of the data plane in a HopSealed of a peer's."""
        assert peer.gate is not None
        sealed = peer.gate.send_datagram(datagram, self.tester.subject, self.tester.now)
        for each, to in sealed:
            self.tester.carry(peer, to, each, 0.0, datagram)


def announced(stage: Placed) -> SignedStream:
    """Have the parent announce a signed channel of a source."""
    origin = session_of(stage.tester).credential("origin", SOURCE)
    stream = SignedStream(stage.tester, origin)
    stream.hop(stage.parent, stream.introduction())
    stream.hop(stage.parent, stream.beat())
    stage.tester.wait(stage.tester.timing.answer)
    return stream
