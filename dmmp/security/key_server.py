"""The source as key server: who is a member, and when a new epoch begins (RFC 2627, slide 23).

Changes are at least a second apart: a join after a quiet second is answered at once, what comes
then is collected. It sends nothing: what it returns is carried by others, unicast inside
associations, Rekeys signed and to everybody. The keys themselves are in `key_tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from dmmp.actions import Send
from dmmp.alarms import Alarms
from dmmp.messages.common import Status
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.keys import (
    MAXIMUM_RENEWALS,
    SEALED_KEY_BYTES,
    KeyLeave,
    KeyRenewal,
    KeyRequest,
    KeyResponse,
    PathKey,
    Rekey,
)
from dmmp.security.key_tree import KeyTree
from dmmp.security.key_wrap import MAXIMUM_MEMBERS, EpochSecret
from dmmp.types import NO_HOST, Endpoint, HostId, Instant, SessionId

BATCH = 1.0
"""Seconds between two changes: one leave a second then costs a flow of 10 Mbit/s a thousandth."""

SILENCE_MOST = 90.0
"""Seconds after which a member that renewed nothing is evicted: three of its renewals were lost."""

ROOT_LIFE = 600.0
"""Seconds after which the root is renewed without any leave: a key that leaked unnoticed opens no
more than that, and no ratchet has more than 600 steps."""

REQUESTS_A_SECOND = 2.0
"""Requests of one host that are heard, those for lost Rekeys included; as many at once."""

REPLACE_REST = 10.0
"""Seconds in which a member that says it lost its keys is given the same ones: else one member
could have the whole group rekeyed each second."""

MOST_RATES = 2 * MAXIMUM_MEMBERS
"""Hosts whose requests are counted; who asked longest ago is forgotten first."""

MAXIMUM_REKEY_BYTES = 1200
"""Bytes of one part: with a signature behind it, it crosses every path whole (Decision 27)."""

_PART_BYTES = HEADER_BYTES + 4 + 2 + 2 + 1
_RENEWAL_BYTES = 4 + 1
_WRAP_BYTES = 4 + 4 + SEALED_KEY_BYTES


class KeyAlarm(Enum):
    """Why the key server wants to be woken."""

    CHANGE = "When to begin the next epoch."
    SWEEP = "When to look for members that have been silent too long."
    RENEWAL = "When to renew the root though nobody left."


class Work(NamedTuple):
    """What is to be done: messages to single members, parts for all, secrets of new epochs."""

    sends: list[Send]
    rekeys: list[Rekey]
    epochs: list[EpochSecret]


@dataclass(slots=True)
class _Member:
    """A leaf's owner; `sequence` is that of the request by which it came."""

    leaf: int
    sequence: int
    since: Instant
    heard: Instant


