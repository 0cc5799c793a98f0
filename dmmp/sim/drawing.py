"""Scenarios drawn from seeds: all kinds of faults in mixtures, and one crash after another.

Half of the seeds mend everything at the end and demand full recovery, the other half end in the
midst of it and check only what must hold at every moment: liveness and safety.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from random import Random

from dmmp.sim.churn import Churn
from dmmp.sim.faults import Fault
from dmmp.sim.scenario import BEGIN, BUILT, LAST_PACKETS, TAIL, Scenario

LEAST_MEMBERS, MOST_MEMBERS = 10, 300
"""Drawn so that each factor is as likely as the next: most are small."""

MOST_TROUBLED = 30.0
"""Seconds during which faults begin and end."""

RECOVERS = 50.0
"""Seconds after which everybody must have recovered: the mesh's hold time, and a refresh or two."""

WATCHED = 6.0
"""Seconds after that during which nobody may miss a packet."""

Draw = Callable[[Random, float, float], Fault]
"""Draws a fault of one kind that begins after the first time and is over by the second."""


def _window(rng: Random, begin: float, end: float, least: float = 1.0) -> tuple[float, float]:
    at = begin + (end - begin - least) * rng.random()
    return round(at, 3), round(least + (end - at - least) * rng.random() * 0.999, 3)


def _aimed(kind: str, *classes: str) -> Draw:
    def draw(rng: Random, begin: float, end: float) -> Fault:
        at, lasts = _window(rng, begin, end)
        who, count = rng.choice(classes), rng.choice((1, 1, 1, 2, 3))
        return Fault(kind, at, lasts, who, count=count)

    return draw


def _crash(rng: Random, begin: float, end: float) -> Fault:
    at, lasts = _window(rng, begin, end)
    who = rng.choice(("member", "super-node", "relay", "host"))
    return Fault("crash", at, rng.choice((0.0, lasts)), who, count=rng.choice((1, 1, 2, 4)))


def _leave(rng: Random, begin: float, end: float) -> Fault:
    at, lasts = _window(rng, begin, end, 6.0)
    who = rng.choice(("member", "super-node", "relay"))
    return Fault("leave", at, rng.choice((0.0, lasts)), who, count=rng.choice((1, 2)))


def _cut(rng: Random, begin: float, end: float) -> Fault:
    at, lasts = _window(rng, begin, end)
    who, to = rng.choice(
        (("relay", "host"), ("host", "relay"), ("super-node", "source"), ("source", "super-node"))
    )
    return Fault("cut", at, lasts, who, to)


def _partition(rng: Random, begin: float, end: float) -> Fault:
    at, lasts = _window(rng, begin, end, 2.0)
    return Fault("partition", at, lasts, share=rng.choice((0.1, 0.3, 0.5)))


def _worse(kind: str, *amounts: float) -> Draw:
    def draw(rng: Random, begin: float, end: float) -> Fault:
        at, lasts = _window(rng, begin, end)
        who = rng.choice(("", "host", "relay", "source", "rp"))
        return Fault(kind, at, lasts, who, amount=rng.choice(amounts))

    return draw


def _clock(rng: Random, begin: float, end: float) -> Fault:
    at, _ = _window(rng, begin, end)
    who = rng.choice(("host", "relay", "super-node", "source", "rp"))
    return Fault("clock", at, 0.0, who, amount=rng.choice((0.5, 5.0, 40.0)))


def _rp_loss(rng: Random, begin: float, end: float) -> Fault:
    at, lasts = _window(rng, begin, end)
    return Fault("crash", at, lasts, "rp")


def _crowd(rng: Random, begin: float, end: float) -> Fault:
    at, lasts = _window(rng, begin, end)
    return Fault("crowd", at, min(lasts, 3.0), count=rng.randrange(3, 30))


def _source(kind: str) -> Draw:
    def draw(rng: Random, begin: float, end: float) -> Fault:
        at, lasts = _window(rng, begin, end)
        graceful = rng.random() < 0.5
        return Fault(kind, at, max(min(lasts, 5.0), 1.0), graceful=graceful)

    return draw


