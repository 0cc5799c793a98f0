"""Answering requests: out of the cache, or by asking further up for all (Decision 18).

The role says who may ask, and hands on what is asked as `Replay`; here it is looked for.
"""

from __future__ import annotations

from random import Random

from dmmp.actions import ANY_ORIGIN, Replay
from dmmp.forwarding.burst import Outcome, Transmit
from dmmp.forwarding.cache import Piece, newest
from dmmp.forwarding.channels import Announced, Channel
from dmmp.forwarding.relay import Relay
from dmmp.forwarding.repair import signed
from dmmp.forwarding.table import origin_key
from dmmp.forwarding.wants import wanted_of
from dmmp.forwarding.window import SEQUENCE_MASK, WINDOW
from dmmp.parameters import Parameters
from dmmp.security.data_guard import DataGuard
from dmmp.types import SELF, Endpoint, Instant

MOST_ANSWERED = 64
"""Hosts whose last request is remembered for each channel."""

MOST_AGES = 512
"""Hosts of which it is known how old a packet is when they ask for it."""

MOST_ALLOWANCES = 512
"""Hosts of which it is known how much they were sent again; the rest may have all."""

LEAST_STORE = 32 << 10
"""Bytes that a host may be sent again at once, however little is kept here."""

STORES_TOGETHER = 4
"""So many times the store of one host is that of all who ask for single packets."""

MOST_TOLD = 16
"""Channels that a relative is told of at once."""

UNKNOWN_AGE = 0.05
"""Seconds that stand for it while it is not."""


class Ages:
    """How old a packet is when a host asks for it: no less than its round trip to here."""

    def __init__(self) -> None:
        self._ages: dict[Endpoint, float] = {}

    def note(self, host: Endpoint, seconds: float) -> None:
        """Take in an age: a lesser one at once, because greater ones are of second tries."""
        former = self._ages.pop(host, seconds)
        self._ages[host] = seconds if seconds < former else former + (seconds - former) / 16
        if len(self._ages) > MOST_AGES:
            del self._ages[next(iter(self._ages))]

    def age(self, host: Endpoint) -> float | None:
        """Return the age; a request for what is younger was sent before that could arrive."""
        return self._ages.get(host)


class Allowances:
    """How many bytes each host may be sent again: a share of what streams bring, and a store.

    Whoever is behind a link that is too narrow lacks most packets, asks for them, and loses those
    as well: without a bound it would be sent each again and again, at the cost of its siblings.
    Where it is the uplink here that is too narrow, all of them ask, and what they are sent again
    must leave room for the stream, or they will ask for ever.
    """

    def __init__(self, store: int, share: float) -> None:
        self._store = store
        self._share = share
        # What is left, and how much the streams had brought then.
        self._left: dict[Endpoint, tuple[int, int]] = {}

    def left(self, host: Endpoint, brought: int, kept: int) -> int:
        """Say how much it is, where the streams have brought so many bytes since the start.

        The store is no greater than what is `kept` here to be sent again.
        """
        store = min(self._store, max(LEAST_STORE, kept))
        left, then = self._left.get(host, (store, brought))
        return min(store, left + int(self._share * (brought - then)))

    def spend(self, host: Endpoint, size: int, brought: int, kept: int) -> None:
        """Note bytes that are sent again."""
        left = self.left(host, brought, kept)
        self._left.pop(host, None)
        self._left[host] = (left - size, brought)
        if len(self._left) > MOST_ALLOWANCES:
            del self._left[next(iter(self._left))]


