"""A source that is the key server, fed messages in sequence; see `hosts`."""

from __future__ import annotations

from typing import cast

from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from tests.fuzz.targets.hosts import end_host, keyed, target
from tests.roles.stage import register


def source() -> KeyedHost:
    """Make one that is registered, and so has a first epoch."""
    made = keyed(end_host("source", 8), is_source=True)
    register(cast(EndHost, made), 0.0)
    return made


TARGET = target("host_keyed_source", "source that gives out keys", source)
