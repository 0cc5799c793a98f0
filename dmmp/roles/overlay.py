"""What every host of the overlay has, whatever its role; the RP is none of them.

Requests and their answers (Decision 6), probes (slide 12), the wishes of its own programs and the
forwarding entry that follows (Decision 25), leaving (slide 20), describing itself. `registration`
and `parenting` add the RP and the children, `uplink` and `seeking` the way up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from dmmp.actions import Action, Branch, ForwardingEntry, Install, Report, Send, Withdraw
from dmmp.events import Left, PeerViolation
from dmmp.interest import Interest, union
from dmmp.messages import (
    BreakRequest,
    BreakResponse,
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    ProbeResponse,
    PromotionAck,
    PromotionRequest,
    StatusReport,
    StatusResponse,
    SubscriptionResponse,
)
from dmmp.messages.common import (
    MAXIMUM_KIN,
    HostFlag,
    HostRecord,
    Status,
)
from dmmp.messages.local import Subscribe
from dmmp.messages.schema import Message
from dmmp.roles.requests import Request
from dmmp.roles.role import Actions, Input, Role
from dmmp.roles.standing import Alarm, Standing
from dmmp.roles.states import Gone, Idle, Leaving
from dmmp.roles.view import PointView, View
from dmmp.types import Endpoint, HostId, Instant


class OverlayRole(Role, ABC):
    """See the module's docstring. Subclasses give the table and the hooks at the end."""

    NAME: ClassVar[str]
    GIVE_UP: ClassVar[Mapping[type[Message], Callable[..., Actions]]] = {}

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing.rng)
        self.standing = standing
        self.alarms = standing.alarms
        self.parameters = standing.parameters
        self.state: object = Idle()
        self._installed: ForwardingEntry | None = None
        self.refused_by: set[Endpoint] = set()

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input; what belongs to another session is nobody's here."""
        session = self.standing.session
        if (
            session
            and isinstance(message, Message)
            and message.session != session
            and not isinstance(message, SubscriptionResponse)
        ):
            return [Report(PeerViolation("-03 §5", "a message of another session", sender))]
        return super().receive(message, sender, now)

    # Requests and their answers.

    def matched(self, message: Message, sender: Endpoint) -> Request | None:
        """Take the open request that the message answers (Decision 6)."""
        return self.standing.requests.match(message, sender)

    def on_retry(self, key: Hashable, now: Instant) -> Actions:
        """Send a request again, or tell whoever asked that nobody answers (Decision 9)."""
        if not isinstance(key, int):
            return
        again = self.standing.requests.again(key, now)
        if isinstance(again, Request):
            given_up = self.GIVE_UP.get(type(again.message))
            if given_up is not None:
                yield from given_up(self, again, now)
        elif again is not None:
            send, at = again
            self.alarms.set(Alarm.RETRY, at, key)
            yield send

    def on_probe(self, message: ProbeRequest, sender: Endpoint, now: Instant) -> Actions:
        """Answer a probe (slide 12)."""
        yield Send(
            self.standing.answer(
                ProbeResponse, message, timestamp=message.timestamp, sender=self.record(now)
            ),
            sender,
        )

    def on_status_report(self, message: StatusReport, sender: Endpoint, now: Instant) -> Actions:
        """Acknowledge; roles that use the news extend this (slide 12)."""
        yield Send(self.standing.answer(StatusResponse, message), sender)

    def on_promotion_request(
        self, message: PromotionRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """Decline to change places (-03 §6.8, step 4): the threshold is the parent's to judge."""
        yield Send(self.standing.answer(PromotionAck, message, status=Status.REFUSED), sender)

    def on_break_request(self, message: BreakRequest, sender: Endpoint, now: Instant) -> Actions:
        """Decline to exchange a child (-03 §6.8, step 3)."""
        yield Send(self.standing.answer(BreakResponse, message, status=Status.REFUSED), sender)

    # Leaving.

    def say_goodbye(
        self, told: Sequence[Endpoint], replacement: HostRecord, now: Instant
    ) -> Actions:
        """Report the leaving to everybody named; go when all have answered, or soon (slide 20)."""
        # Nothing else is of interest any more.
        self.alarms.stop_all()
        self.standing.requests.close_all()
        if not told:
            yield from self.go(now)
            return
        leaving = self.state if isinstance(self.state, Leaving) else Leaving()
        self.state = replace(leaving, waiting_for=frozenset(told))
        self.alarms.set(Alarm.LEAVE, now + self.parameters.leave_wait)
        for endpoint in dict.fromkeys(told):
            message = self.standing.make(LeaveReport, replacement=replacement)
            yield self.standing.ask(message, endpoint, now)

    def on_leave_response(self, message: LeaveResponse, sender: Endpoint, now: Instant) -> Actions:
        """One more knows that this host goes."""
        if self.matched(message, sender) is None or not isinstance(self.state, Leaving):
            return
        yield from self.one_less(sender, now)

    def one_less(self, sender: Endpoint, now: Instant) -> Actions:
        """Wait for one answer less; without any more to wait for, go."""
        assert isinstance(self.state, Leaving)
        waiting_for = self.state.waiting_for - {sender}
        self.state = replace(self.state, waiting_for=waiting_for)
        if not waiting_for:
            yield from self.go(now)

    def on_leave_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Go, answered or not."""
        if isinstance(self.state, Leaving):
            yield from self.go(now)

    def go(self, now: Instant) -> Actions:
        """Be gone."""
        self.state = Gone()
        self.alarms.stop_all()
        yield Withdraw(self.standing.session)
        yield Report(Left())

    # Interest and the forwarding entry.

    def on_subscribe(self, message: Subscribe, sender: Endpoint, now: Instant) -> Actions:
        """Note what this host's programs want (Decision 25)."""
        wanted = self.standing.wanted
        record = message.interest
        if record.is_none:
            if wanted.pop(record.group, None) is None:
                return
        elif wanted.get(record.group) == record or (
            record.group not in wanted and len(wanted) >= self.parameters.groups
        ):
            return
        else:
            wanted[record.group] = record
        yield from self.install(now)
        yield from self.on_subtree_changed(now)

    def install(self, now: Instant) -> Actions:
        """Put the present upstream, branches and local wishes into force, if they changed."""
        entry = ForwardingEntry(
            session=self.standing.session,
            tree_version=self.standing.tree_version,
            upstream=self.upstream(),
            downstream=self.branches(),
            deliver=self.delivers(),
            repairers=self.repairers(),
            me=self.standing.host,
            patience=self.patience(),
        )
        if entry != self._installed and self.standing.host:
            self._installed = entry
            yield Install(entry)

    @property
    def installed(self) -> ForwardingEntry | None:
        """The forwarding entry in force."""
        return self._installed

    # Describing itself.

    def record(self, now: Instant) -> HostRecord:
        """Describe this host to others, as it is now."""
        depth = self.depth()
        free = 0 if depth is None else self.free_below(now)
        return self.standing.record(now, self.flags(), depth, free, self.path_delay())

    def path_delay(self) -> int:
        """Return how long data takes from the source to here, µs; 0 if that is not known."""
        return 0

    def free_below(self, now: Instant) -> int:
        """Count free places of this host and its whole cluster below it (Decision 14)."""
        return self.free_places(False, now) + self.standing.children.free_below()

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        standing = self.standing
        children = standing.children
        return View(
            role=self.NAME,
            state=type(self.state).__name__,
            session=standing.session,
            session_name=standing.setup.session_name,
            host=standing.host,
            out_degree=standing.setup.out_degree,
            depth=len(self.root_path()) if self.has_place() else None,
            root_path=self.root_path(),
            super_node=self.super_node(),
            children=children.records(False, len(children)),
            mesh_children=children.records(True, len(children)),
            groups=union(standing.wants()),
            subtree_groups=tuple(standing.subtree_wants().values()),
            tree_version=standing.tree_version,
            hosts=standing.hosts,
            points=tuple(
                PointView(point.endpoint, not point.silent, point.registered, point.hosts)
                for point in standing.points
            ),
            tables=(
                ("children", len(children)),
                ("reservations", len(children.reserved)),
                ("heirs", len(children.heirs)),
                ("guests", len(standing.kinship.guests)),
                ("requests", len(standing.requests)),
                ("alarms", len(self.alarms)),
                ("groups", len(standing.wanted)),
            ),
        )

    # What differs by role.

    def flags(self) -> int:
        """Say what this host is (slide 9)."""
        return HostFlag.NONE

    def register_period(self) -> float:
        """Return how often to renew the registration, seconds."""
        return self.parameters.refresh_rp

    @abstractmethod
    def has_place(self) -> bool:
        """Tell whether this host is in the tree and may promise places."""

    def depth(self) -> int | None:
        """Return how many hops below the source this host stands; None without a place."""
        return len(self.root_path()) if self.has_place() else None

    @abstractmethod
    def root_path(self) -> tuple[HostId, ...]:
        """Return the ids from the parent up to the source."""

    @abstractmethod
    def super_node(self) -> HostId:
        """Return the root of the cluster this host is in."""

    @abstractmethod
    def free_places(self, mesh: bool, now: Instant) -> int:
        """Count free places in the mesh or in the cluster."""

    def ancestors(self) -> tuple[HostId, ...]:
        """Return who may not become a child (Decision 17)."""
        return self.root_path()

    @abstractmethod
    def upstream(self) -> tuple[Endpoint, ...]:
        """Return where data may come from."""

    def branches(self) -> tuple[Branch, ...]:
        """Return where data goes to: the children."""
        return self.standing.children.branches()

    def delivers(self) -> tuple[Interest, ...]:
        """Return what this host's programs want, in canonical order."""
        return union(self.standing.wants())

    def repairers(self) -> tuple[Endpoint, ...]:
        """Return whom to ask for what the parent does not send, in order (Decision 18)."""
        return ()

    def patience(self) -> float:
        """Return the least silence of the parent that counts, seconds (Decision 11)."""
        return 0.0

    def siblings_for(self, child: HostId) -> tuple[HostRecord, ...]:
        """Name others on its level to a child (slide 18)."""
        return self.standing.children.siblings(child, MAXIMUM_KIN)

    def successor(self) -> HostRecord:
        """Name the child that takes this host's place if it fails (Decision 22)."""
        return HostRecord()

    def backups_for(self, child: HostId) -> tuple[HostRecord, ...]:
        """Name backup parents to a child (Decision 20)."""
        return ()

    def is_parent(self, endpoint: Endpoint) -> bool:
        """Tell whether the host at an endpoint is the parent; the source has none."""
        return False

    def on_room_changed(self, now: Instant) -> Actions:
        """React to a change in how many places are free below."""
        yield from ()

    def on_subtree_changed(self, now: Instant) -> Actions:
        """React to a change in what the subtree wants or can hold."""
        yield from ()
