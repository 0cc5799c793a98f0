"""What every bench is told, and the type of a bench."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Result


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often; `say` takes a line about what is going on."""

    rounds: int
    seconds: float
    directory: Path
    say: Callable[[str], None]
    brief: bool = False
    soak_minutes: float = 10.0


Bench = Callable[[Options], Result]
