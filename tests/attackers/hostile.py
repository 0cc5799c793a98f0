"""Hostile hosts for the simulator: real ones, certified and keyed, that misbehave on purpose.

A `Conduct` says what a host does wrong and from when on. The wrappers stand around its role and its
forwarder; gates, network and the other hosts are the real ones and know nothing of it. Threat table
of the security design, rows 10, 13, 14, 16, 17, 20 and 21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from dmmp.actions import Action, ForwarderAction, Replay, Send
from dmmp.forwarding.burst import Burst, Outcome, Silent, Transmit, split
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages import PingRpResponse, RefreshRequest, SourceResponse
from dmmp.messages.common import HostFlag, HostRecord, LinkRecord
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.schema import FieldValue, Message
from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.role import Host, Input
from dmmp.roles.standing import HostSetup
from dmmp.roles.view import View
from dmmp.security.data_guard import DataGuard
from dmmp.security.peer import Capability
from dmmp.security.permissions import OWN_RECORD
from dmmp.security.signing import Signer
from dmmp.sim.node import Forwards, Life
from dmmp.sim.secured import Secured
from dmmp.types import Endpoint, HostId, Instant, IpAddress, SessionId
from tests.attackers.insider import Forger

DATA, HEARTBEAT = b"\x00\x00", b"\x00\x01"
OPTION = slice(2, 4)
_SEQUENCE = slice(12, 16)

BOAST = 65535
"""Children and free places that a liar claims: the most the field holds."""


@dataclass(slots=True)
class Conduct:
    """What one host does wrong, from `since` on.

    `drops` is the share of data packets it withholds, chosen by their numbers: what it does not
    pass on it does not give on request either, unless it `answers`. `deaf` ignores every Data
    Request, `mute` passes on no heartbeat. `delay` holds data back so many seconds. `forges` is the
    share of packets beside which a forgery goes out, `kinds` narrows them to some of those of
    `insider.Forger`. `lies` boasts of capacity, room, uptime and the shortest links.
    """

    since: Instant = 0.0
    drops: float = 0.0
    answers: bool = False
    deaf: bool = False
    mute: bool = False
    delay: float = 0.0
    forges: float = 0.0
    lies: bool = False
    kinds: tuple[str, ...] = ()
    forged: int = 0
    """Forged datagrams sent so far."""
    withheld: int = 0
    """Data packets it did not pass on so far, counted for each branch."""
    first_forgery: Instant | None = None


class Around:
    """A forwarder with something around it; by itself it changes nothing."""

    def __init__(self, inner: Forwards) -> None:
        self.inner = inner

    @property
    def counters(self) -> object:
        """The real forwarder's counters."""
        return getattr(self.inner, "counters", None)

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Do what the role wants."""
        return self.inner.apply(action, now)

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Take data from the network."""
        return self.inner.forward(burst, now)

    def originate(
        self,
        session: SessionId,
        host: HostId,
        tree_version: int,
        group: IpAddress,
        source: IpAddress,
        packets: Sequence[bytes | memoryview],
        now: Instant,
    ) -> Outcome:
        """Take packets of its own programs."""
        return self.inner.originate(session, host, tree_version, group, source, packets, now)

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Handle what is due."""
        return self.inner.wake(now)

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        return self.inner.next_alarm()


class HostileForwarder(Around):
    """A forwarder whose output is tampered with."""

    def __init__(
        self, inner: Forwards, conduct: Conduct, rng: Random, forger: Forger | None
    ) -> None:
        super().__init__(inner)
        self.conduct = conduct
        self._rng = rng
        self._salt = rng.getrandbits(32)
        self._forger = forger
        self._held: list[tuple[Instant, Transmit]] = []

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Do what the role wants, but for what is asked of it."""
        conduct = self.conduct
        if isinstance(action, Replay):
            if conduct.deaf and now >= conduct.since:
                return Outcome()
            return self._tamper(self.inner.apply(action, now), now, not conduct.answers)
        return self._tamper(self.inner.apply(action, now), now)

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Take data from the network, and pass on what it likes."""
        return self._tamper(self.inner.forward(burst, now), now)

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Handle what is due, what was held back included."""
        outcome, silences = self.inner.wake(now)
        outcome = self._tamper(outcome, now)
        due = [transmit for at, transmit in self._held if at <= now]
        self._held = [held for held in self._held if held[0] > now]
        outcome.transmits[:0] = due
        return outcome, silences

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        alarms = [(at, "held back") for at, _ in self._held[:1]]
        inner = self.inner.next_alarm()
        return min([*alarms, *([] if inner is None else [inner])], default=None)

    def _tamper(self, outcome: Outcome, now: Instant, drops: bool = True) -> Outcome:
        conduct = self.conduct
        if now < conduct.since:
            return outcome
        kept: list[Transmit] = []
        for transmit in outcome.transmits:
            if conduct.mute and transmit.data[OPTION] == HEARTBEAT:
                continue
            if transmit.data[OPTION] != DATA or len(transmit.data) <= HEADER_BYTES:
                kept.append(transmit)
                continue
            forgeries = self._forgeries(transmit, now) if conduct.forges else []
            for segment in split(transmit.data, transmit.stride):
                if drops and conduct.drops and self._is_withheld(segment):
                    conduct.withheld += 1
                else:
                    kept.append(Transmit(bytes(segment), len(segment), transmit.to))
            kept += forgeries
        if conduct.delay:
            self._held += [(now + conduct.delay, transmit) for transmit in kept]
            kept = []
        outcome.transmits[:] = kept
        return outcome

    def _is_withheld(self, segment: memoryview) -> bool:
        number = int.from_bytes(segment[_SEQUENCE])
        return (number * 2654435761 + self._salt) % 1000003 < self.conduct.drops * 1000003

    def _forgeries(self, transmit: Transmit, now: Instant) -> list[Transmit]:
        made: list[Transmit] = []
        conduct = self.conduct
        for segment in split(transmit.data, transmit.stride):
            if self._forger is None or self._rng.random() >= conduct.forges:
                continue
            for forged in self._forger.forge(bytes(segment), conduct.kinds):
                made.append(Transmit(forged, len(forged), transmit.to))
        if made and conduct.first_forgery is None:
            conduct.first_forgery = now
        conduct.forged += len(made)
        return made


