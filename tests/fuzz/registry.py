"""The names of all targets, each a module in `tests.fuzz.targets`, and how one is loaded.

Imports no target by itself: under atheris what a target imports must be instrumented on the way.
"""

from __future__ import annotations

from importlib import import_module

from tests.fuzz.target import Target

NAMES = (
    "messages",
    "tlvs",
    "twins",
    "bursts",
    "forwarder",
    "window",
    "cache",
    "packets",
    "igmp",
    "mld",
    "membership",
    "offload",
    "associations",
    "gate",
    "certificates",
    "session_files",
    "deny_lists",
    "rekeys",
    "guarded",
    "host_member",
    "host_super_node",
    "host_source",
    "host_keyed_member",
    "host_keyed_source",
    "host_rendezvous_point",
    "captures",
    "describing",
    "scenario",
    "places",
)
"""All targets, those of the wire first."""

PACKAGE = "tests.fuzz.targets"


def load(name: str) -> Target:
    """Import a target by its name, or by `MODULE:` if it is none of these."""
    module = name[:-1] if name.endswith(":") else f"{PACKAGE}.{name}"
    found = import_module(module).TARGET
    assert isinstance(found, Target)
    return found
