"""What `dmmp sim` shows: the result as a table, as JSON, and the tree drawn in text.

Makes values only; the command line prints them. A failing run names the command that repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from dmmp.roles.view import View
from dmmp.sim.checks import Failure
from dmmp.sim.measure import Measures, Summary, measure
from dmmp.sim.node import Node
from dmmp.sim.scenario import Scenario
from dmmp.sim.trace import Trace
from dmmp.sim.world import World
from dmmp.types import HostId, Instant


@dataclass(frozen=True, slots=True)
class SimOptions:
    """The options of `dmmp sim`; `window` seconds in which the members come."""

    members: int = 200
    seed: int = 1
    window: float | None = None
    loss: float = 0.0
    crashes: int = 0
    wire: bool = False

    def scenario(self) -> Scenario:
        """Make the scenario they ask for; by default ten members come each second."""
        window = self.members / 10 if self.window is None else self.window
        flash = Scenario.flash(self.members, window, self.seed)
        crash_settle = 110.0 if self.crashes else flash.settle
        return replace(
            flash,
            loss=self.loss,
            crashes=self.crashes,
            settle=crash_settle,
            packets_per_second=1.0,
        )

    def command(self) -> str:
        """Return the command that repeats the run."""
        parts = [f"dmmp sim --members {self.members} --seed {self.seed}"]
        if self.window is not None:
            parts.append(f"--window {self.window:g}")
        if self.loss:
            parts.append(f"--loss {self.loss:g}")
        if self.crashes:
            parts.append(f"--crashes {self.crashes}")
        if self.wire:
            parts.append("--wire")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run."""

    options: SimOptions
    scenario: Scenario
    measures: Measures
    failures: tuple[Failure, ...]
    digest: str
    world: World

    @property
    def exit_code(self) -> int:
        """Return 0, or 1 if a check failed."""
        return 1 if self.failures else 0

    def to_json(self) -> dict[str, object]:
        """Return everything but the world, as JSON's types."""
        return {
            "command": self.options.command(),
            "scenario": str(self.scenario),
            "digest": self.digest,
            "failures": [asdict(failure) for failure in self.failures],
            **asdict(self.measures),
            "depths": {str(depth): count for depth, count in self.measures.depths},
            "network": dict(self.measures.network),
        }

    def table_rows(self) -> list[tuple[str, str]]:
        """Return the result as rows of two columns."""
        found = self.measures
        busiest, rate = found.control_sent_most
        return [
            ("hosts", f"{found.hosts}, {found.joined} joined, {found.super_nodes} super nodes"),
            ("departed", str(found.departed)),
            ("join delay", _shown(found.join_delay, "s")),
            ("first data after", _shown(found.first_data, "s")),
            ("depth", ", ".join(f"{depth}: {count}" for depth, count in found.depths)),
            ("control messages sent", _shown(found.control_sent, "/s")),
            ("busiest", f"{busiest}, {rate:.1f}/s"),
            ("slots in use", f"{found.slots_used} of {found.slots}"),
            ("stretch", _shown(found.stretch, "")),
            ("packets", f"{found.packets} sent, {found.delivered} delivered"),
            ("violations", str(found.violations)),
            ("network", ", ".join(f"{name} {count}" for name, count in found.network if count)),
            ("virtual time", f"{found.virtual_seconds:.1f} s"),
            ("digest", self.digest),
        ]

    def tree_lines(self) -> list[str]:
        """Draw the tree."""
        return tree_lines(self.world.nodes, self.world.now)

    def failure_lines(self) -> list[str]:
        """Say what failed and how to repeat it; nothing if all is well."""
        if not self.failures:
            return []
        again = ["again with:", f"  {self.options.command()}", "in a test:", f"  {self.scenario}"]
        return [str(failure) for failure in self.failures] + again


def run(options: SimOptions, write_trace: Callable[[str], None] | None = None) -> Result:
    """Run a simulation; `write_trace` gets one JSON line for each thing that happens."""
    scenario = options.scenario()
    trace = Trace(write_trace)
    world = scenario.play(wire=options.wire, trace=trace)
    return Result(options, scenario, measure(world), tuple(world.failures), trace.digest(), world)


def tree_lines(nodes: Sequence[Node], now: Instant) -> list[str]:
    """Draw the tree of the living hosts by what they show; those without a place come last."""
    views = [(node, node.view(now)) for node in nodes if node.alive and node.forwarder is not None]
    below: dict[HostId, list[tuple[Node, View]]] = {}
    roots, lost = [], []
    known = {view.host for _, view in views}
    for node, view in views:
        if node.is_source:
            roots.append((node, view))
        elif view.parent is None or view.parent.host not in known:
            lost.append((node, view))
        else:
            below.setdefault(view.parent.host, []).append((node, view))
    lines: list[str] = []
    for node, view in roots:
        lines.append(_line(node, view))
        _draw(view.host, below, "", lines)
    for node, view in lost:
        lines.append(f"no place: {_line(node, view)}, {view.state}")
        _draw(view.host, below, "", lines)
    # Whoever is left hangs on itself: a cycle.
    for node, view in [pair for children in below.values() for pair in children]:
        lines.append(f"in a cycle: {_line(node, view)}")
    return lines


def _draw(
    host: HostId, below: dict[HostId, list[tuple[Node, View]]], indent: str, lines: list[str]
) -> None:
    children = below.pop(host, [])
    for number, (node, view) in enumerate(children, 1):
        last = number == len(children)
        lines.append(f"{indent}{'└─ ' if last else '├─ '}{_line(node, view)}")
        _draw(view.host, below, indent + ("   " if last else "│  "), lines)


def _line(node: Node, view: View) -> str:
    children = len(view.children) + len(view.mesh_children)
    used = f"{children}/{node.out_degree}"
    role = "" if view.role == "cluster-member" else f" {view.role},"
    depth = "no depth" if view.depth is None else f"depth {view.depth}"
    return f"{node.name}{',' if role else ''}{role} {depth}, {used}"


def _shown(found: Summary, unit: str) -> str:
    if not found.count:
        return "-"
    unit = f" {unit}" if unit == "s" else unit
    return (
        f"median {found.median:.3g}{unit}, 95 % {found.p95:.3g}{unit}, most {found.most:.3g}{unit}"
    )
