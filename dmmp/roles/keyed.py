"""A host and the group's key: the same three methods, around whatever role the host has (slide 23).

The source is the key server; every other host that delivers data asks it for keys, once it knows
from the RP who it is, and says when it goes. What the data plane lacks and learns comes in as local
messages, keys go out as `InstallKey`, the server's word to all as `Publish`. Rules of keys
and epochs are in `security.key_server` and `security.key_member`, in Decision 68.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random

from dmmp.actions import Action, InstallKey, Publish, Report, Send
from dmmp.alarms import Alarms, jittered
from dmmp.errors import DecodeError
from dmmp.events import KeysHeld, PeerViolation, Registered
from dmmp.messages import (
    KeyLeave,
    KeyRequest,
    KeyResponse,
    Rekey,
    SourceRequest,
    SourceResponse,
    decode,
    encode,
)
from dmmp.messages.common import HostRecord, Status
from dmmp.messages.local import Credited, Denied, KeyFits, KeyNews, KeyWanted, LocalMessage, Stop
from dmmp.roles.end_host import EndHost
from dmmp.roles.role import Input
from dmmp.roles.view import View
from dmmp.security.key_member import KeyMember
from dmmp.security.key_server import KeyServer
from dmmp.security.key_wrap import EpochSecret
from dmmp.types import NO_HOST, NO_SESSION, SELF, Endpoint, HostId, Instant, SessionId

FIND_FIRST, FIND_MOST = 0.5, 8.0
"""Seconds to the first and, doubling, between the last questions who the source is, +-20 %."""

FIND_AGAIN = 2.0
"""Least time between two questions that data of a source unknown here gives rise to."""

SILENT_TRIES = 4
"""Requests without an answer after which a member asks whether the source is another by now."""

EPOCH_YEAR = 1_700_000_000
"""Seconds since 1970 from which first epochs count: one a second, and later after each start."""

NodeOf = Callable[[Endpoint], bytes | None]
"""Tells which node (16 bytes) is at an endpoint that has an association; None: nobody."""


class FindAlarm(Enum):
    """What this wakes for besides role and keys."""

    FIND = "When to ask the RP again who the source is."


class KeyedHost:
    """See the module's docstring.

    `node_of` tells members apart, `random_bytes` makes keys, `wall` is seconds since 1970 less the
    clock of `now`. Without `takes_keys`, as a relay that delivers to nobody, a host asks for none.
    """

    def __init__(
        self,
        host: EndHost,
        node_of: NodeOf,
        random_bytes: Callable[[int], bytes],
        rng: Random,
        wall: float,
        *,
        is_source: bool = False,
        takes_keys: bool = True,
    ) -> None:
        self.host = host
        self.server: KeyServer | None = None
        self.member: KeyMember | None = None
        self.origin: HostId = NO_HOST
        self._node_of = node_of
        self._random_bytes = random_bytes
        self._rng = rng
        self._wall = wall
        self._is_source = is_source
        self._takes_keys = takes_keys and not is_source
        self._alarms = Alarms()
        self._session: SessionId = NO_SESSION
        self._me: HostId = NO_HOST
        self._point: Endpoint | None = None
        self._source: Endpoint | None = None
        self._sequence = 0
        self._find_wait = FIND_FIRST
        self._found_at: Instant | None = None
        # An RP that named the wrong one is not to be asked again first.
        self._turn = 0
        self._told = False

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input, from a peer or (sender `SELF`) from this host; never raises."""
        if isinstance(message, LocalMessage):
            return self._on_local(message, sender, now)
        if isinstance(message, KeyRequest | KeyLeave):
            return self._on_member(message, sender, now)
        if isinstance(message, KeyResponse):
            return self._on_response(message, sender, now)
        if isinstance(message, SourceResponse) and message.sequence == self._sequence:
            return self._on_source(message, now)
        return self._follow(self.host.receive(message, sender, now), now)

    def wake(self, now: Instant) -> list[Action]:
        """Handle every alarm that is due."""
        actions = self._follow(self.host.wake(now), now)
        while self._alarms.due(now) is not None:
            actions += self._find(now)
        if self.server is not None:
            actions += self._served(now)
        if self.member is not None:
            actions += self.member.wake(now)
            actions += self._doubt_source(now)
        return actions

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        parts = (self.host, self._alarms, self.server, self.member)
        alarms = [_next(part) for part in parts if part is not None]
        return min((alarm for alarm in alarms if alarm is not None), default=None)

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        return self.host.view(now)

    def _on_local(self, message: LocalMessage, sender: Endpoint, now: Instant) -> list[Action]:
        if isinstance(message, KeyWanted):
            return self._on_wanted(message, now)
        if isinstance(message, KeyFits):
            if self.member is not None and message.origin == self.origin:
                held = self.member.secret(message.epoch, now)
                if held is not None:
                    self.member.confirm(held.epoch, now)
            return []
        if isinstance(message, KeyNews):
            return self._on_news(message, now)
        if isinstance(message, Denied):
            for node in sorted(message.nodes) if self.server is not None else ():
                assert self.server is not None
                self.server.evict(node, now)
            return []
        if isinstance(message, Credited):
            return []
        actions: list[Action] = []
        if isinstance(message, Stop) and self.member is not None:
            # First, while the associations live: from the next epoch on it reads nothing.
            actions += self.member.leave(now)
            self._takes_keys = False
            self._alarms.stop_all()
        return actions + self._follow(self.host.receive(message, sender, now), now)

    def _follow(self, actions: list[Action], now: Instant) -> list[Action]:
        """See what the role reports: with an identity the keys begin."""
        for action in actions:
            if isinstance(action, Report) and isinstance(action.event, Registered):
                return actions + self._on_registered(action.event, now)
        return actions

    def _on_registered(self, event: Registered, now: Instant) -> list[Action]:
        self._point = event.rendezvous_point
        if (event.session, event.host) == (self._session, self._me):
            return []
        self._session, self._me = event.session, event.host
        if self._is_source:
            first = max(1, int(now + self._wall) - EPOCH_YEAR)
            self.server = KeyServer(event.session, self._random_bytes, now, first, event.host)
            self.origin = event.host
            return [self._installed(self.server.secret, seals=True)]
        if not self._takes_keys:
            return []
        self.member = KeyMember(event.session, self._rng, event.host)
        self.origin = NO_HOST
        return self._find(now)

    # The source, as key server.

    def _on_member(
        self, message: KeyRequest | KeyLeave, sender: Endpoint, now: Instant
    ) -> list[Action]:
        node = self._node_of(sender)
        if self.server is None or node is None:
            return [
                Report(PeerViolation("Decision 68", "asks for keys where there are none", sender))
            ]
        if isinstance(message, KeyRequest):
            sends = self.server.on_request(message, node, sender, now)
        else:
            sends = self.server.on_leave(message, node, sender, now)
        return [*sends, *self._served(now)]

    def _served(self, now: Instant) -> list[Action]:
        assert self.server is not None
        sends, rekeys, epochs = self.server.wake(now)
        actions: list[Action] = []
        if rekeys:
            parts = tuple(encode(rekey) for rekey in rekeys)
            actions.append(Publish(self._session, self._me, parts))
        actions += [self._installed(secret, seals=True) for secret in epochs]
        return [*actions, *sends]

    # Everybody else.

    def _find(self, now: Instant) -> list[Action]:
        """Ask the RP who the source is."""
        points = self.host.standing.points.answering()
        to = points[self._turn % len(points)].endpoint if points else self._point
        if to is None or self.member is None:
            return []
        self._sequence = self._rng.getrandbits(32)
        self._alarms.set(FindAlarm.FIND, now + jittered(self._rng, self._find_wait))
        self._find_wait = min(2 * self._find_wait, FIND_MOST)
        record = HostRecord(host=self._me)
        request = SourceRequest(
            session=self._session, source=self._me, sequence=self._sequence, host=record
        )
        return [Send(request, to)]

    def _doubt_source(self, now: Instant) -> list[Action]:
        """Ask anew who the source is, if the one that is known does not answer any more."""
        assert self.member is not None
        if self.member.tries < SILENT_TRIES or self._alarms.next() is not None:
            return []
        if self._found_at is not None and now - self._found_at < FIND_MOST:
            return []
        self._turn += 1
        return self._find(now)

    def _on_source(self, message: SourceResponse, now: Instant) -> list[Action]:
        origin = message.origin
        if message.status != Status.SUCCESS or not origin.host or self.member is None:
            return []
        self._alarms.stop_all()
        self._find_wait = FIND_FIRST
        self._found_at = now
        self._sequence = 0
        if (origin.host, origin.endpoint) == (self.origin, self._source):
            return []
        self.origin, self._source = origin.host, origin.endpoint
        return list(self.member.want(origin.endpoint, now))

    def _on_response(self, message: KeyResponse, sender: Endpoint, now: Instant) -> list[Action]:
        if self.member is None:
            return []
        try:
            self.member.on_response(message, sender, now)
        except DecodeError as error:
            return [Report(PeerViolation("Decision 68", str(error), sender))]
        return self._news()

    def _on_news(self, message: KeyNews, now: Instant) -> list[Action]:
        if self.member is None or message.origin != self.origin:
            return []
        try:
            rekey = decode(message.datagram)
            if not isinstance(rekey, Rekey) or not self.member.on_rekey(rekey, now):
                return []
        except DecodeError as error:
            return [Report(PeerViolation("Decision 68", str(error), SELF))]
        return self._news()

    def _on_wanted(self, message: KeyWanted, now: Instant) -> list[Action]:
        """Look for the secret of data that came: held, or guessed, or of another source."""
        member = self.member
        if member is None or message.session != self._session:
            return []
        if message.origin != self.origin:
            if self._alarms.next() or (
                self._found_at is not None and now - self._found_at < FIND_AGAIN
            ):
                return []
            self._turn += self._found_at is not None
            return self._find(now)
        if message.failed:
            member.unreadable(message.epoch, now)
            return []
        held = member.secret(message.epoch, now)
        if held is None:
            return []
        return [self._installed(held, certain=held.epoch <= member.epoch)]

    def _news(self) -> list[Action]:
        held = None if self.member is None else self.member.current()
        if held is None:
            return []
        actions: list[Action] = [self._installed(held)]
        if not self._told:
            self._told = True
            actions.append(Report(KeysHeld(self._session, self.origin)))
        return actions

    def _installed(
        self, held: EpochSecret, seals: bool = False, certain: bool = True
    ) -> InstallKey:
        return InstallKey(
            self._session, self.origin, held.epoch & 0xFF, held.secret, seals, certain
        )


def _next(part: EndHost | Alarms | KeyServer | KeyMember) -> tuple[Instant, str] | None:
    return part.next() if isinstance(part, Alarms) else part.next_alarm()
