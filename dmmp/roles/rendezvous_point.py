"""The rendezvous point (slides 9, 12, 14; -03 §3, §5, §6.1): who is there, who are the super nodes.

It answers Subscription Requests with a session id, gives every host an id at Ping_RP and names it
super nodes, at most twelve. To the source it reports every non-leaf host; at the source's word it
raises the tree version. All of it is soft state: hosts renew it, and an RP that starts empty learns
it again. It never forwards data, and one process serves several sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from hashlib import sha256
from random import Random
from typing import ClassVar, TypeVar

from dmmp.actions import Report, Send
from dmmp.errors import ParameterError
from dmmp.events import HostExpired, HostRegistered, Misconfigured
from dmmp.messages import (
    REGISTRY,
    LeaveReport,
    LeaveResponse,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    SourceRequest,
    SourceResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import (
    NOT_JOINED_DEPTH,
    HostFlag,
    HostRecord,
    HostState,
    Phase,
    Status,
)
from dmmp.messages.local import Start, Stop, Unreachable
from dmmp.messages.schema import FieldValue, Message
from dmmp.parameters import Parameters
from dmmp.policies.capacity import by_capacity, is_leaf
from dmmp.roles.points import ID_BITS, INDEX_BITS
from dmmp.roles.requests import Request, Requests
from dmmp.roles.role import Actions, Role
from dmmp.roles.sessions import RELAYING, Registration, Session, is_news, newer
from dmmp.roles.view import View
from dmmp.types import NO_HOST, STUN_MAGIC, Endpoint, HostId, Instant, SessionId

M = TypeVar("M", bound=Message)

TOLD_AT_ONCE = 100
"""Hosts reported to a source that registers, the most capable: it needs no more super nodes."""


class RpAlarm(Enum):
    """Why the RP wants to be woken."""

    RETRY = "When to send a report to the source again (Decision 9)."
    SWEEP = "When to look for hosts whose hold time is over (Decision 21)."


@dataclass(frozen=True, slots=True)
class Serving:
    """The only state: it serves."""


def session_id(name: str) -> SessionId:
    """Derive a session's id from its name, so that every RP of a group generates the same."""
    value = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    return SessionId(value if value not in (0, STUN_MAGIC) else value + 1)