FAULTS: dict[str, Draw] = {
    "crash": _crash,
    "leave": _leave,
    "suspend": _aimed("suspend", "member", "relay", "super-node"),
    "cut": _cut,
    "partition": _partition,
    "loss": _worse("loss", 0.02, 0.1, 0.3),
    "bursts": _worse("bursts", 0.5, 0.9),
    "duplicate": _worse("duplicate", 0.05, 0.3),
    "reorder": _worse("reorder", 0.05, 0.3),
    "clock": _clock,
    "rp": _rp_loss,
    "crowd": _crowd,
    "source-returns": _source("source-returns"),
    "source-moves": _source("source-moves"),
    "unjoin": _aimed("unjoin", "member", "relay"),
    "forge": _aimed("forge", "host", "relay"),
    "rebind": _aimed("rebind", "member", "relay", "super-node"),
}
"""How each kind is drawn."""


def draw_scenario(seed: int) -> Scenario:
    """Draw a scenario: size, network, capacities, and up to eight faults of all kinds."""
    rng = Random(f"{seed}/drawn")
    members = int(exp(rng.uniform(log(LEAST_MEMBERS), log(MOST_MEMBERS + 1))))
    window = float(rng.randrange(3, 15))
    begin = BEGIN + window + BUILT
    end = begin + rng.uniform(0.4, 1.0) * MOST_TROUBLED
    kinds = list(FAULTS)
    faults: list[Fault] = []
    for _ in range(rng.choice((1, 1, 2, 3, 4, 6, 8))):
        kind = rng.choice(kinds)
        faults.append(FAULTS[kind](rng, begin, end - 0.01))
        if kind.startswith("source"):
            # Two of them at once would need a referee.
            kinds = [other for other in kinds if not other.startswith("source")]
    is_lively = rng.random() < 0.5
    rest = 1.0 + RECOVERS + WATCHED + TAIL + LAST_PACKETS if is_lively else 15.0
    churn = None
    if rng.random() < 0.15:
        model = rng.choice(("exponential", "pareto", "weibull"))
        churn = Churn(model, begin, end - begin, 40.0, 10.0, leaving=rng.choice((0.0, 0.5)))
    return Scenario(
        seed=seed,
        members=members,
        relays=rng.randrange(3),
        source_out_degree=rng.randrange(3, 9),
        window=window,
        settle=round(end - BEGIN - window + rest, 3),
        topology=rng.choice(("plane", "transit-stub", "uniform")),
        uninterested=rng.choice((0.0, 0.0, 0.2)),
        unreachable=rng.random() < 0.5,
        packets_per_second=rng.choice((1.0, 2.0, 5.0, 10.0)),
        rendezvous_points=rng.choice((1, 1, 2, 3)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        churn=churn,
        heals=round(end + 1.0, 3) if is_lively else 0.0,
        recovers=RECOVERS,
        safety=not is_lively,
    )


def draw_single(seed: int) -> Scenario:
    """Draw a scenario of single deaths: one host after another, at least 5 s apart, no loss.

    Nobody may miss a packet: each must survive the death of any one host.
    """
    rng = Random(f"{seed}/single")
    members = int(exp(rng.uniform(log(LEAST_MEMBERS), log(80))))
    window = float(rng.randrange(3, 10))
    at = BEGIN + window + BUILT + 5.0
    faults = []
    for _ in range(rng.randrange(1, 4)):
        at += rng.uniform(5.0, 8.0)
        who = rng.choice(("super-node", "relay", "member", "rp"))
        faults.append(Fault("crash", round(at, 3), 0.0, who))
        if who == "rp":
            break
    return Scenario(
        seed=seed,
        members=members,
        source_out_degree=rng.randrange(3, 9),
        window=window,
        settle=round(at - BEGIN - window + 25.0, 3),
        topology=rng.choice(("plane", "transit-stub", "uniform")),
        unreachable=rng.random() < 0.5,
        packets_per_second=rng.choice((5.0, 10.0, 20.0)),
        faults=tuple(faults),
        strict=True,
    )
