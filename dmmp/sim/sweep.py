"""Many drawn scenarios, one process a core: which seeds fail, and the line that repeats each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import cpu_count, get_context

from dmmp.sim.drawing import draw_scenario, draw_single
from dmmp.sim.scenario import Scenario
from dmmp.sim.trace import Trace

DRAWS: dict[str, Callable[[int], Scenario]] = {"random": draw_scenario, "single": draw_single}
"""How scenarios are drawn, by the option of `dmmp sim` that asks for it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a seed came to; plain values, to travel between processes."""

    draw: str
    seed: int
    scenario: str
    failures: tuple[str, ...]
    security: str = "none"

    @property
    def command(self) -> str:
        """Return the command that repeats the run."""
        secured = "" if self.security == "none" else f" --security {self.security}"
        return f"dmmp sim --{self.draw} --seed {self.seed}{secured}"

    def line(self) -> str:
        """Say in one line what failed first and how to see it again."""
        return f"seed {self.seed}: {self.failures[0]}; again: {self.command}"


def judge(draw: str, seed: int, security: str = "none") -> Verdict:
    """Run one seed; an exception in a role is a failure too."""
    scenario = replace(DRAWS[draw](seed), security=security)
    try:
        world = scenario.play(trace=Trace(is_kept=False))
    except Exception as error:
        where = "; ".join(getattr(error, "__notes__", []))
        return Verdict(
            draw, seed, str(scenario), (f"{type(error).__name__}: {error} {where}",), security
        )
    return Verdict(
        draw, seed, str(scenario), tuple(str(failure) for failure in world.failures), security
    )


def judge_all(
    draw: str, seeds: Iterable[int], processes: int = 0, security: str = "none"
) -> Iterator[Verdict]:
    """Run many seeds, in their order; by default one process a core."""
    numbers = list(seeds)
    workers = min(processes or cpu_count(), len(numbers))
    if workers <= 1:
        yield from (judge(draw, seed, security) for seed in numbers)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(judge, [draw] * len(numbers), numbers, [security] * len(numbers))
