"""The external checks of Scribe and Narada, on smaller groups than the checks themselves take."""

from __future__ import annotations

import pytest

from dmmp.lab import checks_others
from dmmp.lab.arena import run
from dmmp.lab.case import Case, Measured
from dmmp.lab.check import CheckResult
from dmmp.lab.checks_others import CHECKS, GROWTH_BAND, growth_per_doubling


def test_every_check_tells_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {
        "out_degree_max": 500.0,
        "non_forwarders": 0.94,
        "stress_mean": 1.5,
    }
    monkeypatch.setattr(checks_others, "run", lambda case: Measured(dict(figures)))
    results = {number: check() for number, check in CHECKS.items()}
    assert all(isinstance(result, CheckResult) for result in results.values())
    assert {number: result.number for number, result in results.items()} == {4: 4, 6: 6}
    # A degree far above and equal stress: both fail.
    assert not any(result.passed for result in results.values())


@pytest.mark.slow
def test_narada_grows_by_more_than_four_per_doubling() -> None:
    growth, totals = growth_per_doubling("narada", (64, 128, 256))
    assert GROWTH_BAND[0] <= growth <= GROWTH_BAND[1]
    assert totals == sorted(totals)


@pytest.mark.slow
def test_scribe_control_per_host_hardly_grows() -> None:
    growth, _ = growth_per_doubling("scribe", (128, 256))
    assert growth < 2.5


@pytest.mark.slow
@pytest.mark.parametrize("uplinks", ["d4", "het"])
@pytest.mark.parametrize("seed", [1, 2])
def test_hmtp_places_everybody_within_degrees(uplinks: str, seed: int) -> None:
    case = Case("hmtp", "planetlab490", 200, seed, uplinks=uplinks, seconds=10.0)
    figures = run(case).figures
    assert figures["hosts_without_place"] == 0
    assert figures["over_degree_hosts"] == 0
    assert figures["delivery_ratio"] > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["hmtp", "scribe", "narada"])
def test_repair_fills_what_is_lost(protocol: str) -> None:
    bare, repaired = (
        run(Case(name, "planetlab490", 60, 1, loss=0.02, seconds=20.0)).figures["delivery_ratio"]
        for name in (protocol, f"{protocol}+nack")
    )
    assert bare < 0.98
    assert repaired > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["hmtp", "scribe", "narada"])
def test_hosts_far_away_find_a_place(protocol: str) -> None:
    figures = run(Case(protocol, "seattle99", 60, 1, seconds=20.0)).figures
    assert figures["hosts_without_place"] == 0
    assert figures["delivery_ratio"] > 0.99
