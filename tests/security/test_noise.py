"""Noise IK against the published vector and against another implementation; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from dmmp.errors import AuthenticationError
from dmmp.security.noise import Initiator, KeyPair, Keys, Responder, pack_nonce

VECTOR = json.loads((Path(__file__).parent / "vectors" / "noise_ik.json").read_text())
NAME = b"Noise_IK_25519_AESGCM_SHA256"

LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""The points of low order and their other encodings: RFC 7748 §6.1, and cr.yp.to/ecdh.html."""


def vector(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def key(seed: int) -> KeyPair:
    return KeyPair(Random(seed).randbytes(32))


def ends(prologue: bytes = b"p", other: bytes = b"p") -> tuple[Initiator, Responder]:
    return Initiator(key(1), key(2).public, prologue, key(3)), Responder(key(2), other)


def test_the_published_vector() -> None:
    """Both messages, the hash, and four transport messages in turn, to the byte."""
    messages = [
        (bytes.fromhex(item["payload"]), bytes.fromhex(item["ciphertext"]))
        for item in VECTOR["messages"]
    ]
    initiator = Initiator(
        KeyPair(vector("init_static")),
        vector("init_remote_static"),
        vector("init_prologue"),
        KeyPair(vector("init_ephemeral")),
    )
    responder = Responder(KeyPair(vector("resp_static")), vector("resp_prologue"))
    assert initiator.write(messages[0][0]) == messages[0][1]
    assert responder.read(messages[0][1]) == messages[0][0]
    assert responder.remote == KeyPair(vector("init_static")).public
    answer, at_responder = responder.write(messages[1][0], KeyPair(vector("resp_ephemeral")))
    assert answer == messages[1][1]
    payload, at_initiator = initiator.read(answer)
    assert payload == messages[1][0]
    assert at_initiator.transcript == at_responder.transcript == vector("handshake_hash")
    assert (at_initiator.send, at_initiator.receive) == (at_responder.receive, at_responder.send)
    for number, (plaintext, sealed) in enumerate(messages[2:]):
        sender = at_initiator if number % 2 == 0 else at_responder
        nonce = pack_nonce(number // 2)
        assert AESGCM(sender.send).encrypt(nonce, plaintext, b"") == sealed


def oracle(is_initiator: bool) -> NoiseConnection:
    """Make one end of `noiseprotocol`: static key 1 if it calls, 2 if it is called."""
    made = NoiseConnection.from_name(NAME)
    (made.set_as_initiator if is_initiator else made.set_as_responder)()
    made.set_keypair_from_private_bytes(
        Keypair.STATIC, Random(1 if is_initiator else 2).randbytes(32)
    )
    if is_initiator:
        made.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, key(2).public)
    made.set_prologue(b"p")
    made.start_handshake()
    return made


def check_transport(ours: Keys, theirs: NoiseConnection) -> None:
    for number in range(3):
        assert AESGCM(ours.receive).decrypt(pack_nonce(number), theirs.encrypt(b"to us"), b"")
        sealed = AESGCM(ours.send).encrypt(pack_nonce(number), b"from us", b"")
        assert theirs.decrypt(sealed) == b"from us"
    assert theirs.get_handshake_hash() == ours.transcript


@settings(max_examples=10)
@given(first=st.binary(max_size=600), second=st.binary(max_size=600))
def test_we_call_another_implementation(first: bytes, second: bytes) -> None:
    initiator, _ = ends()
    theirs = oracle(is_initiator=False)
    assert bytes(theirs.read_message(initiator.write(first))) == first
    payload, keys = initiator.read(bytes(theirs.write_message(second)))
    assert payload == second
    check_transport(keys, theirs)


@settings(max_examples=10)
@given(first=st.binary(max_size=600), second=st.binary(max_size=600))
def test_another_implementation_calls_us(first: bytes, second: bytes) -> None:
    theirs = oracle(is_initiator=True)
    _, responder = ends()
    assert responder.read(bytes(theirs.write_message(first))) == first
    assert responder.remote == key(1).public
    answer, keys = responder.write(second, key(4))
    assert bytes(theirs.read_message(answer)) == second
    check_transport(keys, theirs)


def refused(read: Callable[[], object]) -> None:
    with pytest.raises(AuthenticationError):
        read()


def test_every_changed_byte_and_every_prefix_is_refused() -> None:
    first = ends()[0].write(b"payload")
    for at in range(len(first)):
        changed = first[:at] + bytes((first[at] ^ 1 << at % 8,)) + first[at + 1 :]
        refused(lambda changed=changed: ends()[1].read(changed))  # type: ignore[misc]
        refused(lambda at=at: ends()[1].read(first[:at]))  # type: ignore[misc]
    refused(lambda: ends()[1].read(first + b"\0"))


def test_after_a_false_answer_the_true_one_is_still_read() -> None:
    initiator, responder = ends()
    responder.read(initiator.write(b"one"))
    answer, keys = responder.write(b"two", key(4))
    for at in range(len(answer)):
        refused(
            lambda at=at: initiator.read(  # type: ignore[misc]
                answer[:at] + bytes((answer[at] ^ 0x80,)) + answer[at + 1 :]
            )
        )
        refused(lambda at=at: initiator.read(answer[:at]))  # type: ignore[misc]
    payload, at_initiator = initiator.read(answer)
    assert payload == b"two"
    assert at_initiator.send == keys.receive


def test_both_ends_must_mean_the_same() -> None:
    """Another prologue, so a version rewritten on the way; another responder (threat 8)."""
    initiator, responder = ends(b"version 1", b"version 0")
    refused(lambda: responder.read(initiator.write(b"")))
    initiator, _ = ends()
    refused(lambda: Responder(key(9), b"p").read(initiator.write(b"")))


@pytest.mark.parametrize("public", LOW_ORDER)
def test_keys_that_everybody_shares_are_refused(public: str) -> None:
    """RFC 7748 §6.1: else anyone could answer as anyone."""
    weak = bytes.fromhex(public)
    refused(lambda: key(1).exchange(weak))
    refused(lambda: Initiator(key(1), weak, b"p", key(3)).write(b""))
    refused(lambda: ends()[1].read(weak + bytes(100)))
    initiator, _ = ends()
    initiator.write(b"")
    refused(lambda: initiator.read(weak + bytes(32)))


def test_two_handshakes_share_no_key() -> None:
    made = set()
    for seed in range(5):
        initiator = Initiator(key(1), key(2).public, b"p", key(10 + seed))
        responder = Responder(key(2), b"p")
        responder.read(initiator.write(b""))
        _, keys = responder.write(b"", key(20 + seed))
        made |= {keys.send, keys.receive}
    assert len(made) == 10


def test_one_key_at_both_ends_is_enough() -> None:
    """With a shared secret both ends have the same static key."""
    initiator = Initiator(key(1), key(1).public, b"p", key(3))
    responder = Responder(key(1), b"p")
    assert responder.read(initiator.write(b"one")) == b"one"
    answer, keys = responder.write(b"two", key(4))
    payload, at_initiator = initiator.read(answer)
    assert payload == b"two"
    assert at_initiator.send == keys.receive != keys.send
