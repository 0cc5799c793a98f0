"""DMMP for tens of thousands of hosts: the real roles, and a data plane of arrays beside them.

Control runs as in `overlay`, message by message between the real roles, but for relatives that know
each other already (`feeding`). Where a forwarder would be
there is nothing: for each packet of the stream arrays say who is fed, by the entries that the roles
have installed. A host that was cut off learns of the silence as its forwarder would tell it, and
gets what it missed, once it is fed again, as far back as caches reach. What is lost on the way, and
repaired a round trip later, is left out; `overlay` has that.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dmmp.actions import ForwarderAction
from dmmp.errors import UsageError
from dmmp.forwarding.burst import Burst, Outcome, Silent
from dmmp.lab.arena import PERIOD
from dmmp.lab.case import Case, Measured
from dmmp.lab.failures import CHURNS, Change, Plan
from dmmp.lab.feeding import WISH, Feeding
from dmmp.lab.frame import HEADERS
from dmmp.lab.overlay import Run
from dmmp.lab.score import INTERVAL, LEAST_UP, WINDOW
from dmmp.lab.state import is_super_node, state_figures, state_samples
from dmmp.messages import DataRequest, Heartbeat
from dmmp.messages.local import Silence
from dmmp.sim.carrying import GROUP, PROGRAM
from dmmp.sim.cast import Parts
from dmmp.sim.node import Node
from dmmp.sim.sizes import size_of
from dmmp.types import HostId, Instant

SILENT_PACKETS: Final = 5
"""Mean gaps of the flow after which its silence is remarkable (Decision 11)."""

SILENCES_SECONDS: Final = 15.0
"""For so long silence is noticed again."""

BEAT: Final = Heartbeat(group=GROUP, origin_address=PROGRAM.address, highest=1, started=1)
"""What each branch gets now and then; it is counted and not sent."""

REQUEST: Final = DataRequest(origin=HostId(1), channel=0, base=1)
"""What a host asks when it is fed again."""

_NOTHING = Outcome()


class NoForwarder:
    """Stands where a forwarder would: data does not pass here."""

    __slots__ = ()

    def apply(self, action: ForwarderAction, now: Instant) -> Outcome:
        """Do nothing: the world notes entries by itself."""
        return _NOTHING

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        """Do nothing: no data is sent."""
        return _NOTHING

    def originate(self, *_: Any) -> Outcome:
        """Do nothing: packets are numbers."""
        return _NOTHING

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        """Do nothing: it has no alarm."""
        return _NOTHING, []

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return None."""
        return None


