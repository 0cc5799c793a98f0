"""A small event loop for roles of other protocols: delays from points in a square, hosts that fail,
and counts of what each host said and got. No loss."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from dmmp.lab.case import Case
from dmmp.lab.frame import HEADERS, Data, Deliver, Message, Relative, Send
from dmmp.lab.relatives import Factory

SIDE = 0.08
"""Seconds across the square of the hosts."""


class SmallArena:
    """Hosts 0..n-1 that start one by one over `joining` seconds; 0 is source and rendezvous."""

    def __init__(
        self, factory: Factory, hosts: int, degree: int, seed: int = 1, joining: float = 30.0
    ) -> None:
        places = Random(f"{seed}-places")
        self.places = [(places.random() * SIDE, places.random() * SIDE) for _ in range(hosts)]
        self.case = Case("", "square", hosts, seed)
        self.factory, self.degree, self.seed = factory, degree, seed
        self.roles: dict[int, Relative] = {}
        self.now, self.number, self._count = 0.0, 0, 0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.alarms: dict[int, float] = {}
        self.got: dict[int, list[tuple[int, float]]] = {host: [] for host in range(hosts)}
        self.sent: dict[int, float] = {}
        self.octets = [0] * hosts
        self.copies: dict[int, dict[int, int]] = {}
        for host in range(hosts):
            self.at(joining * host / hosts, partial(self.start, host))

    def delay(self, a: int, b: int) -> float:
        (x, y), (v, w) = self.places[a], self.places[b]
        return 0.001 + float(((x - v) ** 2 + (y - w) ** 2) ** 0.5)

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self.events, (when, self._count, what))

    def start(self, host: int) -> None:
        rng = Random(f"{self.seed}-{host}-{self.now}")
        self.alarms.pop(host, None)
        self.roles[host] = self.factory(host, 0, [0], self.degree, rng, self.case)
        self.act(host, self.roles[host].wake(self.now))

    def fail(self, host: int) -> None:
        del self.roles[host]

    def act(self, host: int, actions: Sequence[Send | Deliver]) -> None:
        for action in actions:
            if isinstance(action, Deliver):
                self.got[host].append((action.number, self.now))
                continue
            to, message = action
            assert to != host, f"{host} speaks to itself"
            if isinstance(message, Data):
                copies = self.copies.setdefault(message.number, {})
                copies[host] = copies.get(host, 0) + 1
            else:
                self.octets[host] += message.octets + HEADERS
            self.at(self.now + self.delay(host, to), self._arrival(host, to, message))
        self._set_alarm(host)

    def _arrival(self, sender: int, to: int, message: Message) -> Callable[[], None]:
        def arrive() -> None:
            role = self.roles.get(to)
            if role is not None:
                self.act(to, role.receive(message, sender, self.now))

        return arrive

    def _set_alarm(self, host: int) -> None:
        when = self.roles[host].next_alarm()
        if when is None or self.alarms.get(host) == when:
            return
        self.alarms[host] = when
        role = self.roles[host]

        def ring() -> None:
            if self.roles.get(host) is role and self.alarms.get(host) == when:
                del self.alarms[host]
                self.act(host, role.wake(self.now))

        self.at(max(when, self.now), ring)

    def run(self, until: float, packets_every: float | None = None) -> None:
        """Run to that instant, with a packet of 100 bytes from the source every so often."""
        if packets_every is not None:
            for k in range(int((until - self.now) / packets_every)):
                self.at(self.now + k * packets_every, self._originate)
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.now = until

    def _originate(self) -> None:
        self.number += 1
        self.sent[self.number] = self.now
        self.act(0, self.roles[0].originate(Data(self.number, 100), self.now))

    def delivery(self, after: float = 0.0, before: float = float("inf")) -> float:
        """The share of packets sent in that time that hosts up now, the source apart, have got."""
        numbers = {number for number, at in self.sent.items() if after <= at < before}
        shares = [
            len(numbers & {number for number, _ in self.got[host]}) / len(numbers)
            for host in self.roles
            if host
        ]
        return sum(shares) / len(shares)

    def duplicates(self) -> int:
        return sum(len(got) - len({number for number, _ in got}) for got in self.got.values())

    def stretch(self) -> float:
        """Mean delay of packets from the source over the mean direct delay."""
        delays = [
            (at - self.sent[number], self.delay(0, host))
            for host, got in self.got.items()
            for number, at in got
            if host
        ]
        return sum(over for over, _ in delays) / sum(direct for _, direct in delays)

    def degrees(self) -> dict[int, int]:
        """The most copies of one packet that each host sent, hosts that sent none apart."""
        most: dict[int, int] = {}
        for copies in self.copies.values():
            for host, count in copies.items():
                most[host] = max(most.get(host, 0), count)
        return most

    def depth(self, host: int) -> int:
        """Steps by `parent` to the source; an assertion if they lead nowhere or in a circle."""
        steps, at = 0, host
        while at:
            parent = self.roles[at].parent
            assert parent is not None, f"{at} has no parent"
            at, steps = parent, steps + 1
            assert steps <= len(self.roles), f"circle at {host}"
        return steps

    def inner(self) -> list[int]:
        """Hosts other than the source that have children, the one with most first."""
        hosts = [host for host, role in self.roles.items() if host and role.children]
        return sorted(hosts, key=lambda host: (-len(self.roles[host].children), host))