class Liar:
    """A role that boasts: in every message it says of itself what draws others to it."""

    def __init__(self, inner: Host, conduct: Conduct) -> None:
        self.inner = inner
        self.conduct = conduct

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input as the real role does."""
        return self._boast(self.inner.receive(message, sender, now), now)

    def wake(self, now: Instant) -> list[Action]:
        """Handle every alarm that is due."""
        return self._boast(self.inner.wake(now), now)

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        return self.inner.next_alarm()

    def view(self, now: Instant) -> View:
        """Show the truth: it is for the test."""
        return self.inner.view(now)  # type: ignore[attr-defined, no-any-return]

    def _boast(self, actions: list[Action], now: Instant) -> list[Action]:
        if not self.conduct.lies or now < self.conduct.since:
            return actions
        return [
            replace(action, message=boasting(action.message))
            if isinstance(action, Send)
            else action
            for action in actions
        ]


def boasting(message: Message) -> Message:
    """Say the best of oneself that the format holds, and links of no delay to everybody."""
    changes: dict[str, FieldValue] = {}
    field_name = OWN_RECORD.get(type(message))
    if field_name is not None:
        record: HostRecord = getattr(message, field_name)
        # An orphan does not say that it has a place: it would not be asked for one.
        changes[field_name] = replace(
            record,
            out_degree=BOAST,
            free_slots=BOAST,
            uptime=86400,
            delay_us=1,
            flags=int(record.flags | HostFlag.OFFERS) & ~HostFlag.ORDINARY,
        )
    if isinstance(message, RefreshRequest) and message.links:
        changes["links"] = tuple(LinkRecord(link.neighbour, 1) for link in message.links)
    return replace(message, **changes) if changes else message


class HostilePoint(RendezvousPoint):
    """A rendezvous point that names nobody but its friends (`friends`: where they are).

    With `source`, it also says that the source is there.
    """

    friends: tuple[Endpoint, ...] = ()
    source: Endpoint | None = None

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Answer as a rendezvous point does, but with its friends."""
        actions = super().receive(message, sender, now)
        return [
            replace(action, message=self._twisted(action.message))
            if isinstance(action, Send)
            else action
            for action in actions
        ]

    def _twisted(self, message: Message) -> Message:
        if isinstance(message, PingRpResponse) and message.host:
            return replace(message, super_nodes=self._known(self.friends))
        if isinstance(message, SourceResponse) and self.source is not None:
            return replace(message, origin=self._known((self.source,))[0])
        return message

    def _known(self, endpoints: tuple[Endpoint, ...]) -> tuple[HostRecord, ...]:
        records = []
        for session in self.sessions.values():
            for endpoint in endpoints:
                host = session.by_endpoint.get(endpoint)
                if host is not None:
                    held = session.hosts[host].record
                    flags = held.flags | HostFlag.SUPER_NODE
                    records.append(
                        replace(held, out_degree=BOAST, free_slots=64, depth=1, flags=int(flags))
                    )
        return tuple(records[: self.parameters.candidates])


class HostileSecured(Secured):
    """Certified hosts, of which those with a conduct misbehave; `made` holds what was made."""

    def __init__(
        self,
        seed: int,
        session: str,
        conducts: dict[str, Conduct] | None = None,
        *,
        shared: bool = False,
        grant: Callable[[str, str], Capability] | None = None,
        most_children: int = 65535,
    ) -> None:
        super().__init__(seed, session, shared=shared, grant=grant, most_children=most_children)
        self.conducts = {} if conducts is None else conducts
        self.made: dict[str, HostileForwarder] = {}

    def life(
        self,
        kind: str,
        setup: HostSetup,
        parameters: Parameters,
        rng: Random,
        life: int,
        now: Instant,
    ) -> Life:
        """Make what runs on a machine, and put the wrappers around it."""
        real = super().life(kind, setup, parameters, rng, life, now)
        conduct = self.conducts.get(setup.name)
        if conduct is None:
            return real
        assert isinstance(real.forwarder, Forwarder)
        guard = guard_of(real.forwarder)
        dice = self.random("hostile", setup.name, life)
        forger = None
        if guard is not None and not self.shared:
            held = self.credential(setup.name, kind)
            forger = Forger(guard, Signer(held.signing_secret), dice, held.certificate)
        forwarder = HostileForwarder(real.forwarder, conduct, dice, forger)
        self.made[setup.name] = forwarder
        return real._replace(host=Liar(real.host, conduct), forwarder=forwarder)


def guard_of(forwarder: Forwarder) -> DataGuard | None:
    """Return what a forwarder believes by: an insider may use its own keys as it likes."""
    return forwarder._guard
