"""The forwarder fed bursts and everything else: raises nothing, every table within its bound.

An input is a row of steps, most of them bursts near the truth: from which host, which numbers,
how many, which bytes changed. See `tests.forwarding.test_fuzz` for the same with a seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from dmmp.actions import ANY_ORIGIN, Install, Replay, Withdraw
from dmmp.forwarding.burst import MAXIMUM_BURST_BYTES, MAXIMUM_SEGMENTS, Burst, Outcome
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages.header import HEADER_BYTES
from dmmp.types import HostId
from tests.forwarding.build import (
    CHANNEL,
    CHILD,
    CHILD_2,
    GROUP,
    ORIGIN,
    OTHER_GROUP,
    PARENT,
    SESSION,
    SIBLING,
    SOURCE,
    STRANGER,
    TREE,
    WANT,
    burst,
    datagram,
    heartbeat,
    install,
)
from tests.forwarding.test_fuzz import PARAMETERS, SENDERS, check_bounds
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target

KNOWN = {PARENT, CHILD, CHILD_2, STRANGER, SIBLING}
COUNTS = (1, 1, 2, 3, 5, 48, 64, 70)
PAYLOADS = (b"", b"x", bytes(37), bytes(range(200)))
JUMPS = (1, 1, 2, 0, 3, 70, 5000, 1 << 16, 1 << 20, 1 << 31, -3, -70, -5000, 33, 4096, 7)
WAITS = (0.0, 0.0, 0.0, 0.0001, 0.01, 0.3, 5.0, 61.0)
OPTIONS = ((0.0, None), (0.0, None), (0.3, None), (0.0, 0.05))
"""Share of packets sent to relatives; how long packets wait to be in order (Decisions 18, 19)."""

MOST_STEPS = 16


class Story:
    """One forwarder and what happens to it."""

    def __init__(self, feed: Feed) -> None:
        share, ordered = feed.choice(OPTIONS)
        parameters = replace(PARAMETERS, random_forward=share)
        self.feed = feed
        self.now = 10.0
        self.last = 0
        self.forwarder = Forwarder(parameters, ordered=ordered, rng=Random(1))
        entry = install(CHILD, CHILD_2, deliver=WANT, repairers=(SIBLING,))
        self.forwarder.apply(entry, self.now)
        self.forwarder.forward(burst(heartbeat()), self.now)

    def step(self) -> Outcome:
        """Let time pass, and do one thing."""
        feed = self.feed
        self.now += feed.choice(WAITS)
        kind = feed.byte()
        if kind < 0x90:
            return self.forwarder.forward(self.row(kind), self.now)
        if kind < 0xA0:
            sender, stride, size = feed.choice(SENDERS), feed.number(10) - 1, feed.byte()
            return self.forwarder.forward(Burst(feed.take(size), stride, sender), self.now)
        if kind < 0xB8:
            return self.forwarder.forward(burst(self.beat(), feed.choice(SENDERS)), self.now)
        if kind < 0xD0:
            return self.forwarder.wake(self.now)[0]
        if kind < 0xE0:
            return self.forwarder.apply(self.replay(), self.now)
        if kind < 0xF0:
            return self.forwarder.apply(self.entry(), self.now)
        host, group = HostId(feed.choice((78, 4000))), feed.choice((GROUP, OTHER_GROUP))
        own = [feed.choice((b"x", b"", bytes(1400), b"yz")) for _ in range(1 + feed.byte() % 5)]
        return self.forwarder.originate(SESSION, host, TREE, group, SOURCE, own, self.now)

    def row(self, kind: int) -> Burst:
        """Lay datagrams that count up into a burst; perhaps change bytes of it."""
        feed = self.feed
        sender = SENDERS[kind % len(SENDERS)] if kind >= 0x40 else PARENT
        jump, shape = feed.choice(JUMPS), feed.byte()
        self.last = (self.last + jump) % 2**32
        payload, count = PAYLOADS[shape & 3], COUNTS[shape >> 2 & 7]
        channel = CHANNEL if shape < 0xC0 else feed.number(16)
        origin = int(ORIGIN) if shape < 0xE0 else feed.choice((78, 0, 4000, 4711))
        numbers = [(self.last + n) % 2**32 for n in range(count)]
        data = bytearray(
            b"".join(datagram(n, payload, channel=channel, origin=origin) for n in numbers)
        )
        for _ in range(shape >> 5 & 1):
            data[feed.short() % len(data)] = feed.byte()
        self.last = numbers[-1]
        return Burst(bytes(data), HEADER_BYTES + len(payload), sender)

    def beat(self) -> bytes:
        feed = self.feed
        made = bytearray(
            heartbeat(
                feed.number(32),
                channel=feed.choice((CHANNEL, CHANNEL, 1, 2, feed.number(16))),
                origin=HostId(feed.choice((int(ORIGIN), int(ORIGIN), 78, 0))),
                group=feed.choice((GROUP, OTHER_GROUP)),
                highest=(self.last + feed.choice(JUMPS)) % 2**32,
                started=feed.byte() & 1,
                tree=feed.choice((TREE, TREE, TREE + 1, 200)),
            )
        )
        if feed.byte() & 1:
            made[feed.byte() % len(made)] = feed.byte()
        return bytes(made)

    def replay(self) -> Replay:
        feed = self.feed
        base = (self.last + feed.choice(JUMPS) - feed.byte()) % 2**32
        bitmap = feed.take(feed.choice((0, 1, 8, 128)))
        to = feed.choice((CHILD, SIBLING, STRANGER))
        origin = feed.choice((ORIGIN, ANY_ORIGIN))
        return Replay(SESSION, origin, feed.choice((CHANNEL, 9)), base, bitmap, to)

    def entry(self) -> Install | Withdraw:
        feed = self.feed
        if feed.byte() < 0x20:
            return Withdraw(SESSION, feed.choice((ANY_ORIGIN, ORIGIN)))
        upstream = feed.choice(((PARENT,), (SIBLING, PARENT), (PARENT, SIBLING), ()))
        branches = feed.choice(((CHILD, CHILD_2), (CHILD,), ()))
        return install(
            *branches,
            deliver=feed.choice((WANT, ())),
            upstream=upstream,
            repairers=feed.choice(((SIBLING,), ())),
            origin=feed.choice((ANY_ORIGIN, ORIGIN)),
            tree=feed.choice((TREE, TREE + 1)),
        )


def check(outcome: Outcome) -> None:
    """See that only hosts that were named are sent anything, in bursts that the kernel takes."""
    for data, stride, to in outcome.transmits:
        assert to in KNOWN
        assert 0 < len(data) <= MAXIMUM_BURST_BYTES
        assert stride >= HEADER_BYTES and -(-len(data) // stride) <= MAXIMUM_SEGMENTS
    for data, stride, group in outcome.deliveries:
        assert group == GROUP and len(data) > 0 and stride >= HEADER_BYTES


def test_one(data: bytes) -> None:
    """Run a story."""
    story = Story(Feed(data))
    for _ in range(MOST_STEPS):
        if not story.feed:
            break
        check(story.step())
    check_bounds(story.forwarder)
    for _ in range(20):
        alarm = story.forwarder.next_alarm()
        if alarm is None or alarm[0] > story.now + 1.0:
            break
        story.now = max(story.now, alarm[0])
        check(story.forwarder.wake(story.now)[0])
        following = story.forwarder.next_alarm()
        assert following is None or following[0] > story.now, "an alarm that fires for ever"
    check_bounds(story.forwarder)


def seeds() -> Iterable[bytes]:
    yield bytes((0, *(0, 0, 0, 5) * 8))
    yield bytes((0, 4, 0, 2, 9, 4, 0, 5, 21, 4, 0xC0, 4, 0xC0, 5, 0xC0))
    yield bytes(
        (2, 0, 0, 0, 0x19, 0, 0xA0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0xD0, 3, 9, 1, 0xFF, 0, 0, 0)
    )
    yield bytes((3, 0, 0, 2, 9, 4, 0, 4, 9, 4, 0xC0, 0, 0xE0, 0x30, 1, 0, 0, 0, 0, 1))
    yield bytes((0, 0, 0xF0, 0, 0, 2, 0, 1, 2, 5, 0xC0, 6, 0xC0, 0, 0x90, 0, 9, 3, 1, 2, 3))


TARGET = Target(
    "forwarder",
    "the forwarder raises nothing, sends to nobody but the hosts it was told, keeps every bound",
    test_one,
    seeds,
    most_bytes=512,
)
