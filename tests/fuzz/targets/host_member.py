"""A cluster member fed messages in sequence; see `hosts`."""

from __future__ import annotations

from dmmp.roles.end_host import EndHost
from tests.fuzz.targets.hosts import end_host, target
from tests.roles.stage import register, super_node


def member() -> EndHost:
    """Make one that is registered and knows two super nodes."""
    made = end_host("member", 4)
    register(made, 0.0, (super_node(3), super_node(4)))
    return made


TARGET = target("host_member", "cluster member", member)
