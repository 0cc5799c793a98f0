"""External checks of the NICE family: what others published of NICE, NICE-PRM, Nemo and Narada.

The bands are wide where the published set-up is not known in full: networks, sizes of messages and
the detection of failures differ. What must hold in any set-up, orders and growth, is held closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import log2
from statistics import fmean

from dmmp.lab.arena import run
from dmmp.lab.case import Case
from dmmp.lab.check import CheckResult, span
from dmmp.lab.checks_others import GROWTH_BAND, GROWTH_SIZES, growth_per_doubling

DETECTED = (("notice", "0.5"),)
"""Failures are known half a second later, where their detection is not what is looked at."""

DETECTED_LATE = (("notice", "4.0"),)
"""NWU-CS-04-36 has NICE at 0.992 with a failure in 300 s. That is 2.4 s lost for about three
ancestors, beyond the 3.2 s that the window gives back: failures were known after about 4 s, not
after the 15 s of heartbeats."""

LOSSLESS = "inet3000"
"""The network of NWU-CS-04-36: Inet, links of 1 to 4 ms."""


def means(cases: Iterable[Case], names: Sequence[str]) -> dict[str, float]:
    """Run cases and return the means of some of their figures."""
    all_figures = [run(case).figures for case in cases]
    return {name: fmean(figures.get(name, 0.0) for figures in all_figures) for name in names}


def _cases(protocol: str, hosts: int, seeds: int, seconds: float, **more: object) -> list[Case]:
    make: Callable[..., Case] = partial(Case, **more)  # type: ignore[arg-type]
    underlay = LOSSLESS if "underlay" not in more else ""
    place = {"underlay": underlay} if underlay else {}
    return [
        make(protocol=protocol, hosts=hosts, seed=seed, seconds=seconds, **place)
        for seed in range(1, seeds + 1)
    ]


def _row(values: Iterable[float], digits: int = 3) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


MOST_CHILDREN = (10.0, 24.0)
"""Around 18.0: who leads in two layers of middling clusters has 2 x 5 children, in three layers of
full ones 3 x 8."""

NON_FORWARDERS = (0.76, 0.88)
"""Around 83.0 %: clusters of 4 to 8 in the lowest layer leave 75 % to 88 % without children."""


def check_out_degree(brief: bool = False) -> CheckResult:
    """Check 3: out-degrees of NICE, 512 hosts (Birrer and Bustamante, JSAC 2007)."""
    hosts, seeds = (256, 1) if brief else (512, 3)
    got = [
        means(
            _cases("nice", hosts, seeds, 20.0, underlay=underlay),
            ("out_degree_max", "non_forwarders"),
        )
        for underlay in ("transit-stub-5050", LOSSLESS)
    ]
    most, share = ([each[name] for each in got] for name in ("out_degree_max", "non_forwarders"))
    passed = all(MOST_CHILDREN[0] <= value <= MOST_CHILDREN[1] for value in most)
    passed = passed and all(NON_FORWARDERS[0] <= value <= NON_FORWARDERS[1] for value in share)
    return CheckResult(
        3,
        f"NICE, {hosts} hosts, transit-stub and Inet: largest out-degree, share of non-forwarders",
        "18.0; 0.830",
        f"{_row(most, 1)}; {_row(share)}",
        passed,
        band=f"{span(MOST_CHILDREN)}; {span(NON_FORWARDERS)}",
        is_brief=brief,
    )


STRESS = {64: 1.63, 128: 1.63, 256: 1.63, 512: 1.62, 1024: 1.77, 2048: 1.93}
"""Published mean stress by size; that at 256 hosts lies between its neighbours."""

STRESS_BAND = 0.25
"""Share by which ours may differ: the network is another one, and hosts have a minute or two to
find their clusters, not all the time they want."""

STRESS_GROWTH = 1.5
"""Most growth of the mean from the smallest to the largest group, where the star's more than
doubles."""


def check_stress(brief: bool = False) -> CheckResult:
    """Check 5: the mean link stress of NICE is flat (Banerjee et al., SIGCOMM 2002)."""
    sizes = (64, 128, 256) if brief else (64, 128, 512, 1024, 2048)
    underlay = "transit-stub-5050" if brief else "transit-stub-10100"
    got = []
    for size in sizes:
        seeds = 1 if brief or size > 512 else 2
        cases = _cases("nice", size, seeds, 8.0, underlay=underlay)
        got.append(means(cases, ["stress_mean"])["stress_mean"])
    passed = all(
        abs(value - STRESS[size]) <= STRESS_BAND * STRESS[size]
        for size, value in zip(sizes, got, strict=True)
    )
    return CheckResult(
        5,
        f"NICE, mean link stress at {', '.join(map(str, sizes))} hosts, {underlay}",
        "1.63, 1.63, 1.62, 1.77, 1.93 at 64, 128, 512, 1024, 2048",
        _row(got, 2),
        passed and max(got) / min(got) <= STRESS_GROWTH,
        band=f"within {STRESS_BAND:.0%} at each size, x{STRESS_GROWTH:g} at most over all",
        is_brief=brief,
    )


LINEAR = (1.75, 2.35)
"""Growth of the total per doubling where a member's share does not depend on the group: 2, and a
little for layers that are added."""


def check_control_growth(brief: bool = False) -> CheckResult:
    """Check 7: growth of the control traffic per doubling (NWU-CS-04-36, table of scalability)."""
    groups = (64, 128, 256) if brief else (128, 256, 512)
    growth = {}
    for protocol in ("nice+nack", "prm", "nemo"):
        totals = [
            size
            * means(
                _cases(protocol, size, 1, 20.0, churn="nemo-high", options=DETECTED),
                ["control_bytes"],
            )["control_bytes"]
            for size in groups
        ]
        doublings = log2(groups[-1] / groups[0])
        growth[protocol] = (totals[-1] / totals[0]) ** (1.0 / doublings)
    everybody, totals = growth_per_doubling("narada", GROWTH_SIZES[:2] if brief else GROWTH_SIZES)
    passed = all(LINEAR[0] <= value <= LINEAR[1] for value in growth.values())
    return CheckResult(
        7,
        f"whole control traffic when the group doubles, {groups[0]} to {groups[-1]} hosts: NICE, "
        "PRM, Nemo; Narada",
        "x2.0; x4.2 (counted at routers)",
        f"x{', x'.join(f'{value:.2f}' for value in growth.values())}; x{everybody:.2f} "
        f"({_row((total / 1e6 for total in totals), 2)} MB/s)",
        passed and GROWTH_BAND[0] <= everybody <= GROWTH_BAND[1],
        band=f"x{span(LINEAR)}; x{span(GROWTH_BAND)}",
        is_brief=brief,
    )


DELIVERY = {"nemo": 0.994, "prm": 0.985, "nice+nack": 0.98}
"""Least delivery: the published 0.998, 0.994 and 0.992 with two to three times the losses, for the
way failures are found there is not known."""

TIE = 0.0015
"""Delivery by which a protocol may lie under one that it should beat: the spread over seeds."""

NARADA_BAND = (0.70, 0.96)
"""Published: 0.852 and 0.882 with deviations of 0.06; 0.957 in the smallest group."""


MOST_OF_NARADA = 256
"""Hosts of Narada: its control traffic grows with the square of the group."""


def check_delivery_order(brief: bool = False) -> CheckResult:
    """Check 8: who delivers more under a failure every 5 minutes (NWU-CS-04-36)."""
    # Most losses come from a few outages of many hosts at once, which a hundred seconds may be
    # without. What was published is the mean over 1,200 s.
    hosts, seeds, seconds = (128, 1, 100.0) if brief else (512, 5, 300.0)
    got = {
        protocol: means(
            _cases(protocol, hosts, seeds, seconds, churn="nemo-high", options=DETECTED_LATE),
            ["delivery_ratio"],
        )["delivery_ratio"]
        for protocol in DELIVERY
    }
    passed = all(got[protocol] >= least for protocol, least in DELIVERY.items())
    passed = passed and got["nemo"] >= got["prm"] - TIE >= got["nice+nack"] - 2 * TIE
    size = min(hosts, MOST_OF_NARADA)
    cases = _cases("narada", size, 1, seconds, churn="nemo-high")
    got["narada"] = means(cases, ["delivery_ratio"])["delivery_ratio"]
    passed = passed and NARADA_BAND[0] <= got["narada"] <= NARADA_BAND[1]
    return CheckResult(
        8,
        f"delivery, {hosts} hosts ({size} of Narada), failure in 5 min, return in 2 min, "
        f"{seconds:.0f} s: {', '.join(got)}",
        "Nemo 0.998 > PRM 0.994 > NICE 0.992 >> Narada 0.852",
        _row(got.values(), 4),
        passed,
        band=f"at least {_row(DELIVERY.values())}, in this order but for ties of {TIE:g}; "
        f"Narada {span(NARADA_BAND)}",
        is_brief=brief,
    )


SLOPE = (0.4, 1.15)
"""Duplicates more per packet, over the copies more that are sent: p x 3 per member. Published: 5.85
of 11 (high), 5.2 of 13 (low). Above 1 only by chance, below where they bring what was lost."""

BEND = 0.25
"""How far the two steps of p may differ, over their mean: 0.05 and 0.17 were published."""

UP_SHARE = 300.0 / 420.0
"""Of the members, those up at a time under `nemo-high`."""


def check_random_copies(brief: bool = False) -> CheckResult:
    """Check 9: NICE-PRM's duplicates rise linearly with its probability (NWU-CS-04-36)."""
    hosts, seconds = (128, 40.0) if brief else (512, 60.0)
    got = [
        means(
            _cases("prm", hosts, 1, seconds, churn="nemo-high", options=(*DETECTED, ("p", likely))),
            ["duplicates_per_packet"],
        )["duplicates_per_packet"]
        for likely in ("0.01", "0.02", "0.03")
    ]
    first, second = got[1] - got[0], got[2] - got[1]
    # Members have not begun to fail long enough to be down for their share of the time.
    sent = 0.01 * 3 * hosts * (1.0 + UP_SHARE) / 2.0
    slope = (first + second) / 2.0
    return CheckResult(
        9,
        f"NICE-PRM, {hosts} hosts, duplicates per packet at p = 0.01, 0.02, 0.03",
        "12.47, 18.20, 24.22 (512 hosts): +5.7, +6.0",
        f"{_row(got, 2)}: +{first:.2f}, +{second:.2f}",
        SLOPE[0] <= slope / sent <= SLOPE[1] and abs(second - first) <= BEND * abs(slope),
        band=f"steps of {SLOPE[0] * sent:.1f} to {SLOPE[1] * sent:.1f} ({span(SLOPE)} of the "
        f"copies sent), alike within {BEND:.0%}",
        is_brief=brief,
    )


