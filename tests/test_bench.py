"""The benches' own machinery: programs build, relays relay, searches end, figures are reckoned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmmp.errors import UsageError
from tests.bench import __main__ as bench
from tests.bench.figures import LEAST, MOST, Goal, Result, missed
from tests.bench.peers import __main__ as peers
from tests.bench.picture import prepare
from tests.bench.places import places
from tests.bench.relays import CANDIDATES, Case, Relays
from tests.bench.running import build
from tests.bench.streams import CLOSE, Trial, search

RATE = 2000.0
SECONDS = 0.2


def found(*rounds: tuple[float | None, float]) -> Result:
    """Make a result of a few rounds of two candidates."""
    result = Result("name", "title", ("theirs",))
    for ours, theirs in rounds:
        result.add("case", "ours", "k/s", "speed", ours)
        result.add("case", "theirs", "k/s", "speed", theirs)
    return result


def test_a_ratio_is_the_median_of_the_rounds_not_of_the_medians() -> None:
    """The machine was twice as fast in the second round: the ratio does not see it."""
    result = found((10, 10), (30, 20), (11, 10))
    ours = result.find("case", "ours", "speed")
    assert ours is not None
    assert (ours.median, result.ratio(ours, "theirs")) == (11, 1.1)


def test_a_round_without_a_figure_is_left_out_of_ratio_and_median() -> None:
    """One candidate found no rate at all in one round."""
    result = found((None, 10), (30, 10), (20, 10))
    ours = result.find("case", "ours", "speed")
    assert ours is not None
    assert (ours.median, result.ratio(ours, "theirs")) == (25, 2.5)


def test_goals_tell_reached_from_missed_and_from_not_measured() -> None:
    """Both senses, with and without a reference, and a case that was not run."""
    result = found((30, 10))
    result.goals = [
        Goal("case", "ours", "speed", LEAST, 3.0, "theirs"),
        Goal("case", "ours", "speed", MOST, 29.0),
        Goal("other", "ours", "speed", LEAST, 3.0, "theirs"),
    ]
    assert [result.reached(goal)[1] for goal in result.goals] == [True, False, None]
    assert missed([result]) == [result.goals[1]]


def trial(rate: float) -> Trial:
    """Make a trial at a rate."""
    return Trial(rate, 1, 1.0, 1, 0.0, 0.0, ())


@pytest.mark.parametrize("limit", [0.7e6, 9e6, 11e6, 333e6])
def test_a_search_ends_close_below_the_limit(limit: float) -> None:
    """From below and from above the first rate."""
    best = search(lambda rate: trial(rate) if rate <= limit else None, 10e6)
    assert best is not None
    assert limit / CLOSE <= best.rate <= limit


def test_a_search_gives_up_where_nothing_passes() -> None:
    """A way that loses at every rate."""
    assert search(lambda rate: None, 10e6) is None


@pytest.mark.parametrize(
    ("main", "words", "says"),
    [
        (bench.main, ["--only", "speed"], "speed"),
        (bench.main, ["--rounds", "0"], "0"),
        (peers.main, ["--only", "carrier-pigeon"], "carrier-pigeon"),
    ],
)
def test_a_wrong_word_is_one_line_and_code_2(
    main: Callable[..., object],
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, and the word that is wrong."""
    assert bench.ended_by(lambda: main(words, standalone_mode=False)) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_the_list_names_every_bench() -> None:
    """What `--only` takes, `--list` tells."""
    told = CliRunner().invoke(bench.main, ["--list"]).output
    assert [line.split()[0] for line in told.splitlines()] == list(bench.BENCHES)


def test_every_named_bench_can_be_found() -> None:
    """The table names modules that have a `measure`."""
    assert all(callable(bench.find(name)) for name in bench.BENCHES)


def test_a_picture_of_an_unknown_kind_is_refused_before_anything_is_measured() -> None:
    """The ending says what is drawn."""
    with pytest.raises(UsageError, match="png"):
        prepare(Path("bench.gif"))


@pytest.mark.namespace
@pytest.mark.alone
def test_every_relay_carries_a_stream_to_every_child(tmp_path: Path) -> None:
    """Built on the spot; everything that is sent arrives as often as there are children."""
    relays = Relays(build("relay", tmp_path), build("traffic", tmp_path))
    with places() as at:
        for name, place in at.items():
            case = Case(name, 3, 1316)
            for candidate in CANDIDATES:
                run = relays.run(candidate, place, case, RATE, SECONDS, latencies=True)
                assert run.whole, (name, candidate)
                assert run.arrived == run.sent == 3 * run.offered > 0, (name, candidate)
                assert run.processor > 0
                assert list(run.latency_us) == sorted(run.latency_us)


@pytest.mark.namespace
@pytest.mark.alone
def test_the_document_has_figures_ratios_and_goals(tmp_path: Path) -> None:
    """As another program reads it."""
    path = tmp_path / "bench.json"
    words = ["--only", "tun", "--rounds", "1", "--seconds", "0.2", "--json", str(path)]
    assert bench.ended_by(lambda: bench.main(words, standalone_mode=False)) == 0
    told = json.loads(path.read_text())
    assert {"format", "machine", "rounds", "seconds", "benches"} <= told.keys()
    (made,) = told["benches"]
    assert made["name"] == "tun"
    for series in made["series"]:
        assert series["median"] > 0
        assert {"case", "candidate", "figure", "unit", "values", "ratios"} <= series.keys()
