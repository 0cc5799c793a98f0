"""Sealed and signed data on its way from a source over a relay to a leaf, with somebody between.

An input is a row of steps: the source sends, time passes, a packet under way is lost, doubled or
changed, one that was made up arrives, an epoch begins. Nothing is raised, and programs get nothing
that the source's programs did not send, and nothing twice (slide 23, Decision 67).
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify
from random import Random

from dmmp.forwarding.burst import Burst
from dmmp.messages import encode
from dmmp.messages.data import Credential
from dmmp.messages.header import FLAG_MANIFEST, FLAG_SEALED, FLAG_SIGNED
from dmmp.types import Endpoint
from tests.forwarding.build import ORIGIN, SESSION, STRANGER
from tests.forwarding.guards import CERTIFICATE, by_manifest, by_tag, give_keys
from tests.forwarding.overlay import Host, Links, Overlay
from tests.forwarding.test_proving import forged, insider, manifest_of
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target

CERTIFICATES = (CERTIFICATE, b"another source's", b"a member's", b"nobody's")
WAITS = (0.0005, 0.0005, 0.002, 0.03, 0.3, 1.5)
COUNTS = (1, 1, 2, 3, 4, 9)
MOST_STEPS = 10


class Story:
    """A source, a relay, a leaf; insiders may forge, but not where the tag is all there is."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.insiders = not feed.byte() & 1
        guards = by_manifest if self.insiders else by_tag
        self.overlay = Overlay(Random(1), Links(), guards=guards)
        relay = self.overlay.add(1, self.overlay.source)
        self.leaf = self.overlay.add(2, relay)
        self.relay = relay
        self.epoch = 1
        give_keys(self.overlay)

    def step(self) -> None:
        """Do one thing, and let time pass."""
        feed, overlay = self.feed, self.overlay
        kind = feed.byte()
        if kind < 0x50:
            overlay.originate(feed.choice(COUNTS))
        elif kind < 0xA0:
            self.tamper(kind)
        elif kind < 0xE8:
            self.arrive(self.made_up(kind))
        elif kind < 0xF4:
            self.epoch += 1
            give_keys(overlay, self.epoch, bytes((self.epoch,)) * 32)
        overlay.run(overlay.now + feed.choice(WAITS))

    def tamper(self, kind: int) -> None:
        """Lose, double or change something that is under way."""
        feed, queue = self.feed, self.overlay.queue
        if not queue:
            return
        number = feed.byte() % len(queue)
        at, count, sender, to, data = queue[number]
        if kind & 3 == 0:
            queue.pop(number)
        elif kind & 3 == 1:
            queue.append((at + feed.choice(WAITS), -len(queue), sender, to, data))
        else:
            changed = bytearray(data)
            changed[feed.short() % len(changed)] ^= feed.byte() or 1
            if kind & 3 == 3:
                del changed[feed.short() % len(changed) + 1 :]
            # The rest is for the roles, and sealed.
            if data[2:4] <= b"\0\2" and changed[2:4] <= b"\0\2":
                queue[number] = (at, count, sender, to, bytes(changed))
        heapify(queue)

    def made_up(self, kind: int) -> bytes:
        """Make a packet: from noise, under a certificate, or with the group's key."""
        feed = self.feed
        number = feed.number(32)
        if kind < 0xB0:
            return feed.take(feed.byte()) or b"x"
        if kind < 0xB8:
            shown = feed.choice(CERTIFICATES)
            return encode(Credential(session=SESSION, source=ORIGIN, certificate=shown))
        if kind < 0xC8 or not self.insiders:
            flags = feed.choice(
                (0, FLAG_SEALED, FLAG_MANIFEST, FLAG_SIGNED | FLAG_SEALED, 0xFF << 24)
            )
            return forged(number, flags, feed.take(feed.byte()))
        if kind < 0xD8:
            return insider(number, feed.choice((0, FLAG_SIGNED)))
        return manifest_of([insider(number), insider((number + 1) % 2**32)], number)

    def arrive(self, data: bytes) -> None:
        """Let a packet arrive at the relay or the leaf, from its parent or from elsewhere."""
        choice = self.feed.byte()
        host = self.leaf if choice & 1 else self.relay
        parent = host.parent
        assert parent is not None
        sender: Endpoint = STRANGER if choice & 6 == 6 else parent
        burst = Burst(data, len(data), sender, sealed=choice & 8 != 0)
        outcome = host.forwarder.forward(burst, self.overlay.now)
        self.overlay.carry_out(host, outcome)


def check(overlay: Overlay, host: Host) -> None:
    """See that a host's programs got true packets, each once, and that its tables are bounded."""
    assert len(set(host.got)) == len(host.got), "delivered twice"
    assert all(0 < number <= overlay.sent for number in host.got), "delivered a forgery"
    tables = host.forwarder.snapshot()["tables"]
    assert tables["keys"] <= 64 and tables["channels"] <= 1024


def test_one(data: bytes) -> None:
    """Run a story, and let everything come to rest."""
    story = Story(Feed(data))
    for _ in range(MOST_STEPS):
        if not story.feed:
            break
        story.step()
    story.overlay.run(story.overlay.now + 1.0)
    for host in (story.relay, story.leaf):
        check(story.overlay, host)


def seeds() -> Iterable[bytes]:
    for mode in (0, 1):
        yield bytes((mode, 0, 0, 4, 0, 4, 3, 0, 5, 2, 0, 0, 5))
        yield bytes((mode, 0, 0, 4, 0, 4, 0, 0x52, 0, 0, 30, 1, 3, 0, 2, 1, 0x50, 0, 4))
        yield bytes((mode, 0, 0, 4, 0xC8, 3, 0, 0, 3, 0xD8, 4, 0, 3, 0xF0, 3, 0, 2, 4))
        yield bytes((mode, 0, 0, 4, 0xB0, 1, 0, 0, 3, 0xC0, 9, 2, 3, 1, 2, 3, 1, 3, 0, 2, 4))


TARGET = Target(
    "guarded",
    "nothing but what the source sent is delivered, once; the guarded forwarder raises nothing",
    test_one,
    seeds,
    most_bytes=384,
)
