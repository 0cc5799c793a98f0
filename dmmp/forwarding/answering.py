"""Answering requests: out of the cache, or by asking further up for all (Decision 18).

The role says who may ask, and hands on what is asked as `Replay`; here it is looked for.
"""

from __future__ import annotations

from dmmp.actions import ANY_ORIGIN, Replay
from dmmp.forwarding.burst import Outcome, Transmit
from dmmp.forwarding.cache import Piece, newest
from dmmp.forwarding.channels import Channel
from dmmp.forwarding.relay import Relay
from dmmp.forwarding.table import origin_key
from dmmp.types import Instant


class Answering(Relay):
    """Adds the answers; `Forwarder` adds entries, own packets and alarms."""

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
        if not any(action.bitmap):
            # Whoever asks for single packets knows the channel.
            self._beat(outcome, channel, action.to)
        if action.bitmap:
            found = self._cache.find(channel.key, action.base, action.bitmap)
        else:
            found = self._cache.since(channel.key, base=action.base)
        self._send_again(outcome, action, found)

    def _replay_all(self, outcome: Outcome, action: Replay, now: Instant) -> None:
        """Send a newcomer what is held of all it wants: announcements first, then packets."""
        asked = list(self._table.in_session(action.session))
        wanted = [channel for channel in asked if action.to in channel.wanting]
        if asked and not wanted:
            self.counters.drop("not_downstream")
        for channel in wanted:
            self._beat(outcome, channel, action.to)
        self._send_again(
            outcome, action, [piece for each in wanted for piece in self._recent(each, action, now)]
        )

    def _recent(self, channel: Channel, action: Replay, now: Instant) -> list[Piece]:
        before = channel.live_from.get(action.to)
        oldest = now - self._parameters.newcomer_seconds
        return self._cache.since(channel.key, before=before, oldest=oldest)

    def _send_again(self, outcome: Outcome, action: Replay, found: list[Piece]) -> None:
        for data, stride, _ in newest(found, self._parameters.replay_bytes):
            outcome.transmits.append(Transmit(data, stride, action.to))
            self.counters.replayed += -(-len(data) // stride)
