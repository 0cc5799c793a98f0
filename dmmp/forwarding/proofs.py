"""What proves a channel's packets: manifests by number, and packets that wait for theirs.

Which signatures hold is the guard's to say, what becomes of packets the forwarder's.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from dmmp.forwarding.burst import Run, compact
from dmmp.forwarding.cache import RECORD_BYTES
from dmmp.forwarding.repair import signed
from dmmp.forwarding.runs import listed
from dmmp.forwarding.sealed import KEY_SECONDS
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.security.manifest import DIGEST_BYTES, NOT_LISTED, Manifest
from dmmp.types import Endpoint, Instant

MOST_MANIFESTS = 2048
"""Manifests held of a channel; at 64 packets each more than the cache holds packets."""

MANIFEST_SECONDS = 4.0
"""So long a manifest is held: twice the cache, for repairs that come late."""

MOST_WAITING = 256
"""Packets of a channel that wait for what proves them: four manifests' worth."""

WAIT_SECONDS = 0.5
"""So long they wait: time to ask for a lost manifest twice, and once more."""

_BLOCK_BITS = 6


class Waiting(NamedTuple):
    """A run that waits, who sent it, and since when."""

    run: Run
    sender: Endpoint
    since: Instant


class Proofs:
    """The manifests of one channel, and what waits for them.

    `reached` is the highest number that was proven; None before the first. `is_news` says that a
    manifest came since what waits was looked at.
    """

    __slots__ = (
        "_blocks",
        "_last",
        "_order",
        "_packets",
        "_waiting",
        "is_news",
        "reached",
        "waiting_bytes",
    )

    def __init__(self) -> None:
        self._last: Manifest | None = None
        self._order: deque[tuple[Instant, Manifest]] = deque()
        self._blocks: dict[int, list[Manifest]] = {}
        self._waiting: deque[Waiting] = deque()
        self._packets = 0
        self.waiting_bytes = 0
        self.reached: int | None = None
        self.is_news = False

    def __len__(self) -> int:
        return len(self._order)

    def add(self, manifest: Manifest, now: Instant) -> bool:
        """Take a manifest that holds; False if it says what is known, as second copies do."""
        held = self._blocks.get(manifest.first >> _BLOCK_BITS, ())
        if any(other == manifest for other in held):
            return False
        if self._last is None or signed(manifest.first - self._last.first) > 0:
            self._last = manifest
        self.is_news = True
        self._order.append((now, manifest))
        for block in _blocks(manifest):
            self._blocks.setdefault(block, []).append(manifest)
        while len(self._order) > MOST_MANIFESTS or self._order[0][0] < now - MANIFEST_SECONDS:
            _, oldest = self._order.popleft()
            for block in _blocks(oldest):
                held = self._blocks[block]
                held.remove(oldest)
                if not held:
                    del self._blocks[block]
        return True

    def judge(self, first: int, digests: bytes) -> bool | None:
        """Tell whether consecutive packets are as listed: True all, False none of them is known.

        None: they have to be looked at one by one.
        """
        last = self._last
        if last is None:
            return False
        at = signed(first - last.first) * DIGEST_BYTES
        if at >= 0 and last.digests[at : at + len(digests)] == digests:
            return True
        return None

    def verdict(self, number: int, digest: bytes) -> bool | None:
        """Tell whether a packet is the listed one; None if no manifest lists its number."""
        for manifest in self._blocks.get(number >> _BLOCK_BITS, ()):
            at = signed(number - manifest.first)
            if 0 <= at < manifest.packets:
                listed = manifest.digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]
                return None if listed == NOT_LISTED else listed == digest
        return None

    def reach(self, number: int) -> None:
        """Note a number that was proven."""
        if self.reached is None or signed(number - self.reached) > 0:
            self.reached = number

    def hold(self, run: Run, sender: Endpoint, now: Instant) -> int:
        """Let a run wait; return how many packets were dropped for it, the oldest first."""
        run = run._replace(data=compact(run.data))
        self._push(Waiting(run, sender, now))
        dropped = 0
        while self._packets > MOST_WAITING:
            dropped += self._pop().run.packets
        return dropped

    def unproven(self, first: int, count: int) -> int:
        """Tell which of these numbers wait here, as bits: the first number is the highest."""
        bits = 0
        for run, _, _ in self._waiting:
            for number in listed(run):
                at = number - first & SEQUENCE_MASK
                if at < count:
                    bits |= 1 << (count - 1 - at)
        return bits

    def release(self, now: Instant, by_number: bool) -> tuple[list[Waiting], int]:
        """Give back what waits, to be looked at again; also how many packets waited too long.

        What waits for a key has as long as where only delivery waits for it. Where proof is
        `by_number`, only what some manifest lists: whoever makes things up could
        have the rest looked at with every manifest.
        """
        self.is_news = False
        longest = WAIT_SECONDS if by_number else KEY_SECONDS
        ready: list[Waiting] = []
        late = 0
        for _ in range(len(self._waiting)):
            held = self._pop()
            if now - held.since > longest:
                late += held.run.packets
            elif not by_number or self._lists(held.run):
                ready.append(held)
            else:
                self._push(held)
        return ready, late

    def _lists(self, run: Run) -> bool:
        first = run.first
        last = run.numbers[-1] if run.numbers else first + run.packets - 1 & SEQUENCE_MASK
        return any(self.verdict(number, b"") is not None for number in (first, last))

    def _push(self, held: Waiting) -> None:
        self._waiting.append(held)
        self._packets += held.run.packets
        self.waiting_bytes += len(held.run.data) + RECORD_BYTES

    def _pop(self) -> Waiting:
        held = self._waiting.popleft()
        self._packets -= held.run.packets
        self.waiting_bytes -= len(held.run.data) + RECORD_BYTES
        return held


def _blocks(manifest: Manifest) -> range | tuple[int, ...]:
    first = manifest.first >> _BLOCK_BITS
    last = (manifest.first + manifest.packets - 1 & 0xFFFFFFFF) >> _BLOCK_BITS
    return range(first, last + 1) if last >= first else (first, last)
