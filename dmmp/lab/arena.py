"""Where the relatives run: one loop of events under the same network, failures and packets for all.

What is counted stands in `score`. Time is float seconds; a run with the same case gives the same
events in the same order, for ties are broken by the order in which things were scheduled.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dmmp.errors import UsageError
from dmmp.lab.case import Case, Measured
from dmmp.lab.constructions import setting
from dmmp.lab.failures import CHURNS, Plan
from dmmp.lab.frame import HEADERS, Action, Data, Deliver, Relative
from dmmp.lab.metrics import tree_figures
from dmmp.lab.relatives import FACTORIES, Factory
from dmmp.lab.score import WINDOW, Score
from dmmp.lab.uplinks import uplink_rates

SOURCE: Final = 0
"""The host that speaks; it is the rendezvous too, and never fails."""

PERIOD: Final = 0.1
"""Seconds between two packets of the stream."""

OCTETS: Final = 100
"""Of a packet, unless the case has the option `octets`: Birrer and Bustamante, NWU-CS-04-36."""

QUEUE_SECONDS: Final = 1.0
"""What waits longer than this for a limited uplink is dropped."""

MOST_IN_LISTS: Final = 1_500
"""Hosts up to which the delays are lists of floats, 32 bytes each."""

LINK_FIGURES: Final = ("stress", "cost", "hosts_", "over_degree", "multicast")
"""How the names of figures begin that are taken from the tree at the end."""

_CHANGE, _PACKET, _MEASURE = -1, -2, -3
"""In place of a host in the heap: what happens to the run, not to a host."""

Delays = Sequence[Sequence[float]]
"""One way from host to host, in seconds."""

Event = tuple[float, int, int, Any, int]
"""When, sequence, host, message or None for an alarm, sender or incarnation."""


class Arena:
    """One run of a relative.

    `limits` are uplinks in bit/s by host, None for unlimited ones; what `notice` seconds after a
    failure is told to everybody who has a method `lost(host, now)` stands for the detection at
    once of simulators that have it, None for what the protocol finds out by itself.
    """

    def __init__(
        self,
        case: Case,
        factory: Factory,
        delays: Delays,
        plan: Plan,
        *,
        degrees: Sequence[int] | None = None,
        limits: Sequence[float] | None = None,
        notice: float | None = None,
    ) -> None:
        self._case, self._factory, self._plan = case, factory, plan
        self.delays = delays
        self._degrees = degrees or [4] * case.hosts
        self._limits, self._notice = limits, notice
        self.relatives: list[Relative | None] = [None] * case.hosts
        self._incarnations = [0] * case.hosts
        self._alarms = [float("inf")] * case.hosts
        self._free = [0.0] * case.hosts
        self._count = 0
        self._losses = Random(f"{case.seed} losses").random if case.loss else None
        octets = int(case.option("octets", str(OCTETS)))
        times = round((plan.until - plan.stream_from) / PERIOD)
        self.sent_at = [plan.stream_from + number * PERIOD for number in range(times)]
        self._octets = octets
        window = float(case.option("window", str(WINDOW)))
        self.score = Score(case.hosts, self.sent_at, plan, window)
        self._heap: list[Event] = []
        self.events = 0

    def play(self) -> Score:
        """Run from the beginning to the end of the plan."""
        for change in self._plan.changes:
            self._push(change.time, _CHANGE, change.up, change.host)
        for number, at in enumerate(self.sent_at):
            self._push(at, _PACKET, None, number)
        self._push(self._plan.measured_from, _MEASURE, None, 0)
        heapify(self._heap)
        collects = gc.isenabled()
        # Nearly everything that is allocated here is freed by its count: looking for circles costs
        # a fifth of the time.
        gc.disable()
        try:
            self._loop(self._plan.until)
        finally:
            if collects:
                gc.enable()
        self.score.close(self.relatives, self._plan.until)
        return self.score

    def _push(self, at: float, host: int, message: Any, sender: int) -> None:
        self._count += 1
        self._heap.append((at, self._count, host, message, sender))

    def _loop(self, until: float) -> None:
        heap, relatives, score = self._heap, self.relatives, self.score
        alarms, arrival = self._alarms, score.arrival
        count = 0
        while heap:
            now, _, host, message, sender = heappop(heap)
            if now >= until:
                break
            count += 1
            if host < 0:
                self._happen(now, host, message, sender)
                continue
            relative = relatives[host]
            if relative is None:
                continue
            if message is None:
                if sender != self._incarnations[host] or now != alarms[host]:
                    continue
                alarms[host] = float("inf")
                due = relative.next_alarm()
                actions = relative.wake(now) if due is not None and due <= now else ()
            else:
                stream = score.stream_of(message)
                if stream is not None:
                    arrival(host, sender, stream.number, now, relative)
                actions = relative.receive(message, sender, now)
            if actions:
                self._act(host, actions, now)
            due = relative.next_alarm()
            if due is not None and due < alarms[host]:
                self._wake_at(host, due if due > now else now)
        self.events = count

    def _wake_at(self, host: int, due: float) -> None:
        self._alarms[host] = due
        self._count += 1
        heappush(self._heap, (due, self._count, host, None, self._incarnations[host]))

    def _act(self, host: int, actions: Sequence[Action], now: float) -> None:
        score, heap, row, losses = self.score, self._heap, self.delays[host], self._losses
        loss, limits, count = self._case.loss, self._limits, self._count
        for action in actions:
            if isinstance(action, Deliver):
                score.delivered(host, action.number, now)
                continue
            to, message = action
            octets = message.octets + HEADERS
            stream = score.stream_of(message)
            if stream is None:
                score.control_packets[host] += 1
                score.control_octets[host] += octets
            else:
                score.copies[host] += 1
                score.control_octets[host] += octets - HEADERS - stream.octets
            wait = 0.0
            if limits is not None:
                wait = self._queued(host, octets, now)
                if wait < 0.0:
                    continue
            if losses is not None and losses() < loss:
                continue
            count += 1
            heappush(heap, (now + wait + row[to], count, to, message, host))
        self._count = count

    def _queued(self, host: int, octets: int, now: float) -> float:
        """Return how long a datagram takes to get out of its host, below 0 if it is dropped."""
        assert self._limits is not None
        free = max(now, self._free[host])
        if free - now > QUEUE_SECONDS:
            return -1.0
        self._free[host] = free + octets * 8 / self._limits[host]
        return self._free[host] - now

    def _happen(self, now: float, what: int, message: Any, sender: int) -> None:
        if what == _PACKET:
            speaker = self.relatives[SOURCE]
            assert speaker is not None
            self._act(SOURCE, speaker.originate(Data(sender, self._octets), now), now)
            due = speaker.next_alarm()
            if due is not None and due < self._alarms[SOURCE]:
                self._wake_at(SOURCE, max(due, now))
        elif what == _MEASURE:
            self.score.begin()
        elif message is None:
            self._tell_loss(sender, now)
        else:
            self._change(sender, message, now)

    def _change(self, host: int, up: bool, now: float) -> None:
        self._incarnations[host] += 1
        self._alarms[host] = float("inf")
        if not up:
            self.relatives[host] = None
            self.score.went_down(host, now, self.relatives)
            if self._notice is not None:
                self._count += 1
                heappush(self._heap, (now + self._notice, self._count, _CHANGE, None, host))
            return
        seed, incarnation = self._case.seed, self._incarnations[host]
        # Not by protocol: variants of one protocol are compared under the same draws.
        draws = Random(f"{seed} {host} {incarnation}")
        relative = self._factory(host, SOURCE, [SOURCE], self._degrees[host], draws, self._case)
        self.relatives[host] = relative
        self.score.came_up(host, now)
        self._act(host, relative.wake(now), now)
        due = relative.next_alarm()
        if due is not None:
            self._wake_at(host, max(due, now))

    def _tell_loss(self, lost: int, now: float) -> None:
        if self.relatives[lost] is not None:
            return
        for host, relative in enumerate(self.relatives):
            told = getattr(relative, "lost", None)
            if relative is None or told is None:
                continue
            self._act(host, told(lost, now), now)
            due = relative.next_alarm()
            if due is not None and due < self._alarms[host]:
                self._wake_at(host, max(due, now))


def arena(
    case: Case,
    delays: Delays | None = None,
    *,
    factory: Factory | None = None,
    degrees: Sequence[int] | None = None,
) -> Arena:
    """Set up a case, on its underlay unless delays are given.

    Options: `notice` and `octets` as above, `window` as of `score.WINDOW`; `limited`, if it is not
    empty, makes uplinks a bound on what is sent and not only on degrees. Raises UsageError for a
    protocol, churn, underlay or uplinks that are not there.
    """
    factory = factory or FACTORIES.get(case.protocol)
    churn = CHURNS.get(case.churn)
    if factory is None:
        raise UsageError(f"there is no protocol {case.protocol!r} in the arena")
    if churn is None:
        raise UsageError(f"no churn is called {case.churn!r}: take {', '.join(CHURNS)}")
    if delays is None:
        made, degrees = setting(case)
        delays = rows_of(made.delays)
    limits = None
    if case.option("limited"):
        limits = uplink_rates(
            case.uplinks, Random(f"{case.seed}/uplinks/{case.uplinks}"), case.hosts
        )
    notice = case.option("notice")
    return Arena(
        case,
        factory,
        delays,
        churn(case.seed, case.hosts, case.seconds),
        degrees=degrees,
        limits=limits,
        notice=float(notice) if notice else None,
    )


def rows_of(delays: NDArray[np.floating[Any]]) -> Delays:
    """Turn a matrix into what is fast to look up: lists, or arrays where lists take too much."""
    if len(delays) <= MOST_IN_LISTS:
        rows: list[list[float]] = delays.tolist()
        return rows
    return [array("d", row) for row in delays]


def run(case: Case) -> Measured:
    """Run a case and return what came of it, with the names of `metrics.FIGURES`.

    Without churn the links of the tree at the end are measured too, where there are routers.
    """
    made, degrees = setting(case)
    played = arena(case, rows_of(made.delays), degrees=degrees)
    measured = played.play().measured(played.delays)
    measured.figures["events"] = float(played.events)
    if case.churn == "none":
        figures = tree_figures(made, played.score.parents(), degrees, bound=False)
        measured.figures |= {
            name: value for name, value in figures.items() if name.startswith(LINK_FIGURES)
        }
    return measured
