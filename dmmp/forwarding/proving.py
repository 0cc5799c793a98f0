"""Believing what comes: nothing is passed on, kept or delivered that its origin did not send.

With certificates a packet is believed if a manifest of its origin lists it, or bears a signature
itself; without, if its tag holds. What cannot be judged yet waits a moment. Sealed data is opened
here when it is delivered. Without a guard (`--security none`) everything is believed.
"""

from __future__ import annotations

from dmmp.actions import InstallKey
from dmmp.errors import DecodeError
from dmmp.forwarding.burst import (
    Delivery,
    Octets,
    Outcome,
    Run,
    Transmit,
    split,
)
from dmmp.forwarding.channels import ORIGIN_MASK, Announced, Channel
from dmmp.forwarding.passing import Passing
from dmmp.forwarding.proofs import MOST_WAITING
from dmmp.forwarding.repair import signed
from dmmp.forwarding.runs import cut_out, is_signed, listed, spans
from dmmp.forwarding.sealed import Unopened
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.messages import decode, encode
from dmmp.messages.data import Credential, Heartbeat
from dmmp.messages.header import (
    CHANNEL_MASK,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER_BYTES,
)
from dmmp.messages.local import Credited, Forged, KeyFits, KeyNews, KeyWanted
from dmmp.messages.options import TlvType
from dmmp.security.data_guard import DataGuard
from dmmp.security.data_keys import TAG_BYTES, opened
from dmmp.security.manifest import DIGEST_BYTES, digests_of, unchecked_manifest
from dmmp.security.signing import SIGNATURE_BYTES
from dmmp.types import Endpoint, HostId, Instant, SessionId

EPOCH_SHIFT = 16
_RESERVED = slice(16, 20)


