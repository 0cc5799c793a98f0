"""What a running node shows: log lines, event lines, and the document of `dmmp show`.

The document's fields are stable and described in docs/show.md; everything here only reads.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any, TextIO

from dmmp import __version__
from dmmp.events import Event, PeerViolation
from dmmp.interest import Interest
from dmmp.messages.common import HostRecord
from dmmp.roles.view import PathView, View
from dmmp.types import NO_HOST, Endpoint, HostId, SessionId

SCHEMA = 1
"""Version of the document; it changes only when a field changes its meaning or goes away."""

_QUIET_EVENTS = (PeerViolation,)

Document = dict[str, Any]


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record, with its exception if it has one."""
        line = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(level: str, as_json: bool) -> None:
    """Send log lines to standard error from now on."""
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class EventLines:
    """Writes one line for each thing that a person cares about, as text or JSON."""

    def __init__(self, stream: TextIO, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json
        self._log = logging.getLogger("dmmp.events")

    def say(self, text: str, kind: str = "Line", **fields: Any) -> None:
        """Write one line."""
        if self._as_json:
            line = {"time": _timestamp(time.time()), "event": kind, **fields, "text": text}
            text = json.dumps(line)
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read our lines is gone; that is no reason to stop forwarding.
            pass

    def __call__(self, event: Event) -> None:
        """Write the line of an event; what peers do wrong only goes to the log."""
        if isinstance(event, _QUIET_EVENTS):
            self._log.info("%s", event)
        else:
            self.say(str(event), type(event).__name__, **_fields(event))


def _fields(event: Event) -> dict[str, Any]:
    values = {}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        plain = isinstance(value, (int, float, str)) and not isinstance(value, Enum)
        values[field.name] = value if plain else str(value)
    return values


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def host_text(host: HostId) -> str | None:
    """Write a host id as everywhere in the output: eight hexadecimal digits; None for "none"."""
    return None if host == NO_HOST else f"{host:08x}"


def session_text(session: SessionId) -> str | None:
    """Write a session id likewise."""
    return f"{session:08x}" if session else None


def record_document(record: HostRecord) -> Document:
    """Show a host as others know it."""
    return {
        "node_id": host_text(record.host),
        "address": str(record.endpoint),
        "depth": None if record.depth == 255 else record.depth,
        "out_degree": record.out_degree,
        "free_slots": record.free_slots,
        "uptime": record.uptime,
        "delay_ms": record.delay_us / 1000 if record.delay_us else None,
    }


def neighbour_document(record: HostRecord, paths: Mapping[Endpoint, PathView]) -> Document:
    """Show a parent or a child, with what is known of the path between."""
    path = paths.get(record.endpoint, PathView(record.endpoint, 0))
    return record_document(record) | {
        "path_mtu": path.path_mtu or None,
        "fragments": path.path_mtu < path.needed if path.path_mtu else None,
        "path_probes": path.probes,
    }


def interest_document(interest: Interest) -> Document:
    """Show one interest record."""
    return {
        "group": str(interest.group),
        "mode": interest.mode.name.lower(),
        "sources": [str(source) for source in interest.sources],
    }


def view_document(view: View) -> Document:
    """Show a role's snapshot."""
    paths = {path.endpoint: path for path in view.paths}
    return {
        "role": view.role,
        "state": view.state,
        "node_id": host_text(view.host),
        "session": view.session_name,
        "session_id": session_text(view.session),
        "parent": None if view.parent is None else neighbour_document(view.parent, paths),
        "depth": view.depth,
        "root_path": [host_text(host) for host in view.root_path],
        "super_node": host_text(view.super_node),
        "out_degree": view.out_degree,
        "children": [neighbour_document(child, paths) for child in view.children],
        "mesh_children": [neighbour_document(child, paths) for child in view.mesh_children],
        "backup": [record_document(backup) for backup in view.backups],
        "super_nodes": [record_document(super_node) for super_node in view.super_nodes],
        "groups": [interest_document(wanted) for wanted in view.groups],
        "subtree_groups": [interest_document(wanted) for wanted in view.subtree_groups],
        "tree_version": view.tree_version,
        "hosts": view.hosts,
        "registrations": [
            {
                "address": str(point.endpoint),
                "answers": point.answers,
                "registered": point.registered,
                "hosts": point.hosts,
            }
            for point in view.points
        ],
        "tables": dict(view.tables),
    }


def added(*counters: Mapping[str, int]) -> dict[str, int]:
    """Add up counters of the same names."""
    total: dict[str, int] = {}
    for each in counters:
        for name, value in each.items():
            total[name] = total.get(name, 0) + value
    return total


def base_document(name: str, kind: str, listen: object, started: float, now: float) -> Document:
    """Show what every node has, whatever its role."""
    import os

    return {
        "schema": SCHEMA,
        "version": __version__,
        "name": name,
        "kind": kind,
        "pid": os.getpid(),
        "uptime": round(now - started, 3),
        "listen": str(listen),
    }