CONTROL_PACKETS = (0.8, 2.4)
"""Around 1.6 per second and member, by half: which answers were counted is not known."""

MOST_KILOBITS = 6.0
"""Per second and member. The published 5.3 to 5.8 hold 430 bytes per datagram; how those were
written is not known, and the plain encoding here takes a fifth of it: more would be a fault."""

FLAT = 1.25
"""Largest over smallest, from 128 to 1,024 hosts: 1.09 was published."""


def check_control(brief: bool = False) -> CheckResult:
    """Check 10: NICE's control traffic does not grow (Birrer and Bustamante, JSAC 2007)."""
    sizes = (64, 128, 256) if brief else (128, 256, 512, 1024)
    got: list[Mapping[str, float]] = [
        means(
            _cases("nice+nack", size, 1 if brief or size > 512 else 3, 30.0, churn="jsac-30"),
            ("control_packets", "control_bytes"),
        )
        for size in sizes
    ]
    packets = [each["control_packets"] for each in got]
    kilobits = [each["control_bytes"] * 8 / 1000 for each in got]
    passed = all(CONTROL_PACKETS[0] <= value <= CONTROL_PACKETS[1] for value in packets)
    passed = passed and max(kilobits) <= MOST_KILOBITS
    flat = all(max(values) / min(values) <= FLAT for values in (packets, kilobits))
    return CheckResult(
        10,
        f"NICE, control packets/s and kb/s per member at {', '.join(map(str, sizes))} hosts",
        "1.57; 5.3, 5.5, 5.6, 5.8",
        f"{_row(packets, 2)}; {_row(kilobits, 2)}",
        passed and flat,
        band=f"{span(CONTROL_PACKETS)} packets; at most {MOST_KILOBITS:g} kb/s; x{FLAT:g} at most"
        " over all sizes",
        is_brief=brief,
    )


