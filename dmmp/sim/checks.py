"""What must always hold, and what must hold in the end (§4.10).

Local checks look at the node that was just touched, the sweep at all of them each virtual second,
the final ones at the whole result. A check never touches a host; it only reads. Where a moment's
disagreement is natural, because the two ends of a link learn of it one after the other, `Bounds`
says how long it may last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dmmp.parameters import Parameters
from dmmp.roles.source import MAXIMUM_KNOWN
from dmmp.roles.view import View
from dmmp.sim.node import Node
from dmmp.sim.schedule import MICROSECONDS, seconds
from dmmp.types import NO_HOST, HostId, Instant

MOST_FAILURES = 20
"""More are not kept: the first one is what matters."""

SWEEP_SHARE = 10
"""One sweep in so many looks at a given node's whole view, which is the costly part."""


SINGLE_ALARMS = 64
"""Alarms a role may have besides those of its open requests."""

COST_INTERVAL_US = 10 * MICROSECONDS

CORE_COST = 25
"""Super nodes that double what the control of a member of the mesh may cost: it tells each."""

CORE_ROLES = ("source", "super-node")

_TO_THE_DEAD = "sends data to the dead"


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that did not hold."""

    check: str
    at: Instant
    who: str
    detail: str

    def __str__(self) -> str:
        return f"{self.check}: {self.who} at {self.at:.6f} s: {self.detail}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, in seconds, a disagreement may last before it counts as wrong."""

    cycle: float
    """Data may flow back to where it came from."""
    one_sided: float
    """A node takes data from one that does not send it any, or the reverse."""
    feeding_dead: float
    """A node sends data to one that is gone."""
    leaving: float
    """From `Stop` to `Left`."""
    relatives: float
    """From a host's end to its disappearance from what its relatives show."""
    registry: float
    """From a host's end to its disappearance from the rendezvous point."""
    moving: float
    """From one place in the tree to a sound one elsewhere, or until lost news is renewed."""
    settled: float
    """From admission, or a later join of a group, to the first packet that must not be missed."""
    cluster: float
    """A member may name a super node that is gone, or is none any more."""
    messages: float
    """Control messages a second that a host of the session may send, over ten seconds."""
    octets: float
    """And bytes."""

    @staticmethod
    def of(parameters: Parameters) -> Bounds:
        """Derive the bounds from the protocol's timers."""
        probing = 5.0
        return Bounds(
            cycle=2.0,
            # A child of the mesh that went unheard is kept so long.
            one_sided=parameters.hold_mesh + parameters.refresh_cluster + probing,
            feeding_dead=parameters.hold_mesh + parameters.refresh_cluster + probing,
            leaving=parameters.leave_elect
            + 2 * parameters.leave_move
            + parameters.leave_wait
            + 0.5,
            # A child that went unheard is named to its siblings, and by them to their children,
            # until each has asked once more.
            relatives=parameters.hold_cluster + probing + 2 * 1.2 * parameters.refresh_cluster,
            registry=parameters.hold_rp + parameters.refresh_rp + probing,
            moving=1.2 * parameters.refresh_cluster + 2.0,
            settled=2.0,
            cluster=parameters.hold_mesh + parameters.refresh_mesh + 2 * probing,
            # What the source of a mesh of a hundred, or a parent of 256, would send in earnest.
            messages=250.0,
            octets=25_000.0,
        )


