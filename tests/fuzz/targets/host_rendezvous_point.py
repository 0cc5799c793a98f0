"""A rendezvous point fed messages in sequence; see `hosts`."""

from __future__ import annotations

from random import Random

from dmmp.messages.local import Start
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.types import SELF
from tests.fuzz.targets.hosts import PARAMETERS, target


def point() -> RendezvousPoint:
    """Make one that serves one session."""
    made = RendezvousPoint(("demo",), PARAMETERS, Random(1))
    made.receive(Start(), SELF, 0.0)
    return made


TARGET = target("host_rendezvous_point", "rendezvous point", point)
