"""What waits to be sent, a queue for each receiver: fair, bounded by time, paced where that helps.

A burst goes straight to the kernel unless its receiver is held here: the way to it was full a
moment ago, it lost packets lately and is paced, or the node's rate is limited. Nobody waits for
another's queue. What waited too long goes first, for newer packets are worth more to a stream.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from dmmp.forwarding.burst import Octets, Transmit
from dmmp.types import Endpoint, Instant

QUEUE_SECONDS = 0.2
"""So long a packet may wait here; then it is dropped and counted."""

QUEUE_BYTES = 8 << 20
"""Most bytes that wait for one receiver: the bound by time at 320 Mbit/s."""

TOTAL_BYTES = 64 << 20
"""And for all together; most of them share the memory they came in."""

MOST_QUEUES = 512
"""Receivers held at a time: children, and those who asked for packets."""

AGAIN = 0.001
"""Seconds after which a way that was full is tried again."""

CREDIT = 0.01
"""Seconds of a rate that may go at once: so late may a wake-up be without a loss of rate."""

TURN_SECONDS = 0.002
"""Seconds of a rate that one receiver gets in its turn; less than a packet is a packet."""

PACED_SECONDS = 30.0
"""So long after the last lost packet its receiver is paced."""

PACE_MARGIN = 1.25
"""So many times the stream's mean rate is its pace."""

SPREAD = 0.05
"""Longest time over which a burst is spread, in seconds, whatever its pace."""

PACE_CREDIT = 0.005
"""As `CREDIT`, of a pace: what goes at once must fit the small queue of a slow link."""

LEAST_TURN_BYTES = 3000
"""Two packets in a turn at least."""

_SPAN = 0.5
_FIRST_SPAN = 0.2
_NEVER = float("-inf")


class Waiting(NamedTuple):
    """Datagrams `stride` bytes apart that wait since `since`."""

    data: Octets
    stride: int
    since: Instant


class Queued(NamedTuple):
    """How it stands with one receiver: bytes that wait, packets dropped so far, whether paced."""

    waiting: int
    dropped: int
    paced: bool


class Queue:
    """What waits for one receiver, and its pace if it has one."""

    __slots__ = (
        "_begun",
        "_count",
        "_earlier",
        "allowance",
        "free_at",
        "has_turn",
        "octets",
        "pace",
        "paced_until",
        "to",
        "waiting",
    )

    def __init__(self, to: Endpoint) -> None:
        self.to = to
        self.waiting: deque[Waiting] = deque()
        self.octets = 0
        self.has_turn = False
        self.allowance = 0.0
        self.free_at: Instant = _NEVER
        self.paced_until: Instant = _NEVER
        self.pace: float | None = None
        self._begun: Instant = _NEVER
        self._count = 0
        self._earlier: float | None = None

    def add(self, data: Octets, stride: int, now: Instant) -> None:
        """Take datagrams behind those that wait, and see how fast they are to leave."""
        size = len(data)
        paced = self.paced_until > now
        if paced:
            self._measure(size, now)
        if not self.waiting:
            self.pace = None
        self.waiting.append(Waiting(data, stride, now))
        self.octets += size
        mean = self._mean(now) if paced else None
        if mean is not None:
            self.pace = max(self.pace or 0.0, PACE_MARGIN * mean, self.octets / SPREAD)

    def _measure(self, size: int, now: Instant) -> None:
        lasted = now - self._begun
        if lasted >= _SPAN or (self._earlier is None and lasted >= _FIRST_SPAN):
            # After a pause what was before says nothing.
            self._earlier = self._count / lasted if lasted < 2 * _SPAN else None
            self._begun, self._count = now, 0
        self._count += size

    def _mean(self, now: Instant) -> float | None:
        """Return the stream's bytes a second; None while that is not known."""
        if self._earlier is None:
            return None
        lasted = now - self._begun
        return max(self._earlier, self._count / lasted if lasted > _SPAN / 2 else 0.0)


