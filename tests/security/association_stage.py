"""Hosts with associations on a network that loses, doubles and reorders; parties that are simple.

Time is a number, dice are seeded: a failing test repeats.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address
from random import Random
from typing import NamedTuple

from dmmp.errors import AuthenticationError
from dmmp.messages import Option
from dmmp.parameters import Parameters
from dmmp.security.associations import Associations
from dmmp.security.cookies import mac1_key
from dmmp.security.handshakes import Said, write_initiation
from dmmp.security.host import Datagram
from dmmp.security.limits import Limits
from dmmp.security.noise import Initiator, KeyPair
from dmmp.security.outcomes import Received, Unknown
from dmmp.security.peer import EVERY_CAPABILITY, Peer
from dmmp.types import Endpoint, Instant

WALL = 1_700_000_000.0


def at(number: int, port: int = 47700) -> Endpoint:
    """Make the endpoint of host `number`."""
    return Endpoint(ip_address(f"10.0.{number >> 8}.{number & 0xFF}"), port)


class SimpleParty:
    """A party whose credential is padding and its static key; it refuses the keys in `refused`."""

    def __init__(self, secret: bytes, credential_bytes: int = 380, prologue: bytes = b"p") -> None:
        self.static_secret = secret
        self.public = KeyPair(secret).public
        self.credential = self.public.rjust(credential_bytes, b"c")
        self.prologue = prologue
        self.refused: set[bytes] = set()
        self.checked: list[float] = []

    def check(self, credential: bytes, static_key: bytes, at: float) -> Peer:
        self.checked.append(at)
        if credential[-32:] != static_key or static_key in self.refused:
            raise AuthenticationError("refused")
        return Peer(
            node=sha256(static_key).digest()[:16],
            name=static_key.hex()[:8],
            capabilities=EVERY_CAPABILITY,
            out_degree=8,
            bandwidth=10_000_000,
            groups=(),
            static_key=static_key,
            signing_key=bytes(32),
            serial=1,
            not_after=2e9,
        )


class Shared:
    """What all have who hold one secret: the same key, no credential."""

    def __init__(self) -> None:
        self.static_secret = b"s" * 32
        self.credential = b""
        self.prologue = b"shared"
        self.public = KeyPair(self.static_secret).public

    def check(self, credential: bytes, static_key: bytes, at: float) -> Peer:
        if credential or static_key != self.public:
            raise AuthenticationError("another secret")
        return SimpleParty(self.static_secret).check(self.public, static_key, at)


def party(number: int) -> SimpleParty:
    """Make the party of host `number`."""
    return SimpleParty(sha256(b"host %d" % number).digest())


def table(
    number: int,
    *,
    start: int = 0,
    own: SimpleParty | Shared | None = None,
    limits: Limits | None = None,
    key_log: Callable[[str], None] | None = None,
    wall: float = WALL,
) -> Associations:
    """Make the associations of host `number`, started for the `start`-th time."""
    dice = Random(number * 1000 + start)
    chosen = own or party(number)
    return Associations(
        chosen,
        dice.randbytes,
        dice.getrandbits(64),
        wall,
        Parameters(),
        limits,
        chosen.public if isinstance(chosen, Shared) else None,
        key_log,
    )


class Sent(NamedTuple):
    """A datagram on its way, and when it was sent."""

    at: Instant
    data: bytes
    sender: Endpoint
    to: Endpoint


class Network:
    """Hosts 1, 2 … at their endpoints, and what is on its way between them.

    `delay` seconds one way, up to `jitter` more; `loss` and `doubling` are probabilities; `cut`
    says of a datagram whether it is lost. What was delivered stands in `delivered`.
    """

    def __init__(self, seed: int = 0, delay: float = 0.02, jitter: float = 0.0) -> None:
        self.dice = Random(seed)
        self.now: Instant = 100.0
        self.delay, self.jitter = delay, jitter
        self.loss = self.doubling = 0.0
        self.cut: Callable[[Sent], bool] = lambda sent: False
        self.hosts: dict[Endpoint, Associations] = {}
        self.delivered: list[tuple[Endpoint, bytes]] = []
        self.captured: list[Sent] = []
        self._coming: list[tuple[Instant, int, Sent]] = []
        self._count = 0

    def add(self, number: int, associations: Associations | None = None) -> Associations:
        """Add a host, or start it anew; who is there already learns its key, and it theirs."""
        made = associations or table(number)
        for endpoint, other in self.hosts.items():
            if endpoint != at(number):
                other.introduce(at(number), made.static_key, self.now)
                made.introduce(endpoint, other.static_key, self.now)
        self.hosts[at(number)] = made
        return made

    def say(self, sender: int, to: int, plaintext: bytes) -> None:
        """Let one host send a plaintext to another."""
        sent = self.hosts[at(sender)].send(plaintext, at(to), self.now)
        assert not isinstance(sent, Unknown)
        self.put(sent, at(sender))

    def put(self, datagrams: list[Datagram], sender: Endpoint) -> None:
        """Put datagrams on their way."""
        for data, to in datagrams:
            sent = Sent(self.now, data, sender, to)
            self.captured.append(sent)
            if self.cut(sent):
                continue
            for _ in range(2 if self.dice.random() < self.doubling else 1):
                if self.dice.random() >= self.loss:
                    arrival = self.now + self.delay + self.jitter * self.dice.random()
                    self._count += 1
                    heapq.heappush(self._coming, (arrival, self._count, sent))

    def arrive(self, data: bytes, sender: Endpoint, to: Endpoint) -> Received:
        """Let a datagram arrive now; no answer may be longer than it, nor may there be two.

        Unless it opens something: then the address is proven.
        """
        received = self.hosts[to].receive(data, sender, self.now)
        if received.peer is None:
            assert len(received.datagrams) <= 1
            assert all(len(answer.data) <= len(data) for answer in received.datagrams)
            assert not received.plaintexts
        assert all(answer.to == sender for answer in received.datagrams)
        self.delivered += [(to, plaintext) for plaintext in received.plaintexts]
        self.put(received.datagrams, to)
        return received

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (instant := self._next()) <= end:
            self.now = max(self.now, instant)
            if self._coming and self._coming[0][0] <= self.now:
                sent = heapq.heappop(self._coming)[2]
                if sent.to in self.hosts:
                    self.arrive(sent.data, sent.sender, sent.to)
                continue
            for endpoint, host in list(self.hosts.items()):
                self.put(host.wake(self.now), endpoint)
        self.now = end

    def _next(self) -> Instant:
        instants = [self._coming[0][0]] if self._coming else []
        for host in self.hosts.values():
            alarm = host.next_alarm()
            instants += [alarm[0]] if alarm is not None else []
        return min(instants, default=float("inf"))

    def got(self, number: int) -> list[bytes]:
        """Take what was delivered at a host."""
        found = [plaintext for to, plaintext in self.delivered if to == at(number)]
        self.delivered = [item for item in self.delivered if item[0] != at(number)]
        return found


def pair(seed: int = 0, delay: float = 0.02, jitter: float = 0.0) -> Network:
    """Make a network of hosts 1 and 2 that know each other's keys."""
    network = Network(seed, delay, jitter)
    network.add(1)
    network.add(2)
    return network


