"""Reports and pictures: our means beside published rows, in one page that needs nothing else."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dmmp.errors import UsageError
from dmmp.lab.case import Case, Measured
from dmmp.lab.check import CheckResult
from dmmp.lab.goals import judge
from dmmp.lab.measurements import Measurements
from dmmp.lab.page import interval, shown
from dmmp.lab.pictures import COLOURS, MARKS, bars, curve, depths_of, great_circle
from dmmp.lab.report import make_report, told, write_report
from dmmp.lab.results import CheckTable, Results
from dmmp.lab.study import parse_study
from tests.lab.fake_runners import figures_of

STUDY = """
name = "small"
title = "A <small> one"
text = "First & foremost.\\n\\nSecond."
protocols = ["dmmp", "nice"]
underlays = ["world"]
sizes = [16, 32]
uplinks = ["d4", "d8"]
seeds = 3
figures = ["ratio_mean", "control_bytes", "connectivity"]
[[pictures]]
kind = "curve"
of = "control_bytes"
log = true
at = { uplinks = "d4" }
[[pictures]]
kind = "bars"
of = "ratio_mean"
at = { hosts = 32 }
[[pictures]]
kind = "dots"
of = "ratio_mean"
over = "hosts"
at = { uplinks = "d4" }
[[pictures]]
kind = "cdf"
of = "stretch"
at = { hosts = 32, uplinks = "d8" }
[[pictures]]
kind = "map"
title = "The tree"
at = { hosts = 32, uplinks = "d4", protocol = "dmmp" }
[[references]]
source = "Somebody & others, 2004"
label = "NICE (k = 3)"
protocol = "nice"
hosts = 32
figures = { ratio_mean = 2.125, control_bytes = 1234.5 }
"""


class Page(HTMLParser):
    """What a page says: rows of tables, pictures, and whatever it would fetch or run."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.images: list[bytes] = []
        self.open: list[str] = []
        self.outside: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            head, _, encoded = (values["src"] or "").partition(";base64,")
            assert head in ("data:image/svg+xml", "data:image/png")
            assert values["alt"]
            self.images.append(base64.b64decode(encoded, validate=True))
        elif tag != "meta":
            self.open.append(tag)
        if tag in ("script", "link", "iframe") or (values.get("href") or "#")[0] != "#":
            self.outside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def filled(directory: Path, seeds: int = 3) -> Path:
    """Write the results of the study as if it had run."""
    results = Results(directory)
    with results.writing(STUDY):
        for case in parse_study(STUDY, "x").with_seeds(seeds).cases():
            results.add(case, figures_of(case), 60.0)
    return directory


def test_a_page_has_every_table_picture_and_source_and_fetches_nothing(tmp_path: Path) -> None:
    path = write_report(filled(tmp_path))
    assert path == tmp_path / "report.html"
    markup = path.read_text(encoding="utf-8")
    page = Page(markup)
    assert not page.open
    assert not page.outside
    assert "A &lt;small&gt; one" in markup
    assert "<p>First &amp; foremost.</p>" in markup
    assert "Somebody &amp; others, 2004" in markup
    assert [image[:4] for image in page.images] == [b"<?xm"] * 4 + [b"\x89PNG"]
    published = [row for row in page.rows if row[0].startswith("NICE (k = 3), published")]
    # Once for each mix of uplinks: the row does not say which it is of.
    assert [row[1:4] for row in published] == [["32", "2.125", "1,234.5"]] * 2
    after = page.rows[page.rows.index(published[0]) - 1]
    assert after[:2] == ["nice", "32"]
    # What no run has is no column.
    assert [row for row in page.rows if row[0] == "protocol"] == [
        ["protocol", "hosts", "ratio mean", "control bytes"]
    ] * 2
    assert "not there." not in markup
    assert "24.0 min" in markup
    assert "Table 1. A &lt;small&gt; one: 16, 32 hosts; 3 seeds; 60 s; commit" in markup
    assert "Figure 5. The tree: dmmp, world, uplinks d4 (32 hosts; 3 seeds; 60 s; commit" in markup
    # Two sizes are too few for a rate of growth.
    assert "Growth with the group" not in markup


def test_means_are_over_seeds_with_students_interval(tmp_path: Path) -> None:
    results = Results(tmp_path)
    case = Case("nice", "world", 16, 1)
    with results.writing(STUDY):
        for seed, value in ((1, 1.0), (2, 2.0), (3, 3.0)):
            changed = Case(case.protocol, case.underlay, case.hosts, seed)
            results.add(changed, Measured({"ratio_mean": value}), 0.0)
    page = Page(make_report(tmp_path))
    row = next(row for row in page.rows if row[0] == "nice")
    # 4.303 is the quantile of t with two degrees of freedom, the error one over the root of three.
    assert row[-1] == "2.0 ± 2.5"
    assert "Of these seeds 21 runs are not there" in make_report(tmp_path)