class Outgoing:
    """The queues of one socket; see the module's docstring.

    `rate` limits all that is sent, in bytes a second with the headers of UDP and IP; `longest` is
    how long packets may wait, in seconds. Whoever sends puts in here what is for receivers in
    `held`, or everything if `is_limited`; then it sends what `next` gives, and says `done`.
    """

    def __init__(self, rate: float | None = None, longest: float = QUEUE_SECONDS) -> None:
        self.held: dict[Endpoint, Queue] = {}
        self.is_limited = rate is not None
        self.dropped = 0
        self._rate = rate or 0.0
        self._turn = max(LEAST_TURN_BYTES, self._rate * TURN_SECONDS)
        self._longest = longest
        self._free_at: Instant = _NEVER
        self._turns: deque[Queue] = deque()
        self._octets = 0
        self._piece = 0
        self._dropped: dict[Endpoint, int] = {}

    def put(
        self, data: Octets, stride: int, to: Endpoint, now: Instant, blocked: bool = False
    ) -> None:
        """Take a burst; `blocked` says that the kernel just had no room for it.

        What waits too long then, or is too much, is dropped, the oldest first.
        """
        queue = self.held.get(to) or self._hold(to, now)
        if queue is None:
            self._drop(to, data, stride)
            return
        if not queue.has_turn:
            queue.has_turn = True
            self._turns.append(queue)
        queue.add(data, stride, now)
        self._octets += len(data)
        if blocked:
            queue.free_at = max(queue.free_at, now + AGAIN)
        while queue.octets > QUEUE_BYTES or self._octets > TOTAL_BYTES:
            self._drop_oldest(queue)

    def spend(self, size: int, to: Endpoint, now: Instant) -> None:
        """Note bytes that went past the queues: they count towards the limit."""
        if self.is_limited:
            self._free_at = max(self._free_at, now - CREDIT) + (size + _extra(to)) / self._rate

    def lost(self, to: Endpoint, now: Instant) -> None:
        """Note that a receiver lacks packets: it is paced for a while."""
        queue = self.held.get(to) or self._hold(to, now)
        if queue is not None:
            queue.paced_until = now + PACED_SECONDS

    def next(self, now: Instant) -> Transmit | None:
        """Give what is to be sent next; the same again until `done` is called."""
        turns = self._turns
        if self.is_limited and self._free_at > now:
            return None
        passed = 0
        while passed < len(turns):
            queue = turns[0]
            while queue.waiting and queue.waiting[0].since < now - self._longest:
                self._drop_oldest(queue)
            if not queue.waiting:
                self._end_turns(now)
            elif queue.free_at > now:
                turns.rotate(-1)
                passed += 1
            elif self.is_limited and queue.allowance <= 0:
                queue.allowance += self._turn
                turns.rotate(-1)
                passed = 0
            else:
                return self._head(queue)
        return None

    def done(self, left: int, now: Instant) -> None:
        """Take away what `next` gave, but for the last `left` bytes: they found no room."""
        queue = self._turns[0]
        taken = self._piece - left
        data, stride, since = queue.waiting.popleft()
        if taken < len(data):
            rest = memoryview(data)[taken:]
            queue.waiting.appendleft(Waiting(rest, stride, since))
        queue.octets -= taken
        self._octets -= taken
        if self.is_limited:
            wire = taken - (-taken // max(stride, 1)) * _extra(queue.to)
            queue.allowance -= wire
            self._free_at = max(self._free_at, now - CREDIT) + wire / self._rate
        if queue.pace is not None:
            queue.free_at = max(queue.free_at, now - PACE_CREDIT) + taken / queue.pace
        if left:
            queue.free_at = max(queue.free_at, now + AGAIN)
        if not queue.waiting:
            self._end_turns(now)
        elif not self.is_limited:
            self._turns.rotate(-1)

    def due(self) -> Instant | None:
        """Say when `next` may have something; None if nothing waits."""
        if not self._turns:
            return None
        return max(self._free_at, min(queue.free_at for queue in self._turns))

    def queues(self, now: Instant) -> dict[Endpoint, Queued]:
        """Tell of the receivers that are held, and of those that packets were dropped for."""
        found = {to: Queued(0, dropped, False) for to, dropped in self._dropped.items()}
        for to, queue in self.held.items():
            found[to] = Queued(queue.octets, self._dropped.get(to, 0), queue.paced_until > now)
        return found

    def _hold(self, to: Endpoint, now: Instant) -> Queue | None:
        """Make a queue; None if there are too many that something waits in."""
        if len(self.held) >= MOST_QUEUES:
            for queue in list(self.held.values()):
                self._let_go(queue, now)
        if len(self.held) >= MOST_QUEUES:
            # A pace is worth less than what somebody else is to be sent.
            idle = next((each for each in self.held.values() if not each.has_turn), None)
            if idle is None:
                return None
            del self.held[idle.to]
        made = self.held[to] = Queue(to)
        return made

    def _end_turns(self, now: Instant) -> None:
        queue = self._turns.popleft()
        queue.has_turn = False
        self._let_go(queue, now)

    def _let_go(self, queue: Queue, now: Instant) -> None:
        if not queue.has_turn and queue.paced_until <= now and queue.free_at <= now:
            self.held.pop(queue.to, None)

    def _head(self, queue: Queue) -> Transmit:
        data, stride, _ = queue.waiting[0]
        size = most = len(data)
        if self.is_limited:
            most = int(self._turn)
        if queue.pace is not None:
            most = min(most, int(queue.pace * TURN_SECONDS))
        if most < size:
            size = min(size, max(stride, most - most % max(stride, 1)))
        self._piece = size
        return Transmit(data if size == len(data) else memoryview(data)[:size], stride, queue.to)

    def _drop_oldest(self, queue: Queue) -> None:
        data, stride, _ = queue.waiting.popleft()
        queue.octets -= len(data)
        self._octets -= len(data)
        self._drop(queue.to, data, stride)

    def _drop(self, to: Endpoint, data: Octets, stride: int) -> None:
        packets = -(-len(data) // max(stride, 1))
        self.dropped += packets
        # The latest last, so that the first is whom nothing was dropped for longest.
        self._dropped[to] = self._dropped.pop(to, 0) + packets
        if len(self._dropped) > MOST_QUEUES:
            del self._dropped[next(iter(self._dropped))]


def _extra(to: Endpoint) -> int:
    """Return the bytes of the headers below a datagram: RFC 768 in RFC 791 or RFC 8200."""
    return 28 if to.address.version == 4 else 48