class KeyServer:
    """Members by node (16 bytes, the hash of a certificate's key), in the order they were heard.

    `first_epoch` should be later than any that an earlier run of this source used; as epochs are a
    second apart, seconds since some year are. `session` and `host` go into messages' headers.
    """

    def __init__(
        self,
        session: SessionId,
        random_bytes: Callable[[int], bytes],
        now: Instant,
        first_epoch: int = 1,
        host: HostId = NO_HOST,
    ) -> None:
        self.session = session
        self.host = host
        self._tree = KeyTree(random_bytes, first_epoch)
        self._members: dict[bytes, _Member] = {}
        self._joining: dict[bytes, tuple[KeyRequest, Endpoint]] = {}
        self._leaving: dict[bytes, None] = {}
        self._rates: dict[bytes, Instant] = {}
        self._alarms = Alarms()
        self._changed = now - BATCH
        self._change_at: Instant | None = None
        self._root_is_old = False
        self._alarms.set(KeyAlarm.RENEWAL, now + ROOT_LIFE)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def secret(self) -> EpochSecret:
        """Return the present epoch's secret."""
        return self._tree.secret

    def permits(self, node: bytes, now: Instant) -> bool:
        """Count a request of a host; tell whether it is heard, or the host asks too often."""
        due = max(self._rates.pop(node, now), now)
        allowed = due - now < 1.0
        self._rates[node] = due + 1 / REQUESTS_A_SECOND if allowed else due
        if len(self._rates) > MOST_RATES:
            del self._rates[next(iter(self._rates))]
        return allowed

    def on_request(
        self, message: KeyRequest, node: bytes, sender: Endpoint, now: Instant
    ) -> list[Send]:
        """Renew a membership, or begin one: then the answer comes out of `wake`."""
        if not self.permits(node, now):
            return []
        member = self._members.get(node)
        if member is None or node in self._leaving:
            return self._admit(message, node, sender, now)
        del self._members[node]
        self._members[node] = member
        member.heard = now
        # The request by which it came, once more, only tells that the answer was lost.
        is_repeated = message.sequence == member.sequence
        if message.epoch == 0 and not is_repeated and now - member.since >= REPLACE_REST:
            self._leaving[node] = None
            return self._admit(message, node, sender, now)
        # From any root since the last renewal ratchets lead to the present one.
        is_near = self._tree.renewed <= message.epoch <= self._tree.epoch
        path = () if is_near and not is_repeated else self._tree.path(member.leaf)
        return [self._response(message, sender, Status.SUCCESS, member.leaf, path)]

    def on_leave(
        self, message: KeyLeave, node: bytes, sender: Endpoint, now: Instant
    ) -> list[Send]:
        """Let a member go. Whoever is none is told the same: its first report was lost."""
        if not self.permits(node, now):
            return []
        self.evict(node, now)
        return [self._response(message, sender, Status.SUCCESS)]

    def evict(self, node: bytes, now: Instant) -> None:
        """Take a host out of the group: from the next epoch on it reads nothing."""
        self._joining.pop(node, None)
        if node in self._members and node not in self._leaving:
            self._leaving[node] = None
            quiet = now - self._changed >= BATCH
            self._change_by(now + BATCH if quiet else self._changed + BATCH)

    def wake(self, now: Instant) -> Work:
        """Do what is due. Rekeys are to be sent before the first data of their epoch."""
        work = Work([], [], [])
        while (due := self._alarms.due(now)) is not None:
            alarm, _ = due
            if alarm is KeyAlarm.CHANGE:
                self._change_at = None
                self._change(work, now)
            elif alarm is KeyAlarm.SWEEP:
                self._sweep(now)
            else:
                self._root_is_old = True
                self._change_by(max(now, self._changed + BATCH))
        return work

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Say when to wake it, and why."""
        return self._alarms.next()

    def _admit(
        self, request: KeyRequest, node: bytes, sender: Endpoint, now: Instant
    ) -> list[Send]:
        """Note a joiner; of its requests the last one is answered."""
        staying = len(self._members) - len(self._leaving)
        if node not in self._joining and staying + len(self._joining) >= MAXIMUM_MEMBERS:
            return [self._response(request, sender, Status.FULL)]
        self._joining[node] = (request, sender)
        self._change_by(max(now, self._changed + BATCH))
        return []

    def _change_by(self, at: Instant) -> None:
        if self._change_at is None or at < self._change_at:
            self._change_at = at
            self._alarms.set(KeyAlarm.CHANGE, at)

    def _sweep(self, now: Instant) -> None:
        """Evict the silent; look again when the next one may be. The longest silent is first."""
        for node, member in self._members.items():
            if now < member.heard + SILENCE_MOST:
                self._alarms.set(KeyAlarm.SWEEP, member.heard + SILENCE_MOST)
                return
            self.evict(node, now)

    def _change(self, work: Work, now: Instant) -> None:
        """Begin an epoch, unless all who wanted to come have gone again."""
        if not (self._joining or self._leaving or self._root_is_old):
            return
        left = [self._members.pop(node).leaf for node in self._leaving]
        change = self._tree.change(left, len(self._joining), self._root_is_old)
        joined = zip(self._joining.items(), change.leaves, strict=True)
        for (node, (request, sender)), leaf in joined:
            self._members[node] = _Member(leaf, request.sequence, now, now)
            path = self._tree.path(leaf)
            work.sends.append(self._response(request, sender, Status.SUCCESS, leaf, path))
        self._leaving.clear()
        self._joining.clear()
        self._root_is_old = False
        self._changed = now
        if self._tree.renewed == self._tree.epoch:
            self._alarms.set(KeyAlarm.RENEWAL, now + ROOT_LIFE)
        if self._members and not self._alarms.is_set(KeyAlarm.SWEEP):
            self._sweep(now)
        work.rekeys.extend(in_parts(self.session, self.host, self._tree.epoch, change.renewals))
        work.epochs.append(self._tree.secret)

    def _response(
        self,
        request: KeyRequest | KeyLeave,
        to: Endpoint,
        status: Status,
        leaf: int = 0,
        path: tuple[PathKey, ...] = (),
    ) -> Send:
        response = KeyResponse(
            session=self.session,
            source=self.host,
            sequence=request.sequence,
            status=status,
            epoch=self._tree.epoch,
            leaf=leaf,
            path=path,
        )
        return Send(response, to)


def in_parts(
    session: SessionId, host: HostId, epoch: int, renewals: Iterable[KeyRenewal]
) -> list[Rekey]:
    """Put renewals into as few messages as they fit in, in their order; none if there are none."""
    bodies: list[list[KeyRenewal]] = []
    room = 0
    for renewal in renewals:
        for wrap in renewal.wraps:
            begun = bool(bodies) and bodies[-1][-1].node == renewal.node
            needed = _WRAP_BYTES if begun else _RENEWAL_BYTES + _WRAP_BYTES
            if needed > room or (not begun and len(bodies[-1]) == MAXIMUM_RENEWALS):
                bodies.append([])
                room = MAXIMUM_REKEY_BYTES - _PART_BYTES
                begun, needed = False, _RENEWAL_BYTES + _WRAP_BYTES
            if begun:
                last = bodies[-1][-1]
                bodies[-1][-1] = KeyRenewal(last.node, (*last.wraps, wrap))
            else:
                bodies[-1].append(KeyRenewal(renewal.node, (wrap,)))
            room -= needed
    return [
        Rekey(
            session=session,
            source=host,
            epoch=epoch,
            part=part,
            parts=len(bodies),
            renewals=tuple(body),
        )
        for part, body in enumerate(bodies)
    ]