@pytest.mark.slow
def test_one_page_tells_of_several_studies_and_the_checks(tmp_path: Path) -> None:
    filled(tmp_path / "one", seeds=1)
    filled(tmp_path / "two", seeds=1)
    table = CheckTable(tmp_path / "checks")
    with table.writing():
        table.add(CheckResult(7, "growth", "x 2", "x 3", False, band="x 1 to x 2"), 100.0)
        table.add(CheckResult(2, "star", "1", "1", True, is_brief=True), 3.0)
        table.add(CheckResult(4, "scribe", "138", "57", False, True), 8.4)
    target = tmp_path / "all.html"
    assert write_report(tmp_path, target) == target
    page = Page(target.read_text(encoding="utf-8"))
    assert len(page.images) == 10
    rows = [row for row in page.rows if row[0] in ("2", "4", "7", "11")]
    assert rows == [
        ["2", "star", "1", "", "1", "brief", "3 s", "passed"],
        ["4", "scribe", "138", "", "57", "full", "8 s", "not reproduced"],
        ["7", "growth", "x 2", "x 1 to x 2", "x 3", "full", "100 s", "FAILED"],
        rows[-1],
    ]
    assert (rows[-1][0], rows[-1][-1]) == ("11", "not built")
    markup = target.read_text(encoding="utf-8")
    assert "How good the overlay is" in markup
    assert (
        "Passed: 2; failed: 7; reported only, and not reproduced: 4; not run yet: 1, 3, 5, 6, 8, "
        "9, 10, 12, 13; not built: 11. At full size: 4, 7; with fewer hosts and seeds: 2."
    ) in markup


def test_checks_of_an_older_version_are_read_and_cut_off_rows_are_not(tmp_path: Path) -> None:
    path = tmp_path / "checks.csv"
    path.write_text("number,what,published,measured,result\n2,star,1,1,passed\n3,ni")
    table = CheckTable(tmp_path)
    assert list(table.rows) == [2]
    # Whether it was at full size is not known.
    assert table.has(2, brief=True) and not table.has(2)
    assert "commit unknown" in make_report(tmp_path)
    path.write_text("number,what\nfirst,star\n")
    with pytest.raises(UsageError, match="line 2: a check has a number"):
        CheckTable(tmp_path)


TREES = """
name = "trees"
title = "Trees"
text = "x"
protocols = ["dmmp", "nice"]
underlays = ["planetlab490"]
sizes = [490]
uplinks = ["d4", "d8"]
seeds = 3
"""
GROWING = """
name = "large"
title = "Growing"
text = "x"
protocols = ["dmmp-patient"]
underlays = ["planetlab-crowd"]
sizes = [100, 1000, 10000]
seeds = 2
"""
FAILING = """
name = "churn"
title = "Failing"
text = "x"
protocols = ["dmmp", "nemo", "prm"]
underlays = ["inet3000"]
sizes = [512]
churn = ["nemo-high"]
seeds = 3
"""


def measured(directory: Path, study: str, figures: Callable[[Case], dict[str, float]]) -> Path:
    """Write the results of a study, with the figures that a function gives."""
    results = Results(directory)
    with results.writing(study):
        for case in parse_study(study, "x").cases():
            results.add(case, Measured(figures(case)), 1.0)
    return directory


def test_goals_are_reached_missed_or_not_run(tmp_path: Path) -> None:
    def figures(case: Case) -> dict[str, float]:
        if case.protocol != "dmmp":
            return {"ratio_mean": 0.5, "over_degree_hosts": 40.0}
        if case.uplinks == "d8":
            # Below 1.25 on the whole, but in one of three seeds.
            return {"ratio_mean": [1.1, 1.1, 1.4][case.seed - 1], "over_degree_hosts": 1.0}
        return {"ratio_mean": 1.3 + 0.001 * case.seed, "over_degree_hosts": 0.0}

    each = Measurements(measured(tmp_path, TREES, figures))
    found = {(one.goal.at, one.goal.figure): one for one in judge([each])}
    assert {one.goal.study for one in found.values()} == {"trees"}
    d4, d8, het = ((("uplinks", mix),) for mix in ("d4", "d8", "het"))
    assert found[d4, "ratio_mean"].result == "reached"
    assert found[d4, "ratio_mean"].remark == ""
    assert found[d4, "ratio_mean"].bound == "at most 1.35"
    assert found[d8, "ratio_mean"].result == "reached"
    assert found[d8, "ratio_mean"].remark == "within chance"
    assert found[d4, "over_degree_hosts"].result == "reached"
    assert found[d8, "over_degree_hosts"].result == "missed"
    assert found[het, "ratio_mean"].result == "not run"
    assert found[d4, "hosts_without_place"].result == "not run"
    assert ["goal", "demanded", "measured", "result"] in Page(make_report(tmp_path)).rows


