"""What a fuzzing target is: a function of bytes that raises when something does not hold.

Nothing here runs one. `registry` finds them, `child` runs them under atheris, `test_corpora`
without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

DATAGRAM_BYTES = 2048
"""Longest input of most targets: more than a path carries whole, so every length check is met."""

TIME_LIMIT = 0.001
"""Seconds that a parser may take for one input (security.md §5)."""

MEMORY_LIMIT_BYTES = 64 << 10
"""Memory that a parser may take for one input, beside the input itself (security.md §5)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    `says` is what must hold for any bytes; `test_one` raises, whatever it is, where it does not.
    `seeds` gives inputs to begin with. `parse` is the parser alone, without the checks around it:
    what the limits of time and memory are for. Machines that take many inputs have none: their
    tables have bounds of their own, which `test_one` checks.
    """

    name: str
    says: str
    test_one: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    parse: Callable[[bytes], object] | None = None
    most_bytes: int = DATAGRAM_BYTES
