"""One run of a study: who, on which network, with how many hosts, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """What is run; two equal cases give equal results.

    `underlay`, `uplinks` and `churn` are names (`underlays.UNDERLAYS`, `uplinks.UPLINKS`,
    `failures.CHURNS`). `seconds` is the time measured after everybody has joined, `loss` the share
    of datagrams lost on each way between hosts. `options` are the protocol's own.
    """

    protocol: str
    underlay: str
    hosts: int
    seed: int
    uplinks: str = "d4"
    churn: str = "none"
    loss: float = 0.0
    seconds: float = 60.0
    options: tuple[tuple[str, str], ...] = ()

    def option(self, name: str, default: str = "") -> str:
        """Return one of the protocol's own options."""
        return dict(self.options).get(name, default)


@dataclass(slots=True)
class Measured:
    """What came of a case: single figures by name (`metrics.FIGURES` says what they are) and, for
    distributions, samples by name."""

    figures: dict[str, float] = field(default_factory=dict)
    samples: Mapping[str, list[float]] = field(default_factory=dict)
