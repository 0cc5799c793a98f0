"""The kernel's lot for openings: what falls to it, and how much of them it lets in."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from dmmp.messages.options import Option
from dmmp.runtime.sieve import BACKLOG_BYTES, LEAST_SHARE, QUEUED_BYTES, Shares, Sieve
from dmmp.security.cookies import NO_MAC
from dmmp.security.handshakes import INITIATION_LEAST, prefix

COUNT = 200
BUFFER = 26_000
"""Openings that find room in the socket's buffer."""

INITIATION = prefix(Option.HANDSHAKE_INITIATION)
PLAIN = INITIATION.ljust(INITIATION_LEAST, b"\1") + NO_MAC
BEARING = [
    INITIATION.ljust(INITIATION_LEAST, b"\1") + NO_MAC[:at] + b"\2" + NO_MAC[at + 1 :]
    for at in range(len(NO_MAC))
]
OTHERS = [
    b"",
    b"x",
    INITIATION,
    INITIATION + bytes(24),
    prefix(Option.SEALED) + bytes(INITIATION_LEAST),
    prefix(Option.HANDSHAKE_RESPONSE) + bytes(INITIATION_LEAST),
    # As an initiation, but for a tree version.
    INITIATION[:1] + b"\1" + INITIATION[2:] + bytes(INITIATION_LEAST),
    INITIATION[:7] + b"\1" + bytes(INITIATION_LEAST),
]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")


class Ends:
    """A socket with a sieve, and one that sends to it."""

    def __init__(self, family: socket.AddressFamily, host: str) -> None:
        self.into = socket.socket(family, socket.SOCK_DGRAM)
        self.into.bind((host, 0))
        self.into.setblocking(False)
        self.out = socket.socket(family, socket.SOCK_DGRAM)
        self.out.connect(self.into.getsockname())
        self.sieve = Sieve(self.into)

    def heard(self, datagram: bytes, count: int = COUNT) -> int:
        """Send something so many times; tell how often it came."""
        found = 0
        for _ in range(count):
            self.out.send(datagram)
            try:
                assert self.into.recv(2048) == datagram
                found += 1
            except BlockingIOError:
                pass
        return found


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    made = Ends(family, request.param)
    yield made
    made.into.close()
    made.out.close()


def test_a_share_of_openings_is_let_in(ends: Ends) -> None:
    ends.sieve.set(0.5, 1.0)
    assert 0 < ends.heard(PLAIN) < COUNT
    assert all(ends.heard(each, 5) == 5 for each in BEARING)
    ends.sieve.set(1.0, 0.5)
    assert ends.heard(PLAIN) == COUNT
    assert 0 < ends.heard(BEARING[0]) < COUNT


def test_nothing_else_is_touched(ends: Ends) -> None:
    ends.sieve.set(0.0, 0.0)
    assert ends.heard(PLAIN) == 0
    assert not any(ends.heard(each, 5) for each in BEARING)
    assert all(ends.heard(each, 5) == 5 for each in OTHERS)


def test_it_is_taken_away_again(ends: Ends) -> None:
    ends.sieve.set(0.0, 0.0)
    ends.sieve.set(1.0, 1.0)
    assert ends.heard(PLAIN) == COUNT
    assert ends.heard(BEARING[3]) == COUNT


def test_what_lies_there_and_what_was_dropped_is_told(ends: Ends) -> None:
    assert ends.sieve.look() == (0, 0)
    ends.sieve.set(0.0, 1.0)
    for each in (PLAIN, PLAIN, BEARING[0]):
        ends.out.send(each)
    waiting, dropped = ends.sieve.look()
    assert waiting > len(PLAIN) and dropped == 2
    ends.into.close()
    assert ends.sieve.look() == (0, 0)
    ends.sieve.set(0.5, 0.5)


class Flooded:
    """A model: so many openings in a step, of which so many are dealt with; the rest waits."""

    def __init__(self, capacity: int) -> None:
        self.shares = Shares()
        self.capacity = capacity
        self.waiting = self.dropped = self.taken = 0

    def step(self, plain: int, bearing: int = 0, answers: int | None = None) -> None:
        """Let a step pass."""
        kept = round(plain * self.shares.plain), round(bearing * self.shares.bearing)
        self.dropped += plain + bearing - sum(kept)
        room = BUFFER - self.waiting
        self.dropped += max(0, sum(kept) - room)
        self.waiting += min(sum(kept), room)
        self.taken = min(self.waiting, self.capacity)
        self.waiting -= self.taken
        of_plain = self.taken * plain // max(1, plain + bearing)
        refused = 0 if answers is None else max(0, self.taken - answers)
        self.shares.adjust(
            self.waiting * QUEUED_BYTES, self.dropped, of_plain, self.taken - of_plain, refused
        )


@pytest.mark.parametrize("offered", [800, 1000, 2000, 20_000])
def test_as_much_is_let_in_as_can_be_taken(offered: int) -> None:
    flooded = Flooded(700)
    taken: list[int] = []
    waiting: list[int] = []
    for _ in range(550):
        flooded.step(offered)
        taken.append(flooded.taken)
        waiting.append(flooded.waiting)
    # Some 20 ms of work wait, never much more; and most of the time is used.
    assert max(waiting[150:]) < 3 * BACKLOG_BYTES / QUEUED_BYTES
    assert sum(taken[150:]) > 0.8 * 700 * 400
    assert flooded.shares.bearing == 1.0


def test_the_kind_that_floods_is_thinned_out() -> None:
    flooded = Flooded(300)
    for _ in range(100):
        flooded.step(50, 1000)
    assert flooded.shares.bearing < 0.6
    assert flooded.shares.plain == 1.0


def test_what_finds_no_answer_left_is_thinned_out_too() -> None:
    flooded = Flooded(10_000)
    least = 1.0
    for _ in range(100):
        flooded.step(1000, answers=50)
        least = min(least, flooded.shares.plain)
    assert LEAST_SHARE <= least < 0.3


def test_a_flood_that_ends_leaves_nothing_behind() -> None:
    flooded = Flooded(300)
    for _ in range(50):
        flooded.step(5000)
    assert not flooded.shares.are_whole
    while flooded.waiting:
        flooded.step(0)
    flooded.step(0)
    assert flooded.shares.are_whole


def test_what_can_be_taken_is_not_thinned_out() -> None:
    flooded = Flooded(2000)
    for _ in range(100):
        flooded.step(1500)
        assert flooded.shares.are_whole
