"""What `dmmp sim` shows: table, JSON, tree, and the command that repeats a failing run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dmmp.actions import Report
from dmmp.errors import UsageError
from dmmp.events import Admitted
from dmmp.sim.checks import Failure
from dmmp.sim.drawing import draw_single
from dmmp.sim.measure import Summary, measure, summary
from dmmp.sim.report import SimOptions, run, tree_lines
from dmmp.sim.scenario import Scenario
from dmmp.types import HostId
from tests.simulation.stand_ins import add, entry, host_of, record, start, world

SMALL = SimOptions(members=12, seed=4)


def test_a_run_succeeds_and_says_so() -> None:
    """Exit code 0, nothing to repeat, everybody joined."""
    result = run(SMALL)
    assert result.exit_code == 0
    assert result.failure_lines() == []
    assert result.measures.joined == result.measures.hosts - 1 == 12
    rows = dict(result.table_rows())
    assert rows["hosts"].startswith("13, 12 joined")
    assert rows["digest"] == result.digest


def test_json_holds_the_same() -> None:
    """And is JSON."""
    result = run(SMALL)
    held = json.loads(json.dumps(result.to_json()))
    assert held["command"] == "dmmp sim --members 12 --seed 4"
    assert held["joined"] == 12
    assert held["failures"] == []
    assert sum(held["depths"].values()) == held["hosts"]
    assert held["digest"] == run(SMALL).digest


def test_the_trace_is_json_lines() -> None:
    """One object a line, in the order of time; asking for it changes nothing."""
    lines: list[str] = []
    result = run(SMALL, lines.append)
    parsed = [json.loads(line) for line in lines]
    assert [line["at"] for line in parsed] == sorted(line["at"] for line in parsed)
    assert {"PingRpRequest", "JoinRequest", "Data"} <= {line.get("message") for line in parsed}
    assert "Admitted" in {line.get("event") for line in parsed}
    assert result.digest == run(SMALL).digest


def test_a_failing_run_names_the_command_that_repeats_it() -> None:
    """With every option that is not the default."""
    options = SimOptions(members=12, seed=4, window=3.0, loss=0.25, crashes=1, wire=True)
    result = replace(
        run(SMALL), options=options, failures=(Failure("joined", 1.5, "m1", "is lost"),)
    )
    assert result.exit_code == 1
    lines = result.failure_lines()
    assert lines[0] == "joined: m1 at 1.500000 s: is lost"
    command = "dmmp sim --members 12 --seed 4 --window 3 --loss 0.25 --crashes 1 --wire"
    assert f"  {command}" in lines
    assert f"  {result.scenario}" in lines


def test_options_become_the_scenario() -> None:
    """Ten members a second unless the window is given."""
    assert SimOptions(members=300).scenario().window == 30.0
    assert SimOptions(window=5.0, loss=0.1, crashes=2).scenario() == Scenario(
        seed=1,
        members=200,
        source_out_degree=8,
        window=5.0,
        settle=110.0,
        topology="transit-stub",
        loss=0.1,
        crashes=2,
        packets_per_second=1.0,
    )


def test_the_tree_is_drawn_to_the_last_host() -> None:
    """Each living host on a line of its own."""
    result = run(SMALL)
    lines = result.tree_lines()
    assert len(lines) == 13
    assert lines[0].startswith("source, source, depth 0")
    assert all(any(f"m{number}, " in line for line in lines) for number in range(1, 13))


def test_the_tree_shows_who_has_no_place_and_who_hangs_on_itself() -> None:
    """Nobody is left out, however broken the tree."""
    made = world()
    add(made, "source", entry(), kind="source", depth=0)
    add(made, "a", parent=0, depth=1)
    add(made, "b", parent=1, depth=2)
    add(made, "lost")
    add(made, "x", parent=5)
    add(made, "y", parent=4)
    start(made)
    assert tree_lines(made.nodes, made.now) == [
        "source, source, depth 0, 0/4",
        "└─ a, a, depth 1, 0/4",
        "   └─ b, b, depth 2, 0/4",
        "no place: lost, lost, no depth, 0/4, Scripted",
        "in a cycle: x, x, no depth, 0/4",
        "in a cycle: y, y, no depth, 0/4",
    ]


def test_measures_of_a_known_world() -> None:
    """Two hops of 10 ms each to where one would do: stretch 2."""
    made = world()
    source = add(made, "source", entry(downstream=[1], delivers=False), kind="source", depth=0)
    add(made, "a", entry(upstream=0, downstream=[2]), parent=0, depth=1)
    add(made, "b", entry(upstream=1), parent=1, depth=2)
    start(made)
    host_of(source).shown = replace(host_of(source).shown, children=(record(1),))
    found = measure(made)
    assert (found.hosts, found.joined, found.departed) == (3, 2, 0)
    assert found.depths == ((0, 1), (1, 1), (2, 1))
    assert (found.slots_used, found.slots) == (1, 12)
    assert found.stretch == Summary(2, 1.0, 2.0, 2.0, 2.0)


def test_summaries() -> None:
    """Nearest rank, and all zero for nothing."""
    assert summary([]) == Summary(0, 0.0, 0.0, 0.0, 0.0)
    assert summary([3.0]) == Summary(1, 3.0, 3.0, 3.0, 3.0)
    assert summary(range(1, 101)) == Summary(100, 50, 96, 100, 100)


def test_a_scenario_file_is_repeated_with_its_seed(tmp_path: Path) -> None:
    """The seed of the command line overrides that of the file; the command names both."""
    path = tmp_path / "small.toml"
    path.write_text("members = 5\nwindow = 1.0\nsettle = 10.0\nseed = 7\n")
    result = run(SimOptions(file=str(path)))
    assert result.command == f"dmmp sim --scenario {path} --seed 7"
    again = run(SimOptions(file=str(path), seed=9))
    assert again.command == f"dmmp sim --scenario {path} --seed 9"
    assert result.measures.joined == again.measures.joined == 5
    assert result.digest != again.digest


def test_drawn_scenarios_are_repeated_by_their_seed() -> None:
    """And options that would change them are refused."""
    assert SimOptions(draw="single", seed=3).scenario() == draw_single(3)
    assert SimOptions(draw="random", seed=3).command(3) == "dmmp sim --random --seed 3"
    for nonsense in ({"loss": 0.1}, {"members": 3}, {"file": "x.toml"}):
        with pytest.raises(UsageError):
            SimOptions(draw="random", **nonsense)


def test_deliveries_are_counted_for_those_that_are_there() -> None:
    """What is on its way to one that dies is not missed; a late packet is."""
    made = world()
    source = add(made, "source", entry(downstream=[1, 2]), kind="source", depth=0)
    for name in ("a", "b"):
        add(made, name, entry(upstream=0), Report(Admitted(HostId(1), source.endpoint, 1)))
    start(made)
    for name in ("a", "b"):
        made.subscribe(made.node(name))
    made.run_until(1.0)
    made.originate(source)
    made.run_until(2.0)
    made.network.block(source.place, made.node("a").place)
    made.originate(source)
    made.crash(made.node("b"))
    made.run_until(3.0)
    assert (made.tally.members.of, made.tally.members.got) == (3, 2)
    assert measure(made).delivery == round(2 / 3, 7)
    assert made.tally.sent == 2 and made.tally.late == 0
