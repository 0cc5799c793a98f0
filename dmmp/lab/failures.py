"""Who is up when: the same list of arrivals and failures for every protocol of one study.

Host 0 is the source: it comes first and never fails. Everybody else joins at a uniformly drawn
instant of the warm-up, so that no protocol is judged by a crowd that it was not asked to face; the
crowd is a list of its own, `flash`.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import merge
from itertools import chain
from random import Random
from typing import Final, NamedTuple

JOINS: Final = 60.0
"""Seconds within which everybody joins."""

SETTLED: Final = 120.0
"""Seconds from the beginning until what is measured and, with churn, the failures begin."""

STREAM_LEAD: Final = 10.0
"""Seconds of stream before anything is measured, for caches and parents to be those of a stream
that runs."""

MEMBERSHIP_RATE: Final = 5.0
"""Changes per second of `poisson`: Banerjee et al., PRM, SIGMETRICS 2003."""

AGE: Final = 20_000.0
"""Seconds that the sessions ran before anything is measured, for their ages to be as they stay."""

FLASH_SECONDS: Final = 60.0
"""Within which the crowd of `flash` comes."""

FLASH_SHARE: Final = 0.9
"""Of the hosts, those that are in the crowd."""


class Change(NamedTuple):
    """A host comes up or fails, without a word, at `time` seconds."""

    time: float
    host: int
    up: bool


class Plan(NamedTuple):
    """What happens to the hosts of a run: changes by time, and the times of the run in seconds.

    The source speaks from `stream_from` on, what is measured lies from `measured_from` to `until`.
    """

    changes: list[Change]
    stream_from: float
    measured_from: float
    until: float


Draw = Callable[[Random], float]


def _joins(seed: int, hosts: int) -> dict[int, float]:
    """Draw when each host joins: the same for every churn of a seed."""
    draws = Random(f"{seed} joins")
    return {0: 0.0} | {host: draws.uniform(0.0, JOINS) for host in range(1, hosts)}


def _plan(joins: dict[int, float], later: list[Change], seconds: float) -> Plan:
    first = sorted(Change(at, host, True) for host, at in joins.items())
    return Plan(list(merge(first, later)), SETTLED - STREAM_LEAD, SETTLED, SETTLED + seconds)


def _sessions(name: str, seed: int, host: int, until: float, up: Draw, down: Draw) -> list[Change]:
    """Alternate times up and down from the end of the warm-up on."""
    # One stream per host: a list for more hosts contains the list for fewer.
    draws = Random(f"{seed} {name} {host}")
    changes = []
    now, is_up = SETTLED - AGE, True
    # The first session has lasted for a while, as sessions have when somebody looks: otherwise
    # nobody would fail for as long as the shortest session lasts.
    while now <= SETTLED:
        now += up(draws)
    while now < until:
        is_up = not is_up
        changes.append(Change(now, host, is_up))
        now += (up if is_up else down)(draws)
    return changes


def _alternating(name: str, up: Draw, down: Draw) -> Callable[[int, int, float], Plan]:
    def plan(seed: int, hosts: int, seconds: float) -> Plan:
        until = SETTLED + seconds
        later = (_sessions(name, seed, host, until, up, down) for host in range(1, hosts))
        return _plan(_joins(seed, hosts), sorted(chain.from_iterable(later)), seconds)

    return plan


def _exponential(mean: float) -> Draw:
    return lambda draws: draws.expovariate(1.0 / mean)


def _pareto(mean: float, shape: float) -> Draw:
    least = mean * (shape - 1.0) / shape
    return lambda draws: least * draws.paretovariate(shape)


def _none(seed: int, hosts: int, seconds: float) -> Plan:
    return _plan(_joins(seed, hosts), [], seconds)


def _poisson(seed: int, hosts: int, seconds: float) -> Plan:
    """Changes at a fixed rate whatever the size: a random host leaves, a random absent one returns,
    in turn, so that the group keeps its size."""
    draws = Random(f"{seed} poisson")
    up, down = list(range(1, hosts)), list[int]()
    changes = list[Change]()
    now, until = SETTLED, SETTLED + seconds
    # A group that could lose its last member within a second has nothing to measure.
    rate = min(MEMBERSHIP_RATE, hosts / 20.0)
    while up and (now := now + draws.expovariate(rate)) < until:
        returns = len(down) > len(changes) % 2 and bool(down) and len(changes) % 2 == 1
        hosts_from, hosts_to = (down, up) if returns else (up, down)
        place = draws.randrange(len(hosts_from))
        hosts_from[place], hosts_from[-1] = hosts_from[-1], hosts_from[place]
        host = hosts_from.pop()
        hosts_to.append(host)
        changes.append(Change(now, host, returns))
    return _plan(_joins(seed, hosts), changes, seconds)


def _flash(seed: int, hosts: int, seconds: float) -> Plan:
    """Most hosts come within a minute of the measured time, into a small group that runs."""
    joins = _joins(seed, hosts)
    draws = Random(f"{seed} flash")
    crowd = draws.sample(range(1, hosts), round((hosts - 1) * FLASH_SHARE))
    for host in crowd:
        joins[host] = SETTLED + draws.uniform(0.0, min(FLASH_SECONDS, seconds / 2.0))
    return _plan(joins, [], seconds)


def _mean_times(name: str, up: float, down: float) -> Callable[[int, int, float], Plan]:
    return _alternating(name, _exponential(up), _exponential(down))


WEIBULL_SHAPE: Final = 0.5
"""Of the sessions of `weibull`: Stutzbach and Rejaie, IMC 2006, measured 0.34 to 0.59."""

WEIBULL_SCALE: Final = 900.0
"""Seconds; with the shape above the mean session is twice that, half an hour as in `jsac-30`."""

CHURNS: Final[dict[str, Callable[[int, int, float], Plan]]] = {
    "none": _none,
    # Birrer and Bustamante, NWU-CS-04-36: mean time to failure 5 or 60 min, to return 2 or 10 min.
    "nemo-high": _mean_times("nemo-high", 300.0, 120.0),
    "nemo-low": _mean_times("nemo-low", 3600.0, 600.0),
    # Birrer and Bustamante, JSAC 2007: the time to return is a sixth of the time to failure.
    "jsac-120": _mean_times("jsac-120", 7200.0, 1200.0),
    "jsac-30": _mean_times("jsac-30", 1800.0, 300.0),
    "poisson": _poisson,
    "weibull": _alternating(
        "weibull",
        lambda draws: draws.weibullvariate(WEIBULL_SCALE, WEIBULL_SHAPE),
        _exponential(300.0),
    ),
    # The set-up of NICE in OverSim: half an hour up and half an hour down on average.
    "pareto": _alternating("pareto", _pareto(1800.0, 3.0), _pareto(1800.0, 3.0)),
    "flash": _flash,
}
"""Failure lists by name, each from (seed, hosts, measured seconds)."""
