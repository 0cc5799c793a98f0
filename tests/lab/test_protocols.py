"""Who runs a case, and what is added to what it gives."""

from __future__ import annotations

import pytest

from dmmp.errors import UsageError
from dmmp.lab import protocols
from dmmp.lab.case import Case, Measured
from dmmp.lab.protocols import RUNNERS, STATIC, run, runner


def test_names_of_protocols_resolve_without_importing_what_runs_them() -> None:
    assert {"dmmp", "nice", "star", *STATIC} <= set(RUNNERS)
    assert runner("dmmp-nearest") is runner("dmmp")
    for name in ("dmmp-", "", "nice2"):
        with pytest.raises(UsageError, match=r"there is no protocol .* but dmmp"):
            runner(name)


def test_what_is_not_there_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("elsewhere", "seattle99", 10, 1)
    monkeypatch.setitem(RUNNERS, "elsewhere", protocols._lazily("dmmp.lab.nowhere"))
    with pytest.raises(UsageError, match=r"elsewhere: dmmp\.lab\.nowhere is not there"):
        run(case)


def test_measured_delays_are_compared_with_the_bound_as_trees_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case("compact-tree", "seattle99", 30, 1, "d8")
    known = run(case).figures
    delays = {name: known[name] for name in ("delay_mean", "delay_max")}
    monkeypatch.setitem(RUNNERS, "measured", lambda _: Measured(dict(delays)))
    found = run(Case("measured", "seattle99", 30, 1, "d8")).figures
    assert found["ratio_mean"] >= 1
    for name in ("ratio_mean", "ratio_max", "over_compact_mean", "over_compact_max", "bound_max"):
        assert found[name] == pytest.approx(known[name])


def test_who_takes_no_notice_of_failures_is_not_compared_under_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case("deaf", "seattle99", 30, 1, "d8", "nemo-high")
    monkeypatch.setitem(RUNNERS, "deaf", lambda _: Measured({"delay_mean": 1.0}))
    with pytest.raises(UsageError, match="deaf: cannot be run with churn 'nemo-high' yet"):
        run(case)
    figures = {"delay_mean": 1.0, "delivery_ratio": 0.9}
    monkeypatch.setitem(RUNNERS, "deaf", lambda _: Measured(dict(figures)))
    # With churn there is no one tree, so that there is no bound either.
    assert run(case).figures == figures


def test_the_static_star_is_the_construction() -> None:
    figures = run(Case("star-static", "seattle99", 30, 1)).figures
    assert figures["out_degree_max"] == 29
    assert figures["stretch_max"] == pytest.approx(1.0)
