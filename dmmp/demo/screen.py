"""The demonstration on a terminal: a live tree with figures, or plain lines, and the last table.

Only shows what `performance` tells; nothing is measured or decided here.
"""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from dmmp.demo.performance import Result, Scene

PLAIN_PERIOD = 3.0
"""Seconds between two plain lines that say the same in other figures."""

Rates = dict[str, float]


class PlainScreen:
    """Writes a line when something changes, and the figures now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._note = ""
        self._told = 0.0

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def watch(self, scene: Scene) -> None:
        """Take a glance at the performance."""
        if scene.note == self._note and scene.elapsed - self._told < PLAIN_PERIOD:
            return
        self._note, self._told = scene.note, scene.elapsed
        line = _headline(scene)
        counts = [count for name, count in scene.counts.items() if name != "source"]
        if any(counts):
            line += f"; received {min(counts)} to {max(counts)} datagrams each"
        self._console.print(Text(line), soft_wrap=True)


class LiveScreen:
    """Draws the tree anew at each glance."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._counts: dict[str, int] = {}
        self._at = 0.0

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def watch(self, scene: Scene) -> None:
        """Take a glance at the performance."""
        past = scene.elapsed - self._at
        rates = {
            name: (count - self._counts.get(name, 0)) / past
            for name, count in scene.counts.items()
            if past > 0
        }
        self._counts, self._at = dict(scene.counts), scene.elapsed
        header = Text(_headline(scene), style="bold")
        self._live.update(Group(header, draw_tree(scene, rates)), refresh=True)


def _headline(scene: Scene) -> str:
    position = f", {scene.position}" if scene.position else ""
    return f"{scene.elapsed:5.1f} s  {scene.note}{position}"


def draw_tree(scene: Scene, rates: Rates) -> Tree:
    """Draw the tree below the source, with what each program received; the homeless beside it."""
    top = Tree(_label("source", scene, rates))
    children: dict[str, list[str]] = {}
    for name, parent in sorted(scene.parents.items(), key=lambda pair: _order(pair[0])):
        children.setdefault(parent, []).append(name)
    seen = {"source"}

    def grow(branch: Tree, name: str) -> None:
        for child in children.get(name, ()):
            if child not in seen:
                seen.add(child)
                grow(branch.add(_label(child, scene, rates)), child)

    grow(top, "source")
    homeless = [name for name in scene.documents if name not in seen and name != "rp"]
    if homeless:
        aside = top.add(Text("looking for a place", style="yellow"))
        for name in sorted(homeless, key=_order):
            grow(aside.add(_label(name, scene, rates)), name)
    for name in scene.dead:
        top.add(Text(f"{name} killed", style="red"))
    return top


def _order(name: str) -> tuple[str, int]:
    letters = name.rstrip("0123456789")
    return letters, int(name[len(letters) :] or 0)


def _label(name: str, scene: Scene, rates: Rates) -> Text:
    document = scene.documents.get(name, {})
    label = Text(f"{name:7}", style="bold" if document.get("children") else "")
    label.append(f"{document.get('role', 'starting'):15}", style="cyan")
    if name in scene.counts:
        label.append(f"{scene.counts[name]:8} datagrams {rates.get(name, 0.0):6.0f}/s")
    return label


def result_tables(result: Result) -> list[Table]:
    """Make the tables at the end."""
    figures = Table(box=None, show_header=False)
    unicast = len(result.members)
    for name, value in (
        ("stream", f"{result.stream}, {result.seconds:g} s"),
        ("all joined after", f"{result.join_seconds:.1f} s"),
        ("packets sent", str(result.sent)),
        ("source's uplink", f"{result.uplink_bytes:,} bytes, {result.copies:.2f} copies"),
        ("unicast to all", f"{result.sent_bytes * unicast:,} bytes, {unicast} copies"),
        ("relay killed", _casualty(result)),
    ):
        figures.add_row(Text(name, style="bold"), Text(value))
    members = Table(box=None)
    for title in ("member", "received", "lost", "in order", "longest gap", "below the relay"):
        members.add_column(title, justify="left" if title == "member" else "right")
    for member in result.members:
        members.add_row(
            member.name,
            str(member.received),
            Text(str(member.lost), style="red" if member.lost and not member.below_relay else ""),
            "yes" if member.in_order else "no",
            f"{member.gap_ms:.0f} ms",
            "yes" if member.below_relay else "",
        )
    return [figures, members]


def _casualty(result: Result) -> str:
    if result.relay is None:
        return "none"
    below = [member for member in result.members if member.below_relay]
    gap = max((member.gap_ms for member in below), default=0.0)
    return (
        f"{result.relay} after {result.killed_at:.1f} s; the {len(below)} members below it "
        f"heard nothing for {gap / 1000:.2f} s at most"
    )
