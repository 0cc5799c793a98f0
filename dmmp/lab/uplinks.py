"""What hosts can send: their uplinks in bit/s, and how many children each can feed.

A host can have as many children as the stream fits whole into its uplink, up to 64. The mixes given
as degrees stand for uplinks of just so many streams. Host 0 is the source and can always feed
eight. Lists are [hosts], the same for the same randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from dmmp.errors import UsageError

STREAM_BITS = 80_000
"""Rate of the stream, bit/s: 1,000 bytes ten times a second (Birrer and Bustamante, JSAC 2007)."""

SOURCE_CHILDREN = 8
MOST_CHILDREN = 64

MEAN_STREAMS = 3.0
"""Mean uplink of the Pareto and lognormal mixes in streams: an assumption, near the mean of `het`,
which is 2.75. Below 1 nobody could serve all, and far above it all trees are good."""

HET_DEGREES = (0, 1, 2, 4, 8, 16)
HET_PERCENT = (35, 15, 20, 15, 10, 5)

GNUTELLA_BITS = (128_000, 384_000, 1_000_000, 5_000_000)
GNUTELLA_PERCENT = (20, 40, 25, 15)
"""Four classes of access lines after what was measured in Gnutella (Saroiu, Gummadi and Gribble,
MMCN 2002); the shares are rounded, so compare orders of protocols rather than digits."""

PARETO_SHAPE = 1.5
LOGNORMAL_SIGMA = 1.0


def _even(degree: int, rng: Random, hosts: int) -> list[float]:
    return [float(degree * STREAM_BITS)] * hosts


def _het(rng: Random, hosts: int) -> list[float]:
    return [float(d * STREAM_BITS) for d in rng.choices(HET_DEGREES, HET_PERCENT, k=hosts)]


def _gnutella(rng: Random, hosts: int) -> list[float]:
    return [float(rate) for rate in rng.choices(GNUTELLA_BITS, GNUTELLA_PERCENT, k=hosts)]


def _pareto(rng: Random, hosts: int) -> list[float]:
    least = MEAN_STREAMS * STREAM_BITS * (PARETO_SHAPE - 1) / PARETO_SHAPE
    return [least * rng.paretovariate(PARETO_SHAPE) for _ in range(hosts)]


def _lognormal(rng: Random, hosts: int) -> list[float]:
    # The mean of a lognormal variable is its median times e to half the variance.
    mean = MEAN_STREAMS * STREAM_BITS
    return [
        mean * rng.lognormvariate(-(LOGNORMAL_SIGMA**2) / 2, LOGNORMAL_SIGMA) for _ in range(hosts)
    ]


RATES: dict[str, Callable[[Random, int], list[float]]] = {
    "d4": partial(_even, 4),
    "d6": partial(_even, 6),
    "d8": partial(_even, 8),
    "het": _het,
    "gnutella": _gnutella,
    "pareto": _pareto,
    "lognormal": _lognormal,
}
"""Makers of uplinks in bit/s by name, before the source gets its own."""


def uplink_rates(name: str, rng: Random, hosts: int) -> list[float]:
    """Return uplinks in bit/s, the source's at least eight streams."""
    make = RATES.get(name)
    if make is None:
        raise UsageError(f"no uplinks are called {name!r}: take {', '.join(RATES)}")
    rates = make(rng, hosts)
    rates[0] = max(rates[0], float(SOURCE_CHILDREN * STREAM_BITS))
    return rates


def degrees_of(rates: Sequence[float], stream_bits: float = STREAM_BITS) -> list[int]:
    """Return how often the stream fits into each uplink, at most 64."""
    return [min(MOST_CHILDREN, int(rate // stream_bits)) for rate in rates]


def _degrees(name: str, rng: Random, hosts: int) -> list[int]:
    return degrees_of(uplink_rates(name, rng, hosts))


UPLINKS: dict[str, Callable[[Random, int], list[int]]] = {
    name: partial(_degrees, name) for name in RATES
}
"""Makers of out-degrees by name: from randomness and a number of hosts."""
