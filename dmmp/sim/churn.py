"""Churn: when which host goes down and comes up, drawn before the run.

Drawn from a seed for each host apart, so that other protocols, or the same with other parameters,
meet the very same failures. A host that comes up is a fresh start. Models and figures as the papers
on overlay multicast use them: exponential (Nemo), Pareto (OverSim's NICE), Weibull, Poisson.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gamma
from random import Random
from typing import NamedTuple

from dmmp.errors import UsageError
from dmmp.types import Instant

MODELS = ("exponential", "pareto", "weibull", "poisson")

SHORTEST = 1e-3
"""No life and no pause is shorter, in seconds: otherwise the draw may not end."""


class Turn(NamedTuple):
    """A host goes down, or comes up."""

    at: Instant
    host: int
    is_up: bool


@dataclass(frozen=True, slots=True)
class Churn:
    """Who comes and goes between `at` and `at + lasts`; means in seconds.

    `mttf` is the mean time a host is up, `mttr` the mean time it is down. `shape` is that of the
    Weibull (1 = exponential) or Pareto distribution (above 1, or there is no mean). With `poisson`
    hosts come at `rate` a second, each once, stay for an exponential time and never return.
    `leaving` is the share of those that say goodbye. With `returns` all are up again in the end.
    """

    model: str = "exponential"
    at: Instant = 0.0
    lasts: float = 60.0
    mttf: float = 300.0
    mttr: float = 120.0
    shape: float = 1.5
    rate: float = 1.0
    leaving: float = 0.0
    returns: bool = True

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UsageError(f"churn model: {self.model!r} is none of {', '.join(MODELS)}")
        for name in ("lasts", "mttf", "mttr", "shape", "rate"):
            if not getattr(self, name) > 0:
                raise UsageError(f"churn {name}: must be above 0")
        if self.at < 0:
            raise UsageError("churn at: must not be negative")
        if not 0 <= self.leaving <= 1:
            raise UsageError("churn leaving: must be between 0 and 1")
        if self.model == "pareto" and self.shape <= 1:
            raise UsageError("churn shape: a Pareto distribution has a mean only above 1")

    @property
    def end(self) -> Instant:
        """Return when it is over."""
        return self.at + self.lasts

    def turns(self, seed: int, hosts: int) -> list[Turn]:
        """Draw every turn of hosts 0, 1, 2 …, in the order of time."""
        found: list[Turn] = []
        if self.model == "poisson":
            found = self._arrivals(seed, hosts)
        else:
            for host in range(hosts):
                found += self._alternations(Random(f"{seed}/churn/{host}"), host)
        return sorted(found)

    def _arrivals(self, seed: int, hosts: int) -> list[Turn]:
        found: list[Turn] = []
        arrivals, at = Random(f"{seed}/churn/arrivals"), self.at
        for host in range(hosts):
            at += arrivals.expovariate(self.rate)
            if at >= self.end:
                break
            found.append(Turn(at, host, True))
            gone = at + Random(f"{seed}/churn/{host}").expovariate(1 / self.mttf)
            if gone < self.end:
                found.append(Turn(gone, host, False))
        return found

    def _alternations(self, rng: Random, host: int) -> list[Turn]:
        up, down = self._length(rng, self.mttf), self._length(rng, self.mttr)
        found: list[Turn] = []
        at, is_up = self.at + up(), False
        while at < self.end:
            found.append(Turn(at, host, is_up))
            at += up() if is_up else down()
            is_up = not is_up
        if self.returns and is_up:
            found.append(Turn(self.end, host, True))
        return found

    def _length(self, rng: Random, mean: float) -> Callable[[], float]:
        """Return what draws a time of this mean by the model."""
        if self.model == "exponential":
            return lambda: max(rng.expovariate(1 / mean), SHORTEST)
        if self.model == "weibull":
            scale = mean / gamma(1 + 1 / self.shape)
            return lambda: max(rng.weibullvariate(scale, self.shape), SHORTEST)
        least = mean * (self.shape - 1) / self.shape
        return lambda: max(least * rng.paretovariate(self.shape), SHORTEST)
