"""Scenario files of the simulator: a `Scenario`, or `UsageError`."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import UsageError
from dmmp.sim.files import parse_scenario
from tests.fuzz.target import Target

EXAMPLE = """\
seed = 7
members = 12
out_degrees = [[0, 30], [4, 70]]
window = 10.0
settle = 60.0
topology = "transit-stub"
loss = 0.01
packets_per_second = 5.0
strict = false
measured = [10.0, 20.0]

[parameters]
refresh_cluster = 4.0
children = 32

[churn]
model = "poisson"
rate = 0.1

[[fault]]
kind = "crash"
at = 12.0
for = 5.0
who = "m1"
"""


def test_one(data: bytes) -> None:
    """Parse a text."""
    try:
        found = parse_scenario(data.decode("utf-8", "surrogateescape"))
    except UsageError as error:
        # A byte that is not UTF-8 is shown as six characters, or twelve.
        assert len(str(error)) < 12 * len(data) + 1000
        return
    assert str(found).startswith("Scenario(")
    assert found.end >= 0


def seeds() -> Iterable[bytes]:
    yield EXAMPLE.encode()
    yield from (line.encode() for line in EXAMPLE.split("\n\n"))


TARGET = Target(
    "scenario",
    "parse_scenario gives a scenario or raises UsageError",
    test_one,
    seeds,
)
