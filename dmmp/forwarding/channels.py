"""Channels: one (group, IP source address) stream of an origin each (Decision 8), with their plans.

A channel is known by its heartbeat, or is this host's own. Here is what is remembered of it; who
wants it is the table's, what happens to its packets the forwarder's.
"""

from __future__ import annotations

from typing import NamedTuple

from dmmp.forwarding.cache import Key
from dmmp.forwarding.counters import GroupCount
from dmmp.forwarding.ordered import Order
from dmmp.forwarding.pace import Pace
from dmmp.forwarding.proofs import Proofs
from dmmp.forwarding.repair import Gaps
from dmmp.forwarding.wants import Wants
from dmmp.forwarding.window import SEQUENCE_MASK, Window
from dmmp.messages.data import Heartbeat
from dmmp.parameters import Parameters
from dmmp.security.manifest import Manifest
from dmmp.types import Endpoint, Instant, IpAddress, serial_newer

ORIGIN_MASK = 0xFFFFFFFF
"""Part of an origin key that is the origin; the rest is the session."""


MOST_PLANS = 8
"""Plans that are kept of a channel: one for each sender and version of the tree."""


class Plan(NamedTuple):
    """What to do with a channel's packets from one sender, worked out once for each entry.

    `word` is the header's first word that needs no further look; `deliver` tells whether this
    host's programs want them.
    """

    sender: Endpoint
    word: int
    targets: tuple[Endpoint, ...]
    deliver: bool
    pace: Pace


class Batch:
    """Sealed packets that wait for a common signature: whole datagrams that count up from `first`.

    `begin` is the first number taken for it: of its manifest, of the last one's second copy, then
    of the packets. `due` is when it has waited long enough.
    """

    __slots__ = ("begin", "datagrams", "due", "first")

    def __init__(self, begin: int, first: int, due: Instant) -> None:
        self.begin = begin
        self.first = first
        self.due = due
        self.datagrams: list[bytes] = []


class Channel:
    """What every channel has, whoever sends it.

    `wanting` are the branches that want it, in order, and `delivers` tells of this host's programs:
    the table keeps both. `live_from` holds, for a branch, the first number sent there as it came:
    what is older, a newcomer may ask for. `heartbeat` is the last announcement, as it goes out.
    `answered` holds the last request of each host, (base, bitmap, when).
    """

    __slots__ = (
        "answered",
        "delivered",
        "delivers",
        "duplicates",
        "forwarded",
        "group",
        "heartbeat",
        "key",
        "live_from",
        "octets",
        "plans",
        "received",
        "source",
        "wanting",
    )

    def __init__(self, key: Key, group: IpAddress, source: IpAddress) -> None:
        self.key = key
        self.group = group
        self.source = source
        self.heartbeat = b""
        self.wanting: dict[Endpoint, None] = {}
        self.delivers = False
        self.plans: list[Plan] = []
        self.live_from: dict[Endpoint, int] = {}
        self.answered: dict[Endpoint, tuple[int, bytes, Instant]] = {}
        self.received = 0
        self.forwarded = 0
        self.delivered = 0
        self.duplicates = 0
        self.octets = 0

    @property
    def lost(self) -> int:
        """Packets known to be missing."""
        return 0

    def count(self) -> GroupCount:
        """Return the channel's counts by the names of `GROUP_FIELDS`."""
        return {
            "data_received": self.received,
            "data_forwarded": self.forwarded,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "lost": self.lost,
            "bytes": self.octets,
        }

    def pause(self) -> None:
        """Take note that nobody wants it at present."""

    def plan(self, sender: Endpoint, word: int, pace: Pace, first: int) -> Plan:
        """Return the plan for packets of this sender, made now if there is none.

        `first` is the number of the packet at hand: the first that new branches get as it comes.
        """
        for plan in self.plans:
            if plan.sender == sender and plan.word == word:
                return plan
        if len(self.plans) >= MOST_PLANS:
            self.plans.clear()
        plan = self.single_plan(sender, word, pace, first)
        self.plans.append(plan)
        return plan

    def single_plan(self, sender: Endpoint, word: int, pace: Pace, first: int) -> Plan:
        """Make a plan that is not kept, for a sender who must be looked at closely each time."""
        self._note_live(first)
        targets = tuple(endpoint for endpoint in self.wanting if endpoint != sender)
        return Plan(sender, word, targets, self.delivers, pace)

    def replan(self) -> None:
        """Forget what was worked out from the entry: it changed."""
        self.plans.clear()

    def _note_live(self, first: int) -> None:
        for endpoint in self.wanting:
            self.live_from.setdefault(endpoint, first)


