"""The notes followed to the letter: `spec-notes/security.md` written anew, against the real thing.

Nothing of `dmmp.security` computes what is expected here: only the primitives that the notes name.
"""

from __future__ import annotations

import base64
import hmac
import json
import struct
from collections.abc import Callable
from hashlib import blake2s, sha256
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.messages import ProbeResponse, encode
from dmmp.messages.common import HostRecord
from dmmp.security.authority import Authority, Request
from dmmp.security.data_keys import data_key, sealed
from dmmp.security.identity import Credential, Mode, SharedSecretParty, prologue
from dmmp.security.introductions import introduced
from dmmp.security.key_wrap import ROOT, epoch_secret, ratcheted, wrap
from dmmp.security.manifest import signed_beat, signed_manifest, signed_packet
from dmmp.security.peer import Capability
from dmmp.security.session_file import Contact, SessionFile
from dmmp.security.signing import Signer
from dmmp.types import Endpoint, HostId

VECTORS = Path(__file__).parent.parent / "vectors" / "messages"
ORIGIN = bytes.fromhex("2a97516c 08131dff")
SECRET = bytes(range(32))
SIGNER = Signer(SECRET)
PUBLIC = Ed25519PrivateKey.from_private_bytes(SECRET).public_key()


def expand(key: bytes, info: bytes) -> bytes:
    return hmac.digest(key, info + b"\x01", "sha256")


def mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=16).digest()


def vector(kind: str, name: str) -> bytes:
    listed = json.loads((VECTORS / f"{kind}.json").read_text())["vectors"]
    return bytes.fromhex(next(each["hex"] for each in listed if each["name"] == name))


def public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


class Noise:
    """Noise_IK_25519_AESGCM_SHA256, as far as one end needs it to read the other's messages."""

    def __init__(self, prologue: bytes, responder: bytes) -> None:
        self.chain = b"Noise_IK_25519_AESGCM_SHA256".ljust(32, b"\0")
        self.digest = sha256(sha256(self.chain + prologue).digest() + responder).digest()
        self.key = b""
        self.count = 0

    def mix(self, data: bytes) -> None:
        self.digest = sha256(self.digest + data).digest()

    def agree(self, secret: bytes, remote: bytes) -> None:
        own = X25519PrivateKey.from_private_bytes(secret)
        self.chain, self.key = self.two(own.exchange(X25519PublicKey.from_public_bytes(remote)))
        self.count = 0

    def two(self, material: bytes) -> tuple[bytes, bytes]:
        extracted = hmac.digest(self.chain, material, "sha256")
        first = expand(extracted, b"")
        return first, hmac.digest(extracted, first + b"\x02", "sha256")

    def open(self, data: bytes) -> bytes:
        nonce = bytes(4) + self.count.to_bytes(8)
        plain = AESGCM(self.key).decrypt(nonce, data, self.digest)
        self.count += 1
        self.mix(data)
        return plain


