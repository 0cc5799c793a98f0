"""The cache of recent bursts against a list of packets: finds the same, forgets the same.

An input is a row of steps: add a run, ask for numbers, forget a channel.
"""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.forwarding.cache import RECORD_BYTES, Cache, newest
from tests.forwarding.test_cache import KEY, OTHER, M, numbers, packets
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target

LIMIT_BYTES = 12 * RECORD_BYTES
SECONDS = 2.0
STARTS = (0, 63, 1000, M - 200)
MOST_STEPS = 12

Held = tuple[int, int, int, float, bool]
"""First number (not wrapped), packets, channel, when, and whether it can be found."""


class Naive:
    """What should be held."""

    def __init__(self) -> None:
        self.runs: list[Held] = []

    def add(self, run: Held) -> None:
        self.runs.append(run)
        now = run[3]
        while self.runs and (self.runs[0][3] < now - SECONDS or self.used_bytes > LIMIT_BYTES):
            self.runs.pop(0)

    @property
    def used_bytes(self) -> int:
        return sum(4 * count + RECORD_BYTES for _, count, _, _, _ in self.runs)

    def forget(self, channel: int) -> None:
        self.runs = [(*run[:4], run[4] and run[2] != channel) for run in self.runs]

    def held(self) -> list[tuple[int, float]]:
        """Give the numbers of the first channel, and when they came."""
        return [
            (first + n, at)
            for first, count, channel, at, is_there in self.runs
            if is_there and not channel
            for n in range(count)
        ]


def test_one(data: bytes) -> None:
    """Run a story."""
    feed = Feed(data)
    cache, naive = Cache(LIMIT_BYTES, SECONDS), Naive()
    start = here = feed.choice(STARTS)
    now = 0.0
    for _ in range(MOST_STEPS):
        if not feed:
            break
        kind = feed.byte()
        now += (0.0, 0.1, 0.5, 2.5)[kind & 3]
        if kind & 0x1C == 0x1C:
            channel = kind >> 5 & 1
            cache.forget(OTHER if channel else KEY)
            naive.forget(channel)
        else:
            here += feed.byte() % 70
            count = feed.choice((1, 2, 3, 5, 8, 16, 33, 64))
            channel = int(kind & 0x1C == 4)
            key = OTHER if channel else KEY
            cache.add(key, here % M, count, packets(here, count), 4, now)
            naive.add((here, count, channel, now, True))
            here += count
        compare(cache, naive, start + feed.number(10) - 40, feed.take(kind >> 5), now)
    assert cache.used_bytes == naive.used_bytes and len(cache) == len(naive.runs)


def compare(cache: Cache, naive: Naive, base: int, bitmap: bytes, now: float) -> None:
    """Ask both the same."""
    held = naive.held()
    assert numbers(cache.since(KEY)) == [n % M for n, _ in held]
    assert numbers(cache.since(KEY, base % M)) == [n % M for n, _ in held if n >= base]
    before = cache.since(KEY, before=base % M, oldest=now - 1.0)
    assert numbers(before) == [n % M for n, at in held if n < base and at >= now - 1.0]
    marked = {base + n for n in range(8 * len(bitmap)) if bitmap[n // 8] & 0x80 >> n % 8}
    pieces, missing = cache.search(KEY, base % M, bitmap)
    assert numbers(pieces) == [n % M for n, _ in held if n in marked]
    there = {n for n, _ in held}
    assert missing == [base + n in marked - there for n in range(8 * len(bitmap))]
    assert cache.used_bytes <= max(LIMIT_BYTES, 0)
    assert sum(map(len, cache._blocks.values())) <= 2 * len(cache)
    kept = newest(cache.since(KEY), 100)
    assert sum(len(piece.data) for piece in kept) <= 100


def seeds() -> Iterable[bytes]:
    yield bytes((0, *(0, 1, 9, 5) * 8))
    yield bytes((3, *(1, 60, 63, 200, 4, 3, 20, 9, 0xE1, 0, 40, 5, 255, 1, 2, 3, 4, 5, 6) * 3))
    yield bytes((1, 0, 0, 63, 1, 0x1C, 1, 0, 0, 5, 9, 3, 0, 7, 9))


TARGET = Target(
    "cache",
    "the cache finds exactly what a list would, within its bytes and seconds",
    test_one,
    seeds,
    most_bytes=512,
)
