"""This host's own packets on their way out: sealed and signed if there is a guard, and announced.

With certificates packets wait for a common signature, but no longer than a moment: a manifest goes
ahead of what it lists (Decision 67). What goes slower than that bears its own signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from dmmp.actions import Publish
from dmmp.forwarding.answering import Answering
from dmmp.forwarding.asking import Alarm
from dmmp.forwarding.burst import MAXIMUM_SEGMENTS, Octets, Outcome, Transmit, boundaries
from dmmp.forwarding.channels import ORIGIN_MASK, Batch, Own
from dmmp.forwarding.origination import Origin, announcement, is_packet, packed
from dmmp.forwarding.table import KEY_GROUP, origin_key
from dmmp.forwarding.window import SEQUENCE_MASK
from dmmp.messages.header import (
    EPOCH_SHIFT,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER,
    HEADER_BYTES,
    VERSION,
)
from dmmp.messages.options import Option
from dmmp.security.data_guard import DataGuard
from dmmp.security.data_keys import TAG_BYTES, sealed
from dmmp.security.manifest import (
    DIGEST_BYTES,
    MOST_LISTED,
    NOT_LISTED,
    Manifest,
    signed_manifest,
    signed_packet,
)
from dmmp.security.signing import SIGNATURE_BYTES
from dmmp.types import SELF, HostId, Instant, IpAddress, SessionId, serial_newer

SIGN_SECONDS = 0.02
"""Least time between two signatures of a channel, but for full batches: no packet waits longer than
this, and a stream of some Mbit/s grows by no more than 4 % for its manifests."""

COPY_SECONDS = 0.04
"""What a manifest lists goes again with the next batch, or so much later without one."""

MOST_AGAIN = 40
"""Packets of the last batch that the next manifest may list once more; of a longer one the manifest
itself goes again."""

ALONE_BYTES = 1192
"""Longest datagram that bears its own signature: sealed for its way it has 40 bytes more, and is
what every path carries whole (RFC 8200 §5). A longer packet has a manifest of its own, so that it
stays what its path was probed for."""


class Originating(Answering):
    """Adds own packets; `Forwarder` adds entries and alarms."""

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
        channel.tree_version = tree_version
        sends = bool(fitting)
        if fitting and self._guard is None:
            self._send_plain(outcome, channel, fitting, now)
        elif fitting:
            assert self._guard is not None
            sends = self._send_guarded(outcome, self._guard, channel, fitting, now)
        if sends:
            self.counters.originated += len(fitting)
            channel.used_at = now
            channel.has_sent = channel.carries = True
            if channel.due > now + self._parameters.heartbeat_first:
                self._set_beat(channel, now + self._parameters.heartbeat_first)
        return outcome

    def _publish(self, outcome: Outcome, action: Publish, now: Instant) -> None:
        """Send an origin's word to all who hold its keys: in a channel of its own, number 0."""
        active = self._table.resolve(origin_key(action.session, action.origin))
        version = 0 if active is None else active.entry.tree_version
        stream = (action.session, action.origin, version, KEY_GROUP, KEY_GROUP)
        told = self.originate(*stream, action.datagrams, now)
        outcome.transmits += told.transmits

    def renew_credential(self, certificate: bytes) -> Outcome:
        """Show another certificate of this host from now on, and first of all to its branches."""
        outcome = Outcome()
        if self._guard is not None:
            self._guard.credential = certificate
            for key in self._origins:
                self._credentials.pop(key, None)
                active = self._table.resolve(key)
                for to in active.branches if active is not None else ():
                    self._introduce_origin(outcome, key, to)
        return outcome

    def _send_plain(
        self, outcome: Outcome, channel: Own, packets: list[Octets], now: Instant
    ) -> None:
        for first, data, stride in packed(channel, packets):
            self._send_own(outcome, channel, first, data, stride, now)

    def _send_own(
        self, outcome: Outcome, channel: Own, first: int, data: bytes, stride: int, now: Instant
    ) -> None:
        """Send a burst of this host to the branches, and keep it."""
        targets = channel.targets(first)
        packets = -(-len(data) // stride)
        outcome.transmits.extend([Transmit(data, stride, to) for to in targets])
        self._cache.add(channel.key, first, packets, data, stride, now)
        if self._rng is not None:
            self._scatter(outcome, channel, data, stride, SELF)
        channel.octets += len(data)
        self.counters.bytes += len(data)
        self.counters.data_forwarded += packets * len(targets)
        channel.forwarded += packets * len(targets)

    # Sealed and signed.

    def _send_guarded(
        self,
        outcome: Outcome,
        guard: DataGuard,
        channel: Own,
        packets: list[Octets],
        now: Instant,
    ) -> bool:
        """Seal packets, and send them or let them wait for their manifest; False without a key."""
        key, number = channel.key
        if number and key not in guard.epochs:
            self.counters.drop("no_key", len(packets))
            return False
        if not number or (
            len(packets) == 1
            and channel.batch is None
            and now - channel.signed_at >= SIGN_SECONDS
            and len(packets[0]) + HEADER_BYTES + TAG_BYTES + SIGNATURE_BYTES <= ALONE_BYTES
            and guard.by_manifest
        ):
            for packet in packets:
                self._send_alone(outcome, guard, channel, packet, now)
            return True
        if not guard.by_manifest:
            first = channel.next_sequence
            datagrams = [self._seal(guard, channel, packet, 0, 0) for packet in packets]
            self._send_bursts(outcome, channel, first, datagrams, now)
            return True
        for packet in packets:
            batch = channel.batch or self._begin_batch(channel, now)
            batch.datagrams.append(self._seal(guard, channel, packet, 0, 0))
            if len(batch.datagrams) >= MAXIMUM_SEGMENTS:
                self._flush(outcome, guard, channel, batch, now)
        if channel.batch is not None and channel.batch.due <= now:
            self._flush(outcome, guard, channel, channel.batch, now)
        self._arm_sign(channel)
        return True

    def _seal(self, guard: DataGuard, channel: Own, packet: Octets, flags: int, tail: int) -> bytes:
        """Number and seal one packet; `tail` bytes will stand behind it."""
        key, number = channel.key
        sequence = channel.next_sequence
        channel.next_sequence = sequence + 1 & SEQUENCE_MASK
        size = len(packet) + (TAG_BYTES if number else 0) + tail
        if not number:
            return self._head(channel, sequence, flags, size) + bytes(packet)
        flags |= FLAG_SEALED | guard.epochs[key] << EPOCH_SHIFT
        head = self._head(channel, sequence, flags, size)
        cipher = guard.own_cipher(key, number, sequence)
        assert cipher is not None
        return sealed(cipher, head, packet)

    def _head(self, channel: Own, sequence: int, flags: int, size: int) -> bytes:
        key, number = channel.key
        return HEADER.pack(
            VERSION,
            channel.tree_version,
            Option.DATA,
            key >> 32,
            key & ORIGIN_MASK,
            sequence,
            flags | number,
            size,
        )

    def _send_alone(
        self, outcome: Outcome, guard: DataGuard, channel: Own, packet: Octets, now: Instant
    ) -> None:
        """Send a packet with the origin's signature behind it."""
        assert guard.signer is not None
        first = channel.next_sequence
        datagram = signed_packet(
            guard.signer, self._seal(guard, channel, packet, FLAG_SIGNED, SIGNATURE_BYTES)
        )
        channel.signed_at = now
        self._send_own(outcome, channel, first, datagram, len(datagram), now)

    def _begin_batch(self, channel: Own, now: Instant) -> Batch:
        """Take the numbers of what goes ahead of the packets: the manifest, and a long last one."""
        begin = channel.next_sequence
        last = channel.listed
        ahead = 2 if channel.copy is not None and last.packets > MOST_AGAIN else 1
        first = channel.next_sequence = begin + ahead & SEQUENCE_MASK
        batch = channel.batch = Batch(begin, first, max(now, channel.signed_at + SIGN_SECONDS))
        return batch

    def _flush(
        self, outcome: Outcome, guard: DataGuard, channel: Own, batch: Batch, now: Instant
    ) -> None:
        """Sign what waits; send the manifest, then what it lists: packets, maybe the last manifest.

        A short batch before is listed once more instead; then zeros stand for this manifest itself.
        Its signature covers its number only if that follows from what it lists.
        """
        assert guard.signer is not None
        channel.batch = None
        number, first = batch.begin, batch.begin + 1 & SEQUENCE_MASK
        last, copy = channel.listed, channel.copy
        copies: list[bytes] = []
        again = b""
        if copy is not None and first != batch.first:
            copies.append(self._head(channel, first, FLAG_MANIFEST, len(copy)) + copy)
            copy = None
        elif copy is not None and last.leads_to(number) and _fits(last, batch):
            first, again, copy = last.first, last.digests + NOT_LISTED, None
        digests = [
            sha256(datagram).digest()[:DIGEST_BYTES] for datagram in (*copies, *batch.datagrams)
        ]
        key, channel_number = channel.key
        manifest = signed_manifest(guard.signer, key, channel_number, first, [again, *digests])
        head = self._head(channel, number, FLAG_MANIFEST, len(manifest))
        for at, datagram in enumerate((head + manifest, *copies)):
            place = number + at & SEQUENCE_MASK
            self._send_own(outcome, channel, place, datagram, len(datagram), now)
        channel.copy, channel.copy_due = manifest, now + COPY_SECONDS
        channel.listed = Manifest(batch.first, b"".join(digests[len(copies) :]))
        channel.signed_at = now
        self._send_bursts(outcome, channel, batch.first, batch.datagrams, now)
        if copy is not None:
            self._send_copy(outcome, guard, channel, copy, now)

    def _send_copy(
        self, outcome: Outcome, guard: DataGuard, channel: Own, copy: bytes, now: Instant
    ) -> None:
        """Send the last manifest again where no other follows that would list it."""
        assert guard.signer is not None
        number = channel.next_sequence
        channel.next_sequence = number + 1 & SEQUENCE_MASK
        flags, size = FLAG_MANIFEST | FLAG_SIGNED, len(copy) + SIGNATURE_BYTES
        datagram = signed_packet(guard.signer, self._head(channel, number, flags, size) + copy)
        self._send_own(outcome, channel, number, datagram, len(datagram), now)

    def _send_bursts(
        self, outcome: Outcome, channel: Own, first: int, datagrams: list[bytes], now: Instant
    ) -> None:
        sizes = [len(datagram) for datagram in datagrams]
        for begin, end in boundaries(sizes):
            data = b"".join(datagrams[begin:end])
            number = first + begin & SEQUENCE_MASK
            self._send_own(outcome, channel, number, data, sizes[begin], now)

    def _sign_due(self, outcome: Outcome, channel: Own, now: Instant) -> None:
        """Send what has waited long enough: a batch, or the second copy of a manifest."""
        guard = self._guard
        if guard is None or channel.key not in self._channels:
            return
        if channel.batch is not None:
            if channel.batch.due <= now:
                self._flush(outcome, guard, channel, channel.batch, now)
        elif channel.copy is not None and channel.copy_due <= now:
            copy, channel.copy = channel.copy, None
            self._send_copy(outcome, guard, channel, copy, now)
        self._arm_sign(channel)

    def _arm_sign(self, channel: Own) -> None:
        if channel.batch is not None:
            self._alarms.set(Alarm.SIGN, channel.batch.due, channel)
        elif channel.copy is not None:
            self._alarms.set(Alarm.SIGN, channel.copy_due, channel)
        else:
            self._alarms.stop(Alarm.SIGN, channel)

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
            channel.wanted_at = now
            return channel
        if channel is not None and now - channel.wanted_at <= self._parameters.cache_seconds:
            # Whoever was the only one that wanted it may be on its way to another parent.
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
            for to in channel.wanting:
                self._introduce_origin(outcome, key, to)
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
            channel.heartbeat = announcement(channel, self._guard)
            for to in channel.wanting:
                self._beat(outcome, channel, to)
        channel.announced_at = now
        return True

    def _on_beat(self, outcome: Outcome, channel: Own, now: Instant) -> None:
        """Announce an own channel if it is time, and see when it is next.

        Now and then while data flows. After the last packet soon, for nothing else tells that it
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
            # Nothing may have been sent since it was opened; a pause of 0 would never end.
            doubled = max(2 * channel.idle_pause, parameters.heartbeat_first)
            channel.idle_pause = min(doubled, parameters.heartbeat_idle)
            self._set_beat(channel, now + channel.idle_pause)

    def _set_beat(self, channel: Own, at: Instant) -> None:
        channel.due = at
        self._alarms.set(Alarm.HEARTBEAT, at, channel)

    def _own_keys(self) -> dict[int, object]:
        """List the origins that are this host."""
        return dict(self._origins)


def _fits(last: Manifest, batch: Batch) -> bool:
    return last.packets + 1 + len(batch.datagrams) <= MOST_LISTED
