"""The resilience measurements: how reports become figures and figures become verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from dmmp.demo.overlay import Document
from dmmp.demo.resilience.harms import relaying_members, super_nodes, two_on_one_path
from dmmp.demo.resilience.partition import halves
from dmmp.demo.resilience.results import Summary, broken, is_suspect, percentile, summarise
from dmmp.demo.resilience.scenarios import CUT, KILLED, LEFT, NAMES, SCENARIOS, Target
from dmmp.demo.resilience.screen import line_of, table_of
from dmmp.demo.resilience.structure import clusters_of, draw, fed_twice, misplaced
from dmmp.demo.resilience.trial import Heard, Outcome, judge, longest_silence_ns

MS = 1_000_000

TREE = {"s1": "source", "s2": "s1", "m1": "s1", "m2": "m1", "m3": "m2", "m4": "s2"}


def documents(parents: dict[str, str], **clusters: str) -> dict[str, Document]:
    """Give the documents of such a tree: ids are the names, `s…` are super nodes."""
    names = ["source", *parents]

    def cluster(name: str) -> str | None:
        path = [name]
        while path[-1] in parents and path[-1][0] != "s" and len(path) <= len(parents):
            path.append(parents[path[-1]])
        return None if path[-1] == "source" else path[-1]

    return {
        name: {
            "node_id": name,
            "role": {"source": "source"}.get(name, "super-node" if name[0] == "s" else "member"),
            "parent": {"node_id": parents[name]} if name in parents else None,
            "children": [{"node_id": child} for child in parents if parents[child] == name],
            "mesh_children": [],
            "super_node": clusters.get(name, cluster(name)),
        }
        for name in names
    }


def report(*gaps: tuple[int, int], last: int | None, **sequence: Any) -> dict[str, Any]:
    """Give a program's report; instants and gaps in milliseconds."""
    return {
        "last_ns": None if last is None else last * MS,
        "gaps_ns": [[at * MS, gap * MS] for at, gap in gaps],
        "sequence": {"distinct": 100, "duplicates": 0, "late": 0} | sequence,
    }


@pytest.mark.parametrize(
    ("heard", "silence"),
    [
        (report(last=1000), 0),
        (report((100, 50), last=1000), 0),
        (report((480, 50), (700, 20), last=1000), 50),
        (report((600, 300), last=1000), 300),
        (report((600, 50), last=900), 100),
        (report((2000, 500), last=2500), 0),
        (report(last=400), 500),
        (report(last=None), 500),
    ],
    ids=["none", "before", "across", "within", "to the end", "after", "since before", "nothing"],
)
def test_a_silence_counts_if_it_overlaps_the_window(heard: dict[str, Any], silence: int) -> None:
    assert longest_silence_ns(heard, 500 * MS, 1000 * MS) == silence * MS


def test_a_member_is_judged_by_what_was_sent() -> None:
    sent = {"count": 103, "last_ns": 1000 * MS}
    heard = judge("m1", report((600, 70), last=1000, duplicates=2, late=1), sent, 500 * MS, True)
    assert heard == Heard("m1", True, 3, 2, 1, 70.0)


def test_a_whole_tree_gives_no_complaint() -> None:
    tree = documents(TREE)
    assert misplaced(tree, list(tree)) == []
    assert fed_twice(tree) == []
    assert draw(TREE) == "source(s1(m1(m2(m3)) s2(m4)))"


def test_who_has_no_place_is_told() -> None:
    tree = documents({**TREE, "m2": "m3", "m3": "m2"})
    del tree["m4"]
    assert misplaced(tree, [*tree, "m4"]) == [
        *("m4 does not answer", "m2 is not below the source", "m3 is not below the source")
    ]


def test_a_member_of_another_cluster_than_it_is_in_is_told() -> None:
    tree = documents(TREE, m4="s1")
    assert misplaced(tree, list(tree)) == [
        "m4 is below the super node s2, but in the cluster of s1"
    ]


def test_who_is_fed_by_two_or_by_none_is_told() -> None:
    tree = documents(TREE)
    tree["s2"]["children"].append({"node_id": "m2"})
    tree["s1"]["children"] = tree["s1"]["children"][:1]
    assert fed_twice(tree) == [
        "m1 is below s1, but nobody's child",
        "m2 is below m1, but a child of m1 and s2",
    ]


