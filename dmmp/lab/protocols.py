"""Who can be run: names of protocols and what runs a case of them.

Nothing is imported before a case runs: whoever compares static trees needs no state machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module

from dmmp.errors import UsageError
from dmmp.lab.case import Case, Measured
from dmmp.lab.relatives import FACTORIES

Runner = Callable[[Case], Measured]

VARIANTS = "dmmp-"
"""How the names of DMMP with other policies begin."""


def _lazily(module: str) -> Runner:
    """Give what calls `run` of a module, which is imported by the first call."""

    def run(case: Case) -> Measured:
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise UsageError(f"{case.protocol}: {module} is not there") from None
        measured: Measured = found.run(case)
        return measured

    return run


_OVERLAY = _lazily("dmmp.lab.overlay")
_CONSTRUCTIONS = _lazily("dmmp.lab.constructions")
_ARENA = _lazily("dmmp.lab.arena")


def _star(case: Case) -> Measured:
    """Run the star as a construction: its own name is that of the relative."""
    return _CONSTRUCTIONS(replace(case, protocol="star"))


STATIC = ("star-static", "ip-multicast", "compact-tree", "random-tree")
"""Constructions: they have no time, so that nobody can fail in it."""

RUNNERS: dict[str, Runner] = {
    "dmmp": _OVERLAY,
    **dict.fromkeys(STATIC, _CONSTRUCTIONS),
    "star-static": _star,
    **dict.fromkeys(FACTORIES, _ARENA),
}
"""The names by themselves; `dmmp-` and a variant's name runs the real roles too."""


def runner(name: str) -> Runner:
    """Return what runs the cases of a protocol."""
    if name in RUNNERS:
        return RUNNERS[name]
    if name.startswith(VARIANTS) and name != VARIANTS:
        return _OVERLAY
    known = ", ".join((*RUNNERS, f"{VARIANTS}*"))
    raise UsageError(f"there is no protocol {name[:60]!r}, but {known}")


def run(case: Case) -> Measured:
    """Run one case; where nobody fails, its delays are compared with the least possible.

    Raises UsageError if what runs it takes no notice of failures that it was asked to have: its
    figures would stand beside those of others as if it had withstood them.
    """
    measured = runner(case.protocol)(case)
    figures = measured.figures
    if case.churn != "none" and "delivery_ratio" not in figures:
        raise UsageError(f"{case.protocol}: cannot be run with churn {case.churn!r} yet")
    if case.churn == "none" and "delay_mean" in figures and "ratio_mean" not in figures:
        figures |= _distances(case, figures)
    return measured


def _distances(case: Case, figures: Mapping[str, float]) -> dict[str, float]:
    """Compare measured delays with the bound and the central tree, as for trees that are known."""
    from dmmp.lab.bounds import compact_tree, lower_bound
    from dmmp.lab.constructions import setting
    from dmmp.lab.metrics import MOST_FOR_BOUND, tree_delays

    if case.hosts > MOST_FOR_BOUND:
        return {}
    made, degrees = setting(case)
    try:
        least = lower_bound(made.delays, degrees)
    except UsageError:
        # No tree is possible with these degrees, so that none is the best.
        return {}
    compact = tree_delays(made, compact_tree(made.delays, degrees))[1:]
    return {
        "bound_mean": least.mean,
        "bound_max": least.largest,
        "ratio_mean": figures["delay_mean"] / least.mean,
        "ratio_max": figures["delay_max"] / least.largest,
        "compact_mean": float(compact.mean()),
        "compact_max": float(compact.max()),
        "over_compact_mean": figures["delay_mean"] / float(compact.mean()),
        "over_compact_max": figures["delay_max"] / float(compact.max()),
    }
