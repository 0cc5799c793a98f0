"""The forwarder: moves bursts by the entries that roles install, and never asks a role.

Pure: time is an argument, effects are the outcome. The unit is the burst, from the memory it came
in to every branch; per packet there is one read of its header and no object. A packet travels only
down the tree: it is taken from the entry's upstream (slide 10), is new to the channel's window, and
goes to the branches and programs that want its group and source (Decision 25).
"""

from __future__ import annotations

from dmmp.actions import ForwarderAction, Install, InstallKey, Publish, Withdraw
from dmmp.forwarding.asking import SOUND_AFTER, Alarm
from dmmp.forwarding.burst import Outcome, Silent
from dmmp.forwarding.channels import Announced, Own
from dmmp.forwarding.counters import Snapshot, added
from dmmp.forwarding.originating import Originating
from dmmp.forwarding.pace import Pace
from dmmp.forwarding.table import Admission, origin_key
from dmmp.types import Endpoint, Instant

FORGET_AFTER = 3
"""Idle heartbeat periods without a sign of a channel until it is forgotten."""


class Forwarder(Originating):
    """The data plane of one host, for all its sessions; `forward` is the relay's."""

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Carry out a role's action; branches new to a channel get its heartbeat."""
        outcome = Outcome()
        if isinstance(action, Install):
            entry = action.entry
            former = self._table.resolve(origin_key(entry.session, entry.origin))
            self._greet(outcome, self._table.install(entry, now))
            if former is not None and former.entry.upstream[:1] != entry.upstream[:1]:
                self._watch(former.pace)
                self._switch(outcome, entry, now)
            if entry.upstream and entry.repairers:
                self._mind(origin_key(entry.session, entry.origin), now)
        elif isinstance(action, Withdraw):
            self._greet(outcome, self._table.withdraw(action.session, action.origin))
        elif isinstance(action, InstallKey):
            self._use_key(outcome, action, now)
        elif isinstance(action, Publish):
            self._publish(outcome, action, now)
        else:
            self._replay(outcome, action, now)
        return outcome

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Do what is due: announce, give up waiting, forget; tell of silence upstream."""
        outcome = Outcome()
        silences: list[Silent] = []
        while (due := self._alarms.due(now)) is not None:
            alarm, key = due
            if isinstance(key, Own):
                if alarm is Alarm.SIGN:
                    self._sign_due(outcome, key, now)
                else:
                    self._on_beat(outcome, key, now)
            elif isinstance(key, Announced):
                if alarm is Alarm.REPAIR:
                    self._repair(outcome, key, now)
                elif key.order is not None:
                    self._emit(outcome, key, key.order.release(now), now)
            elif isinstance(key, Pace):
                told = self._listen(key, now)
                silences += told
                if told and now - key.last >= SOUND_AFTER and (key.is_steady or self._is_proven):
                    self._sound_all(outcome, key, now)
            elif alarm is Alarm.DEAF:
                assert isinstance(key, int)
                self._ask_around(outcome, key, now)
            elif alarm is Alarm.UNKNOWN:
                assert isinstance(key, tuple)
                held = self._unknown.take(key)
                self.counters.drop("unknown_channel", sum(run.packets for run, _ in held))
            else:
                self._sweep(now)
        return outcome, silences

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        return self._alarms.next()

    def snapshot(self) -> Snapshot:
        """Return all counts, and the sizes of the tables."""
        groups = self.counters.former()
        lost = given_up = 0
        for channel in self._channels.values():
            count = channel.count()
            lost += count["lost"]
            given_up += channel.gaps.given_up if isinstance(channel, Announced) else 0
            former = groups.get(channel.group)
            groups[channel.group] = count if former is None else added(former, count)
        tables = {
            "entries": len(self._table.entries),
            "channels": len(self._channels),
            "origins": len(self._origins),
            "cache_records": len(self._cache),
            "cache_bytes": self._cache.used_bytes,
            "unknown_channels": len(self._unknown),
            "unknown_bytes": self._unknown.used_bytes,
            "laid_aside": len(self._laid_aside),
            "early": len(self._early),
            "unopened": len(self._unopened),
            "keys": 0 if self._guard is None else len(self._guard.keys),
        }
        by_name = {str(group): count for group, count in groups.items()}
        return self.counters.snapshot(lost, given_up, by_name, tables)

    def _use_key(self, outcome: Outcome, action: InstallKey, now: Instant) -> None:
        """Hold a key, and look again at what could not be judged or opened without it."""
        if not self._install_key(outcome, action, now):
            return
        key = origin_key(action.session, action.origin)
        self._hear_early(outcome, key, now)
        for channel in self._table.announced():
            if channel.key[0] == key:
                self._look_again(outcome, channel, now)

    def deny(self, serials: frozenset[int]) -> None:
        """Believe origins with these certificates no more."""
        if self._guard is not None:
            self._guard.deny(serials)

    def _greet(self, outcome: Outcome, admissions: list[Admission]) -> None:
        told: set[tuple[Endpoint, int]] = set()
        for endpoint, channel in admissions:
            if (endpoint, channel.key[0]) not in told:
                told.add((endpoint, channel.key[0]))
                self._introduce_origin(outcome, channel.key[0], endpoint)
            self._beat(outcome, channel, endpoint)

    def _listen(self, pace: Pace, now: Instant) -> list[Silent]:
        """Tell of silence, and again while it lasts; look again later while the flow goes on."""
        told: list[Silent] = []
        at = pace.silent_at()
        if at is not None and at <= now:
            pace.grant(now - pace.alarm_at, now)
            at = pace.silent_at()
        if at is not None and at <= now:
            pace.tell()
            told.append(Silent(pace.last))
            at = pace.silent_at()
        # After a word of silence the next may be far off: then data sets the alarm anew.
        pace.watched = not told and at is not None
        self._watch(pace)
        return told

    def _sweep(self, now: Instant) -> None:
        """Forget channels nobody tells of any more, and packets that are too old."""
        oldest = now - FORGET_AFTER * self._parameters.heartbeat_idle
        for channel in self._table.announced():
            if channel.active_at < oldest:
                self._forget(channel)
        self._cache.trim(now)
        if self._guard is not None:
            self._guard.keys.erase_old(now)
        if self._channels or len(self._cache):
            self._arm_sweep(now)
