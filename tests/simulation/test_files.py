"""Scenario files: what they say is what is run, and nonsense names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmmp.errors import UsageError
from dmmp.sim.churn import Churn
from dmmp.sim.faults import Fault
from dmmp.sim.files import parse_scenario, read_scenario
from dmmp.sim.scenario import Scenario

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "scenarios").glob("*.toml"))

TEXT = """
members = 7
window = 4
out_degrees = [[2, 1], [4, 3]]
measured = [1.0, 20]
strict = true
seed = 5
[[fault]]
kind = "crash"
at = 8
for = 2.5
who = "m3"
[churn]
model = "weibull"
for = 9
[parameters]
refresh_cluster = 4
retry_tries = 3
"""


def test_a_file_says_what_is_run() -> None:
    """Every kind of value, and `for`, which Python would not let a field be called."""
    assert parse_scenario(TEXT) == Scenario(
        seed=5,
        members=7,
        window=4.0,
        out_degrees=((2, 1), (4, 3)),
        measured=(1.0, 20.0),
        strict=True,
        faults=(Fault("crash", 8.0, 2.5, "m3"),),
        churn=Churn("weibull", lasts=9.0),
        parameters=(("refresh_cluster", 4), ("retry_tries", 3)),
    )
    made = parse_scenario(TEXT, seed=9).made_parameters()
    assert parse_scenario(TEXT, seed=9).seed == 9
    assert (made.refresh_cluster, made.retry_tries) == (4.0, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("members = ", "is not TOML"),
        ("membres = 3", "membres: there is no such key"),
        ("lasts = 3", "lasts: there is no such key"),
        ("members = 2.5", "members: must be a whole number"),
        ("members = true", "members: must be a whole number"),
        ("members = 0", "needs a member"),
        ("loss = nan", "loss: must be a number"),
        ('strict = "yes"', "strict: must be true or false"),
        ("out_degrees = [3]", "out_degrees: must be a pair"),
        ("measured = 3", "measured: must be a list"),
        ("rendezvous_points = 9", "rendezvous_points: 1 to 3"),
        ("settle = 1.0", "settle: at least"),
        ('topology = "moon"', "moon"),
        ("fault = 3", "fault: must be"),
        ("fault = [3]", "fault 1: must be a table"),
        ("[[fault]]\nat = 3", "fault 1 kind: is missing"),
        ('[[fault]]\nkind = "crash"', "fault 1 at: is missing"),
        ('[[fault]]\nkind = "flood"\nat = 3', "fault kind: 'flood' is none of"),
        ('[[fault]]\nkind = "crash"\nat = 3', "who"),
        ('[[fault]]\nkind = "cut"\nat = 3\nwho = "m1"', "to"),
        ('[[fault]]\nkind = "loss"\nat = 3', "amount"),
        ('[[fault]]\nkind = "crash"\nat = 3\nwhom = "m1"', "fault 1 whom: there is no such key"),
        ('[churn]\nmodel = "lunar"', "churn model"),
        ("churn = 3", "churn: must be a table"),
        ("parameters = 3", "parameters: must be a table"),
        ('[parameters]\nretry_tries = "two"', "parameters.retry_tries: must be a number"),
        ("[parameters]\nsecrets = 2", "parameters: there is no 'secrets'"),
        ('heals = 3.0\n[[fault]]\nkind = "crash"\nat = 4\nwho = "rp"', "heals"),
    ],
)
def test_nonsense_names_the_key(text: str, says: str) -> None:
    """One line, no traceback."""
    with pytest.raises(UsageError) as caught:
        parse_scenario(text).prepare()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_victim_that_nobody_is_called(tmp_path: Path) -> None:
    """Found when the world is made, not in the middle of the run; the file is named."""
    path = tmp_path / "x.toml"
    path.write_text('members = 3\n[[fault]]\nkind = "crash"\nat = 4\nwho = "m9"\n')
    with pytest.raises(UsageError, match="m9"):
        read_scenario(path).prepare()
    with pytest.raises(UsageError, match="No such file"):
        read_scenario(tmp_path / "y.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_can_be_read(path: Path) -> None:
    """All of them, the large ones too."""
    assert read_scenario(path, 3).seed == 3
    assert len(SHIPPED) >= 7
