"""Coming nearer to the source: now and then a member looks at other places (Decision 75).

It probes a few hosts that it has heard of. Each says how long data takes to it; with half the round
trip that is the way through it. If the shortest is shorter than the present one by enough, the
member asks there for a place, and moves, served by its parent until the other has confirmed. Where
there is none it says so if it gains enough for a child to make room (`displacing`).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from dmmp.alarms import jittered
from dmmp.messages import JoinRequest, JoinResponse, ProbeRequest, ProbeResponse, RefreshResponse
from dmmp.messages.common import HostFlag, HostRecord, Status, located
from dmmp.policies.nearing import Way, ways
from dmmp.policies.parents import Candidate
from dmmp.roles.acquaintances import Acquaintances
from dmmp.roles.exchanging import CORE
from dmmp.roles.improving import ImprovingRole
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import Confirming, Joined, Nearing, Offer
from dmmp.types import Endpoint, Instant

MOST_ASKED = 3
"""Hosts asked for a place after one look: what they answer names others for the next."""


class NearingRole(ImprovingRole):
    """A role that looks for shorter ways; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.acquainted = Acquaintances(self.rng)
        self.looked_at: dict[Endpoint, Candidate | None] = {}
        self.ways: list[Way] = []
        self.pause = self.parameters.nearing_look
        self.cut_off: Instant | None = None
        """When it last had no way to the source."""

    def on_joined(self, now: Instant) -> Actions:
        """A parent has confirmed: look around soon, for what is known may be different now."""
        self.pause = self.parameters.nearing_look
        self.look_later(now)
        yield from super().on_joined(now)

    def look_later(self, now: Instant) -> None:
        """Set the alarm; with a period of 0 nobody looks around."""
        parameters = self.parameters
        if parameters.nearing_look:
            most, pause = parameters.nearing_look_most, self.pause
            if self.cut_off is not None and now < self.cut_off + parameters.nearing_calm:
                # Where hosts fail a tree is never done: improving it would cost more than it gains.
                most = pause = parameters.nearing_look_rough
            pause = jittered(self.rng, pause, parameters.promotion_look_spread)
            self.alarms.set(Alarm.NEARER, now + pause)
            # Until the place is another.
            self.pause = min(2 * self.pause, most)

    def tell_children(self, now: Instant) -> Actions:
        """Remember that the way to the source was lost, by this host's parent or further above."""
        if not self.has_place():
            self.cut_off = now
        yield from super().tell_children(now)

    def on_nearer_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Probe some hosts that may be nearer to the source."""
        self.look_later(now)
        self.meet_relatives()
        self.looked_at = {}
        parent, chosen = self.parent(), []
        if not isinstance(self.state, Joined) or parent is None or not self.is_calm(now):
            return
        if present := self.path_delay():
            width = self.parameters.nearing_width
            chosen = self.acquainted.draw(width, self.may_be_nearer, present)
        elif self.round_trip.smoothed is None:
            # What is asked again before an answer can be here measures nothing; this does.
            chosen = [located(parent.record, parent.endpoint)]
        for record in chosen:
            if self.standing.requests.is_open(ProbeRequest, record.endpoint):
                continue
            self.looked_at[record.endpoint] = None
            # Until it answers: who is gone is not looked at for ever.
            self.acquainted.forget(record.host)
            probe = self.standing.make(ProbeRequest, timestamp=0)
            wait = self.parameters.probe_wait
            yield self.standing.ask(probe, record.endpoint, now, tries=1, wait=wait)
        if self.looked_at:
            self.alarms.set(Alarm.LOOKED, now + self.parameters.probe_wait)

    def meet_relatives(self) -> None:
        """Take note of those that the parent and the rendezvous point named."""
        parent = self.parent()
        named = [] if parent is None else [*parent.backups, *parent.siblings]
        for record in (*named, *(kin.record for kin in self.kinship.named.values())):
            self.acquainted.note(record)
        for record in self.standing.super_nodes:
            self.acquainted.note(record)

    def may_be_nearer(self, record: HostRecord) -> bool:
        """Tell whether a host is worth a look; who says nothing of its delay may be."""
        parent = self.parent()
        return (
            record.host != self.standing.host
            and not record.flags & HostFlag.SOURCE
            and (parent is None or record.host != parent.record.host)
            and record.host not in self.standing.children.confirmed
            and record.delay_us < self.path_delay()
            and self.trusts((record.host,))
        )

    def note_backup(
        self, message: ProbeResponse, request: Request, sender: Endpoint, now: Instant
    ) -> None:
        """Note a host that answered a probe, and how far it is, if it is looked at."""
        super().note_backup(message, request, sender, now)
        if sender in self.looked_at:
            record = located(message.sender, sender)
            trip = request.round_trip(now)
            self.looked_at[sender] = Candidate(record, trip)
            self.acquainted.measured(record, trip)

    def on_looked_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Ask for the place with the shortest way, if that is short enough."""
        looked_at, self.looked_at = self.looked_at, {}
        present = self.path_delay()
        if not isinstance(self.state, Joined) or not self.is_calm(now) or not present:
            return
        candidates = [each for each in looked_at.values() if each is not None]
        candidates = [each for each in candidates if each.record.delay_us]
        self.ways = ways(candidates, present, self.parameters)[:MOST_ASKED]
        yield from self.ask_for_next(present, now)

    def ask_for_next(self, present: int, now: Instant) -> Actions:
        """Ask for a place, and say if a child may make room: this host has a place for it."""
        # The present way may have become shorter, or unknown, since they were measured.
        self.ways = [way for way in self.ways if way.delay_us < present]
        if not self.ways:
            return
        way = self.ways.pop(0)
        record = replace(self.record(now), delay_us=way.delay_us)
        if way.displaces(present, self.parameters) and self.free_places(False, now) > 0:
            record = replace(record, flags=record.flags | HostFlag.EXCHANGES)
        request = self.standing.make(JoinRequest, applicant=record, passes=0)
        to = way.candidate.record.endpoint
        send = self.standing.ask(request, to, now, self.parameters.join_tries)
        part = Nearing(send.message.sequence, way.candidate)
        self.take_part(part, self.parameters.promotion_hold, now)
        yield send

    def on_place_answer(self, message: JoinResponse, sender: Endpoint, now: Instant) -> Actions:
        """A place nearer to the source, or none: then there are children to look at."""
        part, state = self.part, self.state
        if not isinstance(part, Nearing) or part.asked != message.sequence:
            yield from super().on_place_answer(message, sender, now)
            return
        if self.matched(message, sender) is None or not isinstance(state, Joined):
            return
        for child in message.children:
            if not child.flags & CORE:
                self.acquainted.note(child)
        path = (message.parent.host, *message.root_path)
        offer = Offer(
            Candidate(located(message.parent, sender), part.candidate.round_trip),
            message.super_node,
            path,
        )
        if message.status != Status.SUCCESS:
            self.end_part(now)
            yield from self.ask_for_next(self.path_delay(), now)
        elif self.may_hang_below(path) and self.trusts(path):
            self.part = replace(part, offer=offer)
            yield from self.confirm(offer, (), state.parent, True, now)
        else:
            self.end_part(now)
            yield self.decline(offer)

    def on_confirmed(self, message: RefreshResponse, sender: Endpoint, now: Instant) -> Actions:
        """A place is confirmed, or not; the move is over then."""
        part, state = self.part, self.state
        ours = (
            isinstance(part, Nearing)
            and isinstance(state, Confirming)
            and state.offer is part.offer
        )
        yield from super().on_confirmed(message, sender, now)
        if ours and self.part is part and not isinstance(self.state, Confirming):
            self.end_part(now)
