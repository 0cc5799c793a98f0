"""The two datagrams of a handshake: what they hold, how long they are, what is refused in them."""

from __future__ import annotations

import pytest

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages import HandshakeInitiation, HandshakeResponse, Option, decode, encode
from dmmp.messages.header import HEADER_BYTES
from dmmp.security.cookies import MACS_BYTES, mac1_key
from dmmp.security.handshakes import (
    INITIATION_FILLED,
    INITIATION_MOST,
    MAXIMUM_CREDENTIAL_BYTES,
    RESPONSE_LEAST,
    RESPONSE_MOST,
    Said,
    indexes,
    prefix,
    read_initiation,
    read_response,
    response_bytes,
    write_initiation,
    write_response,
)
from dmmp.security.noise import Initiator, KeyPair, Responder

ONE, TWO, THREE, FOUR = (KeyPair(bytes((number,)) * 32) for number in range(1, 5))
SAID = Said(1_700_000_000_000_001, 0xFEDCBA9876543210, b"certificate")


def initiator() -> Initiator:
    return Initiator(ONE, TWO.public, b"p", THREE)


def initiation(said: Said = SAID, noise: Initiator | None = None) -> bytes:
    return write_initiation(noise or initiator(), 0x01020304, said, mac1_key(TWO.public), None)


def raw(payload: bytes) -> bytes:
    """Make an initiation with any payload."""
    return bytes(HEADER_BYTES) + initiator().write(payload) + bytes(MACS_BYTES)


@pytest.mark.parametrize("size", [0, 1, 364, 430, 431, MAXIMUM_CREDENTIAL_BYTES])
def test_what_an_initiation_says_is_read_back(size: int) -> None:
    said = SAID._replace(credential=b"c" * size)
    datagram = initiation(said)
    assert len(datagram) == max(INITIATION_FILLED, INITIATION_MOST - 1024 + size)
    assert datagram.startswith(prefix(Option.HANDSHAKE_INITIATION))
    assert indexes(datagram) == (0x01020304, 0)
    responder = Responder(TWO, b"p")
    assert read_initiation(datagram, responder) == said
    assert responder.remote == ONE.public


@pytest.mark.parametrize("size", [0, 364, MAXIMUM_CREDENTIAL_BYTES])
def test_what_a_response_says_is_read_back(size: int) -> None:
    noise, responder = initiator(), Responder(TWO, b"p")
    read_initiation(initiation(noise=noise), responder)
    datagram, keys = write_response(
        responder, (5, 6), b"c" * size, FOUR, mac1_key(ONE.public), b"k" * 16
    )
    assert len(datagram) == response_bytes(b"c" * size)
    assert RESPONSE_LEAST <= len(datagram) <= RESPONSE_MOST
    assert indexes(datagram) == (5, 6)
    credential, ours = read_response(datagram, noise)
    assert credential == b"c" * size
    assert (ours.send, ours.receive) == (keys.receive, keys.send)


def test_with_equal_certificates_the_response_is_shorter() -> None:
    for size in range(MAXIMUM_CREDENTIAL_BYTES + 1):
        assert response_bytes(b"c" * size) < max(INITIATION_FILLED, INITIATION_MOST - 1024 + size)


def test_the_declared_twins_have_the_same_bytes() -> None:
    datagram = initiation()
    read = decode(datagram)
    assert isinstance(read, HandshakeInitiation)
    assert encode(read) == datagram
    assert read.ephemeral == THREE.public
    assert (read.source, read.mac1, read.mac2) == (0x01020304, datagram[-32:-16], bytes(16))
    responder = Responder(TWO, b"p")
    read_initiation(datagram, responder)
    answer, _ = write_response(responder, (5, 6), b"c", FOUR, mac1_key(ONE.public), b"k" * 16)
    response = decode(answer)
    assert isinstance(response, HandshakeResponse)
    assert encode(response) == answer
    assert response.ephemeral == FOUR.public
    assert (response.source, response.sequence) == (5, 6)
    assert (response.mac1, response.mac2) == (answer[-32:-16], answer[-16:])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", DecodeReason.TRUNCATED),
        (bytes(17), DecodeReason.TRUNCATED),
        (bytes(16) + b"\x00\x01", DecodeReason.LENGTH),
        (bytes(16) + b"\x04\x01" + bytes(1025), DecodeReason.LENGTH),
        (bytes(16) + b"\xff\xff" + bytes(400), DecodeReason.LENGTH),
        (bytes(18) + b"\0\0\1", DecodeReason.TRAILING),
    ],
)
def test_an_initiation_that_says_nonsense_is_refused(payload: bytes, reason: DecodeReason) -> None:
    with pytest.raises(DecodeError) as refused:
        read_initiation(raw(payload), Responder(TWO, b"p"))
    assert refused.value.reason is reason


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\1", b"\0\0x", b"\0\2x", b"\xff\xff" * 100])
def test_a_response_that_says_nonsense_is_refused(payload: bytes) -> None:
    noise, responder = initiator(), Responder(TWO, b"p")
    read_initiation(initiation(noise=noise), responder)
    message, _ = responder.write(payload, FOUR)
    with pytest.raises(DecodeError) as refused:
        read_response(bytes(HEADER_BYTES) + message + bytes(MACS_BYTES), noise)
    assert refused.value.reason is DecodeReason.LENGTH
