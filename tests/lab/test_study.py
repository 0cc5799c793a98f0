"""Studies as files: what they expand to, and one clear line for every mistake in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmmp.errors import UsageError
from dmmp.lab.case import Case
from dmmp.lab.metrics import FIGURES
from dmmp.lab.study import find_study, own_studies, parse_study, read_study

SMALL = """
name = "small"
title = "A small one"
protocols = ["nice", "dmmp"]
underlays = ["seattle99"]
sizes = [32, 64]
seeds = 2
"""

FULL = (
    SMALL
    + """
uplinks = ["d4", "het"]
churn = ["none", "nemo-high"]
loss = [0, 0.01]
seconds = 30
text = "One.\\n\\nTwo."
figures = ["ratio_mean"]
[options.dmmp]
core = "tree"
links = 3
wire = true
[limits]
nice = 32
[[pictures]]
kind = "curve"
of = "ratio_mean"
log = true
at = { churn = "none" }
[[references]]
source = "Somebody, 2004"
protocol = "nice"
hosts = 32
figures = { ratio_mean = 2.0 }
"""
)


def test_a_study_is_every_combination_seeds_outermost() -> None:
    cases = parse_study(SMALL, "small.toml").cases()
    assert cases[:3] == [
        Case("nice", "seattle99", 32, 1),
        Case("dmmp", "seattle99", 32, 1),
        Case("nice", "seattle99", 64, 1),
    ]
    assert len(cases) == len(set(cases)) == 2 * 2 * 2
    assert [case.seed for case in cases] == sorted(case.seed for case in cases)


def test_from_a_size_on_one_seed_is_enough() -> None:
    cases = parse_study(SMALL + "\nonce_from = 64\n", "small.toml").cases()
    assert {case.seed for case in cases if case.hosts < 64} == {1, 2}
    assert {case.seed for case in cases if case.hosts >= 64} == {1}


def test_options_and_limits_are_those_of_their_protocol() -> None:
    study = parse_study(FULL, "full.toml")
    cases = study.cases()
    of_dmmp = [case for case in cases if case.protocol == "dmmp"]
    assert {case.options for case in of_dmmp} == {
        (("core", "tree"), ("links", "3"), ("wire", "true"))
    }
    assert {case.hosts for case in cases if case.protocol == "nice"} == {32}
    assert len(of_dmmp) == 2 * 2 * 2 * 2 * 2
    assert {case.seconds for case in cases} == {30.0}
    assert study.pictures[0].at == (("churn", "none"),)
    assert study.pictures[0].over == "hosts"
    assert study.references[0].label == "nice"


def test_constructions_are_left_out_where_hosts_fail() -> None:
    text = SMALL.replace("nice", "compact-tree") + 'churn = ["none", "nemo-high"]'
    cases = parse_study(text, "x").cases()
    assert {case.churn for case in cases if case.protocol == "compact-tree"} == {"none"}
    assert {case.churn for case in cases if case.protocol == "dmmp"} == {"none", "nemo-high"}


def test_seeds_are_how_many_or_which() -> None:
    study = parse_study(SMALL.replace("seeds = 2", "seeds = [7, 3, 5]"), "x")
    assert study.seeds == (7, 3, 5)
    assert study.with_seeds(2).seeds == (7, 3)
    assert study.with_seeds(5).seeds == (7, 3, 5, 8, 9)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "small"', "", "name: is missing"),
        ('name = "small"', 'name = "a/b"', "name: must be a short plain name"),
        ('name = "small"', "name = 3", "name: must be a text, not 3"),
        ("seeds = 2", "seeds = 0", "seeds: must be how many"),
        ("seeds = 2", "seeds = [1, 1]", "seeds: 1 stands there twice"),
        ("seeds = 2", "seeds = 2\nsneeds = 3", "'sneeds': there is no such key"),
        ("[32, 64]", "[1]", "sizes: must be a number from 2"),
        ("[32, 64]", "[2.5]", "sizes: must be whole, not 2.5"),
        ("[32, 64]", "[]", "sizes: must be a list of 1"),
        ("[32, 64]", "[true]", "sizes: must be a number"),
        ("[32, 64]", "[inf]", "sizes: must be a number"),
        ("[32, 64]", "[nan]", "sizes: must be a number"),
        ('"seattle99"', '"atlantis"', "underlays: there is no 'atlantis', but planetlab490"),
        ('"nice"', '"nicer"', "protocols: there is no protocol 'nicer', but dmmp"),
        ("seeds = 2", 'seeds = 2\nuplinks = ["d5"]', "uplinks: there is no 'd5', but d4"),
        ("seeds = 2", 'seeds = 2\nchurn = ["much"]', "churn: there is no 'much', but none"),
        ("seeds = 2", "seeds = 2\nloss = [1.5]", "loss: must be a number from 0 to 0.9"),
        ("seeds = 2", "seeds = 2\nseconds = 0", "seconds: must be a number from 1"),
        ("seeds = 2", "seeds = 2\nlimits = 3", "limits: must be a table"),
        ("seeds = 2", "seeds = 2\nlimits.prm = 3", "limits.prm: is none of the protocols"),
        ("seeds = 2", "seeds = 2\noptions.nice.a = [1]", "options.nice.a: must be a number"),
        ("seeds = 2", 'seeds = 2\noptions.nice.a = "b;c"', "options.nice.a: must be a number"),
        ("seeds = 2", "seeds = 2\n[[pictures]]\nof = 'x'", "pictures 1 kind: is missing"),
        ("seeds = 2", "seeds = 2\n[[pictures]]\nkind = 'pie'", "pictures 1 kind: must be one of"),
        (
            "seeds = 2",
            "seeds = 2\n[[pictures]]\nkind = 'bars'\nof = 'x'\nlog = true",
            "pictures 1 log: not for bars",
        ),
        (
            "seeds = 2",
            "seeds = 2\n[[pictures]]\nkind = 'curve'\nof = 'x'\nover = 'churn'",
            "pictures 1 over: a curve goes over hosts or loss",
        ),
        (
            "seeds = 2",
            "seeds = 2\n[[pictures]]\nkind = 'cdf'\nof = 'x'\nat = { seed = 1 }",
            "'seed': there is no such key",
        ),
        ("seeds = 2", "seeds = 2\n[[references]]\nprotocol = 'nice'", "source: is missing"),
        (
            "seeds = 2",
            "seeds = 2\n[[references]]\nsource = 's'\nprotocol = 'nice'",
            "references 1 figures: is missing",
        ),
        ("seeds = 2", "seeds = 1000\nloss = [0, 0.1, 0.2, 0.3, 0.4, 0.5]", "24000 cases, more"),
        ("seeds = 2", "seeds = 2\nseeds = 3", "is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_and_key(old: str, new: str, said: str) -> None:
    assert old in SMALL
    with pytest.raises(UsageError) as caught:
        parse_study(SMALL.replace(old, new), "my.toml")
    text = str(caught.value)
    assert text.startswith("my.toml: ")
    assert said in text
    assert "\n" not in text


def test_a_file_that_is_not_there_or_not_text_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_study(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_study(tmp_path / "bad.toml")
    with pytest.raises(UsageError, match="no study of this name; there are checks, ablation"):
        find_study("nowhere")


@pytest.mark.parametrize("name", own_studies())
def test_a_study_of_the_package_is_called_as_its_file_and_shows_known_figures(name: str) -> None:
    study = read_study(find_study(name))
    assert study.name == name
    assert study.cases()
    shown = {
        *study.figures,
        *(each.of for each in study.pictures if each.kind in ("curve", "bars")),
    }
    shown |= {figure for row in study.references for figure, _ in row.figures}
    assert shown <= set(FIGURES)
    for row in study.references:
        place = dict(row.at)
        assert place["protocol"] in study.protocols
        assert place.get("hosts", study.sizes[0]) in study.sizes