class Stream:
    """Packets of a stream, ten a second, and what becomes of each at every host.

    A packet counts as in `score`: the host was up when it was sent and for the window after that.
    """

    def __init__(self, made: Run, plan: Plan) -> None:
        self._made, self._plan = made, plan
        world = made.world
        assert isinstance(world, Feeding)
        self._world: Feeding = world
        hosts = len(made.hosts)
        parameters = world.parameters
        self._cached = round(parameters.cache_seconds / PERIOD)
        self._replayed = round(parameters.newcomer_seconds / PERIOD)
        self._window = round(float(made.case.option("window", str(WINDOW))) / PERIOD)
        self.up = np.zeros(hosts, dtype=np.bool_)
        self._fed = np.zeros(hosts, dtype=np.bool_)
        self._ever = np.zeros(hosts, dtype=np.bool_)
        self._reached = np.zeros(hosts, dtype=np.bool_)
        self._delays = np.zeros(hosts, dtype=np.float32)
        # Numbers of packets: from when a host is up, and the first that it misses.
        self._since = np.zeros(hosts, dtype=np.int32)
        self._missing = np.zeros(hosts, dtype=np.int32)
        self._silence_at = np.zeros(hosts)
        self._pause = np.zeros(hosts)
        self.expected = np.zeros(hosts, dtype=np.int64)
        self.lost = np.zeros(hosts, dtype=np.int64)
        self.got = np.zeros(hosts, dtype=np.int64)
        self.delay_sum = np.zeros(hosts)
        self.seconds_up = np.zeros(hosts)
        self.heartbeats = np.zeros(hosts + 1, dtype=np.int64)
        self.requests = np.zeros(hosts, dtype=np.int64)
        self.recoveries: list[float] = []
        self.joins: list[float] = []
        self._in_interval = np.zeros(hosts, dtype=np.bool_)
        self._whole = np.zeros(hosts, dtype=np.bool_)
        self.connected = self.intervals = 0
        self.number = 0
        self.first = round((plan.measured_from - plan.stream_from) / PERIOD)

    def came_up(self, host: int) -> None:
        """A host starts or comes back: from the next packet on it should get all."""
        self.up[host], self._fed[host], self._ever[host] = True, False, False
        self._since[host] = self._missing[host] = self.number

    def went_down(self, host: int) -> None:
        """A host fails: what was sent within the window before is not counted."""
        self._write_off(host)
        self.up[host] = self._fed[host] = False

    def _write_off(self, host: int) -> None:
        now = self.number
        oldest = max(now - self._window, int(self._since[host]), self.first)
        recent = max(0, now - oldest)
        missed = 0 if self._fed[host] else now - max(int(self._missing[host]), self.first)
        self.lost[host] += max(0, missed - recent)
        self.expected[host] -= recent
        self.got[host] -= max(0, recent - max(0, missed))

    def tick(self) -> None:
        """Send a packet, and note who gets it."""
        world, now = self._world, self._world.now
        if world.is_changed:
            self._reached, self._delays = world.ways()
            world.is_changed = False
        fed = self._reached & self.up
        counts = self.number >= self.first
        back = np.flatnonzero(fed & ~self._fed & self.up)
        for host in back.tolist():
            self._comes_back(host)
        gone = np.flatnonzero(self._fed & ~fed & self.up)
        self._missing[gone] = self.number
        self._silence_at[gone] = now + (SILENT_PACKETS - 1) * PERIOD
        self._pause[gone] = SILENT_PACKETS * PERIOD
        self._fed, self._ever = fed, self._ever | fed
        if counts:
            self.expected += self.up
            self.got += fed
            self.delay_sum += np.where(fed, self._delays, 0.0)
            self.seconds_up += self.up * PERIOD
            self._connect(fed)
        if self.number % round(world.parameters.heartbeat / PERIOD) == 0 and counts:
            np.add.at(self.heartbeats, world.feeder[:-1][fed], 1)
        self.number += 1
        self._tell_silence(now)

    def _comes_back(self, host: int) -> None:
        missed_from = max(int(self._missing[host]), self.first)
        missed = max(0, self.number - missed_from)
        if self._ever[host]:
            self.recoveries.append((self.number - int(self._missing[host])) * PERIOD)
            caught_up = min(missed, self._cached)
        else:
            caught_up = min(missed, self._replayed)
            if self._since[host]:
                # Who came before the stream waited for the stream, not for its place.
                self.joins.append((self.number - int(self._since[host])) * PERIOD)
        if missed:
            self.requests[host] += 1
        self.lost[host] += missed - caught_up
        self.got[host] += caught_up
        self.delay_sum[host] += caught_up * (float(self._delays[host]) + PERIOD * caught_up / 2)

    def _connect(self, fed: NDArray[np.bool_]) -> None:
        in_interval = (self.number - self.first) % round(INTERVAL / PERIOD)
        if in_interval == 0:
            if self.number > self.first:
                self.intervals += int(self._whole.sum())
                self.connected += int((self._whole & self._in_interval).sum())
            self._whole, self._in_interval = self.up.copy(), np.zeros_like(fed)
        self._whole &= self.up
        self._in_interval |= fed

    def _tell_silence(self, now: float) -> None:
        """Tell hosts of a flow that has stopped, as their forwarders would (Decision 11)."""
        waiting = self.up & self._ever & ~self._fed & (self._silence_at <= now)
        for host in np.flatnonzero(waiting).tolist():
            since = now - (self.number - int(self._missing[host])) * PERIOD
            if now - since > SILENCES_SECONDS:
                self._silence_at[host] = np.inf
                continue
            self._silence_at[host] = now + self._pause[host]
            self._pause[host] = min(2 * self._pause[host], 1.0)
            self._world.tell(self._made.hosts[host], Silence(since))

    def close(self) -> None:
        """Do not count what was sent so late that there was no time left for it."""
        for host in np.flatnonzero(self.up).tolist():
            self._write_off(host)


