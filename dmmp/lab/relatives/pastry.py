"""Pastry: routing by prefix to the host whose id is nearest to a key (Rowstron and Druschel, 2001).

b = 4 and a leaf set of 16. A cell of the table keeps the nearest host that was measured for it. The
next hop is always nearer to the key by number than the host itself, so no route has a circle,
whatever the tables say. Leaf sets are refreshed each 15 s and routes each 1,200 s, as in Birrer and
Bustamante, JSAC 2007. Every hop is acknowledged, and a host that does not do so is routed around.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from dmmp.alarms import Alarms, jittered
from dmmp.lab.frame import Action, Message, Send
from dmmp.lab.relatives.parts import COUNT, DELAY, HEADER, HOST, SEQUENCE

BITS = 64
DIGIT_BITS = 4
DIGITS = BITS // DIGIT_BITS
RING = 1 << BITS
SIDE_OF_LEAVES = 8
"""Hosts of the leaf set on each side."""

LEAVES_SECONDS = 15.0
ROUTES_SECONDS = 1200.0
ENOUGH_SECONDS = 1.0
"""After so long a newcomer goes on with those who have answered."""

ANSWER_SECONDS = 4.0
HOP_SECONDS = 1.0
ROUND_TRIPS = 3
"""A hop has that many round trips to be acknowledged, and a second at least."""

HOP_TRIES = 3
RETRY_SECONDS = 4.0
SETTLE_SECONDS = 10.0
NEARER_ROUNDS = 3
"""How often a newcomer asks the nearest host it knows for nearer ones, before it joins there."""


@lru_cache(maxsize=1 << 18)
def place_of(seed: int, host: int) -> int:
    """Give a host its place on the ring; a hash, so that it need not be told."""
    return place(f"{seed}-{host}")


def place(name: str) -> int:
    """Give a host or a topic its place on the ring."""
    return int.from_bytes(blake2b(name.encode(), digest_size=BITS // 8).digest())


def shared_digits(a: int, b: int) -> int:
    """Count the digits that two places have in common from the first on."""
    return (BITS - (a ^ b).bit_length()) // DIGIT_BITS


def digit(of: int, row: int) -> int:
    """Return one digit of a place, the first is row 0."""
    return of >> (BITS - DIGIT_BITS * (row + 1)) & ((1 << DIGIT_BITS) - 1)


def apart(a: int, b: int) -> int:
    """Return the shorter way round the ring."""
    return min((a - b) % RING, (b - a) % RING)


class Ping(NamedTuple):
    """Answer at once."""

    octets: int = HEADER + SEQUENCE


class Pong(NamedTuple):
    """At once."""

    octets: int = HEADER + SEQUENCE


class WhoIsThere(NamedTuple):
    """Whom do you know? A newcomer looks for a host near to it."""

    octets: int = HEADER


class RowWanted(NamedTuple):
    """Show me that row of your table."""

    row: int
    octets: int = HEADER + 1


class Hosts(NamedTuple):
    """Hosts of my table and leaf set. `last`: you are through, my leaf set is next to yours."""

    hosts: tuple[int, ...]
    last: bool = False
    near: bool = False

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""
        return HEADER + COUNT + HOST * len(self.hosts)


class Leaves(NamedTuple):
    """I am there, and this is my leaf set."""

    hosts: tuple[int, ...]

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""
        return HEADER + COUNT + HOST * len(self.hosts)


class Announce(NamedTuple):
    """I have come, and you are that far from me."""

    delay: float
    octets: int = HEADER + DELAY


class Entry(NamedTuple):
    """Routed towards the newcomer's own place: whoever passes it on shows its rows from `row`."""

    newcomer: int
    row: int
    octets: int = HOST + 1


class Routed(NamedTuple):
    """A message on its way to a key; the receiver acknowledges this hop."""

    number: int
    key: int
    inner: Message

    @property
    def octets(self) -> int:
        """Bytes of UDP payload."""
        return HEADER + SEQUENCE + BITS // 8 + self.inner.octets


class Ack(NamedTuple):
    """That hop is made."""

    number: int
    octets: int = HEADER + SEQUENCE


class PastryAlarm(Enum):
    """What the overlay is woken for."""

    LEAVES = auto()
    ROUTES = auto()
    ANSWERS = auto()
    ENOUGH = auto()
    HOP = auto()
    JOIN = auto()


