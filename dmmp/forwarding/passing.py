"""Passing on what is new: to branches, to programs, to relatives by lot, to those who wait for it.

What is new, and of whom it is taken, is decided in `relay`.
"""

from __future__ import annotations

from dmmp.forwarding.asking import Alarm, Asking
from dmmp.forwarding.burst import Octets, Outcome, Run, Transmit, part
from dmmp.forwarding.channels import Announced, Channel, Plan
from dmmp.forwarding.runs import drawn, spans
from dmmp.types import Endpoint, Instant


class Passing(Asking):
    """Adds the ways out; `Relay` adds what comes from the network."""

    def _pass_on(
        self,
        outcome: Outcome,
        channel: Announced,
        plan: Plan,
        data: Octets,
        stride: int,
        first: int,
        count: int,
        now: Instant,
    ) -> None:
        """Send consecutive new packets to the branches and the programs that want them."""
        counters = self.counters
        targets = plan.targets
        if not targets and not plan.deliver:
            counters.dropped["no_members"] += count
            return
        size = len(data)
        counters.data_received += count
        counters.bytes += size
        channel.received += count
        channel.octets += size
        if targets:
            transmits = outcome.transmits
            for to in targets:
                transmits.append(Transmit(data, stride, to))
            copies = count * len(targets)
            counters.data_forwarded += copies
            channel.forwarded += copies
        if plan.deliver:
            if channel.order is not None:
                self._deliver_in_order(outcome, channel, data, stride, first, count, now)
            else:
                self._hand_over(outcome, channel, data, stride, now)
        self._cache.add(channel.key, first, count, data, stride, now)
        if self._rng is not None:
            self._scatter(outcome, channel, data, stride, plan.sender)

    def _hand_over(
        self, outcome: Outcome, channel: Channel, data: Octets, stride: int, now: Instant
    ) -> None:
        """Deliver a burst to this host's programs."""
        raise NotImplementedError

    def _deliver_in_order(
        self,
        outcome: Outcome,
        channel: Announced,
        data: Octets,
        stride: int,
        first: int,
        count: int,
        now: Instant,
    ) -> None:
        """Give the programs what is next, once what comes before it is there or given up."""
        order = channel.order
        assert order is not None
        late = order.late
        self._emit(outcome, channel, order.take(first, count, data, stride, now), now)
        self.counters.late += order.late - late

    def _emit(
        self,
        outcome: Outcome,
        channel: Announced,
        ready: list[tuple[Octets, int]],
        now: Instant,
    ) -> None:
        """Deliver what has waited, and see how long the rest may."""
        for data, stride in ready:
            self._hand_over(outcome, channel, data, stride, now)
        due = None if channel.order is None else channel.order.due()
        if due is None:
            self._alarms.stop(Alarm.ORDER, channel)
        else:
            self._alarms.set(Alarm.ORDER, due, channel)

    def _scatter(
        self, outcome: Outcome, channel: Channel, data: Octets, stride: int, sender: Endpoint
    ) -> None:
        """Send a few packets to a few relatives besides, by lot (slide 22, Decision 19)."""
        active = self._table.resolve(channel.key[0])
        if active is None or self._rng is None:
            return
        relatives = [
            relative
            for relative in active.entry.repairers
            if relative != sender and relative not in channel.wanting
        ]
        share, most = self._parameters.random_forward, self._parameters.random_targets
        for at in drawn(self._rng, share, -(-len(data) // stride)) if relatives else ():
            piece = part(data, stride, at, at + 1)
            for to in self._rng.sample(relatives, min(most, len(relatives))):
                outcome.transmits.append(Transmit(piece, stride, to))
                self.counters.scattered += 1

    def _hand_on(
        self, outcome: Outcome, channel: Announced, run: Run, marks: list[bool], to: Endpoint
    ) -> None:
        for begin, end in spans(marks):
            piece = part(run.data, run.stride, begin, end)
            outcome.transmits.append(Transmit(piece, run.stride, to))
            self.counters.replayed += end - begin

    def _beat(self, outcome: Outcome, channel: Channel, to: Endpoint) -> None:
        """Send a channel's last heartbeat to a branch."""
        if channel.heartbeat:
            outcome.transmits.append(Transmit(channel.heartbeat, len(channel.heartbeat), to))
            self.counters.heartbeats_sent += 1
