"""A source fed messages in sequence; see `hosts`."""

from __future__ import annotations

from dmmp.roles.end_host import EndHost
from tests.fuzz.targets.hosts import end_host, target
from tests.roles.stage import register


def source() -> EndHost:
    """Make one that is registered."""
    made = end_host("source", 8)
    register(made, 0.0)
    return made


TARGET = target("host_source", "source", source)
