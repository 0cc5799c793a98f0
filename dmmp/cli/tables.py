"""Tables for people, drawn with rich; imported only by commands that print one.

They show what documents and results say and add nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmmp.doctor import Check

PIPE_WIDTH = 200
_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables one below the other."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width; what reads it wants lines whole.
        console.width = PIPE_WIDTH
    for table in tables:
        console.print(table)


def columns(title: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Make a table of rows, none of whose cells is markup."""
    table = Table(title=Text(title) if title else None, title_justify="left", box=None)
    for each in titles:
        table.add_column(each, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def two_columns(rows: Iterable[tuple[str, str]], title: str = "") -> Table:
    """Make a table of names and values."""
    table = Table(title=Text(title) if title else None, title_justify="left", box=None)
    table.show_header = False
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def checks_table(checks: Iterable[Check]) -> Table:
    """Make the table of `dmmp doctor`."""
    table = Table(box=None)
    for each in ("", "check", "found", "cure"):
        table.add_column(each, overflow="fold")
    for check in checks:
        state = Text(check.state, style=_STYLES[check.state])
        table.add_row(state, Text(check.name), Text(check.found), Text(check.cure))
    return table


def nodes_table(documents: Iterable[dict[str, Any]]) -> Table:
    """Make the table of several nodes, one line each."""
    rows = []
    for document in documents:
        counters = document.get("counters", {})
        rows.append(
            (
                str(document.get("name")),
                str(document.get("role")),
                str(document.get("session")),
                str(document.get("node_id") or "-"),
                _host(document.get("parent")),
                _plain(document.get("depth")),
                str(len(document.get("children", ()))),
                str(counters.get("data_received", 0)),
                str(counters.get("delivered", 0)),
                str(counters.get("lost", 0)),
            )
        )
    titles = ("name", "role", "session", "id", "parent", "depth", "children")
    return columns("", (*titles, "received", "delivered", "lost"), rows)


def node_tables(document: dict[str, Any]) -> list[Table]:
    """Make the tables of one node."""
    groups = document.get("groups", ())
    rows = [
        ("role", f"{document.get('role')} ({document.get('state', '-')})"),
        ("session", f"{document.get('session')} ({document.get('session_id') or '-'})"),
        ("id", str(document.get("node_id") or "-")),
        ("listens on", str(document.get("listen"))),
        ("parent", _host(document.get("parent"))),
        ("depth", _plain(document.get("depth"))),
        ("super node", str(document.get("super_node") or "-")),
        ("backup", ", ".join(_host(host) for host in document.get("backup", ())) or "-"),
        ("children", _hosts(document, "children")),
        ("mesh children", _hosts(document, "mesh_children")),
        ("path MTU", _paths(document)),
        ("groups joined here", ", ".join(_interest(wanted) for wanted in groups) or "-"),
        ("up for", f"{document.get('uptime', 0):.0f} s"),
        ("version", f"{document.get('version')} (process {document.get('pid')})"),
    ]
    tables = [two_columns(rows, f"node {document.get('name')}")]
    tables += [_session_table(document["sessions"])] if document.get("sessions") else []
    counters = [(name, str(value)) for name, value in document.get("counters", {}).items()]
    tables.append(two_columns(counters, "packets"))
    drops = [(name, str(count)) for name, count in document.get("drops", {}).items() if count]
    if drops:
        tables.append(two_columns(drops, "dropped, by reason"))
    per_group: dict[str, dict[str, int]] = document.get("per_group", {})
    if per_group:
        titles = sorted({name for counts in per_group.values() for name in counts})
        cells = [
            (group, *(str(counts.get(name, 0)) for name in titles))
            for group, counts in per_group.items()
        ]
        tables.append(columns("by group", ("group", *titles), cells))
    return tables


def _session_table(sessions: Sequence[dict[str, Any]]) -> Table:
    rows = [
        (
            str(session["session"]),
            str(session["session_id"]),
            str(session["hosts"]),
            str(len(session["super_nodes"])),
            str(session["tree_version"]),
        )
        for session in sessions
    ]
    return columns("sessions", ("session", "id", "hosts", "super nodes", "tree version"), rows)


def _host(host: dict[str, Any] | None) -> str:
    return "-" if not host else f"{host['node_id']} at {host['address']}"


def _hosts(document: dict[str, Any], field: str) -> str:
    hosts = document.get(field, ())
    return "; ".join(_host(host) for host in hosts) or "-"


def _paths(document: dict[str, Any]) -> str:
    """Name the path MTU from the parent and to each child, as far as it is known."""
    parent = document.get("parent") or {}
    said = [f"{parent['path_mtu']} from the parent"] if parent.get("path_mtu") else []
    for field in ("mesh_children", "children"):
        for child in document.get(field, ()):
            if child.get("path_mtu"):
                cut = ", in fragments" if child["fragments"] else ""
                said.append(f"{child['path_mtu']} to {child['node_id']}{cut}")
    return "; ".join(said) or "-"


def _interest(wanted: dict[str, Any]) -> str:
    sources = ", ".join(wanted["sources"])
    if not sources:
        return str(wanted["group"])
    return f"{wanted['group']} {'from' if wanted['mode'] == 'include' else 'except'} {sources}"


def _plain(value: object) -> str:
    return "-" if value is None else str(value)