class Announced(Channel):
    """A channel of another host, as its heartbeats tell.

    `tail_due` is when what a heartbeat told of, and is not here, counts as a gap. `order` is there
    if programs are to get their packets in order. Until `sounded_until` others than upstream may
    send what comes next: they were asked for it.
    """

    __slots__ = (
        "_announced",
        "_counts",
        "_heard_at",
        "_sequence",
        "gaps",
        "order",
        "proofs",
        "sounded_until",
        "tail_due",
        "wants",
        "window",
    )

    def __init__(
        self,
        key: Key,
        message: Heartbeat,
        datagram: bytes,
        parameters: Parameters,
        now: Instant,
        window: Window | None = None,
    ) -> None:
        super().__init__(key, message.group, message.origin_address)
        self.window = window or Window()
        self.gaps = Gaps(self.window, parameters)
        self.wants = Wants(parameters.repair_wants, parameters.cache_seconds)
        self.order: Order | None = None
        self.proofs: Proofs | None = None
        self.tail_due: Instant | None = None
        self.sounded_until: Instant = float("-inf")
        self._announced, self._counts = 0, False
        self.refresh(message, datagram, now)

    def prove_by(self, proofs: Proofs) -> None:
        """Have packets proven: what waits for that is not missing yet."""
        self.proofs = proofs
        self.gaps.unproven = proofs.unproven

    @property
    def lost(self) -> int:
        """Packets known to be missing, those at the end included that only a heartbeat told of."""
        return self.window.lost + self.tail

    @property
    def tail(self) -> int:
        """Packets at the end that a heartbeat told of and that are not here."""
        return self.window.tail(self._announced) if self._counts else 0

    @property
    def complete(self) -> bool:
        """Tell whether the last heartbeat told of nothing that is ahead of what came."""
        return bool(self._counts) and self.window.settled and self._announced == self.window.highest

    @property
    def wanted(self) -> bool:
        """Tell whether any branch or program wants the channel."""
        return self.delivers or bool(self.wanting)

    def take_beginning(self) -> None:
        """Know where the numbers begin, or go on after a pause: the first may be lost, too."""
        if self.wanted and not self._counts:
            self.window.begin_after(self._announced)
        elif self.wanted:
            self.window.go_on_after(self._announced)

    def take_tail(self) -> None:
        """Count the end that did not come as a gap."""
        self.tail_due = None
        if self._counts:
            self.window.expect(self._announced)

    @property
    def active_at(self) -> Instant:
        """When it was last heard of."""
        return max(self._heard_at, self.window.accepted_at)

    def is_news(self, sequence: int, now: Instant, quiet: float) -> bool:
        """Tell whether a heartbeat of this number is to be believed.

        It must be newer than the last, or there was none for `quiet` seconds: then the origin has
        begun anew, or a new parent repeats the last one.
        """
        return serial_newer(sequence, self._sequence, 32) or now - self._heard_at > quiet

    def is_repeated(self, sequence: int) -> bool:
        """Tell whether this is the number of the heartbeat taken last."""
        return sequence == self._sequence

    def begin_late(self, message: Heartbeat) -> bool:
        """Look, ahead of `refresh`, whether nothing came of all that was sent since the last one.

        Then it was withheld, or lost: it is missing.
        """
        due = self._counts and self.wanted
        return due and self.window.begin_late(self._announced, message.highest)

    def refresh(self, message: Heartbeat, datagram: bytes, now: Instant) -> None:
        """Take in a heartbeat."""
        self.heartbeat = datagram
        self._sequence = message.sequence
        self._heard_at = now
        self._announced = message.highest
        self._counts = message.started != 0

    def single_plan(self, sender: Endpoint, word: int, pace: Pace, first: int) -> Plan:
        """Make a plan that is not kept.

        A former parent may repeat what was passed on before a branch came: the branch has not got
        that, so what it gets as it comes begins after the highest number so far.
        """
        window = self.window
        if window.begun and not serial_newer(first, window.highest, 32):
            first = (window.highest + 1) & SEQUENCE_MASK
        return super().single_plan(sender, word, pace, first)

    def pause(self) -> None:
        """Take note that nobody wants it at present."""
        self.window.pause()
        self.gaps.clear()
        self.tail_due = None
        if self.order is not None:
            self.order.flush()


class Own(Channel):
    """A channel of this host: `next_sequence` numbers its packets.

    `beats` counts its heartbeats, the last was at `announced_at`, the next is `due`. `carries` says
    that no heartbeat followed the last data after a moment of quiet; once one did, `idle_pause` is
    how long until the next. A branch wanted it last at `wanted_at`.
    """

    __slots__ = (
        "_targets",
        "announced_at",
        "batch",
        "beats",
        "carries",
        "copy",
        "copy_due",
        "due",
        "has_sent",
        "idle_pause",
        "listed",
        "next_sequence",
        "signed_at",
        "tree_version",
        "used_at",
        "wanted_at",
    )

    def __init__(
        self, key: Key, group: IpAddress, source: IpAddress, now: Instant, first: int = 1
    ) -> None:
        super().__init__(key, group, source)
        self.next_sequence = first
        self.batch: Batch | None = None
        self.copy: bytes | None = None
        self.listed = Manifest(0, b"")
        self.copy_due: Instant = float("inf")
        self.signed_at: Instant = float("-inf")
        self.beats = 0
        self.tree_version = 0
        self.used_at = now
        self.wanted_at = now
        self.has_sent = False
        self.carries = False
        self.announced_at: Instant = now
        self.idle_pause = 0.0
        self.due: Instant = float("inf")
        self._targets: tuple[Endpoint, ...] | None = None

    @property
    def highest(self) -> int:
        """The number sent last: what waits for its signature is not sent yet."""
        first = self.next_sequence if self.batch is None else self.batch.begin
        return (first - 1) & SEQUENCE_MASK

    def targets(self, first: int) -> tuple[Endpoint, ...]:
        """Return the branches that get the next packet, of number `first`."""
        if self._targets is None:
            self._note_live(first)
            self._targets = tuple(self.wanting)
        return self._targets

    def replan(self) -> None:
        """Forget what was worked out from the entry: it changed."""
        self._targets = None
