"""What comes from the network: data and heartbeats, checked, windowed, sent on (slide 10).

The first half of the forwarder. Per burst one look-up finds the plan; everything that has none is
examined closer, and what is found there is remembered or dropped and counted.
"""

from __future__ import annotations

from random import Random

from dmmp.errors import DecodeError
from dmmp.forwarding.asking import Alarm
from dmmp.forwarding.burst import HEAD, Burst, Outcome, Run, cut, part, split
from dmmp.forwarding.cache import Key
from dmmp.forwarding.channels import ORIGIN_MASK, Announced, Channel, Plan
from dmmp.forwarding.ordered import Order
from dmmp.forwarding.origination import Origin
from dmmp.forwarding.proofs import Proofs
from dmmp.forwarding.proving import Proving
from dmmp.forwarding.repair import MAXIMUM_NUMBERS, Wanted, signed
from dmmp.forwarding.runs import consecutive, cut_out, is_signed, listed, spans
from dmmp.forwarding.table import Active
from dmmp.forwarding.unknown import MAXIMUM_UNKNOWN, Unknown
from dmmp.forwarding.window import SEQUENCE_MASK, Window
from dmmp.messages import decode
from dmmp.messages.data import Heartbeat
from dmmp.messages.header import CHANNEL_MASK, HEADER_BYTES, VERSION
from dmmp.messages.options import Option
from dmmp.parameters import Parameters
from dmmp.security.data_guard import DataGuard
from dmmp.types import Endpoint, Instant, IpAddress

MOST_LAID_ASIDE = 64
"""Windows of forgotten channels that are kept, so that nothing is delivered twice after all."""

BELIEVE_AFTER = 2
"""Heartbeat periods without a heartbeat until one that is not newer is believed again."""

_OPTIONS = ((Option.DATA, Option.HEARTBEAT), (Option.DATA, Option.HEARTBEAT, Option.CREDENTIAL))
"""What the data plane carries, without a guard and with one."""