def test_victims_are_those_that_feed_members() -> None:
    tree = documents({**TREE, "s3": "s2"})
    assert super_nodes(tree) == [("s1",), ("s2",)]
    assert relaying_members(tree) == [("m1",), ("m2",)]
    assert two_on_one_path(tree) == [("s1", "m1"), ("s1", "m2")]


def test_halves_keep_clusters_together() -> None:
    tree = documents({**TREE, "s3": "s2", "m5": "s3", "m6": "source"})
    assert clusters_of(tree, ["m1", "m4", "m5", "m6"]) == {
        **{"s1": ["m1"], "s2": ["m4"], "s3": ["m5"]}
    }
    first, second = halves(tree)
    assert first == ["s1", "m1", "m2", "m3", "m6"]
    assert second == ["s2", "m4", "s3", "m5"]


def outcome(number: int, *heard: Heard, **values: Any) -> Outcome:
    given: dict[str, Any] = {
        "harm": "s1 killed",
        "tree": "",
        "sent": 100,
        "sender_gap_ms": 5.0,
    } | values
    return Outcome("super-node", number, heard=list(heard), **given)


HURT = Heard("m1", True, 0, 0, 0, 300.0)
SPARED = Heard("m2", False, 0, 0, 0, 20.0)


def test_silences_are_those_of_the_harmed_but_the_worst_is_of_all() -> None:
    deaf = Heard("m3", False, 4, 1, 0, 700.0)
    summary = summarise("super-node", [outcome(0, HURT, SPARED), outcome(1, HURT, deaf)])
    assert (summary.silence_median_ms, summary.silence_p95_ms) == (300, 300)
    assert summary.silence_worst_ms == 700
    assert (summary.judged, summary.missing_median, summary.missing_worst) == (4, 0, 4)
    assert broken(summary, KILLED) == ["missing", "twice"]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([float(n) for n in range(1, 21)], 0.95) == 19
    assert percentile([7.0], 0.95) == 7
    assert percentile([], 0.95) == 0


def summary(**values: Any) -> Summary:
    whole = summarise("super-node", [outcome(0, HURT)])
    fields = {name: getattr(whole, name) for name in Summary.__slots__}
    return Summary(**(fields | values))


@pytest.mark.parametrize(
    ("values", "target", "wrong"),
    [
        ({}, KILLED, []),
        ({"silence_p95_ms": 501.0}, KILLED, ["silence p95"]),
        ({"healed_seconds": 5.5}, CUT, ["healing"]),
        ({"problems": ("x",)}, CUT, ["see below"]),
        ({"delivered": 0.9998}, Target(delivered=0.9999), ["delivered"]),
        ({"delivered": None}, Target(delivered=0.9999), ["delivered"]),
        ({"delivered": 1.0, "repairs": 1.4}, Target(delivered=0.9, repairs=1.3), ["repairs"]),
        ({}, LEFT, ["silence"]),
    ],
)
def test_a_promise_is_broken_by_its_own_figure(
    values: dict[str, Any], target: Target, wrong: list[str]
) -> None:
    assert broken(summary(**values), target) == wrong


def test_a_machine_that_pauses_by_itself_excuses_a_pause_but_no_longer_one() -> None:
    assert broken(summary(), LEFT, calm=summary(silence_worst_ms=310.0)) == []
    assert broken(summary(), LEFT, calm=summary(silence_worst_ms=290.0)) == ["silence"]


def test_traces_are_kept_of_what_was_not_right() -> None:
    assert not is_suspect(outcome(0, HURT), KILLED)
    assert is_suspect(outcome(0, HURT), LEFT)
    assert is_suspect(outcome(0, Heard("m1", True, 1, 0, 0, 5.0)), KILLED)
    assert is_suspect(outcome(0, HURT, problems=["x"]), KILLED)
    assert is_suspect(outcome(0, HURT, figures={"healed_seconds": 5.1}), CUT)
    assert not is_suspect(outcome(0, HURT, figures={"healed_seconds": 4.9}), CUT)


def test_the_screen_names_what_failed() -> None:
    lost = outcome(0, Heard("m1", True, 9, 0, 0, 5.0), sender_gap_ms=60.0)
    assert "missing 9" in line_of(lost, 20)
    assert "(starved)" in line_of(lost, 20)
    table = table_of({"super-node": [lost]})
    cells = [next(iter(column.cells)) for column in table.columns]
    assert str(cells[-1]) == "NO: missing"


def test_every_scenario_has_its_own_name() -> None:
    assert len(set(NAMES)) == len(SCENARIOS)
