"""Finding the RP and an identity there, the same for every host (slides 12 and 14, -03 §6.1).

The session's id by its name, then a registration that is soft state: it is renewed while the host
lives, and an RP that does not answer is asked again, or the next one is (Decision 21).
"""

from __future__ import annotations

from collections.abc import Hashable

from dmmp.actions import Report
from dmmp.alarms import jittered
from dmmp.events import Refused, Registered, Resumed, Waiting
from dmmp.messages import (
    PingRpRequest,
    PingRpResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    Status,
)
from dmmp.roles.overlay import OverlayRole
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm
from dmmp.roles.states import Gone, Leaving, Locating, Registering
from dmmp.types import Endpoint, HostId, Instant


class RegisteredRole(OverlayRole):
    """A role that registers at the RP; see the module's docstring."""

    def on_start(self, message: object, sender: Endpoint, now: Instant) -> Actions:
        """Begin (slide 14): which session is it, by name, at the first RP."""
        self.standing.started = now
        yield from self.locate(now)

    def locate(self, now: Instant) -> Actions:
        """Ask the RP in use for the session id."""
        self.state = Locating()
        request = SubscriptionRequest(group_name=self.standing.setup.session_name)
        yield self.standing.ask(request, self.standing.rendezvous_point, now)

    def on_subscription(
        self, message: SubscriptionResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the session id; a session that the RP does not serve ends the attempt."""
        if self.matched(message, sender) is None:
            return
        yield from self.rp_answers()
        if message.status != Status.SUCCESS:
            name = self.standing.setup.session_name
            self.next_rp(sender)
            points = frozenset(self.standing.setup.rendezvous_points)
            again = sender in self.refused_by
            self.refused_by |= {sender} & points
            final = self.refused_by == points
            if not final and not again:
                # Another RP may serve it (Decision 21).
                yield from self.locate(now)
                return
            self.refused_by.clear()
            yield Report(Refused(f"the RP at {sender} does not serve a session {name!r}", final))
            self.locate_later(now)
            return
        self.refused_by.clear()
        self.standing.session = message.session
        self.state = Registering()
        yield from self.register(now)

    def locate_later(self, now: Instant) -> None:
        """Begin anew after a refusal, when the reason may be gone."""
        self.state = Locating()
        self.alarms.set(Alarm.LOCATE, now + self.parameters.retry_bootstrap_most)

    def register(self, now: Instant, refused: tuple[HostId, ...] = ()) -> Actions:
        """Register, or renew the registration, and ask for super nodes (-03 §6.1)."""
        request = self.standing.make(
            PingRpRequest,
            instance=self.standing.setup.instance,
            host=self.record(now),
            refused=refused[:MAXIMUM_CANDIDATES],
        )
        yield self.standing.ask(request, self.standing.rendezvous_point, now)
        self.alarms.set(Alarm.REGISTER, now + jittered(self.rng, self.register_period()))

    def note_registration(self, message: PingRpResponse, sender: Endpoint, now: Instant) -> Actions:
        """Take over what every Ping_RP response tells: identity, size, candidates."""
        yield from self.rp_answers()
        standing = self.standing
        if message.status != Status.SUCCESS:
            yield Report(Refused(self._refusal(message.status, sender)))
            if isinstance(self.state, Registering):
                self.locate_later(now)
            return
        if standing.host != message.host:
            standing.host = message.host
            yield Report(Registered(message.session, message.host, sender, message.observed))
        standing.observed = message.observed
        standing.hosts = message.hosts
        standing.super_nodes = message.super_nodes

    def _refusal(self, status: int, sender: Endpoint) -> str:
        if status == Status.DUPLICATE_SOURCE:
            return (
                f"the session has another source, says the RP at {sender}; "
                "stop that one, or be a member; trying again"
            )
        if status == Status.FULL:
            return (
                f"the RP at {sender} has no room for another host; "
                "use another session or RP, or wait; trying again"
            )
        return f"the RP at {sender} refuses this host (status {status}); trying again"

    def rp_answers(self) -> Actions:
        """Note that the RP is there."""
        if self.standing.rendezvous_silent:
            self.standing.rendezvous_silent = False
            yield Report(Resumed(f"the RP at {self.standing.rendezvous_point} answers again"))

    def on_rp_silent(self, request: Request, now: Instant) -> Actions:
        """The RP did not answer: say so once, take the next one, try again (Decision 21)."""
        standing = self.standing
        if not standing.rendezvous_silent:
            standing.rendezvous_silent = True
            yield Report(Waiting(f"the RP at {request.to} does not answer, trying again"))
        self.next_rp(request.to)
        if isinstance(self.state, (Locating, Registering)):
            yield from self.locate(now)

    def next_rp(self, present: Endpoint) -> None:
        """Take the RP configured after `present`, the first after the last (Decision 21)."""
        points = self.standing.setup.rendezvous_points
        at = points.index(present) if present in points else -1
        self.standing.rendezvous_point = points[(at + 1) % len(points)]

    def on_locate_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Ask again for a session that was refused."""
        if isinstance(self.state, Locating):
            yield from self.locate(now)

    def on_register_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the registration (Decision 21)."""
        if self.standing.host and not isinstance(self.state, (Locating, Leaving, Gone)):
            yield from self.register(now)
