"""Forwarders in a tree, in virtual time: links that lose, repeat and reorder, and no roles.

Plays the role's only part in repair: whoever is allowed to ask is answered by a `Replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from dmmp.actions import ANY_ORIGIN, Branch, ForwardingEntry, Install, Replay
from dmmp.forwarding.burst import Burst, Outcome, Silent
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages import decode
from dmmp.messages.data import DataRequest
from dmmp.messages.header import HEADER_BYTES, OPTION_OFFSET
from dmmp.messages.local import LocalMessage
from dmmp.parameters import Parameters
from dmmp.security.data_guard import DataGuard
from dmmp.security.gate import goes_sealed
from dmmp.types import NO_HOST, Endpoint, HostId
from tests.forwarding.build import GROUP, ORIGIN, SESSION, SOURCE, TREE, WANT, endpoint


@dataclass
class Links:
    """What links do to datagrams: one way takes `delay` seconds and up to `jitter` more."""

    loss: float = 0.0
    repeat: float = 0.0
    delay: float = 0.01
    jitter: float = 0.0


@dataclass
class Host:
    """One host: its forwarder, who it hangs below, and what its programs got, in order."""

    at: Endpoint
    forwarder: Forwarder
    parent: Endpoint | None
    repairers: tuple[Endpoint, ...] = ()
    children: list[Endpoint] = field(default_factory=list)
    got: list[int] = field(default_factory=list)
    alive: bool = True
    silences: list[tuple[float, Silent]] = field(default_factory=list)


def through_gates(datagram: bytes, sender: Endpoint) -> Burst:
    """Make what a forwarder gets of a datagram that two gates handled."""
    sealed = len(datagram) >= HEADER_BYTES and goes_sealed(datagram)
    return Burst(datagram, max(1, len(datagram)), sender, sealed)


class Overlay:
    """A source and the hosts below it."""

    def __init__(
        self,
        rng: Random,
        links: Links,
        parameters: Parameters | None = None,
        ordered: float | None = None,
        guards: Callable[[bool], DataGuard] | None = None,
    ) -> None:
        """Make the source; `guards` makes a host's guard, told whether it is the source."""
        self.now = 0.0
        self.notes: list[tuple[Host, LocalMessage]] = []
        self.on_send: Callable[[bytes], object] = lambda data: None
        self._guards = guards
        self.lost = 0
        self.sent = 0
        self.hosts: dict[Endpoint, Host] = {}
        self.links = links
        self._rng = rng
        self._parameters = parameters or Parameters()
        self._ordered = ordered
        self.queue: list[tuple[float, int, Endpoint, Endpoint, bytes]] = []
        self._count = 0
        self.source = self.add(0, None)

    def add(self, number: int, parent: Host | None) -> Host:
        """Add a host below another; the first is the source."""
        host = Host(
            endpoint(number),
            Forwarder(
                self._parameters,
                ordered=self._ordered,
                rng=Random(self._rng.getrandbits(32)),
                guard=None if self._guards is None else self._guards(parent is None),
            ),
            parent.at if parent else None,
        )
        self.hosts[host.at] = host
        if parent is not None:
            parent.children.append(host.at)
            self.install(parent)
        self.install(host)
        return host

    def install(self, host: Host, upstream: Sequence[Endpoint] | None = None) -> None:
        """Install a host's entry."""
        if upstream is None:
            upstream = () if host.parent is None else (host.parent,)
        entry = ForwardingEntry(
            SESSION,
            ANY_ORIGIN,
            TREE,
            tuple(upstream),
            tuple(Branch(child, WANT) for child in host.children),
            () if host.parent is None else WANT,
            host.repairers,
            HostId(ORIGIN if host.parent is None else 1000 + host.at.port),
            # Three round trips, as a role would measure them.
            6 * self.links.delay + 3 * self.links.jitter,
        )
        self.carry_out(host, host.forwarder.apply(Install(entry), self.now))

    def originate(self, count: int = 1) -> None:
        """Let the source send packets with the next numbers."""
        packets = [(self.sent + n).to_bytes(8, "big") for n in range(1, count + 1)]
        self.sent += count
        forwarder = self.source.forwarder
        outcome = forwarder.originate(SESSION, ORIGIN, TREE, GROUP, SOURCE, packets, self.now)
        self.carry_out(self.source, outcome)

    def run(self, until: float) -> None:
        """Let time pass."""
        while True:
            alarms = [
                (alarm[0], n, host)
                for n, host in enumerate(self.hosts.values())
                if host.alive and (alarm := host.forwarder.next_alarm()) is not None
            ]
            woken = min(alarms, default=(float("inf"), 0, self.source))
            at = min(woken[0], self.queue[0][0] if self.queue else float("inf"))
            if at > until:
                break
            self.now = max(self.now, at)
            if self.queue and self.queue[0][0] <= woken[0]:
                _, _, sender, to, data = heappop(self.queue)
                self._arrive(sender, self.hosts[to], data)
            else:
                host = woken[2]
                outcome, silences = host.forwarder.wake(self.now)
                host.silences += [(self.now, silent) for silent in silences]
                self.carry_out(host, outcome)
        self.now = until

    def stream(self, count: int, gap: float, settle: float = 5.0) -> None:
        """Let the source send packets, the first of them without loss, and wait for the rest."""
        loss, self.links.loss = self.links.loss, 0.0
        self.originate()
        self.run(self.now + 0.6)
        self.links.loss = loss
        for _ in range(count):
            self.originate()
            self.run(self.now + gap)
        self.run(self.now + settle)

    def missed(self) -> dict[Endpoint, list[int]]:
        """List what living hosts below the source lack, or have twice; empty if all is well."""
        expected = list(range(1, self.sent + 1))
        found = {}
        for host in self.hosts.values():
            if host.parent is not None and host.alive and sorted(host.got) != expected:
                found[host.at] = sorted(set(expected) ^ set(host.got))
        return found

    def kill(self, host: Host) -> None:
        """Let a host die, and its children go to its parent: what roles do about it."""
        host.alive = False
        assert host.parent is not None
        parent = self.hosts[host.parent]
        parent.children.remove(host.at)
        for at in host.children:
            child = self.hosts[at]
            child.parent = parent.at
            child.repairers = ()
            self.install(child)
            self.run(self.now + self.links.delay)
            parent.children.append(at)
            self.install(parent)

    def replayed(self) -> int:
        """Count the packets that were sent because somebody asked."""
        return sum(host.forwarder.counters.replayed for host in self.hosts.values())

    def carry_out(self, host: Host, outcome: Outcome) -> None:
        """Do what a host's forwarder wants."""
        for delivery in outcome.deliveries:
            for at in range(0, len(delivery.data), delivery.stride):
                one = bytes(delivery.data[at : at + delivery.stride])
                host.got.append(int.from_bytes(one[HEADER_BYTES:], "big"))
        self.notes += [(host, note) for note in outcome.notes]
        for data, stride, to in outcome.transmits:
            for at in range(0, len(data), stride):
                self._send(host.at, to, bytes(data[at : at + stride]))

    def _send(self, sender: Endpoint, to: Endpoint, data: bytes) -> None:
        links, rng = self.links, self._rng
        self.on_send(data)
        for _ in range(2 if rng.random() < links.repeat else 1):
            if rng.random() < links.loss:
                self.lost += data[OPTION_OFFSET + 1] == 0
                continue
            self._count += 1
            at = self.now + links.delay + rng.random() * links.jitter
            heappush(self.queue, (at, self._count, sender, to, data))

    def _arrive(self, sender: Endpoint, host: Host, data: bytes) -> None:
        if not host.alive:
            return
        if data[OPTION_OFFSET : OPTION_OFFSET + 2] <= b"\0\2":
            self.carry_out(host, host.forwarder.forward(through_gates(data, sender), self.now))
            return
        asked = decode(data)
        assert isinstance(asked, DataRequest) and (asked.source != NO_HOST)
        replay = Replay(SESSION, asked.origin, asked.channel, asked.base, asked.bitmap, sender)
        self.carry_out(host, host.forwarder.apply(replay, self.now))
