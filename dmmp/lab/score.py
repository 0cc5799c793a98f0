"""What is counted in the arena, and the figures of a run.

The definitions are those of Birrer and Bustamante, NWU-CS-04-36: a packet counts if it comes within
the window, one that comes late is lost and a duplicate, and members that are down are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dmmp.lab.case import Measured
from dmmp.lab.failures import Plan
from dmmp.lab.frame import Data, Message, Relative

WINDOW: Final = 3.2
"""Seconds after which a packet is of no use: 32 packets of ten per second."""

INTERVAL: Final = 10.0
"""Seconds of an interval in which a connected member gets at least one packet."""


LEAST_UP: Final = 5.0
"""Seconds that a host is up for its rates to say anything."""

FORWARDS: Final = 0.5
"""Copies per packet from which a host counts as one that forwards: repairs are no children."""

_SUMMARIES: Final[tuple[tuple[str, str, Callable[[list[float]], float]], ...]] = (
    ("delay_mean", "delay", np.mean),
    ("delay_p50", "delay", np.median),
    ("delay_p90", "delay", lambda values: np.percentile(values, 90)),
    ("delay_max", "delay", max),
    ("stretch_mean", "stretch", np.mean),
    ("stretch_p50", "stretch", np.median),
    ("stretch_p90", "stretch", lambda values: np.percentile(values, 90)),
    ("stretch_max", "stretch", max),
    ("recovery_seconds", "recovery", np.mean),
    ("join_seconds", "join", np.mean),
    ("out_degree_max", "out_degree", max),
    ("state_entries", "state", np.mean),
    ("state_entries_max", "state", max),
)
"""Figures (`metrics.FIGURES` says what they are) that sum samples up, and how."""


def stream_of(message: Message) -> Data | None:
    """Return the packet that a message carries, None if it is control.

    A message that carries more than the packet has it as its attribute `stream`; what it has beside
    the packet counts as control.
    """
    if type(message) is Data:
        return message
    stream: Data | None = getattr(message, "stream", None)
    return stream


class Score:
    """Counts per host, and per packet where that is meant; `window` as above, in seconds."""

    def __init__(
        self, hosts: int, sent_at: Sequence[float], plan: Plan, window: float = WINDOW
    ) -> None:
        self._window = window
        self._plan, self._sent_at, self._hosts = plan, sent_at, hosts
        packets = len(sent_at)
        self.first = sum(at < plan.measured_from for at in sent_at)
        self._arrived = [bytearray(packets) for _ in range(hosts)]
        self._handed = [bytearray(packets) for _ in range(hosts)]
        self._from = [-1] * hosts
        self._spans: list[list[tuple[float, float]]] = [[] for _ in range(hosts)]
        self._up_at: list[float | None] = [None] * hosts
        self._waits: list[float | None] = [None] * hosts
        self._orphaned: dict[int, tuple[float, int]] = {}
        self._delays, self._first_copies = [0.0] * hosts, [0] * hosts
        self._state, self._children = [0] * hosts, [0] * hosts
        self.stream_of = stream_of
        self.control_packets, self.control_octets = [0] * hosts, [0] * hosts
        self.copies, self.parent_changes = [0] * hosts, [0] * hosts
        self.duplicates, self.handed_twice = 0, 0
        self.recoveries: list[float] = []
        self.joins: list[float] = []

    def begin(self) -> None:
        """Forget what was counted before the measured time."""
        hosts = self._hosts
        self.control_packets[:], self.control_octets[:] = [0] * hosts, [0] * hosts
        self.copies[:], self.parent_changes[:] = [0] * hosts, [0] * hosts
        self.duplicates, self.handed_twice = 0, 0

    def came_up(self, host: int, now: float) -> None:
        """A host starts or comes back."""
        self._up_at[host], self._waits[host], self._from[host] = now, now, -1

    def went_down(self, host: int, now: float, relatives: Sequence[Relative | None]) -> None:
        """A host fails: who took the stream from it is an orphan from now on."""
        up_at = self._up_at[host]
        if up_at is not None:
            self._spans[host].append((up_at, now))
        self._up_at[host] = self._waits[host] = None
        self._orphaned.pop(host, None)
        for orphan, relative in enumerate(relatives):
            if relative is not None and relative.parent == host:
                self._orphaned.setdefault(orphan, (now, host))

    def arrival(self, host: int, sender: int, number: int, now: float, _: Relative) -> None:
        """A copy of a packet comes to a host that is up."""
        arrived = self._arrived[host]
        if arrived[number]:
            self.duplicates += 1
            return
        arrived[number] = 1
        delay = now - self._sent_at[number]
        if delay > self._window:
            self.duplicates += 1
            return
        if number >= self.first:
            self._delays[host] += delay
            self._first_copies[host] += 1
        if sender != self._from[host]:
            if self._from[host] >= 0:
                self.parent_changes[host] += 1
            self._from[host] = sender
        waits = self._waits[host]
        if waits is not None:
            # Who came before the stream waited for the stream, not for its place.
            if waits >= self._plan.stream_from:
                self.joins.append(now - waits)
            self._waits[host] = None
        if self._orphaned and host in self._orphaned:
            since, parent = self._orphaned[host]
            if sender != parent:
                self.recoveries.append(now - since)
                del self._orphaned[host]

    def delivered(self, host: int, number: int, now: float) -> None:
        """A host hands a packet to its programs."""
        handed = self._handed[host]
        if handed[number]:
            self.handed_twice += 1
        elif now - self._sent_at[number] <= self._window:
            handed[number] = 1

    def close(self, relatives: Sequence[Relative | None], now: float) -> None:
        """Take what is counted at the end."""
        for host, up_at in enumerate(self._up_at):
            relative = relatives[host]
            if up_at is not None and relative is not None:
                self._spans[host].append((up_at, now + self._window))
                self._state[host] = relative.state_entries
                self._children[host] = len(relative.children)

    def _expected(self, host: int) -> NDArray[np.bool_]:
        """Say which packets a host had the time to get, [packets]: it was up when they were sent
        and for the window after that, and they were measured, and had that time before the end."""
        sent = np.asarray(self._sent_at)
        expected = np.zeros(len(sent), dtype=bool)
        for up, down in self._spans[host]:
            expected |= (sent >= up) & (sent + self._window <= down)
        expected &= sent + self._window <= self._plan.until
        expected[: self.first] = False
        return expected

    def _seconds_up(self, host: int) -> float:
        start, end = self._plan.measured_from, self._plan.until
        return sum(max(0.0, min(end, down) - max(start, up)) for up, down in self._spans[host])

    def parents(self) -> list[int]:
        """Return from whom each host last took a packet first, -1 for none."""
        return [-1, *self._from[1:]]

    def measured(self, delays: Sequence[Sequence[float]]) -> Measured:
        """Return the figures, under the names of `metrics.FIGURES`, and samples over hosts or
        events; the source is no member."""
        members = range(1, self._hosts)
        expected = [self._expected(host) for host in members]
        handed = [np.frombuffer(self._handed[host], dtype=np.uint8) > 0 for host in members]
        wanted = sum(int(want.sum()) for want in expected)
        got = sum(int((want & have).sum()) for want, have in zip(expected, handed, strict=True))
        packets = max(1, len(self._sent_at) - self.first)
        seconds = [self._seconds_up(host) for host in range(self._hosts)]
        up = max(sum(seconds), 1e-9)
        figures = {
            "delivery_ratio": got / max(1, wanted),
            "connectivity": self._connectivity(expected, handed),
            "duplicates_per_packet": self.duplicates / packets,
            "duplicates_share": self.duplicates / max(1, sum(self._first_copies)),
            "control_packets": sum(self.control_packets) / up,
            "parent_changes": 3600.0 * sum(self.parent_changes) / up,
            "handed_twice": float(self.handed_twice),
            **self._control(seconds),
        }
        samples = self._samples(delays, seconds)
        for figure, sample, of in _SUMMARIES:
            if samples[sample]:
                figures[figure] = float(of(samples[sample]))
        direct = [far for far in delays[0][1:] if far > 0.0]
        # Ratios of means and of maxima, as Castro et al., JSAC 2002, have them: hosts beside the
        # source, whose stretch may be anything, do not count for more than others.
        if samples["delay"] and direct:
            figures["rad"] = figures["delay_mean"] / float(np.mean(direct))
            figures["rmd"] = figures["delay_max"] / max(direct)
        degrees = samples["out_degree"]
        forwards = [degree for degree in degrees if degree >= FORWARDS]
        if degrees:
            figures["non_forwarders"] = 1.0 - len(forwards) / len(degrees)
        if forwards:
            figures["out_degree_mean_forwarders"] = float(np.mean(forwards))
        return Measured(figures, samples)

    def _control(self, seconds: Sequence[float]) -> dict[str, float]:
        rates = [
            octets / up if up >= LEAST_UP else 0.0
            for octets, up in zip(self.control_octets, seconds, strict=True)
        ]
        return {
            "control_bytes": sum(self.control_octets) / max(sum(seconds), 1e-9),
            "control_bytes_max": max(rates[1:], default=0.0),
            "source_control_bytes": rates[0],
        }

    def _connectivity(
        self, expected: Sequence[NDArray[np.bool_]], handed: Sequence[NDArray[np.bool_]]
    ) -> float:
        """Count the intervals in which a member got at least one packet, among those in which it
        could have got every one."""
        sent = np.asarray(self._sent_at)
        intervals = ((sent - self._plan.measured_from) // INTERVAL).astype(int)
        starts = [np.flatnonzero(intervals == k) for k in range(intervals.max(initial=-1) + 1)]
        whole = connected = 0
        for want, have in zip(expected, handed, strict=True):
            for place in starts:
                if want[place].all():
                    whole += 1
                    connected += bool(have[place].any())
        return connected / max(1, whole)

    def _samples(
        self, delays: Sequence[Sequence[float]], seconds: Sequence[float]
    ) -> dict[str, list[float]]:
        got = [host for host in range(1, self._hosts) if self._first_copies[host]]
        delay = {host: self._delays[host] / self._first_copies[host] for host in got}
        direct = {host: delays[0][host] for host in got if delays[0][host] > 0.0}
        measured = [host for host in range(self._hosts) if seconds[host] >= LEAST_UP]
        at_end = [host for host in range(self._hosts) if self._up_at[host] is not None]
        rate = max(1, len(self._sent_at) - self.first) / (
            self._plan.until - self._plan.measured_from
        )
        return {
            "delay": list(delay.values()),
            "stretch": [delay[host] / direct[host] for host in direct],
            # Copies per packet: with nobody coming and going, the number of children.
            "out_degree": [self.copies[host] / (seconds[host] * rate) for host in measured],
            "children": [float(self._children[host]) for host in at_end],
            "state": [float(self._state[host]) for host in at_end],
            "recovery": list(self.recoveries),
            "join": list(self.joins),
        }
