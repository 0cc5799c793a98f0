"""The forwarder: moves bursts by the entries that roles install, and never asks a role.

Pure: time is an argument, effects are the outcome. The unit is the burst, from the memory it came
in to every branch; per packet there is one read of its header and no object. A packet travels only
down the tree: it is taken from the entry's upstream (slide 10), is new to the channel's window, and
goes to the branches and programs that want its group and source (Decision 25).
"""

from __future__ import annotations

from collections.abc import Sequence

from dmmp.actions import Install, Replay, Withdraw
from dmmp.forwarding.answering import Answering
from dmmp.forwarding.asking import Alarm
from dmmp.forwarding.burst import Octets, Outcome, Silent, Transmit
from dmmp.forwarding.channels import Announced, Own
from dmmp.forwarding.counters import Snapshot, added
from dmmp.forwarding.origination import Origin, announcement, is_packet, packed
from dmmp.forwarding.pace import Pace
from dmmp.forwarding.table import Admission, origin_key
from dmmp.types import SELF, HostId, Instant, IpAddress, SessionId, serial_newer

FORGET_AFTER = 3
"""Idle heartbeat periods without a sign of a channel until it is forgotten."""


class Forwarder(Answering):
    """The data plane of one host, for all its sessions; `forward` is the relay's."""

    def apply(self, action: Install | Withdraw | Replay, now: Instant) -> Outcome:
        """Carry out a role's action; branches new to a channel get its heartbeat."""
        outcome = Outcome()
        if isinstance(action, Install):
            entry = action.entry
            former = self._table.resolve(origin_key(entry.session, entry.origin))
            self._greet(outcome, self._table.install(entry, now))
            if former is not None and former.entry.upstream[:1] != entry.upstream[:1]:
                self._watch(former.pace)
                self._switch(outcome, entry, now)
        elif isinstance(action, Withdraw):
            self._greet(outcome, self._table.withdraw(action.session, action.origin))
        else:
            self._replay(outcome, action, now)
        return outcome

    def originate(
        self,
        session: SessionId,
        host: HostId,
        tree_version: int,
        group: IpAddress,
        source: IpAddress,
        packets: Sequence[Octets],
        now: Instant,
    ) -> Outcome:
        """Send this host's own IP packets from `source` to `group` down the tree of `host`.

        Without an interested branch nothing is packed and no number used. There is no delivery: the
        host's own programs get their copies from its kernel.
        """
        outcome = Outcome()
        key = origin_key(session, host)
        channel = self._own_channel(outcome, key, tree_version, (group, source), len(packets), now)
        if channel is None:
            return outcome
        fitting = [packet for packet in packets if is_packet(packet)]
        if len(fitting) < len(packets):
            self.counters.drop("malformed", len(packets) - len(fitting))
        targets = channel.targets()
        channel.tree_version = tree_version
        for first, data, stride in packed(channel, fitting):
            outcome.transmits.extend([Transmit(data, stride, to) for to in targets])
            self._cache.add(channel.key, first, -(-len(data) // stride), data, stride, now)
            if self._rng is not None:
                self._scatter(outcome, channel, data, stride, SELF)
            channel.octets += len(data)
            self.counters.bytes += len(data)
        if fitting:
            self.counters.originated += len(fitting)
            self.counters.data_forwarded += len(fitting) * len(targets)
            channel.forwarded += len(fitting) * len(targets)
            channel.used_at = now
            channel.has_sent = channel.carries = True
            if channel.due > now + self._parameters.heartbeat_first:
                self._set_beat(channel, now + self._parameters.heartbeat_first)
        return outcome

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Do what is due: announce, give up waiting, forget; tell of silence upstream."""
        outcome = Outcome()
        silences: list[Silent] = []
        while (due := self._alarms.due(now)) is not None:
            alarm, key = due
            if isinstance(key, Own):
                self._on_beat(outcome, key, now)
            elif isinstance(key, Announced):
                if alarm is Alarm.REPAIR:
                    self._repair(outcome, key, now)
                elif key.order is not None:
                    self._emit(outcome, key, key.order.release(now))
            elif isinstance(key, Pace):
                silences += self._listen(key, now)
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
        }
        by_name = {str(group): count for group, count in groups.items()}
        return self.counters.snapshot(lost, given_up, by_name, tables)

    def _greet(self, outcome: Outcome, admissions: list[Admission]) -> None:
        for endpoint, channel in admissions:
            self._beat(outcome, channel, endpoint)

    def _own_channel(
        self,
        outcome: Outcome,
        key: int,
        tree_version: int,
        stream: tuple[IpAddress, IpAddress],
        packets: int,
        now: Instant,
    ) -> Own | None:
        """Find or open the channel for own packets; None, and a count, if they go nowhere."""
        origin = self._origins.get(key)
        if origin is None and len(self._origins) < self._parameters.sessions:
            origin = self._origins[key] = Origin(key, self._parameters)
        channel = None if origin is None else origin.channels.get(stream)
        if channel is not None and channel.wanting:
            return channel
        active = self._table.resolve(key)
        if active is None:
            self.counters.drop("no_entry", packets)
        elif channel is not None or not active.is_wanted(*stream):
            self.counters.drop("no_members", packets)
        elif origin is None or (channel := origin.open(stream, now)) is None:
            self.counters.drop("channels_full", packets)
        else:
            channel.tree_version = tree_version
            forged = self._channels.get(channel.key)
            if forged is not None:
                # Announced from upstream before this host used its id: nobody else may.
                self._forget(forged)
            self._table.add(channel)
            self._arm_sweep(now)
            self._announce(outcome, channel, now)
            self._set_beat(channel, now + self._parameters.heartbeat_first)
            return channel
        return None

    def _announce(self, outcome: Outcome, channel: Own, now: Instant) -> bool:
        """Send the next heartbeat of an own channel; False if it idled too long and was closed."""
        if now - channel.used_at >= self._parameters.channel_idle:
            self._origins[channel.key[0]].close(channel)
            self._forget(channel)
            return False
        active = self._table.resolve(channel.key[0])
        if channel.wanting and active is not None:
            if serial_newer(active.entry.tree_version, channel.tree_version, 8):
                # It rose since the last packet, and the old one goes stale while a channel idles.
                channel.tree_version = active.entry.tree_version
            channel.heartbeat = announcement(channel)
            for to in channel.wanting:
                self._beat(outcome, channel, to)
        channel.announced_at = now
        return True

    def _on_beat(self, outcome: Outcome, channel: Own, now: Instant) -> None:
        """Announce an own channel if it is time, and see when it is next.

        Each second while data flows. After the last packet soon, for nothing else tells that it
        was lost, and then ever more seldom.
        """
        parameters = self._parameters
        if channel.carries:
            quiet_at = channel.used_at + parameters.heartbeat_first
            due = min(quiet_at, channel.announced_at + parameters.heartbeat)
            if now < due:
                self._set_beat(channel, due)
                return
            channel.carries = now < quiet_at
            channel.idle_pause = parameters.heartbeat_first
        if not self._announce(outcome, channel, now):
            return
        if channel.carries:
            self._set_beat(channel, min(quiet_at, now + parameters.heartbeat))
        else:
            channel.idle_pause = min(2 * channel.idle_pause, parameters.heartbeat_idle)
            self._set_beat(channel, now + channel.idle_pause)

    def _set_beat(self, channel: Own, at: Instant) -> None:
        channel.due = at
        self._alarms.set(Alarm.HEARTBEAT, at, channel)

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
        if self._channels or len(self._cache):
            self._arm_sweep(now)
