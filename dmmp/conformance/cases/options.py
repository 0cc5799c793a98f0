"""Section 2: options and the elements after the last field."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.generic import body_of, expect_dropped, patched, raw, ready
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import RP_ID
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    LeaveReport,
    PingRpRequest,
    ProbeRequest,
    ProbeResponse,
    Sealed,
    SubscriptionRequest,
    SubscriptionResponse,
    Tlv,
    TlvType,
    encode,
)

OPTIONAL = 0xF0F0
"""A type that nobody knows and everybody may pass over."""

MANDATORY = 0x0007
"""A type that nobody knows and nobody may pass over."""

MOST = 16


def with_elements(peer: Peer, octets: bytes) -> list[bytes]:
    """Make a Probe Request and a Leave Report with these bytes behind their fields."""
    messages = (peer.make(ProbeRequest, timestamp=1), peer.make(LeaveReport))
    return [raw(message, body_of(message) + octets) for message in messages]


def element(kind: int, value: bytes, padding: bytes | None = None) -> bytes:
    """Build an element; `padding` goes in the place of what it needs."""
    pad = bytes(-len(value) % 4) if padding is None else padding
    return kind.to_bytes(2) + len(value).to_bytes(2) + value + pad


@case("2/1", "An unknown element that may be ignored is ignored")
def optional_element(tester: Tester) -> None:
    peer = ready(tester)
    for size in (1, 4, 5, 300):
        peer.ask(ProbeRequest, timestamp=size, tlvs=(Tlv(OPTIONAL, b"x" * size),))
    peer.ask(LeaveReport, tlvs=(Tlv(OPTIONAL, b"x"), Tlv(0x8000, b"")))


@case("2/2", "An unknown element that must be understood makes the message unacceptable")
def mandatory_element(tester: Tester) -> None:
    peer = ready(tester)
    datagrams = with_elements(peer, element(MANDATORY, b"abcd"))
    datagrams += with_elements(peer, element(OPTIONAL, b"ab") + element(0x7FFF, b""))
    expect_dropped(peer, datagrams)


@case("2/3", "Padding that is not zero is a fault")
def dirty_padding(tester: Tester) -> None:
    peer = ready(tester)
    datagrams = with_elements(peer, element(OPTIONAL, b"x", b"\0\0\x01"))
    datagrams += with_elements(peer, element(OPTIONAL, b"xy", b"\xff\0"))
    expect_dropped(peer, datagrams)


@case("2/4", "Bytes that do not make an element are a fault")
def no_elements(tester: Tester) -> None:
    peer = ready(tester)
    whole = element(OPTIONAL, b"abcdefgh")
    datagrams = [each for size in (1, 2, 3, 4, 8, 11) for each in with_elements(peer, whole[:size])]
    datagrams += with_elements(peer, element(OPTIONAL, b"x", b""))
    datagrams += with_elements(peer, element(OPTIONAL, b"abcd") + b"\0")
    expect_dropped(peer, datagrams)


@case("2/5", "Seventeen elements are too many")
def too_many_elements(tester: Tester) -> None:
    peer = ready(tester)
    expect_dropped(peer, with_elements(peer, (MOST + 1) * element(OPTIONAL, b"x")))


@case("2/6", "Sixteen elements are taken")
def most_elements(tester: Tester) -> None:
    peer = ready(tester)
    peer.ask(ProbeRequest, timestamp=1, tlvs=MOST * (Tlv(OPTIONAL, b"x"),))


@case("2/7", "An element may come twice")
def element_twice(tester: Tester) -> None:
    peer = ready(tester)
    names = (Tlv(TlvType.NAME, b"one"), Tlv(TlvType.NAME, b"other"))
    peer.ask(ProbeRequest, timestamp=1, tlvs=names)


@case("2/8", "Padding counts from the element's own first byte")
def unaligned_elements(tester: Tester) -> None:
    peer = ready(tester)
    # The fields of a Leave Report end at byte 61.
    for value in (b"", b"a", b"ab", b"abc", b"abcd"):
        peer.ask(LeaveReport, tlvs=(Tlv(OPTIONAL, value), Tlv(OPTIONAL, value)))


@case("2/9", "An element may have no value")
def empty_element(tester: Tester) -> None:
    peer = ready(tester)
    peer.ask(ProbeRequest, timestamp=1, tlvs=(Tlv(OPTIONAL), Tlv(TlvType.PADDING)))


@case("2/10", "The answer to a padded probe bears no element of it")
def padded_probe(tester: Tester) -> None:
    peer = ready(tester)
    padding = Tlv(TlvType.PADDING, bytes(1200))
    answer = peer.ask(ProbeRequest, timestamp=1, tlvs=(padding, Tlv(OPTIONAL, b"mine")))
    assert isinstance(answer, ProbeResponse)
    kinds = [each.type for each in answer.tlvs]
    tester.check(TlvType.PADDING not in kinds, "the answer is padded")
    tester.check(OPTIONAL not in kinds, "the answer repeats an element of the request")


@case("2/11", "A private option is dropped")
def private_option(tester: Tester) -> None:
    peer = ready(tester)
    datagram = encode(peer.make(ProbeRequest, timestamp=1))
    options = (0x8000, 0x8080, 0xFFFF)
    expect_dropped(peer, [patched(datagram, 2, option.to_bytes(2)) for option in options])


@case("2/12", "An answer with an unknown element is none", "source", "super-node", "member")
def mandatory_element_in_answer(tester: Tester) -> None:
    rp = tester.rp
    rp.host = RP_ID
    first = rp.expect(SubscriptionRequest)
    answer = rp.reply(first, SubscriptionResponse, lifetime=60)
    rp.send_bytes(raw(answer, body_of(answer) + element(MANDATORY, b"abcd")))
    again = rp.expect(SubscriptionRequest, within=tester.timing.parameters.retry_first)
    tester.equal(again.sequence, first.sequence, "the number of the second try")
    rp.answer(again, SubscriptionResponse, lifetime=60, tlvs=(Tlv(OPTIONAL, b"x"),))
    rp.expect(PingRpRequest)


@case("2/13", "Sealed messages are dropped where nothing is secured")
def sealed_without_security(tester: Tester) -> None:
    peer = ready(tester)
    sealed = peer.make(Sealed, ciphertext=bytes(range(64)), tag=bytes(16))
    datagram = encode(sealed)
    options = (0x00D0, 0x00D1, 0x00D2, 0x00D3, 0x00DC)
    datagrams = [patched(datagram, 2, option.to_bytes(2)) for option in options]
    expect_dropped(peer, datagrams)
