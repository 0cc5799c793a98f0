"""What `dmmp sim` shows: the result as a table, as JSON, and the tree drawn in text.

Makes values only; the command line prints them. A failing run names the command that repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dmmp.errors import UsageError
from dmmp.roles.view import View
from dmmp.sim.checks import Failure
from dmmp.sim.files import read_scenario
from dmmp.sim.measure import Measures, Summary, measure
from dmmp.sim.node import Node
from dmmp.sim.scenario import Scenario
from dmmp.sim.sweep import DRAWS
from dmmp.sim.trace import Trace
from dmmp.sim.world import World
from dmmp.types import HostId, Instant

LONG = 600.0
"""Seconds of virtual time from which on a run has no digest unless it is traced."""


@dataclass(frozen=True, slots=True)
class SimOptions:
    """The options of `dmmp sim`; `window` seconds in which the members come.

    A scenario comes from a `file`, from a seed by one of the `draws`, or from the other options.
    """

    members: int = 200
    seed: int | None = None
    window: float | None = None
    loss: float = 0.0
    crashes: int = 0
    wire: bool = False
    file: str | None = None
    draw: str | None = None
    security: str = "none"

    def __post_init__(self) -> None:
        if self.file is not None and self.draw is not None:
            raise UsageError(f"--scenario and --{self.draw}: take one of them")
        plain = _plain_option(self)
        if (self.file is not None or self.draw is not None) and plain:
            raise UsageError(f"{plain}: cannot be combined with a scenario; change that")

    def scenario(self) -> Scenario:
        """Make the scenario they ask for; by default ten members come each second."""
        seed = 1 if self.seed is None else self.seed
        if self.file is not None:
            return read_scenario(Path(self.file), self.seed)
        if self.draw is not None:
            return DRAWS[self.draw](seed)
        window = self.members / 10 if self.window is None else self.window
        flash = Scenario.flash(self.members, window, seed)
        crash_settle = 110.0 if self.crashes else flash.settle
        return replace(
            flash,
            loss=self.loss,
            crashes=self.crashes,
            settle=crash_settle,
            packets_per_second=1.0,
        )

    def command(self, seed: int = 1) -> str:
        """Return the command that repeats the run; `seed` is that of the scenario."""
        if self.file is not None:
            parts = [f"dmmp sim --scenario {self.file} --seed {seed}"]
        elif self.draw is not None:
            parts = [f"dmmp sim --{self.draw} --seed {seed}"]
        else:
            parts = [f"dmmp sim --members {self.members} --seed {seed}"]
        if self.window is not None:
            parts.append(f"--window {self.window:g}")
        if self.loss:
            parts.append(f"--loss {self.loss:g}")
        if self.crashes:
            parts.append(f"--crashes {self.crashes}")
        if self.wire:
            parts.append("--wire")
        return " ".join(parts)


def _plain_option(options: SimOptions) -> str:
    """Name the first option that only makes sense without a scenario, if it was given."""
    for name in ("members", "window", "loss", "crashes"):
        default = SimOptions.__dataclass_fields__[name].default
        if getattr(options, name) != default:
            return f"--{name}"
    return ""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run; long ones have no digest."""

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

    @property
    def command(self) -> str:
        """Return the command that repeats the run."""
        return self.options.command(self.scenario.seed)

    def to_json(self) -> dict[str, object]:
        """Return everything but the world, as JSON's types."""
        return {
            "command": self.command,
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
            ("delivery", _ratios(found)),
            ("duplicates", f"{found.duplicates:.3f} for each packet, all receivers together"),
            ("control bytes", f"{found.control_bytes:.1f}/s a host, sent, at hosts"),
            ("longest silence", _shown(found.silence, "s")),
            ("probes at super nodes", _shown(found.probes, "/s")),
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
        again = ["again with:", f"  {self.command}", "in a test:", f"  {self.scenario}"]
        return [str(failure) for failure in self.failures] + again


def run(options: SimOptions, write_trace: Callable[[str], None] | None = None) -> Result:
    """Run a simulation; `write_trace` gets one JSON line for each thing that happens."""
    scenario = options.scenario()
    if options.security != "none":
        scenario = replace(scenario, security=options.security)
    # A long run's digest is read by nobody and costs a tenth.
    trace = Trace(write_trace, is_kept=write_trace is not None or scenario.end < LONG)
    world = scenario.play(wire=options.wire, trace=trace)
    return Result(options, scenario, measure(world), tuple(world.failures), _digest(trace), world)


def _digest(trace: Trace) -> str:
    return trace.digest() if trace.is_kept else "-"


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


def _ratios(found: Measures) -> str:
    return (
        f"{found.delivery:.6f} of members, {found.delivery_started:.6f} counted from their start, "
        f"connectivity {found.connectivity:.6f}"
    )


def _shown(found: Summary, unit: str) -> str:
    if not found.count:
        return "-"
    unit = f" {unit}" if unit == "s" else unit
    return (
        f"median {found.median:.3g}{unit}, 95 % {found.p95:.3g}{unit}, "
        f"99 % {found.p99:.3g}{unit}, most {found.most:.3g}{unit}"
    )
