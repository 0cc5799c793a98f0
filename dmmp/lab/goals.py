"""What the overlay is to reach, and whether it does: goals about figures of the studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dmmp.lab.case import Case
from dmmp.lab.measurements import Measurements, matches
from dmmp.lab.page import shown, shown_half
from dmmp.lab.statistics import Interval, mean_interval
from dmmp.lab.study import Place

OURS = "dmmp"
TOOK = "took"
"""In place of a figure: the seconds that a run took on the machine it ran on."""

REACHED, MISSED, NOT_RUN = "reached", "missed", "not run"


class Goal(NamedTuple):
    """A figure of ours in a study, and what it may be at most (at least, with `is_high`).

    The bound is `most`; or `times` what the protocol `against` has in the same run, which may be
    "all": the best of the others. With `grows` it is not about the figure but about the exponent
    of its growth with the group, which may be `most` in either direction.
    """

    study: str
    says: str
    figure: str
    at: Place
    most: float = 0.0
    against: str = ""
    times: float = 1.0
    is_high: bool = False
    grows: bool = False


class Judgement(NamedTuple):
    """A goal, what it demands, what was measured, and in a word what came of it."""

    goal: Goal
    bound: str
    measured: str
    result: str
    remark: str = ""


def _trees(uplinks: str, most: float) -> tuple[Goal, ...]:
    at, mix = (("uplinks", uplinks),), f"PlanetLab, 490 hosts, uplinks {uplinks}"
    return (
        Goal("trees", f"{mix}: mean delay over the lower bound", "ratio_mean", at, most),
        Goal("trees", f"{mix}: hosts above their degree", "over_degree_hosts", at),
        Goal("trees", f"{mix}: hosts without a place", "hosts_without_place", at),
    )


def _failing(study: str, churn: str, hosts: int) -> tuple[Goal, ...]:
    at: Place = (("hosts", hosts), ("churn", churn))
    place = f"hosts fail ({churn}), {hosts:,} of them"
    return (
        Goal(study, f"{place}: delivery", "delivery_ratio", at, against="all", is_high=True),
        Goal(study, f"{place}: control", "control_bytes", at, against="nemo"),
    )


GOALS = (
    *_trees("d4", 1.35),
    *_trees("d8", 1.25),
    *_trees("het", 1.45),
    Goal(
        "transit-stub", "10,100 routers, 512 hosts: mean link stress", "stress_mean", (),
        against="nice",
    ),
    Goal(
        "transit-stub", "10,100 routers, 512 hosts: mean stretch", "stretch_mean", (),
        against="nice", times=0.6,
    ),
    *_failing("churn", "nemo-high", 512),
    *_failing("churn", "nemo-high", 1024),
    *_failing("jsac", "jsac-30", 512),
    *_failing("jsac", "jsac-30", 1024),
    Goal("large", "100,000 members: seconds for a run", TOOK, (("hosts", 100_000),), 360.0),
    Goal(
        "large", "a member's control does not grow with the group", "member_control_bytes", (),
        0.05, grows=True,
    ),
    Goal(
        "large", "a member's state does not grow with the group", "member_state_entries", (),
        0.05, grows=True,
    ),
)  # fmt: skip
"""Goals for DMMP. Those of trees lie between the protocol as on its slides and a central tree."""


def judge(found: Sequence[Measurements]) -> list[Judgement]:
    """Judge the goals of these studies; all goals if there are several studies."""
    studies = {each.study.name: each for each in found}
    return [
        _judge(goal, studies.get(goal.study))
        for goal in GOALS
        if len(found) > 1 or goal.study in studies
    ]


def _judge(goal: Goal, each: Measurements | None) -> Judgement:
    kinds = [kind for kind in each.kinds if matches(kind, goal.at)] if each is not None else []
    ours = [kind for kind in kinds if kind.protocol.partition("-")[0] == OURS]
    if each is None or not ours:
        return Judgement(goal, _demand(goal, ""), "", NOT_RUN)
    if goal.grows:
        return _grown(goal, each.growth(ours, goal.figure))
    others = [kind for kind in kinds if kind not in ours]
    if goal.against not in ("", "all"):
        others = [kind for kind in others if kind.protocol == goal.against]
    bounds: dict[int, float] | None = None
    named = ""
    if goal.against:
        best = _best(goal, each, others)
        if best is None:
            return Judgement(goal, _demand(goal, ""), "", NOT_RUN)
        bounds, named = _values(each, best, goal.figure), best.protocol
    values = _values(each, ours[0], goal.figure)
    if not values:
        return Judgement(goal, _demand(goal, ""), "", NOT_RUN)
    return _compared(goal, values, bounds, named)


def _values(each: Measurements, kind: Case, figure: str) -> dict[int, float]:
    if figure != TOOK:
        return each.values(kind, figure)
    return {number: float(row["took"] or 0) for number, row in enumerate(each.origins([kind]))}


def _best(goal: Goal, each: Measurements, others: Iterable[Case]) -> Case | None:
    """Return the kind of case that is hardest to beat."""
    means = {}
    for kind in others:
        mean = each.mean(kind, goal.figure)
        if mean is not None:
            means[kind] = mean.value
    if not means:
        return None
    return (max if goal.is_high else min)(means, key=lambda kind: means[kind])


def _compared(
    goal: Goal, values: dict[int, float], others: dict[int, float] | None, named: str
) -> Judgement:
    """Compare seed by seed: the same seed gives both the same network and failures."""
    bounds = {seed: goal.times * value for seed, value in (others or {}).items()}
    if others is None:
        bounds = dict.fromkeys(values, goal.most)
    seeds = sorted(values.keys() & bounds.keys())
    if not seeds:
        return Judgement(goal, _demand(goal, named), "", NOT_RUN)
    sign = -1.0 if goal.is_high else 1.0
    over = mean_interval([sign * (values[seed] - bounds[seed]) for seed in seeds])
    ours = mean_interval([values[seed] for seed in seeds])
    bound = mean_interval([bounds[seed] for seed in seeds])
    demand = _demand(goal, named, bound)
    remark = ""
    if len(seeds) == 1:
        remark = "one seed"
    elif over.half > 0 and over.low <= 0 <= over.high:
        remark = "within chance"
    result = REACHED if over.value <= 0 else MISSED
    return Judgement(goal, demand, _plus_minus(ours), result, remark)


def _grown(goal: Goal, exponent: Interval | None) -> Judgement:
    demand = f"exponent 0 ± {goal.most:g}"
    if exponent is None:
        return Judgement(goal, demand, "", NOT_RUN)
    result = REACHED if abs(exponent.value) <= goal.most else MISSED
    within = max(abs(exponent.low), abs(exponent.high)) <= goal.most
    remark = "" if within or result == MISSED else "within chance"
    return Judgement(goal, demand, _plus_minus(exponent), result, remark)


def _demand(goal: Goal, named: str, bound: Interval | None = None) -> str:
    if goal.grows:
        return f"exponent 0 ± {goal.most:g}"
    word = "at least" if goal.is_high else "at most"
    if not goal.against:
        return f"{word} {goal.most:g}"
    times = "" if goal.times == 1 else f"{goal.times:g} x "
    name = {"": "", "all": "the best other's"}.get(goal.against, f"{goal.against}'s")
    if bound is None:
        return f"{word} {times}{name}"
    if goal.against == "all":
        name += f" ({named})"
    return f"{word} {times}{name}: {shown(bound.value, bound.half)}"


def _plus_minus(value: Interval) -> str:
    text = shown(value.value, value.half)
    return f"{text} ± {shown_half(value.half)}" if 0 < value.half < float("inf") else text
