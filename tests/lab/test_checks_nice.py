"""The external checks of NICE and its kin: what they pass and what they fail, with figures that are
made up, so that no protocol runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from dmmp.lab import checks_nice, checks_others
from dmmp.lab.case import Case, Measured
from dmmp.lab.checks_nice import CHECKS, STRESS

if TYPE_CHECKING:
    Figures = Callable[[Case], dict[str, float]]


def good(case: Case) -> dict[str, float]:
    """Give figures as they were published."""
    delivery = {"nemo": 0.998, "prm": 0.994, "nice+nack": 0.992, "narada": 0.852, "nice": 0.9}
    return {
        "out_degree_max": 18.0,
        "non_forwarders": 0.83,
        "stress_mean": STRESS.get(case.hosts, 0.0),
        "control_bytes": case.hosts**1.05 if case.protocol == "narada" else 600.0,
        "control_packets": 1.6,
        "delivery_ratio": delivery[case.protocol],
        "duplicates_per_packet": 7.0 + 573.0 * case.hosts / 512 * float(case.option("p", "0")),
    }


def play(monkeypatch: pytest.MonkeyPatch, figures: Figures) -> list[Case]:
    """Let runs give these figures; return a list that fills with what runs."""
    played: list[Case] = []

    def run(case: Case) -> Measured:
        played.append(case)
        return Measured(figures(case))

    monkeypatch.setattr(checks_nice, "run", run)
    monkeypatch.setattr(checks_others, "run", run)
    return played


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("number", CHECKS)
def test_what_was_published_passes_and_what_was_asked_is_said(
    number: int, brief: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = play(monkeypatch, good)
    result = CHECKS[number](brief=brief)
    assert result.passed, result
    assert (result.number, result.is_brief, result.reported_only) == (number, brief, False)
    assert result.band and result.published and result.measured
    hosts = max(case.hosts for case in played)
    whole = {3: 512, 5: 2048, 7: 512, 8: 512, 9: 512, 10: 1024, 12: 1000}[number]
    assert hosts <= whole if brief else hosts == whole


@pytest.mark.parametrize(
    ("number", "name", "changed"),
    [
        (3, "out_degree_max", lambda case: 30.0),
        (3, "non_forwarders", lambda case: 0.95),
        (5, "stress_mean", lambda case: 2.2 if case.hosts == 512 else STRESS[case.hosts]),
        # As with the star: inside the band at both ends, but growing.
        (5, "stress_mean", lambda case: 1.25 if case.hosts == 64 else 1.2 * STRESS[case.hosts]),
        (7, "control_bytes", lambda case: float(case.hosts)),
        (7, "control_bytes", lambda case: 600.0),
        (8, "delivery_ratio", lambda case: 0.99 if case.protocol == "nemo" else 0.995),
        (8, "delivery_ratio", lambda case: 0.999),
        (9, "duplicates_per_packet", lambda case: 7.0),
        (9, "duplicates_per_packet", lambda case: 1e5 * float(case.option("p")) ** 2),
        (10, "control_packets", lambda case: 0.01 * case.hosts),
        (10, "control_bytes", lambda case: 1000.0),
        (12, "delivery_ratio", lambda case: 0.96),
        # Without repair it should not be as good.
        (12, "delivery_ratio", lambda case: 0.99),
    ],
)
def test_what_is_outside_its_band_fails(
    number: int, name: str, changed: Callable[[Case], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, lambda case: good(case) | {name: changed(case)})
    result = CHECKS[number]()
    assert not result.passed, result