class Answering(Relay):
    """Adds the answers; `Forwarder` adds entries, own packets and alarms."""

    def __init__(
        self,
        parameters: Parameters,
        ordered: float | None = None,
        rng: Random | None = None,
        guard: DataGuard | None = None,
    ) -> None:
        super().__init__(parameters, ordered, rng, guard)
        self._ages = Ages()
        store, share = parameters.repair_store, parameters.repair_share
        self._allowances = Allowances(store, share)
        self._together = Allowances(STORES_TOGETHER * store, share)

    def _replay(self, outcome: Outcome, action: Replay, now: Instant) -> None:
        """Send a host what it asks for and may have; a newcomer is a branch by then.

        No more than `replay_bytes` at once: a slow link would lose the rest, and live data with it.
        """
        if action.origin == ANY_ORIGIN:
            self._replay_all(outcome, action, now)
            return
        channel = self._channels.get((origin_key(action.session, action.origin), action.channel))
        if channel is None:
            self.counters.drop("unknown_channel")
            return
        if self._is_repeated(channel, action, now):
            return
        if not any(action.bitmap):
            # Whoever asks for single packets knows the channel.
            self._introduce_origin(outcome, channel.key[0], action.to)
            self._beat(outcome, channel, action.to)
        if action.bitmap:
            self._replay_marked(outcome, channel, action, now)
        else:
            self._send_again(outcome, action, self._cache.since(channel.key, base=action.base))

    def _is_repeated(self, channel: Channel, action: Replay, now: Instant) -> bool:
        """Tell whether this is a copy of a request just answered: networks repeat datagrams."""
        former = channel.answered.pop(action.to, None)
        channel.answered[action.to] = (action.base, action.bitmap, now)
        if len(channel.answered) > MOST_ANSWERED:
            del channel.answered[next(iter(channel.answered))]
        return (
            former is not None
            and former[:2] == (action.base, action.bitmap)
            and now - former[2] < self._parameters.repair_repeat
        )

    def _replay_marked(
        self, outcome: Outcome, channel: Channel, action: Replay, now: Instant
    ) -> None:
        """Send the packets that a bitmap marks; what is not here is asked for, or waited for."""
        bitmap = action.bitmap
        is_branch = action.to in channel.wanting
        if is_branch and isinstance(channel, Announced) and channel.gaps.repaired:
            bitmap = self._without_crossing(channel, action, now)
        found, lacking = self._cache.search(channel.key, action.base, bitmap)
        if is_branch:
            self._note_age(channel, action.to, found, now)
        self._send_again(outcome, action, found)
        if isinstance(channel, Announced) and any(lacking):
            bits = int("".join("1" if lack else "0" for lack in lacking), 2)
            self._lack(outcome, channel, action, bits, len(lacking), now)

    def _note_age(self, channel: Channel, to: Endpoint, found: list[Piece], now: Instant) -> None:
        """Learn how old packets are when this branch asks, by those that came here in order."""
        repaired = (
            {at for *_, at in channel.gaps.repaired} if isinstance(channel, Announced) else ()
        )
        ages = [now - piece.at for piece in found if piece.at not in repaired]
        if ages:
            self._ages.note(to, min(ages))

    def _without_crossing(self, channel: Announced, action: Replay, now: Instant) -> bytes:
        """Leave out what was repaired and passed on so lately that the request crossed it.

        If it was lost on its way the child asks again, but without this every loss would be
        repaired once on each level below it.
        """
        length = 8 * len(action.bitmap)
        bits = int.from_bytes(action.bitmap, "big")
        least = now - self._age(channel, action.to)
        for first, count, at in channel.gaps.repaired:
            offset = signed(first - action.base)
            if at < least or not -count < offset < length:
                continue
            marks = (1 << count) - 1
            shift = length - offset - count
            bits &= ~(marks << shift if shift >= 0 else marks >> -shift)
        return bits.to_bytes(len(action.bitmap), "big")

    def _age(self, channel: Announced, to: Endpoint) -> float:
        """Return how old a packet is when a branch asks for it; unknown, as here of upstream."""
        age = self._ages.age(to)
        if age is not None:
            return age
        active = self._table.resolve(channel.key[0])
        upstream = active.entry.upstream[:1] if active is not None else ()
        return max([UNKNOWN_AGE, *(self._round_trips.usual(one) or 0.0 for one in upstream)])

    def _lack(
        self,
        outcome: Outcome,
        channel: Announced,
        action: Replay,
        bits: int,
        length: int,
        now: Instant,
    ) -> None:
        """Let the asker wait for what is not here, and ask upstream for what never would come."""
        window = channel.window
        last = (action.base + length - 1) & SEQUENCE_MASK
        ahead = min(length, max(0, signed(last - window.highest)) if window.begun else length)
        behind = length - ahead
        missing = window.missing_in(action.base, behind) << ahead if behind else 0
        coming = bits & (missing | (1 << ahead) - 1)
        # Of numbers older than the window nobody can tell whether they came.
        within = WINDOW - max(0, signed(window.highest - last)) + ahead
        gone = bits & ~coming & (1 << max(0, within)) - 1
        if coming and action.to not in channel.wanting:
            channel.wants.add(last, coming, action.to, False, now)
        active = self._table.resolve(channel.key[0])
        if not gone or active is None or not active.entry.upstream:
            return
        upstream = active.entry.upstream[0]
        if upstream == action.to:
            return
        unasked = channel.wants.unasked(last, gone, now, self._wait(active.entry, upstream))
        channel.wants.add(last, gone, action.to, True, now)
        if unasked:
            self._request(outcome, channel.key, active.entry, wanted_of(last, unasked), upstream)

    def _replay_all(self, outcome: Outcome, action: Replay, now: Instant) -> None:
        """Send a newcomer what is held of all it wants: announcements first, then packets."""
        asked = list(self._table.in_session(action.session))
        wanted = [channel for channel in asked if action.to in channel.wanting]
        if asked and not wanted:
            self._tell_relative(outcome, asked, action.to)
        for key in dict.fromkeys(channel.key[0] for channel in wanted):
            self._introduce_origin(outcome, key, action.to)
        for channel in wanted:
            self._beat(outcome, channel, action.to)
        self._send_again(
            outcome, action, [piece for each in wanted for piece in self._recent(each, action, now)]
        )

    def _tell_relative(self, outcome: Outcome, asked: list[Channel], to: Endpoint) -> None:
        """Tell one who is no branch what there is: its own upstream may keep it back.

        Only what is signed: else whoever may ask could be told anything.
        """
        if not self._is_proven:
            self.counters.drop("not_downstream")
            return
        for channel in asked[:MOST_TOLD]:
            self._introduce_origin(outcome, channel.key[0], to)
            self._beat(outcome, channel, to)

    def _recent(self, channel: Channel, action: Replay, now: Instant) -> list[Piece]:
        before = channel.live_from.get(action.to)
        oldest = now - self._parameters.newcomer_seconds
        return self._cache.since(channel.key, before=before, oldest=oldest)

    def _send_again(self, outcome: Outcome, action: Replay, found: list[Piece]) -> None:
        brought, kept = self.counters.bytes, self._cache.used_bytes
        forwarded, kept_together = self._forwarded(), STORES_TOGETHER * kept
        allowed = self._allowances.left(action.to, brought, kept)
        if action.bitmap:
            allowed = min(allowed, self._together.left(SELF, forwarded, kept_together))
        most = min(self._parameters.replay_bytes, allowed)
        size = packets = 0
        for data, stride, _ in newest(found, most):
            outcome.transmits.append(Transmit(data, stride, action.to))
            size += len(data)
            packets += -(-len(data) // stride)
        self.counters.replayed += packets
        self.counters.withheld += sum(-(-len(data) // stride) for data, stride, _ in found)
        self.counters.withheld -= packets
        if size:
            self._allowances.spend(action.to, size, brought, kept)
            if action.bitmap:
                self._together.spend(SELF, size, forwarded, kept_together)

    def _forwarded(self) -> int:
        """Say how many bytes the streams took to all branches together, since the start."""
        counters = self.counters
        packets = counters.data_received + counters.originated
        return counters.bytes * counters.data_forwarded // max(packets, 1)
