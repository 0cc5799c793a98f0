"""The vectors of derivations against `dmmp.security`, another Noise, and the message vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from dmmp.forwarding.proofs import Proofs
from dmmp.messages import Credential, Heartbeat, KeyResponse, Rekey, decode
from dmmp.roles.rendezvous_point import session_id
from dmmp.security.association import Association
from dmmp.security.authority import Authority
from dmmp.security.certificate import read_certificate
from dmmp.security.cookies import Cookies, mac, mac1_key, read_reply
from dmmp.security.data_keys import DataKeys, data_key, opened
from dmmp.security.identity import Mode, SharedSecretParty, Trust, prologue
from dmmp.security.introductions import introductions, split_introductions
from dmmp.security.key_path import KeyPath
from dmmp.security.key_wrap import epoch_secret, ratcheted
from dmmp.security.manifest import beat_holds, packet_holds, read_manifest
from dmmp.security.noise import Initiator, KeyPair, Keys, Responder, pack_nonce
from dmmp.security.session_file import SessionFile
from dmmp.security.signing import Verifier
from dmmp.types import NOWHERE
from tests.association_examples import NOBODY
from tests.examples import S2, S3
from tests.key_examples import LEAF, SECRETS, key_examples
from tests.security.derivation_vectors import DERIVATIONS
from tests.security.derivations import OPERATIONS

FILES = sorted(DERIVATIONS.glob("*.json"))
MESSAGES = DERIVATIONS.parent / "messages"


def values(name: str) -> dict[str, bytes]:
    steps = json.loads((DERIVATIONS / f"{name}.json").read_text(encoding="utf-8"))["steps"]
    return {step["name"]: bytes.fromhex(step["output"]) for step in steps}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_follows_from_those_before(path: Path) -> None:
    """As a reader in any language goes through a file: nothing but its bytes and the primitives."""
    known: dict[str, bytes] = {}
    for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
        output = bytes.fromhex(step["output"])
        if step["operation"] != "given":
            for part in (part for parts in step["inputs"].values() for part in parts):
                assert known.get(part["is"], bytes.fromhex(part["hex"])).hex() == part["hex"]
            joined = {key: _joined(parts) for key, parts in step["inputs"].items()}
            assert OPERATIONS[step["operation"]](**joined) == output, step["name"]
        known[step["name"]] = output


def _joined(parts: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes.fromhex(part["hex"]) for part in parts)


def test_whole_datagrams_are_those_of_the_message_vectors() -> None:
    made = values("handshake")
    stored = {
        vector["hex"]: vector["name"]
        for path in sorted(MESSAGES.glob("*.json"))
        for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]
    }
    found = {name for name, value in made.items() if value.hex() in stored}
    assert found == {
        "initiation",
        "cookie reply",
        "second initiation",
        "response",
        "an empty Sealed",
        "a Sealed with a datagram",
        "a HopSealed with a heartbeat",
    }


def test_the_handshake_by_another_implementation() -> None:
    """`noiseprotocol`, with the same keys, makes the same bytes, hash and transport keys."""
    made = values("handshake")
    ends = []
    for number, other in (("1", "2"), ("2", "1")):
        end = NoiseConnection.from_name(b"Noise_IK_25519_AESGCM_SHA256")
        (end.set_as_initiator if number == "1" else end.set_as_responder)()
        end.set_keypair_from_private_bytes(
            Keypair.STATIC, made[f"static private key of host {number}"]
        )
        end.set_keypair_from_private_bytes(
            Keypair.EPHEMERAL, made[f"ephemeral private key of host {number}"]
        )
        if number == "1":
            remote = made[f"static public key of host {other}"]
            end.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
        end.set_prologue(made["prologue"])
        with pytest.warns(UserWarning, match="ephemeral keypairs"):
            end.start_handshake()
        ends.append(end)
    caller, called = ends
    first = bytes(caller.write_message(made["what host 1 says"]))
    assert first == made["initiation"][24:-32]
    assert bytes(called.read_message(first)) == made["what host 1 says"]
    second = bytes(called.write_message(made["what host 2 says"]))
    assert second == made["response"][24:-32]
    assert bytes(caller.read_message(second)) == made["what host 2 says"]
    assert caller.get_handshake_hash() == made["hash 7"]
    sealed = caller.encrypt(b"to host 2")
    assert AESGCM(made["key of what host 1 sends"]).decrypt(pack_nonce(0), sealed, b"")
    sealed = called.encrypt(b"to host 1")
    assert AESGCM(made["key of what host 2 sends"]).decrypt(pack_nonce(0), sealed, b"")


def test_the_handshake_by_ours() -> None:
    made = values("handshake")
    pairs = {
        name: KeyPair(made[f"{name} private key of host {number}"])
        for name, number in (("static", "1"), ("ephemeral", "1"))
    }
    two = KeyPair(made["static private key of host 2"])
    initiator = Initiator(pairs["static"], two.public, made["prologue"], pairs["ephemeral"])
    assert initiator.write(made["what host 1 says"]) == made["initiation"][24:-32]
    responder = Responder(two, made["prologue"])
    assert responder.read(made["initiation"][24:-32]) == made["what host 1 says"]
    _, keys = initiator.read(made["response"][24:-32])
    assert keys.transcript == made["hash 7"]
    assert keys.send == made["key of what host 1 sends"]
    assert keys.receive == made["key of what host 2 sends"]
    assert mac1_key(two.public) == made["key of mac1 towards host 2"]
    assert mac(mac1_key(two.public), made["initiation without macs"]) == made["initiation"][-32:-16]
    cookie = read_reply(made["cookie reply"], two.public, 0xA1A1A1A1, made["initiation"][-32:-16])
    assert cookie == made["cookie of host 1"]


def test_a_shared_secret() -> None:
    made = values("shared_secret")
    assert session_id("film") == int.from_bytes(made["session id"])
    party = SharedSecretParty(made["secret"], "film")
    assert party.static_secret == made["static key"]
    assert party.signer.public == made["public signing key"]
    assert party.prologue == made["prologue, mode shared secret"]
    assert prologue(Mode.CERTIFICATES, "film") == made["prologue, mode certificates"]
    assert party.check(b"", made["static public key"], 0.0).node == made["node"]
    for key in ("static key", "signing key"):
        info = f"DMMP shared secret: {key}".encode()
        assert HKDF(hashes.SHA256(), 32, made["salt"], info).derive(made["secret"]) == made[key]


def test_a_certificate() -> None:
    made = values("certificate")
    der = made["certificate of anna"]
    peer = Trust((made["root"],), "film").check(der, made["static public key of anna"], 1.8e9)
    assert (peer.name, peer.out_degree) == ("anna", 12)
    assert (peer.node, peer.signing_key) == (made["node of anna"], made["signing key of anna"])
    authority = Authority(made["seed of the root"])
    assert authority.fingerprint.encode() == made["fingerprint of the root"]
    denied = authority.deny("film", 3, (1 << 62, (1 << 62) + 5))
    assert denied.signature == made["signature of the deny list"]
    parsed = x509.load_der_x509_certificate(der)
    assert parsed.tbs_certificate_bytes == made["signed part of the certificate"]
    grant = parsed.extensions[1].value
    assert isinstance(grant, x509.UnrecognizedExtension)
    assert grant.value == made["grant of anna"]
    Ed25519PublicKey.from_public_bytes(made["root"]).verify(
        parsed.signature, parsed.tbs_certificate_bytes
    )


@pytest.mark.parametrize("which", ["least", "full"])
def test_a_session_file(which: str) -> None:
    made = values("session_file")
    found = SessionFile.parse(made[f"text of the {which} session file, UTF-8"].decode())
    assert found.signature == made[f"signature of the {which} session file"]
    assert (found.denied is None) is (found.authority is None) is (which == "least")
    if found.denied is not None:
        assert found.denied.signature == made["signature of the deny list"]
    assert SessionFile.parse(found.text()) == found


def test_what_host_2_says_and_its_cookie_over_ipv6() -> None:
    made = values("handshake")
    keys = Keys(made["key of what host 1 sends"], made["key of what host 2 sends"], b"")
    indexes = (0xA1A1A1A1, 0xB2B2B2B2)
    host_1 = Association(indexes, keys, NOWHERE, NOBODY, 0.0, 1, initiated=True)
    datagram, rest = split_introductions(
        host_1.open(made["a Sealed of host 2 with an introduction"], 0.0)
    )
    message = decode(datagram)
    assert list(introductions(message, rest)) == [(S2.endpoint, bytes((0x66,)) * 32)]
    two = KeyPair(made["static private key of host 2"])
    secret = made["cookie secret of host 2"]
    mac1 = made["initiation"][-32:-16]
    cookie = read_reply(made["cookie reply over IPv6"], two.public, 0xA1A1A1A1, mac1)
    assert cookie == made["cookie of an endpoint over IPv6"]
    cookies = Cookies(two.public, lambda size: secret[:size])
    content = made["initiation"][:-16]
    assert cookies.mac2_holds(content + mac(cookie, content), S3.endpoint, 0.0)


def test_data_under_a_shared_secret() -> None:
    made = values("shared_data")
    party = SharedSecretParty(made["secret"], "film")
    assert party.signer.public == made["public signing key"]
    verifier = Verifier(party.signer.public)
    for name in ("signed Heartbeat", "signed Heartbeat of channel 0"):
        assert beat_holds(verifier, made[name])
        assert isinstance(decode(made[name]), Heartbeat)
    assert packet_holds(verifier, made["signed packet 1 of channel 0"])
    assert isinstance(decode(made["signed packet 1 of channel 0"][24:-64]), Rekey)
    origin = session_id("film") << 32 | 1
    keys = DataKeys()
    keys.install(origin, 3, made["epoch secret"], 0.0)
    sealed = made["sealed packet 1"]
    plain = opened(keys, origin, int.from_bytes(sealed[16:20]), sealed, len(sealed), 0)
    assert plain is not None and plain[24:] == made["packet"]


def test_the_signed_heartbeat_of_the_messages_is_the_sources() -> None:
    """By the key of the certificate in credential.json, as vectors.md says."""
    listed = {
        name: json.loads((MESSAGES / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
        for name in ("credential", "heartbeat")
    }
    credential = decode(bytes.fromhex(listed["credential"][0]["hex"]))
    assert isinstance(credential, Credential)
    signing_key = read_certificate(credential.certificate).peer.signing_key
    assert beat_holds(Verifier(signing_key), bytes.fromhex(listed["heartbeat"][2]["hex"]))


def test_data() -> None:
    made = values("data")
    verifier = Verifier(made["signing key of the origin"])
    origin = 0x00DE0001 << 32 | 1
    for block in (0, 5):
        expected = data_key(made["epoch secret"], origin, 3, 1, block)
        assert made[f"data key of block {block}"] == expected
    keys = DataKeys()
    keys.install(origin, 3, made["epoch secret"], 0.0)
    for name, tail in (
        ("sealed packet 42", 0),
        ("sealed packet 5 * 2^20 + 3", 0),
        ("sealed and signed packet 44", 64),
    ):
        datagram = made[name]
        reserved = int.from_bytes(datagram[16:20])
        plain = opened(keys, origin, reserved, datagram, len(datagram), tail)
        assert plain is not None and plain[24:] == made["packet"]
        assert int.from_bytes(datagram[20:24]) == len(datagram) - 24
    assert packet_holds(verifier, made["sealed and signed packet 44"])
    manifest = read_manifest(made["manifest of packets 42 and 43"][24:], origin, 1, verifier)
    assert (manifest.first, manifest.packets) == (42, 2)
    assert manifest.digests == made["digest of packet 42"] + made["digest of packet 43"]
    assert manifest.may_have(int.from_bytes(made["manifest of packets 42 and 43"][12:16]))
    assert beat_holds(verifier, made["signed heartbeat"])
    assert isinstance(decode(made["signed heartbeat"]), Heartbeat)
    for name in ("packet in the clear", "sealed packet 42", "manifest of packets 42 and 43"):
        decode(made[name])


def test_a_manifest_that_is_repeated() -> None:
    """Both ways say of packet 52 what the first copy says, under a number that they may have."""
    made = values("data")
    verifier = Verifier(made["signing key of the origin"])
    origin = 0x00DE0001 << 32 | 1
    first = read_manifest(made["manifest of packet 52"][24:], origin, 1, verifier)
    alone = made["manifest of packet 52 once more, as packet 53"]
    assert packet_holds(verifier, alone)
    assert read_manifest(alone[24:-64], origin, 1, verifier) == first
    assert not first.may_have(53)
    after = read_manifest(made["manifest 53 that lists 52 again, and 54"][24:], origin, 1, verifier)
    assert after.may_have(53)
    proofs = Proofs()
    proofs.add(after, 0.0)
    assert proofs.verdict(52, made["digest of packet 52"]) is True
    assert proofs.verdict(53, bytes(16)) is None
    assert proofs.verdict(54, made["digest of packet 54"]) is True


def test_channel_0() -> None:
    made = values("data")
    verifier = Verifier(made["signing key of the origin"])
    beat = decode(made["signed heartbeat of channel 0"])
    assert isinstance(beat, Heartbeat)
    assert beat_holds(verifier, made["signed heartbeat of channel 0"])
    assert (beat.reserved & 0xFFFF, beat.group.is_unspecified, beat.highest) == (0, True, 1)
    packet = made["signed packet 1 of channel 0"]
    assert packet_holds(verifier, packet)
    assert isinstance(decode(packet[24:-64]), Rekey)


def test_group_keys() -> None:
    made = values("group_key")
    listed = [message for _, message in key_examples()]
    given = next(m for m in listed if isinstance(m, KeyResponse) and m.path)
    path = KeyPath(LEAF, given.epoch, given.path)
    rekey = next(message for message in listed if isinstance(message, Rekey))
    assert path.apply(rekey)
    for epoch in (1001, 1002, 1003):
        held = path.secret(epoch)
        assert held is not None and held.secret == made[f"secret of epoch {epoch}"]
        assert SECRETS.get(epoch, held.secret.hex()) == held.secret.hex()
    wraps = {wrap.sealed for renewal in rekey.renewals for wrap in renewal.wraps}
    assert made["seal of node 0x01000000, version 1002"] in wraps
    assert made["seal of node 0x07000000, version 1002"] in wraps
    root = made["key of node 0x07000000, version 1002"]
    assert ratcheted(root, 1) == made["key of node 0x07000000, version 1003"]
    assert epoch_secret(root, 1002) == made["secret of epoch 1002"]
    assert HKDFExpand(hashes.SHA256(), 32, b"dmmp ratchet").derive(root) == ratcheted(root, 1)
