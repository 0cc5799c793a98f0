"""A super node fed messages in sequence; see `hosts`."""

from __future__ import annotations

from dmmp.roles.end_host import EndHost
from tests.fuzz.targets.hosts import end_host, target
from tests.roles.stage import register


def relay() -> EndHost:
    """Make one that is registered."""
    made = end_host("super-node", 8, relay_only=True)
    register(made, 0.0)
    return made


TARGET = target("host_super_node", "super node", relay)
