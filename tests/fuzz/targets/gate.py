"""What a host with a valid certificate may say to the gate: any plaintext under its seal.

An input is a row of plaintexts, each drawn, with keys of hosts it names, some bytes changed, or
noise. The gate raises nothing, hands on only what the certificate allows, and cuts down what the
sender says of itself (slide 23).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from dmmp.messages import (
    REGISTRY,
    IntroductionRequest,
    IntroductionResponse,
    JoinRequest,
    encode,
)
from dmmp.messages.common import HostFlag, HostRecord
from dmmp.messages.schema import Message
from dmmp.security.associations import Associations
from dmmp.security.gate import Gate
from dmmp.security.host import Datagram
from dmmp.security.outcomes import Received
from dmmp.security.peer import Capability, Peer
from dmmp.security.permissions import NEEDS, OWN_RECORD
from dmmp.types import Endpoint, Instant, SessionId
from tests.fuzz.drawn import World, message
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target
from tests.security.association_stage import at

WORLD = World(tuple(at(number) for number in range(12)), SessionId(5))
CLASSES = tuple(REGISTRY[option] for option in sorted(REGISTRY))
CAPABILITIES = (
    Capability.MEMBER,
    Capability.MEMBER | Capability.SUPER_NODE,
    Capability.SOURCE,
    Capability.RENDEZVOUS_POINT,
)
MOST_STEPS = 12


class Opened:
    """Stands in for associations that have opened what comes; it seals by doing nothing."""

    def __init__(self) -> None:
        self.peer_now: Peer | None = None
        self.introduced = 0

    def receive(self, datagram: bytes, sender: Endpoint, now: Instant) -> Received:
        return Received([datagram], [], self.peer_now)

    def introduce(self, endpoint: Endpoint, static_key: bytes, now: Instant) -> list[Datagram]:
        assert len(static_key) == 32
        self.introduced += 1
        return []

    def peer(self, endpoint: Endpoint) -> Peer | None:
        return self.peer_now

    def suspect(self, endpoint: Endpoint, now: Instant) -> list[Datagram] | None:
        return [Datagram(b"", endpoint)] if int(now) % 2 else None

    def key(self, endpoint: Endpoint) -> bytes | None:
        return bytes(32) if endpoint in WORLD.hosts else None

    def send(self, plaintext: bytes, to: Endpoint, now: Instant) -> list[Datagram]:
        return [Datagram(plaintext, to)]


def peer(number: int, capabilities: Capability) -> Peer:
    """Make the peer of a host."""
    node = bytes((number,)) * 16
    return Peer(node, f"m{number}", capabilities, 3, 10**6, (), node * 2, node * 2, number, 2e9)


def plaintext(feed: Feed) -> bytes:
    """Make what is under the seal."""
    kind = feed.byte()
    if kind >= 0xE0:
        return feed.take(feed.byte())
    cls = CLASSES[feed.byte() % len(CLASSES)]
    made = encode(message(feed, cls, WORLD, feed.byte(), feed.byte() % 16))
    keys = b"".join(bytes((feed.byte(),)) + bytes(32) for _ in range(kind >> 2 & 3))
    whole = bytearray(made + keys)
    for _ in range(kind & 3 if kind >= 0x80 else 0):
        whole[feed.short() % len(whole)] = feed.byte()
    return bytes(whole)


def check(message: Message, sender: Peer) -> None:
    """Hold a message against the certificate of who sent it."""
    assert not isinstance(message, (IntroductionRequest, IntroductionResponse))
    needed = NEEDS.get(type(message), Capability.NONE)
    assert not needed or needed & sender.capabilities
    field = OWN_RECORD.get(type(message))
    record = getattr(message, field) if field is not None else None
    # A Join Request of another's id was passed down.
    is_own = not isinstance(message, JoinRequest) or message.applicant.host == message.source
    if isinstance(record, HostRecord) and is_own:
        assert record.out_degree <= sender.out_degree
        assert Capability.SOURCE in sender.capabilities or not record.flags & HostFlag.SOURCE


def test_one(data: bytes) -> None:
    """Run a story."""
    feed, now = Feed(data), 10.0
    opened = Opened()
    gate = Gate(cast(Associations, opened), (at(1),), shared=bool(feed.byte() & 1))
    for _ in range(MOST_STEPS):
        if not feed:
            break
        who = feed.byte()
        sender = at(1 + who % 11)
        opened.peer_now = peer(who % 11, CAPABILITIES[who >> 4 & 3])
        now += feed.byte()
        taken = gate.receive(plaintext(feed), sender, now)
        assert len(taken.messages) <= 1
        for each in taken.messages:
            check(each, opened.peer_now)
    assert opened.introduced <= 64 * MOST_STEPS


def seeds() -> Iterable[bytes]:
    for number in range(len(CLASSES)):
        body = bytes((number + n) % 7 for n in range(40))
        yield bytes((0, 0x11, 1, 4, number)) + body + bytes((0x32, 1, 0x81, number)) + body


TARGET = Target(
    "gate",
    "Gate.receive raises nothing and hands on only what the sender's certificate allows",
    test_one,
    seeds,
    most_bytes=512,
)
