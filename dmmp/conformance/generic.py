"""What cases for every role share: bringing it where it answers, seeing that bytes are dropped."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.conformance.case import Failure
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import choose, play_rp, seat, settle
from dmmp.conformance.requirement import Role
from dmmp.conformance.tester import Tester
from dmmp.messages import Error, Message, PingRpRequest, ProbeRequest, ProbeResponse, decode, encode
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.options import LAST_DATA_OPTION

LENGTH_OFFSET = 20
"""Where the header says how many bytes follow it."""


def ready(tester: Tester) -> Peer:
    """Bring any role into its ordinary state; return a stranger that may speak to it."""
    if tester.role is Role.RP:
        tester.locate()
    elif tester.role is Role.SOURCE:
        play_rp(tester).peer.expect(PingRpRequest)
        tester.wait(tester.timing.answer)
    elif tester.role is Role.SUPER_NODE:
        _, source, _ = choose(tester)
        settle(tester, source)
    else:
        seat(tester)
    return tester.peer("stranger")


def probe(peer: Peer, timestamp: int = 0x0102030405060708) -> ProbeResponse:
    """Probe the implementation under test; return the answer."""
    answer = peer.ask(ProbeRequest, timestamp=timestamp)
    assert isinstance(answer, ProbeResponse)
    return answer


def raw(message: Message, body: bytes) -> bytes:
    """Give a message another body, with a length that fits it."""
    header = encode(message)[:HEADER_BYTES]
    return header[:LENGTH_OFFSET] + len(body).to_bytes(4) + body


def body_of(message: Message) -> bytes:
    """Return what follows the header."""
    return encode(message)[HEADER_BYTES:]


def patched(datagram: bytes, at: int, octets: bytes) -> bytes:
    """Put other bytes into a datagram."""
    return datagram[:at] + octets + datagram[at + len(octets) :]


def expect_dropped(peer: Peer, datagrams: Iterable[bytes], may_err: bool = True) -> None:
    """Send bytes; fail if anything answers them but an Error where that may be, or nothing lives.

    What the implementation has to say of its own accord does not count as an answer: it goes to
    others.
    """
    for datagram in datagrams:
        peer.send_bytes(datagram)
    peer.expect_silence(where=lambda message: not (may_err and isinstance(message, Error)))
    try:
        probe(peer)
    except Failure:
        raise Failure("it answers no probe any more after such a datagram") from None


def control_messages(tester: Tester) -> list[Message]:
    """List the control messages that came so far, in order."""
    came = [decode(line.datagram) for line in tester.lines if not line.is_sent]
    return [message for message in came if message.OPTION > LAST_DATA_OPTION]
