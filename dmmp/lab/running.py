"""Running many cases: in processes here, or past this machine through Dask.

A case is a value and gives a value, so it may run anywhere, and again where a worker died. What a
case itself gets wrong is its outcome, not an end of the study.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import cpu_count, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from dmmp.errors import UsageError
from dmmp.lab.case import Case, Measured
from dmmp.lab.check import NOT_BUILT, CheckResult
from dmmp.lab.protocols import run
from dmmp.lab.results import Results

MOST_DEATHS = 3
"""Workers that a case may take with it before it is given up; the last one has only this case."""

CHECKS = ("dmmp.lab.checks_static", "dmmp.lab.checks_nice", "dmmp.lab.checks_others")
"""Modules of the external checks, each with those it has by number."""

CONNECT_SECONDS = 10.0
"""Within which a scheduler must answer, and have a worker."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Outcome(NamedTuple):
    """What came of a case: figures, or the fault it had; `took` seconds."""

    case: Case
    measured: Measured | None
    took: float
    fault: str = ""


Runner = Callable[[Case], Measured]
Progress = Callable[[Outcome, int, int], None]
"""Called with each outcome, how many cases are done, and how many there are."""


def run_study(
    cases: Sequence[Case],
    results: Results,
    *,
    jobs: int = 0,
    scheduler: str | None = None,
    progress: Progress = lambda *_: None,
    runner: Runner = run,
) -> list[Outcome]:
    """Run the cases whose rows are not there yet and add what comes; return those with a fault.

    `results` must be held for writing. `jobs` are processes, 0 for one a core; with `scheduler`,
    the address of a Dask scheduler, its workers run them. `runner` must be a function of a module.
    """
    done = results.done
    waiting = [case for case in dict.fromkeys(cases) if case not in done]
    total = len(set(cases))
    count = total - len(waiting)
    faults = []
    if scheduler is not None:
        outcomes = _by_dask(waiting, scheduler, runner)
    else:
        outcomes = _by_processes(waiting, jobs or cpu_count(), runner)
    for outcome in outcomes:
        if outcome.measured is None:
            faults.append(outcome)
        else:
            results.add(outcome.case, outcome.measured, outcome.took)
        count += 1
        progress(outcome, count, total)
    return faults


def run_case(case: Case, runner: Runner) -> Outcome:
    """Run one case, wherever this is."""
    begin = time.perf_counter()
    try:
        measured, fault = runner(case), ""
    except UsageError as error:
        measured, fault = None, str(error)
    except Exception as error:
        measured, fault = None, f"{type(error).__name__}: {error}{_place(error)}"
    return Outcome(case, measured, time.perf_counter() - begin, fault)


def _place(error: BaseException) -> str:
    """Say where it was raised: the traceback does not come back from where it ran."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"


def _by_processes(cases: Sequence[Case], jobs: int, runner: Runner) -> Iterator[Outcome]:
    """Run cases in processes; a case whose process dies runs again, at last alone."""
    waiting = deque(cases)
    suspects: deque[Case] = deque()
    deaths: Counter[Case] = Counter()
    while waiting or suspects:
        # With nobody beside it, it is known whose death it was.
        alone = not waiting
        queue = deque([suspects.popleft()]) if alone else waiting
        running: dict[Future[Outcome], Case] = {}
        try:
            with _pool(min(jobs, len(queue))) as pool:
                yield from _drain(pool, queue, jobs, runner, running)
        except BrokenProcessPool:
            for case in running.values():
                deaths[case] += 1
                if alone:
                    fault = f"its process died {deaths[case]} times; not enough memory?"
                    yield Outcome(case, None, 0.0, fault)
                else:
                    (waiting if deaths[case] < MOST_DEATHS - 1 else suspects).append(case)


def _drain(
    pool: ProcessPoolExecutor,
    queue: deque[Case],
    jobs: int,
    runner: Runner,
    running: dict[Future[Outcome], Case],
) -> Iterator[Outcome]:
    """Run the queue, no more cases in the pool than processes; `running` are those."""
    while queue or running:
        while queue and len(running) < jobs:
            # Taken off the queue only when the pool has it: a broken one takes nothing.
            running[pool.submit(run_case, queue[0], runner)] = queue[0]
            queue.popleft()
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        broken = [future for future in done if future.exception() is not None]
        for future in done.difference(broken):
            del running[future]
            yield future.result()
        for future in broken:
            future.result()


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes; whoever leaves it by an exception does not wait for them."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare)
    try:
        yield pool
    except BaseException:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    pool.shutdown()


def _prepare() -> None:
    """Make a process ready for cases: one thread, and no longer alive than who started it."""
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _by_dask(cases: Sequence[Case], address: str, runner: Runner) -> Iterator[Outcome]:
    """Run cases on the workers of a Dask scheduler, which gives those of a dead one to others."""
    try:
        import distributed
    except ModuleNotFoundError:
        raise UsageError(
            "--scheduler needs Dask: pip install '.[dask]' in a clone of dmmp"
        ) from None
    # Not typed: taken as what they are.
    connect: Any = distributed.Client
    completed: Any = distributed.as_completed
    try:
        client: Any = connect(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise UsageError(f"--scheduler {address}: {reason[:200]}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise UsageError(f"--scheduler {address}: has no workers") from None
        asked = {client.submit(run_case, case, runner, pure=False): case for case in cases}
        for future in completed(list(asked), loop=client.loop):
            fault = future.exception()
            if fault is None:
                yield future.result()
            else:
                yield Outcome(asked[future], None, 0.0, f"{type(fault).__name__}: {fault}")
            future.release()


class Check(NamedTuple):
    """One external check, by where it is: a module, and its number there."""

    module: str
    number: int


class CheckOutcome(NamedTuple):
    """What came of a check: its result, or the fault it had; `took` seconds."""

    number: int
    result: CheckResult | None
    took: float
    fault: str = ""


def find_checks(only: Collection[int] = ()) -> list[Check]:
    """Return the external checks that there are, or these of them, by number."""
    found = []
    for module in CHECKS:
        try:
            checks = import_module(module).CHECKS
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            continue
        found += [Check(module, number) for number in checks]
    if not found:
        raise UsageError("checks: none are there")
    found.sort(key=lambda check: check.number)
    for number in sorted(set(only).difference(check.number for check in found)):
        if number in NOT_BUILT:
            raise UsageError(f"check {number} is not built: {NOT_BUILT[number].reason}")
        numbers = ", ".join(str(check.number) for check in found)
        raise UsageError(f"there is no check {number}, but {numbers}")
    return [check for check in found if not only or check.number in only]


def run_check(check: Check, brief: bool = False) -> CheckOutcome:
    """Run one external check, wherever this is."""
    begin = time.perf_counter()
    result: CheckResult | None = None
    fault = ""
    try:
        result = import_module(check.module).CHECKS[check.number](brief=brief)
    except Exception as error:
        fault = f"{type(error).__name__}: {error}{_place(error)}"
    return CheckOutcome(check.number, result, time.perf_counter() - begin, fault)


def run_checks(
    checks: Sequence[Check], jobs: int = 0, brief: bool = False
) -> Iterator[CheckOutcome]:
    """Run checks in processes and give what comes of each when it ends."""
    if not checks:
        return
    with _pool(min(jobs or cpu_count(), len(checks))) as pool:
        asked = {pool.submit(run_check, check, brief): check for check in checks}
        for future in as_completed(asked):
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                said = f"{type(error).__name__}: {error}"
                yield CheckOutcome(asked[future].number, None, 0.0, said)
