"""How long the tester waits: the protocol's own timers, and what a real network adds to them.

A deployment that runs other timers says them (`--timer NAME=SECONDS`), and cases follow.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from dmmp.errors import UsageError
from dmmp.parameters import Parameters

DEFAULTS = Parameters()


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, all of them.

    `answer`: how long an answer may take that is due at once. `quiet`: how long nothing must come
    where nothing may. `tolerance`: by how much a timer may be off. `start`: how long the
    implementation may take until it is first heard.
    """

    answer: float = 0.25
    quiet: float = 1.0
    tolerance: float = 0.01
    start: float = 0.25
    parameters: Parameters = DEFAULTS


VIRTUAL = Timing()
"""In process: nothing is late but what the protocol lets be late."""

REAL = Timing(answer=1.0, quiet=1.0, tolerance=0.15, start=15.0)
"""Over UDP, on a machine with other work."""


def with_timers(timing: Timing, texts: tuple[str, ...]) -> Timing:
    """Take over timers written `name=seconds`, named as in `dmmp/parameters.py`."""
    known = {field.name for field in fields(Parameters) if isinstance(field.default, float)}
    changes: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise UsageError(f"--timer {text!r}: no timer of this name; see dmmp/parameters.py")
        try:
            changes[name] = float(value)
        except ValueError:
            raise UsageError(f"--timer {text!r}: write NAME=SECONDS") from None
    parameters = replace(timing.parameters, **changes)  # type: ignore[arg-type]
    return replace(timing, parameters=parameters)
