"""A member of the group at its key server, the source: asks for keys, keeps up, renews, goes.

The data plane asks it for secrets by the eight bits of the epoch on the wire, and says which of
them opened something. A Rekey that never came is asked for, each member at another moment. It sends
nothing itself; the keys are in `key_path`. RFC 2627, slide 23, Decisions 6 and 9.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from random import Random

from dmmp.actions import Send
from dmmp.alarms import Alarms, jittered
from dmmp.messages.common import LeaveReason, Status
from dmmp.messages.keys import KeyLeave, KeyRequest, KeyResponse, Rekey
from dmmp.security.key_path import KeyPath
from dmmp.security.key_wrap import EpochSecret
from dmmp.types import NO_HOST, Endpoint, HostId, Instant, SessionId

RENEW = 30.0
"""Seconds between two renewals of the membership, +-20 %; the source forgets after 90."""

KEEP = 2.0
"""Seconds for which an epoch can be read after the next has begun: as long as caches repair."""

RETRY_FIRST, RETRY_MOST = 0.5, 8.0
"""Seconds to the first and, doubling, between the last retransmissions of a request (Decision 9,
with more patience: the answer may wait for the end of a batch)."""

LEAVE_TRIES = 3
"""Times a leaving member says so; then its silence will tell."""

FULL_WAIT = 30.0
"""Seconds after which one that was refused asks again, +-20 %."""

CATCH_UP_FIRST, CATCH_UP_MOST = 1.0, 16.0
"""Seconds, +-50 %, after which a member asks for what a missing Rekey would have told, and most of
them when asking did not help, doubling. By the first moment repairs of the Rekey have come, and a
thousand members that all lost it ask within a second, not at once."""

_SEQUENCES = 1 << 32


class MemberAlarm(Enum):
    """Why the member of a group wants to be woken."""

    RETRY = "When to send the open request again (Decision 9)."
    RENEW = "When to renew the membership."
    CATCH_UP = "When to ask for keys if the missing Rekey did not come."
    ERASE = "When to erase what opens former epochs."


@dataclass(slots=True)
class _Open:
    """The request that waits for its answer; there is one at a time."""

    message: KeyRequest | KeyLeave
    wait: float = RETRY_FIRST
    tries: int = 0


class KeyMember:
    """One group's keys at one member.

    `rng` spreads its requests in time and numbers them; `session` and `host` go into headers.
    """

    def __init__(self, session: SessionId, rng: Random, host: HostId = NO_HOST) -> None:
        self.session = session
        self.host = host
        self.unmatched = 0
        """Responses that answered nothing (Decision 6)."""
        self._rng = rng
        self._sequence = rng.randrange(_SEQUENCES)
        self._alarms = Alarms()
        self._source: Endpoint | None = None
        self._open: _Open | None = None
        self._path: KeyPath | None = None
        self._erasures: deque[tuple[Instant, int]] = deque()
        self._told_of = self._doubted = 0
        """Newest epoch that a Rekey told of, and that unreadable data spoke of."""
        self._catch_up = CATCH_UP_FIRST

    @property
    def tries(self) -> int:
        """Return how often the open request was sent; 0 without one."""
        return 0 if self._open is None else self._open.tries

    @property
    def epoch(self) -> int:
        """Return the newest epoch that is certain; 0 without any."""
        return self._path.epoch if self._path is not None else 0

    def want(self, source: Endpoint, now: Instant) -> list[Send]:
        """Become a member at this source, with nothing in hand from any other."""
        self._forget()
        self._source = source
        return self._ask(now)

    def leave(self, now: Instant, reason: LeaveReason = LeaveReason.SHUTDOWN) -> list[Send]:
        """Go: erase every key, and tell the source."""
        source = self._source
        self._forget()
        if source is None:
            return []
        self._source = source
        message = KeyLeave(
            session=self.session, source=self.host, sequence=self._number(), reason=reason
        )
        self._open = _Open(message)
        return self._send(now)

    def current(self) -> EpochSecret | None:
        """Return the secret of the newest certain epoch: with it a member seals its own data."""
        return self._path.secret(self._path.epoch) if self._path is not None else None

    def secret(self, epoch8: int, now: Instant) -> EpochSecret | None:
        """Return the secret for data that bears these eight bits, or None.

        They mean the nearest epoch not before the oldest that is kept, so nobody goes back. Beyond
        `epoch` it is what joins alone would have made of the last one: whoever opens something with
        it says so by `confirm`, and whoever cannot by `unreadable`.
        """
        if self._path is None:
            return None
        self._erase(now)
        return self._path.secret(self._full(self._path, epoch8))

    def confirm(self, epoch: int, now: Instant) -> None:
        """Note that data was opened with the secret of this epoch, by its full number."""
        if self._path is not None and epoch > self._path.epoch:
            before = self._path.epoch
            self._path.advance(epoch)
            self._note_switch(before, now)

    def unreadable(self, epoch8: int, now: Instant) -> None:
        """Note that data with these eight bits did not open, whatever the reason.

        Anybody can send such data: it costs the source a request now and then, ever more seldom.
        """
        if self._path is not None:
            self._doubted = self._full(self._path, epoch8)
            self._plan_catching_up(now)

    def on_response(self, response: KeyResponse, sender: Endpoint, now: Instant) -> bool:
        """Take what the source answered; tell whether other epochs can be read by it.

        Raise `DecodeError` if its keys make no sense; the request then stays open.
        """
        opened = self._open
        if opened is None or sender != self._source or response.sequence != opened.message.sequence:
            self.unmatched += 1
            return False
        if isinstance(opened.message, KeyLeave):
            self._forget()
            return False
        before = self.epoch
        if response.status == Status.SUCCESS:
            self._take(response, opened.message)
            self._alarms.set(MemberAlarm.RENEW, now + jittered(self._rng, RENEW))
        else:
            self._alarms.set(MemberAlarm.RENEW, now + jittered(self._rng, FULL_WAIT))
        self._close()
        self._doubted = 0
        self._plan_catching_up(now)
        return self._note_switch(before, now)

    def on_rekey(self, rekey: Rekey, now: Instant) -> bool:
        """Take a part of a Rekey that is known to be the source's; tell whether it opened an epoch.

        Raise `DecodeError` for what makes no sense, `AuthenticationError` for seals that are false.
        """
        if self._path is None:
            return False
        before = self._path.epoch
        try:
            news = self._path.apply(rekey)
            self._told_of = max(self._told_of, rekey.epoch)
        finally:
            self._note_switch(before, now)
        self._plan_catching_up(now)
        return news

    def wake(self, now: Instant) -> list[Send]:
        """Do what is due."""
        sends: list[Send] = []
        while (due := self._alarms.due(now)) is not None:
            alarm, _ = due
            if alarm is MemberAlarm.RETRY:
                sends += self._send_again(now)
            elif alarm is MemberAlarm.ERASE:
                self._erase(now)
            elif alarm is MemberAlarm.RENEW:
                sends += self._ask(now)
            elif self._is_behind():
                self._catch_up = min(2 * self._catch_up, CATCH_UP_MOST)
                sends += self._ask(now)
        return sends

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Say when to wake it, and why."""
        return self._alarms.next()

    def _ask(self, now: Instant) -> list[Send]:
        """Ask for what this member lacks, instead of what it asked for before."""
        self._open = _Open(
            KeyRequest(
                session=self.session, source=self.host, sequence=self._number(), epoch=self.epoch
            )
        )
        return self._send(now)

    def _send(self, now: Instant) -> list[Send]:
        if self._open is None or self._source is None:
            return []
        opened = self._open
        self._alarms.set(MemberAlarm.RETRY, now + jittered(self._rng, opened.wait))
        opened.wait = min(2 * opened.wait, RETRY_MOST)
        opened.tries += 1
        return [Send(opened.message, self._source)]

    def _send_again(self, now: Instant) -> list[Send]:
        if self._open is None:
            return []
        if isinstance(self._open.message, KeyLeave) and self._open.tries >= LEAVE_TRIES:
            self._forget()
        return self._send(now)

    def _take(self, response: KeyResponse, request: KeyRequest) -> None:
        """Put what a response says in force.

        The request named the newest epoch that was held when it was sent. A later response cannot
        be of an earlier epoch, unless the source began anew: then nothing of before is of use. And
        a response that a Rekey has overtaken says nothing new.
        """
        held = self._path
        if not response.path:
            if held is not None:
                held.advance(response.epoch)
            return
        path = KeyPath(response.leaf, response.epoch, response.path)
        if held is not None and response.epoch >= request.epoch:
            if response.epoch < held.epoch:
                return
            path.follow(held)
        else:
            self._erasures.clear()
            self._told_of = 0
        self._path = path

    def _note_switch(self, before: int, now: Instant) -> bool:
        """Let what opens former epochs go in a while, if there is a new one; tell whether so."""
        if self.epoch == before:
            return False
        if before:
            self._erasures.append((now + KEEP, self.epoch))
            self._alarms.set(MemberAlarm.ERASE, self._erasures[0][0])
        self._catch_up = CATCH_UP_FIRST
        if not self._is_behind():
            self._alarms.stop(MemberAlarm.CATCH_UP)
        return True

    def _erase(self, now: Instant) -> None:
        while self._erasures and self._erasures[0][0] <= now:
            _, epoch = self._erasures.popleft()
            if self._path is not None:
                self._path.forget_before(epoch)
        if self._erasures:
            self._alarms.set(MemberAlarm.ERASE, self._erasures[0][0])

    def _is_behind(self) -> bool:
        return max(self._told_of, self._doubted) > self.epoch

    def _plan_catching_up(self, now: Instant) -> None:
        if self._is_behind() and not self._alarms.is_set(MemberAlarm.CATCH_UP):
            at = now + jittered(self._rng, self._catch_up, 0.5)
            self._alarms.set(MemberAlarm.CATCH_UP, at)

    def _full(self, path: KeyPath, epoch8: int) -> int:
        return path.oldest + (epoch8 - path.oldest & 0xFF)

    def _close(self) -> None:
        self._open = None
        self._alarms.stop(MemberAlarm.RETRY)

    def _forget(self) -> None:
        """Be a member nowhere, and hold no key."""
        self._alarms.stop_all()
        self._source = self._open = self._path = None
        self._erasures.clear()
        self._told_of = self._doubted = 0
        self._catch_up = CATCH_UP_FIRST

    def _number(self) -> int:
        """Take the next sequence number; 0 is left out, it means "not numbered yet"."""
        self._sequence = self._sequence % (_SEQUENCES - 1) + 1
        return self._sequence