def test_the_handshake_of_the_vectors_opens() -> None:
    """By both ends' secrets, as the examples give them."""
    one, two, three, four = (bytes((byte,)) * 32 for byte in (0x11, 0x22, 0x33, 0x44))
    call = vector("handshake_initiation", "host 1 calls again with the cookie")
    assert len(call) == 820
    assert call[:24] == struct.pack("!BBHIIIII", 1, 0, 0xD0, 0, 0xA1A1A1A1, 0, 0, 796)
    assert call[-32:-16] == mac(sha256(b"dmmp mac1" + public(two)).digest(), call[:-32])
    reply = vector("cookie_reply", "host 2 wants to see that host 1 is there")
    assert reply[:24] == struct.pack("!BBHIIIII", 1, 0, 0xD2, 0, 0, 0xA1A1A1A1, 0, 44)
    first = vector("handshake_initiation", "host 1 calls")
    under = AESGCM(sha256(b"dmmp cookie" + public(two)).digest())
    cookie = under.decrypt(reply[24:36], reply[36:], first[-32:-16])
    assert (first[-16:], call[-16:]) == (bytes(16), mac(cookie, call[:-16]))

    noise = Noise(b"dmmp example", public(two))
    noise.mix(call[24:56])
    noise.agree(two, call[24:56])
    caller = noise.open(call[56:104])
    assert caller == public(one)
    noise.agree(two, caller)
    said = noise.open(call[104:-32])
    timestamp, instance, length = struct.unpack_from("!QQH", said)
    assert (timestamp, instance) == (1_150_000_000_000_000, 0x0123456789ABCDEF)
    assert said[18:] == b"certificate of host 1" + bytes(len(said) - 18 - length)

    answer = vector("handshake_response", "host 2 answers")
    assert answer[:20] == struct.pack("!BBHIIII", 1, 0, 0xD1, 0, 0xB2B2B2B2, 0xA1A1A1A1, 0)
    assert answer[-32:-16] == mac(sha256(b"dmmp mac1" + public(one)).digest(), answer[:-32])
    noise.mix(answer[24:56])
    noise.agree(three, answer[24:56])
    noise.agree(one, answer[24:56])
    assert answer[24:56] == public(four)
    assert noise.open(answer[56:-32]) == b"\x00\x15certificate of host 2"

    of_initiator, _ = noise.two(b"")
    empty = vector("sealed", "nothing, to confirm the handshake")
    assert empty[:20] == struct.pack("!BBHIIII", 1, 0, 0xD3, 0, 0xB2B2B2B2, 0, 0)
    assert AESGCM(of_initiator).decrypt(bytes(12), empty[24:], empty[:24]) == b""
    later = vector("sealed", "a datagram, under counter 2^32 + 1")
    assert later[12:20] == struct.pack("!II", 1, 1)
    nonce = bytes(4) + struct.pack("!Q", (1 << 32) + 1)
    assert AESGCM(of_initiator).decrypt(nonce, later[24:], later[:24])


def test_what_both_ends_must_agree_on() -> None:
    name = sha256(b"film").digest()
    assert prologue(Mode.CERTIFICATES, "film") == b"DMMP\x01\x01" + name
    assert prologue(Mode.SHARED_SECRET, "film") == b"DMMP\x01\x02" + name


def test_the_keys_of_a_shared_secret() -> None:
    secret = b"correct horse battery staple"
    party = SharedSecretParty(secret + b"\n", "film")
    extracted = hmac.digest(sha256(b"film").digest(), secret, "sha256")
    assert party.static_secret == expand(extracted, b"DMMP shared secret: static key")
    seed = expand(extracted, b"DMMP shared secret: signing key")
    signing_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert party.signer.public == signing_key


def root() -> tuple[Authority, bytes, str]:
    made = Authority(SECRET)
    key = PUBLIC.public_bytes_raw()
    return made, key, base64.b32encode(sha256(key).digest()[:10]).decode().lower()


def counting() -> Callable[[int], bytes]:
    drawn = iter(range(1, 100))
    return lambda size: bytes((next(drawn),)) * size


def issued() -> Credential:
    request = Request("anna", "film", Capability.MEMBER, 12, 10**8, (ip_address("239.1.2.3"),))
    return root()[0].credential(request, 1_800_000_000.0, counting())


def test_the_form_of_a_certificate() -> None:
    made, key, name = root()
    held = issued()
    der = held.certificate
    assert made.fingerprint == name
    static, signing = public(bytes((2,)) * 32), held.peer.signing_key
    grant = struct.pack("!IHQ", 1, 12, 10**8) + b"\x04film" + struct.pack("!H", 32) + static
    grant += b"\x01" + bytes(10) + b"\xff\xff" + bytes((239, 1, 2, 3))
    signed = der[4:-74]
    assert der[:2] == b"\x30\x82" and der[-74:-64] == bytes.fromhex("300506032b6570034100")
    Ed25519PublicKey.from_public_bytes(key).verify(der[-64:], signed)
    head = bytes.fromhex("a003020102 0208 4303030303030303 300506032b6570")
    issuer = bytes.fromhex("301b311930170603550403 0c10") + name.encode()
    validity = bytes.fromhex("301e170d") + b"270115075500Z" + b"\x17\x0d" + b"270116080000Z"
    subject = bytes.fromhex("300f310d300b0603550403 0c04") + b"anna"
    info = bytes.fromhex("302a300506032b6570032100") + signing
    assert signed[:2] == b"\x30\x82" and signed.endswith(grant)
    assert signed[4:].startswith(head + issuer + validity + subject + info)
    assert held.peer.node == sha256(signing).digest()[:16]