class Relay(Proving):
    """Takes bursts from upstream; `Forwarder` adds entries, own packets and alarms."""

    def __init__(
        self,
        parameters: Parameters,
        ordered: float | None = None,
        rng: Random | None = None,
        guard: DataGuard | None = None,
    ) -> None:
        super().__init__(parameters, ordered, rng, guard)
        self._unknown = Unknown(parameters)
        self._laid_aside: dict[tuple[Key, IpAddress, IpAddress], Window] = {}
        self._origins: dict[int, Origin] = {}
        self._early: dict[Key, tuple[bytes, Run, Endpoint]] = {}
        self._quiet = BELIEVE_AFTER * parameters.heartbeat
        self._looks_again = False

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Take a burst of data or heartbeats from the network; whatever it is, raise nothing.

        The burst's memory must be the forwarder's: `bytes`, or a view of memory that nobody writes
        to any more. It is neither copied nor changed; the outcome and the cache refer to it.
        """
        outcome = Outcome()
        data, stride, sender, sealed = burst
        size = len(data)
        if HEADER_BYTES <= size <= stride:
            word, key, first, reserved, length = HEAD.unpack_from(data)
            if length == size - HEADER_BYTES:
                run = Run(data, size, 1, word, key, reserved, first)
                if sealed or not self._wants_seal(run):
                    self._run(outcome, run, sender, now)
            else:
                self.counters.drop("malformed")
            return outcome
        runs, malformed = cut(data, stride)
        if malformed:
            self.counters.drop("malformed", malformed)
        for run in runs:
            if sealed or not self._wants_seal(run):
                self._run(outcome, run, sender, now)
        return outcome

    def _wants_seal(self, run: Run) -> bool:
        """Tell whether a run is not to be looked at, because it came as anybody could send it."""
        if self._guard is None or not is_signed(run):
            return False
        self.counters.drop("unsealed", run.packets)
        return True

    def _run(self, outcome: Outcome, run: Run, sender: Endpoint, now: Instant) -> None:
        _, _, count, word, key, reserved, _, _ = run
        channel = self._channels.get((key, reserved & CHANNEL_MASK))
        plan: Plan | None = None
        if channel is not None:
            for known in channel.plans:
                if known.sender == sender and known.word == word:
                    plan = known
                    break
        if plan is None:
            plan = self._examine(outcome, run, channel, sender, now)
            if plan is None:
                return
        assert isinstance(channel, Announced)
        if self._guard is None:
            self._heed(plan.pace, count, now)
            self._accept(outcome, channel, plan, run, now)
            return
        believed = self._proven(outcome, channel, run, sender, now)
        for proven in believed:
            self._accept(outcome, channel, plan, proven, now)
            if channel.window.accepted_at == now:
                # What is forged, or was here before, is no sign of life: whoever can send in
                # upstream's name could hide that it is dead.
                self._heed(plan.pace, proven.packets, now)
        if believed and channel.proofs is not None and channel.proofs.is_news:
            self._look_again(outcome, channel, now)

    def _look_again(self, outcome: Outcome, channel: Announced, now: Instant) -> None:
        """Look once more at what waited for a proof, or for a key."""
        self._looks_again = True
        for held, sender in self._released(channel, now):
            self._run(outcome, held, sender, now)
        self._looks_again = False

    def _accept(
        self, outcome: Outcome, channel: Announced, plan: Plan, run: Run, now: Instant
    ) -> None:
        """Pass on what is new of a run that is to be believed."""
        data, stride, count, _, _, _, first, numbers = run
        if channel.proofs is not None:
            channel.proofs.reach(numbers[-1] if numbers else first + count - 1 & SEQUENCE_MASK)
        if not numbers and channel.window.admit(first, count, now):
            self._pass_on(outcome, channel, plan, data, stride, first, count, now)
        else:
            self._sift(outcome, channel, plan, run, now)
        if channel.window.passed:
            self._note_gaps(channel, now)
        if channel.wants.waiting:
            self._serve(outcome, channel, plan, run, now)

    def _sift(
        self, outcome: Outcome, channel: Announced, plan: Plan, run: Run, now: Instant
    ) -> None:
        """Pass on what is new of a run, cut out of it without copying."""
        data, stride = run.data, run.stride
        numbers = listed(run)
        if channel.wants.waiting:
            fetched = [channel.wants.is_fetched(number) for number in numbers]
            if any(fetched):
                for begin, end in spans(fetched):
                    self._take_fetched(outcome, channel, plan, cut_out(run, begin, end), now)
                for begin, end in spans([not mark for mark in fetched]):
                    self._sift(outcome, channel, plan, cut_out(run, begin, end), now)
                return
        fresh, duplicates, old = channel.window.sift(numbers, now)
        if duplicates:
            channel.duplicates += duplicates
            self.counters.drop("duplicate", duplicates)
        if old:
            self.counters.drop("old", old)
        if not fresh:
            return
        repairs = bool(channel.gaps.stretches)
        for begin, end in consecutive(fresh, numbers):
            first, count = numbers[begin], end - begin
            if repairs:
                self._fill(outcome, channel, plan.sender, first, count, now)
            piece = part(data, stride, begin, end)
            self._pass_on(outcome, channel, plan, piece, stride, first, count, now)

    def _fill(
        self,
        outcome: Outcome,
        channel: Announced,
        sender: Endpoint,
        first: int,
        count: int,
        now: Instant,
    ) -> None:
        """Note packets that somebody may have been asked for; what waited here answers nobody."""
        asked, round_trip = channel.gaps.fill(first, count, sender, now)
        self.counters.repaired += asked
        if self._looks_again:
            return
        if asked:
            self._note_owed(outcome, channel, sender, asked, now)
        if round_trip:
            self._round_trips.measure(sender, round_trip)

    def _take_repair(
        self,
        outcome: Outcome,
        run: Run,
        channel: Channel | None,
        active: Active,
        sender: Endpoint,
        now: Instant,
    ) -> None:
        """Take from one who is not upstream what is missing and was asked for, and no more."""
        taken: list[tuple[int, int]] = []
        numbers = listed(run)
        if isinstance(channel, Announced):
            taken = spans([self._is_welcome(channel, number, now) for number in numbers])
        accepted = sum(end - begin for begin, end in taken)
        if accepted < run.packets:
            self.counters.drop("not_upstream", run.packets - accepted)
        if not taken:
            return
        assert isinstance(channel, Announced)
        plan = channel.single_plan(sender, active.word, active.pace, run.first)
        believed = False
        for begin, end in taken:
            piece = cut_out(run, begin, end)
            proven = (
                [piece]
                if self._guard is None
                else self._proven(outcome, channel, piece, sender, now)
            )
            believed = believed or bool(proven)
            for part_of_it in proven:
                ahead = self._note_ahead(outcome, channel, sender, listed(part_of_it), now)
                if ahead:
                    # There is a flow: the next upstream, too, has to go on with it.
                    self._heed(active.pace, ahead, now)
                self._sift(outcome, channel, plan, part_of_it, now)
                self._serve(outcome, channel, plan, part_of_it, now)
        if channel.window.passed:
            self._note_gaps(channel, now, revealed_by=sender)
        if believed and channel.proofs is not None and channel.proofs.is_news:
            self._look_again(outcome, channel, now)

    def _is_welcome(self, channel: Announced, number: int, now: Instant) -> bool:
        """Tell whether this number is taken from one who is not upstream."""
        if channel.gaps.asked(number) or channel.wants.is_fetched(number):
            return True
        window = channel.window
        ahead = signed(number - window.highest)
        if now < channel.sounded_until and 0 < ahead <= MAXIMUM_NUMBERS:
            return True
        if self._rng is None or not (window.begun and window.settled):
            return False
        # By lot somebody may send what is not here yet; it shows what else is missing.
        return window.is_missing(number) or 0 < ahead <= MAXIMUM_NUMBERS

    def _take_fetched(
        self, outcome: Outcome, channel: Announced, plan: Plan, run: Run, now: Instant
    ) -> None:
        """Take what was asked for on behalf of others: it goes to them, and to programs here."""
        numbers = listed(run)
        waiting = channel.wants.take(numbers, True, now)
        sifted = channel.window.sift(numbers, now)
        self.counters.drop("old", sifted.old)
        self.counters.drop("duplicate", sifted.duplicates)
        channel.duplicates += sifted.duplicates
        for begin, end in consecutive([(0, len(numbers))], numbers):
            piece = part(run.data, run.stride, begin, end)
            self._cache.add(channel.key, numbers[begin], end - begin, piece, run.stride, now)
        for begin, end in sifted.fresh:
            piece = part(run.data, run.stride, begin, end)
            self.counters.data_received += end - begin
            self.counters.bytes += len(piece)
            channel.received += end - begin
            channel.octets += len(piece)
            if plan.deliver and channel.order is not None:
                order_first = numbers[begin]
                self._deliver_in_order(
                    outcome, channel, piece, run.stride, order_first, end - begin, now
                )
            elif plan.deliver:
                self._hand_over(outcome, channel, piece, run.stride, now)
        for to, marks in waiting:
            self._hand_on(outcome, channel, run, marks, to)

    def _serve(
        self, outcome: Outcome, channel: Announced, plan: Plan, run: Run, now: Instant
    ) -> None:
        """Send what has come to those who wait for it and do not get it as branches."""
        for to, marks in channel.wants.take(listed(run), False, now):
            if to not in plan.targets and to != plan.sender:
                self._hand_on(outcome, channel, run, marks, to)

    def _examine(
        self, outcome: Outcome, run: Run, channel: Channel | None, sender: Endpoint, now: Instant
    ) -> Plan | None:
        """Look closer at a run for which no plan stands: drop it, learn from it, or make a plan."""
        active = self._table.resolve(run.origin_key)
        reason = self._refusal(run, active, sender, now)
        if reason is not None or active is None:
            self.counters.drop(reason or "no_entry", run.packets)
        elif run.word & 0xFFFF == Option.CREDENTIAL:
            for datagram in split(run.data, run.stride):
                self._take_credential(outcome, bytes(datagram), sender, now)
                self._hear_early(outcome, run.origin_key, now)
        elif run.word & 0xFFFF == Option.HEARTBEAT:
            for datagram in split(run.data, run.stride):
                self._learn(outcome, bytes(datagram), run, active, sender, now)
        elif sender not in active.entry.upstream:
            self._take_repair(outcome, run, channel, active, sender, now)
        elif channel is None:
            self._hold(outcome, run, active, sender, now)
        else:
            # A newer tree than this host's goes by one plan too; an older one is looked at each
            # time, because it goes stale.
            word = run.word if active.versions.is_newer(run.word >> 16 & 0xFF) else active.word
            return channel.plan(sender, word, active.pace, run.first)
        return None

    def _refusal(
        self, run: Run, active: Active | None, sender: Endpoint, now: Instant
    ) -> str | None:
        """Give the reason not to take a run at all."""
        version, tree_version, option = run.word >> 24, run.word >> 16 & 0xFF, run.word & 0xFFFF
        if version != VERSION or option not in _OPTIONS[self._guard is not None]:
            return "malformed"
        if not run.origin_key & ORIGIN_MASK:
            return "malformed"
        if self._guard is None and not run.reserved & CHANNEL_MASK:
            return "malformed"
        if run.origin_key in self._origins:
            return "own"
        if active is None:
            return "no_entry"
        is_asked = option == Option.DATA or run.origin_key & ~ORIGIN_MASK in self._deaf
        if sender not in active.entry.upstream and not (
            is_asked and sender in active.entry.repairers
        ):
            return "not_upstream"
        # Who an origin is has nothing to do with how the tree stands.
        if option != Option.CREDENTIAL and not active.versions.accepts(tree_version, now):
            return "stale_tree"
        return None

    def _learn(
        self,
        outcome: Outcome,
        datagram: bytes,
        run: Run,
        active: Active,
        sender: Endpoint,
        now: Instant,
    ) -> None:
        """Take a heartbeat: learn or refresh its channel, pass it on, let go what waited for it."""
        try:
            message = decode(datagram)
        except DecodeError:
            self.counters.drop("malformed")
            return
        assert isinstance(message, Heartbeat)
        key = (run.origin_key, run.reserved & CHANNEL_MASK)
        channel = self._channels.get(key)
        # An own channel is not met here: its origin is refused before.
        assert channel is None or isinstance(channel, Announced)
        if channel is not None and not channel.is_news(message.sequence, now, self._quiet):
            if channel.is_repeated(message.sequence):
                # Upstream tells again where the numbers are, because they are wanted again.
                channel.take_beginning()
            self.counters.drop("old_heartbeat")
            return
        holds = self._beat_holds(message, datagram, run, now)
        if not holds:
            self._disbelieve(outcome, (datagram, run, sender), active, holds, now)
            return
        is_upstream = sender in active.entry.upstream
        if is_upstream:
            active.pace.alive(now)
        is_late = channel is not None and channel.begin_late(message)
        channel = self._announced(key, channel, message, datagram, now)
        if channel is None:
            self.counters.drop("channels_full")
            return
        channel.take_beginning()
        if not is_upstream:
            # The first word of a channel comes from another: so does what follows, at first.
            channel.window.begin_after(message.highest)
        if is_late or not is_upstream:
            self._sound(outcome, channel, active.entry, now)
        if channel.complete:
            active.pace.rest(now)
        if not active.pace.watched:
            self._watch(active.pace)
        self.counters.heartbeats_received += 1
        for to in channel.wanting:
            if to != sender:
                self._beat(outcome, channel, to)
        self._note_tail(channel, now)
        for held, held_sender in self._unknown.take(key):
            self._run(outcome, held, held_sender, now)

    def _disbelieve(
        self,
        outcome: Outcome,
        heard: tuple[bytes, Run, Endpoint],
        active: Active,
        holds: bool | None,
        now: Instant,
    ) -> None:
        """Drop a forged heartbeat; keep one that cannot be judged, and ask who its origin is."""
        _, run, sender = heard
        if holds is False:
            self._note_forged(outcome, 1, sender, run)
            return
        self.counters.drop("unproven")
        key = (run.origin_key, run.reserved & CHANNEL_MASK)
        self._early.pop(key, None)
        self._early[key] = heard
        if len(self._early) > MAXIMUM_UNKNOWN:
            del self._early[next(iter(self._early))]
        if self._unknown.asks(key, now):
            self._request(outcome, key, active.entry, Wanted(run.first, b"\0"), sender)

    def _hear_early(self, outcome: Outcome, origin_key: int, now: Instant) -> None:
        """Look again at heartbeats of an origin that nobody could judge."""
        for key in [key for key in self._early if key[0] == origin_key]:
            datagram, run, sender = self._early.pop(key)
            active = self._table.resolve(origin_key)
            if active is not None and sender in active.entry.upstream:
                self._learn(outcome, datagram, run, active, sender, now)

    def _announced(
        self,
        key: Key,
        channel: Announced | None,
        message: Heartbeat,
        datagram: bytes,
        now: Instant,
    ) -> Announced | None:
        """Learn or refresh the channel that a heartbeat tells of; None if there is no room."""
        if channel is not None:
            if (channel.group, channel.source) == (message.group, message.origin_address):
                channel.refresh(message, datagram, now)
                return channel
            # The number was given to another stream: nothing of the old one holds.
            self._forget(channel)
        if not self._table.has_room():
            return None
        window = self._laid_aside.pop((key, message.group, message.origin_address), None)
        if window is None:
            # Under a guard a number is part of a nonce: no origin counts anew under one id.
            window = Window(restarts=self._guard is None)
        channel = Announced(key, message, datagram, self._parameters, now, window)
        if self._guard is not None:
            channel.prove_by(Proofs())
        if self._ordered is not None:
            channel.order = Order(channel.window, self._ordered, self._room)
        self._table.add(channel)
        self._arm_sweep(now)
        return channel

    def _hold(
        self, outcome: Outcome, run: Run, active: Active, sender: Endpoint, now: Instant
    ) -> None:
        """Let data of an unknown channel wait, and ask its sender for the announcement."""
        key = (run.origin_key, run.reserved & CHANNEL_MASK)
        if not active.wanted and run.reserved & CHANNEL_MASK:
            self.counters.drop("no_members", run.packets)
            return
        is_first = self._unknown.until(key) is None
        if not self._unknown.hold(key, run, sender, now):
            self.counters.drop("unknown_channel", run.packets)
            return
        if is_first:
            self._alarms.set(Alarm.UNKNOWN, now + self._parameters.unknown_hold, key)
        if self._unknown.asks(key, now):
            # One bit that is not set: the announcement is enough, the data is here.
            self._request(outcome, key, active.entry, Wanted(run.first, b"\0"), sender)

    def _forget(self, channel: Channel) -> None:
        """Let go of a channel; its counts join those of its group."""
        self._table.remove(channel)
        if isinstance(channel, Announced):
            self._alarms.stop(Alarm.REPAIR, channel)
            self._alarms.stop(Alarm.ORDER, channel)
            if channel.order is not None:
                channel.order.flush()
            self.counters.former_given_up += channel.gaps.given_up
        self._cache.forget(channel.key)
        self.counters.retire(channel.group, channel.count())
        if isinstance(channel, Announced):
            # Who was asleep for a while forgets at once what it hears of again in a moment.
            channel.window.lay_aside()
            if len(self._laid_aside) >= MOST_LAID_ASIDE:
                del self._laid_aside[next(iter(self._laid_aside))]
            self._laid_aside[channel.key, channel.group, channel.source] = channel.window

    def _arm_sweep(self, now: Instant) -> None:
        if not self._alarms.is_set(Alarm.SWEEP):
            self._alarms.set(Alarm.SWEEP, now + self._parameters.heartbeat_idle)
