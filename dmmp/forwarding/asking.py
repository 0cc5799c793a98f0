"""Asking for what is missing: from upstream, then from those who repair (Decision 18).

Holds what every part of the forwarder shares, and turns a channel's gaps into requests. Whose
requests are answered, and how, is in `answering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from random import Random

from dmmp.actions import ForwardingEntry
from dmmp.alarms import Alarms
from dmmp.forwarding.burst import Octets, Outcome, Transmit
from dmmp.forwarding.cache import Cache, Key
from dmmp.forwarding.channels import ORIGIN_MASK, Announced
from dmmp.forwarding.counters import Counters
from dmmp.forwarding.ordered import Room
from dmmp.forwarding.owing import Owing
from dmmp.forwarding.pace import Pace
from dmmp.forwarding.repair import RoundTrips, Stretch, Wanted, signed, target_of
from dmmp.forwarding.sealed import Sealed
from dmmp.forwarding.table import Table
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.messages import encode
from dmmp.messages.data import DataRequest
from dmmp.messages.local import Withholding
from dmmp.parameters import Parameters
from dmmp.security.data_guard import DataGuard
from dmmp.types import Endpoint, HostId, Instant, SessionId

BACKOFF = 1.5
"""Each wait for an answer is so many times the one before: eight tries in the time of the cache."""

SOUND_AFTER = 1.0
"""Seconds of silence after which others are asked for what comes next (Decision 71): who is without
upstream itself has found another by then."""

SOUND_WIDTH = 3
"""Others that are asked at once: some may be as starved as this host."""

DEAF_FIRST, DEAF_MOST = 2.0, 32.0
"""Seconds without any announcement until others are asked for some, and, doubling, the most."""

DEAF_BEATS = 1.5
"""Where there was one, none for so many times the time between two is long enough."""

SOUNDED = b"\xff" * 32
"""Bitmap of what they are asked for."""

_PATIENCE_ROUND_TRIPS = 3
"""Round trips in an entry's `patience` (Decision 11)."""


class Alarm(Enum):
    """What the forwarder wakes for."""

    HEARTBEAT = "When to announce an own channel again"
    SILENCE = "When to look whether upstream is silent"
    UNKNOWN = "When to give up waiting for a channel's announcement"
    REPAIR = "When to ask for a channel's missing packets"
    ORDER = "When packets have waited long enough for those before them"
    DEAF = "When to ask others for announcements, where upstream has passed on none"
    SIGN = "When to send what waits for a common signature, or a manifest's second copy"
    SWEEP = "When to forget idle channels and old packets"