class FlowRun(Run):
    """A case as `Run` has it, without forwarders."""

    WORLD = Feeding
    PARTS = Parts(forwarder=lambda parameters: NoForwarder())

    def play(self, plan: Plan) -> Measured:
        """Let hosts come and fail as planned, send the stream, and return the figures."""
        world = self.world
        assert isinstance(world, Feeding)
        world.number_hosts(self.hosts)
        stream = Stream(self, plan)
        world.start(self.point)
        for change in plan.changes:
            world.at(change.time, partial(self._happen, change, stream))
        packets = round((plan.until - plan.stream_from) / PERIOD)
        for number in range(packets):
            world.at(plan.stream_from + number * PERIOD, stream.tick)
        world.run_until(plan.measured_from)
        before = [(node.sent, node.sent_bytes) for node in self.hosts]
        world.run_until(plan.until)
        stream.close()
        return self._measured(stream, plan, before)

    def _happen(self, change: Change, stream: Stream) -> None:
        node = self.hosts[change.host]
        if not change.up:
            self.world.crash(node)
            stream.went_down(change.host)
            return
        stream.came_up(change.host)
        if node.crashed:
            self.world.restart(node)
        elif change.host:
            self._begin(node)
        else:
            self.world.start(node)

    def _begin(self, node: Node) -> None:
        self.world.start(node)
        self.world.subscribe(node, WISH)

    def _measured(self, stream: Stream, plan: Plan, before: Sequence[tuple[int, int]]) -> Measured:
        world = self.world
        assert isinstance(world, Feeding)
        beat, asked = size_of(BEAT), size_of(REQUEST)
        sent = np.array([node.sent - was[0] for node, was in zip(self.hosts, before, strict=True)])
        octets = np.array(
            [node.sent_bytes - was[1] for node, was in zip(self.hosts, before, strict=True)]
        )
        beats = stream.heartbeats[:-1]
        sent = sent + beats + stream.requests
        octets = octets + beats * beat + stream.requests * asked + sent * HEADERS
        up = np.maximum(stream.seconds_up, 1e-9)
        seconds = float(up.sum())
        got, delays = np.maximum(stream.got, 1), stream.delay_sum
        heard = np.flatnonzero(stream.got[1:] > 0) + 1
        members = slice(1, None)
        rates = octets[members] / up[members]
        alive = [number for number in range(1, len(self.hosts)) if self.hosts[number].alive]
        state = state_samples([self.hosts[number] for number in alive], world.now)
        figures = {
            "delivery_ratio": float(
                stream.got[members].sum() / max(1, stream.expected[members].sum())
            ),
            "connectivity": stream.connected / max(1, stream.intervals),
            "control_packets": float(sent.sum() / seconds),
            "control_bytes": float(octets.sum() / seconds),
            "control_bytes_max": max(rates[up[members] >= LEAST_UP], default=0.0),
            "source_control_bytes": float(octets[0] / up[0]),
            "delay_mean": float((delays[heard] / got[heard]).mean()) if len(heard) else 0.0,
            "hosts_without_place": float((~stream._fed & stream.up).sum()),
            "out_degree_max": float(world.branches().max()),
            **state_figures(self.hosts, self.point, world.now),
        }
        is_core = np.array([is_super_node(self.hosts[number]) for number in alive], dtype=np.bool_)
        for name, chosen in (("member", ~is_core), ("core", is_core)):
            if chosen.any():
                these = np.array(alive)[chosen]
                spent = float(octets[these].sum() / up[these].sum())
                figures[f"{name}_control_bytes"] = spent
        if stream.recoveries:
            figures["recovery_seconds"] = float(np.mean(stream.recoveries))
        if stream.joins:
            figures["join_seconds"] = float(np.mean(stream.joins))
        samples = {"recovery": stream.recoveries, "join": stream.joins, "state": state}
        return Measured(figures, samples)


def play(case: Case) -> Measured:
    """Run a case with the data plane of arrays; without churn everybody stays.

    Raise UsageError for an option that needs real packets.
    """
    for option in ("wire", "limited"):
        if case.option(option):
            raise UsageError(f"where arrays stand for the data there is no option {option!r}")
    made = FlowRun(case)
    plan = CHURNS[case.churn](case.seed, case.hosts, case.seconds)
    # What is made here lives to the end, or is freed by its count: to look at millions of objects
    # for circles again and again costs more than the circles.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        return made.play(plan)
    finally:
        gc.enable()
        gc.unfreeze()