class Pastry:
    """The overlay of one host. It says what it has to through `out` and shares `alarms`."""

    def __init__(
        self,
        host: int,
        seed: int,
        rendezvous: Sequence[int],
        rng: Random,
        out: list[Action],
        alarms: Alarms,
    ) -> None:
        self.host, self._seed, self._rng = host, seed, rng
        self.ready = False
        self.place = self.place_of(host)
        self._rendezvous = [other for other in rendezvous if other != host]
        self._out, self._alarms = out, alarms
        self._delays: dict[int, float] = {}
        self._heard: dict[int, float] = {}
        self._cells: dict[tuple[int, int], int] = {}
        self._leaves: list[int] = []
        self._pinged: dict[int, float] = {}
        self._hops: dict[int, tuple[int, Routed, int]] = {}
        self._number = 0
        self._rounds = 0
        self._entering = False
        self._through = False
        self._now = 0.0

    def place_of(self, host: int) -> int:
        """Return where a host is on the ring."""
        return place_of(self._seed, host)

    @property
    def leaves(self) -> tuple[int, ...]:
        """The leaf set, in order round the ring from this host on."""
        return (*self._leaves,)

    @property
    def round_trips(self) -> dict[int, float]:
        """Seconds to the hosts in the tables and back."""
        return {host: 2 * delay for host, delay in self._delays.items()}

    @property
    def entries(self) -> int:
        """Cells filled and leaves."""
        return len(self._cells) + len(self._leaves)

    def _say(self, to: int, message: Message) -> None:
        self._out.append(Send(to, message))

    def start(self, now: float) -> None:
        """Look for a near host and join there; whoever is the only rendezvous is the first."""
        self._now = now
        self._alarms.set(PastryAlarm.LEAVES, now + LEAVES_SECONDS * self._rng.random())
        if self._rendezvous:
            self._look_for_seed()
        else:
            self._be_ready()

    def receive(self, message: Message, sender: int, now: float) -> Message | None:
        """Take a message; what was routed is returned for whoever uses the overlay."""
        self._now = now
        if sender in self._delays:
            self._heard[sender] = now
        match message:
            case Ping():
                self._say(sender, Pong())
            case Pong():
                self._on_pong(sender)
            case WhoIsThere():
                self._say(sender, Hosts((*self._known(),), near=True))
            case RowWanted():
                self._say(sender, Hosts((*self._row(message.row),)))
            case Hosts():
                self._on_hosts(message, sender)
            case Leaves():
                self._sound(h for h in (sender, *message.hosts) if self._would_be_leaf(h))
            case Announce():
                self._consider(sender, message.delay)
                if sender in self._leaves:
                    self._say(sender, Leaves((*self._leaves,)))
            case Ack():
                self._hops.pop(message.number, None)
                self._alarms.stop(PastryAlarm.HOP, message.number)
            case Routed():
                self._say(sender, Ack(message.number))
                if not isinstance(message.inner, Entry):
                    return message.inner
                self._pass_on(message.inner)
        return None

    def ring(self, alarm: PastryAlarm, key: object, now: float) -> None:
        """Do what is due."""
        self._now = now
        match alarm:
            case PastryAlarm.LEAVES:
                self._tend_leaves()
            case PastryAlarm.ROUTES:
                self._tend_routes()
            case PastryAlarm.ANSWERS:
                self._tend_pings()
            case PastryAlarm.ENOUGH:
                self._all_answered()
            case PastryAlarm.JOIN if not self.ready:
                self._look_for_seed()
            case PastryAlarm.HOP if isinstance(key, int) and key in self._hops:
                self._try_again(key)

    # Routes.

    def next_hop(self, key: int, without: int | None = None) -> int | None:
        """Return whom to send what is for the key, None if nobody known is nearer to it."""
        mine = apart(self.place, key)
        row = shared_digits(self.place, key)
        cell = self._cells.get((row, digit(key, row))) if row < DIGITS else None
        # Rarely is a longer prefix not nearer, next to the border of a cell.
        fits = cell is not None and cell != without and apart(self.place_of(cell), key) < mine
        if fits and not self._among_leaves(key):
            return cell
        nearer = ((apart(self.place_of(h), key), h) for h in self._delays if h != without)
        best = min(nearer, default=None)
        return best[1] if best is not None and best[0] < mine else None

    def _among_leaves(self, key: int) -> bool:
        if len(self._leaves) < 2 * SIDE_OF_LEAVES:
            return True
        right, left = self._leaves[SIDE_OF_LEAVES - 1], self._leaves[SIDE_OF_LEAVES]
        way = (key - self.place) % RING
        return (
            way <= (self.place_of(right) - self.place) % RING
            or way >= (self.place_of(left) - self.place) % RING
        )

    def route(self, key: int, inner: Message, now: float) -> bool:
        """Send towards a key; False if it is here already."""
        self._now = now
        hop = self.next_hop(key)
        if hop is None:
            return False
        self._hop(hop, key, inner)
        return True

    def _hop(self, hop: int, key: int, inner: Message) -> None:
        self._number += 1
        self._send_hop(hop, Routed(self._number, key, inner), 1)

    def _send_hop(self, hop: int, routed: Routed, tries: int) -> None:
        self._hops[routed.number] = (hop, routed, tries)
        self._say(hop, routed)
        patience = max(HOP_SECONDS, ROUND_TRIPS * 2 * self._delays.get(hop, 0.0))
        self._alarms.set(PastryAlarm.HOP, self._now + patience, routed.number)

    def _try_again(self, number: int) -> None:
        """Repeat a hop that was not acknowledged, and in the end go round its host."""
        hop, routed, tries = self._hops.pop(number)
        if tries < HOP_TRIES and hop in self._delays:
            self._send_hop(hop, routed, tries + 1)
            return
        self.fail(hop)
        if isinstance(routed.inner, Entry):
            self._pass_on(routed.inner)
        else:
            self.route(routed.key, routed.inner, self._now)

    # Tables.

    def _known(self) -> Iterator[int]:
        return iter(self._delays)

    def _row(self, row: int) -> Iterator[int]:
        return (host for (at, _), host in self._cells.items() if at == row)

    def _cell_of(self, host: int) -> tuple[int, int]:
        there = self.place_of(host)
        row = shared_digits(self.place, there)
        return row, digit(there, row)

    def _consider(self, host: int, delay: float) -> None:
        """Put a host that was measured where it belongs, if it does."""
        cell = self._cell_of(host)
        held = self._cells.get(cell)
        used = False
        if held is None or held == host or delay < self._delays[held]:
            self._cells[cell] = host
            used = True
        if self._would_be_leaf(host):
            self._leaves = self._nearest_by_place([*self._leaves, host])
        if used or host in self._leaves:
            self._delays[host] = delay
            self._heard[host] = self._now
        self._forget_unused()

    def _nearest_by_place(self, hosts: Sequence[int]) -> list[int]:
        after = sorted(hosts, key=lambda h: (self.place_of(h) - self.place) % RING)
        if len(after) <= 2 * SIDE_OF_LEAVES:
            return after
        return after[:SIDE_OF_LEAVES] + after[-SIDE_OF_LEAVES:]

    def _would_be_leaf(self, host: int) -> bool:
        if host == self.host or host in self._leaves:
            return False
        if len(self._leaves) < 2 * SIDE_OF_LEAVES:
            return True
        # Leaves are in order round the ring from this host on.
        after = (self.place_of(host) - self.place) % RING
        right, left = self._leaves[SIDE_OF_LEAVES - 1], self._leaves[SIDE_OF_LEAVES]
        return (
            after < (self.place_of(right) - self.place) % RING
            or after > (self.place_of(left) - self.place) % RING
        )

    def _forget_unused(self) -> None:
        used = {*self._cells.values(), *self._leaves}
        for host in [host for host in self._delays if host not in used]:
            del self._delays[host], self._heard[host]

    def fail(self, host: int) -> None:
        """Take a host out of the tables: it does not answer."""
        if host not in self._delays:
            return
        self._leaves = [leaf for leaf in self._leaves if leaf != host]
        self._cells = {cell: held for cell, held in self._cells.items() if held != host}
        del self._delays[host], self._heard[host]
        # A leaf may fill the gap: one that was not nearest before.
        for leaf in self._leaves:
            self._cells.setdefault(self._cell_of(leaf), leaf)

    # Joining.

    def _look_for_seed(self) -> None:
        self._rounds, self._entering, self._through = 0, False, False
        self._alarms.set(PastryAlarm.JOIN, self._now + jittered(self._rng, RETRY_SECONDS))
        self._say(self._rng.choice(self._rendezvous), WhoIsThere())

    def _sound(self, hosts: Iterable[int]) -> None:
        for host in hosts:
            if host != self.host and host not in self._delays and host not in self._pinged:
                self._pinged[host] = self._now
                self._say(host, Ping())
        if self._pinged:
            self._alarms.set(PastryAlarm.ANSWERS, self._now + ANSWER_SECONDS)
            self._alarms.set(PastryAlarm.ENOUGH, self._now + ENOUGH_SECONDS)

    def _on_hosts(self, message: Hosts, sender: int) -> None:
        if not self.ready:
            # There is progress, however far the others are.
            self._alarms.set(PastryAlarm.JOIN, self._now + 2 * RETRY_SECONDS)
        self._sound((sender, *message.hosts))
        self._through = self._through or (message.last and self._entering)
        if not self._pinged:
            self._all_answered()

    def _on_pong(self, sender: int) -> None:
        sent = self._pinged.pop(sender, None)
        if sent is None:
            return
        known = sender in self._delays
        self._consider(sender, (self._now - sent) / 2)
        if self.ready and not known and sender in self._delays:
            # It was found after the announcement, and may not have found this host.
            self._say(sender, Announce(self._delays[sender]))
        if not self._pinged:
            self._all_answered()

    def _tend_pings(self) -> None:
        before = self._now - ANSWER_SECONDS + 1e-9
        for host in [host for host, sent in self._pinged.items() if sent <= before]:
            del self._pinged[host]
            self.fail(host)
        if self._pinged:
            self._alarms.set(PastryAlarm.ANSWERS, min(self._pinged.values()) + ANSWER_SECONDS)
        else:
            self._all_answered()

    def _all_answered(self) -> None:
        self._alarms.stop(PastryAlarm.ANSWERS)
        if self.ready or not self._delays:
            return
        if self._through:
            self._be_ready()
        elif not self._entering:
            nearest = min(self._delays, key=lambda host: (self._delays[host], host))
            self._rounds += 1
            if self._rounds < NEARER_ROUNDS:
                self._say(nearest, WhoIsThere())
                return
            self._entering = True
            self._hop(nearest, self.place, Entry(self.host, 0))

    def _pass_on(self, entry: Entry) -> None:
        """Show a newcomer what is of use to it, and pass its entry on towards its place."""
        there = self.place_of(entry.newcomer)
        shared = shared_digits(self.place, there)
        rows = [host for row in range(entry.row, shared + 1) for host in self._row(row)]
        hop = self.next_hop(there, without=entry.newcomer)
        shown = rows if hop is not None else [*rows, *self._leaves]
        hosts = dict.fromkeys(host for host in shown if host != entry.newcomer)
        self._say(entry.newcomer, Hosts((*hosts,), last=hop is None))
        if hop is not None:
            self._hop(hop, there, entry._replace(row=max(entry.row, shared)))

    def _be_ready(self) -> None:
        self.ready = True
        self._alarms.stop(PastryAlarm.JOIN)
        for host, delay in self._delays.items():
            self._say(host, Announce(delay))
        # The second stage of joining: compare with the rows of those that were found.
        soon = jittered(self._rng, SETTLE_SECONDS)
        self._alarms.set(PastryAlarm.ROUTES, self._now + soon)

    # Upkeep.

    def _tend_leaves(self) -> None:
        self._alarms.set(PastryAlarm.LEAVES, self._now + jittered(self._rng, LEAVES_SECONDS, 0.1))
        if not self.ready:
            return
        mine = Leaves((*self._leaves,))
        for leaf in self._leaves:
            if self._now - self._heard[leaf] > 2 * LEAVES_SECONDS and leaf not in self._pinged:
                self._pinged[leaf] = self._now
                self._say(leaf, Ping())
                self._alarms.set(PastryAlarm.ANSWERS, self._now + ANSWER_SECONDS)
            else:
                self._say(leaf, mine)

    def _tend_routes(self) -> None:
        self._alarms.set(PastryAlarm.ROUTES, self._now + jittered(self._rng, ROUTES_SECONDS))
        for row in sorted({row for row, _ in self._cells}):
            self._say(self._rng.choice([*self._row(row)]), RowWanted(row))
