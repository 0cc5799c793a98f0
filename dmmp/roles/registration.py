"""Finding the RPs and an identity there, the same for every host (slides 12 and 14, -03 §6.1).

The session's id by its name, then a registration that is soft state: it is renewed while the host
lives. Of several RPs the first that answers gives the id, and the host brings it to all the others
(Decision 21). One that is silent is not waited for; it is asked again with every renewal.
"""

from __future__ import annotations

from collections.abc import Hashable

from dmmp.actions import Report
from dmmp.alarms import jittered
from dmmp.events import Misconfigured, Refused, Registered, Resumed, Waiting
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
from dmmp.messages.schema import Message
from dmmp.roles.overlay import OverlayRole
from dmmp.roles.points import Point
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm
from dmmp.roles.states import Gone, Leaving, Locating, Registering
from dmmp.types import NO_HOST, NO_SESSION, Endpoint, HostId, Instant

ANOTHER = "another"
"""Key of the alarm that rings when the RPs asked so far had time enough to answer."""


class RegisteredRole(OverlayRole):
    """A role that registers at the RPs; see the module's docstring."""

    def on_start(self, message: object, sender: Endpoint, now: Instant) -> Actions:
        """Begin (slide 14): which session is it, by name, at the first RP."""
        self.standing.started = now
        yield from self.locate(now)

    # Without an identity: one RP after the other, each given a moment before the next is tried.

    def locate(self, now: Instant) -> Actions:
        """Ask for the session id, beginning with the RP most likely to answer."""
        self.state = Locating()
        self.refused_by.clear()
        yield from self.try_another(now)

    def try_another(self, now: Instant) -> Actions:
        """Ask the next RP; the one after it if none has answered in a moment (Decision 21)."""
        fresh = [
            point
            for point in self.standing.points.hopeful_first()
            if not self.is_asked(point) and point.endpoint not in self.refused_by
        ]
        if len(fresh) > 1:
            self.alarms.set(Alarm.LOCATE, now + self.parameters.rp_spacing, ANOTHER)
        for point in fresh[:1]:
            if isinstance(self.state, Locating):
                point.located = False
            yield from self.approach(point, now)

    def is_asked(self, point: Point) -> bool:
        """Tell whether an RP has a question of this host to answer."""
        requests = self.standing.requests
        return any(
            requests.is_open(kind, point.endpoint) for kind in (SubscriptionRequest, PingRpRequest)
        )

    def is_asking(self) -> bool:
        """Tell whether any RP has."""
        return any(self.is_asked(point) for point in self.standing.points)

    def on_subscription(
        self, message: SubscriptionResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """Learn the session id, or that one more RP serves the session."""
        point = self.standing.points.get(sender)
        if self.matched(message, sender) is None or point is None:
            return
        yield from self.rp_answers(point, message)
        if message.status != Status.SUCCESS or message.session == NO_SESSION:
            yield from self._not_served(point, now)
            return
        point.located = True
        if isinstance(self.state, Locating):
            self.standing.session = message.session
            self.state = Registering()
            if len(self.standing.points) > 1:
                self.alarms.set(Alarm.LOCATE, now + self.parameters.rp_spacing, ANOTHER)
        yield from self.register_at(point, now)

    def _not_served(self, point: Point, now: Instant) -> Actions:
        name = self.standing.setup.session_name
        reason = f"the RP at {point.endpoint} does not serve a session {name!r}"
        self.refused_by.add(point.endpoint)
        if not isinstance(self.state, Locating):
            yield from self._say_once(point, Status.UNKNOWN_SESSION, reason)
            if isinstance(self.state, Registering) and not self.is_asking():
                self.locate_later(now)
            return
        yield from self.try_another(now)
        if self.is_asking():
            return  # Another RP may serve it (Decision 21).
        final = all(other.endpoint in self.refused_by for other in self.standing.points)
        point.refusal = Status.UNKNOWN_SESSION
        yield Report(Refused(reason, final))
        self.locate_later(now)

    def _say_once(self, point: Point, status: int, reason: str) -> Actions:
        if point.refusal != status:
            point.refusal = status
            yield Report(Refused(reason))

    def locate_later(self, now: Instant) -> None:
        """Begin anew after a refusal, when the reason may be gone."""
        self.state = Locating()
        for point in self.standing.points:
            for kind in (SubscriptionRequest, PingRpRequest):
                self.standing.requests.close_all_to(point.endpoint, kind)
        self.alarms.stop(Alarm.LOCATE, ANOTHER)
        self.alarms.set(Alarm.LOCATE, now + self.parameters.retry_bootstrap_most)

    def on_locate_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Ask again for a session that was refused; or another RP while the first are slow."""
        if key == ANOTHER and isinstance(self.state, (Locating, Registering)):
            yield from self.try_another(now)
        elif key is None and isinstance(self.state, Locating):
            yield from self.locate(now)

    # With an identity: all of them, each in its own time.

    def register(self, now: Instant, refused: tuple[HostId, ...] = ()) -> Actions:
        """Renew the registration at every RP, and ask for super nodes (-03 §6.1)."""
        for point in self.standing.points:
            yield from self.register_at(point, now, refused)

    def register_at(self, point: Point, now: Instant, refused: tuple[HostId, ...] = ()) -> Actions:
        """Register at one RP, or renew the registration there (-03 §6.1)."""
        self.renew_later(point, now)
        if self.standing.points.is_second_address(point) or (point.silent and self.is_asked(point)):
            return
        yield from self.approach(point, now, refused)

    def renew_later(self, point: Point, now: Instant) -> None:
        """Arm the next registration at one RP."""
        at = now + jittered(self.rng, self.register_period())
        self.alarms.set(Alarm.REGISTER, at, point.endpoint)

    def approach(self, point: Point, now: Instant, refused: tuple[HostId, ...] = ()) -> Actions:
        """Ask an RP whether it serves the session; one that does, to register this host."""
        request: Message = SubscriptionRequest(group_name=self.standing.setup.session_name)
        if point.located:
            request = self.standing.make(
                PingRpRequest,
                instance=self.standing.setup.instance,
                host=self.record(now),
                refused=refused[:MAXIMUM_CANDIDATES],
            )
        wait = point.round_trip.wait(self.parameters)
        elsewhere = point.silent and self.standing.host and not isinstance(self.state, Locating)
        tries = self.parameters.silent_rp_tries if elsewhere else 0
        yield self.standing.ask(request, point.endpoint, now, tries=tries, wait=wait)

    def on_register_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the registration at one RP (Decision 21)."""
        point = self.standing.points.get(key)
        if (
            point is not None
            and self.standing.host
            and not isinstance(self.state, (Locating, Leaving, Gone))
        ):
            yield from self.register_at(point, now)

    def note_registration(
        self, message: PingRpResponse, sender: Endpoint, request: Request, now: Instant
    ) -> Actions:
        """Take over what every Ping_RP response tells: identity, size, candidates."""
        standing = self.standing
        point = standing.points.get(sender)
        if point is None:
            return
        request.sample(point.round_trip, now)
        yield from self.rp_answers(point, message)
        if message.status != Status.SUCCESS:
            yield from self._registration_refused(point, message.status, now)
            return
        brought = request.message.source
        point.refusal = Status.SUCCESS
        point.hosts, point.super_nodes = message.hosts, message.super_nodes
        standing.super_nodes = standing.points.super_nodes(point)
        if standing.host not in (NO_HOST, message.host) and brought != standing.host:
            # Asked for an id before another RP gave one: that one counts at all of them.
            yield from self.register_at(point, now)
            return
        point.registered = True
        is_new = standing.host != message.host
        if is_new:
            yield from self._adopt(message, point, now)
        if standing.points.present() is point:
            standing.observed = message.observed
        standing.hosts = standing.points.hosts()
        if is_new or isinstance(self.state, Registering):
            self.alarms.stop(Alarm.LOCATE, ANOTHER)
            for other in standing.points:
                if other is not point and self.is_asked(other):
                    self.renew_later(other, now)
                elif other is not point:
                    yield from self.register_at(other, now)

    def _adopt(self, message: PingRpResponse, point: Point, now: Instant) -> Actions:
        before = self.standing.host
        self.standing.host = message.host
        if before:
            what = f"host {before:08x} is another one, says the RP at {point.endpoint}; "
            what += f"this one is {message.host:08x} from now on; do two RPs have one index?"
            yield Report(Misconfigured(what))
            for other in self.standing.points:
                other.registered = other is point
        where = (point.endpoint, message.observed)
        yield Report(Registered(message.session, message.host, *where))

    def _registration_refused(self, point: Point, status: int, now: Instant) -> Actions:
        reason = self._refusal(status, point.endpoint)
        point.registered = False
        point.located = point.located and status != Status.UNKNOWN_SESSION
        if not isinstance(self.state, Registering):
            yield from self._say_once(point, status, reason)
            return
        point.refusal = status
        yield Report(Refused(reason))
        self.refused_by.add(point.endpoint)
        if status != Status.DUPLICATE_SOURCE:
            yield from self.try_another(now)
        if not self.is_asking():
            self.locate_later(now)

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

    # Who answers.

    def rp_answers(self, point: Point, message: Message) -> Actions:
        """Note that an RP is there, and which one it is."""
        if point.silent:
            point.silent = False
            yield Report(Resumed(f"the RP at {point.endpoint} answers again"))
        self.standing.points.identify(point, message.source)
        other = self.standing.points.same_index(point)
        if other is not None and not (point.same_index and other.same_index):
            point.same_index = other.same_index = True
            what = f"the RPs at {other.endpoint} and {point.endpoint} both have index {point.index}"
            yield Report(Misconfigured(f"{what}; give each its own (dmmp rp --index)"))

    def rp_is_silent(self, endpoint: Endpoint) -> Actions:
        """Note that an RP did not answer, and say so once (Decision 21)."""
        point = self.standing.points.get(endpoint)
        if point is not None and not point.silent:
            point.silent = True
            self.standing.hosts = self.standing.points.hosts()
            yield Report(Waiting(f"the RP at {endpoint} does not answer, trying again"))

    def on_rp_silent(self, request: Request, now: Instant) -> Actions:
        """An RP did not answer: go on with the others; without any, begin anew (Decision 21)."""
        yield from self.rp_is_silent(request.to)
        if not isinstance(self.state, (Locating, Registering)):
            return
        if self.is_asking():
            yield from self.try_another(now)
        else:
            yield from self.locate(now)
