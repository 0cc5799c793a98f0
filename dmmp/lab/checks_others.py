"""External checks of Scribe and Narada, against Birrer and Bustamante and against NICE.

Each plays the protocol itself, as the arena has it. Check 11 asks for SplitStream, which is not
among the relatives. Narada's part of check 7 is here, the check itself beside those of NICE.
"""

from __future__ import annotations

from collections.abc import Callable

from dmmp.lab.arena import run
from dmmp.lab.case import Case
from dmmp.lab.check import CheckResult, span

SECONDS = 20.0
SEED = 1

SCRIBE_HOSTS = 512
SCRIBE_UNDERLAYS = ("transit-stub-10100", "inet5000")
NON_FORWARDERS = (0.90, 0.98)
LARGEST_DEGREE = (40.0, 280.0)
"""Their GridG network cannot be had, and the largest degree depends on it most: within a factor
of about 3 below and 2 above."""

STRESS_UNDERLAY = "transit-stub-10100"
STRESS_SIZES = (32, 64, 128)

GROWTH_UNDERLAY = "inet5000"
GROWTH_SIZES = (128, 256, 512)
GROWTH_SECONDS = 60.0
GROWTH_BAND = (3.8, 4.6)
"""Growth of the total per doubling where a member's share is the group: 4, and a little more, since
4.2 was published, with longer ways in larger networks."""


def check_scribe_degrees(brief: bool = False) -> CheckResult:
    """Check 4: a few hosts of Scribe do nearly all the sending."""
    told, passed = [], True
    for underlay in SCRIBE_UNDERLAYS[:1] if brief else SCRIBE_UNDERLAYS:
        figures = run(Case("scribe", underlay, SCRIBE_HOSTS, SEED, seconds=SECONDS)).figures
        largest, idle = figures["out_degree_max"], figures["non_forwarders"]
        told.append(f"{underlay}: largest {largest:.0f}, {idle:.1%} forward nothing")
        passed = passed and NON_FORWARDERS[0] <= idle <= NON_FORWARDERS[1]
        passed = passed and LARGEST_DEGREE[0] <= largest <= LARGEST_DEGREE[1]
    return CheckResult(
        4,
        f"Scribe's out-degrees with {SCRIBE_HOSTS} hosts",
        "largest 138, 94.1 % forward nothing (Birrer and Bustamante, JSAC 2007)",
        "; ".join(told),
        passed,
        reported_only=True,
        band=f"largest {span(LARGEST_DEGREE)}, {span(NON_FORWARDERS)} forward nothing",
        is_brief=brief,
    )


def check_mesh_stress(brief: bool = False) -> CheckResult:
    """Check 6: NICE loads links less than Narada does."""
    told, passed = [], True
    for hosts in STRESS_SIZES[:2] if brief else STRESS_SIZES:
        nice, narada = (
            run(Case(protocol, STRESS_UNDERLAY, hosts, SEED, seconds=SECONDS)).figures[
                "stress_mean"
            ]
            for protocol in ("nice", "narada")
        )
        told.append(
            f"{hosts} hosts: NICE {nice:.2f}, Narada {narada:.2f}, {nice / narada - 1:+.0%}"
        )
        passed = passed and nice < narada
    return CheckResult(
        6,
        f"mean link stress of NICE beside Narada's on {STRESS_UNDERLAY}",
        "NICE about 25 % lower from 32 members up (Banerjee et al., SIGCOMM 2002)",
        "; ".join(told),
        passed,
        reported_only=True,
        band="NICE below Narada at every size",
        is_brief=brief,
    )


def growth_per_doubling(protocol: str, sizes: tuple[int, ...]) -> tuple[float, list[float]]:
    """Return by how much a protocol's total control traffic at hosts grows when hosts double.

    The geometric mean over sizes, each the double of the one before, and the totals in bytes/s.
    """
    totals = []
    for hosts in sizes:
        case = Case(
            protocol, GROWTH_UNDERLAY, hosts, SEED, churn="nemo-high", seconds=GROWTH_SECONDS
        )
        totals.append(run(case).figures["control_bytes"] * hosts)
    return (totals[-1] / totals[0]) ** (1.0 / (len(sizes) - 1)), totals


CHECKS: dict[int, Callable[..., CheckResult]] = {
    4: check_scribe_degrees,
    6: check_mesh_stress,
}
"""Checks by number; `brief=True` takes fewer networks and sizes."""