def associated(seed: int = 0) -> Network:
    """Make the same with an association that 1 initiated, and nothing on its way."""
    network = pair(seed)
    network.say(1, 2, b"first")
    network.run(0.5)
    assert network.got(2) == [b"first"]
    network.say(2, 1, b"answer")
    network.run(2.5)
    assert network.got(1) == [b"answer"]
    return network


HANDSHAKE = (Option.HANDSHAKE_INITIATION, Option.HANDSHAKE_RESPONSE)


def option_of(data: bytes) -> Option:
    return Option(int.from_bytes(data[2:4], "big"))


def first(network: Network, kind: Option) -> Sent:
    return next(sent for sent in network.captured if option_of(sent.data) is kind)


def state(host: Associations) -> object:
    """What may not change: the sizes of all tables, and what is done."""
    done = ("initiations_sent", "responses_sent", "cookie_replies_sent", "established")
    return host.sizes(), [host.counters[name] for name in done], host.next_alarm()


def silent(host: Associations, data: bytes, sender: Endpoint, now: float) -> None:
    """A datagram must change nothing and get no answer, but be counted once."""
    before, counted = state(host), sum(host.counters.values())
    assert host.receive(data, sender, now) == ([], [], None)
    assert state(host) == before
    assert sum(host.counters.values()) == counted + 1


def insider_initiation(
    number: int, to: bytes, timestamp: int = 1, credential: bytes | None = None, dice: int = 0
) -> bytes:
    """Make an initiation as host `number` could, whatever it claims."""
    own = party(number)
    said = Said(timestamp, number, own.credential if credential is None else credential)
    ephemeral = KeyPair(Random(dice).randbytes(32))
    noise = Initiator(KeyPair(own.static_secret), to, own.prologue, ephemeral)
    return write_initiation(noise, 77, said, mac1_key(to), None)


def asked_for_cookies() -> Network:
    """Make a pair in which host 2 asks everybody for a cookie."""
    network = Network()
    network.add(1)
    network.add(2, table(2, limits=Limits(initiations=0)))
    return network


def options(network: Network) -> list[Option]:
    """List what was sent."""
    return [option_of(sent.data) for sent in network.captured]


def is_kind(sent: Sent, kind: Option) -> bool:
    """Tell whether a datagram is of this kind."""
    return option_of(sent.data) is kind
