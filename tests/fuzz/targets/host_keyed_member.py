"""A member with the group's keys around it, fed messages in sequence; see `hosts`."""

from __future__ import annotations

from typing import cast

from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from tests.fuzz.targets.hosts import end_host, keyed, target
from tests.roles.stage import register, super_node


def member() -> KeyedHost:
    """Make one that is registered, and so asks who the source is."""
    made = keyed(end_host("member", 4))
    register(cast(EndHost, made), 0.0, (super_node(3), super_node(4)))
    return made


TARGET = target("host_keyed_member", "member that asks for keys", member)