class Checks:
    """The checks of one world; `failures` is what they found."""

    def __init__(self, nodes: Sequence[Node], parameters: Parameters, bounds: Bounds) -> None:
        self.failures: list[Failure] = []
        self.cycles_seen = 0
        self.longest_cycle_us = 0
        self._nodes = nodes
        self._parameters = parameters
        self.bounds = bounds
        self._cycles: dict[Node, int] = {}
        self._reported: set[Node] = set()
        self._one_sided: dict[tuple[str, Node, Node], int] = {}
        self._table_bounds = table_bounds(parameters)
        self._sweeps = 0
        self._core: set[HostId] = set()
        self._homeless: dict[Node, tuple[HostId, int]] = {}
        self._sent: dict[Node, tuple[int, int, int]] = {}
        self._costed_us = 0
        self._swept_us = 0
        self.most_messages = 0.0
        """Control messages a second that the busiest host sent over ten seconds."""
        self.most_bytes = 0.0

    def fail(self, check: str, now_us: int, who: str, detail: str) -> None:
        """Note that a check does not hold."""
        self.add(Failure(check, seconds(now_us), who, detail))

    def add(self, failure: Failure) -> None:
        """Keep a failure, unless there are enough."""
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(failure)

    # At once, for the node that was just touched.

    def after_install(self, node: Node, now_us: int) -> None:
        """Check an entry that was just put in force: capacity, and no way back to oneself."""
        if len(node.downstream) > node.out_degree:
            detail = f"sends to {len(node.downstream)}, has capacity for {node.out_degree}"
            self.fail("capacity", now_us, node.name, detail)
        if _is_on_cycle(node) and node not in self._cycles:
            self.cycles_seen += 1
            self._cycles[node] = now_us
        if self._cycles:
            self._judge_cycles(now_us)

    def after_report(self, node: Node, now_us: int) -> None:
        """Check what a node shows, when it has just reported a change."""
        self._check_view(node, node.view(seconds(now_us)), now_us)

    def after_delivery(self, node: Node, number: int | None, now_us: int) -> None:
        """Note what is wrong with a packet given to a node's programs; None is no known one."""
        if number is None:
            self.fail("forgery", now_us, node.name, "got a packet that no program sent")
        elif not node.wants:
            self.fail("unwanted", now_us, node.name, f"got packet {number} without any interest")
        else:
            self.fail("duplicate", now_us, node.name, f"got packet {number} twice")

    # Each virtual second, for all nodes.

    def sweep(self, now_us: int) -> None:
        """Check what holds between nodes."""
        self._judge_cycles(now_us)
        self._judge_links(now_us)
        for node in self._nodes[self._sweeps % SWEEP_SHARE :: SWEEP_SHARE]:
            if node.alive:
                self.after_report(node, now_us)
        self._judge_clusters(now_us, now_us - self._swept_us)
        self._judge_cost(now_us)
        self._swept_us = now_us
        for node in self._nodes:
            if node.alive and node.stopped_us is not None:
                late = now_us - node.stopped_us - self.bounds.leaving * MICROSECONDS
                if late > 0:
                    self.fail("leaving", now_us, node.name, "was told to leave and has not left")
        self._sweeps += 1

    def _judge_clusters(self, now_us: int, since_last_us: int) -> None:
        """Check that each cluster has one super node: that its members name one that is there.

        Looks at as many hosts as the sweep does. A member may name one that is gone, or is none any
        more, for as long as it takes to hear of it; in a long time it may name several such.
        """
        allowed_us = self.bounds.cluster * MICROSECONDS + SWEEP_SHARE * since_last_us
        now = seconds(now_us)
        is_fresh = self._sweeps % SWEEP_SHARE == 0
        if is_fresh:
            self._core = self._super_nodes(now)
        for node in self._nodes[self._sweeps % SWEEP_SHARE :: SWEEP_SHARE]:
            if node.forwarder is None:
                continue
            view = node.view(now) if node.alive else None
            if view is None or view.parent is None or view.role in CORE_ROLES:
                self._homeless.pop(node, None)
                continue
            named = view.super_node
            if named not in self._core and not is_fresh:
                is_fresh = True
                self._core = self._super_nodes(now)
            if named in self._core:
                self._homeless.pop(node, None)
                continue
            former, since = self._homeless.get(node, (NO_HOST, now_us))
            if former != named:
                since = now_us
            self._homeless[node] = named, since
            if now_us - since > allowed_us:
                self.fail("cluster", now_us, node.name, "names a super node that is none")
                self._homeless[node] = named, now_us

    def _super_nodes(self, now: Instant) -> set[HostId]:
        """List the source and the super nodes there are."""
        views = (node.view(now) for node in self._nodes if node.alive and node.forwarder)
        return {view.host for view in views if view.role in CORE_ROLES}

    def _judge_cost(self, now_us: int) -> None:
        """Check what a host's control costs, over intervals of ten seconds."""
        if now_us - self._costed_us < COST_INTERVAL_US:
            return
        interval = (now_us - self._costed_us) / MICROSECONDS
        for node in self._nodes:
            if node.forwarder is None:
                continue
            known = len(node.view(seconds(now_us)).super_nodes) if node.alive else 0
            sent, sent_bytes, knew = self._sent.get(node, (0, 0, 0))
            self._sent[node] = (node.sent, node.sent_bytes, known)
            messages = (node.sent - sent) / interval
            octets = (node.sent_bytes - sent_bytes) / interval
            self.most_messages = max(self.most_messages, messages)
            self.most_bytes = max(self.most_bytes, octets)
            # It may have forgotten them all since, as a source does that has just ended.
            share = 1 + max(known, knew) / CORE_COST
            if messages > share * self.bounds.messages or octets > share * self.bounds.octets:
                detail = f"sends {messages:.0f} control messages and {octets:.0f} bytes a second"
                self.fail("cost", now_us, node.name, detail)
        self._costed_us = now_us

    def _judge_cycles(self, now_us: int) -> None:
        for node, since in list(self._cycles.items()):
            lived_us = now_us - since
            self.longest_cycle_us = max(self.longest_cycle_us, lived_us)
            if not _is_on_cycle(node):
                del self._cycles[node]
            elif lived_us >= self.bounds.cycle * MICROSECONDS and node not in self._reported:
                self._reported.add(node)
                way = " < ".join(above.name for above in node.way_up(len(self._nodes)))
                self.fail("cycle", now_us, node.name, f"takes data from itself: {way}")

    def _judge_links(self, now_us: int) -> None:
        now_wrong: dict[tuple[str, Node, Node], int] = {}
        for node in self._nodes:
            for wrong in _disagreements(node):
                now_wrong[wrong] = self._one_sided.get(wrong, now_us)
        for (what, node, other), since in list(now_wrong.items()):
            bound = self.bounds.feeding_dead if what == _TO_THE_DEAD else self.bounds.one_sided
            if now_us - since > bound * MICROSECONDS:
                self.fail("one-sided", now_us, node.name, f"{what} {other.name}")
                now_wrong[what, node, other] = now_us
        self._one_sided = now_wrong

    def _check_view(self, node: Node, view: View, now_us: int) -> None:
        children = len(view.children) + len(view.mesh_children)
        if children > node.out_degree:
            detail = f"{children} children, has capacity for {node.out_degree}"
            self.fail("capacity", now_us, node.name, detail)
        for table, size in view.tables:
            bound = self._table_bounds.get(table)
            if bound is None:
                self.fail("table", now_us, node.name, f"{table} has no bound in the checks")
            elif size > bound:
                self.fail("table", now_us, node.name, f"{table} holds {size}, at most {bound}")

    # In the end.

    def places(self, now_us: int) -> list[Failure]:
        """Find who has no sound place in the tree now; it may just be moving."""
        found: list[Failure] = []
        for node in self._nodes:
            if not node.alive or node.forwarder is None or node.is_source or node.stopped_us:
                continue
            view = node.view(seconds(now_us))
            if view.parent is None or view.depth is None:
                what, detail = "joined", f"has no place in the tree, is {view.state}"
            elif not (node.wants or node.downstream):
                continue
            else:
                way = node.way_up(len(self._nodes))
                what, detail = "depth", f"shows depth {view.depth}, stands at {len(way) - 1}"
                if not way[-1].is_source:
                    what, detail = "joined", f"the way up ends at {way[-1].name}"
                elif view.depth == len(way) - 1:
                    continue
            found.append(Failure(what, seconds(now_us), node.name, detail))
        return found

    def heard(
        self, now_us: int, packets: Sequence[int], expected: Sequence[int], strict: bool
    ) -> None:
        """Check that everyone joined hears the source.

        `packets` holds the time each packet was sent, by number; `expected` the numbers that must
        have arrived: each of them if `strict`, else at least one.
        """
        for node in self._nodes:
            if not node.alive or not node.wants or node.is_source or node.admitted_us is None:
                continue
            since = max(node.admitted_us, *(at_us for _, at_us in node.wants.values()))
            since += int(self.bounds.settled * MICROSECONDS)
            due = [number for number in expected if packets[number] >= since]
            missing = [number for number in due if number not in node.heard]
            if missing and (strict or len(missing) == len(due)):
                first = f"first {missing[0]}, sent at {seconds(packets[missing[0]]):.3f} s"
                detail = f"missed {len(missing)} of {len(due)} packets, {first}"
                self.fail("heard", now_us, node.name, detail)

    def remains(self, now_us: int) -> None:
        """Check that nothing remains of those who have gone."""
        now = seconds(now_us)
        gone = {
            int(node.endpoint.address): node for node in self._nodes if node.gone_us is not None
        }
        registered = sum(
            1
            for node in self._nodes
            if node.forwarder is not None and node.started_us is not None and node.gone_us is None
        )
        latest = max((node.last_gone_us or 0 for node in self._nodes), default=0)
        for node in self._nodes:
            if not node.alive:
                continue
            is_registry = node.forwarder is None
            bound = self.bounds.registry if is_registry else self.bounds.relatives
            for view in node.all_views(now):
                for relation, address in _mentions(view):
                    if address in gone and _is_over(gone[address], bound, now_us):
                        detail = f"still has {gone[address].name} among its {relation}"
                        self.fail("remains", now_us, node.name, detail)
                settled = now_us - latest > self.bounds.registry * MICROSECONDS
                if is_registry and settled and view.hosts != registered:
                    detail = f"counts {view.hosts} hosts, there are {registered}"
                    self.fail("remains", now_us, node.name, detail)