class Proving(Passing):
    """Adds belief and opening; `Relay` adds what comes from the network."""

    def _proven(
        self, outcome: Outcome, channel: Announced, run: Run, sender: Endpoint, now: Instant
    ) -> list[Run]:
        """Give what of a run is to be believed; the rest waits or is dropped and counted."""
        guard = self._guard
        assert guard is not None
        if run.reserved & (FLAG_MANIFEST | FLAG_SIGNED):
            return self._with_signatures(outcome, guard, channel, run, sender, now)
        if not guard.by_manifest:
            return self._with_tags(outcome, guard, channel, run, sender, now)
        digests = digests_of(run.data, run.stride)
        proofs = channel.proofs
        assert proofs is not None
        if not run.numbers and proofs.judge(run.first, digests):
            return [run]
        verdicts = [
            proofs.verdict(number, digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES])
            for at, number in enumerate(listed(run))
        ]
        for begin, end in spans([verdict is None for verdict in verdicts]):
            self._let_wait(channel, cut_out(run, begin, end), sender, now)
        self._note_forged(outcome, verdicts.count(False), sender, run)
        return [cut_out(run, *span) for span in spans([verdict is True for verdict in verdicts])]

    def _with_signatures(
        self,
        outcome: Outcome,
        guard: DataGuard,
        channel: Announced,
        run: Run,
        sender: Endpoint,
        now: Instant,
    ) -> list[Run]:
        """Judge manifests and signed packets, one by one."""
        verdicts: list[bool | None] = []
        waiting = 0
        for number, segment in zip(listed(run), split(run.data, run.stride), strict=True):
            if self._came_before(channel, number):
                # It will be dropped as a duplicate: no signature is worth checking for that.
                verdicts.append(True)
            elif run.reserved & FLAG_MANIFEST:
                verdict, waits = self._take_manifest(guard, channel, run, number, segment, now)
                if waits:
                    at = len(verdicts)
                    self._let_wait(channel, cut_out(run, at, at + 1), sender, now)
                verdicts.append(verdict)
                waiting += waits
            else:
                verdicts.append(guard.packet_holds(run.origin_key, segment, now))
        if all(verdicts):
            return [run]
        unknown = verdicts.count(None) - waiting
        if unknown:
            self.counters.drop("unproven", unknown)
        self._note_forged(outcome, verdicts.count(False), sender, run)
        return [cut_out(run, *span) for span in spans([verdict is True for verdict in verdicts])]

    def _take_manifest(
        self,
        guard: DataGuard,
        channel: Announced,
        run: Run,
        number: int,
        segment: memoryview,
        now: Instant,
    ) -> tuple[bool | None, bool]:
        """Judge a manifest, and tell whether it is to wait for another that lists it.

        Its number follows from what it lists, so its signature covers that. A copy
        with another number is listed by the next manifest, or bears a signature as a packet: else
        whoever repeats a manifest could take the numbers of packets to come.
        """
        proofs = channel.proofs
        assert proofs is not None
        is_signed = bool(run.reserved & FLAG_SIGNED)
        payload = bytes(segment[HEADER_BYTES : len(segment) - SIGNATURE_BYTES * is_signed])
        holds: bool | None
        try:
            manifest = unchecked_manifest(payload)
            if is_signed:
                holds = guard.packet_holds(run.origin_key, segment, now)
            else:
                holds = proofs.verdict(number, digests_of(segment, len(segment)))
            if holds is None and not is_signed:
                if not manifest.may_have(number):
                    return None, True
                if proofs.judge(*manifest):
                    return True, False
                if guard.manifest(payload, run.origin_key, run.reserved & CHANNEL_MASK, now):
                    holds = True
        except DecodeError:
            return False, False
        if holds:
            proofs.add(manifest, now)
        return holds, False

    def _came_before(self, channel: Announced, number: int) -> bool:
        return channel.window.is_known(number) and not channel.wants.is_fetched(number)

    def _with_tags(
        self,
        outcome: Outcome,
        guard: DataGuard,
        channel: Announced,
        run: Run,
        sender: Endpoint,
        now: Instant,
    ) -> list[Run]:
        """Judge packets by their tags; those of an epoch without a key here wait for it."""
        if not run.reserved & FLAG_SEALED:
            self._note_forged(outcome, run.packets, sender, run)
            return []
        epoch = run.reserved >> EPOCH_SHIFT & 0xFF
        if not guard.keys.has(run.origin_key, epoch):
            self._want_key(outcome, run.origin_key, epoch)
            self._let_wait(channel, run, sender, now)
            return []
        plain = opened(guard.keys, run.origin_key, run.reserved, run.data, run.stride, 0)
        if plain is not None:
            self._note_fit(outcome, guard, run.origin_key, epoch)
            self._last_opened = (run.data, plain)
            return [run]
        if not guard.keys.is_certain(run.origin_key, epoch):
            self._note_misfit(outcome, guard, run.origin_key, epoch)
            self._let_wait(channel, run, sender, now)
            return []
        verdicts = [
            opened(guard.keys, run.origin_key, run.reserved, segment, len(segment), 0) is not None
            for segment in split(run.data, run.stride)
        ]
        self._note_forged(outcome, verdicts.count(False), sender, run)
        return [cut_out(run, *span) for span in spans(verdicts)]

    def _let_wait(self, channel: Announced, run: Run, sender: Endpoint, now: Instant) -> None:
        """Keep a run until what proves it comes, which was sent before it: ask if it is missing."""
        proofs, window = channel.proofs, channel.window
        assert proofs is not None
        dropped = proofs.hold(run, sender, now)
        if dropped:
            self.counters.drop("unproven", dropped)
        if proofs.reached is None:
            proofs.reached = window.highest
        if (
            window.settled
            and signed(run.first - window.highest) > 1
            # No further than a lost manifest explains: what was made up must not move the window
            # beyond what is to come.
            and signed(run.first - proofs.reached) <= MOST_WAITING
        ):
            window.expect(run.first - 1 & SEQUENCE_MASK)
            self._note_gaps(channel, now)

    def _released(self, channel: Announced, now: Instant) -> list[tuple[Run, Endpoint]]:
        """Give back what waits for proofs of a channel."""
        if channel.proofs is None:
            return []
        guard = self._guard
        assert guard is not None
        waiting, late = channel.proofs.release(now, guard.by_manifest)
        if late:
            self.counters.drop("unproven", late)
        return [(held.run, held.sender) for held in waiting]

    def _note_forged(self, outcome: Outcome, packets: int, sender: Endpoint, run: Run) -> None:
        """Count forged packets; only what came sealed is certainly its sender's fault."""
        if packets:
            self.counters.drop("forged", packets)
        if packets and is_signed(run):
            session, origin = run.origin_key >> 32, run.origin_key & ORIGIN_MASK
            outcome.notes.append(Forged(sender, SessionId(session), HostId(origin), packets))

    def _want_key(
        self, outcome: Outcome, origin_key: int, epoch: int, failed: bool = False
    ) -> None:
        session, origin = SessionId(origin_key >> 32), HostId(origin_key & ORIGIN_MASK)
        outcome.notes.append(KeyWanted(session, origin, epoch, failed))

    def _note_fit(self, outcome: Outcome, guard: DataGuard, origin_key: int, epoch: int) -> None:
        """Say that a guessed secret was right, once."""
        if not guard.keys.is_certain(origin_key, epoch):
            guard.keys.make_certain(origin_key, epoch)
            session, origin = SessionId(origin_key >> 32), HostId(origin_key & ORIGIN_MASK)
            outcome.notes.append(KeyFits(session, origin, epoch))

    def _note_misfit(self, outcome: Outcome, guard: DataGuard, origin_key: int, epoch: int) -> None:
        """Let a wrong guess go."""
        guard.keys.reject(origin_key, epoch)
        self._want_key(outcome, origin_key, epoch, failed=True)

    # Heartbeats and certificates.

    def _beat_holds(
        self, message: Heartbeat, datagram: bytes, run: Run, now: Instant
    ) -> bool | None:
        """Tell whether a heartbeat is its origin's; None if that cannot be told yet."""
        guard = self._guard
        if guard is None:
            return True
        last = message.tlvs[-1] if message.tlvs else None
        if last is None or last.type != TlvType.SIGNATURE or len(last.value) != SIGNATURE_BYTES:
            return False
        if not guard.knows(run.origin_key, now):
            return None
        return guard.beat_holds(run.origin_key, message.group, datagram, now)

    def _take_credential(
        self, outcome: Outcome, datagram: bytes, sender: Endpoint, now: Instant
    ) -> None:
        """Learn who an origin is, and pass that on to the branches if it is news."""
        guard = self._guard
        try:
            message = decode(datagram)
            if guard is None or not isinstance(message, Credential):
                self.counters.drop("malformed")
                return
            key = message.session << 32 | message.source
            is_news = guard.learn(key, message.certificate, now)
        except DecodeError:
            self.counters.drop("forged")
            return
        if not is_news:
            return
        self._credentials[key] = datagram
        if len(self._credentials) > len(self._table.entries) + 64:
            del self._credentials[next(iter(self._credentials))]
        active = self._table.resolve(key)
        for to in active.branches if active is not None else ():
            if to != sender:
                outcome.transmits.append(Transmit(datagram, len(datagram), to))
        outcome.notes.append(Credited(SessionId(key >> 32), HostId(key & ORIGIN_MASK)))

    def _introduce_origin(self, outcome: Outcome, origin_key: int, to: Endpoint) -> None:
        """Send an origin's certificate ahead of what it signed."""
        guard = self._guard
        if guard is None or not guard.by_manifest:
            return
        datagram = self._credentials.get(origin_key)
        if datagram is None and origin_key in self._own_keys():
            datagram = self._credentials[origin_key] = encode(
                Credential(
                    session=SessionId(origin_key >> 32),
                    source=HostId(origin_key & ORIGIN_MASK),
                    certificate=guard.credential,
                )
            )
        if datagram is not None:
            outcome.transmits.append(Transmit(datagram, len(datagram), to))

    def _own_keys(self) -> dict[int, object]:
        """List the origins that are this host."""
        return {}

    # Opening what is delivered.

    def _hand_over(
        self, outcome: Outcome, channel: Channel, data: Octets, stride: int, now: Instant
    ) -> None:
        """Deliver a burst to the programs, opened; keys and manifests are not for them."""
        guard = self._guard
        packets = -(-len(data) // stride)
        if guard is None:
            outcome.deliveries.append(Delivery(data, stride, channel.group))
        else:
            reserved = int.from_bytes(data[_RESERVED])
            if reserved & FLAG_MANIFEST:
                return
            tail = SIGNATURE_BYTES if reserved & FLAG_SIGNED else 0
            if not reserved & CHANNEL_MASK:
                self._tell_keys(outcome, channel, data, stride, tail)
                return
            if not self._open(outcome, guard, channel, (data, stride, reserved, tail), now):
                return
        self.counters.delivered += packets
        channel.delivered += packets

    def _open(
        self,
        outcome: Outcome,
        guard: DataGuard,
        channel: Channel,
        burst: tuple[Octets, int, int, int],
        now: Instant,
    ) -> bool:
        data, stride, reserved, tail = burst
        origin_key, epoch = channel.key[0], reserved >> EPOCH_SHIFT & 0xFF
        packets = -(-len(data) // stride)
        if not reserved & FLAG_SEALED:
            self.counters.drop("unopened", packets)
            return False
        keys = guard.keys
        if not keys.has(origin_key, epoch):
            self._keep_sealed(channel, epoch, data, stride, now)
            self._want_key(outcome, origin_key, epoch)
            return False
        last, plain = self._last_opened
        if last is not data or plain is None:
            plain = opened(keys, origin_key, reserved, data, stride, tail)
        self._last_opened = (b"", None)
        if plain is None and not keys.is_certain(origin_key, epoch):
            self._keep_sealed(channel, epoch, data, stride, now)
            self._note_misfit(outcome, guard, origin_key, epoch)
            return False
        if plain is None:
            self.counters.drop("unopened", packets)
            return False
        self._note_fit(outcome, guard, origin_key, epoch)
        outcome.deliveries.append(Delivery(plain, stride - TAG_BYTES - tail, channel.group))
        return True

    def _keep_sealed(
        self, channel: Channel, epoch: int, data: Octets, stride: int, now: Instant
    ) -> None:
        dropped = self._unopened.hold(Unopened(channel.key, epoch, data, stride, now), now)
        if dropped:
            self.counters.drop("unopened", dropped)

    def _tell_keys(
        self, outcome: Outcome, channel: Channel, data: Octets, stride: int, tail: int
    ) -> None:
        key = channel.key[0]
        for segment in split(data, stride):
            payload = bytes(segment[HEADER_BYTES : len(segment) - tail])
            outcome.notes.append(KeyNews(SessionId(key >> 32), HostId(key & ORIGIN_MASK), payload))

    def _install_key(self, outcome: Outcome, action: InstallKey, now: Instant) -> bool:
        """Hold an epoch's secret, and deliver what waited for it; tell whether it is news."""
        guard = self._guard
        if guard is None:
            return False
        key = action.session << 32 | action.origin
        if not guard.keys.install(key, action.epoch, action.secret, now, action.certain):
            return False
        if action.seals:
            guard.epochs[key] = action.epoch
        for held in self._unopened.take(key, action.epoch, now):
            channel = self._channels.get(held.key)
            if channel is not None:
                self._hand_over(outcome, channel, held.data, held.stride, now)
        return True