class RendezvousPoint(Role):
    """See the module's docstring. `index` tells RPs of one group apart: 0 to 15."""

    NAME = "rp"

    def __init__(
        self, sessions: tuple[str, ...], parameters: Parameters, rng: Random, index: int = 0
    ) -> None:
        super().__init__(rng)
        if len(sessions) > parameters.sessions:
            raise ParameterError(f"at most {parameters.sessions} sessions in one RP")
        if not 0 <= index < 1 << INDEX_BITS:
            raise ParameterError(f"the RP's index must be below {1 << INDEX_BITS}")
        self.parameters = parameters
        self.index = index
        self.requests = Requests(parameters, rng, partial(self.alarms.stop, RpAlarm.RETRY))
        self.state = Serving()
        self.sessions = {session_id(name): self._new_session(name) for name in sessions}

    def _new_session(self, name: str) -> Session:
        # Anywhere among all ids: those given before a restart are still in use.
        first = self.rng.randrange(1, 1 << ID_BITS)
        session = Session(name, session_id(name), self.index, first)
        session.namings.rate = self.parameters.newcomer_probes / self.parameters.probe_rounds
        return session

    # Requests.

    def on_start(self, message: Start, sender: Endpoint, now: Instant) -> Actions:
        """Begin to look for silent hosts."""
        self.alarms.set(RpAlarm.SWEEP, now + self.parameters.refresh_rp)
        yield from ()

    def on_stop(self, message: Stop, sender: Endpoint, now: Instant) -> Actions:
        """Nothing to do: everybody goes on without it."""
        yield from ()

    def on_subscription(
        self, message: SubscriptionRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """Name the session's id (slide 12, Decision 23)."""
        wanted = session_id(message.group_name)
        held = self.sessions.get(wanted)
        known = held is not None and held.name == message.group_name
        yield Send(
            SubscriptionResponse(
                session=wanted if known else SessionId(0),
                source=held.me if held is not None and known else NO_HOST,
                sequence=message.sequence,
                status=Status.SUCCESS if known else Status.UNKNOWN_SESSION,
                lifetime=3600 if known else 0,
            ),
            sender,
        )

    def on_ping_rp(self, message: PingRpRequest, sender: Endpoint, now: Instant) -> Actions:
        """Register a host, or renew it, and name super nodes to it (-03 §6.1)."""
        session = self.sessions.get(message.session)
        if session is None:
            yield Send(_answer(PingRpResponse, message, status=Status.UNKNOWN_SESSION), sender)
            return
        yield from self._retire_former(session, message, sender, now)
        status = self._admit(session, message)
        if status is Status.DUPLICATE_SOURCE:
            yield from self._doubt_source(session, message, sender, now)
            return
        if status is not Status.SUCCESS:
            yield Send(self._refusal(session, message, status), sender)
            return
        host, is_new = session.identify(message.instance, message.source)
        yield from self._note_identity(session, message, host, sender, now)
        known = session.hosts.get(host)
        record = replace(message.host, host=host, endpoint=sender)
        expires = now + self.parameters.hold_rp
        told = known.told if known is not None else now
        session.hosts[host] = Registration(record, sender, message.instance, expires, told)
        session.by_instance[message.instance] = host
        if known is not None and known.endpoint != sender:
            session.by_endpoint.pop(known.endpoint, None)
        session.by_endpoint[sender] = host
        self._note_role(session, record, message, now)
        if host == session.source:
            yield from self._end_claim(session, sender)
        if is_new:
            yield Report(HostRegistered(host, sender, len(session.hosts)))
        yield Send(self._welcome(session, message, host, sender, now), sender)
        if host == session.source:
            if is_new:
                yield from self._tell_all(session, now)
        elif (
            known is None or is_news(known.record, record) or self._is_due_again(record, told, now)
        ):
            session.hosts[host].told = now
            yield from self._tell_source(session, record, HostState.ACTIVE, now)

    def _is_due_again(self, record: HostRecord, told: Instant, now: Instant) -> bool:
        # The source may have asked it in vain, or started anew without having heard of it.
        return now >= told + self.parameters.refresh_rp and bool(record.flags & RELAYING)

    def _retire_former(
        self, session: Session, message: PingRpRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        # Another start of a host at the same address: the one before is over.
        former = session.by_endpoint.get(sender, NO_HOST)
        held = session.hosts.get(former)
        if held is not None and held.instance != message.instance:
            yield from self._remove(session, former, "started again", HostState.INACTIVE, now)

    def _admit(self, session: Session, message: PingRpRequest) -> Status:
        if message.host.flags & HostFlag.SOURCE and session.source:
            holder = session.hosts.get(session.source)
            if holder is not None and holder.instance != message.instance:
                return Status.DUPLICATE_SOURCE
        if len(session.hosts) >= self.parameters.hosts:
            known = message.instance in session.by_instance
            return Status.SUCCESS if known else Status.FULL
        return Status.SUCCESS

    def _refusal(self, session: Session, message: PingRpRequest, status: Status) -> Message:
        return _answer(PingRpResponse, message, source=session.me, status=status)

    # A second source: is the first one still there?

    def _doubt_source(
        self, session: Session, message: PingRpRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """Ask the first source before refusing the second; that one waits for the verdict.

        A source that was killed and comes back elsewhere need not wait for the hold time.
        """
        endpoint = session.hosts[session.source].endpoint
        is_doubted = self.requests.is_open(ProbeRequest, endpoint)
        if session.claim is not None and session.claim[1] != sender and is_doubted:
            yield Send(self._refusal(session, message, Status.DUPLICATE_SOURCE), sender)
            return
        session.claim = (message, sender)
        if not is_doubted:
            probe = ProbeRequest(session=session.id, source=session.me, timestamp=0)
            send, sequence, again = self.requests.open(
                probe, endpoint, now, self.parameters.claim_tries
            )
            self.alarms.set(RpAlarm.RETRY, again, sequence)
            yield send

    def _end_claim(self, session: Session, sender: Endpoint) -> Actions:
        # A source has just registered, or renewed: there is nothing to doubt any more.
        if session.claim is None:
            return
        (claim, claimant), session.claim = session.claim, None
        if claimant != sender:
            yield Send(self._refusal(session, claim, Status.DUPLICATE_SOURCE), claimant)

    def on_probe_response(self, message: ProbeResponse, sender: Endpoint, now: Instant) -> Actions:
        """The first source lives, unless another host answers at its address."""
        request = self.requests.match(message, sender)
        session = self.sessions.get(request.message.session) if request is not None else None
        if session is None or session.claim is None:
            return
        claim, claimant = session.claim
        holder = session.hosts.get(session.source)
        if holder is None or (holder.endpoint == sender and message.source != session.source):
            yield from self._replace_source(session, "replaced by another host", now)
            return
        session.claim = None
        yield Send(self._refusal(session, claim, Status.DUPLICATE_SOURCE), claimant)

    def on_probe_unanswered(self, request: Request, now: Instant) -> Actions:
        """The first source is gone: the second takes its place."""
        session = self.sessions.get(request.message.session)
        if session is not None and session.claim is not None:
            yield from self._replace_source(session, "silent", now)

    def _replace_source(self, session: Session, reason: str, now: Instant) -> Actions:
        assert session.claim is not None
        (claim, claimant), session.claim = session.claim, None
        if session.source in session.hosts:
            yield from self._remove(session, session.source, reason, HostState.INACTIVE, now)
        yield from self.on_ping_rp(claim, claimant, now)

    # Identities.

    def _note_identity(
        self,
        session: Session,
        message: PingRpRequest,
        host: HostId,
        sender: Endpoint,
        now: Instant,
    ) -> Actions:
        held = session.by_instance.get(message.instance)
        if held is not None and held != host:
            # It asked here too before another RP had given it an id.
            yield from self._remove(session, held, "has another id", HostState.INACTIVE, now)
        if message.source not in (NO_HOST, host):
            what = f"{sender} comes as host {message.source:08x}, which is another one here"
            yield Report(Misconfigured(f"{what}; has another RP the index {self.index} too?"))

    def _note_role(
        self, session: Session, record: HostRecord, message: PingRpRequest, now: Instant
    ) -> None:
        if record.flags & HostFlag.SOURCE:
            if message.source:
                # The source may have raised it while this RP was away. Others only say so.
                session.tree_version = newer(message.tree_version, session.tree_version)
            session.source = record.host
        if record.flags & HostFlag.SUPER_NODE and record.depth != NOT_JOINED_DEPTH:
            session.note_super_node(record.host, self.parameters.super_nodes_most)
            if session.building_until is None:
                session.building_until = now + self.parameters.build_window
        else:
            session.super_nodes.pop(record.host, None)

    def _welcome(
        self,
        session: Session,
        message: PingRpRequest,
        host: HostId,
        sender: Endpoint,
        now: Instant,
    ) -> Message:
        building = session.building_until is None or now < session.building_until
        version, namings = session.tree_version, session.namings
        seeks = message.host.depth == NOT_JOINED_DEPTH
        at_most = self.parameters.candidates if seeks else self.parameters.candidates_placed
        levels = (lambda named: namings.levels(named, now)) if seeks else None
        candidates = session.shortlist().choose(
            sender, message.refused, at_most, self.rng, levels, host
        )
        if seeks:
            namings.note([candidate.host for candidate in candidates], now)
        return _answer(
            PingRpResponse,
            message,
            source=session.me,
            # Whoever knows a newer one, as long as the source has not told it here, keeps that.
            tree_version=newer(message.tree_version, version) if message.source else version,
            phase=Phase.BUILDING if building else Phase.RUNNING,
            host=host,
            observed=sender,
            hosts=len(session.hosts),
            super_nodes=candidates,
        )

    def on_source_request(self, message: SourceRequest, sender: Endpoint, now: Instant) -> Actions:
        """Name the source; an offer to be super node goes on to it (slide 16)."""
        session = self.sessions.get(message.session)
        source = session.hosts.get(session.source) if session is not None else None
        if session is None or source is None:
            status = Status.NO_SOURCE if session is not None else Status.UNKNOWN_SESSION
            yield Send(_answer(SourceResponse, message, status=status), sender)
            return
        yield Send(_answer(SourceResponse, message, origin=source.record), sender)
        held = session.hosts.get(message.source)
        if message.host.flags & HostFlag.OFFERS and held is not None and held.endpoint == sender:
            offer = replace(message.host, host=message.source, endpoint=sender)
            yield from self._tell_source(session, offer, HostState.ACTIVE, now)

    def on_status_report(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """From the source: the mesh changed, so the tree version rises (-03 §5)."""
        session = self.sessions.get(message.session)
        source = session.hosts.get(session.source) if session is not None else None
        if session is None or source is None or source.endpoint != sender:
            yield Send(_answer(StatusResponse, message, status=Status.REFUSED), sender)
            return
        # An RP that was silent or restarted is behind: the source raised the version without it.
        session.tree_version = (newer(message.tree_version, session.tree_version) + 1) & 0xFF
        subject = message.subject.host
        if message.state != HostState.ACTIVE:
            session.super_nodes.pop(subject, None)
            session.chosen.pop(subject, None)
        elif len(session.chosen) < self.parameters.super_nodes_most:
            session.chosen[subject] = None
        answer = _answer(StatusResponse, message, tree_version=session.tree_version)
        yield Send(answer, sender)

    def on_leave(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A host goes (slide 20)."""
        session = self.sessions.get(message.session)
        held = session.hosts.get(message.source) if session is not None else None
        yield Send(_answer(LeaveResponse, message), sender)
        if session is not None and held is not None and held.endpoint == sender:
            yield from self._remove(session, message.source, "left", HostState.LEAVING, now)

    def on_probe(self, message: ProbeRequest, sender: Endpoint, now: Instant) -> Actions:
        """Answer a probe (slide 12)."""
        yield Send(
            _answer(ProbeResponse, message, timestamp=message.timestamp, sender=HostRecord()),
            sender,
        )

    def on_status_response(
        self, message: StatusResponse, sender: Endpoint, now: Instant
    ) -> Actions:
        """The source has noted a report."""
        self.requests.match(message, sender)
        yield from ()

    def on_unreachable(self, message: Unreachable, sender: Endpoint, now: Instant) -> Actions:
        """Nothing to do: the host is forgotten when it does not renew its registration."""
        yield from ()

    # What the source is told.

    def _tell_source(
        self, session: Session, record: HostRecord, state: HostState, now: Instant
    ) -> Actions:
        source = session.hosts.get(session.source)
        offers = record.flags & RELAYING
        if source is None or record.flags & HostFlag.ORDINARY:
            return
        if is_leaf(record, self.parameters.leaf_below) and not offers and state is HostState.ACTIVE:
            return
        report = StatusReport(
            session=session.id, tree_version=session.tree_version, state=state, subject=record
        )
        tries = self.parameters.retry_tries
        send, sequence, again = self.requests.open(report, source.endpoint, now, tries)
        self.alarms.set(RpAlarm.RETRY, again, sequence)
        yield send

    def _tell_all(self, session: Session, now: Instant) -> Actions:
        records = [held.record for host, held in session.hosts.items() if host != session.source]
        # First who is a super node already: a new source takes it up again.
        records.sort(key=lambda record: (not record.flags & RELAYING, by_capacity(record)))
        for record in records[:TOLD_AT_ONCE]:
            yield from self._tell_source(session, record, HostState.ACTIVE, now)

    # Time.

    def on_retry(self, key: Hashable, now: Instant) -> Actions:
        """Send a report or a probe to the source again, or give it up."""
        assert isinstance(key, int)
        again = self.requests.again(key, now)
        if isinstance(again, Request):
            if isinstance(again.message, ProbeRequest):
                yield from self.on_probe_unanswered(again, now)
        elif again is not None:
            send, at = again
            self.alarms.set(RpAlarm.RETRY, at, key)
            yield send

    def on_sweep(self, key: Hashable, now: Instant) -> Actions:
        """Forget hosts that did not renew their registration (Decision 21)."""
        self.alarms.set(RpAlarm.SWEEP, now + self.parameters.refresh_rp)
        for session in self.sessions.values():
            for host in [h for h, held in session.hosts.items() if held.expires <= now]:
                yield from self._remove(session, host, "silent", HostState.INACTIVE, now)

    def _remove(
        self, session: Session, host: HostId, reason: str, state: HostState, now: Instant
    ) -> Actions:
        held = session.hosts.pop(host)
        session.by_instance.pop(held.instance, None)
        if session.by_endpoint.get(held.endpoint) == host:
            del session.by_endpoint[held.endpoint]
        session.super_nodes.pop(host, None)
        session.chosen.pop(host, None)
        if session.source == host:
            session.source = NO_HOST
            self.requests.close_all_to(held.endpoint, StatusReport)
        yield Report(HostExpired(host, reason, len(session.hosts)))
        if session.source:
            yield from self._tell_source(session, held.record, state, now)

    def views(self, now: Instant) -> tuple[View, ...]:
        """Take a snapshot of every session."""
        return tuple(
            View(
                role=self.NAME,
                state="Serving",
                session=session.id,
                session_name=session.name,
                super_nodes=tuple(session.hosts[host].record for host in session.super_nodes),
                tree_version=session.tree_version,
                hosts=len(session.hosts),
                tables=(
                    ("hosts", len(session.hosts)),
                    ("super_nodes", len(session.super_nodes)),
                    ("requests", len(self.requests)),
                    ("alarms", len(self.alarms)),
                ),
            )
            for session in self.sessions.values()
        )

    TABLE: ClassVar[Mapping[tuple[type, type], Callable[..., Actions]]] = {
        (Serving, Start): on_start,
        (Serving, Stop): on_stop,
        (Serving, SubscriptionRequest): on_subscription,
        (Serving, PingRpRequest): on_ping_rp,
        (Serving, SourceRequest): on_source_request,
        (Serving, StatusReport): on_status_report,
        (Serving, StatusResponse): on_status_response,
        (Serving, LeaveReport): on_leave,
        (Serving, ProbeRequest): on_probe,
        (Serving, ProbeResponse): on_probe_response,
        (Serving, Unreachable): on_unreachable,
    }

    ALARMS: ClassVar[Mapping[Enum, Callable[..., Actions]]] = {
        RpAlarm.RETRY: on_retry,
        RpAlarm.SWEEP: on_sweep,
    }

    IGNORED: ClassVar[Mapping[tuple[type, type], str]] = {
        (Serving, kind): "Decision 6: an answer that nobody waits for"
        for kind in REGISTRY.values()
        if kind.__name__.endswith("Response") and kind not in (StatusResponse, ProbeResponse)
    }


def _answer(cls: type[M], request: Message, **fields: FieldValue) -> M:
    return cls(**{"session": request.session, "sequence": request.sequence, **fields})
