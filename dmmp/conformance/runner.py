"""Runs cases, each with an implementation of its own or one that stays, and says how they ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from zlib import crc32

from dmmp.conformance.carrier import Carrier
from dmmp.conformance.case import Case, Failure, Unsupported, Verdict
from dmmp.conformance.requirement import Level, Role
from dmmp.conformance.secured import open_in_process
from dmmp.conformance.tester import Line, Tester
from dmmp.conformance.timing import VIRTUAL, Timing
from dmmp.errors import UsageError
from dmmp.types import Instant

SESSION_NAME = "conformance"


@dataclass(frozen=True, slots=True)
class Result:
    """How a case ended: why, unless it passed, and all that was said, times from its start on.

    `seconds` are by the carrier's clock; `said` is what the implementation printed.
    """

    case: Case
    role: Role
    verdict: Verdict
    reason: str = ""
    lines: tuple[Line, ...] = ()
    seconds: float = 0.0
    said: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and on what; `open_carrier` gives a carrier that has not started.

    `strict`: also what a SHOULD demands. `at_most`: no case that takes more seconds. `tries`: so
    often a case is run until it passes; on a busy machine timers are late at times.
    """

    role: Role
    open_carrier: Callable[[Case, int], Carrier]
    timing: Timing
    session_name: str = SESSION_NAME
    strict: bool = False
    at_most: float = float("inf")
    seed: int = 1
    tries: int = 1


def in_process(
    role: Role,
    timing: Timing = VIRTUAL,
    session_name: str = SESSION_NAME,
    *,
    strict: bool = False,
    at_most: float = float("inf"),
    seed: int = 1,
) -> Plan:
    """Plan to test our own role, in virtual time."""

    def open_carrier(case: Case, seed: int) -> Carrier:
        return open_in_process(case, role, session_name, timing.parameters, seed)

    return Plan(role, open_carrier, timing, session_name, strict, at_most, seed)


def run_all(cases: Sequence[Case], plan: Plan, jobs: int = 1) -> Iterator[Result]:
    """Run cases, some at a time if `jobs` says so; yield the results in the order of the cases.

    At a time only where each has an implementation of its own.
    """
    if jobs == 1:
        yield from (run_case(each, plan) for each in cases)
        return
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda each: run_case(each, plan), cases)


def run_case(case: Case, plan: Plan) -> Result:
    """Run one case."""
    if case.requirement.level is not Level.MUST and not plan.strict:
        return Result(case, plan.role, Verdict.SKIPPED, "a SHOULD; --strict runs it")
    if case.seconds > plan.at_most:
        return Result(case, plan.role, Verdict.SKIPPED, f"takes {case.seconds:g} s; see --at-most")
    for number in range(plan.tries):
        seed = crc32(f"{plan.seed + number} {case.id}".encode())
        result = _run_once(case, plan, seed)
        if result.verdict is not Verdict.FAILED:
            break
    return result


def _run_once(case: Case, plan: Plan, seed: int) -> Result:
    carrier = plan.open_carrier(case, seed)
    try:
        missing = sorted(feature.value for feature in case.needs - carrier.features)
        if missing:
            return Result(case, plan.role, Verdict.UNSUPPORTED, f"needs {missing[0]}")
        return _run_on(carrier, case, plan, seed)
    finally:
        carrier.close()


def _run_on(carrier: Carrier, case: Case, plan: Plan, seed: int) -> Result:
    began = carrier.now
    tester = Tester(carrier, plan.role, plan.session_name, plan.timing, seed)
    verdict, reason = Verdict.PASSED, ""
    try:
        carrier.start()
        case.run(tester)
        tester.finish()
    except Failure as failure:
        verdict, reason = Verdict.FAILED, str(failure)
    except Unsupported as missing:
        verdict, reason = Verdict.UNSUPPORTED, str(missing)
    except UsageError:
        raise
    except Exception as error:
        # In this process a role that breaks is as bad as one that answers wrongly.
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno}"
        verdict, reason = Verdict.FAILED, f"{type(error).__name__}: {error} ({place})"
    seconds = carrier.now - began
    if verdict is Verdict.FAILED and tester.faults:
        reason += f" (and a datagram was malformed: {tester.faults[0]})"
    lines = tuple(_relative(line, began) for line in tester.lines)
    tester.close()
    return Result(case, plan.role, verdict, reason, lines, seconds, carrier.said())


def _relative(line: Line, began: Instant) -> Line:
    return line._replace(at=line.at - began)