HOP_LOSS = 0.0125
"""Of the datagrams on a hop: 5 % over the four hops or so to a member."""

PRM_DELIVERY = 0.97
PRM_WINDOW = "0.6"


def check_resilience(brief: bool = False) -> CheckResult:
    """Check 12: NICE-PRM delivers above 97 % within 600 ms at 5 % loss and 5 changes of membership
    per second (Banerjee et al., SIGMETRICS 2003)."""
    # With five changes per second a small group changes faster than any was said to.
    hosts, seeds, seconds = (1000, 1, 10.0) if brief else (1000, 2, 40.0)
    options = (*DETECTED, ("window", PRM_WINDOW), ("p", "0.02"))
    got, bare = (
        means(
            _cases(
                protocol,
                hosts,
                seeds,
                seconds,
                churn="poisson",
                loss=HOP_LOSS,
                options=options,
            ),
            ["delivery_ratio"],
        )["delivery_ratio"]
        for protocol in ("prm", "nice")
    )
    return CheckResult(
        12,
        f"NICE-PRM, {hosts} hosts, within 600 ms, {HOP_LOSS:.2%} lost per hop, 5 changes/s",
        "above 0.97",
        f"{got:.4f} (NICE without repair: {bare:.4f})",
        got >= PRM_DELIVERY > bare,
        band=f"at least {PRM_DELIVERY:g}, and less without repair",
        is_brief=brief,
    )


CHECKS: dict[int, Callable[..., CheckResult]] = {
    3: check_out_degree,
    5: check_stress,
    7: check_control_growth,
    8: check_delivery_order,
    9: check_random_copies,
    10: check_control,
    12: check_resilience,
}
"""Checks by number; `brief=True` takes fewer hosts and seeds."""