class Asking:
    """The tables, and the requests; `Relay` adds what comes from the network.

    `ordered` is how many seconds packets may wait so that programs get them in order; None: not at
    all. `rng` throws the dice of randomized forwarding (Decision 19). Without `guard` everything
    is believed, and nothing sealed.
    """

    def __init__(
        self,
        parameters: Parameters,
        ordered: float | None = None,
        rng: Random | None = None,
        guard: DataGuard | None = None,
    ) -> None:
        self._guard = guard
        self._credentials: dict[int, bytes] = {}
        self._unopened = Sealed()
        self._last_opened: tuple[Octets, bytes | None] = (b"", None)
        self.counters = Counters(parameters.channels)
        self._parameters = parameters
        self._alarms = Alarms()
        self._table = Table(parameters, guard is not None and guard.delivers)
        self._channels = self._table.channels
        self._cache = Cache(parameters.cache_bytes, parameters.cache_seconds)
        self._round_trips = RoundTrips(parameters)
        self._owing = Owing()
        self._requests = 0
        self._deaf: dict[int, float] = {}
        """Keys of entries for which no announcement came, and the next pause until others are
        asked for some."""
        self._ordered = ordered
        self._room = Room(parameters.ordered_bytes)
        # Dice are there only if packets are to be scattered.
        self._rng = (rng or Random(0)) if parameters.random_forward else None

    def _note_gaps(
        self, channel: Announced, now: Instant, revealed_by: Endpoint | None = None
    ) -> None:
        """Take the gaps that the window saw: they are asked for unless they close by themselves."""
        passed = channel.window.passed
        if channel.wanted:
            for first, count in passed:
                channel.gaps.note(first, count, now, channel.gaps.wait(now), revealed_by)
            self._arm_repair(channel)
        passed.clear()

    def _note_tail(self, channel: Announced, now: Instant) -> None:
        """Look again a moment after a heartbeat that told of more than has come."""
        if channel.tail_due is None and channel.wanted and channel.tail:
            channel.tail_due = now + channel.gaps.wait(now)
            self._arm_repair(channel)

    def _repair(self, outcome: Outcome, channel: Announced, now: Instant) -> None:
        """Ask for what of a channel is due."""
        if channel.tail_due is not None and channel.tail_due <= now:
            channel.take_tail()
            for first, count in channel.window.passed:
                channel.gaps.note(first, count, now, 0.0)
            channel.window.passed.clear()
        active = self._table.resolve(channel.key[0])
        if active is None or not channel.wanted:
            channel.gaps.clear()
            return
        entry = active.entry
        by_target: dict[Endpoint, list[Stretch]] = {}
        for stretch in channel.gaps.due(now):
            is_old = now - stretch.born >= self._parameters.repair_alone
            target = target_of(stretch.tries, is_old, entry.upstream, entry.repairers)
            if stretch.revealed_by in entry.repairers and not stretch.tries:
                target = stretch.revealed_by
            if target is None:
                # Nobody to ask at present; an entry with somebody brings it up again.
                stretch.due = now + self._parameters.repair_most
            else:
                by_target.setdefault(target, []).append(stretch)
        if channel.gaps.starved_at == now and entry.upstream:
            outcome.notes.append(Withholding(entry.upstream[0], channel.gaps.starved))
        for target, stretches in by_target.items():
            self._ask(outcome, channel, entry, target, stretches, now)
        self._arm_repair(channel)

    def _ask(
        self,
        outcome: Outcome,
        channel: Announced,
        entry: ForwardingEntry,
        target: Endpoint,
        stretches: list[Stretch],
        now: Instant,
    ) -> None:
        """Ask one host for these stretches, or as much of them as is asked for at once."""
        wait = self._wait(entry, target)
        missed = False
        room = self._parameters.repair_numbers
        chosen: dict[Stretch, int] = {}
        # What was never asked for comes first, or one long gap would hide the next.
        for stretch in sorted(stretches, key=lambda stretch: stretch.tries):
            lacking = channel.gaps.lacking(stretch)
            room -= lacking.bit_count()
            if not lacking or (room < 0 and chosen):
                stretch.due = now + wait
                stretch.spared = stretch.spared or not lacking
                continue
            missed = missed or (stretch.tries > 0 and stretch.target == target)
            chosen[stretch] = lacking
            stretch.due = now + min(self._parameters.repair_most, wait * BACKOFF**stretch.tries)
            stretch.tries += 1
            stretch.target, stretch.asked_at = target, now
        if missed:
            self._round_trips.missed(target)
        in_order = [(stretch, chosen[stretch]) for stretch in stretches if stretch in chosen]
        for wanted in channel.gaps.wanted(in_order):
            self._request(outcome, channel.key, entry, wanted, target)

    def _wait(self, entry: ForwardingEntry, target: Endpoint) -> float:
        """Say how long an answer may take; the way to upstream may be known to the role."""
        wait = self._round_trips.wait(target)
        if target in entry.upstream[:1]:
            wait = max(wait, entry.patience / _PATIENCE_ROUND_TRIPS)
        return wait

    def _switch(self, outcome: Outcome, entry: ForwardingEntry, now: Instant) -> None:
        """Ask a new upstream for all that follows, and at once for what is missing."""
        if not entry.upstream:
            return
        for channel in self._table.announced():
            active = self._table.resolve(channel.key[0])
            if active is None or active.entry is not entry or not channel.wanted:
                continue
            if channel.window.settled:
                following = Wanted((channel.window.highest + 1) & SEQUENCE_MASK, b"")
                self._request(outcome, channel.key, entry, following, entry.upstream[0])
            channel.gaps.again(now)
            self._repair(outcome, channel, now)

    def _sound_all(self, outcome: Outcome, pace: Pace, now: Instant) -> None:
        """Ask others for what comes next in each channel of an upstream that is silent."""
        for channel in self._table.announced():
            active = self._table.resolve(channel.key[0])
            if active is not None and active.pace is pace and channel.wanted:
                self._sound(outcome, channel, active.entry, now)

    def _sound(
        self, outcome: Outcome, channel: Announced, entry: ForwardingEntry, now: Instant
    ) -> None:
        """Ask others for what comes next: upstream that sends nothing may be keeping it back."""
        others = [one for one in entry.repairers if one not in entry.upstream]
        if not others or not channel.window.settled:
            return
        channel.sounded_until = now + self._parameters.cache_seconds
        following = Wanted((channel.window.highest + 1) & SEQUENCE_MASK, SOUNDED)
        first = self._requests % len(others)
        for to in (others[first:] + others[:first])[:SOUND_WIDTH]:
            self._request(outcome, channel.key, entry, following, to)

    @property
    def _is_proven(self) -> bool:
        """Tell whether all words of origins are signed: then it matters little who brings them."""
        return self._guard is not None and self._guard.by_manifest

    def _mind(self, key: int, now: Instant) -> None:
        """Look in a while whether upstream announces anything."""
        if self._is_proven and key not in self._deaf:
            self._deaf[key] = DEAF_FIRST
            self._alarms.set(Alarm.DEAF, now + DEAF_FIRST, key)

    def _ask_around(self, outcome: Outcome, key: int, now: Instant) -> None:
        """Ask others what channels there are, if upstream has told of none for a while.

        It may keep back even announcements, and nothing else shows then that there are any.
        """
        active = self._table.entries.get(key)
        if active is None or not active.wanted:
            self._deaf.pop(key, None)
            return
        heard = [
            channel.active_at
            for channel in self._table.announced()
            if channel.key[0] >> 32 == key >> 32
        ]
        quiet_at = max(heard, default=float("-inf")) + DEAF_BEATS * self._parameters.heartbeat_idle
        if quiet_at > now:
            self._deaf.pop(key, None)
            self._alarms.set(Alarm.DEAF, quiet_at, key)
            return
        entry = active.entry
        others = [one for one in entry.repairers if one not in entry.upstream]
        first = self._requests % max(len(others), 1)
        for to in (others[first:] + others[:first])[:SOUND_WIDTH]:
            self._request(outcome, (key & ~ORIGIN_MASK, 0), entry, Wanted(0, b""), to)
        self._deaf[key] = pause = min(2 * self._deaf.get(key, DEAF_FIRST), DEAF_MOST)
        self._alarms.set(Alarm.DEAF, now + pause, key)

    def _note_owed(
        self, outcome: Outcome, channel: Announced, sender: Endpoint, packets: int, now: Instant
    ) -> None:
        """Note who sent what upstream was to send; say so if it withholds too much."""
        active = self._table.resolve(channel.key[0])
        upstream = () if active is None else active.entry.upstream[:1]
        if any(self._owing.repaired(each, sender, packets, now) for each in upstream):
            outcome.notes.append(Withholding(upstream[0]))

    def _note_ahead(
        self,
        outcome: Outcome,
        channel: Announced,
        sender: Endpoint,
        numbers: Sequence[int],
        now: Instant,
    ) -> int:
        """Note what others have that is ahead of all that upstream sent; tell how much that is."""
        if now >= channel.sounded_until:
            return 0
        ahead = sum(signed(number - channel.window.highest) > 0 for number in numbers)
        self._note_owed(outcome, channel, sender, ahead, now)
        return ahead

    def _request(
        self, outcome: Outcome, key: Key, entry: ForwardingEntry, wanted: Wanted, to: Endpoint
    ) -> None:
        """Send a request for packets of a channel."""
        self._requests = self._requests + 1 & SEQUENCE_MASK
        request = encode(
            DataRequest(
                session=SessionId(key[0] >> 32),
                source=entry.me,
                sequence=self._requests,
                tree_version=entry.tree_version,
                origin=HostId(key[0] & ORIGIN_MASK),
                channel=key[1],
                base=wanted.base,
                bitmap=wanted.bitmap,
            )
        )
        outcome.transmits.append(Transmit(request, len(request), to))
        self.counters.requests += 1

    def _heed(self, pace: Pace, packets: int, now: Instant) -> None:
        """Note data from upstream, and look for silence from now on."""
        pace.heard(packets, now)
        if not pace.watched:
            pace.watched = True
            pace.alarm_at = now + self._parameters.silence_least
            self._alarms.set(Alarm.SILENCE, pace.alarm_at, pace)
        elif pace.is_alarm_of_idling and pace.is_steady:
            # It was set for the next heartbeat, seconds away; the flow has begun since.
            self._watch(pace)

    def _watch(self, pace: Pace) -> None:
        """Look for silence when it would be remarkable, as things stand now."""
        at = pace.silent_at()
        if at is not None:
            pace.alarm_at = at
            pace.is_alarm_of_idling = not pace.is_steady
            self._alarms.set(Alarm.SILENCE, at, pace)

    def _arm_repair(self, channel: Announced) -> None:
        due = channel.gaps.next_due()
        if channel.tail_due is not None:
            due = channel.tail_due if due is None else min(due, channel.tail_due)
        if due is None:
            self._alarms.stop(Alarm.REPAIR, channel)
        else:
            self._alarms.set(Alarm.REPAIR, due, channel)
