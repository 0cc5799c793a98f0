"""Handshakes, cookies and sealed datagrams: two hosts, and somebody who does with datagrams what
he likes.

An input is a row of steps: a host says something, time passes, a datagram that was once sent
arrives, as it was or changed, from its sender or from elsewhere. Nothing is raised, no table grows
beyond its bound, nobody hears what was not said to him by whom it seems to come from, or twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dmmp.messages.options import Option
from dmmp.security.associations import Associations
from dmmp.security.handshakes import prefix
from dmmp.security.host import Datagram
from dmmp.security.limits import Limits
from dmmp.security.outcomes import Received, Unknown
from dmmp.types import Endpoint
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target
from tests.security.association_stage import at, table

LIMITS = Limits(
    associations=2,
    superseded=1,
    half_open=3,
    keys=4,
    timestamps=3,
    cookies=2,
    queued_endpoints=2,
    queued_plaintexts=2,
    queued_bytes=2000,
    queued_bytes_in_all=3000,
    initiations=3,
    buckets=4,
)
BOUNDS = {
    "associations": LIMITS.associations * (2 + LIMITS.superseded),
    "contacts": LIMITS.associations,
    "half_open": LIMITS.half_open,
    "calls": LIMITS.queued_endpoints + LIMITS.associations,
    "keys": LIMITS.keys,
    "timestamps": LIMITS.timestamps,
    "cookies": LIMITS.cookies,
    "queued_endpoints": LIMITS.queued_endpoints,
    "queued_bytes": LIMITS.queued_bytes_in_all,
    "failed": 64,
    "alarms": 64,
}
FAMILY = (
    Option.SEALED,
    Option.HANDSHAKE_INITIATION,
    Option.HANDSHAKE_RESPONSE,
    Option.COOKIE_REPLY,
)
PLACES = (at(1), at(2), at(9), at(1, 9), at(2, 9))
"""The two hosts, and places where neither is."""

WAITS = (0.0, 0.0, 0.0, 0.02, 0.3, 2.0, 11.0, 130.0)
MOST_STEPS = 20
MOST_CAUGHT = 24


class Caught(NamedTuple):
    """A datagram that was sent."""

    data: bytes
    sender: Endpoint
    to: Endpoint


class Story:
    """The two hosts and what was sent."""

    def __init__(self) -> None:
        self.now = 100.0
        self.hosts: dict[Endpoint, Associations] = {
            at(number): table(number, limits=LIMITS) for number in (1, 2)
        }
        first, second = self.hosts[at(1)], self.hosts[at(2)]
        first.introduce(at(2), second.static_key, self.now)
        second.introduce(at(1), first.static_key, self.now)
        self.names = {at(1): first.static_key, at(2): second.static_key}
        self.caught: list[Caught] = []
        self.said: set[tuple[bytes, bytes, bytes]] = set()
        """By whom, to whom, and what."""
        self.count = 0

    def step(self, feed: Feed) -> None:
        """Do one thing."""
        kind = feed.byte()
        self.now += WAITS[kind & 7]
        if kind < 0x50:
            self.say(at(1 + (kind >> 3 & 1)), feed)
        elif kind < 0x70:
            for endpoint, host in self.hosts.items():
                self.catch(host.wake(self.now), endpoint)
        elif kind < 0xE0:
            self.deliver(feed, is_changed=kind >= 0xB0)
        else:
            self.invent(feed)
        for host in self.hosts.values():
            check_bounds(host)

    def say(self, endpoint: Endpoint, feed: Feed) -> None:
        """Let a host say something new, mostly to the other."""
        self.count += 1
        to = feed.choice((at(3 - int(endpoint.address) % 4), *PLACES))
        plaintext = b"%d" % self.count + bytes(feed.byte())
        if to in self.names:
            self.said.add((self.names[endpoint], self.names[to], plaintext))
        sent = self.hosts[endpoint].send(plaintext, to, self.now)
        if not isinstance(sent, Unknown):
            self.catch(sent, endpoint)

    def deliver(self, feed: Feed, is_changed: bool) -> None:
        """Let a datagram arrive, one of the last mostly."""
        if not self.caught:
            return
        data, sender, to = self.caught[-1 - feed.byte() % len(self.caught)]
        if is_changed:
            kind = feed.byte()
            if kind & 1:
                place = feed.byte() % len(data)
                data = data[:place] + bytes((data[place] ^ (feed.byte() or 1),)) + data[place + 1 :]
            if kind & 2:
                data = data[: feed.short() % (len(data) + 1)]
            if kind & 4:
                sender = feed.choice(PLACES)
            if kind & 8:
                to = feed.choice((at(1), at(2)))
        self.arrive(data, sender, to)

    def invent(self, feed: Feed) -> None:
        """Let a datagram arrive that nobody sent."""
        sender, to = feed.choice(PLACES), feed.choice((at(1), at(2)))
        head = prefix(feed.choice(FAMILY)) if feed.byte() < 0xE0 else b""
        self.arrive(head + feed.take(feed.byte()), sender, to)

    def arrive(self, data: bytes, sender: Endpoint, to: Endpoint) -> None:
        host = self.hosts.get(to)
        if host is None:
            return
        received = host.receive(data, sender, self.now)
        self.believe(received, data, sender, to)
        self.catch(received.datagrams, to)

    def believe(self, received: Received, data: bytes, sender: Endpoint, to: Endpoint) -> None:
        """Hold what a host heard against what was said; no answer is worth forging an address."""
        assert len(received.plaintexts) <= 1
        for plaintext in received.plaintexts:
            assert received.peer is not None
            word = received.peer.static_key, self.names[to], plaintext
            assert word in self.said, "heard what nobody said, or what was said before"
            self.said.remove(word)
        if received.peer is None:
            assert len(received.datagrams) <= 1
            assert all(len(answer.data) <= len(data) for answer in received.datagrams)
        assert all(answer.to == sender for answer in received.datagrams)

    def catch(self, datagrams: list[Datagram], sender: Endpoint) -> None:
        self.caught += [Caught(data, sender, to) for data, to in datagrams]
        del self.caught[:-MOST_CAUGHT]


def check_bounds(host: Associations) -> None:
    """Compare the tables with their bounds."""
    for name, size in host.sizes().items():
        assert size <= BOUNDS[name], f"{name}: {size}"


def test_one(data: bytes) -> None:
    """Run a story, and let it end: no alarm fires for ever."""
    feed, story = Feed(data), Story()
    for _ in range(MOST_STEPS):
        if not feed:
            break
        story.step(feed)
    for endpoint, host in story.hosts.items():
        for _ in range(64):
            alarm = host.next_alarm()
            if alarm is None:
                break
            story.now = max(story.now, alarm[0])
            story.catch(host.wake(story.now), endpoint)
            following = host.next_alarm()
            assert following is None or following[0] > story.now, "an alarm that fires for ever"
        check_bounds(host)


def seeds() -> Iterable[bytes]:
    # 1 calls 2 and speaks; the answer; both again; a renewal; a restart would be another target.
    first = bytes((0, 0, 5, 0x73, 0, 0x73, 0, 0x73, 0, 8, 0, 9, 0x73, 0, 0, 0, 1, 0x70, 0))
    yield first
    yield first + bytes((0x77, 1, 7, 0, 3, 0x73, 0, 0x73, 0, 0x73, 0))
    yield bytes((0, 0, 5, 8, 0, 6, 0x73, 0, 0x73, 1, 0x73, 0, 0x73, 1, 0x73, 2))
    yield bytes((0, 0, 5, *(0x64, 0x70, 0) * 5, 0x73, 0))
    yield bytes((0, 0, 5, *(0x70, 0) * 6, 0xB0, 0, 1, 9, 1, 0xB0, 0, 4, 2, 0xE0, 1, 0, 0, 9, 1, 2))


TARGET = Target(
    "associations",
    "Associations.receive raises nothing, answers no more than it got, believes nothing forged",
    test_one,
    seeds,
    most_bytes=512,
)
