"""What a verdict rests on: files, a capture, and what the runner did when. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dmmp.captures import Captured
from dmmp.types import IpAddress
from interop.matrix.delivered import Delivered

MEMBERS: Final = ("m1", "m2", "m3")
STRANGER: Final = "stranger"


@dataclass(slots=True)
class Evidence:
    """All that a verdict may look at: files and capture, and when the runner did what."""

    security: str
    addresses: dict[str, IpAddress]
    first: int
    last: int
    """The stream's numbers that everybody present is owed."""

    delivered: dict[str, Delivered]
    packets: list[Captured]
    marks: dict[str, float] = field(default_factory=dict)
    """Instants, seconds since 1970, and other numbers that a scenario noted."""

    gone: set[str] = field(default_factory=set)
    """Hosts that were killed, or asked to leave."""

    exits: dict[str, int] = field(default_factory=dict)
    """Exit codes of those that were asked to leave."""
