"""What is counted while a world runs: who should have got which packet, and who did.

Reads and counts only. The delivery ratio is that of the Nemo papers: of the members that were there
when a packet was sent, and stayed, the share that got it within the window; late is lost. A member
is there once it is admitted; the same from its start on is counted beside it, since a host that
joins anew misses what is sent meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dmmp.roles.end_host import EndHost
from dmmp.sim.node import Node
from dmmp.sim.schedule import MICROSECONDS

INTERVAL_US = 10 * MICROSECONDS
"""Connectivity is looked at so often, and control cost summed over so long."""

FOREVER = 1 << 62


@dataclass(slots=True)
class Ratio:
    """How many of how many."""

    of: int = 0
    got: int = 0

    @property
    def value(self) -> float:
        """Return the share, 1 of nothing."""
        return self.got / self.of if self.of else 1.0


@dataclass(slots=True, eq=False)
class Tally:
    """The counts of one world; measured from `begin_us` on, until `end_us`."""

    nodes: Sequence[Node]
    packets: Sequence[int]
    window_us: int = 3_200_000
    begin_us: int = 0
    end_us: int = FOREVER
    members: Ratio = field(default_factory=Ratio)
    """Deliveries to those that were admitted."""
    started: Ratio = field(default_factory=Ratio)
    """Deliveries to those that ran."""
    connected: Ratio = field(default_factory=Ratio)
    """Members with a packet in an interval, of those that were there throughout."""
    late: int = 0
    sent: int = 0
    """Packets sent while measuring."""
    host_seconds: float = 0.0
    """Seconds that hosts of the session ran, summed."""
    duplicates_before: int = 0
    control_before: tuple[int, int] = (0, 0)
    _admitted: set[Node] = field(default_factory=set)
    _running: set[Node] = field(default_factory=set)
    _swept_us: int = 0
    _interval_us: int = 0
    _sent_before_interval: int = 0

    def measure(self, begin_us: int, end_us: int) -> None:
        """Measure only between these instants."""
        self.begin_us, self.end_us = begin_us, end_us

    def starts(self, node: Node, now_us: int) -> None:
        """Note that a machine is switched on."""
        self.wishes(node, now_us)

    def resumes(self, node: Node, now_us: int) -> None:
        """Note that a machine goes on: what it missed meanwhile is not counted."""
        node.last_heard_us = None
        node.member_since_us = None
        node.probes_since = (0, 0)
        self.wishes(node, now_us)

    def wishes(self, node: Node, now_us: int) -> None:
        """Note a place or a wish that came or went."""
        if node.is_source or node.forwarder is None or not node.alive:
            return
        if not node.wants:
            self._running.discard(node)
            self._admitted.discard(node)
            node.member_since_us = None
            return
        self._running.add(node)
        if node.admitted_us is not None and node not in self._admitted:
            self._admitted.add(node)
            node.member_since_us = now_us

    def goes(self, node: Node, now_us: int) -> None:
        """Leave out what was on its way to one that goes: it is excluded, not missed."""
        oldest = now_us - self.window_us
        number = len(self.packets) - 1
        is_member, is_running = node in self._admitted, node in self._running
        while number >= 0 and self.packets[number] >= oldest:
            sent_us = self.packets[number]
            if self.begin_us <= sent_us < self.end_us and number not in node.heard:
                if is_member and sent_us >= (node.member_since_us or 0):
                    self.members.of -= 1
                if is_running and sent_us >= (node.started_us or 0):
                    self.started.of -= 1
            number -= 1
        self._admitted.discard(node)
        self._running.discard(node)

    def sends(self, now_us: int) -> None:
        """Note that the source sends a packet."""
        if self.begin_us <= now_us < self.end_us:
            self.sent += 1
            self.members.of += len(self._admitted)
            self.started.of += len(self._running)

    def delivers(self, node: Node, number: int, now_us: int) -> None:
        """Note that a node's programs get a packet."""
        node.delivered += 1
        last_us = node.last_heard_us
        if last_us is not None and now_us - last_us > node.silence_us:
            node.silence_us = now_us - last_us
        node.last_heard_us = now_us
        sent_us = self.packets[number]
        if not self.begin_us <= sent_us < self.end_us:
            return
        if now_us - sent_us > self.window_us:
            self.late += 1
            return
        since_us = node.member_since_us
        if since_us is not None and since_us <= sent_us:
            self.members.got += 1
        if (node.started_us or 0) <= sent_us:
            self.started.got += 1

    def probed(self, node: Node, now_us: int) -> None:
        """Note a Probe Request at a node; only super nodes' rates are kept."""
        node.probes += 1
        second = now_us // MICROSECONDS
        counted, so_far = node.probes_since
        so_far = so_far + 1 if counted == second else 1
        node.probes_since = (second, so_far)
        if so_far > node.most_probes and _is_super_node(node):
            node.most_probes = so_far

    def sweep(self, now_us: int) -> None:
        """Do what is done now and then: connectivity, and how long hosts have run."""
        if now_us <= self.begin_us:
            self.duplicates_before = sum(node.duplicates for node in self.nodes)
            self.control_before = self._control()
            self._interval_us, self._sent_before_interval = now_us, len(self.packets)
        elif now_us <= self.end_us:
            running = sum(1 for node in self.nodes if node.alive and node.forwarder is not None)
            self.host_seconds += running * (now_us - self._swept_us) / MICROSECONDS
            if now_us - self._interval_us >= INTERVAL_US:
                self._judge_interval(now_us)
        self._swept_us = now_us

    def duplicates_per_packet(self) -> float:
        """Return the duplicates at all receivers, forwarders included, for each packet sent."""
        found = sum(node.duplicates for node in self.nodes) - self.duplicates_before
        return found / self.sent if self.sent else 0.0

    def control_per_second(self) -> tuple[float, float]:
        """Return messages and bytes of control that a host sends each second of its life.

        Counted at hosts, sent only, with DMMP's header and without those of IP and UDP: requests,
        answers, heartbeats and data requests of every host of the session. The RP is not one.
        """
        messages, octets = self._control()
        life = self.host_seconds or 1.0
        return (
            (messages - self.control_before[0]) / life,
            (octets - self.control_before[1]) / life,
        )

    def _judge_interval(self, now_us: int) -> None:
        if len(self.packets) > self._sent_before_interval:
            for node in self._admitted:
                if (node.member_since_us or 0) <= self._interval_us:
                    self.connected.of += 1
                    self.connected.got += (node.last_heard_us or 0) > self._interval_us
        self._interval_us, self._sent_before_interval = now_us, len(self.packets)

    def _control(self) -> tuple[int, int]:
        hosts = [node for node in self.nodes if node.forwarder is not None]
        return sum(node.sent for node in hosts), sum(node.sent_bytes for node in hosts)


def _is_super_node(node: Node) -> bool:
    host = node.host
    # Most hosts that are probed are none: no need for the whole view of each.
    name = host.role.NAME if type(host) is EndHost else node.view(0.0).role
    return name == "super-node"