def test_what_the_signature_of_a_session_file_covers() -> None:
    made, key, _ = root()
    point = Contact("rp.example.org:47700", bytes(range(32)))
    denied = made.deny("größe", 3, (1 << 62, (1 << 62) + 5))
    file = SessionFile("größe", 7, (key,), (point,), denied=denied).signed(made.sign)
    content = (
        '{"denied":{"ed25519":"' + base64.b64encode(denied.signature).decode() + '","number":3,'
        '"serials":["4000000000000000","4000000000000005"]},'
        '"rendezvous_points":[{"address":"rp.example.org:47700","key":"'
        + point.static_key.hex()
        + '"}],"roots":["'
        + key.hex()
        + '"],"serial":7,"session":"gr\\u00f6\\u00dfe"}'
    )
    PUBLIC.verify(file.signature, b"DMMP session file\0" + content.encode("ascii"))
    name = "größe".encode()
    listed = bytes((len(name),)) + name + struct.pack("!IB", 3, 2)
    listed += struct.pack("!QQ", 1 << 62, (1 << 62) + 5) + b"\0\0"
    PUBLIC.verify(denied.signature, b"DMMP deny list\0" + listed)


def test_introductions_stand_behind_the_message() -> None:
    here = Endpoint(ip_address("192.0.2.1"), 47700)
    message = ProbeResponse(timestamp=1, sender=HostRecord(host=HostId(1), endpoint=here))
    datagram = encode(message)
    known: dict[Endpoint, bytes] = {}
    assert introduced(datagram, message, lambda each: known.get(each)) == datagram
    known[here] = SECRET
    assert introduced(datagram, message, lambda each: known.get(each)) == datagram + b"\0" + SECRET


def test_a_sealed_packet() -> None:
    number = (5 << 20) + 3
    key = expand(SECRET, b"dmmp data" + ORIGIN + b"\x09" + b"\x00\x02" + b"\x00\x05")
    assert data_key(SECRET, int.from_bytes(ORIGIN), 9, 2, number >> 20) == key
    head = struct.pack("!BBHI4sIII", 1, 0, 0, 0x2A97516C, ORIGIN[4:], number, 0x02090002, 20)
    assert AESGCM(key).encrypt(head[8:20], b"abcd", head) == sealed(AESGCM(key), head, b"abcd")[24:]


def test_what_an_origin_signs() -> None:
    digests = [sha256(b"one").digest()[:16], sha256(b"two").digest()[:16]]
    payload = signed_manifest(SIGNER, int.from_bytes(ORIGIN), 2, 41, digests)
    assert payload[:-64] == struct.pack("!I", 41) + b"".join(digests)
    PUBLIC.verify(payload[-64:], b"dmmp manifest 1" + ORIGIN + b"\x00\x02" + payload[:-64])
    packet = signed_packet(SIGNER, b"a datagram")
    PUBLIC.verify(packet[-64:], b"dmmp packet 1" + packet[:-64])
    PUBLIC.verify(signed_beat(SIGNER, b"a heartbeat"), b"dmmp heartbeat 1" + b"a heartbeat")


def test_keys_of_the_tree() -> None:
    assert ratcheted(SECRET, 2) == expand(expand(SECRET, b"dmmp ratchet"), b"dmmp ratchet")
    assert epoch_secret(SECRET, 258) == expand(SECRET, b"dmmp epoch\x00\x00\x01\x02")
    under = AESGCM(expand(SECRET, b"dmmp wrap"))
    nonce = bytes(4) + struct.pack("!II", 0x07000000, 258)
    assert ROOT == 0x07000000
    assert wrap(SECRET, ROOT, 258, bytes(32)) == under.encrypt(nonce, bytes(32), None)