def test_goals_against_others_compare_seed_by_seed(tmp_path: Path) -> None:
    def figures(case: Case) -> dict[str, float]:
        # Seeds differ by more than protocols do.
        delivery = {"dmmp": 0.95, "nemo": 0.94, "prm": 0.90}[case.protocol]
        control = {"dmmp": 210.0, "nemo": 200.0, "prm": 100.0}[case.protocol]
        return {
            "delivery_ratio": delivery + 0.02 * case.seed,
            "control_bytes": control + 50.0 * case.seed,
        }

    each = Measurements(measured(tmp_path, FAILING, figures))
    found = {one.goal.figure: one for one in judge([each]) if ("hosts", 512) in one.goal.at}
    assert (found["delivery_ratio"].result, found["delivery_ratio"].remark) == ("reached", "")
    assert found["delivery_ratio"].bound.startswith("at least the best other's (nemo): 0.98")
    assert (found["control_bytes"].result, found["control_bytes"].remark) == ("missed", "")


def test_growth_is_an_exponent_with_its_interval(tmp_path: Path) -> None:
    def figures(case: Case) -> dict[str, float]:
        return {"member_control_bytes": 100.0 + case.seed, "member_state_entries": case.hosts**0.5}

    measured(tmp_path, GROWING, figures)
    found = {one.goal.figure: one for one in judge([Measurements(tmp_path)])}
    assert found["member_control_bytes"].result == "reached"
    assert found["member_state_entries"].result == "missed"
    assert found["member_state_entries"].measured.startswith("0.5")
    page = Page(make_report(tmp_path))
    rows = [row for row in page.rows if row[0] == "dmmp-patient"]
    assert rows[-1][-1].startswith("0.5")


def test_a_text_names_figures_and_paragraphs_without_theirs_are_left_out(tmp_path: Path) -> None:
    each = Measurements(measured(tmp_path, TREES, lambda case: {"ratio_mean": 1.0 + case.seed / 2}))
    text = "A {{dmmp ratio_mean uplinks=d8}} and\na half.\n\nNo {{dmmp depth_mean}}.\n\nAll."
    assert told(each, text) == "A 2.0 and\na half.\n\nAll."
    assert told(each, "{{}}") == told(each, "{{dmmp}}") == told(each, "{{nemo ratio_mean}}") == ""


def test_a_report_of_nothing_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no results"):
        make_report(tmp_path)
    with pytest.raises(UsageError, match="is no directory"):
        make_report(tmp_path / "none")


@pytest.mark.slow
def test_the_same_results_make_the_same_page(tmp_path: Path) -> None:
    filled(tmp_path, seeds=1)
    assert make_report(tmp_path) == make_report(tmp_path)


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (0.99812, 0.00041, "0.99812 ± 0.00041"),
        (1234.5, 21.0, "1,234 ± 21"),
        (1.8, math.nan, "1.800"),
        (12.0, 0.0, "12"),
        (12.0, 1e-12, "12"),
        (0.0, 0.0, "0"),
        (math.nan, math.nan, "–"),
        (3.0, math.inf, "3"),
        (0.98765, math.nan, "0.9877"),
        (0.999976, math.nan, "0.99998"),
    ],
)
def test_numbers_have_the_places_that_their_interval_lets_them(
    mean: float, half: float, said: str
) -> None:
    assert re.sub("<[^>]*>", "", interval(mean, half)) == said
    assert half == 1e-12 or shown(mean, half) == said.split(" ")[0]


def test_lines_over_the_globe_are_the_shortest() -> None:
    line = great_circle(np.array([0.0, 0.0]), np.array([90.0, 0.0]), 3)
    assert line == pytest.approx(np.array([[0.0, 0.0], [45.0, 0.0], [90.0, 0.0]]))
    north = great_circle(np.array([-100.0, 50.0]), np.array([80.0, 50.0]), 3)
    assert north[1, 1] == pytest.approx(90.0)
    same = great_circle(np.array([5.0, 5.0]), np.array([5.0, 5.0]), 3)
    assert same == pytest.approx(np.full((3, 2), 5.0))


def test_depths_end_where_parents_go_round() -> None:
    assert depths_of([-1, 0, 1, 0]) == [0, 1, 2, 1]
    assert depths_of([-1, 2, 1]) == [0, 3, 3]


def test_a_series_has_colour_and_mark_of_its_own_in_every_picture() -> None:
    order = [f"p{number}" for number in range(len(COLOURS))]
    assert len(set(zip(COLOURS, MARKS, strict=True))) == len(COLOURS)
    drawn = curve({order[3]: []}, {}, order=order, across="x", up="y")
    assert COLOURS[3].lower() in drawn.octets.decode()
    drawn = bars(["a"], {order[5]: []}, order=order, across="x", up="y")
    assert drawn.octets.startswith(b"<?xml")
