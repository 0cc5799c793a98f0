"""What a host does when its parent falls silent (slides 18 and 22, Decisions 11 and 20).

The forwarder notices the silence; two probes decide. Meanwhile the backup parents are probed too,
so that when the verdict is there the first living one is asked for the place without any search:
one Data Request, one Refresh. Only when no backup confirms is a place sought as a newcomer seeks
one. Backups and siblings are refreshed like a parent and may be asked for lost packets. Children
stay below this host meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from dmmp.actions import Report, Send
from dmmp.events import ParentLost, PeerViolation
from dmmp.messages import (
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.common import (
    HostFlag,
    HostRecord,
    HostState,
    LeaveReason,
    RefreshKind,
    Status,
    is_shutdown,
    located,
)
from dmmp.messages.local import Forged, Silence, Unreachable, Withholding
from dmmp.messages.schema import Message
from dmmp.policies.backups import BACKUPS
from dmmp.policies.colocation import spread
from dmmp.policies.parents import Candidate
from dmmp.roles.kin import Kin
from dmmp.roles.relatives import Child
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions
from dmmp.roles.seeking import SeekingRole
from dmmp.roles.standing import Standing
from dmmp.roles.states import Confirming, Joined, Leaving, Offer, Parent
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

SILENT_WAITS = 1.5
"""So many of the shortest waits for an answer to a probe, or three round trips if that is more:
then a backup that was probed with the parent is taken for as dead as it (Decision 80)."""

RELATIVE_TRIES = 2
"""Tries of a Refresh to a backup or a sibling (Decision 9): the next one is due in seconds."""


class RecoveringRole(SeekingRole):
    """A role that outlives its parent; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.kinship = standing.kinship
        self.former: HostId = NO_HOST
        """The parent lost last: whoever names it does not know yet."""
        self.unanswered: set[HostId] = set()
        """Of those that only another RP names, who answered no Refresh."""
        self.unproven: dict[Endpoint, Instant] = {}
        """Backups that were probed with the parent, and have not answered since, and when."""
        self.silent_since: Instant | None = None
        self.shown_since: Instant | None = None

    # Relatives, kept warm.

    def relatives(self) -> Sequence[HostRecord]:
        """List whom to refresh beside the parent: its backups first, then its siblings."""
        parent = self.parent()
        if parent is None:
            return ()
        named = {record.host: record for record in (*parent.backups, *parent.siblings)}
        beside = (self.standing.host, parent.record.host)
        usable = [r for r in named.values() if r.host not in beside and r.endpoint.port]
        # Whatever the parent names: not everybody this host relies on is of one network.
        found = spread(usable, (parent.record,))[0]
        return [*found, *self._witness((*beside, *named))]

    def _witness(self, beside: Collection[HostId]) -> list[HostRecord]:
        """Find a super node that one RP names and the first does not: none, or that one.

        An RP may name nobody but its friends, and a parent nobody but its own. Who is fed by none
        but such hosts, and hears of no channel, can learn from this one that there is any.
        """
        words = self.standing.points.other_words()
        self.unanswered.intersection_update({each.host for each in words})
        others = [
            each
            for each in words
            if each.host not in beside
            and each.host not in self.unanswered
            and not each.flags & HostFlag.SOURCE
        ]
        held = [each for each in others if each.host in self.kinship.named]
        return (held or others)[:1]

    def on_relatives_named(self, now: Instant) -> Actions:
        """Get to know backups and siblings that are new; ask them for data from then on."""
        if self.parent() is None:
            return
        backups = [] if (parent := self.parent()) is None else [r.host for r in parent.backups]
        for kin in self.kinship.name(self.relatives()):
            # A sibling's turn comes with the next Refresh: nothing depends on it until then.
            if kin.record.host in backups:
                yield self._refresh_relative(kin, now)
        yield from self.install(now)

    def on_refresh_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Renew the place at the parent, and in turn what relatives and this host know."""
        yield from super().on_refresh_alarm(key, now)
        if not isinstance(self.state, Leaving):
            for kin in list(self.kinship.named.values()):
                if kin.refreshed + self.parameters.refresh_relative <= now:
                    yield self._refresh_relative(kin, now)

    def _refresh_relative(self, kin: Kin, now: Instant) -> Send:
        kin.refreshed = now
        message = self.standing.make(
            RefreshRequest,
            kind=RefreshKind.RELATIVE,
            sender=self.record(now),
            super_node=self.super_node(),
            root_path=self.root_path(),
        )
        wait = kin.round_trip.wait(self.parameters)
        return self.standing.ask(message, kin.endpoint, now, tries=RELATIVE_TRIES, wait=wait)

    def on_refresh_answered(
        self, message: RefreshResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """An answer from a relative, from the place being taken up, or from the parent."""
        request = self.standing.requests.peek(message, sender)
        if request is not None and _is_to_relative(request):
            self.standing.requests.close(message.sequence)
            yield from self._on_relative(message, request, sender, now)
        elif isinstance(self.state, Confirming):
            yield from self.on_confirmed(message, sender, now)
        else:
            yield from self.on_refresh_response(message, sender, now)

    def _on_relative(
        self, message: RefreshResponse, request: Request, sender: Endpoint, now: Instant
    ) -> Actions:
        kin = self.kinship.at(sender)
        if kin is None:
            return
        if message.status != Status.SUCCESS or kin.record.host != message.sender.host:
            # It stays named, so that it is asked again no sooner than others are.
            kin.refuses()
        else:
            self.kinship.heard(kin, message.sender, message.root_path, message.super_node, now)
            self.unproven.pop(sender, None)
            request.sample(kin.round_trip, now)
        yield from self.install(now)

    def on_refresh_unanswered(self, request: Request, now: Instant) -> Actions:
        """Nobody answers a Refresh: a relative is forgotten, a parent lost."""
        if not _is_to_relative(request):
            yield from super().on_refresh_unanswered(request, now)
            return
        kin = self.kinship.at(request.to)
        if kin is not None:
            # The parent names it again as long as it thinks well of it.
            self.unanswered.add(kin.record.host)
            del self.kinship.named[kin.record.host]
            yield from self.install(now)

    def repairers(self) -> tuple[Endpoint, ...]:
        """List the relatives that have answered: backups, then siblings, then the super node."""
        found = [kin.endpoint for kin in self.kinship.named.values() if kin.is_known]
        parent = self.parent()
        beside = () if parent is None else (parent.endpoint,)
        return tuple(endpoint for endpoint in dict.fromkeys(found) if endpoint not in beside)

    # Silence, and the verdict.

    def on_silence(self, message: Silence, sender: Endpoint, now: Instant) -> Actions:
        """The flow stopped: is the parent there, and the backups? (Decision 11)"""
        parent = self.parent()
        if parent is None or self.standing.requests.is_open(ProbeRequest, parent.endpoint):
            return
        self.silent_since = message.since
        yield from self.doubt_parent(parent, now)

    def doubt_parent(self, parent: Parent, now: Instant) -> Actions:
        """Probe the parent, quickly, and the backups with it (Decision 20)."""
        least, trip = self.parameters.probe_wait_least, self.round_trip.least()
        wait = self.round_trip.timeout(least, self.parameters.retry_first)
        if trip is not None:
            # What a busy moment adds to the variation is there for a minute: too long for this.
            wait = min(wait, max(least + 2 * trip, self.round_trip.smoothed or 0.0))
        if not self.standing.requests.is_open(ProbeRequest, parent.endpoint):
            self.unproven.clear()
        yield from self.probe(parent.endpoint, now, self.parameters.probe_tries, wait, 1.0)
        for offer in self.backup_offers(parent)[:BACKUPS]:
            endpoint = offer.candidate.record.endpoint
            if self.standing.requests.is_open(ProbeRequest, endpoint, True):
                continue
            self.unproven.setdefault(endpoint, now)
            yield self.standing.ask(
                self.standing.make(ProbeRequest, timestamp=0),
                endpoint,
                now,
                tries=1,
                wait=self.parameters.probe_wait,
            )

    def on_unreachable(self, message: Unreachable, sender: Endpoint, now: Instant) -> Actions:
        """The network says nobody listens there: ask the host itself before believing it.

        A forged report costs a host that lives no more than a probe.
        """
        parent = self.parent()
        if parent is not None and parent.endpoint == message.endpoint:
            yield from self.doubt_parent(parent, now)
            self.standing.requests.hasten(ProbeRequest, message.endpoint)
        else:
            yield from self.doubt_child(self.standing.children.by_endpoint(message.endpoint), now)

    def doubt_child(self, child: Child | None, now: Instant) -> Actions:
        """Probe a child that is said to be dead: its children are about to ask for its place."""
        if child is not None:
            tries, wait = self.parameters.probe_tries, self.parameters.doubt_wait
            yield from self.probe(child.endpoint, now, tries, wait, 1.0)

    def on_probe_response(self, message: ProbeResponse, sender: Endpoint, now: Instant) -> Actions:
        """A relative is alive; if another host answers there now, the relative is not."""
        request = self.matched(message, sender)
        if request is None:
            return
        self.unproven.pop(sender, None)
        parent = self.parent()
        if parent is not None and sender == parent.endpoint:
            self.unproven.clear()
            self.sample(request, now)
            if message.sender.host != parent.record.host:
                yield from self.lose_parent("replaced by another host", now)
            else:
                yield from self._show_address(parent, now)
            return
        child = self.standing.children.by_endpoint(sender)
        if child is not None and child.expires <= now:
            # It lives and has not renewed its place: it is another's child by now.
            yield from self.drop_child(child.record.host, "did not renew its place", now)
        self.note_backup(message, request, sender, now)
        yield from self._prefer_living(sender, now)

    def _prefer_living(self, answered: Endpoint, now: Instant) -> Actions:
        """Confirm at a backup that answers its probe, if the one being asked has not answered.

        What killed the parent may have killed that one, and its waits are the longest of all.
        """
        state = self.state
        if not isinstance(state, Confirming) or state.previous is not None:
            return
        asked = state.offer.candidate.record.endpoint
        living = [o for o in state.others if o.candidate.record.endpoint == answered]
        if not living or not self.standing.requests.is_open(ProbeRequest, asked, even_once=True):
            return
        self.standing.requests.close_all_to(asked, RefreshRequest)
        goodbye = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
        yield self.standing.ask(goodbye, asked, now)
        others = tuple(offer for offer in state.others if offer is not living[0])
        others = (*others, state.offer)
        yield from self.confirm(living[0], others, None, state.moving, now, state.then)

    def _show_address(self, parent: Parent, now: Instant) -> Actions:
        """Refresh a parent that lives and is silent: it may send to where this host was before.

        Once for each silence: where the source is silent, it changes nothing.
        """
        since = self.silent_since
        if since == self.shown_since or isinstance(self.state, (Confirming, Leaving)):
            return
        self.shown_since = since
        if not self.standing.requests.is_open(RefreshRequest, parent.endpoint):
            yield self.standing.ask(self.refresh(now, ()), parent.endpoint, now)

    def note_backup(
        self, message: ProbeResponse, request: Request, sender: Endpoint, now: Instant
    ) -> None:
        """A backup has answered a probe: note when, and how far it is."""
        kin = self.kinship.at(sender)
        if kin is not None and kin.is_known and kin.record.host == message.sender.host:
            kin.record, kin.heard = located(message.sender, sender), now
            trip = request.round_trip(now)
            if trip is not None:
                kin.round_trip.sample(trip)

    def on_probe_unanswered(self, request: Request, now: Instant) -> Actions:
        """No answer to the probes: the relative is inactive (slide 18)."""
        if not request.lasting:
            return  # It measured a candidate: one lost datagram is no verdict (Decision 11).
        parent = self.parent()
        if parent is not None and parent.endpoint == request.to:
            yield from self.lose_parent("silent", now)
            return
        child = self.standing.children.by_endpoint(request.to)
        if child is not None:
            yield from self.drop_child(child.record.host, "silent", now)

    def on_status_report(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """A relative says that the parent, or a child, is inactive: see for oneself (slide 18)."""
        yield Send(self.standing.answer(StatusResponse, message), sender)
        parent = self.parent()
        known = self.kinship.at(sender) is not None or self.kinship.is_guest(sender, now)
        if not known or message.state != HostState.INACTIVE:
            return
        subject = message.subject.host
        if parent is None or subject != parent.record.host:
            yield from self.doubt_child(self.standing.children.confirmed.get(subject), now)
        elif not self.standing.requests.is_open(ProbeRequest, parent.endpoint):
            yield from self.doubt_parent(parent, now)

    def on_status_response(
        self, message: StatusResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """A report was heard."""
        self.matched(message, sender)
        yield from ()

    # Another parent.

    def lose_parent(self, reason: str, now: Instant) -> Actions:
        """Go to the first living backup at once; without one, seek (slide 22, Decision 20)."""
        parent = self.parent()
        assert parent is not None
        yield Report(ParentLost(parent.record.host, reason))
        self.former = parent.record.host
        # The rendezvous point may name it for a while: who asks it first loses a second or two.
        known = self.standing.super_nodes
        self.standing.super_nodes = tuple(each for each in known if each.host != self.former)
        self.standing.requests.close_all_to(parent.endpoint)
        # It may live, and would feed this host until its place there lapses.
        goodbye = self.standing.make(LeaveReport, reason=LeaveReason.MOVED)
        yield self.standing.ask(goodbye, parent.endpoint, now)
        # Programs here wait: if nobody known has a place, it offers itself without more rounds.
        self.failures = max(self.failures, self.parameters.offer_after - 1)
        yield from self.on_parent_lost(parent, now)
        yield from self._tell_relatives(parent, now)
        yield from self.give_back(now)
        offers = self.backup_offers(parent)
        silent = {o.candidate.record.endpoint for o in offers if self._is_silent(o, now)}
        living = [
            offer
            for offer in offers
            if offer.candidate.record.endpoint not in silent
            and parent.record.host not in offer.path
        ]
        self.unproven.clear()
        # Whoever may be dead too, or cut off too, is asked with others, and not waited for alone.
        then = sorted(self.elsewhere(parent), key=lambda c: c.record.endpoint in silent)
        if living:
            yield from self.confirm(living[0], tuple(living[1:]), None, False, now, tuple(then))
        else:
            yield from self.seek(then, now)
        yield from self.tell_children(now)

    def _is_silent(self, offer: Offer, now: Instant) -> bool:
        """Tell whether a backup should have answered its probe by now."""
        asked = self.unproven.get(offer.candidate.record.endpoint)
        trip = offer.candidate.round_trip or 0.0
        least = SILENT_WAITS * self.parameters.probe_wait_least
        return asked is not None and now - asked >= max(least, 3 * trip)

    def on_forged(self, message: Forged, sender: Endpoint, now: Instant) -> Actions:
        """Leave a parent that passes on what the origin did not send: it should have checked.

        Nobody else is told why: a word is no proof, and would be a weapon for liars (Decision 67).
        """
        parent = self.parent()
        if parent is None or parent.endpoint != message.forger:
            return
        reason = f"{message.packets} packets came from it that the source did not send"
        yield Report(PeerViolation("Decision 67", reason, message.forger))
        self.standing.distrust(parent.record.host, now)
        if not isinstance(self.state, Leaving):
            yield from self.lose_parent("passes on forgeries", now)

    def on_withholding(self, message: Withholding, sender: Endpoint, now: Instant) -> Actions:
        """Move away from a parent that does not send what it could, while it still serves.

        It may only be overloaded, so it is told nothing but goodbye (Decision 71).
        """
        parent = self.parent()
        if (
            parent is None
            or parent.endpoint != message.upstream
            or not isinstance(self.state, Joined)
            or parent.record.flags & HostFlag.SOURCE
        ):
            return
        reason = "others had what it did not send"
        if message.starved:
            # Who withholds it may stand farther above: let those who are nearer to it move first.
            if message.starved < (self.depth() or 0) - 1:
                return
            reason = "nothing came of what was announced"
        yield Report(PeerViolation("Decision 71", reason, message.upstream))
        self.standing.distrust(parent.record.host, now)
        yield from self.move_elsewhere(parent, (), now)

    def _tell_relatives(self, parent: Parent, now: Instant) -> Actions:
        """Tell the relatives, who may share this parent, what was found (slide 18)."""
        subject = parent.record
        for kin in self.kinship.named.values():
            report = self.standing.make(StatusReport, state=HostState.INACTIVE, subject=subject)
            yield self.standing.ask(report, kin.endpoint, now, tries=1)

    def is_shunned(self, host: HostId) -> bool:
        """Tell whether a host is known to be no parent for this one."""
        if host in self.standing.distrusted:
            return True
        return host == self.former and self.parent() is None

    def backup_offers(self, parent: Parent) -> list[Offer]:
        """List the backups as places to take up: those heard last, not below the lost parent."""
        backups = [
            kin
            for record in parent.backups
            if (kin := self.kinship.named.get(record.host)) is not None
            and kin.is_known
            and kin.record.host != parent.record.host
            and self.may_hang_below(kin.path)
            and self.trusts((kin.record.host, *kin.path))
        ]
        # The parent's subtree is cut off with this host, whatever it has last heard.
        backups.sort(key=lambda kin: (parent.record.host in kin.path, -kin.heard))
        return [
            Offer(
                Candidate(kin.record, kin.round_trip.least()),
                kin.super_node,
                kin.path,
            )
            for kin in backups
        ]

    def elsewhere(self, parent: Parent, first: Sequence[Candidate] = ()) -> tuple[Candidate, ...]:
        """List where to ask for a place: who was named, backups, siblings, known super nodes."""
        named = [*first, *(Candidate(backup) for backup in parent.backups)]
        if parent.successor.host:
            named.append(Candidate(parent.successor))
        named += self.known_candidates()
        named += [Candidate(sibling) for sibling in parent.siblings]
        return tuple(c for c in named if c.record.host != parent.record.host)

    def move_elsewhere(self, parent: Parent, first: Sequence[Candidate], now: Instant) -> Actions:
        """Seek another parent while the present one goes on serving (make before break)."""
        yield from self.give_back(now)
        yield from self.seek(self.elsewhere(parent, first), now, previous=parent)

    def on_leave_report(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A parent, a child or an applicant goes (slide 20)."""
        parent = self.parent()
        goes = is_shutdown(message.reason) or message.reason == LeaveReason.DISMISSED
        if (
            parent is None
            or not goes
            or sender != parent.endpoint
            or message.source != parent.record.host
        ):
            # Who moved, or declined, was a child or an applicant, whatever it is by now.
            yield from self.on_child_leaves(message, sender, now)
            if is_shutdown(message.reason) and self.kinship.goes(message.source, sender):
                yield from self.install(now)
            return
        yield Send(self.standing.answer(LeaveResponse, message), sender)
        replacement = message.replacement
        first = (Candidate(replacement),) if replacement.host else ()
        # It serves this host until there is another parent, or its time is over.
        yield from self.move_elsewhere(parent, first, now)

    def on_parent_lost(self, parent: Parent, now: Instant) -> Actions:
        """React to the loss of a parent."""
        yield from ()


def _is_to_relative(request: Request) -> bool:
    message: Message = request.message
    return isinstance(message, RefreshRequest) and message.kind == RefreshKind.RELATIVE
