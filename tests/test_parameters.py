"""Parameters that would kill a host are refused when they are made, each in one line."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from dmmp.cli import main
from dmmp.errors import ParameterError
from dmmp.parameters import AT_MOST, MAY_BE_ENDLESS, MAY_BE_ZERO, Parameters
from dmmp.sim.scenario import Scenario

PARAMETERS = Parameters()
NAMES = [each.name for each in fields(Parameters)]
DEADLY = (
    *("repair_stretches", "probe_rounds", "maximum_outstanding", "mesh_unhurried", "guests"),
    *("repair_most", "channel_idle", "retry_first", "retry_bootstrap_most", "sweep"),
    *("refresh_cluster", "refresh_mesh", "refresh_rp", "refresh_rp_core", "promotion_look"),
    *("nearing_look_most", "heartbeat_first", "heartbeat", "heartbeat_idle"),
    *("join_wait", "children", "groups", "path", "hosts", "channels", "super_nodes_most"),
)
"""Without the check 0 was seen to end in an exception, an endless loop, or nobody served."""


def with_value(name: str, value: float) -> Parameters:
    """Change one parameter."""
    return replace(PARAMETERS, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_negative_or_no_number(name: str) -> None:
    for value in (-1, -0.001, float("nan"), float("-inf")):
        with pytest.raises(ParameterError, match=f"^{name}: "):
            with_value(name, value)


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_refused_where_it_means_nothing(name: str) -> None:
    if name in MAY_BE_ZERO:
        assert getattr(with_value(name, 0), name) == 0
    else:
        with pytest.raises(ParameterError, match=f"^{name}: must be above 0$"):
            with_value(name, 0)


def test_what_killed_a_host_is_refused() -> None:
    assert not MAY_BE_ZERO & set(DEADLY)
    assert set(NAMES) >= {*DEADLY, *MAY_BE_ZERO, *MAY_BE_ENDLESS, *AT_MOST}


@pytest.mark.parametrize("name", NAMES)
def test_no_alarm_is_set_for_ever(name: str) -> None:
    if name in MAY_BE_ENDLESS:
        assert getattr(with_value(name, float("inf")), name) == float("inf")
    else:
        with pytest.raises(ParameterError, match=f"^{name}: at most "):
            with_value(name, float("inf"))


@pytest.mark.parametrize("name", sorted(AT_MOST))
def test_no_more_than_a_message_holds(name: str) -> None:
    most, _ = AT_MOST[name]
    assert getattr(with_value(name, most), name) == most
    with pytest.raises(ParameterError, match=f"^{name}: at most {most:g} "):
        with_value(name, most + 1)


def test_no_request_is_tried_for_days() -> None:
    for name in (name for name in NAMES if name.endswith("_tries")):
        with pytest.raises(ParameterError, match="the waits double"):
            with_value(name, 17)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MAY_BE_ZERO))
def test_what_may_be_zero_kills_nobody(name: str) -> None:
    """A small session, with a death, a leave and losses, plays to its end, and all have places."""
    scenario = Scenario(
        seed=3,
        members=9,
        window=2.0,
        settle=40.0,
        packets_per_second=20.0,
        crashes=1,
        leaves=1,
        loss=0.02,
        parameters=((name, 0.0),),
    )
    assert not [str(failure) for failure in scenario.play().failures]


@pytest.mark.parametrize(
    "words",
    [
        ("sim", "--scenario", "{scenario}"),
        ("conformance", "--role", "member", "--timer", "retry_first=0", "1/1"),
    ],
    ids=["scenario", "timer"],
)
def test_the_command_line_says_it_in_one_line(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("seed = 1\nmembers = 2\n[parameters]\nretry_first = 0.0\n", encoding="utf-8")
    assert main([word.format(scenario=path) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "retry_first: must be above 0" in said.err
