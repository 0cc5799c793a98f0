"""A handshake and what follows, with keys that anyone can recompute: examples of the associations.

Host 1 calls host 2. Static secrets are 32 bytes 0x11 and 0x22, ephemeral ones 0x33 and 0x44; the
prologue is `dmmp example`, the cookie's secret is not needed to read it. The heartbeat is signed
with the Ed25519 secret of 32 bytes 0x55.
"""

from __future__ import annotations

from dmmp.messages import Message, decode
from dmmp.security.association import Association
from dmmp.security.cookies import Cookies, mac1_key, mac1_of, read_reply
from dmmp.security.handshakes import (
    Said,
    read_initiation,
    read_response,
    write_initiation,
    write_response,
)
from dmmp.security.noise import Initiator, KeyPair, Responder
from dmmp.security.peer import EVERY_CAPABILITY, Peer
from dmmp.types import NOWHERE, Endpoint

PROLOGUE = b"dmmp example"
ONE, TWO, THREE, FOUR = (KeyPair(bytes((byte,)) * 32) for byte in (0x11, 0x22, 0x33, 0x44))
SAID = Said(1_150_000_000_000_000, 0x0123456789ABCDEF, b"certificate of host 1")
INDEX_1, INDEX_2 = 0xA1A1A1A1, 0xB2B2B2B2
NOBODY = Peer(bytes(16), "", EVERY_CAPABILITY, 0, 0, (), bytes(32), bytes(32), 0, 0.0)


def _counting(size: int) -> bytes:
    return bytes(range(size))


def association_examples(
    host_1: Endpoint, control: bytes, heartbeat: bytes
) -> list[tuple[str, Message]]:
    """List them: host 1 calls from its endpoint, is asked for a cookie, and sends datagrams."""
    cookies = Cookies(TWO.public, _counting)
    first = write_initiation(_initiator(), INDEX_1, SAID, mac1_key(TWO.public), None)
    reply = cookies.reply(first, host_1, INDEX_1, 0.0)
    cookie = read_reply(reply, TWO.public, INDEX_1, mac1_of(first))
    initiator, responder = _initiator(), Responder(TWO, PROLOGUE)
    again = write_initiation(initiator, INDEX_1, SAID, mac1_key(TWO.public), cookie)
    read_initiation(again, responder)
    response, _ = write_response(
        responder, (INDEX_2, INDEX_1), b"certificate of host 2", FOUR, mac1_key(ONE.public), None
    )
    _, keys = read_response(response, initiator)
    association = Association((INDEX_1, INDEX_2), keys, NOWHERE, NOBODY, 0.0, 1, initiated=True)
    empty = association.seal(b"", 0.0)
    association.count = (1 << 32) + 1
    made = (
        ("host 1 calls", first),
        ("host 1 calls again with the cookie", again),
        ("host 2 answers", response),
        ("host 2 wants to see that host 1 is there", reply),
        ("nothing, to confirm the handshake", empty),
        ("a datagram, under counter 2^32 + 1", association.seal(control, 0.0)),
        ("a heartbeat, under the next counter", association.seal(heartbeat, 0.0)),
    )
    return [(name, decode(datagram)) for name, datagram in made]


def _initiator() -> Initiator:
    return Initiator(ONE, TWO.public, PROLOGUE, THREE)