def table_bounds(parameters: Parameters) -> dict[str, int]:
    """Return how many rows each of the roles' tables may have; a new table needs its line here."""
    return {
        "alarms": parameters.maximum_outstanding + SINGLE_ALARMS,
        "applicants": parameters.children,
        "candidates": MAXIMUM_KNOWN,
        "children": parameters.children,
        "former": parameters.super_nodes_most,
        "groups": parameters.groups,
        "guests": parameters.guests,
        "heirs": parameters.children,
        "hosts": parameters.hosts,
        "invited": parameters.super_nodes_most,
        "mesh": parameters.super_nodes_most + 1,
        "paths": parameters.children,
        "requests": parameters.maximum_outstanding,
        "reservations": parameters.children,
        "super_nodes": parameters.super_nodes_most,
    }


def _is_over(node: Node, bound: float, now_us: int) -> bool:
    return node.gone_us is not None and now_us - node.gone_us > bound * MICROSECONDS


def _is_on_cycle(node: Node) -> bool:
    """Tell whether data that this node sends can come back to it."""
    seen = {node}
    pending = node.feeders()
    while pending:
        above = pending.pop()
        if above is node:
            return True
        if above not in seen:
            seen.add(above)
            pending.extend(above.feeders())
    return False


def _disagreements(node: Node) -> Iterable[tuple[str, Node, Node]]:
    if not node.alive:
        return
    if node.upstream and (node.wants or node.downstream) and not node.feeders():
        above = node.upstream[0]
        served = "is not among those served by" if above.alive else "takes data from the dead"
        yield served, node, above
    for below in node.downstream.values():
        if below is not None and not below.alive:
            yield _TO_THE_DEAD, node, below
        elif below is not None and node not in below.upstream:
            yield "sends data in vain to", node, below


def _mentions(view: View) -> Iterable[tuple[str, int]]:
    relations = {
        "parent": () if view.parent is None else (view.parent,),
        "children": view.children,
        "mesh children": view.mesh_children,
        "backups": view.backups,
        "super nodes": view.super_nodes,
    }
    for relation, records in relations.items():
        for record in records:
            yield relation, int(record.endpoint.address)
