"""The hosts that a source could choose as super nodes: which of a crowd it remembers (slide 9)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dmmp.messages.common import HostRecord, HostState
from dmmp.policies.capacity import by_capacity
from dmmp.roles.source import Source
from dmmp.types import HostId
from tests.roles.mesh_stage import named, news
from tests.roles.stage import host, register


@pytest.mark.parametrize("seed", range(3))
def test_a_full_table_keeps_the_most_capable_in_whatever_order_they_come(seed: int) -> None:
    subject, draw = host("source", 2), Random(seed)
    register(subject, 0.0)
    role = subject.role
    assert isinstance(role, Source)
    latest: dict[int, HostRecord] = {}
    for _ in range(1400):
        number = draw.randrange(1000, 9000)
        latest[number] = replace(named(3, draw.randrange(1, 40)), host=HostId(number))
        news(subject, latest[number], 0.1)
        if draw.random() < 0.1 and role.candidates:
            # Who is known already comes back as less than it was, or goes.
            number = draw.choice(list(role.candidates))
            latest[number] = replace(latest[number], out_degree=1)
            state = draw.choice((HostState.ACTIVE, HostState.INACTIVE))
            news(subject, latest[number], 0.1, state)
        assert len(role.candidates) <= 1024
        least = max(map(by_capacity, role.candidates.values()), default=(0, 0, 0))
        if len(role.candidates) == 1024:
            held = role._least_welcome()
            assert by_capacity(held) == least
