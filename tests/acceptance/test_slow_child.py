"""A child that is too slow for its stream, or reads nothing, costs its siblings no packet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.lab import network, record
from tests.bench.slow_child import NARROW, STOPPED, WELL, Family

pytestmark = [pytest.mark.namespace, pytest.mark.alone, pytest.mark.slow]

MEMBERS = 4
RATE, SECONDS = 8e6, 3.0


def test_a_slow_child_costs_its_siblings_nothing(swept: None, directory: Path) -> None:
    with network(Family.hosts(MEMBERS), directory) as overlay:
        family = Family(overlay, directory, MEMBERS)
        family.start()
        for state in (WELL, NARROW, STOPPED):
            found = family.play(state, RATE, SECONDS)
            record("slow child", found._asdict())
            assert found.lost == 0, found
            if state == NARROW:
                # Most of its packets are lost, so that it asked for them without end.
                assert found.replayed > 0, found
